//! AF_XDP over several queues and several interfaces: one handle over all of them, one UMEM under all of them.
#![cfg(all(target_os = "linux", feature = "af_xdp"))]

mod common;

use common::netns::{Lab, join};
use common::xdp::{PATIENCE, assert_clean, drain, expect, frame, number, open, receive, receive_with_queue, send};
use nethuns_rs::af_xdp::{AfXdpFlags, Config, Sock};
use nethuns_rs::api::{Context, Interest, Metadata, Socket, Token};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn traffic_on_every_queue_arrives_at_one_handle() {
    let Some(lab) = Lab::enter("traffic_on_every_queue_arrives_at_one_handle") else { return };
    lab.veth("va", "vb", 4);
    for mode in ["driver", "generic"] {
        let b = open(&format!("vb?mode={mode}"));
        assert_eq!(b.mode().queues, [0, 1, 2, 3]);
        // In driver mode veth keeps the queue: what is sent on queue n arrives on queue n. In generic mode the kernel
        // takes the sender's queue for a recorded receive queue, which is one less (Linux 6.18).
        let senders: Vec<Sock> = (0..4)
            .map(|n| Sock::create(&format!("va?mode={mode}&frames=1024"), Some(n), AfXdpFlags::default()).unwrap())
            .collect();
        for (n, sender) in senders.iter().enumerate() {
            assert_eq!(sender.mode().queues, [n as u32]);
            send(sender, 100, 60);
        }
        let mut per_queue = [0; 4];
        for (token, queue) in receive_with_queue(&b, 400) {
            per_queue[queue as usize] += 1;
            drop(token.consume(b.context()));
        }
        match mode {
            "driver" => assert_eq!(per_queue, [100; 4]),
            _ => assert!(per_queue.iter().filter(|n| **n > 0).count() > 1, "{per_queue:?}"),
        }
        // And the other way: the first queue carries what is sent, in order.
        send(&b, 100, 60);
        expect(&senders[0], 100, 60);
        for socket in senders.iter().chain([&b]) {
            assert_clean(socket);
        }
    }
}

#[test]
fn receiving_is_fair_to_quiet_queues() {
    let Some(lab) = Lab::enter("receiving_is_fair_to_quiet_queues") else { return };
    lab.veth("va", "vb", 2);
    let b = open("vb");
    let (loud, quiet) = (
        Sock::create("va", Some(0), AfXdpFlags::default()).unwrap(),
        Sock::create("va", Some(1), AfXdpFlags::default()).unwrap(),
    );
    send(&loud, 500, 60);
    send(&quiet, 5, 60);
    assert!(b.wait(Interest::Readable, Some(PATIENCE)).unwrap());
    // Ten small turns see the quiet queue's packets although the loud one alone could fill them all.
    let mut from_quiet = 0;
    for _ in 0..10 {
        b.recv_each(8, |token, meta| {
            from_quiet += meta.queue();
            drop(token.consume(b.context()));
        })
        .unwrap();
    }
    assert_eq!(from_quiet, 5);
    drop(receive(&b, 425));
    assert_clean(&b);
}

#[test]
fn spreading_sends_on_every_queue() {
    let Some(lab) = Lab::enter("spreading_sends_on_every_queue") else { return };
    lab.veth("va", "vb", 4);
    let (a, b) = (open("va?tx_spread"), open("vb"));
    for i in 0..8 {
        a.send(&frame(i, 60)).unwrap();
        a.flush();
    }
    drain(&a);
    let mut per_queue = [0; 4];
    for (token, queue) in receive_with_queue(&b, 8) {
        per_queue[queue as usize] += 1;
        drop(token.consume(b.context()));
    }
    assert_eq!(per_queue, [2; 4]);
}

#[test]
fn chosen_queues_and_their_descriptor() {
    let Some(lab) = Lab::enter("chosen_queues_and_their_descriptor") else { return };
    lab.veth("va", "vb", 4);
    let b = Sock::open(&Config::new("vb").queues([3, 1])).unwrap();
    assert_eq!(b.mode().queues, [3, 1]);
    let other = Sock::create("vb", Some(0), AfXdpFlags::default()).expect("the program is shared within the process");
    let sender = Sock::create("va", Some(1), AfXdpFlags::default()).unwrap();
    assert!(!b.wait(Interest::Readable, Some(Duration::ZERO)).unwrap());
    send(&sender, 10, 60);
    assert!(b.wait(Interest::Readable, Some(PATIENCE)).unwrap());
    assert!(receive_with_queue(&b, 10).into_iter().all(|(_, queue)| queue == 1));
    assert_eq!(other.stats().rx_packets, 0);
    assert_clean(&b);
}

