//! Any bytes as a capture file: reading them ends, every packet is within its bounds, no frame is lost, and what was read
//! survives being written in either format and read again.

use nethuns_rs::api::{Metadata, Socket};
use nethuns_rs::errors::Error;
use nethuns_rs::pcap::{CaptureWriter, Format, Layout, PcapFlags, Sock};

/// Bytes, time where there is one, length on the wire.
type Packet = (Vec<u8>, Option<u64>, u32);

/// Reads `file` as a port would.
pub fn capture_file(file: &[u8]) {
    let packets =
        read(file, &PcapFlags { buffer_size: 262_144, buffer_count: 2, snaplen: 262_144, ..PcapFlags::default() });
    let small =
        PcapFlags { buffer_size: 64, buffer_count: 3, filter: Some("ip or vlan".to_owned()), ..PcapFlags::default() };
    for (bytes, ..) in read(file, &small) {
        assert!(bytes.len() <= 64);
    }
    for format in [Format::Pcap, Format::PcapNg] {
        let mut copy = Vec::new();
        let mut writer = CaptureWriter::new(&mut copy, Layout { format, ..Layout::default() });
        let mut kept: Vec<Packet> = Vec::new();
        for (bytes, at, len) in &packets {
            let at = at.unwrap_or(0);
            if writer.write(bytes, at, *len).is_ok() {
                kept.push((bytes.clone(), Some(at), (*len).max(bytes.len() as u32)));
            }
        }
        writer.finish().expect("memory takes everything");
        let again =
            read(&copy, &PcapFlags { buffer_size: 262_144, buffer_count: 1, snaplen: 262_144, ..PcapFlags::default() });
        assert!(again == kept, "{format:?} lost or changed packets");
    }
}

fn read(file: &[u8], flags: &PcapFlags) -> Vec<Packet> {
    let path =
        std::env::temp_dir().join(format!("nethuns-fuzz-{}-{:?}", std::process::id(), std::thread::current().id()));
    std::fs::write(&path, file).expect("a temporary file");
    let spec = format!("pcap:{}", path.display());
    let mut packets = Vec::new();
    let socket = Sock::create(&spec, None, flags.clone());
    // Gone at once where an open file may be: overwriting one makes some file systems wait for the disk.
    let _ = std::fs::remove_file(&path);
    let socket = match socket {
        Ok(socket) => socket,
        Err(error) => {
            assert!(
                !error.is_transient() && error.to_string().contains(path.to_str().unwrap_or("nethuns-fuzz")),
                "{error}"
            );
            return packets;
        }
    };
    let mut errors = 0;
    loop {
        match socket.recv() {
            Ok((packet, meta)) => {
                assert_eq!(packet.len(), meta.caplen as usize);
                packets.push((packet.to_vec(), meta.timestamp_ns(), meta.len));
            }
            Err(Error::EndOfFile) => break,
            // A file may be broken in several places; reading on must come to an end.
            Err(error) => {
                errors += 1;
                assert!(!error.is_transient() && errors < 100_000, "{error}");
            }
        }
    }
    assert_eq!((socket.frames_in_flight(), socket.stats().rx_packets), (Some(0), packets.len() as u64));
    packets
}
