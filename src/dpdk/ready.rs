//! Waiting, for drivers that have nothing to wait on.
//!
//! Poll-mode drivers are made to be polled. With the option `interrupts` the device's receive interrupts are used, where
//! the driver has them; otherwise [`wait`](Naps) looks again and again, at once at first and then after naps that grow
//! to half a millisecond, and the descriptor for event loops is a timer that makes the loop look as often.
#![allow(unsafe_code)]

use super::log::quietly;
use crate::errors::{Error, Result};
use dpdk_sys as sys;
use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How often a loop that sleeps on the descriptor looks, if the driver has no interrupts.
pub(super) const TICK: Duration = Duration::from_micros(500);

/// Ever longer pauses up to [`TICK`], never past the end of the wait.
#[derive(Debug)]
pub(super) struct Naps {
    end: Option<Instant>,
    spins: u32,
    next: Duration,
}

impl Naps {
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Self { end, spins: 0, next: Duration::from_micros(5) }
    }

    /// What is left of the wait; `None`: for ever.
    pub(super) fn left(&self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// Pauses. False once the time is over.
    pub(super) fn pause(&mut self) -> bool {
        const SPINS: u32 = 32;
        let left = self.left();
        if left.is_some_and(|left| left.is_zero()) {
            return false;
        }
        if self.spins < SPINS {
            self.spins += 1;
            std::hint::spin_loop();
            return true;
        }
        std::thread::sleep(left.unwrap_or(self.next).min(self.next));
        self.next = (self.next * 2).min(TICK);
        true
    }
}

/// A timer that is readable every [`TICK`], once somebody wants it.
#[derive(Debug)]
pub(super) struct Ticker {
    fd: OwnedFd,
    ticking: Cell<bool>,
}

impl Ticker {
    pub(super) fn new() -> Result<Self> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) };
        if fd < 0 {
            let source = io::Error::last_os_error();
            return Err(Error::System { what: "timerfd_create".into(), help: String::new(), source });
        }
        // SAFETY: a descriptor that was just made, and is nobody else's.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, ticking: Cell::new(false) })
    }

    /// Its descriptor; from now on it ticks.
    pub(super) fn fd(&self) -> &OwnedFd {
        if !self.ticking.replace(true) {
            let tick = libc::timespec { tv_sec: 0, tv_nsec: TICK.as_nanos() as libc::c_long };
            let every = libc::itimerspec { it_interval: tick, it_value: tick };
            // SAFETY: an open timer and a structure that is copied; with both right it cannot fail.
            unsafe { libc::timerfd_settime(self.fd.as_raw_fd(), 0, &every, std::ptr::null_mut()) };
        }
        &self.fd
    }

    /// Takes note that it has ticked, so that it is readable again at the next tick only.
    pub(super) fn acknowledge(&self) {
        if self.ticking.get() {
            let mut ticks = [0u8; 8];
            // SAFETY: an open descriptor, room for the eight bytes that a timer yields; it does not block.
            unsafe { libc::read(self.fd.as_raw_fd(), ticks.as_mut_ptr().cast(), ticks.len()) };
        }
    }
}

/// The receive interrupts of some queues, behind one descriptor.
#[derive(Debug)]
pub(super) struct Interrupts {
    epoll: OwnedFd,
    port: u16,
    queues: Vec<u16>,
}

impl Interrupts {
    /// Asks the driver for them.
    pub(super) fn new(port: u16, queues: &[u16], driver: &str) -> Result<Self> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            let source = io::Error::last_os_error();
            return Err(Error::System { what: "epoll_create1".into(), help: String::new(), source });
        }
        // SAFETY: a descriptor that was just made, and is nobody else's.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        for queue in queues {
            const ADD: i32 = 1; // RTE_INTR_EVENT_ADD is EPOLL_CTL_ADD
            // SAFETY: the port is started and has the queue; the data pointer is handed back and never followed.
            let (code, _) = quietly(|| unsafe {
                sys::rte_eth_dev_rx_intr_ctl_q(port, *queue, epoll.as_raw_fd(), ADD, std::ptr::null_mut())
            });
            if code != 0 {
                let help = format!("driver {driver} has no receive interrupts: leave it out, and it is polled");
                return Err(Error::unsupported("option `interrupts`", help));
            }
        }
        Ok(Self { epoll, port, queues: queues.to_vec() })
    }

    /// Switches them on. A driver whose descriptors tell by themselves has no such function.
    pub(super) fn arm(&self) {
        for queue in &self.queues {
            // SAFETY: the port is started and has the queue.
            unsafe { sys::rte_eth_dev_rx_intr_enable(self.port, *queue) };
        }
    }

    /// Waits for one, and switches them off.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        // Rounded up, so that a wait of less than a millisecond does not turn into none.
        let millis = timeout.map_or(-1, |t| i32::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
        let mut events = [sys::rte_epoll_event::default(); 8];
        // SAFETY: our epoll descriptor; room for as many events. DPDK reads the counters of those that fired.
        let n =
            unsafe { sys::rte_epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), events.len() as i32, millis) };
        let error = io::Error::last_os_error();
        for queue in &self.queues {
            // SAFETY: the port is started and has the queue.
            unsafe { sys::rte_eth_dev_rx_intr_disable(self.port, *queue) };
        }
        if n < 0 && error.kind() != io::ErrorKind::Interrupted { Err(error) } else { Ok(()) }
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.epoll
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        for queue in &self.queues {
            const REMOVE: i32 = 2; // EPOLL_CTL_DEL
            // SAFETY: as when they were added; the port is still open (`Sock` drops this first).
            unsafe {
                sys::rte_eth_dev_rx_intr_ctl_q(self.port, *queue, self.epoll.as_raw_fd(), REMOVE, std::ptr::null_mut())
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naps_end_in_time() {
        let start = Instant::now();
        let mut naps = Naps::new(Some(Duration::from_millis(5)));
        while naps.pause() {}
        assert!(start.elapsed() >= Duration::from_millis(5));
        assert!(!Naps::new(Some(Duration::ZERO)).pause());
        assert!(Naps::new(None).pause());
    }

    #[test]
    fn a_ticker_ticks_and_can_be_silenced() {
        let ticker = Ticker::new().unwrap();
        let readable = |timeout: i32| {
            let mut poll = libc::pollfd { fd: ticker.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one descriptor that is open.
            unsafe { libc::poll(&mut poll, 1, timeout) == 1 }
        };
        assert!(!readable(5), "nobody wants it yet");
        ticker.fd();
        assert!(readable(1000));
        ticker.acknowledge();
        assert!(readable(1000), "it ticks again");
    }
}
