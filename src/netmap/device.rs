//! What the backend asks of netmap: four system calls and the memory they work on.
//!
//! | | `/dev/netmap` | in this process |
//! |---|---|---|
//! | register | `NIOCCTRL`, `mmap` | [`emulation`](super::emulation) |
//! | txsync, rxsync | `NIOCTXSYNC`, `NIOCRXSYNC` | pipes, VALE switches and a pair of cards, in plain code |
//! | wait | `ppoll` | the same on two `eventfd`s |
//!
//! The layout of the memory is the same, and so is all code that reads and writes rings.

use super::sys::{Mapping, Register};
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// A registered port. Dropping it closes the port.
pub(super) trait Device: Send + Sync + fmt::Debug {
    /// What the registration was answered with.
    fn answer(&self) -> &Register;

    /// The memory that rings and buffers lie in.
    fn memory(&self) -> &Mapping;

    /// Sends what lies before `head` in the port's transmit rings and moves `tail` over what has been sent. Errors of a
    /// ring are not reported: the kernel resets its `head`.
    fn txsync(&self) -> io::Result<()>;

    /// Takes back what lies before `head` in the port's receive rings and moves `tail` over what has arrived.
    fn rxsync(&self) -> io::Result<()>;

    /// Waits until a receive ring has packets or a transmit ring has room. True may be spurious.
    fn wait(&self, readable: bool, writable: bool, timeout: Option<Duration>) -> io::Result<bool>;

    /// A descriptor that is readable while packets wait.
    fn fd(&self) -> BorrowedFd<'_>;
}
