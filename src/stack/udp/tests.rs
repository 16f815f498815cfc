use super::*;
use crate::pool::{Geometry, Pool, PoolContext};
use crate::stack::blocks::Block;
use crate::stack::ip::Input;
use crate::stack::ip::testing::*;
use crate::wire::ethernet;
use crate::wire::icmp::Message;
use std::net::Ipv4Addr;

mod sending;

/// An engine's part for datagrams, and its link.
pub(super) struct Host {
    pub(super) ip: Ip,
    pub(super) udp: Udp,
    pub(super) buffers: Buffers,
    pub(super) sink: Frames,
    pub(super) now: Instant,
}

impl Host {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            ip: Ip::new(config).unwrap(),
            udp: Udp::new(config),
            buffers: Buffers::new(64 << 20, 16, 1),
            sink: Frames::new(),
            now: ms(0),
        }
    }

    pub(super) fn bind(&mut self, local: &str, options: UdpOptions) -> Result<UdpId, SocketError> {
        self.udp.bind(&self.ip, local.parse().unwrap(), &options)
    }

    pub(super) fn socket(&mut self, local: &str) -> UdpId {
        self.bind(local, UdpOptions::default()).unwrap()
    }

    pub(super) fn send(&mut self, id: UdpId, to: Option<SocketAddr>, bytes: &[u8]) -> Result<(), SocketError> {
        let datagram = Datagram { to, from: None, ecn: 0, bytes };
        self.udp.send(self.now, &mut self.ip, &mut self.sink, id, &datagram)
    }

    fn input(&mut self, input: Input, block: Block, checked: bool) {
        match input {
            Input::Udp(packet) => {
                self.udp.receive(self.now, &mut self.ip, &mut self.buffers, &mut self.sink, &packet, block, checked)
            }
            Input::IcmpError(error) => self.udp.icmp_error(self.now, &mut self.ip, &error),
            Input::Reassembled(whole) => {
                let input = self.ip.receive_packet(self.now, &mut self.sink, &whole);
                self.input(input, whole, checked);
            }
            _ => {}
        }
    }

    /// Takes in a frame.
    pub(super) fn frame(&mut self, frame: &[u8]) {
        let mut block = self.buffers.blocks.take(frame.len()).unwrap();
        block[..frame.len()].copy_from_slice(frame);
        let input = self.ip.receive(self.now, &mut self.sink, frame);
        self.input(input, block, false);
    }

    /// Takes in what was sent to ourselves, until nothing is left of it.
    fn inside(&mut self) {
        while let Some(block) = self.ip.take_loopback() {
            let input = self.ip.receive_packet(self.now, &mut self.sink, &block);
            self.input(input, block, true);
        }
    }

    pub(super) fn recv(&mut self, id: UdpId) -> Result<(Vec<u8>, SocketAddr), SocketError> {
        let packet = self.udp.recv(&mut self.buffers, id)?;
        Ok((bytes(packet.chunk), packet.from))
    }

    pub(super) fn events(&mut self) -> Vec<(UdpId, Readiness)> {
        std::iter::from_fn(|| self.udp.next_event()).collect()
    }
}

fn bytes(chunk: crate::stack::Chunk) -> Vec<u8> {
    // All lie in blocks here; any context will do.
    let pool = Pool::heap(Geometry::new(1, 64)).unwrap();
    chunk.open(&PoolContext::attach(&pool)).to_vec()
}

pub(super) fn host() -> Host {
    Host::new(&config_with_neighbours())
}

pub(super) fn peer(port: u16) -> SocketAddr {
    SocketAddr::new(PEER.into(), port)
}

/// A datagram as a frame to us.
pub(super) fn datagram(from: SocketAddr, to: SocketAddr, data: &[u8]) -> Vec<u8> {
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (from.ip(), to.ip()) else { panic!() };
    let len = udp::HEADER_LEN + data.len();
    let mut segment = vec![0; udp::HEADER_LEN];
    let sum = crate::wire::checksum::Sum::pseudo_v4(src, dst, 17, len).add(crate::wire::checksum::Sum::of(data));
    udp::Emit { src_port: from.port(), dst_port: to.port(), len: len as u16 }
        .write(segment.first_chunk_mut().unwrap(), sum);
    segment.extend(data);
    let mut frame = ip_frame(src, dst, 17, &segment);
    if dst.is_broadcast() || dst.octets()[3] == 255 {
        frame[..6].copy_from_slice(&ethernet::BROADCAST);
    }
    frame
}

