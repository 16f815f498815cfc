use super::*;
use crate::host::options;
use crate::stack::config::{CongestionControl, RxChecksum, TxChecksum};

/// The settings that a spec makes, and what is left of it for the backend.
fn read(spec: &str) -> Result<(Settings, String)> {
    let mut settings = Settings::default();
    let rest = options::take(&PortSpec::parse(spec)?, &mut settings)?;
    check(&settings)?;
    Ok((settings, rest))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn every_option_is_understood_and_none_reaches_the_backend() {
    let (settings, rest) = read(
        "af_xdp:eth0?mode=driver&ip=10.0.0.2/24,10.1.0.2/16&gw=10.0.0.1&route=192.168.0.0/16=10.0.0.9&frames=8192\
         &neigh=10.0.0.1=aa:bb:cc:dd:ee:00,10.0.0.9=02-0-0-0-0-9&mac=02:00:00:00:00:02&mtu=1400&vlan=7&ttl=3&ping=off\
         &rx_checksum=trust&tx_checksum=omit&cc=newreno&pacing&sndbuf=1M&rcvbuf=256Ki&min_rto=5ms&max_rto=60s\
         &delayed_ack=10ms&time_wait=1s&syn_cookies=off&max_connections=1k&max_buffered=1Gi&max_kept=99&poll=busy\
         &tap=/tmp/a.pcapng&tap_snaplen=128&seed=7&ports=1000-2000",
    )
    .unwrap();
    assert_eq!(rest, "af_xdp:eth0?mode=driver&frames=8192&seed=7");
    let config = &settings.config;
    assert_eq!(config.addresses, [(ip("10.0.0.2"), 24), (ip("10.1.0.2"), 16)]);
    assert_eq!(config.gateway, Some(ip("10.0.0.1")));
    assert_eq!(config.routes, [(ip("192.168.0.0"), 16, ip("10.0.0.9"))]);
    let macs = [[0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0], [2, 0, 0, 0, 0, 9]];
    assert_eq!(config.neighbours, [(ip("10.0.0.1"), macs[0]), (ip("10.0.0.9"), macs[1])]);
    assert_eq!((settings.mac, settings.mtu), (Some([2, 0, 0, 0, 0, 2]), Some(1400)));
    assert_eq!((config.vlan, config.ip.ttl, config.ip.answer_echo), (Some(7), 3, false));
    assert_eq!((config.checksum.rx, config.checksum.tx), (RxChecksum::Trust, TxChecksum::Omit));
    assert_eq!((config.tcp.congestion, config.tcp.pacing), (CongestionControl::NewReno, true));
    assert_eq!((config.tcp.send_buffer, config.tcp.receive_buffer), (1_000_000, 256 << 10));
    assert_eq!((config.tcp.min_rto, config.tcp.max_rto), (Duration::from_millis(5), Duration::from_secs(60)));
    assert_eq!((config.tcp.delayed_ack, config.tcp.time_wait), (Duration::from_millis(10), Duration::from_secs(1)));
    assert_eq!((config.tcp.syn_cookies, config.tcp.max_connections), (false, 1000));
    assert_eq!((config.tcp.max_buffered_bytes, settings.max_kept), (1 << 30, Some(99)));
    assert_eq!(config.tcp.ephemeral_ports, (1000, 2000));
    assert_eq!((settings.poll, settings.seed), (PollMode::Busy, Some(7)));
    assert_eq!((settings.tap, settings.tap_snaplen), (Some("/tmp/a.pcapng".into()), 128));
}

#[test]
fn what_the_device_does_its_backend_is_told() {
    for (spec, left) in [
        ("af_xdp:eth0?ip=10.0.0.2/24", "af_xdp:eth0"),
        ("af_xdp:eth0?ip=10.0.0.2/24&tx_checksum=device&mtu=1400", "af_xdp:eth0?tx_checksum=hardware"),
        ("dpdk:net_null0?ip=10.0.0.2/24&mtu=9000&queues=2", "dpdk:net_null0?queues=2&mtu=9000"),
        (
            "dpdk:net_null0?ip=10.0.0.2/24&rx_checksum=device&tx_checksum=device",
            "dpdk:net_null0?rx_checksum&tx_checksum",
        ),
        ("mem:a?loss=1%&ip=10.0.0.2/24&seed=3", "mem:a?loss=1%&seed=3"),
        ("pcap:what%3F?ip=10.0.0.2/24&filter=a%26b", "pcap:what%3F?filter=a%26b"),
    ] {
        assert_eq!(read(spec).unwrap().1, left);
    }
    assert!(read("dpdk:net_null0?ip=10.0.0.2/24&rx_checksum=device").unwrap().0.device_rx_checksum);
}

#[test]
fn refusals_name_option_value_and_what_is_legal() {
    for (options, found, expected) in [
        ("", "ip=", "ip=10.0.0.2/24"),
        ("ip", "ip=", "a value"),
        ("ip=10.0.0.2", "ip=10.0.0.2", "such as 10.0.0.2/24"),
        ("ip=10.0.0.2/33", "ip=10.0.0.2/33", "such as"),
        ("ip=10.0.0.2/0", "ip=10.0.0.2/0", "1 to 32 bits"),
        ("ip=10.0.0.2/24,", "ip=", "such as"),
        ("ip=10.0.0.2/24,10.0.0.2/16", "ip=10.0.0.2/16", "once"),
        ("ip=10.0.0.0/24", "ip=10.0.0.0/24", "the network itself"),
        ("ip=10.0.0.255/24", "ip=10.0.0.255/24", "the network itself"),
        ("ip=127.0.0.1/8", "ip=127.0.0.1/8", "one host"),
        ("ip=224.0.0.1/8", "ip=224.0.0.1/8", "one host"),
        ("ip=fd00::1/64", "ip=fd00::1", "IPv4"),
        ("ip=10.0.0.2/24&gw=router", "gw=router", "such as 10.0.0.1"),
        ("ip=10.0.0.2/24&gw=10.0.1.1", "gw=10.0.1.1", "10.0.0.2/24"),
        ("ip=10.0.0.2/24&gw=10.0.0.2", "gw=10.0.0.2", "our own"),
        ("ip=10.0.0.2/24&route=192.168.0.0/16", "route=192.168.0.0/16", "ROUTER"),
        ("ip=10.0.0.2/24&route=192.168.3.0/16=10.0.0.1", "route=192.168.3.0/16", "192.168.0.0/16"),
        ("ip=10.0.0.2/24&route=192.168.0.0/16=10.9.0.1", "route=10.9.0.1", "10.0.0.2/24"),
        ("ip=10.0.0.2/24&neigh=10.0.0.1", "neigh=10.0.0.1", "ADDRESS=MAC"),
        ("ip=10.0.0.2/24&neigh=10.0.1.1=02:00:00:00:00:01", "neigh=10.0.1.1", "on the network"),
        ("ip=10.0.0.2/24&neigh=10.0.0.1=03:00:00:00:00:01", "neigh=10.0.0.1", "one station"),
        ("ip=10.0.0.2/24&mac=02:00:00:00:00", "mac=02:00:00:00:00", "one station"),
        ("ip=10.0.0.2/24&mac=02:00:00:00:00:01:02", "mac=", "one station"),
        ("ip=10.0.0.2/24&mac=ff:ff:ff:ff:ff:ff", "mac=ff:ff", "one station"),
        ("ip=10.0.0.2/24&mac=+2:00:00:00:00:01", "mac=+2", "one station"),
        ("ip=10.0.0.2/24&mtu=575", "mtu=575", "576 to 65535"),
        ("ip=10.0.0.2/24&vlan=4095", "vlan=4095", "1 to 4094"),
        ("ip=10.0.0.2/24&ttl=0", "ttl=0", "1 to 255"),
        ("ip=10.0.0.2/24&cc=bbr", "cc=bbr", "cubic, newreno"),
        ("ip=10.0.0.2/24&rx_checksum=maybe", "rx_checksum=maybe", "verify, trust, device"),
        ("ip=10.0.0.2/24&tx_checksum=hardware", "tx_checksum=hardware", "compute, device, omit"),
        ("ip=10.0.0.2/24&sndbuf=1", "sndbuf=1", "2048 to"),
        ("ip=10.0.0.2/24&rcvbuf=1T", "rcvbuf=1T", "2048 to"),
        ("ip=10.0.0.2/24&min_rto=1us", "min_rto=1µs", "1ms to 60s"),
        ("ip=10.0.0.2/24&min_rto=5s&max_rto=1s", "min_rto=5s", "max_rto, which is 1s"),
        ("ip=10.0.0.2/24&delayed_ack=1s", "delayed_ack=1s", "0ns to 500ms"),
        ("ip=10.0.0.2/24&poll=often", "poll=often", "busy, adaptive, sleep"),
        ("ip=10.0.0.2/24&poll=busy&spin=1us", "spin=1µs", "poll=adaptive"),
        ("ip=10.0.0.2/24&ports=2000-1000", "ports=2000-1000", "first and last"),
        ("ip=10.0.0.2/24&seed=-1", "seed=-1", "a number"),
        ("ip=10.0.0.2/24&tap=", "tap=", "a value"),
        ("ip=10.0.0.2/24&tap_snaplen=1", "tap_snaplen=1", "64 to"),
    ] {
        let error = read(format!("mem:refused?{options}").trim_end_matches('?')).unwrap_err();
        assert!(matches!(error, Error::BadOption { .. }), "{options}: {error:?}");
        let text = error.to_string();
        assert!(text.contains(found) && text.contains(expected), "{options}: {text}");
    }
}

#[test]
fn an_unknown_option_is_answered_with_all_there_are() {
    let text = HostBuilder::new("mem:unknown?ip=10.0.0.2/24&colour=red").build().unwrap_err().to_string();
    for part in ["`colour`", "frame_size", "tap_snaplen", "rx_checksum", "mem:unknown?ip=10.0.0.2/24&colour=red"] {
        assert!(text.contains(part), "{text}: {part}");
    }
    let socket = Sock::create("mem:unknown", None, AnyFlags::default()).unwrap();
    let text = HostBuilder::new("mem:x?ip=10.0.0.2/24&frames=9").build_over(socket).unwrap_err().to_string();
    assert!(text.contains("`frames`") && text.contains("tap_snaplen"), "{text}");
}

#[test]
fn options_are_put_over_calls() {
    let builder = HostBuilder::new("mem:over?cc=newreno&mtu=1000&poll=sleep")
        .address(ip("10.0.0.2"), 24)
        .mtu(1400)
        .poll_mode(PollMode::Busy)
        .configure(|config| config.tcp.congestion = CongestionControl::Cubic);
    let host = builder.clone().build().unwrap();
    assert_eq!((host.config().mtu, host.poll_mode()), (1000, PollMode::Sleep));
    assert_eq!(host.config().tcp.congestion, CongestionControl::NewReno);
    fn travels<T: Send + Clone>(_: T) {}
    travels(builder);
}

#[test]
fn what_is_not_said_is_taken_from_the_link() {
    let host = HostBuilder::new("mem:link?ip=10.0.0.2/24&frame_size=1600&frames=800").build().unwrap();
    assert_eq!((host.config().mtu, host.config().mac), (1586, [2, 0, 10, 0, 0, 2]));
    assert_eq!(host.config().max_kept_frames, 200);
    let tagged = HostBuilder::new("mem:link?ip=10.0.0.3/24&vlan=5&frame_size=1600").build().unwrap();
    assert_eq!(tagged.config().mtu, 1582, "room for the tag");
    assert_ne!(host.config().secret, tagged.config().secret);
    for (spec, expected) in [
        ("mem:link?ip=10.0.0.4/24&mtu=1587&frame_size=1600", "at most 1586"),
        ("mem:link?ip=10.0.0.4/24&tx_checksum=device&frame_size=1600", "tx_checksum=device on mem:link"),
        ("mem:link?ip=10.0.0.4/24&rx_checksum=device&frame_size=1600", "rx_checksum=device on mem:link"),
        ("mem:small?ip=10.0.0.4/24&frame_size=500", "too small for a host"),
    ] {
        let text = HostBuilder::new(spec).build().unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_seed_makes_the_secret_repeatable() {
    let secret = |seed: u64| {
        let spec = format!("mem:seeds?ip=10.0.0.2/24&seed={seed}");
        HostBuilder::new(spec).build().unwrap().config().secret
    };
    assert_eq!(secret(1), secret(1));
    assert_ne!(secret(1), secret(2));
}
