//! AF_XDP sockets over a veth pair: both modes, several queues, ownership of frames.
#![cfg(all(target_os = "linux", feature = "af_xdp"))]

mod common;

use common::netns::{Lab, ip};
use nethuns_rs::af_xdp::{AfXdpFlags, Sock};
use nethuns_rs::api::{Attach, Interest, Socket, Token};
use std::time::{Duration, Instant};

/// A frame of `len` bytes that says which one it is.
fn frame(number: u32, len: usize) -> Vec<u8> {
    let mut frame = vec![0u8; len];
    frame[..6].copy_from_slice(&[0x02, 0, 0, 0, 0, 2]);
    frame[6..12].copy_from_slice(&[0x02, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&0x88b5u16.to_be_bytes());
    frame[14..18].copy_from_slice(&number.to_be_bytes());
    for (i, byte) in frame.iter_mut().enumerate().skip(18) {
        *byte = (i as u32 ^ number) as u8;
    }
    frame
}

/// Receives `n` packets of ours, or panics after two seconds.
fn receive(socket: &Sock, n: usize) -> Vec<Token> {
    let (mut got, start) = (Vec::new(), Instant::now());
    while got.len() < n {
        assert!(start.elapsed() < Duration::from_secs(2), "{} of {n}: {:?}", got.len(), socket.stats());
        let left = n - got.len();
        socket.recv_each(left, |token, _| got.push(token)).unwrap();
        socket.wait(Interest::Readable, Some(Duration::from_millis(20))).unwrap();
    }
    got
}

/// Sends `n` packets in batches, each flushed.
fn send(socket: &Sock, n: u32, len: usize) {
    for i in 0..n {
        socket.send(&frame(i, len)).unwrap();
        if i % 64 == 63 {
            socket.flush();
        }
    }
    assert!(socket.drain(Duration::from_secs(2)).unwrap(), "{:?}", socket.stats());
}

fn open(spec: &str) -> Sock {
    Sock::create(spec, None, AfXdpFlags::default()).unwrap_or_else(|error| panic!("{spec}: {error}"))
}

#[test]
fn packets_cross_in_both_modes_and_both_directions() {
    let Some(lab) = Lab::enter("packets_cross_in_both_modes_and_both_directions") else { return };
    lab.veth("va", "vb", 1);
    for (mode, attach) in [("driver", Attach::Driver), ("generic", Attach::Generic)] {
        let a = open(&format!("af_xdp:va?mode={mode}"));
        let b = open(&format!("vb?mode={mode}"));
        assert_eq!((b.mode().attach, b.mode().zero_copy), (Some(attach), Some(false)));
        for len in [60, 1514, 3000] {
            for (from, to) in [(&a, &b), (&b, &a)] {
                if len > 1514 && attach == Attach::Generic {
                    continue;
                }
                let mtu = len.max(1514) - 14;
                ip(&format!("link set va mtu {mtu}"));
                ip(&format!("link set vb mtu {mtu}"));
                send(from, 300, len);
                for (i, token) in receive(to, 300).into_iter().enumerate() {
                    let packet = token.consume(to.context());
                    assert_eq!(&packet[..], &frame(i as u32, len)[..], "packet {i}");
                }
                ip("link set va mtu 1500");
                ip("link set vb mtu 1500");
            }
        }
        for socket in [&a, &b] {
            let stats = socket.stats();
            assert_eq!(stats.rx_packets, stats.tx_packets);
            assert_eq!((stats.tx_submitted, stats.tx_pending()), (stats.tx_packets, 0));
            assert_eq!((stats.rx_dropped.total(), stats.tx_dropped.total()), (0, 0));
            assert_eq!(socket.frames_in_flight(), Some(0));
        }
    }
}