fn us(port: u16) -> SocketAddr {
    SocketAddr::new(US.into(), port)
}

#[test]
fn a_received_datagram_waits_with_all_that_is_known_of_it() {
    let mut host = host();
    let id = host.socket("0.0.0.0:5000");
    let mut frame = datagram(peer(77), us(5000), b"hello");
    frame[15] = 3;
    frame[24..26].fill(0);
    let sum = crate::wire::checksum::Sum::of(&frame[14..34]).finish();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame.extend([0xEE; 13]);
    host.frame(&frame);
    host.frame(&datagram(peer(78), us(5000), b""));
    assert_eq!(host.events(), [(id, Readiness::READABLE)], "told once");
    assert_eq!(host.udp.readable(id), 2);
    let packet = host.udp.recv(&mut host.buffers, id).unwrap();
    assert_eq!((packet.from, packet.to, packet.ecn), (peer(77), US.into(), 3));
    assert_eq!(bytes(packet.chunk), b"hello");
    assert_eq!(host.recv(id), Ok((vec![], peer(78))), "a datagram of no bytes is one");
    assert_eq!(host.recv(id), Err(SocketError::WouldBlock));
    assert_eq!((host.udp.stats.rx_datagrams, host.udp.stats.rx_bytes), (2, 5));
    host.frame(&datagram(peer(77), us(5000), b"more"));
    assert_eq!(host.events(), [(id, Readiness::READABLE)]);
}

#[test]
fn wrong_checksums_and_lengths_are_dropped_and_no_checksum_is_right() {
    let mut host = host();
    let id = host.socket("0.0.0.0:5000");
    let good = datagram(peer(77), us(5000), b"hello");
    let with = |at: usize, value: u8| {
        let mut frame = good.clone();
        frame[at] = value;
        frame
    };
    host.frame(&with(42, b'j'));
    assert_eq!(host.udp.stats.rx_bad_checksum, 1);
    host.frame(&with(39, 7));
    host.frame(&with(39, 14));
    host.frame(&ip_frame(PEER, US, 17, &[0; 7]));
    assert_eq!(host.udp.stats.rx_malformed, 3);
    let mut none = good.clone();
    none[40..42].fill(0);
    host.frame(&none);
    assert_eq!(host.recv(id).unwrap().0, b"hello");
    let mut config = config_with_neighbours();
    config.checksum.rx = RxChecksum::Trust;
    let mut trusting = Host::new(&config);
    let id = trusting.socket("0.0.0.0:5000");
    trusting.frame(&with(42, b'j'));
    assert_eq!(trusting.recv(id).unwrap().0, b"jello");
}

#[test]
fn a_port_that_nobody_has_is_answered() {
    let mut host = host();
    host.socket("10.0.0.2:5000");
    let frame = datagram(peer(77), us(5001), b"hello");
    host.frame(&frame);
    let (mac, header, message) = parse_ip(&host.sink.only());
    assert_eq!((mac, header.src, header.dst), (PEER_MAC, US, PEER));
    assert_eq!(Message::parse(&message), Ok(Message::Unreachable { code: 3, mtu: 0, quoted: &frame[14..] }));
    // Not if it was sent to everybody, nor if it was broken.
    host.frame(&datagram(peer(77), SocketAddr::new(Ipv4Addr::BROADCAST.into(), 5001), b"hello"));
    let mut broken = frame;
    broken[43] ^= 1;
    host.frame(&broken);
    assert_eq!((host.sink.take().len(), host.udp.stats.rx_no_port, host.udp.stats.rx_bad_checksum), (0, 2, 1));
}

#[test]
fn a_queue_takes_as_many_bytes_as_configured_and_one_datagram_at_least() {
    let mut host = host();
    let options = UdpOptions { receive_buffer: Some(10_000), ..UdpOptions::default() };
    let id = host.bind("0.0.0.0:5000", options).unwrap();
    for n in 0..100u8 {
        host.frame(&datagram(peer(77), us(5000), &[n; 900]));
    }
    let taken = host.udp.readable(id);
    assert!((5..=10).contains(&taken), "{taken}");
    assert_eq!(host.udp.stats.rx_buffer_full, 100 - taken as u64);
    for n in 0..taken as u8 {
        assert_eq!(host.recv(id).unwrap().0, [n; 900], "the first ones are kept");
    }
    host.frame(&datagram(peer(77), us(5000), b"again"));
    assert_eq!(host.recv(id).unwrap().0, b"again");
    let id = host.bind("0.0.0.0:5001", UdpOptions { receive_buffer: Some(0), ..options }).unwrap();
    host.frame(&datagram(peer(77), us(5001), b"one"));
    assert_eq!(host.recv(id).unwrap().0, b"one");
}

