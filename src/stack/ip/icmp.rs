//! ICMP: echo answered, errors sent and received (RFC 792; RFC 1122, 3.2.2).

use super::input::{Input, Packet};
use super::path_mtu::plateau_below;
use super::{Ip, Outgoing, Path};
use crate::stack::{Full, Instant, Sink, SocketError};
use crate::wire::icmp::{MAX_QUOTE, Message, Quoted, time_exceeded, unreachable};
use crate::wire::{ipv4, protocol};
use std::net::IpAddr;

/// Answers to echo requests that wait to be taken.
const MAX_REPLIES: usize = 64;

/// Precedence "internetwork control" for errors (RFC 1812, 4.3.2.5).
const ERROR_TOS: u8 = 0xc0;

/// Why a packet of ours did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IcmpErrorKind {
    /// No route to the network.
    NetworkUnreachable,
    /// The host does not answer; also told by ourselves, if it does not answer ARP.
    HostUnreachable,
    /// The host does not know the protocol.
    ProtocolUnreachable,
    /// Nobody listens at the port.
    PortUnreachable,
    /// It is too long for a link on the way and must not be fragmented. `mtu`: bytes of an IP packet that would fit; smaller
    /// than the packet was. Unverified: see [`Ip::learn_path_mtu`].
    FragmentationNeeded {
        /// Bytes.
        mtu: u16,
    },
    /// A filter on the way does not let it through.
    Prohibited,
    /// A route that the sender gave failed.
    SourceRouteFailed,
    /// It met too many routers, or its fragments did not all arrive.
    TimeExceeded,
    /// Its header was not understood.
    ParameterProblem,
}

impl IcmpErrorKind {
    /// What a socket is told; `None` for what is not the peer's or the path's refusal.
    pub(crate) fn error(self) -> Option<SocketError> {
        match self {
            Self::NetworkUnreachable => Some(SocketError::NetworkUnreachable),
            Self::HostUnreachable | Self::Prohibited | Self::SourceRouteFailed => Some(SocketError::HostUnreachable),
            Self::ProtocolUnreachable => Some(SocketError::ProtocolUnreachable),
            Self::PortUnreachable => Some(SocketError::ConnectionRefused),
            Self::FragmentationNeeded { .. } | Self::TimeExceeded | Self::ParameterProblem => None,
        }
    }
}

/// An error about a packet of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IcmpError {
    /// Whom the packet was from: an address of ours.
    pub(crate) local: IpAddr,
    /// Whom it was for.
    pub(crate) remote: IpAddr,
    /// What it carried.
    pub(crate) protocol: u8,
    /// What became of it.
    pub(crate) kind: IcmpErrorKind,
    /// The first bytes of its transport header: both ports, and of TCP the sequence number.
    pub(crate) transport: [u8; 8],
}

impl IcmpError {
    /// About a packet with this header and data. `None` if the data is too short, or not of TCP or UDP.
    pub(super) fn about(header: &ipv4::Header, data: &[u8], kind: IcmpErrorKind) -> Option<Self> {
        let transport = *data.first_chunk()?;
        matches!(header.protocol, protocol::TCP | protocol::UDP).then_some(Self {
            local: header.src.into(),
            remote: header.dst.into(),
            protocol: header.protocol,
            kind,
            transport,
        })
    }

    /// The port of ours.
    pub(crate) fn local_port(&self) -> u16 {
        u16::from_be_bytes([self.transport[0], self.transport[1]])
    }

    /// The peer's.
    pub(crate) fn remote_port(&self) -> u16 {
        u16::from_be_bytes([self.transport[2], self.transport[3]])
    }

    /// The sequence number, if it is TCP's.
    pub(crate) fn tcp_seq(&self) -> u32 {
        let [_, _, _, _, seq @ ..] = self.transport;
        u32::from_be_bytes(seq)
    }
}

