//! A process that runs out of descriptors, alone in its process: the limit is everybody's.
#![cfg(all(target_os = "linux", feature = "net"))]
#![allow(unsafe_code)]

use nethuns_rs::net::{ConnectOptions, Event, ListenOptions, Net, SocketError};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

fn limit(descriptors: u64) {
    let limit = libc::rlimit { rlim_cur: descriptors, rlim_max: descriptors.max(4096) };
    // SAFETY: the structure lives through the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}

#[test]
fn accepting_rests_when_descriptors_run_out() {
    let mut client = Net::kernel().unwrap();
    let mut server = Net::kernel().unwrap();
    let listener = server.tcp_listen("127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap();
    let address = server.tcp_listener_addr(listener).unwrap();
    let connect = |client: &mut Net| client.tcp_connect(address, &ConnectOptions::default()).unwrap();
    for _ in 0..4 {
        connect(&mut client);
    }
    std::thread::sleep(Duration::from_millis(20));
    // Whoever started us may have left holes among the low descriptors: they are filled first.
    let filled: Vec<_> = (0..100).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
    limit(u64::try_from(filled.last().unwrap().as_raw_fd()).unwrap() + 1 + 2);

    let accepts = |server: &mut Net| {
        let turn = server.poll(Some(Duration::ZERO)).unwrap();
        let told = std::iter::from_fn(|| server.next_event()).filter(|event| *event == Event::Accept(listener)).count();
        assert_eq!(turn.events, told > 0);
        told
    };
    assert_eq!(accepts(&mut server), 1);
    let first = server.tcp_accept(listener).unwrap();
    server.tcp_accept(listener).unwrap();
    assert_eq!(server.tcp_accept(listener), Err(SocketError::NoBuffers));
    // It does not spin: nothing is told until it is tried again.
    let start = Instant::now();
    let mut turns = 0;
    while accepts(&mut server) == 0 {
        server.poll(Some(Duration::from_secs(5))).unwrap();
        turns += 1;
    }
    assert!(start.elapsed() > Duration::from_millis(60) && turns < 10, "{turns} turns in {:?}", start.elapsed());
    assert_eq!(server.tcp_accept(listener), Err(SocketError::NoBuffers));
    // A socket that is closed makes room at once.
    server.tcp_close(first);
    assert_eq!(accepts(&mut server), 1);
    server.tcp_accept(listener).unwrap();
    assert_eq!(server.tcp_accept(listener), Err(SocketError::NoBuffers));
    // And so does a higher limit.
    server.allow_sockets(1000).unwrap();
    let start = Instant::now();
    while accepts(&mut server) == 0 {
        server.poll(Some(Duration::from_secs(5))).unwrap();
        assert!(start.elapsed() < Duration::from_secs(2));
    }
    server.tcp_accept(listener).unwrap();
    assert_eq!(server.tcp_accept(listener), Err(SocketError::WouldBlock));

    limit(0);
    let refused = Net::kernel().unwrap_err().to_string();
    assert!(refused.contains("ulimit -n"), "{refused}");
}
