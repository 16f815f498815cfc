//! Waking a host from another thread.
//!
//! One word ([`Call`]) says what the host is doing, and who finds it asleep makes a descriptor readable that the host sleeps
//! on. So a call costs one atomic operation while the host is busy, and calls coalesce.

mod call;

use self::call::Call;
use crate::errors::{Error, Result};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Makes [`Host::poll`](super::Host::poll) return, from any thread.
///
/// Several calls before the host looks are one. Waking a host that is gone does nothing.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    call: Call,
    /// What is written to it makes the host's end readable.
    writer: UnixStream,
}

impl Waker {
    /// Makes the host's `poll` return soon, or its next one at once.
    pub fn wake(&self) {
        if self.0.call.make() {
            // A full pipe is readable already, and a closed one belongs to a host that is gone.
            let _ = (&self.0.writer).write(&[1]);
        }
    }
}

/// The host's side.
#[derive(Debug)]
pub(super) struct Bell {
    shared: Arc<Shared>,
    reader: UnixStream,
}

impl Bell {
    pub(super) fn new() -> Result<Self> {
        let pair = UnixStream::pair().and_then(|(reader, writer)| {
            reader.set_nonblocking(true)?;
            writer.set_nonblocking(true)?;
            Ok((reader, writer))
        });
        let (reader, writer) = pair.map_err(|source| Error::System {
            what: "making the descriptor by which a host is woken".to_owned(),
            help: "the limit of open files may be too low: `ulimit -n`".to_owned(),
            source,
        })?;
        Ok(Self { shared: Arc::new(Shared { call: Call::new(), writer }), reader })
    }

    pub(super) fn waker(&self) -> Waker {
        Waker(self.shared.clone())
    }

    /// Whether somebody has called since this was last asked.
    #[inline]
    pub(super) fn take(&self) -> bool {
        self.shared.call.take()
    }

    /// Announces a sleep. False if somebody has called: then there is none to be had.
    pub(super) fn lie_down(&self) -> bool {
        self.shared.call.lie_down()
    }

    /// Ends the sleep; a call made during it is left for [`take`](Self::take). `rung`: the descriptor was readable.
    pub(super) fn get_up(&self, rung: bool) {
        self.shared.call.get_up();
        if rung {
            // Whatever has been written by now. A byte that is still on its way costs one short sleep later.
            let mut bytes = [0; 64];
            while matches!((&self.reader).read(&mut bytes), Ok(n) if n == bytes.len()) {}
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::wait;
    use std::time::{Duration, Instant};

    fn sleep(bell: &Bell, timeout: Duration) -> bool {
        if !bell.lie_down() {
            return false;
        }
        let ready = wait::readable([Some(bell.as_fd()), None], Some(timeout)).unwrap();
        bell.get_up(ready[0]);
        true
    }

    #[test]
    fn calls_coalesce_and_are_taken_once() {
        let bell = Bell::new().unwrap();
        let waker = bell.waker();
        assert!(!bell.take());
        for _ in 0..1_000_000 {
            waker.wake();
        }
        assert!(bell.take());
        assert!(!bell.take());
        drop(bell);
        waker.wake();
        waker.clone().wake();
    }

    #[test]
    fn a_call_before_the_sleep_prevents_it() {
        let bell = Bell::new().unwrap();
        bell.waker().wake();
        assert!(!sleep(&bell, Duration::from_secs(5)));
        assert!(bell.take());
    }

    /// Each call is answered before the next is made: one that is lost stops the test.
    #[test]
    fn no_call_is_lost() {
        const ROUNDS: u32 = 2000;
        let bell = Bell::new().unwrap();
        let waker = bell.waker();
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let caller = std::thread::spawn(move || {
            for _ in 0..ROUNDS {
                waker.wake();
                answered.recv().unwrap();
            }
        });
        for round in 0..ROUNDS {
            let start = Instant::now();
            while !bell.take() {
                sleep(&bell, Duration::from_secs(10));
                assert!(start.elapsed() < Duration::from_secs(10), "call {round} was lost");
            }
            answer.send(()).unwrap();
        }
        caller.join().unwrap();
    }
}
