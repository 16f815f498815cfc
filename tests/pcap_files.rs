//! Capture files as ports: both formats both ways, the tools that others use on them, and files that are broken.
#![cfg(feature = "pcap")]

mod common;

use nethuns_rs::api::{Interest, Metadata, Socket};
use nethuns_rs::errors::Error;
use nethuns_rs::pcap::{CaptureWriter, Format, Layout, PcapFlags, Sock};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A folder of the test's own, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nethuns-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn with(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.file(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A packet as recorded: bytes, time, length on the wire.
type Recorded = (Vec<u8>, u64, u32);

const START: u64 = 1_700_000_000_123_456_789;

fn packet(n: u32) -> Recorded {
    let len = [60, 61, 62, 63, 64, 1514, 333][n as usize % 7];
    let mut bytes: Vec<u8> = (0..len).map(|i| (i as u32 * 7 + n) as u8).collect();
    bytes[12..14].copy_from_slice(if n.is_multiple_of(2) { &[0x88, 0xb5] } else { &[0x08, 0x06] });
    (bytes, START + u64::from(n) * 1_000_003, len as u32 + if n.is_multiple_of(5) { 1000 } else { 0 })
}

fn packets(count: u32) -> Vec<Recorded> {
    (0..count).map(packet).collect()
}

fn open(spec: &str) -> Sock {
    Sock::create(spec, None, PcapFlags::default()).unwrap_or_else(|e| panic!("{spec}: {e}"))
}

fn write(spec: &str, packets: &[Recorded]) {
    let socket = open(spec);
    for (bytes, at, wire_len) in packets {
        socket.send_at(bytes, *at, *wire_len).unwrap();
    }
}

/// Everything up to the end of the file, or up to an error.
fn read_until_error(spec: &str) -> (Vec<Recorded>, Option<String>) {
    let socket = open(spec);
    let mut all = Vec::new();
    let error = loop {
        match socket.recv() {
            Ok((packet, meta)) => {
                assert_eq!(packet.len(), meta.caplen as usize);
                assert_eq!(meta.wire_len(), (meta.len != meta.caplen).then_some(meta.len));
                all.push((packet.to_vec(), meta.timestamp_ns().unwrap(), meta.len));
            }
            Err(Error::EndOfFile) => break None,
            Err(Error::NoPacket) => panic!("a file has packets or an end"),
            Err(error) => break Some(error.to_string()),
        }
    };
    assert_eq!((socket.stats().rx_packets, socket.frames_in_flight()), (all.len() as u64, Some(0)));
    (all, error)
}

fn read(spec: &str) -> Vec<Recorded> {
    let (all, error) = read_until_error(spec);
    assert_eq!(error, None);
    all
}

