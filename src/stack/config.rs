//! What an engine is told when it is made. Values that a program does not set are those of a Linux host.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// A whole engine: one interface with its addresses, and what the transport protocols may use.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The interface's Ethernet address.
    pub mac: [u8; 6],
    /// Its IP addresses, each with the length of its network's prefix in bits.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The router for what is on no network of ours.
    pub gateway: Option<IpAddr>,
    /// Further routes: network, prefix length, router.
    pub routes: Vec<(IpAddr, u8, IpAddr)>,
    /// Neighbours that are known beforehand and never asked for: address, Ethernet address.
    pub neighbours: Vec<(IpAddr, [u8; 6])>,
    /// Largest IP packet in bytes, 576 to 65535.
    pub mtu: u16,
    /// Largest IP packet between addresses of this engine itself.
    pub loopback_mtu: u16,
    /// The VLAN that the interface is in: its tag is put into what is sent and expected in what is received.
    pub vlan: Option<u16>,
    /// Who computes and verifies the checksums of TCP and UDP.
    pub checksum: Checksum,
    /// IP and ARP.
    pub ip: IpConfig,
    /// TCP.
    pub tcp: TcpConfig,
    /// UDP.
    pub udp: UdpConfig,
    /// Received frames that the engine may keep for programs that have not read them yet; beyond that it copies. Half of
    /// the pool is a good value.
    pub max_kept_frames: usize,
    /// Secret of initial sequence numbers, SYN cookies, ports and hash tables (RFC 6528, RFC 6056). Random for a host; a
    /// simulation passes what it can repeat.
    pub secret: [u64; 2],
}

impl Default for Config {
    /// An interface without addresses. The secret is zero: a driver must set it.
    fn default() -> Self {
        Self {
            mac: [0x02, 0, 0, 0, 0, 1],
            addresses: Vec::new(),
            gateway: None,
            routes: Vec::new(),
            neighbours: Vec::new(),
            mtu: 1500,
            loopback_mtu: 65535,
            vlan: None,
            checksum: Checksum::default(),
            ip: IpConfig::default(),
            tcp: TcpConfig::default(),
            udp: UdpConfig::default(),
            max_kept_frames: 1024,
            secret: [0; 2],
        }
    }
}

impl Config {
    /// The first IPv4 address, if there is one.
    #[must_use]
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().find_map(|(address, _)| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
    }
}

/// Who computes and verifies the checksums of TCP and UDP. Those of IPv4 and ICMP are always computed and verified here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checksum {
    /// Of received packets.
    pub rx: RxChecksum,
    /// Of sent packets.
    pub tx: TxChecksum,
}

/// What is done about the TCP and UDP checksums of received packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RxChecksum {
    /// Verified in software, unless the frame comes with the word that it has been already.
    #[default]
    Verify,
    /// Not looked at. For a veth whose peer is the kernel's stack with transmit offload: it leaves the checksum unfinished.
    Trust,
}

/// What is done about the TCP and UDP checksums of sent packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TxChecksum {
    /// Computed in software.
    #[default]
    Compute,
    /// Only the pseudo-header's sum is put in; the device does the rest.
    Offload,
    /// Left zero: both ends are known not to look (measurements in memory).
    Omit,
}

/// IP, ARP and ICMP.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IpConfig {
    /// Time to live of what is sent.
    pub ttl: u8,
    /// Entries of the neighbour cache.
    pub max_neighbours: usize,
    /// How long a neighbour is believed without a sign of life.
    pub neighbour_lifetime: Duration,
    /// Packets held for one neighbour while it is being resolved; fewer if many neighbours are.
    pub max_held_packets: usize,
    /// Bytes that fragments of unfinished datagrams may take, all together.
    pub max_reassembly_bytes: usize,
    /// How long a datagram may take to arrive in full (RFC 791 and 1122: 15 to 120 s; Linux: 30 s).
    pub reassembly_timeout: Duration,
    /// Whether echo requests are answered.
    pub answer_echo: bool,
    /// Whether the link is told of our addresses at the start (RFC 5227, 2.3), for caches that hold another host's from before.
    pub announce: bool,
    /// ICMP errors sent per second, at most.
    pub icmp_errors_per_second: u32,
}

