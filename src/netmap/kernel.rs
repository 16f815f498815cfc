//! The real thing: `/dev/netmap`.

use super::device::Device;
use super::sys::{self, Mapping, PortInfo, Register};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// A port registered with the kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    answer: Register,
    // Unmapped before the descriptor is closed, which is when the kernel takes the extra buffers back.
    memory: Mapping,
    device: File,
}

impl Kernel {
    /// Registers a port on a descriptor of its own and maps its memory.
    pub(super) fn register(device: File, name: &str, mut request: Register) -> io::Result<Self> {
        sys::control(&device, name, &mut request)?;
        let len = usize::try_from(request.memsize).map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM))?;
        let memory = Mapping::of(&device, len)?;
        Ok(Self { answer: request, memory, device })
    }

    /// What the kernel knows of a port. An empty name asks for the common memory only, which tells whether the kernel
    /// speaks this version of the interface at all.
    pub(super) fn info(device: &File, name: &str) -> io::Result<PortInfo> {
        let mut info = PortInfo::default();
        sys::control(device, name, &mut info)?;
        Ok(info)
    }
}

impl Device for Kernel {
    fn answer(&self) -> &Register {
        &self.answer
    }

    fn memory(&self) -> &Mapping {
        &self.memory
    }

    fn txsync(&self) -> io::Result<()> {
        sys::sync(&self.device, sys::NIOCTXSYNC)
    }

    fn rxsync(&self) -> io::Result<()> {
        sys::sync(&self.device, sys::NIOCRXSYNC)
    }

    fn wait(&self, readable: bool, writable: bool, timeout: Option<Duration>) -> io::Result<bool> {
        let events = if readable { libc::POLLIN } else { 0 } | if writable { libc::POLLOUT } else { 0 };
        sys::poll([(self.device.as_fd(), events)], timeout)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}
