//! What a program may ask of one socket, and what it is told of one connection.

use super::config::CongestionControl;
use std::net::SocketAddr;
use std::time::Duration;

/// When a silent peer is asked whether it is still there (RFC 1122, 4.2.3.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// How long the connection is silent before the first probe. Linux: 2 hours.
    pub idle: Duration,
    /// Time between probes. Linux: 75 s.
    pub interval: Duration,
    /// Unanswered probes after which the connection fails. Linux: 9.
    pub probes: u32,
}

impl Default for KeepAlive {
    /// Linux's values.
    fn default() -> Self {
        Self { idle: Duration::from_secs(7200), interval: Duration::from_secs(75), probes: 9 }
    }
}

/// Options of a connection that may change while it lives: those of `tcp(7)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Small segments leave at once, Nagle's algorithm is off (`TCP_NODELAY`).
    pub nodelay: bool,
    /// Only full segments leave (`TCP_CORK`); what remains does once this is off again.
    pub cork: bool,
    /// Probes for a silent peer (`SO_KEEPALIVE`, `TCP_KEEPIDLE`, `TCP_KEEPINTVL`, `TCP_KEEPCNT`); off by default.
    pub keep_alive: Option<KeepAlive>,
    /// How long sent data may stay unacknowledged before the connection fails (`TCP_USER_TIMEOUT`, RFC 5482); by default
    /// as long as the retransmissions last.
    pub user_timeout: Option<Duration>,
    /// Acknowledgements are not delayed (`TCP_QUICKACK`).
    pub quick_ack: bool,
}

/// How to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Established connections that may wait to be accepted.
    pub backlog: usize,
    /// What accepted connections begin with.
    pub socket: SocketOptions,
    /// Bytes that an accepted connection may hold unread; `None`: as configured.
    pub receive_buffer: Option<usize>,
    /// Bytes that an accepted connection may hold unsent or unacknowledged; `None`: as configured.
    pub send_buffer: Option<usize>,
    /// Congestion control of accepted connections; `None`: as configured.
    pub congestion: Option<CongestionControl>,
    /// Whether others may listen on the same address and port, if they say so too (`SO_REUSEPORT`).
    pub reuse_port: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: 512,
            socket: SocketOptions::default(),
            receive_buffer: None,
            send_buffer: None,
            congestion: None,
            reuse_port: false,
        }
    }
}

/// How to connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// The local end; `None`: the address that the route leads through and any free port. Port 0 is any free one.
    pub local: Option<SocketAddr>,
    /// What the connection begins with.
    pub socket: SocketOptions,
    /// Bytes that it may hold unread; `None`: as configured.
    pub receive_buffer: Option<usize>,
    /// Bytes that it may hold unsent or unacknowledged; `None`: as configured.
    pub send_buffer: Option<usize>,
    /// Its congestion control; `None`: as configured.
    pub congestion: Option<CongestionControl>,
}

/// Where a connection stands (RFC 9293, 3.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names of the RFC say it")]
pub enum State {
    Listen,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Closed,
}

/// How a connection fares. Counts begin with the connection; what is not known is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpInfo {
    /// Smoothed round-trip time (RFC 6298).
    pub rtt: Duration,
    /// Its variation.
    pub rtt_variation: Duration,
    /// The shortest one measured lately.
    pub min_rtt: Duration,
    /// Retransmission timeout.
    pub rto: Duration,
    /// Largest segment that may be sent, in bytes of data.
    pub mss: u32,
    /// Congestion window in bytes.
    pub congestion_window: u64,
    /// Slow-start threshold in bytes; `u64::MAX` before the first loss.
    pub slow_start_threshold: u64,
    /// Bytes believed to be on the way.
    pub in_flight: u64,
    /// Bytes accepted from the program and not sent yet.
    pub unsent: u64,
    /// Window that the peer offers, in bytes.
    pub send_window: u64,
    /// Window that is offered to the peer, in bytes.
    pub receive_window: u64,
    /// Bytes of data sent, retransmissions included.
    pub bytes_sent: u64,
    /// Bytes of data that the peer has acknowledged.
    pub bytes_acked: u64,
    /// Bytes of data received in order.
    pub bytes_received: u64,
    /// Bytes of data sent again.
    pub bytes_retransmitted: u64,
    /// Segments sent again.
    pub retransmits: u64,
}
