//! Packets of several frames, and checksums left to the kernel.
#![cfg(all(target_os = "linux", feature = "af_xdp"))]

mod common;

use common::netns::{Lab, ip};
use common::xdp::{PATIENCE, assert_clean, drain, expect, frame, number, open, receive, send};
use nethuns_rs::api::{Interest, Socket};
use nethuns_rs::errors::Error;
use std::net::UdpSocket;

fn jumbo_mtu() {
    for end in ["va", "vb"] {
        ip(&format!("link set {end} mtu 9000"));
    }
}

#[test]
fn jumbo_packets_cross_in_one_piece() {
    let Some(lab) = Lab::enter("jumbo_packets_cross_in_one_piece") else { return };
    lab.veth("va", "vb", 1);
    jumbo_mtu();
    for mode in ["driver", "generic"] {
        for frame_size in [4096, 2048] {
            let options = format!("mode={mode}&jumbo=9100&frame_size={frame_size}");
            let (a, b) = (open(&format!("va?{options}")), open(&format!("vb?{options}")));
            assert!(a.mode().multi_buffer);
            // Around the edges of a frame, with its headroom (received) and without (sent).
            for len in [60, 1514, 1792, 1793, 2048, 2049, 3840, 3841, 4096, 4097, 7680, 8000, 9014] {
                for (from, to) in [(&a, &b), (&b, &a)] {
                    send(from, 100, len);
                    expect(to, 100, len);
                }
            }
            for socket in [&a, &b] {
                assert_clean(socket);
                assert_eq!(socket.stats().rx_dropped.total(), 0, "{:?}", socket.stats());
            }
        }
    }
}

#[test]
fn jumbo_packets_are_forwarded_from_where_they_lie() {
    let Some(lab) = Lab::enter("jumbo_packets_are_forwarded_from_where_they_lie") else { return };
    lab.veth("va", "vb", 1);
    jumbo_mtu();
    let (a, b) = (open("va?jumbo=9100&jumbo_frames=8"), open("vb?jumbo=9100&jumbo_frames=8"));
    // Far more than there are big frames: each comes home when its last piece is sent, and only then.
    for round in 0..50 {
        let mut payload = a.alloc(8000).unwrap();
        payload.copy_from_slice(&frame(round, 8000));
        a.send_payload(payload).unwrap();
        assert_eq!(a.frames_in_flight(), Some(0), "it is in the ring");
        drain(&a);
        let token = receive(&b, 1).remove(0);
        assert_eq!(b.frames_in_flight(), Some(1));
        b.send_token(token).unwrap();
        drain(&b);
        let packet = receive(&a, 1).remove(0).consume(a.context());
        assert!(packet[..] == frame(round, 8000)[..]);
    }
    assert_clean(&a);
    assert_clean(&b);
}

#[test]
fn jumbo_frames_run_out_and_come_back() {
    let Some(lab) = Lab::enter("jumbo_frames_run_out_and_come_back") else { return };
    lab.veth("va", "vb", 1);
    jumbo_mtu();
    let (a, b) = (open("va?jumbo=9100"), open("vb?jumbo=9100&jumbo_frames=4"));
    send(&a, 10, 8000);
    let held = receive(&b, 4);
    assert!(b.recv().is_err());
    assert_eq!(b.stats().rx_dropped.no_frame, 6, "{:?}", b.stats());
    assert!(matches!(b.send(&frame(0, 8000)), Err(Error::NoMemory)));
    send(&a, 10, 1000);
    expect(&b, 10, 1000);
    drop(held);
    send(&a, 4, 8000);
    expect(&b, 4, 8000);
    assert!(matches!(b.send(&frame(0, 9101)), Err(Error::TooBigPacket(9101))));
    assert_clean(&b);
    // Longer than a big frame.
    let c = {
        drop(b);
        open("vb?jumbo=5000")
    };
    send(&a, 3, 8000);
    send(&a, 3, 5000);
    expect(&c, 3, 5000);
    assert_eq!(c.stats().rx_dropped.oversize, 3, "{:?}", c.stats());
}

#[test]
fn a_jumbo_packet_waits_for_enough_slots() {
    let Some(lab) = Lab::enter("a_jumbo_packet_waits_for_enough_slots") else { return };
    lab.veth("va", "vb", 1);
    jumbo_mtu();
    let (a, b) = (open("va?jumbo=9100&tx=4"), open("vb?jumbo=9100"));
    ip("link set va down");
    a.send(&frame(0, 8000)).unwrap();
    a.send(&frame(1, 60)).unwrap();
    assert!(a.send(&frame(2, 8000)).is_err(), "one slot is left, two are needed");
    a.send(&frame(2, 60)).unwrap();
    ip("link set va up");
    drain(&a);
    let numbers: Vec<(u32, usize)> = receive(&b, 3)
        .into_iter()
        .map(|token| token.consume(b.context()))
        .map(|packet| (number(&packet), packet.len()))
        .collect();
    assert_eq!(numbers, [(0, 8000), (1, 60), (2, 60)]);
    assert_clean(&a);
}

