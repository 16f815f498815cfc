use super::{MOST, UdpPacketBuffer, UdpSocket};
use crate::net;
use crate::usockets::{Loop, LoopMut, UsError};
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// A wire of its own for each test.
fn wire() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("mem:usockets-udp-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn on(spec: &str) -> Loop<()> {
    let loop_ = Loop::on_network(net::Builder::new().spec(spec), ()).unwrap();
    assert_eq!(loop_.network(), spec, "not the network that was meant");
    loop_
}

/// Does the same on the kernel's network and on ours, with an address of each.
fn on_both(test: impl Fn(Loop<()>, &str)) {
    test(on("kernel"), "127.0.0.1");
    test(on(&format!("{}?ip=10.0.0.1/24", wire())), "10.0.0.1");
}

/// Turns until something is so.
#[track_caller]
fn until(loops: &mut [&mut Loop<()>], what: &str, so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "not so: {what}");
        for loop_ in loops.iter_mut() {
            loop_.step(Some(Duration::from_millis(1))).unwrap();
        }
    }
}

fn buffer() -> UdpPacketBuffer {
    UdpPacketBuffer::new().unwrap()
}

/// A received packet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Got {
    bytes: Vec<u8>,
    peer: SocketAddr,
    local: Option<IpAddr>,
    ecn: u8,
}

/// A socket that remembers what it receives.
fn collector(loop_: &Loop<()>, host: Option<&str>, port: u16) -> (UdpSocket, Rc<RefCell<Vec<Got>>>) {
    let got = Rc::new(RefCell::new(Vec::new()));
    let all = got.clone();
    let on_data = move |_: &mut UdpSocket, buffer: &mut UdpPacketBuffer, packets: usize| {
        assert!((1..=MOST).contains(&packets));
        for i in 0..packets {
            let (bytes, peer) = (buffer.payload(i).to_vec(), buffer.peer(i).unwrap());
            assert_eq!(bytes.len(), buffer.payload_length(i));
            all.borrow_mut().push(Got { bytes, peer, local: buffer.local_ip(i), ecn: buffer.ecn(i) });
        }
    };
    (UdpSocket::create(loop_, &mut buffer(), host, port, Some(Box::new(on_data)), None).unwrap(), got)
}

#[test]
fn packets_come_with_all_that_belongs_to_them() {
    on_both(|mut loop_, host| {
        let (server, got) = collector(&loop_, Some(host), 0);
        let (client, answers) = collector(&loop_, Some(host), 0);
        let ip: IpAddr = host.parse().unwrap();
        let (to, from) = (server.local_addr().unwrap(), client.local_addr().unwrap());
        assert_eq!((to.ip(), i32::from(to.port())), (ip, server.bound_port()));
        let mut out = buffer();
        let sizes = [0, 1, 1472, 1473, 65507];
        for (i, size) in sizes.into_iter().enumerate() {
            out.set_packet_payload(i, 0, &vec![i as u8; size], to).unwrap();
            out.set_ecn(i, i as u8);
        }
        assert_eq!(client.send(&mut out, sizes.len()), Ok(sizes.len()));
        until(&mut [&mut loop_], "all have come", || got.borrow().len() == sizes.len());
        for (i, size) in sizes.into_iter().enumerate() {
            let expected = Got { bytes: vec![i as u8; size], peer: from, local: Some(ip), ecn: i as u8 & 3 };
            assert!(got.borrow().contains(&expected), "packet {i} on {}", loop_.network());
        }
        // And back.
        out.set_packet_payload(0, 0, b"answer", from).unwrap();
        assert_eq!(server.send(&mut out, 1), Ok(1));
        until(&mut [&mut loop_], "the answer has come", || answers.borrow().len() == 1);
        let answer = answers.borrow()[0].clone();
        assert_eq!(answer, Got { bytes: b"answer".to_vec(), peer: to, local: Some(ip), ecn: 0 });
        let metrics = loop_.metrics();
        let counted = (metrics.datagrams_in, metrics.datagrams_out, metrics.callbacks > 0);
        assert_eq!(counted, (6, 6, true));
    });
}