#[test]
fn bound_addresses_follow_the_rules_of_sockets() {
    let mut host = host();
    let share = UdpOptions { reuse_port: true, ..UdpOptions::default() };
    let alone = UdpOptions::default();
    let mut bind = |local: &str, options| host.bind(local, options).map(|_| ());
    assert_eq!(bind("10.0.0.2:5000", alone), Ok(()));
    assert_eq!(bind("10.0.0.2:5000", alone), Err(SocketError::AddrInUse));
    assert_eq!(bind("10.0.0.2:5000", share), Err(SocketError::AddrInUse), "the first one does not share");
    assert_eq!(bind("0.0.0.0:5000", alone), Err(SocketError::AddrInUse), "any is that one too");
    assert_eq!(bind("127.0.0.1:5000", alone), Ok(()), "another address");
    assert_eq!(bind("0.0.0.0:6000", share), Ok(()));
    assert_eq!(bind("0.0.0.0:6000", share), Ok(()));
    assert_eq!(bind("10.0.0.2:6000", share), Ok(()));
    assert_eq!(bind("10.0.0.2:6000", alone), Err(SocketError::AddrInUse));
    assert_eq!(bind("10.0.0.9:7000", alone), Err(SocketError::AddrNotAvailable));
    assert_eq!(bind("[::1]:7000", alone), Err(SocketError::AddrNotAvailable));
}

#[test]
fn closing_frees_the_address_and_all_memory() {
    let mut host = host();
    for round in 0..3 {
        let id = host.socket("10.0.0.2:5000");
        let connected = host.bind("10.0.0.2:0", UdpOptions::default()).unwrap();
        host.udp.connect(&host.ip, connected, Some(peer(1))).unwrap();
        host.frame(&datagram(peer(77), us(5000), b"left"));
        host.sink.room = 0;
        host.send(id, Some(peer(53)), b"waits").unwrap();
        host.udp.close(&mut host.ip, &mut host.buffers, id);
        host.udp.close(&mut host.ip, &mut host.buffers, connected);
        host.udp.close(&mut host.ip, &mut host.buffers, id);
        host.sink.room = usize::MAX;
        assert!(!host.udp.egress(ms(0), &mut host.ip, &mut host.sink), "{round}");
        assert_eq!((host.events(), host.sink.take().len(), host.udp.len()), (vec![], 0, 0));
        assert_eq!((host.buffers.blocks.in_use(), host.ip.block_bytes(), host.buffers.kept_frames()), (0, 0, 0));
        assert_eq!(host.send(id, Some(peer(53)), b"x"), Err(SocketError::Closed));
        assert_eq!(host.recv(id), Err(SocketError::Closed));
        assert_eq!(host.udp.connect(&host.ip, id, None), Err(SocketError::Closed));
    }
}

#[test]
fn ports_that_we_choose_are_free_ones_in_the_range_and_differ() {
    let mut config = config_with_neighbours();
    config.tcp.ephemeral_ports = (40_000, 40_019);
    let mut host = Host::new(&config);
    let mut ports = std::collections::BTreeSet::new();
    let first = host.socket("0.0.0.0:0");
    ports.insert(host.udp.local_addr(first).unwrap().port());
    for _ in 1..20 {
        let id = host.socket("10.0.0.2:0");
        ports.insert(host.udp.local_addr(id).unwrap().port());
    }
    assert_eq!(ports.iter().copied().collect::<Vec<u16>>(), (40_000..40_020).collect::<Vec<u16>>());
    assert_eq!(host.bind("10.0.0.2:0", UdpOptions::default()), Err(SocketError::NoPorts));
    // Not one after the other (RFC 6056).
    config.tcp.ephemeral_ports = (32_768, 60_999);
    let mut host = Host::new(&config);
    let ports: Vec<u16> = (0..10)
        .map(|_| {
            let id = host.socket("10.0.0.2:0");
            host.udp.local_addr(id).unwrap().port()
        })
        .collect();
    assert!(ports.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 10).count() < 3, "{ports:?}");
}

