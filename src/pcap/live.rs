//! An interface: opened, and sent on.

use super::explain;
use super::ffi::{self, Direction, Handle, Live};
use super::flags::{LiveOptions, PcapFlags};
use crate::errors::{Error, Result};
use std::cell::Cell;
use std::io;

/// An open interface.
#[derive(Debug)]
pub(super) struct Interface {
    pub handle: Handle,
    pub promiscuous: bool,
    name: String,
    sent: Cell<u64>,
    sent_bytes: Cell<u64>,
}

const ETHERNET_HEADER: usize = 14;

impl Interface {
    /// Opens an interface and says in `notes` what was obtained.
    pub fn open(
        name: &str,
        snaplen: usize,
        flags: &PcapFlags,
        options: &LiveOptions,
        notes: &mut Vec<String>,
    ) -> Result<Self> {
        let live = Live {
            // The kernel need not keep more than is delivered: its ring then holds many more packets.
            snaplen: i32::try_from(snaplen).unwrap_or(flags.snaplen),
            promiscuous: flags.promiscuous,
            timeout_ms: flags.timeout_ms,
            immediate: flags.immediate,
            nanos: options.nanos,
            kernel_buffer: options.kernel_buffer,
        };
        let (handle, warning) = Handle::live(name, &live).map_err(|status| explain::opening(name, status))?;
        match handle.datalink() {
            ffi::ETHERNET => {}
            other => return Err(explain::link_type(name, other, false)),
        }
        let mut promiscuous = flags.promiscuous;
        notes.push(ffi::lib_version());
        if let Some(warning) = warning {
            promiscuous &= warning.code != ffi::PROMISC_NOTSUP;
            notes.push(format!("libpcap warns: {}", warning.message));
        }
        notes.push(if flags.immediate {
            "immediate".to_owned()
        } else {
            format!("blocks of up to {} ms", flags.timeout_ms)
        });
        notes.push(format!("timestamps in {}", if handle.nanos() { "nanoseconds" } else { "microseconds" }));
        choose_direction(name, &handle, options.direction, notes)?;
        let name = name.to_owned();
        Ok(Self { handle, promiscuous, name, sent: Cell::new(0), sent_bytes: Cell::new(0) })
    }

    /// Packets and bytes sent.
    pub fn sent(&self) -> (u64, u64) {
        (self.sent.get(), self.sent_bytes.get())
    }

    /// Sends a packet. (Gathering packets for sendmmsg(2) was measured: no gain worth a queue and late errors.)
    #[inline]
    pub fn send(&self, packet: &[u8]) -> Result<()> {
        self.handle.inject(packet).map_err(|error| self.refused(packet.len(), error))?;
        self.sent.set(self.sent.get() + 1);
        self.sent_bytes.set(self.sent_bytes.get() + packet.len() as u64);
        Ok(())
    }

    #[cold]
    fn refused(&self, len: usize, error: io::Error) -> Error {
        #[cfg(unix)]
        match error.raw_os_error() {
            // A queue on the way out is full: of the socket, or of the interface.
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => return Error::RingFull,
            Some(libc::EMSGSIZE) => return Error::TooBigPacket(len),
            Some(libc::ENXIO | libc::ENODEV) => {
                let problem = "the interface has gone".to_owned();
                return Error::NoSuchPort { port: self.name.clone(), problem };
            }
            _ => {}
        }
        let help = match error.kind() {
            io::ErrorKind::InvalidInput if len > i32::MAX as usize => return Error::TooBigPacket(len),
            io::ErrorKind::InvalidInput if len < ETHERNET_HEADER => {
                format!("a packet has at least an Ethernet header of {ETHERNET_HEADER} bytes")
            }
            io::ErrorKind::NetworkDown => explain::bring_up(&self.name),
            _ => String::new(),
        };
        Error::System { what: format!("sending {len} bytes on {}", self.name), help, source: error }
    }
}

/// Receives only packets of the direction asked for, or incoming ones where the platform can tell.
fn choose_direction(name: &str, handle: &Handle, asked: Option<Direction>, notes: &mut Vec<String>) -> Result<()> {
    let direction = asked.unwrap_or(Direction::In);
    match handle.set_direction(direction) {
        Ok(()) => {}
        Err(message) if asked.is_some() => {
            return Err(Error::unsupported(
                format!("choosing the direction of packets on {name}"),
                format!("leave the option out and both directions are received; libpcap says: {message}"),
            ));
        }
        Err(_) => notes.push("sent packets are received as well".to_owned()),
    }
    #[cfg(target_os = "linux")]
    if direction == Direction::In && !handle.ignore_outgoing() {
        notes.push("sent packets take room in the kernel's ring".to_owned());
    }
    Ok(())
}