/// A server on every address answers from the one that it was asked at, by sending packets again as they are.
#[test]
fn what_is_sent_again_goes_back() {
    on_both(|mut loop_, host| {
        let echo = |socket: &mut UdpSocket, buffer: &mut UdpPacketBuffer, packets: usize| {
            for i in 0..packets {
                buffer.payload_mut(i)[0] = b'J';
            }
            assert_eq!(socket.send(buffer, packets), Ok(packets));
        };
        let server = UdpSocket::create(&loop_, &mut buffer(), Some("0.0.0.0"), 0, Some(Box::new(echo)), None).unwrap();
        // The kernel has all of 127.0.0.0/8.
        let asked: IpAddr = if loop_.network() == "kernel" { "127.0.0.9" } else { host }.parse().unwrap();
        let (client, got) = collector(&loop_, Some(host), 0);
        let mut out = buffer();
        let to = SocketAddr::new(asked, server.local_addr().unwrap().port());
        for i in 0..100 {
            out.set_packet_payload(i, 0, format!("Hello {i}").as_bytes(), to).unwrap();
            out.set_ecn(i, 2);
        }
        assert_eq!(client.send(&mut out, 100), Ok(100));
        until(&mut [&mut loop_], "all are back", || got.borrow().len() == 100);
        for (i, one) in got.borrow().iter().enumerate() {
            let expected =
                Got { bytes: format!("Jello {i}").into_bytes(), peer: to, local: Some(host.parse().unwrap()), ecn: 2 };
            assert_eq!(*one, expected);
        }
    });
}

#[test]
fn a_socket_without_a_callback_is_read_by_hand() {
    on_both(|mut loop_, host| {
        let mut into = buffer();
        let server = UdpSocket::create(&loop_, &mut into, Some(host), 0, None, None).unwrap();
        assert_eq!(server.receive(&mut into), Ok(0));
        let (client, _) = collector(&loop_, Some(host), 0);
        let mut out = buffer();
        for i in 0..3 {
            out.set_packet_payload(i, 0, &[i as u8], server.local_addr().unwrap()).unwrap();
        }
        assert_eq!(client.send(&mut out, 3), Ok(3));
        let start = Instant::now();
        let mut got = Vec::new();
        while got.len() < 3 {
            assert!(start.elapsed() < PATIENCE);
            loop_.step(Some(Duration::from_millis(1))).unwrap();
            let packets = server.receive(&mut into).unwrap();
            got.extend((0..packets).map(|i| into.payload(i)[0]));
        }
        assert_eq!(got, [0, 1, 2]);
        assert_eq!(server.receive(&mut into), Ok(0));
    });
}

#[test]
fn a_socket_keeps_the_loop_running_until_it_is_closed() {
    on_both(|loop_, host| {
        let closes = Rc::new(Cell::new(0));
        let (held, counted) = (closes.clone(), closes.clone());
        let on_data = move |socket: &mut UdpSocket, _: &mut UdpPacketBuffer, _| {
            held.set(held.get() + 1);
            socket.close();
            assert!(socket.is_closed() && socket.local_addr().is_none() && socket.bound_port() == -1);
            assert_eq!(socket.send(&mut buffer(), 1), Err(UsError::SocketExtNull));
            assert_eq!(socket.receive(&mut buffer()), Err(UsError::SocketExtNull));
            assert_eq!(socket.bind("", 0), Err(UsError::SocketExtNull));
            socket.close();
        };
        let server = UdpSocket::create(&loop_, &mut buffer(), Some(host), 0, Some(Box::new(on_data)), None).unwrap();
        let to = server.local_addr().unwrap();
        drop(server);
        // A name that nobody holds: the loop does.
        let timer = loop_.create_timer().unwrap();
        let client = UdpSocket::create(&loop_, &mut buffer(), Some(host), 0, None, None).unwrap();
        let fire = move |timer: crate::usockets::Timer<()>| {
            let mut out = buffer();
            for i in 0..3 {
                out.set_packet_payload(i, 0, b"end", to).unwrap();
            }
            client.send(&mut out, 3).unwrap();
            client.close();
            timer.close().unwrap();
        };
        timer.set(20, 0, fire).unwrap();
        timer.detach();
        loop_.run().unwrap();
        assert_eq!(closes.get(), 1, "nothing is told after a close");
        drop(counted);
        assert_eq!(Rc::strong_count(&closes), 1, "the callback is dropped");
    });
}

#[test]
fn a_loop_that_ends_drops_callbacks_and_closes_sockets() {
    on_both(|loop_, host| {
        let held = Rc::new(());
        let (one, two) = (held.clone(), held.clone());
        let itself: Rc<RefCell<Option<UdpSocket>>> = Rc::default();
        let knot = itself.clone();
        let socket = UdpSocket::create(
            &loop_,
            &mut buffer(),
            Some(host),
            0,
            Some(Box::new(move |_, _, _| drop((one.clone(), knot.clone())))),
            Some(Box::new(move |_| drop(two.clone()))),
        )
        .unwrap();
        itself.replace(Some(socket.clone()));
        drop(loop_);
        assert_eq!(Rc::strong_count(&held), 1);
        assert!(socket.is_closed());
        assert_eq!(socket.send(&mut buffer(), 1), Err(UsError::SocketExtNull));
    });
}