fn refusal(spec: &str) -> String {
    match Sock::create(spec, None, PcapFlags::default()) {
        Ok(socket) => panic!("{spec} opened: {}", socket.mode()),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn mentions(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in: {text}");
    }
}

/// What a tool prints; `None`, and a line that says so, where it is not installed.
fn tool(test: &str, name: &str, args: &[&str]) -> Option<String> {
    let Ok(output) = Command::new(name).args(args).output() else {
        common::skip(test, format_args!("{name} is not installed: apt-get install tshark tcpdump"));
        return None;
    };
    assert!(output.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn both_formats_keep_everything() {
    let folder = Folder::new("both_formats_keep_everything");
    let all = packets(300);
    for name in ["a.pcap", "a.pcapng", "a.cap", "a.PCAPNG"] {
        let path = folder.file(name);
        write(&format!("pcap:{path}?write"), &all);
        assert!(read(&format!("pcap:{path}")) == all, "{name}");
        let magic: [u8; 4] = std::fs::read(&path).unwrap()[..4].try_into().unwrap();
        let wanted =
            if name.to_lowercase().ends_with("ng") { [0x0a, 0x0d, 0x0d, 0x0a] } else { [0x4d, 0x3c, 0xb2, 0xa1] };
        assert_eq!(magic, wanted, "{name}");
    }
    // From one to the other and back, as a program would: what is received is sent.
    let hop = |from: &str, to: &str| {
        let (from, to) = (open(&folder.file(from)), open(&format!("{}?write", folder.file(to))));
        from.recv_each(1000, |token, meta| {
            let packet = token.consume(from.context());
            to.send_at(&packet, meta.timestamp_ns().unwrap(), meta.len).unwrap();
        })
        .unwrap();
        to.drain(Duration::ZERO).unwrap();
    };
    hop("a.pcap", "b.pcapng");
    hop("b.pcapng", "c.pcap");
    assert!(read(&folder.file("b.pcapng")) == all);
    assert!(std::fs::read(folder.file("a.pcap")).unwrap() == std::fs::read(folder.file("c.pcap")).unwrap());
}

#[test]
fn a_format_can_be_asked_for() {
    let folder = Folder::new("a_format_can_be_asked_for");
    let all = packets(3);
    let ng = folder.file("trace");
    write(&format!("{ng}?write&format=pcapng"), &all);
    assert_eq!(read(&ng), all);
    assert_eq!(std::fs::read(&ng).unwrap()[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
    let micros = folder.file("micros.pcap");
    write(&format!("{micros}?write&nano=off"), &all);
    let rounded: Vec<Recorded> = all.iter().map(|(b, at, len)| (b.clone(), at / 1000 * 1000, *len)).collect();
    assert_eq!(read(&micros), rounded);
    assert_eq!(std::fs::read(&micros).unwrap()[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
    mentions(&refusal(&format!("{ng}?write&format=erf")), &["format=erf", "pcap, pcapng"]);
    mentions(&refusal(&format!("{}?write&nano=off", folder.file("x.pcapng"))), &["nano=off", "resolution"]);
}

#[test]
fn other_tools_read_what_we_write() {
    let test = "other_tools_read_what_we_write";
    let folder = Folder::new(test);
    let all = packets(50);
    for name in ["a.pcap", "a.pcapng"] {
        let path = folder.file(name);
        write(&format!("{path}?write"), &all);
        let fields = ["-r", &path, "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.cap_len"];
        let Some(text) = tool(test, "tshark", &fields) else { return };
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 50);
        for (line, (bytes, at, wire_len)) in lines.iter().zip(&all) {
            let wanted = format!("{}.{:09}\t{wire_len}\t{}", at / 1_000_000_000, at % 1_000_000_000, bytes.len());
            assert_eq!(*line, wanted);
        }
        let Some(text) = tool(test, "capinfos", &["-M", &path]) else { return };
        let kind = if name.ends_with("ng") { "pcapng" } else { "nsecpcap" };
        mentions(&text, &[kind, "nanoseconds (9)", "Ethernet", "Number of packets:   50", "65535"]);
        let Some(text) = tool(test, "tcpdump", &["-r", &path, "--nano", "-tt"]) else { return };
        mentions(&text, &["1700000000.123456789", "1700000000.124456792"]);
        assert_eq!(text.lines().filter(|l| l.starts_with("17")).count(), 50);
    }
}

#[test]
fn what_other_tools_write_is_read() {
    let test = "what_other_tools_write_is_read";
    let folder = Folder::new(test);
    let all = packets(50);
    let ours = folder.file("ours.pcapng");
    write(&format!("{ours}?write"), &all);
    let micros: Vec<Recorded> = all.iter().map(|(b, at, len)| (b.clone(), at / 1000 * 1000, *len)).collect();
    for (kind, wanted) in [("pcap", &micros), ("nsecpcap", &all), ("pcapng", &all), ("modpcap", &micros)] {
        let theirs = folder.file(&format!("{kind}.cap"));
        let Some(_) = tool(test, "editcap", &["-F", kind, &ours, &theirs]) else { return };
        assert!(read(&theirs) == *wanted, "{kind}");
    }
    // Two files in one: two interfaces of the same kind.
    let merged = folder.file("merged.pcapng");
    let Some(_) = tool(test, "mergecap", &["-a", "-w", &merged, &ours, &ours]) else { return };
    assert!(read(&merged) == [&all[..], &all[..]].concat());
}

#[test]
fn what_libpcap_cannot_read_is_explained() {
    let test = "what_libpcap_cannot_read_is_explained";
    let folder = Folder::new(test);
    let (ours, raw) = (folder.file("ours.pcapng"), folder.file("raw.pcapng"));
    write(&format!("{ours}?write"), &packets(5));
    let Some(_) = tool(test, "editcap", &["-T", "rawip", &ours, &raw]) else { return };
    mentions(&refusal(&raw), &["link type", "Raw IP", &raw, "Ethernet", "editcap -T ether"]);
    let mixed = folder.file("mixed.pcapng");
    let Some(_) = tool(test, "mergecap", &["-a", "-w", &mixed, &ours, &raw]) else { return };
    let error = match Sock::create(&mixed, None, PcapFlags::default()) {
        Err(error) => error.to_string(),
        Ok(_) => read_until_error(&mixed).1.expect("an error"),
    };
    mentions(&error, &["mixed.pcapng", "type", "first interface", "tshark -r", "frame.interface_id"]);
    // Two snapshot lengths.
    let short = folder.file("short.pcapng");
    write(&format!("{short}?write&snaplen=100"), &packets(5));
    let both = [std::fs::read(&ours).unwrap(), std::fs::read(&short).unwrap()].concat();
    let (all, error) = read_until_error(&folder.with("both.pcapng", &both));
    assert_eq!(all, packets(5), "the first section is whole");
    mentions(&error.expect("an error"), &["snapshot length", "editcap"]);
}

#[test]
fn filters_apply_to_files() {
    let folder = Folder::new("filters_apply_to_files");
    let path = folder.file("a.pcap");
    write(&format!("{path}?write"), &packets(20));
    let arp: Vec<Recorded> = packets(20).into_iter().filter(|(bytes, ..)| bytes[12] == 8).collect();
    assert_eq!(read(&format!("{path}?filter=arp")), arp);
    assert_eq!(read(&format!("{path}?filter=not arp")).len(), 10);
    let flags = PcapFlags { filter: Some("ip6".into()), ..PcapFlags::default() };
    let none = Sock::create(&path, None, flags.clone()).unwrap();
    assert!(matches!(none.recv(), Err(Error::EndOfFile)));
    mentions(&refusal(&format!("{path}?filter=arp and")), &["filter=arp and", "syntax error"]);
    // A file that is written takes everything: a filter would be a lie.
    let refused = Sock::create(&format!("{}?write", folder.file("b.pcap")), None, flags).unwrap_err();
    mentions(&refused.to_string(), &["filter=ip6", "written"]);
    assert!(!Path::new(&folder.file("b.pcap")).exists());
}

#[test]
fn the_end_is_the_end() {
    let folder = Folder::new("the_end_is_the_end");
    let path = folder.file("a.pcap");
    write(&format!("{path}?write"), &packets(10));
    let socket = open(&path);
    let mut batch = Vec::new();
    assert_eq!(socket.recv_batch(&mut batch, 7).unwrap(), 7);
    assert_eq!(socket.recv_batch(&mut batch, 7).unwrap(), 3, "what is left comes first");
    for _ in 0..3 {
        assert!(socket.wait(Interest::Readable, Some(Duration::ZERO)).unwrap());
        assert!(matches!(socket.recv_batch(&mut batch, 7), Err(Error::EndOfFile)));
        assert!(matches!(socket.recv(), Err(Error::EndOfFile)));
    }
    assert_eq!(batch.len(), 10);
}

#[test]
fn a_held_pool_loses_nothing_of_a_file() {
    let folder = Folder::new("a_held_pool_loses_nothing_of_a_file");
    let path = folder.file("a.pcapng");
    write(&format!("{path}?write"), &packets(23));
    let socket = open(&format!("{path}?buffers=5"));
    let (mut held, mut numbers) = (Vec::new(), Vec::new());
    loop {
        match socket.recv_batch(&mut held, 64) {
            Ok(0) => panic!("frames are free, packets are left"),
            Ok(n) => assert!(n <= 5),
            Err(Error::EndOfFile) => break,
            Err(error) => panic!("{error}"),
        }
        if held.len() == 5 {
            assert!(matches!(socket.recv(), Err(Error::NoPacket)));
        }
        numbers.extend(held.drain(..).map(|(_, meta)| meta.timestamp_ns().unwrap()));
    }
    assert_eq!(numbers, packets(23).iter().map(|p| p.1).collect::<Vec<_>>());
    assert_eq!((socket.stats().rx_packets, socket.stats().rx_dropped.total()), (23, 0));
}

#[test]
fn long_packets_of_a_file_are_cut() {
    let folder = Folder::new("long_packets_of_a_file_are_cut");
    let path = folder.file("a.pcapng");
    let long = (vec![1; 9000], START, 9000);
    let recorded_short = (vec![2; 200], START, 9000);
    write(&format!("{path}?write"), &[long.clone(), recorded_short.clone()]);
    let cut = open(&format!("{path}?buffer_size=200"));
    let (packet, meta) = cut.recv().unwrap();
    assert_eq!((packet.len(), meta.caplen, meta.len), (200, 200, 9000));
    drop(packet);
    assert_eq!(cut.recv().unwrap().1.len, 9000);
    assert_eq!(cut.stats().rx_truncated, 1, "the second was recorded like that");
    let snapped = open(&format!("{path}?snaplen=100"));
    assert_eq!(snapped.recv().unwrap().0.len(), 100);
    assert_eq!(snapped.stats().rx_truncated, 0, "asked for");
    assert_eq!(read(&format!("{path}?buffer_size=9000")), [long, recorded_short]);
    // And of a file being written: the snapshot length cuts, and the head of the file says so.
    let short = folder.file("short.pcap");
    write(&format!("{short}?write&snaplen=100"), &packets(1));
    let (bytes, at, _) = packet_cut(0, 100);
    assert_eq!(read(&short), [(bytes, at, 1060)]);
    assert_eq!(std::fs::read(&short).unwrap()[16..20], 100u32.to_le_bytes());
}

fn packet_cut(n: u32, len: usize) -> Recorded {
    let (mut bytes, at, wire_len) = packet(n);
    bytes.truncate(len);
    (bytes, at, wire_len)
}

#[test]
fn a_file_cut_anywhere_gives_what_is_whole() {
    let folder = Folder::new("a_file_cut_anywhere_gives_what_is_whole");
    for name in ["a.pcap", "a.pcapng"] {
        let path = folder.file(name);
        let all = packets(4);
        write(&format!("{path}?write"), &all);
        let whole = std::fs::read(&path).unwrap();
        let cut = folder.file("cut");
        let mut outcomes = [0; 5];
        for len in 0..whole.len() {
            std::fs::write(&cut, &whole[..len]).unwrap();
            match Sock::create(&format!("pcap:{cut}"), None, PcapFlags::default()) {
                Err(error) => mentions(&error.to_string(), &[&cut]),
                Ok(_) => {
                    let (got, error) = read_until_error(&cut);
                    assert!(got == all[..got.len()], "{name} cut at {len}");
                    outcomes[got.len()] += 1;
                    if let Some(error) = error {
                        mentions(&error, &["truncated", "ends within a packet"]);
                    }
                }
            }
        }
        assert!(outcomes[..4].iter().all(|n| *n > 0), "{name}: {outcomes:?}");
    }
}

#[test]
fn an_error_after_packets_waits_for_the_next_call() {
    let folder = Folder::new("an_error_after_packets_waits_for_the_next_call");
    let path = folder.file("a.pcap");
    write(&format!("{path}?write"), &packets(4));
    let whole = std::fs::read(&path).unwrap();
    let socket = open(&folder.with("cut.pcap", &whole[..whole.len() - 1]));
    let mut batch = Vec::new();
    assert_eq!(socket.recv_batch(&mut batch, 64).unwrap(), 3);
    mentions(&socket.recv_batch(&mut batch, 64).unwrap_err().to_string(), &["cut.pcap", "truncated"]);
    assert!(matches!(socket.recv(), Err(Error::EndOfFile)));
}

#[test]
fn what_is_no_capture_says_so() {
    let folder = Folder::new("what_is_no_capture_says_so");
    mentions(&refusal(&folder.with("empty.pcap", b"")), &["empty.pcap", "it is empty"]);
    mentions(&refusal(&folder.with("text.pcap", b"This is a text, not a capture.")), &["unknown file format"]);
    mentions(&refusal(&folder.with("a.pcap", &[0x1f, 0x8b, 8, 0, 0, 0])), &["gzip", "gunzip -k"]);
    mentions(&refusal(&folder.with("b.pcap", &[0x28, 0xb5, 0x2f, 0xfd, 0, 0])), &["zstd", "unzstd"]);
    mentions(&refusal(&folder.file("nosuch.pcap")), &["nosuch.pcap: no such file", "?write"]);
    mentions(&refusal(folder.0.to_str().unwrap()), &["Is a directory"]);
    mentions(&refusal(&format!("{}?write", folder.file("no/such/folder.pcap"))), &["mkdir -p", "no/such"]);
}

#[test]
fn wrong_ways_are_refused() {
    let folder = Folder::new("wrong_ways_are_refused");
    let path = folder.file("a.pcap");
    let writing = open(&format!("pcap:{path}?write"));
    for error in [writing.recv().map(drop), writing.recv_each(4, |_, _| ()).map(drop)] {
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }));
        mentions(&error.to_string(), &["receiving from", &path, "opened for writing", &format!("pcap:{path}")]);
    }
    drop(writing);
    let reading = open(&path);
    for error in [reading.send(&[0; 60]), reading.send_at(&[0; 60], 0, 60)] {
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }));
        mentions(&error.to_string(), &["sending on", &path, "opened for reading", "?write", "?append"]);
    }
    assert_eq!(reading.stats().tx_submitted, 0);
    mentions(&refusal(&format!("{path}?promisc")), &["unknown option `promisc`", "filter", "write"]);
    mentions(&refusal(&format!("{path}?write&direction=in")), &["unknown option `direction`", "format"]);
    mentions(&refusal(&format!("{path}?write&append")), &["choose one"]);
    mentions(&refusal(&format!("{path}?write&file=off")), &["file=off"]);
    let queue = Sock::create(&path, Some(1), PcapFlags::default()).unwrap_err();
    mentions(&queue.to_string(), &["queue 1"]);
}

