//! Hosts and the kernel's stack over a veth pair, as client and server, over AF_XDP and libpcap.
//!
//! The kernel has 10.9.0.1 on `vb`; the host has 10.9.0.2 on `va`, of which the kernel knows nothing.
//! `NETHUNS_TEST_BYTES` sets the size of the long transfers, `NETHUNS_TEST_PATIENCE` how many seconds one may take.
#![cfg(all(target_os = "linux", feature = "net", any(feature = "af_xdp", feature = "pcap")))]

mod common;

use common::host::{Flows, datagram, drive, kernel_flow, kernel_read, long, stream};
use common::netns::{Lab, ip, run};
use nethuns_rs::host::{Host, HostBuilder};
use nethuns_rs::stack::{ConnectOptions, Event, ListenOptions, Readiness, SocketError, UdpOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const KERNEL: [u8; 4] = [10, 9, 0, 1];
const HOST: [u8; 4] = [10, 9, 0, 2];

/// Every backend that can be had here, with the options that make a veth of it.
const PORTS: &[&str] = &[
    #[cfg(feature = "af_xdp")]
    "af_xdp:va?rx_checksum=trust",
    #[cfg(feature = "af_xdp")]
    "af_xdp:va?rx_checksum=trust&mode=generic&poll=sleep",
    #[cfg(feature = "af_xdp")]
    "af_xdp:va?rx_checksum=trust&tx_checksum=device",
    #[cfg(feature = "pcap")]
    "pcap:va?rx_checksum=trust",
];

/// The wire, made anew in a namespace of the test's own for every port.
fn wire(test: &str) -> Option<Lab> {
    let lab = Lab::enter(test)?;
    lab.veth("va", "vb", 1);
    ip("addr add 10.9.0.1/24 dev vb");
    // Frames longer than the MTU exist on virtual cables only, and only AF_XDP in the driver is spared them.
    run("ethtool", "-K vb tso off gso off gro off");
    Some(lab)
}

fn host(spec: &str) -> Host {
    let join = if spec.contains('?') { '&' } else { '?' };
    Host::open(&format!("{spec}{join}ip=10.9.0.2/24")).unwrap_or_else(|error| panic!("{spec}: {error}"))
}

/// Runs a test over every port, each on a thread and wire of its own, so that one leaves nothing to the next.
fn over_every_port(test: &'static str, body: fn(Host)) {
    for spec in PORTS {
        let outcome = thread::Builder::new().name((*spec).to_owned()).spawn(move || {
            let Some(_lab) = wire(test) else { return };
            body(host(spec));
        });
        if let Err(panic) = outcome.unwrap().join() {
            eprintln!("{test} over {spec}");
            std::panic::resume_unwind(panic);
        }
    }
}

fn kernel(port: u16) -> SocketAddr {
    (KERNEL, port).into()
}

fn ours(port: u16) -> SocketAddr {
    (HOST, port).into()
}

/// Drives a host until a thread of the kernel's side is done, and a bit longer, so that it sees the end too.
fn drive_beside<T>(host: &mut Host, flows: &mut Flows, thread: JoinHandle<T>) -> T {
    drive(host, flows, |_, flows| thread.is_finished() && flows.open.is_empty());
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[test]
fn ping_is_answered() {
    over_every_port("ping_is_answered", |mut host| {
        let ping = |args: &str| {
            let args: Vec<String> = args.split(' ').map(str::to_owned).collect();
            thread::spawn(move || Command::new("ping").args(&args).output().expect("ping: install iputils-ping"))
        };
        for args in
            ["-c 3 -i 0.05 -W 2 10.9.0.2", "-c 2 -i 0.05 -W 2 -s 1400 10.9.0.2", "-c 2 -i 0.05 -W 2 -s 8000 10.9.0.2"]
        {
            let output = drive_beside(&mut host, &mut Flows::default(), ping(args));
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success() && text.contains(" 0% packet loss"),
                "ping {args}: {text}\n{}",
                host.stats()
            );
        }
    });
}

/// The sizes at which something can go wrong: around a segment, a window, a buffer.
fn sizes() -> [u64; 8] {
    [0, 1, 1447, 1448, 1449, 65_537, 1 << 20, long()]
}

#[test]
fn the_kernel_is_the_client() {
    over_every_port("the_kernel_is_the_client", |mut host| {
        host.tcp_listen(ours(80), &ListenOptions::default()).unwrap();
        for size in sizes() {
            let client = thread::spawn(move || kernel_flow(TcpStream::connect(ours(80)).unwrap(), size));
            let mut flows = Flows::answering(size);
            drive(&mut host, &mut flows, |_, flows| flows.done.len() == 1);
            assert_eq!(drive_beside(&mut host, &mut flows, client), size);
            assert_eq!((flows.done[0].received, flows.done[0].error), (size, None));
        }
        assert!(host.close(Duration::from_secs(10)).unwrap());
    });
}

#[test]
fn the_kernel_is_the_server() {
    over_every_port("the_kernel_is_the_server", |mut host| {
        let listener = TcpListener::bind(kernel(80)).unwrap();
        for size in sizes() {
            let listener = listener.try_clone().unwrap();
            let server = thread::spawn(move || kernel_flow(listener.accept().unwrap().0, size));
            let mut flows = Flows::default();
            flows.add(host.tcp_connect(kernel(80), &ConnectOptions::default()).unwrap(), size);
            assert_eq!(drive_beside(&mut host, &mut flows, server), size);
            assert_eq!((flows.done[0].received, flows.done[0].error), (size, None));
        }
        assert!(host.close(Duration::from_secs(10)).unwrap());
    });
}

#[test]
fn many_connections_at_once() {
    const THREADS: usize = 4;
    const EACH: usize = 50;
    over_every_port("many_connections_at_once", |mut host| {
        host.tcp_listen(ours(80), &ListenOptions::default()).unwrap();
        let clients: Vec<_> = (0..THREADS)
            .map(|_| {
                thread::spawn(|| {
                    // All are open before the first ends.
                    let mut streams: Vec<_> = (0..EACH).map(|_| TcpStream::connect(ours(80)).unwrap()).collect();
                    for (n, client) in streams.iter_mut().enumerate() {
                        client.write_all(stream(0, 1000 + n as u64)).unwrap();
                        client.shutdown(Shutdown::Write).unwrap();
                    }
                    streams.iter_mut().map(kernel_read).sum::<u64>()
                })
            })
            .collect();
        let mut flows = Flows::answering(30_000);
        for client in clients {
            drive(&mut host, &mut flows, |_, _| client.is_finished());
            assert_eq!(client.join().unwrap(), 30_000 * EACH as u64);
        }
        drive(&mut host, &mut flows, |_, flows| flows.done.len() == THREADS * EACH);
        assert!(flows.done.iter().all(|flow| flow.error.is_none()));
        // The other way round.
        let listener = TcpListener::bind(kernel(80)).unwrap();
        let server = thread::spawn(move || {
            let each: Vec<_> = (0..EACH).map(|_| listener.accept().unwrap().0).collect();
            each.into_iter()
                .map(|stream| thread::spawn(move || kernel_flow(stream, 5000)))
                .map(|t| t.join().unwrap())
                .sum()
        });
        let mut flows = Flows::default();
        for _ in 0..EACH {
            flows.add(host.tcp_connect(kernel(80), &ConnectOptions::default()).unwrap(), 7000);
        }
        let received: u64 = drive_beside(&mut host, &mut flows, server);
        assert_eq!(received, 7000 * EACH as u64);
        assert!(flows.done.iter().all(|flow| flow.error.is_none() && flow.received == 5000));
    });
}

#[test]
fn either_side_may_end_its_stream_first() {
    over_every_port("either_side_may_end_its_stream_first", |mut host| {
        let listener = host.tcp_listen(ours(80), &ListenOptions::default()).unwrap();
        // The kernel first: it ends, and reads afterwards.
        let client = thread::spawn(|| {
            let mut client = TcpStream::connect(ours(80)).unwrap();
            client.write_all(stream(0, 1000)).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            thread::sleep(Duration::from_millis(50));
            kernel_read(&mut client)
        });
        let mut flows = Flows::answering(500_000);
        assert_eq!(drive_beside(&mut host, &mut flows, client), 500_000);
        // The host first: the kernel reads the end before it writes anything.
        let client = thread::spawn(|| {
            let mut client = TcpStream::connect(ours(80)).unwrap();
            let received = kernel_read(&mut client);
            client.write_all(stream(0, 300_000)).unwrap();
            received
        });
        let mut flows = Flows::answering(1000);
        assert_eq!(drive_beside(&mut host, &mut flows, client), 1000);
        assert_eq!((flows.done[0].received, flows.done[0].error), (300_000, None));
        host.tcp_unlisten(listener).unwrap();
        let refused = thread::spawn(|| TcpStream::connect(ours(80)).unwrap_err().kind());
        assert_eq!(drive_beside(&mut host, &mut Flows::default(), refused), ErrorKind::ConnectionRefused);
    });
}

/// Makes the kernel's next close of a socket a reset.
#[allow(unsafe_code)]
fn reset_on_close(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = size_of::<libc::linger>() as libc::socklen_t;
    // SAFETY: the structure outlives the call, which reads as many bytes as it has.
    let done = unsafe {
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), len)
    };
    assert_eq!(done, 0);
}

