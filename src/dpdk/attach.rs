//! From a name to a device of DPDK: probing, and the rings between two ports.
#![allow(unsafe_code)]

use super::config::bad_option;
use super::log::quietly;
use crate::errors::{Error, Result};
use dpdk_sys as sys;
use std::collections::HashMap;
use std::ffi::CString;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

/// Where a port spec leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A PCI address.
    Pci,
    /// A virtual device: the name begins with its driver's.
    Virtual,
}

/// Splits `net_tap0,iface=t0` into its name and the whole, and says what it is.
pub(super) fn kind(spec: &str) -> Result<(Kind, &str)> {
    let name = spec.split(',').next().unwrap_or(spec);
    if is_pci(name) {
        return Ok((Kind::Pci, name));
    }
    // Names of virtual devices begin with the class of their driver: net_, eth_ (older aliases).
    if name.starts_with("net_") || name.starts_with("eth_") {
        return Ok((Kind::Virtual, name));
    }
    let help = if Path::new("/sys/class/net").join(name).exists() {
        format!(
            "`{name}` is an interface of the kernel: reach it through a virtual device, `dpdk:net_af_packet0,iface={name}` \
             or `dpdk:net_af_xdp0,iface={name}`, or give its card to DPDK and name the PCI address"
        )
    } else {
        "name a PCI address (`dpdk:0000:01:00.0`) or a virtual device (`dpdk:net_af_packet0,iface=eth0`)".to_owned()
    };
    Err(Error::NoSuchPort { port: spec.to_owned(), problem: help })
}

/// `DDDD:BB:DD.F` or `BB:DD.F`.
fn is_pci(name: &str) -> bool {
    let hex = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_hexdigit());
    let parts: Vec<&str> = name.split(':').collect();
    let (bus, slot) = match parts[..] {
        [bus, slot] => (bus, slot),
        [domain, bus, slot] if hex(domain, 4) => (bus, slot),
        _ => return false,
    };
    hex(bus, 2) && slot.split_once('.').is_some_and(|(device, function)| hex(device, 2) && hex(function, 1))
}

/// Gives the device to DPDK and returns its port. One at a time: see [`port`](super::port).
pub(super) fn probe(kind: &Kind, name: &str, devargs: &str) -> Result<u16> {
    if let Some(port) = port_of(name) {
        // EAL's own arguments have named it.
        return Ok(port);
    }
    if *kind == Kind::Pci {
        check_pci(name)?;
    }
    let text = CString::new(devargs).map_err(|_| Error::Unknown)?;
    // SAFETY: EAL runs; the text is a C string that is copied.
    let (code, said) = quietly(|| unsafe { sys::rte_dev_probe(text.as_ptr()) });
    if code == 0 {
        if let Some(port) = port_of(name) {
            return Ok(port);
        }
    }
    Err(no_device(kind, name, devargs, -code, &said))
}

fn port_of(name: &str) -> Option<u16> {
    let name = CString::new(name).ok()?;
    let mut port = 0;
    // SAFETY: EAL runs; a C string in, a number out.
    (unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut port) } == 0).then_some(port)
}

/// Whether the card is there, and of a driver that gives it away.
fn check_pci(name: &str) -> Result<()> {
    let address = if name.len() == 7 { format!("0000:{name}") } else { name.to_owned() };
    let device = Path::new("/sys/bus/pci/devices").join(&address);
    if !device.exists() {
        return Err(Error::NoSuchPort {
            port: name.to_owned(),
            problem:
                "there is no PCI device with this address: `dpdk-devbind.py --status-dev net` (package dpdk) lists \
                      them"
                    .into(),
        });
    }
    Ok(())
}