#[test]
fn a_sent_packet_is_stamped_and_counted() {
    let folder = Folder::new("a_sent_packet_is_stamped_and_counted");
    let path = folder.file("a.pcapng");
    let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let before = now();
    let socket = open(&format!("{path}?write"));
    let mut packet = socket.alloc(60).unwrap();
    packet.fill(1);
    socket.send_payload(packet).unwrap();
    socket.send(&[2; 70]).unwrap();
    let stats = socket.stats();
    assert_eq!((stats.tx_submitted, stats.tx_packets, stats.tx_bytes, stats.tx_pending()), (2, 0, 130, 2));
    socket.flush();
    assert_eq!((socket.stats().tx_packets, socket.stats().tx_pending()), (2, 0));
    // Readable while it is still being written; the rest comes with the drop.
    assert_eq!(read(&path).len(), 2);
    socket.send(&[3; 80]).unwrap();
    assert!(socket.wait(Interest::Writable, None).unwrap());
    assert_eq!(read(&path).len(), 2);
    assert_eq!(socket.frames_in_flight(), Some(0));
    drop(socket);
    let all = read(&path);
    assert_eq!(all.iter().map(|(b, ..)| b.len()).collect::<Vec<_>>(), [60, 70, 80]);
    assert!(all.iter().all(|(_, at, _)| (before..=now()).contains(at)));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_reported() {
    let socket = open("pcap:/dev/full?write");
    socket.send(&[0; 60]).unwrap();
    let error = socket.drain(Duration::ZERO).unwrap_err();
    mentions(&error.to_string(), &["writing /dev/full", "df -h /dev", "No space left"]);
    assert!(socket.send(&[0; 60]).is_err(), "the file may end within a packet");
    let stats = socket.stats();
    assert_eq!((stats.tx_submitted, stats.tx_packets, stats.tx_dropped.interface, stats.tx_pending()), (1, 0, 1, 0));
    // Without a flush it shows once the buffer is full.
    let socket = open("pcap:/dev/full?write");
    let refused = (0..10_000).find_map(|_| socket.send(&[0; 1500]).err()).expect("an error within 64 KiB");
    mentions(&refused.to_string(), &["/dev/full", "No space left"]);
    assert_eq!(socket.stats().tx_pending(), 0);
}

#[test]
fn files_are_added_to() {
    let folder = Folder::new("files_are_added_to");
    let all = packets(9);
    for name in ["a.pcap", "a.pcapng"] {
        let path = folder.file(name);
        for part in all.chunks(3) {
            write(&format!("{path}?append"), part);
        }
        assert!(read(&path) == all, "{name}");
        if let Some(text) = tool("files_are_added_to", "capinfos", &["-M", "-c", &path]) {
            mentions(&text, &["Number of packets:   9"]);
        }
        write(&format!("{path}?write"), &all[..1]);
        assert_eq!(read(&path).len(), 1, "`write` begins anew");
    }
    // A file keeps its own snapshot length and resolution.
    let path = folder.file("micros.pcap");
    write(&format!("{path}?write&nano=off&snaplen=100"), &all[..1]);
    write(&format!("{path}?append"), &all[5..6]);
    assert_eq!(read(&path)[1], (all[5].0[..100].to_vec(), all[5].1 / 1000 * 1000, all[5].2));
    let path = folder.file("short.pcapng");
    write(&format!("{path}?write&snaplen=100"), &all[..1]);
    write(&format!("{path}?append&snaplen=80"), &all[5..6]);
    assert_eq!(read(&path)[1].0.len(), 80);
    // What it cannot go on with.
    mentions(&refusal(&format!("{}?append", folder.with("x.pcap", b"something else"))), &["neither", "mergecap"]);
    assert_eq!(std::fs::read(folder.file("x.pcap")).unwrap(), b"something else");
    mentions(&refusal(&format!("{path}?append&format=pcap")), &["a pcapng file", "format=pcapng"]);
    let big_endian = [0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 1];
    let path = folder.with("big.pcap", &big_endian);
    mentions(&refusal(&format!("{path}?append")), &["big-endian"]);
    assert_eq!(read(&path), [], "to read, it is as good as any");
}

#[test]
#[cfg(unix)]
fn a_pipe_is_read_like_a_file() {
    let folder = Folder::new("a_pipe_is_read_like_a_file");
    let (path, fifo) = (folder.file("a.pcap"), folder.file("fifo"));
    write(&format!("{path}?write"), &packets(5));
    let made = Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
    assert!(made.success());
    let (from, to) = (path, fifo.clone());
    let writer = std::thread::spawn(move || std::fs::write(to, std::fs::read(from).unwrap()).unwrap());
    assert_eq!(read(&fifo), packets(5));
    writer.join().unwrap();
}

#[test]
fn a_name_is_taken_for_what_it_is() {
    let folder = Folder::new("a_name_is_taken_for_what_it_is");
    let path = folder.file("trace of%3F monday.pcap");
    write(&format!("pcap:{path}?write"), &packets(2));
    let written = folder.file("trace of? monday.pcap");
    assert!(Path::new(&written).exists());
    assert_eq!(read(&format!("pcap:{path}")).len(), 2);
    // Neither a path nor an extension: an interface, unless it says otherwise.
    mentions(&refusal("pcap:nosuch"), &["no such interface"]);
    mentions(&refusal("pcap:nosuch?file"), &["no such file"]);
}

#[test]
fn a_writer_takes_any_output() {
    let mut bytes = Vec::new();
    let layout = Layout { format: Format::Pcap, nanos: true, snaplen: 65535, interface: None };
    let mut writer = CaptureWriter::new(&mut bytes, layout.clone());
    writer.write(&[9; 60], START, 0).unwrap();
    let late = (u64::from(u32::MAX) + 1) * 1_000_000_000;
    mentions(&writer.write(&[9; 60], late, 60).unwrap_err().to_string(), &["2106", "pcapng"]);
    assert!(!writer.has_failed(), "the packet was refused, nothing is broken");
    writer.flush().unwrap();
    assert_eq!((writer.written(), writer.layout()), (1, &layout));
    drop(writer);
    assert_eq!(bytes.len(), 24 + 16 + 60);
    assert_eq!(bytes[36..40], 60u32.to_le_bytes(), "a packet is at least as long as its bytes");
    // pcapng has 64 bits for the time.
    let folder = Folder::new("a_writer_takes_any_output");
    let path = folder.file("late.pcapng");
    write(&format!("{path}?write"), &[(vec![1; 60], late, 60)]);
    assert_eq!(read(&path)[0].1, late);
}

#[path = "../fuzz/entries/capture_file.rs"]
mod fuzz;

/// What `cargo fuzz run capture_file` does, for a moment, without its tools: files of both formats with a few bytes
/// changed, cut or doubled, and noise.
#[test]
fn broken_files_break_nothing() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let whole = |format, nanos| {
        let mut bytes = Vec::new();
        let layout = Layout { format, nanos, snaplen: 2000, interface: Some("va".to_owned()) };
        let mut writer = CaptureWriter::new(&mut bytes, layout);
        for (packet, at, len) in packets(6) {
            writer.write(&packet, at, len).unwrap();
        }
        writer.finish().unwrap();
        bytes
    };
    let files = [whole(Format::Pcap, true), whole(Format::Pcap, false), whole(Format::PcapNg, true)];
    files.iter().for_each(|file| fuzz::capture_file(file));
    for round in 0..1500 {
        let mut file = files[round % 3].clone();
        for _ in 0..=random(4) {
            // Heads matter most.
            let reach = if random(2) == 0 { file.len().min(160) } else { file.len() };
            let at = random(reach.max(1)).min(file.len().saturating_sub(1));
            match random(6) {
                0 => file.truncate(at),
                1 => file.extend_from_within(at..),
                2 => file[at..].iter_mut().take(4).for_each(|byte| *byte = 0xff),
                3 => file[at..].iter_mut().take(4).for_each(|byte| *byte = 0),
                4 => drop(file.drain(at..(at + 1 + random(8)).min(file.len()))),
                _ => file[at..].iter_mut().take(1).for_each(|byte| *byte = random(256) as u8),
            }
            if file.is_empty() {
                break;
            }
        }
        fuzz::capture_file(&file);
    }
    for _ in 0..100 {
        let noise: Vec<u8> = (0..random(300)).map(|_| random(256) as u8).collect();
        fuzz::capture_file(&noise);
    }
}