#[test]
fn a_socket_can_be_given_another_address() {
    on_both(|mut loop_, host| {
        let (server, got) = collector(&loop_, Some(host), 0);
        let (client, _) = collector(&loop_, Some(host), 0);
        let mut out = buffer();
        // Port 0 is a new port.
        let before = server.local_addr().unwrap();
        server.bind("0.0.0.0", 0).unwrap();
        let port = server.local_addr().unwrap().port();
        assert_ne!(port, before.port());
        // As in the documents: from one address to all of them, at the same port.
        server.bind(host, port).unwrap();
        assert_eq!(server.local_addr(), Some(SocketAddr::new(host.parse().unwrap(), port)));
        server.bind("0.0.0.0", port).unwrap();
        assert_eq!(server.local_addr(), Some(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)));
        // One that is none of ours.
        let refused = server.bind("192.0.2.77", port);
        assert!(matches!(refused, Err(UsError::NetworkOperation { .. })), "{refused:?}");
        assert!(matches!(server.bind("a b", port), Err(UsError::InvalidHostString { .. })));
        assert_eq!(i32::from(port), server.bound_port(), "it keeps its address");
        out.set_packet_payload(0, 0, b"here", SocketAddr::new(host.parse().unwrap(), port)).unwrap();
        assert_eq!(client.send(&mut out, 1), Ok(1));
        until(&mut [&mut loop_], "it is received", || got.borrow().len() == 1);
    });
}

#[test]
fn sockets_are_opened_from_callbacks_and_where_they_can_be() {
    on_both(|mut loop_, host| {
        let mut out = buffer();
        out.set_packet_payload(0, 0, b"kept", "127.0.0.1:1".parse().unwrap()).unwrap();
        let refused = UdpSocket::create(&loop_, &mut out, Some("192.0.2.77"), 0, Some(Box::new(|_, _, _| {})), None);
        let Err(UsError::NetworkOperation { operation }) = refused else { panic!("{refused:?}") };
        assert!(operation.contains("192.0.2.77"), "{operation}");
        assert_eq!(out.payload(0), b"kept", "the buffer is taken by sockets that exist");
        // Everywhere, whatever kinds of addresses the network has.
        let any = UdpSocket::create(&loop_, &mut out, None, 0, None, None).unwrap();
        assert!(any.local_addr().unwrap().ip().is_unspecified());
        let opened = Rc::new(Cell::new(0));
        let (port, address) = (opened.clone(), host.to_owned());
        loop_.on_pre(move |it: LoopMut<'_, ()>| {
            if port.get() == 0 {
                let socket = UdpSocket::create_in(it, &mut buffer(), Some(&address), 0, None, None).unwrap();
                port.set(socket.bound_port());
            }
        });
        loop_.step(Some(Duration::ZERO)).unwrap();
        assert!(opened.get() > 0);
    });
}

#[test]
fn what_cannot_be_sent_is_told() {
    on_both(|loop_, host| {
        let (client, _) = collector(&loop_, Some(host), 0);
        let mut out = buffer();
        let nobody = client.send(&mut out, 1);
        assert!(matches!(&nobody, Err(UsError::NetworkOperation { operation }) if operation.contains("nobody")));
        let to = client.local_addr().unwrap();
        for i in 0..5 {
            out.set_packet_payload(i, 0, b"fits", to).unwrap();
        }
        out.set_payload_length(3, 65508);
        assert_eq!(client.send(&mut out, 5), Ok(3), "those before it");
        let long = client.send_range(&mut out, 3..5);
        assert!(matches!(&long, Err(UsError::NetworkOperation { operation }) if operation.contains("packet 3 (65508")));
        assert_eq!(client.send_range(&mut out, 4..5), Ok(1), "those after it");
        assert_eq!(client.send_range(&mut out, 5..5), Ok(0));
        assert_eq!(client.send_range(&mut out, usize::MAX..usize::MAX), Ok(0));
        out.set_packet_payload(0, 0, b"x", "[::1]:9".parse().unwrap()).unwrap();
        assert!(client.send(&mut out, 1).is_err(), "an IPv6 peer of an IPv4 socket");
    });
}

