//! What is sent arrives, by whichever way it is sent and received.

use super::*;

pub fn bytes_arrive_as_they_were_sent(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let max = rig.facts().max_len;
    let sizes = (14..=128).chain((129..max).step_by(61)).chain(max.saturating_sub(8).max(129)..=max);
    for len in sizes {
        let bytes = packet(len, len);
        send(&a, &bytes);
        assert_eq!(&*receive(&b), &bytes[..], "{len} bytes from a to b");
        send(&b, &bytes);
        assert_eq!(&*receive(&a), &bytes[..], "{len} bytes from b to a");
    }
    assert!(matches!(a.recv(), Err(Error::NoPacket)), "a hears itself");
    assert!(matches!(b.recv(), Err(Error::NoPacket)), "b hears itself");
    settled(&[&a, &b]);
}

pub fn batches_arrive_in_order_over_many_laps(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let Facts { window, frames, .. } = rig.facts();
    for lap in 0..(4 * frames).div_ceil(window) {
        let packets: Vec<Vec<u8>> = (0..window).map(|i| packet(lap * window + i, 60)).collect();
        let mut left: &[Vec<u8>] = &packets;
        let start = Instant::now();
        while !left.is_empty() {
            match a.send_batch(left.iter().map(Vec::as_slice)) {
                Ok(n) => left = &left[n..],
                Err(error) => assert!(error.is_transient() && start.elapsed() < PATIENCE, "{error}"),
            }
            a.flush();
        }
        let mut received = Vec::new();
        let tokens = gather(&b, window, |tokens| {
            b.recv_batch(&mut received, 7).unwrap();
            tokens.extend(received.drain(..).map(|(token, _)| token));
        });
        for (token, bytes) in tokens.into_iter().zip(&packets) {
            assert_eq!(&*token.consume(b.context()), &bytes[..]);
        }
    }
    settled(&[&a, &b]);
}

pub fn every_way_to_receive_gives_the_same(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let n = rig.facts().window.min(12);
    let burst = || {
        for i in 0..n {
            send(&a, &packet(i, 60 + i));
        }
    };
    let check = |tokens: Vec<Token>| {
        for (i, token) in tokens.into_iter().enumerate() {
            assert_eq!(token.size() as usize, 60 + i);
            assert_eq!(&*token.consume(b.context()), &packet(i, 60 + i)[..]);
        }
    };
    burst();
    check(gather(&b, n, |out| {
        let before = out.len();
        let told = b.recv_each(5, |token, _| out.push(token)).unwrap();
        assert!(told == out.len() - before && told <= 5);
    }));
    burst();
    let mut pairs = Vec::new();
    check(gather(&b, n, |out| {
        let told = b.recv_batch(&mut pairs, 5).unwrap();
        assert!(told == pairs.len() && told <= 5);
        out.extend(pairs.drain(..).map(|(token, _)| token));
    }));
    burst();
    check(gather(&b, n, |out| {
        let mut batch = Batch::<4>::new();
        let told = b.recv_tokens(&mut batch).unwrap();
        assert_eq!(told, batch.len());
        out.extend(batch);
    }));
    burst();
    check(gather(&b, n, |out| match b.recv_token() {
        Ok((token, _)) => out.push(token),
        Err(error) => assert!(matches!(error, Error::NoPacket), "{error}"),
    }));
    burst();
    check(gather(&b, n, |out| match b.recv() {
        Ok((payload, _)) => out.push(payload.into_token()),
        Err(error) => assert!(matches!(error, Error::NoPacket), "{error}"),
    }));
    // Nothing is waiting: no packet is an error for one, and none for many.
    assert!(matches!(b.recv(), Err(Error::NoPacket)));
    assert!(matches!(b.recv_token(), Err(Error::NoPacket)));
    assert_eq!(b.recv_each(4, |_, _| panic!("a packet out of nothing")).unwrap(), 0);
    assert_eq!(b.recv_tokens(&mut Batch::<4>::new()).unwrap(), 0);
    settled(&[&a, &b]);
}

pub fn a_callback_may_send(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let n = rig.facts().window.min(8);
    for i in 0..n {
        send(&a, &packet(i, 60));
    }
    let (start, mut echoed) = (Instant::now(), 0);
    while echoed < n {
        echoed += b.recv_each(n, |token, _| b.send_token(token).map_err(|refused| refused.error).unwrap()).unwrap();
        b.flush();
        assert!(start.elapsed() < PATIENCE);
    }
    for i in 0..n {
        assert_eq!(&*receive(&a), &packet(i, 60)[..]);
    }
    settled(&[&a, &b]);
}

