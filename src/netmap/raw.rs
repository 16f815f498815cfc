//! A port without a socket: its rings and the two syncs, as a program in C has them. For the benchmark's hand-written
//! loop over the same memory; not part of the documented interface.

use super::layout::Layout;
use super::{NetmapFlags, port::Port};
use crate::errors::Result;

/// An open port and the addresses of its first two rings.
#[derive(Debug)]
pub struct RawPort(Layout);

impl RawPort {
    /// Opens a port, with no extra buffers beyond the one that a spec must ask for.
    ///
    /// # Errors
    ///
    /// As [`Sock`](super::Sock)'s `create`.
    pub fn open(portspec: &str) -> Result<Self> {
        Ok(Self(Port::parse(portspec, None, &NetmapFlags { extra_buf: 1 })?.open()?))
    }

    /// The first transmit ring: a `struct netmap_ring`, valid as long as the port.
    #[must_use]
    pub fn tx_ring(&self) -> *mut u8 {
        self.0.tx[0].1.address()
    }

    /// The first receive ring: a `struct netmap_ring`, valid as long as the port.
    #[must_use]
    pub fn rx_ring(&self) -> *mut u8 {
        self.0.rx[0].1.address()
    }

    /// `NIOCTXSYNC`.
    pub fn txsync(&self) {
        let _ = self.0.device().txsync();
    }

    /// `NIOCRXSYNC`.
    pub fn rxsync(&self) {
        let _ = self.0.device().rxsync();
    }
}
