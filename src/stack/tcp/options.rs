//! What a program sets on connections and listeners, and what it can ask of them.

use crate::stack::config::CongestionControl;
use std::net::SocketAddr;
use std::time::Duration;

/// What can be set on a connection at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Small segments leave at once, even while others are unacknowledged: no Nagle algorithm (`TCP_NODELAY`).
    pub nodelay: bool,
    /// Only full segments leave (`TCP_CORK`), for 200 ms at most; taking it off pushes what is left.
    pub cork: bool,
    /// Probes of an idle peer.
    pub keep_alive: Option<KeepAlive>,
    /// How long data may stay unacknowledged before the connection fails (RFC 5482); without it the number of
    /// retransmissions decides.
    pub user_timeout: Option<Duration>,
    /// Every segment is acknowledged at once (`TCP_QUICKACK`).
    pub quick_ack: bool,
}

/// Keep-alive probes (RFC 9293, 3.8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Silence before the first probe (`TCP_KEEPIDLE`).
    pub idle: Duration,
    /// Time between probes (`TCP_KEEPINTVL`).
    pub interval: Duration,
    /// Probes without an answer before the connection fails (`TCP_KEEPCNT`).
    pub probes: u32,
}

impl Default for KeepAlive {
    /// Those of Linux: after two hours, every 75 seconds, nine times.
    fn default() -> Self {
        Self { idle: Duration::from_secs(7200), interval: Duration::from_secs(75), probes: 9 }
    }
}

/// What a listener is opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Connections that may wait to be accepted.
    pub backlog: usize,
    /// Of the connections it accepts.
    pub socket: SocketOptions,
    /// Send buffer of the connections it accepts, in bytes; the engine's default without.
    pub send_buffer: Option<usize>,
    /// Receive buffer of the connections it accepts, in bytes; the engine's default without.
    pub receive_buffer: Option<usize>,
    /// Congestion control of the connections it accepts; the engine's default without.
    pub congestion: Option<CongestionControl>,
    /// Several listeners may have this address and port; connections are spread over them (`SO_REUSEPORT`).
    pub reuse_port: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: 512,
            socket: SocketOptions::default(),
            send_buffer: None,
            receive_buffer: None,
            congestion: None,
            reuse_port: false,
        }
    }
}

/// What a connection is opened with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Local address and port; an unspecified address or port 0 leaves that part to the engine.
    pub local: Option<SocketAddr>,
    /// Of the connection.
    pub socket: SocketOptions,
    /// Send buffer in bytes; the engine's default without.
    pub send_buffer: Option<usize>,
    /// Receive buffer in bytes; the engine's default without.
    pub receive_buffer: Option<usize>,
    /// Congestion control; the engine's default without.
    pub congestion: Option<CongestionControl>,
}

/// The states of RFC 9293, 3.3.2. LISTEN and SYN-RECEIVED of a passive open are no connections yet and never seen here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// SYN sent.
    SynSent,
    /// SYN sent and received (simultaneous open).
    SynReceived,
    /// Both sides may send.
    Established,
    /// Our FIN is sent or queued.
    FinWait1,
    /// Our FIN is acknowledged, the peer may still send.
    FinWait2,
    /// The peer has ended its stream, we may still send.
    CloseWait,
    /// Both FINs have crossed, ours is not acknowledged.
    Closing,
    /// The peer's FIN came first, ours is sent or queued.
    LastAck,
    /// Over, in order; a record answers what still comes.
    TimeWait,
    /// Over.
    Closed,
}

/// What is known of a connection, as `TCP_INFO` of `tcp(7)` tells it. Sizes in bytes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TcpInfo {
    /// Its state.
    pub state: State,
    /// Smoothed round-trip time; zero before the first sample.
    pub srtt: Duration,
    /// Its variation.
    pub rttvar: Duration,
    /// Shortest round trip seen lately.
    pub min_rtt: Duration,
    /// Retransmission timeout.
    pub rto: Duration,
    /// Congestion window.
    pub cwnd: u32,
    /// Slow start threshold.
    pub ssthresh: u32,
    /// Sent and neither acknowledged nor considered lost.
    pub in_flight: u32,
    /// Largest payload of a segment that we send.
    pub mss: u16,
    /// The peer's window.
    pub send_window: u32,
    /// The window that we have promised.
    pub receive_window: u32,
    /// Accepted for sending and not acknowledged.
    pub send_queued: usize,
    /// Received in order and not read.
    pub receive_queued: usize,
    /// Received out of order.
    pub out_of_order: usize,
    /// Payload sent, without retransmissions.
    pub bytes_sent: u64,
    /// Payload received in order.
    pub bytes_received: u64,
    /// Segments sent again.
    pub retransmits: u32,
    /// Received by the peer out of order, by its word.
    pub sacked: u32,
    /// Considered lost and not sent again yet.
    pub lost: u32,
    /// Timeouts since something was last acknowledged.
    pub timeouts: u32,
    /// Whether losses are being repaired.
    pub recovering: bool,
    /// Whether the path has been seen to change the order of packets.
    pub reordering: bool,
    /// Bytes per second at which segments are spread; zero if they are not.
    pub pacing_rate: u64,
    /// Congestion control in use; `None`: one that we do not have (the kernel's may be any).
    pub congestion: Option<CongestionControl>,
    /// Whether timestamps are in use.
    pub timestamps: bool,
    /// Whether selective acknowledgements are in use.
    pub sack: bool,
    /// Window shifts of the peer and of ours, if scaling is in use.
    pub window_scale: Option<(u8, u8)>,
}
