//! What a socket tells: readiness, statistics, completions; what it shares, and what it refuses.

use super::*;

pub fn waiting_ends_with_a_packet_or_the_time(rig: &impl Rig) {
    let (a, b) = rig.pair();
    assert!(!b.wait(Interest::Readable, Some(Duration::ZERO)).unwrap());
    let start = Instant::now();
    assert!(!b.wait(Interest::Readable, Some(Duration::from_millis(25))).unwrap());
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(20) && waited < PATIENCE, "{waited:?}");
    send(&a, &packet(0, 60));
    assert!(b.wait(Interest::Readable, Some(PATIENCE)).unwrap());
    assert!(b.wait(Interest::Readable, Some(PATIENCE)).unwrap(), "it is still there");
    assert!(b.wait(Interest::Both, None).unwrap());
    drop(receive(&b));
    assert!(a.wait(Interest::Writable, Some(PATIENCE)).unwrap());
    assert!(!b.wait(Interest::Readable, Some(Duration::from_millis(1))).unwrap());
    // Asleep without a limit, woken by a sender on another thread.
    let sender = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        send(&a, &packet(1, 60));
        a
    });
    assert!(b.wait(Interest::Readable, None).unwrap());
    assert_eq!(&*receive(&b), &packet(1, 60)[..]);
    let a = sender.join().unwrap();
    settled(&[&a, &b]);
}