/// The answer to an echo request of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoReply {
    /// Who answers.
    pub from: IpAddr,
    /// As in the request.
    pub id: u16,
    /// As in the request.
    pub sequence: u16,
    /// How many bytes of data came back.
    pub len: usize,
    /// When.
    pub at: Instant,
}

/// What an error of ours says.
#[derive(Clone, Copy, Debug)]
pub(in crate::stack) enum Failure {
    /// One of [`unreachable`].
    Unreachable(u8),
    /// Fragments were missing for too long.
    Reassembly,
}

impl Ip {
    /// Takes in an ICMP message; `packet` begins at its IP header.
    pub(super) fn receive_icmp<S: Sink>(
        &mut self,
        now: Instant,
        sink: &mut S,
        packet: &[u8],
        header: &ipv4::Header,
        found: &Packet,
    ) -> Input {
        self.stats.rx_icmp += 1;
        let Ok(message) = Message::parse(header.payload(packet)) else {
            self.stats.rx_icmp_malformed += 1;
            return Input::Dropped;
        };
        match message {
            Message::EchoRequest { id, sequence, data } => {
                // Not answered if everybody was asked (RFC 1122, 3.2.2.6 leaves it open): it would multiply.
                if self.answer_echo && !found.broadcast {
                    let reply = Message::EchoReply { id, sequence, data };
                    if self.send_icmp(now, sink, found.destination, found.source, found.tos, &reply).is_ok() {
                        self.stats.icmp_echo_replies += 1;
                    }
                }
                Input::Handled
            }
            Message::EchoReply { id, sequence, data } => {
                // Bounded, since anybody can send answers that nobody asked for.
                if self.replies.len() == MAX_REPLIES {
                    self.replies.pop_front();
                }
                self.replies.push_back(EchoReply { from: found.source, id, sequence, len: data.len(), at: now });
                Input::Handled
            }
            Message::Unreachable { code, mtu, quoted } => self.receive_error(Error::Unreachable { code, mtu }, quoted),
            Message::TimeExceeded { quoted, .. } => {
                self.receive_error(Error::Kind(IcmpErrorKind::TimeExceeded), quoted)
            }
            Message::ParameterProblem { quoted, .. } => {
                self.receive_error(Error::Kind(IcmpErrorKind::ParameterProblem), quoted)
            }
            _ => Input::Handled,
        }
    }

    /// An error is handed on if it quotes a packet that we may have sent: from an address of ours, to one we have a route to.
    fn receive_error(&mut self, error: Error, quoted: &[u8]) -> Input {
        let Ok(quoted) = Quoted::parse(quoted) else {
            self.stats.rx_icmp_malformed += 1;
            return Input::Dropped;
        };
        let header = &quoted.header;
        let kind = match error {
            Error::Kind(kind) => Some(kind),
            Error::Unreachable { code, mtu } => unreachable_kind(code, mtu, header),
        };
        let remote = IpAddr::V4(header.dst);
        let ours = self.is_local(header.src.into()) && (self.routes.find(remote).is_some() || self.is_local(remote));
        let Some(kind) = kind.filter(|_| ours) else {
            self.stats.rx_icmp_malformed += 1;
            return Input::Dropped;
        };
        if header.fragment_offset() != 0 {
            return Input::Handled;
        }
        IcmpError::about(header, quoted.transport, kind).map_or(Input::Handled, Input::IcmpError)
    }

