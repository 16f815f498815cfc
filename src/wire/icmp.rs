//! ICMP for IPv4 (RFC 792): echo, and errors about packets that were sent.
//!
//! An error quotes the packet it is about, from its IP header on: at least 8 bytes of what followed the header, by now as
//! much as fits 576 bytes (RFC 1812, 4.3.2.3). [`Quoted`] reads it; the ports in it say which socket is meant.

use super::checksum::{Sum, copy_and_sum};
use super::{Malformed, NoRoom, be16, ipv4};

/// Bytes of the header; the rest is a message's data or quotation.
pub const HEADER_LEN: usize = 8;

/// Bytes of a packet that an error quotes at most: the error itself then is no longer than every host takes in.
pub const MAX_QUOTE: usize = ipv4::MIN_REASSEMBLY - ipv4::HEADER_LEN - HEADER_LEN;

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const ECHO_REQUEST: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;

/// Codes of [`Message::Unreachable`] (RFC 792, RFC 1122 3.2.2.1, RFC 1812 5.2.7.1).
pub mod unreachable {
    /// No route to the network.
    pub const NET: u8 = 0;
    /// The host does not answer.
    pub const HOST: u8 = 1;
    /// The host does not know the protocol.
    pub const PROTOCOL: u8 = 2;
    /// Nobody listens at the port.
    pub const PORT: u8 = 3;
    /// The packet is too long for the next link and must not be fragmented (RFC 1191).
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// The route that the sender gave failed.
    pub const SOURCE_ROUTE: u8 = 5;
    /// The administrator forbids it.
    pub const PROHIBITED: u8 = 13;
}

/// Codes of [`Message::TimeExceeded`].
pub mod time_exceeded {
    /// The packet met too many routers.
    pub const TTL: u8 = 0;
    /// Fragments were missing for too long.
    pub const REASSEMBLY: u8 = 1;
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message<'a> {
    /// Asks for an echo.
    EchoRequest {
        /// Which program asks.
        id: u16,
        /// Which of its questions this is.
        sequence: u16,
        /// What is to come back.
        data: &'a [u8],
    },
    /// Answers a request with what it brought.
    EchoReply {
        /// As in the request.
        id: u16,
        /// As in the request.
        sequence: u16,
        /// As in the request.
        data: &'a [u8],
    },
    /// A packet could not be delivered.
    Unreachable {
        /// Why, one of [`mod@unreachable`].
        code: u8,
        /// With [`unreachable::FRAGMENTATION_NEEDED`] the next link's MTU in bytes, 0 from old routers (RFC 1191, 4);
        /// otherwise without meaning.
        mtu: u16,
        /// The packet's beginning.
        quoted: &'a [u8],
    },
    /// A packet or its fragments were too long on the way.
    TimeExceeded {
        /// Which, one of [`mod@time_exceeded`].
        code: u8,
        /// The packet's beginning.
        quoted: &'a [u8],
    },
    /// A packet's header was not understood.
    ParameterProblem {
        /// 0 if `pointer` says where.
        code: u8,
        /// Offset in the quoted packet.
        pointer: u8,
        /// The packet's beginning.
        quoted: &'a [u8],
    },
    /// Something else, which a host ignores: source quench (RFC 6633), redirects, router discovery, timestamps.
    Other {
        /// The message's type.
        kind: u8,
        /// Its code.
        code: u8,
    },
}

impl<'a> Message<'a> {
    /// Reads a message, `bytes` being an IP packet's whole payload, and verifies its checksum.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`], [`Malformed::Checksum`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (h, data) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?;
        if !Sum::of(bytes).is_valid() {
            return Err(Malformed::Checksum);
        }
        let (kind, code) = (h[0], h[1]);
        let (id, sequence) = (be16(h, 4), be16(h, 6));
        Ok(match (kind, code) {
            (ECHO_REQUEST, 0) => Self::EchoRequest { id, sequence, data },
            (ECHO_REPLY, 0) => Self::EchoReply { id, sequence, data },
            (UNREACHABLE, _) => Self::Unreachable { code, mtu: sequence, quoted: data },
            (TIME_EXCEEDED, _) => Self::TimeExceeded { code, quoted: data },
            (PARAMETER_PROBLEM, _) => Self::ParameterProblem { code, pointer: h[4], quoted: data },
            _ => Self::Other { kind, code },
        })
    }

    /// Bytes of the message.
    #[must_use]
    pub fn len(&self) -> usize {
        HEADER_LEN + self.fields().2.len()
    }

    /// Never: there is a header at least.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Writes the message with its checksum to the front of `out`; returns its length.
    ///
    /// # Errors
    ///
    /// [`NoRoom`].
    pub fn write(&self, out: &mut [u8]) -> Result<usize, NoRoom> {
        let (first, rest, data) = self.fields();
        let len = HEADER_LEN + data.len();
        let (header, body) =
            out.get_mut(..len).and_then(|out| out.split_first_chunk_mut::<HEADER_LEN>()).ok_or(NoRoom)?;
        let word = u32::from_be_bytes([first[0], first[1], 0, 0]);
        let sum = copy_and_sum(body, data).add(Sum::of_be32(word)).add(Sum::of_be32(rest));
        let fields = u64::from(word | u32::from(sum.finish())) << 32 | u64::from(rest);
        *header = fields.to_be_bytes();
        Ok(len)
    }

    /// Type and code; the second word of the header; what follows.
    fn fields(&self) -> ([u8; 2], u32, &'a [u8]) {
        let echo = |id, sequence| u32::from(id) << 16 | u32::from(sequence);
        match *self {
            Self::EchoRequest { id, sequence, data } => ([ECHO_REQUEST, 0], echo(id, sequence), data),
            Self::EchoReply { id, sequence, data } => ([ECHO_REPLY, 0], echo(id, sequence), data),
            Self::Unreachable { code, mtu, quoted } => ([UNREACHABLE, code], u32::from(mtu), quoted),
            Self::TimeExceeded { code, quoted } => ([TIME_EXCEEDED, code], 0, quoted),
            Self::ParameterProblem { code, pointer, quoted } => {
                ([PARAMETER_PROBLEM, code], u32::from(pointer) << 24, quoted)
            }
            Self::Other { kind, code } => ([kind, code], 0, &[]),
        }
    }
}

/// The packet that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted<'a> {
    /// Its header, as the one saw it who complains.
    pub header: ipv4::Header,
    /// What followed the header, as far as it is quoted, whatever the total length says; for TCP and UDP it begins with both ports
    /// ([`udp::Header::quoted_ports`](super::udp::Header::quoted_ports)).
    pub transport: &'a [u8],
}

impl<'a> Quoted<'a> {
    /// Reads what an error quotes.
    ///
    /// # Errors
    ///
    /// Those of [`ipv4::Header::parse_quoted`].
    pub fn parse(quoted: &'a [u8]) -> Result<Self, Malformed> {
        let header = ipv4::Header::parse_quoted(quoted)?;
        Ok(Self { header, transport: quoted.get(usize::from(header.header_len)..).unwrap_or_default() })
    }
}
