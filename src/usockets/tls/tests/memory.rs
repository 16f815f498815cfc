//! What a connection costs in memory.

use super::*;
use crate::counting;

/// Bytes that each of `COUNT` sessions of a server holds, once they are in a certain state.
fn per_session(client: &Rc<Settings>, server: &Rc<Settings>, state: impl Fn(&mut Side, &mut Side)) -> i64 {
    const COUNT: usize = 100;
    // The first ones make what is made once.
    let _first = shaken(client, server, "localhost");
    let mut sessions = Vec::with_capacity(COUNT);
    let mut total = 0;
    for _ in 0..COUNT {
        let (mut client, mut far) = (Side::client(client, "localhost"), Side::server(server));
        carry(&mut client, &mut far, usize::MAX);
        state(&mut client, &mut far);
        // What the test itself notes does not count.
        (far.told, far.data) = (Vec::new(), Vec::new());
        let before = counting::bytes();
        drop(far.session);
        total += before - counting::bytes();
        sessions.push(client);
    }
    total / COUNT as i64
}

/// So much has come of a record of 16 KiB, and so much as is taken waits to be sent.
fn stall(client: &mut Side, server: &mut Side) {
    let record = client.write(&[1; 16 << 10]);
    server.take(&record[..1000]);
    let answer = [2; 16 << 10];
    while server.session.write(&answer) > 0 {}
}

#[test]
fn a_quiet_connection_has_no_buffers() {
    let world = World::new();
    for low in [false, true] {
        let options = SocketContextOptions { ssl_prefer_low_memory_usage: low, ..world.server(&["localhost"]) };
        let (client, server) = (load(&world.client()), load(&options));
        let quiet = per_session(&client, &server, assert_connected);
        // Two keys of about half a KiB with their tables, and the secrets from which the next ones follow.
        assert!((1000..2600).contains(&quiet), "{quiet} bytes");
        println!("a quiet session holds {quiet} bytes, and is of {}", size_of::<Session>());
    }
}

#[test]
fn less_memory_is_held_when_less_is_preferred() {
    let world = World::new();
    let held = [false, true].map(|low| {
        let options = SocketContextOptions { ssl_prefer_low_memory_usage: low, ..world.server(&["localhost"]) };
        let (client, server) = (load(&world.client()), load(&options));
        let (mut one, mut other) = shaken(&client, &server, "localhost");
        stall(&mut one, &mut other);
        other.session.waiting_memory()
    });
    println!("a stalled connection holds {} bytes, or {} when less is preferred", held[0], held[1]);
    // Two buffers of a record at least, against what has come of one record and one small record.
    assert!(held[0] >= 2 * (16 << 10), "{held:?}");
    assert!(held[1] <= 8 << 10, "{held:?}");
}

#[test]
fn an_established_connection_allocates_nothing() {
    let world = World::new();
    for list in ["TLS_AES_128_GCM_SHA256", &options::only12("AES128")] {
        let options = SocketContextOptions { ssl_ciphers: Some(list.into()), ..world.client() };
        let (mut client, mut server) = shaken(&load(&options), &load(&world.server(&["localhost"])), "localhost");
        let question = [1; 16 << 10];
        let mut plain = Vec::with_capacity(20_000);
        let mut round = || {
            for (from, to) in [(&mut client.session, &mut server.session)] {
                assert_eq!(from.write(&question), question.len());
                // The record comes in three pieces.
                let cipher = from.outgoing();
                for piece in cipher.chunks(cipher.len() / 2) {
                    let mut input = piece;
                    while to.step(&mut input, &mut plain) != Ok(Step::More) {}
                }
                let sent = from.outgoing().len();
                from.sent(sent);
            }
        };
        round();
        let before = counting::allocations();
        (0..100).for_each(|_| round());
        assert_eq!(counting::allocations(), before);
    }
}