/// Two pairs of interfaces, `va`-`vb` and `vc`-`vd`, and a forwarder between `vb` and `vc` with one UMEM.
struct Bridge {
    left: Sock,
    inner_left: Sock,
    inner_right: Sock,
    right: Sock,
}

impl Bridge {
    fn build(lab: &Lab, mode: &str) -> Self {
        lab.veth("va", "vb", 1);
        lab.veth("vc", "vd", 1);
        let (left, right) = (open(&format!("va?mode={mode}")), open(&format!("vd?mode={mode}")));
        let inner_left = open(&format!("vb?mode={mode}"));
        let inner_right = inner_left.create_sharing(&format!("vc?mode={mode}"), None, AfXdpFlags::default()).unwrap();
        Self { left, inner_left, inner_right, right }
    }
}

fn forwards_without_a_copy(test: &str, mode: &str) {
    let Some(lab) = Lab::enter(test) else { return };
    let Bridge { left, inner_left, inner_right, right } = Bridge::build(&lab, mode);
    assert_eq!(inner_left.context().pool_id(), inner_right.context().pool_id());
    let frames = inner_left.mode().frames as u32;
    // More packets than there are frames, both ways: every frame has to find its way back many times.
    for (from, first, second, to) in
        [(&left, &inner_left, &inner_right, &right), (&right, &inner_right, &inner_left, &left)]
    {
        for round in 0..(3 * frames / 100) {
            for i in 0..100 {
                from.send(&frame(i, 60 + round as usize % 7)).unwrap();
            }
            drain(from);
            for (n, token) in receive(first, 100).into_iter().enumerate() {
                let mut packet = token.consume(first.context());
                packet[6] = 0x06;
                if n % 2 == 0 {
                    second.send_payload(packet).unwrap();
                } else {
                    second.send_token(packet.into_token()).unwrap();
                }
            }
            drain(second);
            for (i, token) in receive(to, 100).into_iter().enumerate() {
                let packet = token.consume(to.context());
                assert_eq!((number(&packet), packet[6]), (i as u32, 0x06));
            }
        }
    }
    for socket in [&left, &inner_left, &inner_right, &right] {
        assert_clean(socket);
        assert_eq!(socket.stats().rx_dropped.total(), 0);
    }
}

#[test]
fn sharing_forwards_without_a_copy_in_driver_mode() {
    forwards_without_a_copy("sharing_forwards_without_a_copy_in_driver_mode", "driver");
}

#[test]
fn sharing_forwards_without_a_copy_in_generic_mode() {
    forwards_without_a_copy("sharing_forwards_without_a_copy_in_generic_mode", "generic");
}

#[test]
fn a_shared_frame_is_sent_from_where_it_was_received() {
    let Some(lab) = Lab::enter("a_shared_frame_is_sent_from_where_it_was_received") else { return };
    let Bridge { left, inner_left, inner_right, right } = Bridge::build(&lab, "driver");
    send(&left, 1, 60);
    let token = receive(&inner_left, 1).remove(0);
    let desc = token.buffer_desc();
    inner_right.send_token(token).unwrap();
    // Sent, but not flushed: the frame is in the ring of the other socket, so it is not in flight. Its bytes can still
    // be changed in place: were the ring's copy another one, the packet would arrive as it was.
    assert_eq!(inner_left.frames_in_flight(), Some(0));
    let memory = inner_left.context().pool().memory();
    let at = memory.base().as_ptr().wrapping_add(desc.index() + 20);
    overwrite(at, 0xee);
    drain(&inner_right);
    let packet = receive(&right, 1).remove(0).consume(right.context());
    assert_eq!(packet[20], 0xee);
}

#[allow(unsafe_code)]
fn overwrite(at: *mut u8, byte: u8) {
    // SAFETY: within the pool's memory, in a frame that is in a transmit ring which has not been published.
    unsafe { at.write(byte) }
}