pub fn the_descriptor_is_readable_while_packets_wait(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let readable = |timeout: i32| {
        let mut poll = libc::pollfd { fd: b.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd that outlives the call.
        unsafe { libc::poll(&mut poll, 1, timeout) == 1 && poll.revents & libc::POLLIN != 0 }
    };
    // Drivers of DPDK are polled: the descriptor wakes the loop time and again, packets or not.
    let ticks = rig.facts().backend == "dpdk";
    for i in 0..20 {
        assert!(ticks || !readable(1), "round {i}");
        let n = 1 + i % 3;
        for k in 0..n {
            send(&a, &packet(k, 60));
        }
        assert!(readable(10_000), "round {i}");
        for k in 0..n {
            assert_eq!(&*receive(&b), &packet(k, 60)[..]);
        }
        // Silent again once the socket has been seen empty.
        assert!(matches!(b.recv(), Err(Error::NoPacket)));
    }
    settled(&[&a, &b]);
}

pub fn statistics_are_exact(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let (n, mut bytes) = (3 * rig.facts().frames, 0);
    for i in 0..n {
        let len = 60 + i % 40;
        bytes += len as u64;
        send(&a, &packet(i, len));
        assert_eq!(receive(&b).len(), len);
    }
    assert!(a.drain(PATIENCE).unwrap());
    let (tx, rx) = (a.stats(), b.stats());
    assert_eq!(
        (tx.tx_submitted, tx.tx_packets, tx.tx_bytes, tx.tx_pending()),
        (n as u64, n as u64, bytes, 0),
        "{tx:?}"
    );
    assert_eq!((rx.rx_packets, rx.rx_bytes, rx.rx_truncated), (n as u64, bytes, 0), "{rx:?}");
    assert_eq!((tx.tx_dropped.total(), rx.rx_dropped.total()), (0, 0), "{tx:?} {rx:?}");
    assert_eq!((tx.rx_packets, rx.tx_submitted), (0, 0), "one way only");
    // A refused packet is not a submitted one.
    assert!(a.send(&packet(0, rig.facts().too_big)).is_err());
    assert_eq!(a.stats().tx_submitted, n as u64);
    settled(&[&a, &b]);
}

pub fn draining_completes_what_was_sent(rig: &impl Rig) {
    let (a, b) = rig.pair();
    for lap in 0..10 {
        let mut sent = 0;
        for i in 0..rig.facts().window {
            sent += u64::from(a.send(&packet(i, 60)).is_ok());
        }
        assert!(sent > 0);
        assert!(a.drain(PATIENCE).unwrap(), "lap {lap}: {:?}", a.stats());
        assert_eq!(a.stats().tx_pending(), 0);
        let got = gather(&b, sent as usize, |out| {
            b.recv_each(64, |token, _| out.push(token)).unwrap();
        });
        drop(got);
    }
    assert!(a.drain(Duration::ZERO).unwrap(), "nothing is left");
    settled(&[&a, &b]);
}

pub fn a_shared_pool_needs_no_copy(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let Some(out) = rig.sharing(&b) else {
        // Where pools cannot be shared it says so, and that a copy is the way.
        return settled(&[&a, &b]);
    };
    assert_eq!(b.context().pool_id(), out.context().pool_id());
    send(&a, &packet(3, 60));
    let token = receive(&b).into_token();
    assert!(token.check_token(out.context()));
    let there = token.consume(b.context());
    let address = there.as_ptr();
    let here = there.into_token().consume(out.context());
    assert_eq!((here.as_ptr(), &*here), (address, &packet(3, 60)[..]));
    // Forwarding needs no second frame, so it works when there is none.
    let mut hoard = Vec::new();
    while let Ok(payload) = out.alloc(60) {
        hoard.push(payload);
    }
    out.send_payload(here).map_err(|refused| refused.error).unwrap();
    drop(hoard);
    assert!(out.drain(PATIENCE).unwrap());
    empty(&a);
    empty(&b);
    settled(&[&a, &b, &out]);
}

pub fn sockets_move_between_threads(rig: &impl Rig) {
    let (mut a, mut b) = rig.pair();
    for round in 0..8 {
        (a, b) = std::thread::spawn(move || {
            send(&a, &packet(round, 60));
            assert_eq!(&*receive(&b), &packet(round, 60)[..]);
            (b, a)
        })
        .join()
        .unwrap();
    }
    // Each on its own, at the same time, answering each other.
    let echo = std::thread::spawn(move || {
        for i in 0..200 {
            let got = receive(&b);
            assert_eq!(seed_of(&got), i);
            send(&b, &got);
        }
        b
    });
    for i in 0..200 {
        send(&a, &packet(i, 60));
        assert_eq!(seed_of(&receive(&a)), i);
    }
    let b = echo.join().unwrap();
    settled(&[&a, &b]);
}

pub fn packets_are_released_on_other_threads(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let (tx, rx) = std::sync::mpsc::sync_channel::<Token>(4);
    let context = b.context().clone();
    let worker = std::thread::spawn(move || {
        let mut next = 0;
        for token in rx {
            let mut payload = token.consume(&context);
            assert_eq!(seed_of(&payload), next);
            payload.fill(0xEE);
            next += 1;
        }
        next
    });
    let n = 8 * rig.facts().frames;
    for i in 0..n {
        send(&a, &packet(i, 60));
        tx.send(receive(&b).into_token()).unwrap();
    }
    drop(tx);
    assert_eq!(worker.join().unwrap(), n);
    settled(&[&a, &b]);
}

pub fn wrong_specs_are_refused_with_a_reason(rig: &impl Rig) {
    let facts = rig.facts();
    for (spec, part) in &facts.wrong {
        match rig.open(spec, None) {
            Ok(_) => panic!("{spec}: opened"),
            Err(error) => assert!(error.to_string().contains(part), "{spec}: {error}"),
        }
    }
    let (a, b) = rig.pair();
    let (mode, link) = (a.mode(), a.link().unwrap());
    assert_eq!(mode.backend, facts.backend);
    assert!(mode.frames > 0 && mode.frame_size > 0 && !mode.port.is_empty(), "{mode}");
    assert!(mode.to_string().starts_with(&format!("{}:{}", mode.backend, mode.port)), "{mode}");
    assert!(!link.name.is_empty());
    settled(&[&a, &b]);
}