#[cold]
fn no_device(kind: &Kind, name: &str, devargs: &str, errno: i32, said: &str) -> Error {
    let said = if said.is_empty() { String::new() } else { format!(" (DPDK: {said})") };
    if *kind == Kind::Pci {
        return Error::NoSuchPort {
            port: name.to_owned(),
            problem: format!(
                "no driver of DPDK took this device: bind it to vfio-pci (`dpdk-devbind.py --bind=vfio-pci {name}`, \
                 package dpdk), unless its driver shares it with the kernel, and check that this DPDK has a driver \
                 for it{said}"
            ),
        };
    }
    let drivers = drivers();
    let driver = drivers.iter().any(|driver| name.starts_with(driver.as_str()));
    if !driver && !drivers.is_empty() {
        return Error::NoSuchPort {
            port: name.to_owned(),
            problem: format!(
                "no driver of this DPDK goes by that name: a virtual device is called after its driver, with a number \
                 behind it, and these are there: {}{said}",
                drivers.join(", ")
            ),
        };
    }
    // Drivers return -1, which is EPERM, for want of anything better.
    let error = match errno {
        libc::EPERM => String::new(),
        other => format!(": {}", std::io::Error::from_raw_os_error(other.max(0))),
    };
    let root = std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    let denied = ["not permitted", "Permission denied"].iter().any(|word| said.contains(word))
        || !root && said.contains("Could not open");
    match errno {
        _ if denied => Error::Permission {
            what: format!("making the virtual device `{devargs}`"),
            help: format!("run as root, or with CAP_NET_RAW and CAP_NET_ADMIN{said}"),
        },
        libc::EEXIST | libc::EBUSY => Error::Busy {
            what: format!("virtual device `{name}`"),
            help: format!("another name with the same driver is free: `{name}1`{said}"),
        },
        _ => Error::NoSuchPort {
            port: name.to_owned(),
            problem: format!(
                "its driver refused `{devargs}`{error}: check its arguments (interface, socket, file) and that this \
                 process may use them{said}"
            ),
        },
    }
}

/// The network drivers that EAL loads as plug-ins, by name.
fn drivers() -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    // What is mapped is what was loaded, wherever it lies.
    for line in std::fs::read_to_string("/proc/self/maps").unwrap_or_default().lines() {
        let file = line.rsplit('/').next().unwrap_or_default();
        if let Some(name) = file.strip_prefix("librte_").and_then(|rest| rest.split(".so").next()) {
            if name.starts_with("net_") && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    names.sort_unstable();
    names
}

/// A pair of rings, or of rings per queue, between two ports of this process.
struct Wire {
    /// What end 0 receives and end 1 sends; the other way round.
    rings: [Vec<NonNull<sys::rte_ring>>; 2],
    taken: [bool; 2],
}

// SAFETY: the rings are used under the lock only, but by their ports, which are DPDK's.
unsafe impl Send for Wire {}

static WIRES: Mutex<Option<HashMap<String, Wire>>> = Mutex::new(None);

/// One end of a wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WireEnd {
    wire: String,
    end: usize,
}

/// Packets that a wire holds in each direction and queue.
const DEPTH: u16 = 1024;

/// Makes a port of the ring driver that is one end of the wire with this name: whoever comes second gets the other.
pub(super) fn wire(wire: &str, name: &str, queues: u16, depth: Option<u16>) -> Result<(u16, WireEnd)> {
    let depth = depth.unwrap_or(DEPTH);
    if !depth.is_power_of_two() {
        return Err(bad_option("rx_ring", depth, "a power of two: the depth of the wire's rings".into()));
    }
    let mut wires = WIRES.lock().unwrap_or_else(PoisonError::into_inner);
    let wires = wires.get_or_insert_default();
    if !wires.contains_key(wire) {
        wires.insert(wire.to_owned(), Wire::new(wire, queues, depth)?);
    }
    let Some(found) = wires.get_mut(wire) else { return Err(Error::Unknown) };
    let outcome = found.join(wire, name, queues);
    if outcome.is_err() && found.taken == [false; 2] {
        wires.remove(wire);
    }
    outcome.map(|(port, end)| (port, WireEnd { wire: wire.to_owned(), end }))
}

