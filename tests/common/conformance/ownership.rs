//! Every frame has one owner, and comes home.

use super::*;

pub fn a_pool_run_dry_is_an_error_and_recovers(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let Facts { frames, window, .. } = rig.facts();
    for round in 0..3 {
        let mut held = Vec::new();
        let error = loop {
            match a.alloc(60) {
                Ok(payload) => held.push(payload),
                Err(error) => break error,
            }
            assert!(held.len() <= frames, "more frames than the pool has");
        };
        assert!(matches!(error, Error::NoMemory), "{error}");
        assert!(!held.is_empty());
        match a.send(&packet(0, 60)) {
            Ok(()) | Err(Error::NoMemory) => {}
            Err(error) => panic!("send with a dry pool: {error}"),
        }
        // What comes meanwhile may be lost; it must not do harm.
        for _ in 0..2 {
            let _ = b.send(&packet(0, 60));
        }
        b.flush();
        a.flush();
        match a.recv_token() {
            Ok(_) | Err(Error::NoPacket | Error::NoMemory) => {}
            Err(error) => panic!("recv with a dry pool: {error}"),
        }
        drop(held);
        empty(&a);
        empty(&b);
        for i in 0..window {
            send(&b, &packet(1000 * (round + 1) + i, 60));
        }
        let tokens = gather(&a, window, |out| {
            let fresh = |token: Token| token.peek(seed_of).filter(|seed| *seed >= 1000).map(|_| token);
            match a.recv_each(8, |token, _| out.extend(fresh(token))) {
                Ok(_) | Err(Error::NoMemory) => {}
                Err(error) => panic!("recv after the drought: {error}"),
            }
        });
        drop(tokens);
    }
    settled(&[&a, &b]);
}

pub fn received_packets_that_are_kept_stop_nothing_for_ever(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let Facts { frames, window, .. } = rig.facts();
    for round in 1..4 {
        // Keeps all it gets, until nothing more comes through.
        let (mut kept, mut sent, mut quiet) = (Vec::new(), 0, 0);
        while quiet < 20 && kept.len() <= frames {
            match a.send(&packet(round, 60)) {
                Ok(()) => sent += 1,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
            a.flush();
            match b.recv_token() {
                Ok((token, _)) => {
                    quiet = 0;
                    kept.push(token);
                }
                Err(Error::NoPacket | Error::NoMemory) => {
                    quiet += 1;
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(kept.len() <= frames && sent >= kept.len(), "{} kept of {sent}, {frames} frames", kept.len());
        assert!(kept.len() >= frames / 4, "only {} of {frames} frames came to hold packets", kept.len());
        drop(kept);
        empty(&b);
        for i in 0..window {
            send(&a, &packet(1000 * round + i, 60));
        }
        let tokens = gather(&b, window, |out| {
            b.recv_each(8, |token, _| {
                out.extend(token.peek(seed_of).filter(|seed| *seed >= 1000).map(|_| token));
            })
            .unwrap();
        });
        drop(tokens);
    }
    settled(&[&a, &b]);
}

pub fn dropped_tokens_come_home(rig: &impl Rig) {
    let (a, b) = rig.pair();
    for i in 0..4 * rig.facts().frames {
        send(&a, &packet(i, 60));
        let token = receive(&b).into_token();
        assert_eq!(b.frames_in_flight().unwrap_or(1), 1);
        match i % 3 {
            0 => drop(token),
            1 => std::thread::spawn(move || drop(token)).join().unwrap(),
            _ => drop(token.consume(&b.context().clone())),
        }
        assert_eq!(b.frames_in_flight().unwrap_or(0), 0);
    }
    settled(&[&a, &b]);
}

pub fn payloads_side_by_side_are_disjoint(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let n = rig.facts().window.min(16);
    for i in 0..n {
        send(&a, &packet(i, 100));
    }
    let mut held: Vec<Payload<'_, _>> = (0..n).map(|_| receive(&b)).collect();
    for (i, payload) in held.iter_mut().enumerate() {
        payload.fill(i as u8);
    }
    let mut ranges: Vec<_> = held.iter().map(|p| (p.as_ptr() as usize, p.as_ptr() as usize + p.capacity())).collect();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|w| w[0].1 <= w[1].0), "frames overlap: {ranges:x?}");
    for (i, payload) in held.iter().enumerate() {
        assert!(payload.len() == 100 && payload.iter().all(|byte| *byte == i as u8), "payload {i} was written over");
    }
    drop(held);
    settled(&[&a, &b]);
}

pub fn packets_outlive_their_socket(rig: &impl Rig) {
    let (a, b) = rig.pair();
    for i in 0..4 {
        send(&a, &packet(i, 60));
    }
    let tokens: Vec<Token> = (0..4).map(|_| receive(&b).into_token()).collect();
    let context = b.context().clone();
    let mut tokens = tokens.into_iter();
    let mut payload = tokens.next().unwrap().consume(&context);
    drop((a, b));
    assert_eq!(&*payload, &packet(0, 60)[..]);
    payload.fill(9);
    assert!(payload.iter().all(|byte| *byte == 9));
    let second = tokens.next().unwrap().consume(&context);
    assert_eq!(&*second, &packet(1, 60)[..]);
    drop((payload, second));
    drop(tokens.next());
    // The last of all: no socket, no context, no pool.
    drop(context);
    let last = tokens.next().unwrap();
    // A mempool of DPDK is freed only once every frame is back in it; all others go with their last context.
    let lives_on = rig.facts().backend == "dpdk";
    assert_eq!(last.peek(<[u8]>::len), lives_on.then_some(60));
    drop(last);
}

pub fn tokens_left_in_a_channel_go_home(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let (tx, rx) = std::sync::mpsc::channel();
    for i in 0..5 {
        send(&a, &packet(i, 60));
        tx.send(receive(&b).into_token()).unwrap();
    }
    assert_eq!(b.frames_in_flight().unwrap_or(5), 5);
    drop(rx);
    let Err(std::sync::mpsc::SendError(refused)) = tx.send(filled(&b, &packet(5, 60)).into_token()) else {
        panic!("nobody listens")
    };
    drop(refused);
    settled(&[&a, &b]);
}

pub fn a_foreign_token_is_refused_not_lost(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let other = foreign(rig.facts().too_big);
    let theirs = filled(&other, &packet(0, 60)).into_token();
    assert!(!theirs.check_token(a.context()));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(theirs.consume(a.context())))).is_err(), "it was taken in");
    let ours = filled(&a, &packet(0, 60)).into_token();
    assert!(ours.check_token(a.context()) && !ours.check_token(other.context()));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(ours.consume(other.context())))).is_err(), "it was taken in");
    settled(&[&other]);
    // Sent, it is copied.
    let token = filled(&other, &packet(1, 60)).into_token();
    a.send_token(token).map_err(|refused| refused.error).unwrap();
    a.send_payload(filled(&other, &packet(2, 61))).map_err(|refused| refused.error).unwrap();
    a.flush();
    assert_eq!(&*receive(&b), &packet(1, 60)[..]);
    assert_eq!(&*receive(&b), &packet(2, 61)[..]);
    settled(&[&a, &b]);
    settled(&[&other]);
}
