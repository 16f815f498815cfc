//! What comes in odd pieces, damaged, at the wrong time or from somebody who plays foul.

use super::super::record::kind;
use super::*;

/// Reproducible noise.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as usize >> 8
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Settings of a server, and of clients by TLS 1.3 and by 1.2.
fn settings(world: &World) -> (Rc<Settings>, [Rc<Settings>; 2]) {
    let client = |list: &str| load(&SocketContextOptions { ssl_ciphers: Some(list.into()), ..world.client() });
    (load(&world.server(&["localhost"])), [client("ALL"), client(&options::only12("ALL"))])
}

#[test]
fn bytes_may_come_one_by_one() {
    let world = World::new();
    let (server, clients) = settings(&world);
    for client in clients {
        for piece in [1, 2, 3, 4, 5, 6, 7, 100, 1000] {
            let (mut client, mut server) = (Side::client(&client, "localhost"), Side::server(&server));
            carry(&mut client, &mut server, piece);
            assert_connected(&mut client, &mut server);
            let data = Noise(1).bytes(50_000);
            let cipher = client.write(&data);
            server.data.clear();
            cipher.chunks(piece).for_each(|piece| server.take(piece));
            assert!(server.data == data, "{}", server.error());
            assert_eq!(server.session.waiting_memory(), 0);
        }
    }
}

#[test]
fn a_paused_owner_gets_the_rest_later() {
    let world = World::new();
    let (server, clients) = settings(&world);
    for client in clients {
        let (mut client, mut server) = shaken(&client, &server, "localhost");
        let data = Noise(2).bytes(100_000);
        let cipher = client.write(&data);
        let mut plain = Vec::new();
        // One record is looked at, and then there is a pause; the end comes during it.
        let (first, last) = cipher.split_at(cipher.len() - 10);
        let mut input = first;
        assert_eq!(server.session.step(&mut input, &mut plain), Ok(Step::Plain));
        assert!(!input.is_empty());
        server.session.feed(input);
        server.session.feed(last);
        let mut all = plain.clone();
        server.take(&[]);
        all.append(&mut server.data);
        assert!(all == data, "{}", server.error());
        assert_eq!(server.session.waiting_memory(), 0);
        // The session goes on.
        client.take(&server.write(b"answer"));
        assert_eq!(client.data, b"answer");
    }
}

#[test]
fn what_is_cut_off_waits_without_complaint() {
    let world = World::new();
    let (settings, clients) = settings(&world);
    for client in clients {
        let mut whole = Side::client(&client, "localhost");
        let hello = whole.give();
        for len in 0..hello.len() {
            let mut server = Side::server(&settings);
            server.take(&hello[..len]);
            assert!(server.error.is_none() && server.session.is_handshaking() && server.give().is_empty());
        }
        let (mut client, mut server) = shaken(&client, &settings, "localhost");
        let cipher = client.write(b"never whole");
        for byte in &cipher[..cipher.len() - 1] {
            server.take(&[*byte]);
        }
        assert!(server.error.is_none() && server.data.is_empty());
    }
}

#[test]
fn a_record_that_was_altered_ends_the_connection() {
    let world = World::new();
    let (settings, clients) = settings(&world);
    for client in clients {
        let (_, probe) = shaken(&client, &settings, "localhost");
        let len = shaken(&client, &settings, "localhost").0.write(b"data").len();
        drop(probe);
        for at in 0..len {
            for bit in [0x01, 0x80] {
                let (mut client, mut server) = shaken(&client, &settings, "localhost");
                let mut cipher = client.write(b"data");
                cipher[at] ^= bit;
                server.take(&cipher);
                // A longer length waits for more. In TLS 1.2 the header's version is not authenticated and says nothing.
                if matches!(at, 3 | 4) && server.error.is_none() {
                    server.take(&[0; 40_000]);
                }
                if at == 2 && client.session.version() == Some("TLSv1.2") {
                    continue;
                }
                assert!(matches!(server.error, Some(TlsError::Protocol(_))), "byte {at}: {:?}", server.error);
                assert!(server.data.is_empty());
                assert_eq!(server.session.write(b"x"), 0);
                client.take(&server.give());
                assert!(matches!(client.error, Some(TlsError::Alert(_))), "byte {at}: {:?}", client.error);
            }
        }
    }
}