#[test]
fn either_side_may_abort() {
    over_every_port("either_side_may_abort", |mut host| {
        host.tcp_listen(ours(80), &ListenOptions::default()).unwrap();
        let client = thread::spawn(|| {
            let client = TcpStream::connect(ours(80)).unwrap();
            (&client).write_all(stream(0, 1)).unwrap();
            thread::sleep(Duration::from_millis(50));
            reset_on_close(&client);
        });
        let mut flows = Flows::answering(1);
        assert_eq!(drive_beside(&mut host, &mut flows, client), ());
        assert_eq!(flows.done[0].error, Some(SocketError::ConnectionReset));

        let client = thread::spawn(|| {
            // The reset may come before the client has woken from `connect`.
            let reset = TcpStream::connect(ours(80)).and_then(|mut client| {
                client.set_read_timeout(Some(Duration::from_secs(10)))?;
                client.read(&mut [0; 10])
            });
            reset.unwrap_err().kind()
        });
        let start = Instant::now();
        while !client.is_finished() {
            host.poll(Some(Duration::from_millis(5))).unwrap();
            while let Some(event) = host.next_event() {
                if let Event::Accept(listener) = event {
                    let id = host.tcp_accept(listener).unwrap();
                    host.tcp_abort(id);
                    assert_eq!(host.tcp_error(id), None, "the handle is gone");
                    assert_eq!(host.tcp_send(id, b"x"), Err(SocketError::Closed));
                }
            }
            assert!(start.elapsed() < Duration::from_secs(10));
        }
        assert_eq!(client.join().unwrap(), ErrorKind::ConnectionReset);

        // Nobody listens at the kernel's.
        let mut flows = Flows::default();
        flows.add(host.tcp_connect(kernel(81), &ConnectOptions::default()).unwrap(), 1);
        drive(&mut host, &mut flows, |_, flows| !flows.done.is_empty());
        assert_eq!(flows.done[0].error, Some(SocketError::ConnectionRefused));
    });
}

