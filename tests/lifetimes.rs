//! Sockets, contexts, tokens and payloads that end at the same moment on different threads. Worth most under
//! AddressSanitizer, which sees a frame that is touched after its pool has gone.

use nethuns_rs::api::{Context, Interest, Socket, Token};
use nethuns_rs::mem::{MemFlags, Sock};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

fn open(name: &str, frames: usize) -> Sock {
    Sock::create(name, None, MemFlags { frames, frame_size: 128, ..MemFlags::default() }).unwrap()
}

/// Tokens and payloads are dropped by several threads while the last socket and the last context go: by whichever comes
/// last the pool ends, once.
#[test]
fn everything_ends_at_once() {
    for round in 0..300 {
        let name = format!("mem:lifetimes-{round}");
        let socket = open(&name, 16);
        let start = Arc::new(Barrier::new(5));
        let tokens = |n: usize| (0..n).map(|_| socket.alloc(60).unwrap().into_token()).collect::<Vec<Token>>();
        let dropped: Vec<_> = (0..2)
            .map(|_| {
                let (mine, start) = (tokens(4), start.clone());
                std::thread::spawn(move || {
                    start.wait();
                    drop(mine);
                })
            })
            .collect();
        let (mine, context, gate) = (tokens(4), socket.context().clone(), start.clone());
        let written = std::thread::spawn(move || {
            gate.wait();
            for token in mine {
                let mut packet = context.packet(token);
                packet.fill(round as u8);
                assert!(packet.iter().all(|byte| *byte == round as u8));
            }
        });
        let (mine, gate) = (tokens(2), start.clone());
        let looked = std::thread::spawn(move || {
            gate.wait();
            // Gone or not, it is never half gone.
            for token in &mine {
                assert!(matches!(token.peek(<[u8]>::len), Some(60) | None));
            }
        });
        start.wait();
        drop(socket);
        dropped.into_iter().for_each(|thread| thread.join().unwrap());
        written.join().unwrap();
        looked.join().unwrap();
        // Nobody is left: the name is free, and the new wire is a new pool.
        let again = open(&name, 16);
        assert_eq!(again.frames_in_flight(), Some(0));
        let all: Vec<_> = std::iter::from_fn(|| again.alloc(60).ok()).collect();
        assert_eq!(all.len(), 16);
    }
}

/// Receivers come and go while a sender sends: what stood in their queues goes home, and nobody else notices.
#[test]
fn receivers_come_and_go_under_a_sender() {
    let name = "mem:lifetimes-hub";
    let (sender, steady) = (open(name, 512), open(name, 512));
    let done = Arc::new(AtomicBool::new(false));
    let visitors: Vec<_> = (0..2)
        .map(|_| {
            let done = done.clone();
            std::thread::spawn(move || {
                let mut visits = 0u32;
                while !done.load(Ordering::Relaxed) {
                    let visitor = open(name, 512);
                    visitor.wait(Interest::Readable, Some(Duration::from_micros(200))).unwrap();
                    for _ in 0..visits % 4 {
                        if let Ok((packet, _)) = visitor.recv() {
                            assert_eq!(packet.len(), 60);
                        }
                    }
                    visits += 1;
                }
                visits
            })
        })
        .collect();
    let (mut sent, mut heard, start) = (0u64, 0u64, Instant::now());
    while start.elapsed() < Duration::from_millis(600) {
        match sender.send(&[7; 60]) {
            Ok(()) => sent += 1,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
        sender.flush();
        while let Ok((packet, _)) = steady.recv() {
            assert!(packet.iter().all(|byte| *byte == 7));
            heard += 1;
        }
    }
    done.store(true, Ordering::Relaxed);
    let visits: u32 = visitors.into_iter().map(|visitor| visitor.join().unwrap()).sum();
    assert!(visits > 4, "{visits}");
    // Those that missed a copy were told so.
    assert_eq!(heard + steady.stats().rx_dropped.total(), sent);
    sender.flush();
    assert_eq!(sender.frames_in_flight(), Some(0));
}

/// One thread sleeps on the descriptor or in `wait`, others send: no packet is slept over.
#[test]
fn no_packet_is_slept_over() {
    const EACH: usize = 3000;
    let name = "mem:lifetimes-sleep";
    let receiver = open(name, 256);
    // Senders hear each other: small queues keep their copies from eating the pool.
    let heard = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..2)
        .map(|_| {
            let heard = heard.clone();
            std::thread::spawn(move || {
                let socket = open("mem:lifetimes-sleep?queue=1", 256);
                for i in 0..EACH {
                    while socket.send(&[1; 60]).is_err() {
                        std::thread::yield_now();
                    }
                    socket.flush();
                    let ahead = || (i + 1).saturating_sub(heard.load(Ordering::Relaxed) / 2) > 16;
                    while ahead() {
                        std::thread::yield_now();
                    }
                }
                socket
            })
        })
        .collect();
    let start = Instant::now();
    while heard.load(Ordering::Relaxed) < 2 * EACH {
        assert!(start.elapsed() < Duration::from_secs(60), "slept over a packet: {:?}", receiver.stats());
        assert!(receiver.wait(Interest::Readable, Some(Duration::from_secs(30))).unwrap());
        // One at a time: the rest must keep it awake.
        if receiver.recv().is_ok() {
            heard.fetch_add(1, Ordering::Relaxed);
        }
    }
    drop(senders.into_iter().map(|sender| sender.join().unwrap()).collect::<Vec<_>>());
    assert_eq!(receiver.frames_in_flight(), Some(0));
}