#[test]
fn records_may_not_be_repeated_dropped_or_swapped() {
    let world = World::new();
    let (settings, clients) = settings(&world);
    for client in clients {
        let orders: [&[usize]; 3] = [&[0, 0], &[1], &[1, 0]];
        for order in orders {
            let (mut client, mut server) = shaken(&client, &settings, "localhost");
            let records = [client.write(b"first"), client.write(b"second")];
            order.iter().for_each(|record| server.take(&records[*record]));
            assert!(matches!(server.error, Some(TlsError::Protocol(_))), "{order:?}");
            assert!(server.data.is_empty() || server.data == b"first");
        }
    }
}

#[test]
fn a_damaged_handshake_never_panics_and_never_connects_the_wrong() {
    let world = World::new();
    let (settings, clients) = settings(&world);
    let mut noise = Noise(3);
    for round in 0..300 {
        let client = &clients[round % 2];
        let (mut client, mut server) = (Side::client(client, "localhost"), Side::server(&settings));
        let mut damage = noise.next() % 8;
        for _ in 0..10 {
            let (mut there, mut back) = (client.give(), server.give());
            for bytes in [&mut there, &mut back] {
                if !bytes.is_empty() {
                    if damage == 0 {
                        let at = noise.next() % bytes.len();
                        match noise.next() % 4 {
                            0 => bytes[at] ^= 1 << (noise.next() % 8),
                            1 => bytes.truncate(at),
                            2 => drop(bytes.splice(at..at, noise.bytes(5))),
                            _ => bytes[at..].fill(noise.next() as u8),
                        }
                    }
                    damage = damage.wrapping_sub(1);
                }
            }
            server.take(&there);
            client.take(&back);
        }
        assert!(client.data.is_empty() && server.data.is_empty());
    }
}

#[test]
fn noise_is_no_tls() {
    let world = World::new();
    let (settings, clients) = settings(&world);
    let mut noise = Noise(4);
    for request in
        [&b"GET / HTTP/1.1\r\n"[..], b"\x80\x2e\x01\x03", b"\x16\x02\x00", b"\x16\x03\x01\xff\xff", b"SSH-2.0-x\r\n"]
    {
        let mut server = Side::server(&settings);
        server.take(request);
        assert!(matches!(server.error, Some(TlsError::Protocol(_))), "{request:?}: {:?}", server.error);
        let alert = server.give();
        assert_eq!(alert[..6], [21, 3, 3, 0, 2, 2], "an alert in the clear");
        let mut client = Side::client(&clients[0], "localhost");
        client.take(request);
        assert!(matches!(client.error, Some(TlsError::Protocol(_))), "{request:?}: {:?}", client.error);
    }
    for round in 0..2000 {
        let mut bytes = noise.bytes(100);
        if round % 2 == 0 {
            // Something that begins like a record.
            let header = [20 + (bytes[0] & 3), 3, 3, 0, bytes[4] & 63];
            bytes[..5].copy_from_slice(&header);
        }
        let mut sides = [Side::server(&settings), Side::client(&clients[round % 2], "localhost")];
        for side in &mut sides {
            side.take(&bytes);
            side.take(&bytes);
            assert!(!side.is_established());
        }
    }
}

#[test]
fn a_handshake_message_has_a_largest_size() {
    let world = World::new();
    let (settings, clients) = settings(&world);
    // Sixteen megabytes are announced, and records full of them come.
    let record = |body: &[u8]| [&[22, 3, 3, (body.len() >> 8) as u8, body.len() as u8][..], body].concat();
    for kind in [1, 2] {
        let mut side = if kind == 1 { Side::server(&settings) } else { Side::client(&clients[0], "localhost") };
        let mut fed = 0;
        side.take(&record(&[kind, 0xff, 0xff, 0xff, 3, 3]));
        while side.error.is_none() {
            side.take(&record(&[0; 16_000]));
            fed += 16_000;
            assert!(fed < 200_000, "there is a limit");
        }
        assert_eq!(side.session.waiting_memory(), 18_437 * usize::from(!side.session.outgoing().is_empty()));
    }
}

/// A server, and a client of it that can send whatever it likes.
fn forged(world: &World, tls13: bool) -> (Side, peers::Forger) {
    let mut server = Side::server(&load(&world.server(&["localhost"])));
    let list = if tls13 { "TLS_AES_128_GCM_SHA256".to_owned() } else { options::only12("CHACHA20") };
    let mut peer = peers::client(world, &list);
    assert_eq!(peer.shake(&mut server), None);
    (server, peer.keys())
}

const DATA: u8 = kind::DATA;
const ALERT: u8 = kind::ALERT;
const HANDSHAKE: u8 = kind::HANDSHAKE;