#[test]
fn sharing_sockets_live_on_different_threads() {
    let Some(lab) = Lab::enter("sharing_sockets_live_on_different_threads") else { return };
    let Bridge { left, inner_left, inner_right, right } = Bridge::build(&lab, "driver");
    const N: u32 = 20_000;
    let namespace = lab.handle();
    let done = AtomicBool::new(false);
    let (to, from) = std::sync::mpsc::sync_channel::<Vec<Token>>(16);
    std::thread::scope(|scope| {
        let (namespace, done) = (&namespace, &done);
        scope.spawn(move || {
            join(namespace);
            let mut got = 0;
            while got < N {
                let mut batch: Vec<Token> = Vec::new();
                inner_left.recv_each(64, |token, _| batch.push(token)).unwrap();
                got += batch.len() as u32;
                if batch.is_empty() {
                    inner_left.wait(Interest::Readable, Some(Duration::from_millis(1))).unwrap();
                } else {
                    to.send(batch).unwrap();
                }
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
            drop(to);
            // The socket is dropped here, while its frames travel on through the other one.
        });
        scope.spawn(move || {
            join(namespace);
            for mut batch in from {
                while !batch.is_empty() {
                    match inner_right.send_tokens(&mut batch) {
                        Ok(_) => {}
                        Err(error) => assert!(error.is_transient(), "{error}"),
                    }
                    inner_right.flush();
                }
            }
            drain(&inner_right);
            assert_eq!(inner_right.stats().tx_packets, u64::from(N));
            let pool = inner_right.context().pool().clone();
            drop(inner_right);
            assert_eq!(pool.in_flight(), 0);
        });
        let (mut sent, mut got, start) = (0, 0, Instant::now());
        while got < N {
            // Never more on the way than every ring holds.
            while sent < N && sent - got < 256 {
                left.send(&frame(sent, 60)).unwrap();
                sent += 1;
            }
            left.flush();
            right
                .recv_each(64, |token, _| {
                    assert_eq!(number(&token.consume(right.context())), got);
                    got += 1;
                })
                .unwrap();
            if start.elapsed() > 5 * PATIENCE {
                done.store(true, Ordering::Relaxed);
                panic!("{got} of {N}: {:?}", right.stats());
            }
        }
    });
    assert_clean(&left);
    assert_clean(&right);
}

#[test]
fn the_first_socket_may_go_before_those_that_share_with_it() {
    let Some(lab) = Lab::enter("the_first_socket_may_go_before_those_that_share_with_it") else { return };
    let Bridge { left, inner_left, inner_right, right } = Bridge::build(&lab, "driver");
    send(&left, 50, 60);
    drop(inner_left);
    send(&inner_right, 50, 60);
    expect(&right, 50, 60);
    send(&right, 50, 60);
    expect(&inner_right, 50, 60);
    // The frames that were in the first one's rings are back: the other one alone has all of them now.
    let frames = inner_right.mode().frames;
    let mut all = Vec::new();
    while let Ok(frame) = inner_right.alloc(60) {
        all.push(frame);
    }
    assert!(all.len() >= frames / 2, "{} of {frames}", all.len());
    drop(all);
    // And others can still join.
    let again = inner_right.create_sharing("vb", None, AfXdpFlags::default()).unwrap();
    send(&left, 50, 60);
    expect(&again, 50, 60);
    drop(inner_right);
    send(&again, 50, 60);
    expect(&left, 50, 60);
    assert_clean(&again);
}

#[test]
fn several_queues_share_one_umem_with_another_interface() {
    let Some(lab) = Lab::enter("several_queues_share_one_umem_with_another_interface") else { return };
    lab.veth("va", "vb", 2);
    lab.veth("vc", "vd", 2);
    let (left, right) = (open("va?tx_spread"), open("vd"));
    let inner = open("vb");
    let outer = inner.create_sharing("vc", None, AfXdpFlags::default()).unwrap();
    for _ in 0..100 {
        for i in 0..40 {
            left.send(&frame(i, 60)).unwrap();
            if i % 10 == 9 {
                left.flush();
            }
        }
        drain(&left);
        let mut tokens = receive(&inner, 40);
        assert_eq!(outer.send_tokens(&mut tokens).unwrap(), 40);
        drain(&outer);
        let mut numbers: Vec<u32> =
            receive(&right, 40).into_iter().map(|t| number(&t.consume(right.context()))).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..40).collect::<Vec<_>>());
    }
    for socket in [&left, &inner, &outer, &right] {
        assert_clean(socket);
    }
}