/// The sender is quicker than its neighbour, is told to wait, goes on when told, and everything comes in the end.
#[test]
fn a_short_count_is_followed_by_drain() {
    let wire = wire();
    let [mut a, mut b] = ["10.0.0.1", "10.0.0.2"].map(|ip| on(&format!("{wire}?queue=16&full=refuse&ip={ip}/24")));
    let (sink, got) = collector(&b, Some("10.0.0.2"), 0);
    let drained = Rc::new(Cell::new(0));
    let count = drained.clone();
    let on_drain = move |socket: &mut UdpSocket| {
        assert!(!socket.is_closed());
        count.set(count.get() + 1);
    };
    let client = UdpSocket::create(&a, &mut buffer(), Some("10.0.0.1"), 0, None, Some(Box::new(on_drain))).unwrap();
    let mut out = buffer();
    for i in 0..UdpPacketBuffer::PACKETS {
        out.set_packet_payload(i, 0, &[7; 1400], sink.local_addr().unwrap()).unwrap();
    }
    // Who does not know yet where its neighbour is drops what is too much.
    assert_eq!(client.send(&mut out, 1), Ok(1));
    until(&mut [&mut a, &mut b], "they know each other", || got.borrow().len() == 1);
    let (mut sent, mut shorts) = (1, 0);
    while sent < UdpPacketBuffer::PACKETS {
        sent += client.send_range(&mut out, sent..UdpPacketBuffer::PACKETS).unwrap();
        if sent < UdpPacketBuffer::PACKETS {
            shorts += 1;
            until(&mut [&mut a, &mut b], "there is room again", || drained.get() == shorts);
        }
    }
    assert!(shorts > 0);
    until(&mut [&mut a, &mut b], "all have come", || got.borrow().len() == UdpPacketBuffer::PACKETS);
    assert_eq!(drained.get(), shorts, "told once for each short count");
    // A new address has room at once.
    while client.send(&mut out, UdpPacketBuffer::PACKETS).unwrap() == UdpPacketBuffer::PACKETS {}
    client.bind("10.0.0.1", 0).unwrap();
    a.step(None).unwrap();
    assert_eq!(drained.get(), shorts + 1);
}

/// More than a batch has come: the rest is told of in the next iterations, although no event tells.
#[test]
fn a_full_batch_is_followed_by_the_rest() {
    const SENT: usize = 2 * MOST + 7;
    on_both(|mut loop_, host| {
        let (server, _) = collector(&loop_, Some(host), 0);
        let batches = Rc::new(RefCell::new(Vec::new()));
        let all = batches.clone();
        let on_data = move |_: &mut UdpSocket, _: &mut UdpPacketBuffer, packets| all.borrow_mut().push(packets);
        let client = UdpSocket::create(&loop_, &mut buffer(), Some(host), 0, Some(Box::new(on_data)), None).unwrap();
        let mut out = buffer();
        for i in 0..SENT {
            out.set_packet_payload(i, 0, b"x", client.local_addr().unwrap()).unwrap();
        }
        assert_eq!(server.send(&mut out, SENT), Ok(SENT));
        // The network goes on, and the loop sees nothing of it.
        for _ in 0..100 {
            loop_.as_mut().core().with_net(|net| net.poll(Some(Duration::ZERO)).unwrap()).unwrap();
        }
        for iteration in 1..=3 {
            loop_.step(None).unwrap();
            assert_eq!(batches.borrow().len(), iteration, "on {}", loop_.network());
        }
        assert_eq!(*batches.borrow(), [MOST, MOST, 7]);
    });
}

/// On every address of a machine with both kinds. Ours has no IPv6 yet.
#[test]
fn peers_of_both_kinds_are_whole() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        println!("SKIPPED: no IPv6 here");
        return;
    }
    let mut loop_ = on("kernel");
    let (server, got) = collector(&loop_, None, 0);
    let port = server.local_addr().unwrap().port();
    for host in ["::1", "127.0.0.1"] {
        let (client, back) = collector(&loop_, Some(host), 0);
        let ip: IpAddr = host.parse().unwrap();
        let (to, from) = (SocketAddr::new(ip, port), client.local_addr().unwrap());
        let mut out = buffer();
        out.set_packet_payload(0, 0, b"there", to).unwrap();
        out.set_ecn(0, 1);
        assert_eq!(client.send(&mut out, 1), Ok(1));
        until(&mut [&mut loop_], "it is there", || got.borrow().len() == 1);
        assert_eq!(got.take(), [Got { bytes: b"there".to_vec(), peer: from, local: Some(ip), ecn: 1 }]);
        out.set_packet_payload(0, 0, b"back", from).unwrap();
        out.set_local_ip(0, Some(ip));
        out.set_ecn(0, 3);
        assert_eq!(server.send(&mut out, 1), Ok(1));
        until(&mut [&mut loop_], "it is back", || back.borrow().len() == 1);
        assert_eq!(back.take(), [Got { bytes: b"back".to_vec(), peer: to, local: Some(ip), ecn: 3 }]);
    }
}