#[test]
fn what_must_not_be_in_a_record_is_refused_with_the_right_alert() {
    const UNEXPECTED: u8 = 10;
    const OVERFLOW: u8 = 22;
    const ILLEGAL: u8 = 47;
    const DECODE: u8 = 50;
    let world = World::new();
    let update: &[u8] = &[24, 0, 0, 1, 0];
    let twice = [update, update].concat();
    let large = vec![7; (16 << 10) + 1];
    let sixteen_megabytes = [4, 0xff, 0xff, 0xff];
    type Case<'a> = (bool, &'a [(u8, &'a [u8])], u8);
    let cases: [Case<'_>; 18] = [
        (true, &[(99, b"x")], UNEXPECTED),
        (true, &[(DATA, &large)], OVERFLOW),
        (true, &[(0, b"\0\0\0")], UNEXPECTED),
        (true, &[(HANDSHAKE, b"")], UNEXPECTED),
        (true, &[(ALERT, b"")], UNEXPECTED),
        (true, &[(ALERT, &[1])], DECODE),
        (true, &[(ALERT, &[1, 0, 0])], DECODE),
        (true, &[(kind::CHANGE_CIPHER_SPEC, &[1])], UNEXPECTED),
        (true, &[(HANDSHAKE, &[24, 0, 0, 1, 2])], ILLEGAL),
        (true, &[(HANDSHAKE, &[24, 0, 0, 0])], ILLEGAL),
        (true, &[(HANDSHAKE, &twice)], UNEXPECTED),
        (true, &[(HANDSHAKE, &[20, 0, 0, 0])], UNEXPECTED),
        (true, &[(HANDSHAKE, &[4, 0, 0, 0])], UNEXPECTED),
        (true, &[(HANDSHAKE, &sixteen_megabytes)], DECODE),
        (true, &[(HANDSHAKE, &update[..2]), (DATA, b"within")], UNEXPECTED),
        (false, &[(HANDSHAKE, update)], UNEXPECTED),
        (false, &[(kind::CHANGE_CIPHER_SPEC, &[1])], UNEXPECTED),
        (false, &[(DATA, &large)], OVERFLOW),
    ];
    for (i, (tls13, records, alert)) in cases.into_iter().enumerate() {
        let (mut server, mut client) = forged(&world, tls13);
        for (kind, plain) in records {
            assert!(server.error.is_none());
            server.take(&client.record(*kind, plain));
        }
        assert!(matches!(server.error, Some(TlsError::Protocol(_))), "case {i}: {:?}", server.error);
        assert_eq!(client.open(&server.give()), [(ALERT, vec![2, alert])], "case {i}");
        assert!(server.data.is_empty());
    }
}

#[test]
fn records_in_the_clear_come_too_late() {
    let world = World::new();
    for tls13 in [true, false] {
        for record in [&[20, 3, 3, 0, 1, 1][..], &[21, 3, 3, 0, 2, 1, 0], &[23, 3, 3, 0, 0], &[23, 3, 3, 0, 1, 7]] {
            let (mut server, _) = forged(&world, tls13);
            server.take(record);
            assert!(matches!(server.error, Some(TlsError::Protocol(_))), "{record:?}: {:?}", server.error);
        }
    }
}

#[test]
fn padding_is_taken_off() {
    let world = World::new();
    let (mut server, mut client) = forged(&world, true);
    // The type that is appended is padding too, for the type stands before.
    server.take(&client.record(0, b"padded\0data\0\x17\0\0\0\0"));
    assert_eq!(server.data, b"padded\0data\0");
}

#[test]
fn a_handshake_message_may_come_in_pieces_and_several_in_one() {
    let world = World::new();
    let (mut server, mut client) = forged(&world, true);
    server.take(&client.record(HANDSHAKE, &[24, 0]));
    server.take(&client.record(HANDSHAKE, &[0, 1]));
    server.take(&client.record(HANDSHAKE, &[0]));
    assert!(server.error.is_none());
    // From now on there is another key, which the forger does not have.
    server.take(&client.record(DATA, b"old key"));
    assert!(matches!(server.error, Some(TlsError::Protocol(_))));
}

#[test]
fn patience_has_an_end() {
    let world = World::new();
    for tls13 in [true, false] {
        let (mut server, mut client) = forged(&world, tls13);
        for _ in 0..10 {
            for _ in 0..32 {
                server.take(&client.record(DATA, b""));
            }
            server.take(&client.record(DATA, b"x"));
        }
        assert_eq!((server.data.len(), &server.error), (10, &None));
        for _ in 0..33 {
            assert!(server.error.is_none());
            server.take(&client.record(DATA, b""));
        }
        assert!(matches!(server.error, Some(TlsError::Protocol(_))));
    }
    // New keys without end, and no data.
    let mut server = Side::server(&load(&world.server(&["localhost"])));
    let mut peer = peers::client(&world, "TLS_AES_128_GCM_SHA256");
    assert_eq!(peer.shake(&mut server), None);
    for i in 0..=32 {
        assert!(server.error.is_none(), "{i}");
        peer.0.refresh_traffic_keys().unwrap();
        server.take(&peer.give());
        peer.take(&server.give()).ok();
    }
    assert!(matches!(server.error, Some(TlsError::Protocol(_))));
}

#[test]
fn alerts_warn_or_end() {
    const USER_CANCELED: [u8; 2] = [1, 90];
    const INTERNAL_ERROR: [u8; 2] = [2, 80];
    let world = World::new();
    for tls13 in [true, false] {
        let (mut server, mut client) = forged(&world, tls13);
        for _ in 0..4 {
            server.take(&client.record(ALERT, &USER_CANCELED));
            server.take(&client.record(DATA, b"x"));
        }
        assert_eq!((server.data.len(), &server.error), (4, &None));
        server.take(&client.record(ALERT, &USER_CANCELED));
        assert!(matches!(&server.error, Some(TlsError::Alert(words)) if words.contains("UserCanceled")));
        assert!(server.give().is_empty(), "who ends a connection needs no alert");

        let (mut server, mut client) = forged(&world, tls13);
        server.take(&client.record(ALERT, &INTERNAL_ERROR));
        assert!(matches!(&server.error, Some(TlsError::Alert(words)) if words.contains("InternalError")));
    }
}

#[test]
fn there_is_no_renegotiation() {
    const NO_RENEGOTIATION: u8 = 100;
    let world = World::new();
    let (mut server, mut client) = forged(&world, false);
    for _ in 0..4 {
        server.take(&client.record(HANDSHAKE, &[1, 0, 0, 0]));
        assert_eq!(client.open(&server.give()), [(ALERT, vec![1, NO_RENEGOTIATION])]);
    }
    server.take(&client.record(DATA, b"and on"));
    assert_eq!(server.data, b"and on");
    server.take(&client.record(HANDSHAKE, &[1, 0, 0, 0]));
    assert!(matches!(server.error, Some(TlsError::Protocol(_))));
}

#[test]
fn nothing_is_written_before_its_time() {
    let world = World::new();
    let (settings, clients) = settings(&world);
    let (mut client, mut server) = (Side::client(&clients[0], "localhost"), Side::server(&settings));
    for side in [&mut client, &mut server] {
        assert!(side.session.is_handshaking());
        assert_eq!(side.session.write(b"early"), 0);
        side.session.close_notify();
    }
    assert_eq!((client.session.version(), client.session.cipher(), client.session.alpn()), (None, None, None));
    carry(&mut client, &mut server, usize::MAX);
    assert_connected(&mut client, &mut server);
    assert!(!client.session.is_handshaking());
    assert_eq!(client.session.write(b""), 0);
    // One record waits, and a little more; then nothing is taken until the network takes some.
    let data = vec![5; 40_000];
    assert_eq!(client.session.write(&data[..1000]), 1000);
    assert_eq!(client.session.write(&data), 16 << 10);
    assert_eq!(client.session.write(&data), 0);
    let waiting = client.session.outgoing().len();
    client.session.sent(waiting - 1);
    assert_eq!(client.session.outgoing().len(), 1);
    assert_eq!(client.session.write(&data), 16 << 10);
}

#[test]
fn nothing_that_is_well_protected_makes_us_panic() {
    let world = World::new();
    let mut noise = Noise(5);
    for round in 0..60 {
        let (mut server, mut client) = forged(&world, round % 2 == 0);
        for _ in 0..50 {
            let len = noise.next() % 40;
            let mut plain = noise.bytes(len);
            if let Some(first) = plain.first_mut() {
                // Handshake messages that there are, and small lengths.
                *first = [0, 1, 4, 20, 24][usize::from(*first) % 5];
                plain.iter_mut().skip(1).take(2).for_each(|byte| *byte = 0);
            }
            let kind = [ALERT, HANDSHAKE, HANDSHAKE, HANDSHAKE, DATA, 0][noise.next() % 6];
            server.take(&client.record(kind, &plain));
            server.session.write(b"answer");
            if noise.next().is_multiple_of(3) {
                server.give();
            }
        }
    }
}