/// Gives an end back. The rings go with the second.
pub(super) fn unwire(end: &WireEnd) {
    let mut wires = WIRES.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(wires) = wires.as_mut() else { return };
    if let Some(wire) = wires.get_mut(&end.wire) {
        wire.taken[end.end] = false;
        if wire.taken == [false; 2] {
            wires.remove(&end.wire);
        }
    }
}

impl Wire {
    fn new(name: &str, queues: u16, depth: u16) -> Result<Self> {
        // One thread puts in and one takes out: each queue of a port belongs to one socket.
        const SINGLE: u32 = 1 | 2; // RING_F_SP_ENQ | RING_F_SC_DEQ, rte_ring_core.h
        static SERIAL: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let mut wire = Self { rings: [Vec::new(), Vec::new()], taken: [false; 2] };
        for direction in 0..2 {
            for _ in 0..queues {
                let serial = SERIAL.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let ring = CString::new(format!("nethuns-w{serial}")).map_err(|_| Error::Unknown)?;
                // SAFETY: EAL runs; a C string that is copied, and a power of two.
                let raw = unsafe { sys::rte_ring_create(ring.as_ptr(), depth.into(), -1, SINGLE) };
                let Some(raw) = NonNull::new(raw) else {
                    return Err(Error::System {
                        what: format!("making the rings of wire `{name}`"),
                        help: "give EAL more memory (-m), or ask for a smaller depth (rx_ring)".into(),
                        source: std::io::Error::from_raw_os_error(libc::ENOMEM),
                    });
                };
                wire.rings[direction].push(raw);
            }
        }
        Ok(wire)
    }

    fn join(&mut self, wire: &str, name: &str, queues: u16) -> Result<(u16, usize)> {
        let Some(end) = self.taken.iter().position(|taken| !taken) else {
            return Err(Error::Busy {
                what: format!("wire `{wire}`"),
                help: "both its ends are taken: choose another name for `wire=`".into(),
            });
        };
        if self.rings[0].len() != usize::from(queues) {
            let expected = format!("{}, as at the other end of wire `{wire}`", self.rings[0].len());
            return Err(bad_option("queues", queues, expected));
        }
        let c_name = CString::new(name).map_err(|_| Error::Unknown)?;
        let rings = |which: usize| self.rings[which].as_ptr().cast::<*mut sys::rte_ring>();
        let n = u32::from(queues);
        let (code, said) = quietly(|| {
            // SAFETY: EAL runs; `n` rings each way, which live until both ends are given back, and so longer than the
            // port. `NonNull` is laid out as the pointer it holds.
            unsafe { sys::rte_eth_from_rings(c_name.as_ptr(), rings(end), n, rings(1 - end), n, 0) }
        });
        let port = u16::try_from(code).map_err(|_| Error::NoSuchPort {
            port: name.to_owned(),
            problem: format!("the ring driver made no port for wire `{wire}` (DPDK: {said})"),
        })?;
        self.taken[end] = true;
        Ok((port, end))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for ring in self.rings.iter().flatten() {
            let mut mbuf = std::ptr::null_mut();
            // SAFETY: no port refers to the ring any more, and the frames in it are nobody else's: each goes home to the
            // pool it came from; then the ring is empty, and of nobody.
            unsafe {
                while sys::nd_ring_pop(ring.as_ptr(), &mut mbuf, 1) != 0 {
                    sys::nd_free(mbuf);
                }
                sys::rte_ring_free(ring.as_ptr());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        assert_eq!(kind("0000:01:00.0").unwrap(), (Kind::Pci, "0000:01:00.0"));
        assert_eq!(kind("01:00.1,mac=1").unwrap(), (Kind::Pci, "01:00.1"));
        assert_eq!(kind("net_tap0,iface=t0").unwrap(), (Kind::Virtual, "net_tap0"));
        for wrong in ["eth99", "0000:01:00", "1:00.0", "zz:00.0", "0:0:0:0.0"] {
            let error = kind(wrong).unwrap_err().to_string();
            assert!(error.contains("name a PCI address"), "{error}");
        }
        let error = kind("lo").unwrap_err().to_string();
        assert!(error.contains("net_af_packet0,iface=lo"), "{error}");
    }
}
