//! libpcap over a veth pair: every flag, both directions, and what is lost and why.
#![cfg(all(target_os = "linux", feature = "pcap"))]

mod common;

use common::netns::Lab;
use nethuns_rs::api::{Interest, Socket};
use nethuns_rs::pcap::{PcapFlags, Sock};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A frame of `len` bytes, to everybody, that no protocol claims, numbered.
fn frame(len: usize, number: u32) -> Vec<u8> {
    let mut frame = vec![0; len];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame[14..18].copy_from_slice(&number.to_be_bytes());
    frame
}

#[test]
fn sends_and_receives() {
    let Some(lab) = Lab::enter("sends_and_receives") else { return };
    lab.veth("va", "vb", 1);
    let a = Sock::create("pcap:va", None, PcapFlags::default()).unwrap();
    let b = Sock::create("vb", None, PcapFlags::default()).unwrap();
    for n in 0..20 {
        a.send(&frame(60, n)).unwrap();
    }
    for n in 0..20 {
        assert!(b.wait(Interest::Readable, Some(SECOND)).unwrap());
        let (packet, meta) = b.recv().unwrap();
        assert_eq!(*packet, *frame(60, n));
        assert_eq!((meta.len, meta.caplen), (60, 60));
    }
    assert_eq!(b.frames_in_flight(), Some(0));
    println!("{}", b.mode());
}
