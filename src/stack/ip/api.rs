//! What programs may ask of IP itself.

use super::EchoReply;
use crate::stack::{Instant, Sink, SocketError, Stack};
use std::net::IpAddr;

impl Stack {
    /// Asks a host for an echo of `data` ("ping"), 65507 bytes at most. The answer comes by
    /// [`next_echo_reply`](Self::next_echo_reply).
    ///
    /// # Errors
    ///
    /// [`SocketError::NetworkUnreachable`] without a route, [`SocketError::InvalidAddress`],
    /// [`SocketError::MessageTooLong`], [`SocketError::WouldBlock`] if `sink` has no room now.
    pub fn ping<S: Sink>(
        &mut self,
        now: Instant,
        sink: &mut S,
        to: IpAddr,
        id: u16,
        sequence: u16,
        data: &[u8],
    ) -> Result<(), SocketError> {
        self.ip.echo_request(now, sink, to, id, sequence, data)
    }

    /// The next answer to a [`ping`](Self::ping). Some dozens wait to be taken, then the oldest are lost.
    pub fn next_echo_reply(&mut self) -> Option<EchoReply> {
        self.ip.next_echo_reply()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::ip::testing::*;
    use crate::stack::{ConnectOptions, SocketError};
    use std::net::SocketAddr;

    #[test]
    fn a_program_pings_the_host_itself() {
        let mut stack = Stack::new(config()).unwrap();
        let mut sink = Frames::new();
        stack.ping(ms(5), &mut sink, US.into(), 1, 2, &[7; 3000]).unwrap();
        for _ in 0..2 {
            assert_eq!((stack.next_echo_reply(), stack.poll_at()), (None, Some(Instant::ZERO)));
            stack.advance(ms(6), &mut sink);
        }
        let reply = stack.next_echo_reply().unwrap();
        assert_eq!((reply.from, reply.id, reply.sequence, reply.len, reply.at), (US.into(), 1, 2, 3000, ms(6)));
        assert_eq!((stack.stats().memory.block_bytes, sink.take().len()), (0, 0));
    }

    #[test]
    fn nobody_connects_to_everybody() {
        let mut stack = Stack::new(config()).unwrap();
        for to in ["255.255.255.255:80", "10.0.0.255:80", "224.0.0.1:80"] {
            let to: SocketAddr = to.parse().unwrap();
            let result = stack.tcp_connect(ms(0), to, &ConnectOptions::default());
            assert_eq!(result.map(|_| ()), Err(SocketError::NetworkUnreachable), "{to}");
        }
    }
}