#[test]
fn a_connected_socket_hears_its_peer_only_and_others_go_past_it() {
    let mut host = host();
    let share = UdpOptions { reuse_port: true, ..UdpOptions::default() };
    let connected = host.bind("0.0.0.0:5000", share).unwrap();
    let open = host.bind("0.0.0.0:5000", share).unwrap();
    host.udp.connect(&host.ip, connected, Some(peer(77))).unwrap();
    assert_eq!(host.udp.local_addr(connected), Ok(us(5000)), "the address that the route says");
    assert_eq!(host.udp.peer_addr(connected), Ok(peer(77)));
    for (from, to) in [(peer(77), connected), (peer(78), open), (SocketAddr::new(FAR.into(), 77), open)] {
        host.frame(&datagram(from, us(5000), b"x"));
        assert_eq!(host.recv(to).map(|(_, sender)| sender), Ok(from));
    }
    host.send(connected, None, b"to the peer").unwrap();
    assert_eq!(parse_ip(&host.sink.only()).1.dst, PEER);
    host.send(connected, Some(SocketAddr::new(FAR.into(), 1)), b"to another").unwrap();
    assert_eq!(parse_ip(&host.sink.only()).1.dst, FAR);
    assert_eq!(host.udp.connect(&host.ip, open, Some(peer(77))), Err(SocketError::AddrInUse));
    assert_eq!(host.udp.peer_addr(open), Err(SocketError::NotConnected));
    host.udp.connect(&host.ip, connected, Some(peer(79))).unwrap();
    host.udp.connect(&host.ip, open, Some(peer(77))).unwrap();
    assert_eq!(host.udp.connect(&host.ip, open, Some(peer(79))), Err(SocketError::AddrInUse));
    host.frame(&datagram(peer(77), us(5000), b"x"));
    assert_eq!(host.udp.readable(open), 1, "still connected as before");
    host.udp.connect(&host.ip, connected, None).unwrap();
    assert_eq!(host.send(connected, None, b"x"), Err(SocketError::InvalidAddress));
    host.frame(&datagram(peer(1), us(5000), b"x"));
    assert_eq!(host.udp.readable(connected), 1);
}

#[test]
fn the_socket_of_an_address_goes_before_that_of_any() {
    let mut host = host();
    let share = UdpOptions { reuse_port: true, ..UdpOptions::default() };
    let any = host.bind("0.0.0.0:5000", share).unwrap();
    let specific = host.bind("10.0.0.2:5000", share).unwrap();
    host.frame(&datagram(peer(77), us(5000), b"x"));
    assert_eq!((host.udp.readable(any), host.udp.readable(specific)), (0, 1));
    for to in [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255)] {
        host.frame(&datagram(peer(77), SocketAddr::new(to.into(), 5000), b"x"));
        assert_eq!(host.udp.recv(&mut host.buffers, any).map(|packet| packet.to), Ok(to.into()));
    }
}

#[test]
fn sockets_that_share_a_port_share_the_flows() {
    let mut host = host();
    let share = UdpOptions { reuse_port: true, ..UdpOptions::default() };
    let ids: Vec<UdpId> = (0..4).map(|_| host.bind("0.0.0.0:5000", share).unwrap()).collect();
    for port in 1000..1400 {
        host.frame(&datagram(peer(port), us(5000), b"1"));
        host.frame(&datagram(peer(port), us(5000), b"2"));
    }
    for id in ids {
        let count = host.udp.readable(id);
        assert!((120..280).contains(&count), "{count} of 800");
        while let Ok((first, from)) = host.recv(id) {
            assert_eq!((first, host.recv(id)), (b"1".to_vec(), Ok((b"2".to_vec(), from))), "a flow stays together");
        }
    }
}

#[test]
fn datagrams_to_ourselves_arrive_on_the_next_turn() {
    let mut host = Host::new(&config());
    let server = host.socket("0.0.0.0:5000");
    let client = host.socket("127.0.0.1:6000");
    let data = vec![5; 65_507];
    for to in ["127.0.0.1:5000", "127.77.0.1:5000"] {
        host.send(client, Some(to.parse().unwrap()), &data).unwrap();
        assert_eq!(host.recv(server), Err(SocketError::WouldBlock));
        host.inside();
        assert_eq!(host.recv(server), Ok((data.clone(), "127.0.0.1:6000".parse().unwrap())));
    }
    host.send(server, Some("10.0.0.2:5000".parse().unwrap()), b"me").unwrap();
    host.inside();
    assert_eq!(host.recv(server), Ok((b"me".to_vec(), us(5000))));
    assert_eq!(host.sink.take().len(), 0);
}