#[test]
fn a_peer_that_does_not_read_stops_the_other() {
    const MANY: u64 = 12_000_000;
    over_every_port("a_peer_that_does_not_read_stops_the_other", |mut host| {
        host.tcp_listen(ours(80), &ListenOptions::default()).unwrap();
        // The kernel does not read for a while: more than its buffer is waiting.
        let client = thread::spawn(|| {
            let mut client = TcpStream::connect(ours(80)).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            thread::sleep(Duration::from_millis(1500));
            kernel_read(&mut client)
        });
        let mut flows = Flows::answering(MANY);
        assert_eq!(drive_beside(&mut host, &mut flows, client), MANY);
        assert_eq!(flows.done[0].error, None);
        assert!(host.stats().stack.tcp.window_probes > 0, "{}", host.stats());
        // The host does not.
        let client = thread::spawn(|| kernel_flow(TcpStream::connect(ours(80)).unwrap(), MANY));
        let (mut flows, start) = (Flows { deaf: true, ..Flows::answering(0) }, Instant::now());
        drive(&mut host, &mut flows, |_, _| start.elapsed() > Duration::from_millis(1500));
        assert!(!client.is_finished());
        let reader = host.reader();
        flows.listen_again(&mut host, &reader);
        assert_eq!(drive_beside(&mut host, &mut flows, client), 0);
        assert_eq!((flows.done[0].received, flows.done[0].error), (MANY, None));
        assert_eq!(host.stats().socket.rx_dropped.no_frame, 0, "{}", host.stats());
    });
}