impl Default for IpConfig {
    fn default() -> Self {
        Self {
            ttl: 64,
            max_neighbours: 1024,
            neighbour_lifetime: Duration::from_secs(60),
            max_held_packets: 128,
            max_reassembly_bytes: 4 << 20,
            reassembly_timeout: Duration::from_secs(30),
            answer_echo: true,
            announce: true,
            icmp_errors_per_second: 1000,
        }
    }
}

/// Which algorithm chooses the congestion window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CongestionControl {
    /// RFC 9438, with HyStart++ (RFC 9406).
    #[default]
    Cubic,
    /// RFC 5681 and 6582.
    NewReno,
}

/// TCP.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TcpConfig {
    /// Congestion control of new connections.
    pub congestion: CongestionControl,
    /// Whether segments are spread over the round trip instead of sent in bursts.
    pub pacing: bool,
    /// First congestion window in segments (RFC 6928).
    pub initial_window: u32,
    /// Bytes that one connection may hold unsent or unacknowledged.
    pub send_buffer: usize,
    /// Bytes that one connection may hold unread: its largest receive window.
    pub receive_buffer: usize,
    /// Shortest retransmission timeout, from 1 ms (Linux: 200 ms).
    pub min_rto: Duration,
    /// Longest one (RFC 6298: at least 60 s).
    pub max_rto: Duration,
    /// How long an acknowledgement may wait for company (RFC 9293: under 500 ms; Linux: 40 ms).
    pub delayed_ack: Duration,
    /// Retransmissions of a SYN before a connect fails.
    pub syn_retries: u32,
    /// Retransmissions of a SYN-ACK before a half-open connection is dropped.
    pub synack_retries: u32,
    /// Retransmissions of data before a connection fails (Linux: `tcp_retries2`).
    pub retries: u32,
    /// Half-open connections, all listeners together; beyond that SYN cookies are sent.
    pub max_half_open: usize,
    /// Whether SYN cookies are sent when the SYN queue is full (RFC 4987).
    pub syn_cookies: bool,
    /// How long a TIME-WAIT record stays (RFC 9293: two segment lifetimes; Linux: 60 s).
    pub time_wait: Duration,
    /// TIME-WAIT records, at most; the oldest make room.
    pub max_time_wait: usize,
    /// Connections, at most.
    pub max_connections: usize,
    /// How long a closed connection may stay in FIN-WAIT-2 (Linux: 60 s).
    pub fin_wait_2: Duration,
    /// Challenge acknowledgements per second, all connections together (RFC 5961, 7).
    pub challenge_acks_per_second: u32,
    /// Bytes of send buffers and of copied received data, all connections together.
    pub max_buffered_bytes: usize,
    /// Whether timestamps are offered (RFC 7323).
    pub timestamps: bool,
    /// Whether selective acknowledgements are offered (RFC 2018).
    pub sack: bool,
    /// Whether window scaling is offered (RFC 7323).
    pub window_scaling: bool,
    /// Local ports for connections that name none, first and last.
    pub ephemeral_ports: (u16, u16),
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            congestion: CongestionControl::default(),
            pacing: false,
            initial_window: 10,
            send_buffer: 1 << 20,
            receive_buffer: 1 << 20,
            min_rto: Duration::from_millis(200),
            max_rto: Duration::from_secs(120),
            delayed_ack: Duration::from_millis(40),
            syn_retries: 6,
            synack_retries: 5,
            retries: 15,
            max_half_open: 4096,
            syn_cookies: true,
            time_wait: Duration::from_secs(60),
            max_time_wait: 65536,
            max_connections: 1 << 20,
            fin_wait_2: Duration::from_secs(60),
            challenge_acks_per_second: 1000,
            max_buffered_bytes: 1 << 30,
            timestamps: true,
            sack: true,
            window_scaling: true,
            ephemeral_ports: (32768, 60999),
        }
    }
}

/// UDP.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UdpConfig {
    /// Bytes of received datagrams that one socket may hold.
    pub receive_buffer: usize,
    /// Bytes of datagrams that one socket may hold unsent while the device has no room.
    pub send_buffer: usize,
}

impl Default for UdpConfig {
    fn default() -> Self {
        Self { receive_buffer: 1 << 20, send_buffer: 256 << 10 }
    }
}