#[test]
fn a_refusal_reaches_the_connected_socket() {
    let mut host = Host::new(&config());
    let connected = host.socket("127.0.0.1:5000");
    let open = host.socket("127.0.0.1:5001");
    let nobody = "127.0.0.1:9".parse().unwrap();
    host.udp.connect(&host.ip, connected, Some(nobody)).unwrap();
    host.send(connected, None, b"x").unwrap();
    host.send(open, Some(nobody), b"x").unwrap();
    host.inside();
    assert_eq!(host.events(), [(connected, Readiness::READABLE)], "whoever is not connected is not told");
    assert_eq!(host.recv(connected), Err(SocketError::ConnectionRefused));
    assert_eq!(host.recv(connected), Err(SocketError::WouldBlock), "told once");
    host.send(connected, None, b"x").unwrap();
    host.inside();
    assert_eq!(host.send(connected, None, b"x"), Err(SocketError::ConnectionRefused));
    host.send(connected, None, b"x").unwrap();
    host.inside();
    assert_eq!(host.udp.take_error(connected), Some(SocketError::ConnectionRefused));
    assert_eq!(host.udp.take_error(connected), None);
}

#[test]
fn a_neighbour_that_does_not_answer_is_told_to_the_connected_socket() {
    let mut host = Host::new(&config());
    let id = host.socket("10.0.0.2:5000");
    host.udp.connect(&host.ip, id, Some(peer(9))).unwrap();
    host.send(id, None, b"x").unwrap();
    for at in (0..4000).step_by(100) {
        host.ip.advance(ms(at), &mut host.sink);
        while let Some(error) = host.ip.next_error() {
            host.udp.icmp_error(ms(at), &mut host.ip, &error);
        }
    }
    assert_eq!(host.recv(id), Err(SocketError::HostUnreachable));
}

#[test]
fn batches_go_in_and_out() {
    let mut host = host();
    let id = host.socket("10.0.0.2:5000");
    let bytes: Vec<[u8; 2]> = (0..1024u16).map(u16::to_be_bytes).collect();
    let batch: Vec<Datagram<'_>> =
        bytes.iter().map(|bytes| Datagram { to: Some(peer(9)), from: None, ecn: 0, bytes }).collect();
    assert_eq!(host.udp.send_batch(ms(0), &mut host.ip, &mut host.sink, id, &batch), Ok(1024));
    assert_eq!(host.sink.take().len(), 1024);
    let wrong = [batch[0], Datagram { to: None, ..batch[0] }, batch[1]];
    assert_eq!(host.udp.send_batch(ms(0), &mut host.ip, &mut host.sink, id, &wrong), Ok(1));
    let none = host.udp.send_batch(ms(0), &mut host.ip, &mut host.sink, id, &wrong[1..]);
    assert_eq!(none, Err(SocketError::InvalidAddress));
    for bytes in &bytes {
        host.frame(&datagram(peer(9), us(5000), bytes));
    }
    let mut out = Vec::new();
    assert_eq!(host.udp.recv_batch(&mut host.buffers, id, &mut out, 1000), Ok(1000));
    assert_eq!(host.udp.recv_batch(&mut host.buffers, id, &mut out, 1000), Ok(24));
    assert_eq!(host.udp.recv_batch(&mut host.buffers, id, &mut out, 1000), Err(SocketError::WouldBlock));
    assert_eq!(host.udp.recv_batch(&mut host.buffers, id, &mut out, 0), Ok(0));
    let all: Vec<Vec<u8>> = out.into_iter().map(|packet| super::tests::bytes(packet.chunk)).collect();
    assert_eq!(all, bytes.iter().map(|bytes| bytes.to_vec()).collect::<Vec<_>>());
}

#[test]
fn a_new_socket_hears_nothing_of_the_one_before_it() {
    let mut host = host();
    let old = host.socket("10.0.0.2:5000");
    host.frame(&datagram(peer(9), us(5000), b"old"));
    host.udp.close(&mut host.ip, &mut host.buffers, old);
    let new = host.socket("10.0.0.2:5000");
    assert_ne!(old, new);
    assert_eq!((host.events(), host.udp.readable(new), host.udp.readable(old)), (vec![], 0, 0));
}