pub fn frames_are_filled_in_place(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let facts = rig.facts();
    for i in 0..2 * facts.frames {
        let bytes = packet(i, 14 + i % (facts.max_len - 13));
        let payload = filled(&a, &bytes);
        let address = payload.as_ptr();
        a.send_payload(payload).map_err(|refused| refused.error).unwrap();
        a.flush();
        let got = receive(&b);
        assert_eq!(&*got, &bytes[..]);
        if facts.one_pool {
            assert_eq!(got.as_ptr(), address, "the frame itself arrives");
        }
    }
    // Grown and cut while it is ours.
    let mut payload = filled(&a, &packet(7, 100));
    assert!(payload.capacity() >= facts.max_len, "{} bytes", payload.capacity());
    payload.truncate(60);
    payload.resize(80).unwrap();
    payload.copy_from_slice(&packet(8, 80));
    let beyond = payload.capacity() + 1;
    assert!(matches!(payload.resize(beyond), Err(Error::TooBigPacket(n)) if n == beyond));
    a.send_payload(payload).map_err(|refused| refused.error).unwrap();
    a.flush();
    assert_eq!(&*receive(&b), &packet(8, 80)[..]);
    settled(&[&a, &b]);
}

pub fn tokens_are_sent_and_sent_on(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let n = rig.facts().window.min(8);
    let mut tokens: Vec<Token> = (0..n).map(|i| filled(&a, &packet(i, 60)).into_token()).collect();
    assert_eq!(a.send_tokens(&mut tokens).unwrap(), n);
    assert!(tokens.is_empty());
    assert_eq!(a.send_tokens(&mut tokens).unwrap(), 0);
    a.flush();
    // What came is turned round without being looked at.
    let mut back = gather(&b, n, |out| {
        b.recv_each(n, |token, _| out.push(token)).unwrap();
    });
    assert_eq!(b.send_tokens(&mut back).unwrap(), n);
    b.flush();
    for i in 0..n {
        assert_eq!(&*receive(&a), &packet(i, 60)[..]);
    }
    settled(&[&a, &b]);
}

pub fn a_list_of_tokens_is_accepted_in_part(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let too_big = rig.facts().too_big;
    let other = foreign(too_big);
    let mut tokens = vec![
        filled(&a, &packet(0, 60)).into_token(),
        filled(&other, &packet(1, 70)).into_token(),
        filled(&other, &packet(2, too_big)).into_token(),
        filled(&a, &packet(3, 60)).into_token(),
    ];
    assert_eq!(a.send_tokens(&mut tokens).unwrap(), 2, "up to the one that is too big");
    assert_eq!(tokens.iter().map(Token::size).collect::<Vec<_>>(), [too_big as u32, 60], "the others stay in order");
    assert!(matches!(a.send_tokens(&mut tokens), Err(Error::TooBigPacket(n)) if n == too_big));
    assert_eq!(tokens.len(), 2, "a refusal takes nothing");
    drop(tokens.remove(0));
    assert_eq!(a.send_tokens(&mut tokens).unwrap(), 1);
    a.flush();
    for (i, len) in [(0, 60), (1, 70), (3, 60)] {
        assert_eq!(&*receive(&b), &packet(i, len)[..]);
    }
    settled(&[&a, &b]);
    settled(&[&other]);
}

pub fn a_packet_too_big_is_refused_and_harms_nothing(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let too_big = rig.facts().too_big;
    let bytes = packet(1, too_big);
    assert!(matches!(a.send(&bytes), Err(Error::TooBigPacket(n)) if n == too_big));
    assert!(matches!(a.alloc(too_big), Err(Error::TooBigPacket(n)) if n == too_big) || a.alloc(too_big).is_ok());
    assert!(matches!(a.send_batch([&bytes[..]]), Err(Error::TooBigPacket(n)) if n == too_big));
    let small = packet(2, 60);
    assert_eq!(a.send_batch([&small[..], &bytes, &small]).unwrap(), 1, "those before it are sent");
    a.flush();
    assert_eq!(&*receive(&b), &small[..]);
    assert!(matches!(b.recv(), Err(Error::NoPacket)));
    settled(&[&a, &b]);
}

pub fn a_refused_packet_comes_back(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let too_big = rig.facts().too_big;
    let other = foreign(too_big);
    let bytes = packet(5, too_big);
    let Err(Refused { error, packet: back }) = a.send_payload(filled(&other, &bytes)) else { panic!("it fits?") };
    assert!(matches!(error, Error::TooBigPacket(n) if n == too_big), "{error}");
    assert_eq!(&*back, &bytes[..]);
    let Err(Refused { error, packet: token }) = a.send_token(back.into_token()) else { panic!("it fits?") };
    assert!(matches!(error, Error::TooBigPacket(n) if n == too_big), "{error}");
    assert_eq!(&*token.consume(other.context()), &bytes[..]);
    // A pool that is gone cannot be copied from.
    let orphan = filled(&other, &bytes).into_token();
    drop(other);
    let Err(Refused { packet: orphan, .. }) = a.send_token(orphan) else { panic!("sent from nowhere") };
    drop(orphan);
    settled(&[&a, &b]);
}