#[test]
fn nothing_is_allocated_per_packet() {
    on_both(|mut loop_, host| {
        let echo = |socket: &mut UdpSocket, buffer: &mut UdpPacketBuffer, packets: usize| {
            socket.send(buffer, packets).unwrap();
        };
        let server = UdpSocket::create(&loop_, &mut buffer(), Some(host), 0, Some(Box::new(echo)), None).unwrap();
        let back = Rc::new(Cell::new(0));
        let count = back.clone();
        let on_data = move |_: &mut UdpSocket, _: &mut UdpPacketBuffer, packets| count.set(count.get() + packets);
        let client = UdpSocket::create(&loop_, &mut buffer(), Some(host), 0, Some(Box::new(on_data)), None).unwrap();
        let mut out = buffer();
        for i in 0..10 {
            out.set_packet_payload(i, 0, &[1; 100], server.local_addr().unwrap()).unwrap();
        }
        let mut exchange = |times: usize| {
            let before = crate::counting::allocations();
            for _ in 0..times {
                back.set(0);
                assert_eq!(client.send(&mut out, 10), Ok(10));
                let start = Instant::now();
                while back.get() < 10 {
                    assert!(start.elapsed() < PATIENCE);
                    loop_.step(Some(Duration::from_millis(1))).unwrap();
                }
            }
            crate::counting::allocations() - before
        };
        exchange(300);
        assert_eq!(exchange(300), 0);
    });
}

#[test]
fn a_buffer_is_memory_for_packets() {
    let mut buffer = buffer();
    let v6: SocketAddr = "[2001:db8::7]:4242".parse().unwrap();
    assert_eq!((buffer.payload(0), buffer.peer(0), buffer.local_ip(0), buffer.ecn(0)), (&[][..], None, None, 0));
    buffer.set_ecn(5, 7);
    buffer.set_local_ip(5, Some(Ipv4Addr::LOCALHOST.into()));
    assert_eq!((buffer.ecn(5), buffer.local_ip(5)), (3, Some(Ipv4Addr::LOCALHOST.into())));
    // Of pieces.
    buffer.set_packet_payload(5, 0, b"one, ", v6).unwrap();
    assert_eq!((buffer.ecn(5), buffer.local_ip(5)), (0, None), "a new packet");
    buffer.set_ecn(5, 1);
    buffer.set_packet_payload(5, 5, b"two", v6).unwrap();
    assert_eq!((buffer.payload(5), buffer.peer(5), buffer.ecn(5)), (&b"one, two"[..], Some(v6), 1));
    // In place.
    buffer.payload_mut(1023)[..3].copy_from_slice(b"end");
    buffer.set_payload_length(1023, 3);
    buffer.set_peer(1023, v6);
    assert_eq!((buffer.payload(1023), buffer.payload_length(1023), buffer.peer(1023)), (&b"end"[..], 3, Some(v6)));
    assert_eq!(buffer.payload_mut(0).len(), 65536);
    buffer.set_payload_length(0, usize::MAX);
    assert_eq!(buffer.payload(0).len(), 65536);
    // Slots do not overlap.
    buffer.set_packet_payload(6, 0, &[9; 65536], v6).unwrap();
    buffer.set_payload_length(5, 65536);
    buffer.set_payload_length(7, 65536);
    assert!(!buffer.payload(5).contains(&9) && !buffer.payload(7).contains(&9));
    // What does not exist.
    for (index, offset, bytes) in
        [(1024, 0, &b""[..]), (usize::MAX, 0, b"x"), (0, 65536, b"x"), (0, usize::MAX, b"xx"), (0, 65500, &[0; 100])]
    {
        let refused = buffer.set_packet_payload(index, offset, bytes, v6);
        assert!(matches!(refused, Err(UsError::NetworkOperation { .. })), "{index} {offset}");
    }
    for index in [1024, usize::MAX] {
        buffer.set_payload_length(index, 1);
        buffer.set_peer(index, v6);
        buffer.set_ecn(index, 1);
        buffer.set_local_ip(index, None);
        assert!(buffer.payload(index).is_empty() && buffer.payload_mut(index).is_empty());
        assert_eq!((buffer.peer(index), buffer.local_ip(index), buffer.ecn(index)), (None, None, 0));
    }
}
