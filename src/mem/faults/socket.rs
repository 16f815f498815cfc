//! The socket that a program sees.

use super::{FaultFlags, Faults, Load, Plan, RETRY};
use crate::api::{Interest, LinkInfo, Mode, Payload, PortSpec, Socket, Stats, Token};
use crate::errors::{Error, Refused, Result};
use std::time::{Duration, Instant};

impl<S: Socket> Socket for Faults<S>
where
    S::Metadata: Clone,
{
    type Context = S::Context;
    type Metadata = S::Metadata;
    type Flags = FaultFlags<S::Flags>;

    fn create(portspec: &str, queue: Option<usize>, flags: Self::Flags) -> Result<Self> {
        let (rest, mine) = PortSpec::parse(portspec)?.split_options(&Plan::OPTIONS);
        let mut plan = flags.plan;
        let mut options = mine.options();
        plan.take(&mut options)?;
        options.finish()?;
        Self::new(S::create(rest.text(), queue, flags.inner)?, plan)
    }

    #[inline]
    fn context(&self) -> &S::Context {
        self.inner.context()
    }

    #[inline]
    fn recv_token(&self) -> Result<(Token, S::Metadata)> {
        if self.push() {
            self.inner.flush();
        }
        let (token, meta) = if self.rx_clean { self.inner.recv_token() } else { self.next() }?;
        self.count(&token);
        Ok((token, meta))
    }

    fn recv_each(&self, max: usize, mut f: impl FnMut(Token, S::Metadata)) -> Result<usize> {
        if self.rx_clean {
            if self.push() {
                self.inner.flush();
            }
            return self.inner.recv_each(max, |token, meta| {
                self.count(&token);
                f(token, meta);
            });
        }
        for n in 0..max {
            match self.recv_token() {
                Ok((token, meta)) => f(token, meta),
                Err(Error::NoPacket) => return Ok(n),
                Err(error) if n == 0 => return Err(error),
                Err(_) => return Ok(n),
            }
        }
        Ok(max)
    }

    fn send(&self, packet: &[u8]) -> Result<()> {
        if self.tx_clean {
            return self.inner.send(packet);
        }
        let mut tx = self.tx.borrow_mut();
        self.push_due(&mut tx);
        if tx.blocked.is_some() {
            return Err(Error::RingFull);
        }
        // The frame first: a packet that is refused has had no dice thrown for it.
        let load = self.load(packet)?;
        self.submit(&mut tx, load);
        Ok(())
    }

    fn flush(&self) {
        self.push();
        self.inner.flush();
    }

    #[inline]
    fn alloc(&self, len: usize) -> Result<Payload<'_, S::Context>> {
        self.inner.alloc(len)
    }

    fn send_token(&self, token: Token) -> std::result::Result<(), Refused<Token>> {
        if self.tx_clean {
            return self.inner.send_token(token);
        }
        let mut tx = self.tx.borrow_mut();
        self.push_due(&mut tx);
        if tx.blocked.is_some() {
            return Err(Refused::new(Error::RingFull, token));
        }
        if token.check_token(self.context()) {
            self.submit(&mut tx, Load::Frame(token));
            return Ok(());
        }
        match token.peek(|packet| self.load(packet)) {
            Some(Ok(load)) => {
                self.submit(&mut tx, load);
                Ok(())
            }
            Some(Err(error)) => Err(Refused::new(error, token)),
            None => Err(Refused::new(Error::unsupported("sending a token", "its pool is gone"), token)),
        }
    }

    /// Only where nothing happens to packets on their way out: what is held back forgets about its checksum.
    fn send_token_checksum(&self, token: Token, start: u16, offset: u16) -> std::result::Result<(), Refused<Token>> {
        if self.tx_clean {
            return self.inner.send_token_checksum(token, start, offset);
        }
        let help = "packets on their way out suffer faults: compute it, or let the faults be those of `faults=rx`";
        Err(Refused::new(Error::unsupported("checksum offload", help), token))
    }

    fn wait(&self, interest: Interest, timeout: Option<Duration>) -> Result<bool> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let receives = interest != Interest::Writable && !self.rx_clean;
        loop {
            if self.push() {
                self.inner.flush();
            }
            if receives && self.readable() {
                return Ok(true);
            }
            if self.plan.clock.is_simulated() {
                // Nobody advances the clock meanwhile. What can be had without time passing, the wrapped socket knows.
                let open = interest != Interest::Readable || self.rx_clean;
                return if open { self.inner.wait(interest, Some(Duration::ZERO)) } else { Ok(false) };
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let slice = [left, self.until_due(interest)].into_iter().flatten().min();
            let pulled = self.pulled.get();
            if self.inner.wait(interest, slice)? {
                if !receives || interest == Interest::Both || self.readable() {
                    return Ok(true);
                }
                if self.pulled.get() == pulled {
                    // Readable, yet nothing comes out: no frame is free, or it did not know. Do not spin.
                    let nap = Duration::from_nanos(RETRY);
                    std::thread::sleep(slice.map_or(nap, |slice| slice.min(nap)));
                }
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
        }
    }

    fn drain(&self, timeout: Duration) -> Result<bool> {
        let start = Instant::now();
        loop {
            self.flush();
            let waiting = {
                let tx = self.tx.borrow();
                tx.line.len() > 0 || tx.blocked.is_some()
            };
            let left = timeout.saturating_sub(start.elapsed());
            if !waiting {
                return self.inner.drain(left);
            }
            if left.is_zero() || self.plan.clock.is_simulated() {
                return Ok(false);
            }
            let nap = self.until_due(Interest::Writable).unwrap_or_default().max(Duration::from_nanos(RETRY));
            std::thread::sleep(nap.min(left));
        }
    }

    fn create_sharing(&self, portspec: &str, queue: Option<usize>, flags: Self::Flags) -> Result<Self> {
        let (rest, mine) = PortSpec::parse(portspec)?.split_options(&Plan::OPTIONS);
        let mut plan = flags.plan;
        let mut options = mine.options();
        plan.take(&mut options)?;
        options.finish()?;
        Self::new(self.inner.create_sharing(rest.text(), queue, flags.inner)?, plan)
    }

    /// Those of the wrapped socket, and what the faults did: lost and overflown packets are `injected` drops,
    /// duplicates are packets, packets on their way have been submitted and not sent.
    fn stats(&self) -> Stats {
        let mut stats = self.inner.stats();
        stats.rx_packets = self.received.get();
        stats.rx_bytes = self.received_bytes.get();
        stats.rx_dropped.injected += self.rx.borrow().dropped();
        let tx = self.tx.borrow();
        let waiting = || tx.line.iter().chain(&tx.blocked);
        stats.tx_dropped.injected += tx.line.dropped();
        stats.tx_dropped.invalid += tx.invalid;
        stats.tx_submitted += waiting().count() as u64 + tx.line.dropped() + tx.invalid;
        stats.tx_bytes += waiting().map(|load| load.len() as u64).sum::<u64>() + tx.dropped_bytes;
        stats
    }

    fn link(&self) -> Result<LinkInfo> {
        self.inner.link()
    }

    /// Frames that are on their way count as the wire's, not as the program's.
    fn frames_in_flight(&self) -> Option<usize> {
        let tx = self.tx.borrow();
        let sending = tx.line.iter().chain(&tx.blocked).filter(|load| matches!(load, Load::Frame(_))).count();
        Some(self.inner.frames_in_flight()?.saturating_sub(sending + self.rx.borrow().len()))
    }

    fn mode(&self) -> Mode {
        let mut mode = self.inner.mode();
        mode.notes.push(format!("faults injected: {}", self.plan));
        mode.tx_checksum &= self.tx_clean;
        mode
    }
}

/// The descriptor of the wrapped socket. It does not become readable for a delayed packet: sleep no longer than until
/// [`Injector::next_due`](super::Injector::next_due).
#[cfg(unix)]
impl<S: Socket + std::os::fd::AsFd> std::os::fd::AsFd for Faults<S> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.inner.as_fd()
    }
}
