//! What only the kernel's network has: IPv6, sockets of both families.

use super::*;
use crate::stack::{ConnectOptions, Datagram, ListenOptions, SocketError, UdpOptions};
use std::net::IpAddr;

fn until(kernel: &mut Kernel, mut so: impl FnMut(&mut Kernel) -> bool) {
    let start = Instant::now();
    while !so(kernel) {
        assert!(start.elapsed() < Duration::from_secs(5));
        kernel.poll(Some(Duration::from_millis(1))).unwrap();
        while kernel.next_event().is_some() {}
    }
}

/// Whether this machine has IPv6 at all.
fn has_v6() -> bool {
    std::net::UdpSocket::bind("[::1]:0").is_ok()
}

#[test]
fn a_listener_of_both_families_names_each_peer_in_its_own() {
    if !has_v6() {
        println!("SKIPPED: no IPv6 here");
        return;
    }
    let mut kernel = Kernel::new().unwrap();
    let listener = kernel.tcp_listen("[::]:0".parse().unwrap(), &ListenOptions::default()).unwrap();
    let port = kernel.tcp_listener_addr(listener).unwrap().port();
    for ip in ["127.0.0.1", "::1"] {
        let ip: IpAddr = ip.parse().unwrap();
        let client = kernel.tcp_connect(SocketAddr::new(ip, port), &ConnectOptions::default()).unwrap();
        let mut server = None;
        until(&mut kernel, |kernel| {
            server = kernel.tcp_accept(listener).ok();
            server.is_some()
        });
        let server = server.unwrap();
        assert_eq!(kernel.tcp_peer_addr(server).unwrap().ip(), ip);
        assert_eq!(kernel.tcp_local_addr(server), Ok(SocketAddr::new(ip, port)));
        assert_eq!(kernel.tcp_local_addr(client), kernel.tcp_peer_addr(server));
    }
}

#[test]
fn a_udp_socket_of_both_families_sends_and_receives_either_with_all_that_comes_beside() {
    if !has_v6() {
        println!("SKIPPED: no IPv6 here");
        return;
    }
    let mut kernel = Kernel::new().unwrap();
    let both = kernel.udp_bind("[::]:0".parse().unwrap(), &UdpOptions::default()).unwrap();
    let port = kernel.udp_local_addr(both).unwrap().port();
    for ip in ["127.0.0.1", "::1"] {
        let ip: IpAddr = ip.parse().unwrap();
        let other = kernel.udp_bind(SocketAddr::new(ip, 0), &UdpOptions::default()).unwrap();
        let from = kernel.udp_local_addr(other).unwrap();
        let to = SocketAddr::new(ip, port);
        kernel.udp_send(other, &Datagram { to: Some(to), from: Some(ip), ecn: 2, bytes: b"there" }).unwrap();
        let mut got = None;
        until(&mut kernel, |kernel| {
            got = kernel.udp_recv(both).ok();
            got.is_some()
        });
        let packet = got.take().unwrap();
        assert_eq!((packet.from, packet.to, packet.ecn), (from, ip, 2));
        assert_eq!(packet.data[..], *b"there");
        kernel.udp_send(both, &Datagram { to: Some(from), from: Some(ip), ecn: 1, bytes: b"back" }).unwrap();
        until(&mut kernel, |kernel| {
            got = kernel.udp_recv(other).ok();
            got.is_some()
        });
        let packet = got.unwrap();
        assert_eq!((packet.from, packet.to, packet.ecn), (to, ip, 1));
    }
}

#[test]
fn a_datagram_that_the_kernel_refuses_does_not_hide_those_before_it() {
    let mut kernel = Kernel::new().unwrap();
    let a = kernel.udp_bind("127.0.0.1:0".parse().unwrap(), &UdpOptions::default()).unwrap();
    let to = Some(kernel.udp_local_addr(a).unwrap());
    let long = vec![0; 65_508];
    let datagram = |bytes| Datagram { to, from: None, ecn: 0, bytes };
    let mut batch = vec![datagram(b"x"); 100];
    batch[70] = datagram(&long);
    assert_eq!(kernel.udp_send_batch(a, &batch), Ok(70));
    assert_eq!(kernel.udp_send_batch(a, &batch[70..]), Err(SocketError::MessageTooLong));
    let mut got = 0;
    until(&mut kernel, |kernel| {
        got += kernel.udp_recv_each(a, 7, |_| {}).unwrap_or(0);
        got == 70
    });
}

#[test]
fn padding_can_be_written_and_bytes_are_not_mixed() {
    let buffers = Buffers::default();
    let mut buffer = buffers.stream();
    buffer.room()[..5].copy_from_slice(b"12345");
    buffer.set_len(5);
    let mut opened = buffers.open(buffer);
    opened.padded().iter_mut().for_each(|byte| *byte = b'.');
    opened.copy_from_slice(b"54321");
    assert_eq!(opened.padded().len(), 5 + 2 * PADDING);
    assert_eq!(opened.padded()[PADDING - 1..PADDING + 6], *b".54321.");
    drop(opened);
    assert_eq!(buffers.stream().room().len(), STREAM);
    assert_eq!(buffers.datagram().room().len(), 64 << 10);
}

#[test]
fn an_event_of_a_socket_that_is_gone_tells_nothing() {
    let mut kernel = Kernel::new().unwrap();
    let listener = kernel.tcp_listen("127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap();
    let address = kernel.tcp_listener_addr(listener).unwrap();
    let client = kernel.tcp_connect(address, &ConnectOptions::default()).unwrap();
    kernel.poll(Some(Duration::from_millis(100))).unwrap();
    // Told and not taken; meanwhile the places are given to others.
    kernel.tcp_close(client);
    kernel.tcp_unlisten(listener).unwrap();
    let other = kernel.tcp_listen("127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap();
    assert_eq!(kernel.next_event(), None);
    assert_eq!(kernel.open_sockets(), 1);
    kernel.tcp_unlisten(other).unwrap();
}