/// A UDP datagram over IPv4 from 10.7.0.1:1000 to 10.7.0.2:2000 whose UDP checksum is the sum of the pseudo-header only.
fn datagram(to: [u8; 6], payload: &[u8]) -> Vec<u8> {
    let udp_len = 8 + payload.len();
    let mut frame = Vec::new();
    frame.extend_from_slice(&to);
    frame.extend_from_slice(&[0x02, 0, 0, 0, 0, 1]);
    frame.extend_from_slice(&[0x08, 0x00]);
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 7, 0, 1, 10, 7, 0, 2];
    ip[2..4].copy_from_slice(&(20 + udp_len as u16).to_be_bytes());
    let header_sum = !sum(&ip, 0);
    ip[10..12].copy_from_slice(&header_sum.to_be_bytes());
    frame.extend_from_slice(&ip);
    let pseudo = sum(&ip[12..20], 17 + udp_len as u32);
    frame.extend_from_slice(&1000u16.to_be_bytes());
    frame.extend_from_slice(&2000u16.to_be_bytes());
    frame.extend_from_slice(&(udp_len as u16).to_be_bytes());
    frame.extend_from_slice(&pseudo.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The Internet checksum's one's complement sum (RFC 1071), not inverted.
fn sum(bytes: &[u8], start: u32) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum = start + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Whether the UDP checksum of a datagram like ours is right: everything it covers sums up to all ones.
fn checksum_is_right(frame: &[u8]) -> bool {
    let udp = &frame[34..];
    sum(udp, u32::from(sum(&frame[26..34], 17 + udp.len() as u32))) == 0xffff
}

#[test]
fn the_kernel_completes_checksums() {
    let Some(lab) = Lab::enter("the_kernel_completes_checksums") else { return };
    lab.veth("va", "vb", 1);
    let a = match nethuns_rs::af_xdp::Sock::create("va?tx_checksum", None, Default::default()) {
        Ok(socket) => socket,
        Err(error) => return common::skip("the_kernel_completes_checksums", error),
    };
    assert!(a.mode().tx_checksum);
    let b = open("vb");
    for len in [10, 11, 1000] {
        let packet = datagram([0x02, 0, 0, 0, 0, 2], &vec![0x5a; len]);
        assert!(!checksum_is_right(&packet));
        let mut payload = a.alloc(packet.len()).unwrap();
        payload.copy_from_slice(&packet);
        a.send_checksum(payload, 34, 6).unwrap();
        // One without offload behind it: options are per packet.
        a.send(&packet).unwrap();
        drain(&a);
        let got = receive(&b, 2);
        let mut got = got.into_iter().map(|token| token.consume(b.context()));
        assert!(checksum_is_right(&got.next().unwrap()), "payload of {len} bytes");
        assert_eq!(got.next().unwrap()[..], packet[..]);
    }
    // What was received has room before it, and is sent on with a checksum too.
    send(&b, 1, 60);
    let mut received = receive(&a, 1).remove(0).consume(a.context());
    let packet = datagram([0x02, 0, 0, 0, 0, 2], &[7; 100]);
    received.resize(packet.len()).unwrap();
    received.copy_from_slice(&packet);
    a.send_checksum(received, 34, 6).unwrap();
    drain(&a);
    assert!(checksum_is_right(&receive(&b, 1).remove(0).consume(b.context())));
    // A frame taken past the socket has no room before it: it is copied where no offload is asked for.
    let mut bare = a.context().alloc(60).unwrap();
    bare.copy_from_slice(&frame(0, 60));
    let bare = a.send_checksum(bare, 34, 6).unwrap_err().packet;
    a.send_payload(bare).unwrap();
    drain(&a);
    expect(&b, 1, 60);

    let outside = a.alloc(60).unwrap();
    assert!(a.send_checksum(outside, 58, 6).unwrap_err().to_string().contains("60 bytes"));
    let plain = b.alloc(60).unwrap();
    assert!(b.send_checksum(plain, 34, 6).unwrap_err().to_string().contains("`tx_checksum`"));
    assert!(matches!(a.send(&[0; 4096]), Err(Error::TooBigPacket(4096))), "metadata takes room");
    assert_clean(&a);
    assert_clean(&b);
}

#[test]
fn the_kernels_own_socket_accepts_offloaded_checksums() {
    let Some(lab) = Lab::enter("the_kernels_own_socket_accepts_offloaded_checksums") else { return };
    lab.veth("va", "vb", 1);
    ip("addr add 10.7.0.2/24 dev vb");
    let a = match nethuns_rs::af_xdp::Sock::create("va?tx_checksum", None, Default::default()) {
        Ok(socket) => socket,
        Err(error) => return common::skip("the_kernels_own_socket_accepts_offloaded_checksums", error),
    };
    let server = UdpSocket::bind("10.7.0.2:2000").unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let mac = open_mac("vb");
    let packet = datagram(mac, b"with a checksum");
    // Without offload the sum is wrong and the kernel drops the datagram.
    a.send(&datagram(mac, b"without")).unwrap();
    let mut payload = a.alloc(packet.len()).unwrap();
    payload.copy_from_slice(&packet);
    a.send_checksum(payload, 34, 6).unwrap();
    drain(&a);
    let mut buffer = [0; 100];
    let (n, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..n], from.to_string().as_str()), (&b"with a checksum"[..], "10.7.0.1:1000"));
    assert!(a.wait(Interest::Writable, Some(PATIENCE)).unwrap());
    assert_clean(&a);
}

fn open_mac(interface: &str) -> [u8; 6] {
    nethuns_rs::api::LinkInfo::of_interface(interface).unwrap().mac.unwrap()
}