#[test]
fn the_kernel_drops_at_random() {
    let size = if cfg!(debug_assertions) { 3_000_000 } else { 20_000_000 };
    for spec in PORTS {
        thread::spawn(move || {
            let Some(_lab) = wire("the_kernel_drops_at_random") else { return };
            // Its own segments it would send again at once if it dropped them on their way out: it knows. So those are lost
            // on their way in here.
            run("iptables", "-A INPUT -i vb -m statistic --mode random --probability 0.01 -j DROP");
            let mut host = host(&format!("{spec}&min_rto=20ms&faults=rx&loss=1%"));
            host.tcp_listen(ours(80), &ListenOptions::default()).unwrap();
            let client = thread::spawn(move || kernel_flow(TcpStream::connect(ours(80)).unwrap(), size));
            let mut flows = Flows::answering(size);
            drive(&mut host, &mut flows, |_, flows| flows.done.len() == 1);
            assert_eq!(drive_beside(&mut host, &mut flows, client), size);
            assert_eq!((flows.done[0].received, flows.done[0].error), (size, None));
            let stats = host.stats();
            assert!(stats.stack.tcp.retransmitted_segments > 0 && stats.stack.tcp.rx_out_of_order > 0, "{stats}");
        })
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
}

#[test]
fn datagrams_of_every_size() {
    over_every_port("datagrams_of_every_size", |mut host| {
        let id = host.udp_bind(ours(53), &UdpOptions::default()).unwrap();
        let (tell, told) = mpsc::channel();
        let client = thread::spawn(move || {
            let socket = UdpSocket::bind(kernel(0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            let mut buffer = vec![0; 65_536];
            for size in [0u64, 1, 1472, 1473, 9000, 65_507] {
                // A lost datagram is no fault: it is sent again.
                let came = (0..5).any(|_| {
                    socket.send_to(stream(0, size), ours(53)).unwrap();
                    socket.recv_from(&mut buffer).is_ok_and(|(n, from)| {
                        assert_eq!((n as u64, from), (size, ours(53)));
                        common::host::check(0, &buffer[..n]);
                        true
                    })
                });
                assert!(came, "{size} bytes");
            }
            tell.send(()).unwrap();
        });
        let (reader, start) = (host.reader(), Instant::now());
        while told.try_recv().is_err() {
            assert!(!client.is_finished() && start.elapsed() < common::host::patience(), "{}", host.stats());
            host.poll(Some(Duration::from_millis(5))).unwrap();
            while let Some(event) = host.next_event() {
                assert_eq!(event, Event::Udp(id, Readiness::READABLE));
                while let Ok(packet) = host.udp_recv(id) {
                    let bytes = reader.open(packet.chunk);
                    host.udp_send(id, &datagram(Some(packet.from), &bytes)).unwrap();
                }
            }
        }
        client.join().unwrap();
        // Nobody is there: ICMP says so.
        host.udp_connect(id, Some(kernel(9))).unwrap();
        host.udp_send(id, &datagram(None, b"anybody?")).unwrap();
        let start = Instant::now();
        let error = loop {
            host.poll(Some(Duration::from_millis(5))).unwrap();
            while host.next_event().is_some() {}
            match host.udp_recv(id) {
                Err(SocketError::WouldBlock) => assert!(start.elapsed() < Duration::from_secs(5), "{}", host.stats()),
                Err(error) => break error,
                Ok(packet) => panic!("{packet:?}"),
            }
        };
        assert_eq!(error, SocketError::ConnectionRefused);
    });
}

/// One address, two queues, a host on each in a thread of its own.
#[cfg(feature = "af_xdp")]
#[test]
fn several_hosts_serve_one_address() {
    const CLIENTS: u64 = 64;
    let Some(lab) = Lab::enter("several_hosts_serve_one_address") else { return };
    lab.veth("va", "vb", 2);
    ip("addr add 10.9.0.1/24 dev vb");
    run("ethtool", "-K vb tso off gso off gro off");
    let mac = nethuns_rs::api::LinkInfo::of_interface("vb").unwrap().mac.unwrap();
    // ARP replies come to one queue only.
    let builder = HostBuilder::new("af_xdp:va?rx_checksum=trust&ip=10.9.0.2/24").neighbour(KERNEL.into(), mac);
    let (tell, told) = mpsc::channel();
    let servers: Vec<_> = (0..2)
        .map(|queue| {
            let (builder, tell) = (builder.clone().queue(queue), tell.clone());
            thread::spawn(move || {
                let mut host = builder.build().unwrap();
                host.tcp_listen(ours(80), &ListenOptions::default()).unwrap();
                tell.send((host.waker(), host.advice())).unwrap();
                let (mut flows, reader, mut told) = (Flows::answering(20_000), host.reader(), false);
                while !told || !flows.open.is_empty() {
                    told |= host.poll(Some(Duration::from_millis(100))).unwrap().woken;
                    flows.handle(&mut host, &reader);
                }
                assert!(flows.done.iter().all(|flow| flow.error.is_none()), "{flows:?}");
                assert!(host.close(Duration::from_secs(5)).unwrap());
                flows.done.len() as u64
            })
        })
        .collect();
    let wakers: Vec<_> = (0..2).map(|_| told.recv().unwrap()).collect();
    for (_, advice) in &wakers {
        assert!(advice.iter().any(|remark| remark.contains("1 of the 2 receive queues of va")), "{advice:?}");
    }
    let clients: Vec<_> =
        (0..CLIENTS).map(|n| thread::spawn(move || kernel_flow(TcpStream::connect(ours(80)).unwrap(), n))).collect();
    for client in clients {
        assert_eq!(client.join().unwrap(), 20_000);
    }
    wakers.iter().for_each(|(waker, _)| waker.wake());
    let served: Vec<u64> = servers.into_iter().map(|server| server.join().unwrap()).collect();
    assert_eq!(served.iter().sum::<u64>(), CLIENTS);
    assert!(served.iter().all(|served| *served > 0), "{served:?}");
}

/// Whether the kernel can open a connection to a host, within a second or two.
fn connects(mut host: Host) -> (bool, Host) {
    host.tcp_listen(ours(80), &ListenOptions::default()).unwrap();
    let client = thread::spawn(|| TcpStream::connect_timeout(&ours(80), Duration::from_millis(1500)).is_ok());
    let start = Instant::now();
    while !client.is_finished() && start.elapsed() < Duration::from_secs(5) {
        host.poll(Some(Duration::from_millis(5))).unwrap();
    }
    (client.join().unwrap(), host)
}

#[cfg(feature = "af_xdp")]
#[test]
fn unfinished_checksums_are_refused_explained_and_solved() {
    let Some(_lab) = wire("unfinished_checksums_are_refused_explained_and_solved") else { return };
    let (connected, strict) = connects(host("af_xdp:va"));
    assert!(!connected && strict.stats().stack.tcp.rx_bad_checksum > 0, "{}", strict.stats());
    let advice = strict.advice().join("\n");
    assert!(advice.contains("`ethtool -K vb tx off`") && advice.contains("rx_checksum=trust"), "{advice}");
    assert!(advice.contains("came with a wrong checksum"), "{advice}");
    drop(strict);
    let (connected, trusting) = connects(host("af_xdp:va?rx_checksum=trust"));
    assert!(connected, "{}", trusting.stats());
    assert_eq!(trusting.advice(), [""; 0]);
    drop(trusting);
    run("ethtool", "-K vb tx off");
    let (connected, strict) = connects(host("af_xdp:va"));
    assert!(connected && strict.stats().stack.tcp.rx_bad_checksum == 0, "{}", strict.stats());
    assert_eq!(strict.advice(), [""; 0]);
}

#[cfg(feature = "pcap")]
#[test]
fn packets_that_are_still_to_be_cut_are_noticed() {
    let Some(_lab) = wire("packets_that_are_still_to_be_cut_are_noticed") else { return };
    assert_eq!(host("pcap:va?rx_checksum=trust").advice(), [""; 0]);
    run("ethtool", "-K vb tso on gso on");
    let advice = host("pcap:va?rx_checksum=trust").advice().join("\n");
    assert!(advice.contains("`ethtool -K vb tso off gso off`"), "{advice}");
    // No carrier either.
    ip("link set vb down");
    let advice = host("pcap:va?rx_checksum=trust").advice().join("\n");
    assert!(advice.contains("va has no carrier"), "{advice}");
}

#[test]
fn what_the_link_cannot_carry_is_refused() {
    let Some(_lab) = wire("what_the_link_cannot_carry_is_refused") else { return };
    let port = PORTS[0].split('?').next().unwrap();
    let text = Host::open(&format!("{port}?ip=10.9.0.2/24&mtu=1501")).unwrap_err().to_string();
    assert!(text.contains("mtu=1501: expected at most 1500, the MTU of va"), "{text}");
    let text = Host::open(&port.replace("va", "nowhere")).unwrap_err().to_string();
    assert!(text.contains("ip="), "{text}");
    let text = Host::open(&format!("{}?ip=10.9.0.2/24", port.replace("va", "nowhere"))).unwrap_err().to_string();
    assert!(text.contains("nowhere"), "{text}");
    let host = Host::open(&format!("{port}?ip=10.9.0.2/24")).unwrap();
    assert_eq!(host.config().mtu, 1500);
    assert_eq!(Some(host.config().mac), nethuns_rs::api::LinkInfo::of_interface("va").unwrap().mac);
}

#[cfg(feature = "pcap")]
#[test]
fn an_address_that_the_kernel_has_too_is_noticed() {
    let Some(_lab) = wire("an_address_that_the_kernel_has_too_is_noticed") else { return };
    ip("addr add 10.9.0.2/24 dev va");
    let advice = host("pcap:va").advice().join("\n");
    assert!(advice.contains("the kernel has 10.9.0.2 too"), "{advice}");
}