    /// Answers a packet that was received with an error, `packet` being its bytes from the IP header on.
    ///
    /// Not sent about broadcasts, about later fragments, about ICMP, to what is no host's address (RFC 1122, 3.2.2),
    /// nor beyond the limit per second (RFC 1812, 4.3.2.8).
    pub(in crate::stack) fn send_icmp_error<S: Sink>(
        &mut self,
        now: Instant,
        sink: &mut S,
        failure: Failure,
        packet: &[u8],
    ) {
        let Ok(header) = ipv4::Header::parse_quoted(packet) else { return };
        let source_is_host = !self.is_impossible_source(header.src) || header.src.is_loopback();
        // An echo request that misses fragments cannot be told from an error, so ICMP is never complained about.
        let icmp = header.protocol == protocol::ICMP;
        if !self.is_local(header.dst.into()) || !source_is_host || header.fragment_offset() != 0 || icmp {
            return;
        }
        if !self.error_limit.allow(now) {
            self.stats.icmp_errors_limited += 1;
            return;
        }
        let quoted = &packet[..packet.len().min(MAX_QUOTE)];
        let message = match failure {
            Failure::Unreachable(code) => Message::Unreachable { code, mtu: 0, quoted },
            Failure::Reassembly => Message::TimeExceeded { code: time_exceeded::REASSEMBLY, quoted },
        };
        let (local, remote) = (header.dst.into(), header.src.into());
        if self.send_icmp(now, sink, local, remote, ERROR_TOS, &message).is_ok() {
            self.stats.tx_icmp_errors += 1;
        }
    }

    /// Asks a host for an echo of `data`, of 65507 bytes at most. The answer comes by
    /// [`next_echo_reply`](Self::next_echo_reply).
    ///
    /// # Errors
    ///
    /// [`SocketError::MessageTooLong`], those of [`path`](Self::path), [`SocketError::WouldBlock`] if the device is full.
    pub(crate) fn echo_request<S: Sink>(
        &mut self,
        now: Instant,
        sink: &mut S,
        to: IpAddr,
        id: u16,
        sequence: u16,
        data: &[u8],
    ) -> Result<(), SocketError> {
        let message = Message::EchoRequest { id, sequence, data };
        if message.len() > ipv4::MAX_LEN - ipv4::HEADER_LEN {
            return Err(SocketError::MessageTooLong);
        }
        let local = self.source_for(to)?;
        self.path(now, local, to)?;
        self.send_icmp(now, sink, local, to, 0, &message).map_err(|Full| SocketError::WouldBlock)
    }

    /// The next answer to an echo request. The oldest are lost if nobody takes them.
    pub(crate) fn next_echo_reply(&mut self) -> Option<EchoReply> {
        self.replies.pop_front()
    }

    fn send_icmp<S: Sink>(
        &mut self,
        now: Instant,
        sink: &mut S,
        local: IpAddr,
        remote: IpAddr,
        tos: u8,
        message: &Message<'_>,
    ) -> Result<(), Full> {
        let packet = Outgoing { local, remote, protocol: protocol::ICMP, ttl: 0, tos, dont_fragment: false };
        self.send(now, sink, &mut Path::default(), &packet, message.len(), |out| {
            // The room is what the message asked for.
            let _ = message.write(out);
        })
    }
}

enum Error {
    Unreachable { code: u8, mtu: u16 },
    Kind(IcmpErrorKind),
}

/// `None` if it cannot be true.
fn unreachable_kind(code: u8, mtu: u16, quoted: &ipv4::Header) -> Option<IcmpErrorKind> {
    Some(match code {
        unreachable::PROTOCOL => IcmpErrorKind::ProtocolUnreachable,
        unreachable::PORT => IcmpErrorKind::PortUnreachable,
        unreachable::FRAGMENTATION_NEEDED => {
            let mtu = if mtu == 0 { plateau_below(quoted.total_len) } else { mtu };
            if !quoted.dont_fragment() || mtu >= quoted.total_len || mtu < ipv4::MIN_MTU {
                return None;
            }
            IcmpErrorKind::FragmentationNeeded { mtu }
        }
        unreachable::SOURCE_ROUTE => IcmpErrorKind::SourceRouteFailed,
        // Network: no route, unknown, wrong type of service (RFC 1122, 3.2.2.1).
        unreachable::NET | 6 | 11 => IcmpErrorKind::NetworkUnreachable,
        // Prohibited: network, host, by a filter, by precedence (RFC 1812, 5.2.7.1).
        9 | 10 | unreachable::PROHIBITED..=15 => IcmpErrorKind::Prohibited,
        _ => IcmpErrorKind::HostUnreachable,
    })
}

#[cfg(test)]
mod tests;
