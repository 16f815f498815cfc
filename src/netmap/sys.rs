//! netmap's binary interface, API 14: the structures of `net/netmap.h` that the kernel reads and writes, and the system
//! calls. Sizes and offsets are asserted at compile time.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::ptr::NonNull;
use std::time::Duration;

/// The version of the interface spoken here.
pub(super) const API: u16 = 14;

pub(super) const REQ_REGISTER: u16 = 1;
pub(super) const REQ_PORT_INFO_GET: u16 = 2;

/// All hardware rings; only the host's; one pair of hardware rings; one pair of the host's.
pub(super) const REG_ALL_NIC: u32 = 1;
pub(super) const REG_SW: u32 = 2;
pub(super) const REG_ONE_NIC: u32 = 4;
pub(super) const REG_ONE_SW: u32 = 8;

/// Nobody else may open the same rings.
pub(super) const EXCLUSIVE: u64 = 0x800;

/// Slot flags: the buffer is another one than before; tell when it is sent; the packet goes on in the next slot.
pub(super) const BUF_CHANGED: u16 = 0x1;
pub(super) const REPORT: u16 = 0x2;
pub(super) const MOREFRAG: u16 = 0x20;

/// Ring flag: stamp every sync.
pub(super) const TIMESTAMP: u32 = 0x2;

/// The two lowest buffers are the kernel's: 0 is where invalid indices lead, 1 is reserved.
pub(super) const FIRST_BUFFER: u32 = 2;

/// The longest packet that a slot can tell the length of.
pub(super) const BUFFER_LIMIT: u32 = u16::MAX as u32;

/// `struct nmreq_header`.
#[repr(C)]
pub(super) struct Header {
    version: u16,
    reqtype: u16,
    reserved: u32,
    name: [u8; 64],
    options: u64,
    body: u64,
}

/// `struct nmreq_register`: a request and its answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Register {
    /// Where in the memory the `netmap_if` is (out).
    pub(super) offset: u64,
    /// Bytes of memory to map (out).
    pub(super) memsize: u64,
    pub(super) tx_slots: u32,
    pub(super) rx_slots: u32,
    pub(super) tx_rings: u16,
    pub(super) rx_rings: u16,
    pub(super) host_tx_rings: u16,
    pub(super) host_rx_rings: u16,
    /// Which memory; 0 leaves the choice to the kernel.
    pub(super) mem_id: u16,
    pub(super) ringid: u16,
    pub(super) mode: u32,
    pub(super) extra_bufs: u32,
    pub(super) flags: u64,
}

/// `struct nmreq_port_info_get`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PortInfo {
    pub(super) memsize: u64,
    pub(super) tx_slots: u32,
    pub(super) rx_slots: u32,
    pub(super) tx_rings: u16,
    pub(super) rx_rings: u16,
    pub(super) host_tx_rings: u16,
    pub(super) host_rx_rings: u16,
    pub(super) mem_id: u16,
    pad: [u16; 3],
}

/// `struct netmap_if`; the offsets of its rings follow.
#[repr(C)]
pub(super) struct NetmapIf {
    pub(super) name: [u8; 16],
    pub(super) version: u32,
    pub(super) flags: u32,
    pub(super) tx_rings: u32,
    pub(super) rx_rings: u32,
    pub(super) bufs_head: u32,
    pub(super) host_tx_rings: u32,
    pub(super) host_rx_rings: u32,
    spare: [u32; 3],
    pub(super) ring_ofs: [isize; 0],
}

/// `struct netmap_ring`; its slots follow. C aligns `sem` to 128 bytes; here that is padding, because a ring in a private
/// memory may lie on any multiple of 64.
#[repr(C)]
pub(super) struct NetmapRing {
    /// From here to buffer 0.
    pub(super) buf_ofs: i64,
    pub(super) num_slots: u32,
    pub(super) buf_size: u32,
    pub(super) ringid: u16,
    /// 0 sends, 1 receives.
    pub(super) dir: u16,
    pub(super) head: u32,
    pub(super) cur: u32,
    pub(super) tail: u32,
    pub(super) flags: u32,
    pub(super) ts: libc::timeval,
    pad: [u64; 9],
    sem: [u64; 16],
    pub(super) slots: [NetmapSlot; 0],
}

/// `struct netmap_slot`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct NetmapSlot {
    pub(super) slot: Slot,
    ptr: u64,
}

/// The first half of a slot: all that is used here.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) buf_idx: u32,
    pub(super) len: u16,
    pub(super) flags: u16,
}

const _: () = {
    use std::mem::{align_of, offset_of, size_of};
    assert!(size_of::<Header>() == 88);
    assert!(offset_of!(Header, reqtype) == 2 && offset_of!(Header, name) == 8);
    assert!(offset_of!(Header, options) == 72 && offset_of!(Header, body) == 80);

    assert!(size_of::<Register>() == 56);
    assert!(offset_of!(Register, tx_slots) == 16 && offset_of!(Register, tx_rings) == 24);
    assert!(offset_of!(Register, host_tx_rings) == 28 && offset_of!(Register, mem_id) == 32);
    assert!(offset_of!(Register, ringid) == 34 && offset_of!(Register, mode) == 36);
    assert!(offset_of!(Register, extra_bufs) == 40 && offset_of!(Register, flags) == 48);

    assert!(size_of::<PortInfo>() == 32);
    assert!(offset_of!(PortInfo, tx_rings) == 16 && offset_of!(PortInfo, mem_id) == 24);

    assert!(size_of::<NetmapIf>() == 56);
    assert!(offset_of!(NetmapIf, version) == 16 && offset_of!(NetmapIf, tx_rings) == 24);
    assert!(offset_of!(NetmapIf, bufs_head) == 32 && offset_of!(NetmapIf, host_tx_rings) == 36);
    assert!(offset_of!(NetmapIf, ring_ofs) == 56);

    assert!(size_of::<NetmapRing>() == 256 && align_of::<NetmapRing>() == 8);
    assert!(offset_of!(NetmapRing, num_slots) == 8 && offset_of!(NetmapRing, buf_size) == 12);
    assert!(offset_of!(NetmapRing, ringid) == 16 && offset_of!(NetmapRing, dir) == 18);
    assert!(offset_of!(NetmapRing, head) == 20 && offset_of!(NetmapRing, cur) == 24);
    assert!(offset_of!(NetmapRing, tail) == 28 && offset_of!(NetmapRing, flags) == 32);
    assert!(offset_of!(NetmapRing, ts) == 40 && offset_of!(NetmapRing, sem) == 128);
    assert!(offset_of!(NetmapRing, slots) == 256);

    assert!(size_of::<NetmapSlot>() == 16 && size_of::<Slot>() == 8);
    assert!(offset_of!(Slot, len) == 4 && offset_of!(Slot, flags) == 6);

    assert!(NIOCCTRL == 0xc058_6997);
};

/// `_IOWR('i', 151, struct nmreq_header)`: the same number on Linux and FreeBSD.
const NIOCCTRL: u64 = 0xc000_0000 | (size_of::<Header>() as u64) << 16 | (b'i' as u64) << 8 | 151;
/// `_IO('i', …)`: FreeBSD marks requests without an argument.
const VOID: u64 = if cfg!(target_os = "freebsd") { 0x2000_0000 } else { 0 };
pub(super) const NIOCTXSYNC: u64 = VOID | (b'i' as u64) << 8 | 148;
pub(super) const NIOCRXSYNC: u64 = VOID | (b'i' as u64) << 8 | 149;

/// Opens netmap's control device.
pub(super) fn open() -> io::Result<File> {
    std::fs::OpenOptions::new().read(true).write(true).custom_flags(libc::O_CLOEXEC).open("/dev/netmap")
}

/// The body of a request: a structure that the kernel reads and overwrites.
pub(super) trait Body {
    const REQTYPE: u16;
}
impl Body for Register {
    const REQTYPE: u16 = REQ_REGISTER;
}
impl Body for PortInfo {
    const REQTYPE: u16 = REQ_PORT_INFO_GET;
}

/// `NIOCCTRL`. `name` is cut to what a header holds (63 bytes); callers check it before.
pub(super) fn control<B: Body>(device: &File, name: &str, body: &mut B) -> io::Result<()> {
    let mut header = Header {
        version: API,
        reqtype: B::REQTYPE,
        reserved: 0,
        name: [0; 64],
        options: 0,
        body: std::ptr::from_mut(body) as u64,
    };
    for (to, from) in header.name[..63].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: the header has the layout the request wants (asserted above), and `body` is the structure that goes with
    // its type; both outlive the call.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), NIOCCTRL as _, &raw mut header) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `NIOCTXSYNC` or `NIOCRXSYNC`.
#[inline]
pub(super) fn sync(device: &File, request: u64) -> io::Result<()> {
    // SAFETY: these requests take no argument. What they write lies in the mapping, in places that the ring protocol
    // gives to the kernel.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), request as _, 0usize) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Shared memory, unmapped when dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: an address and a length. Who may touch which part is decided by the ring protocol and by frame ownership.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// The memory of a device on which a port is registered.
    pub(super) fn of(device: &File, len: usize) -> io::Result<Self> {
        Self::new(len, libc::MAP_SHARED, device.as_raw_fd())
    }

    /// Zeroed memory of our own; pages come into being when they are touched.
    pub(super) fn anonymous(len: usize) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        const LAZY: libc::c_int = libc::MAP_NORESERVE;
        #[cfg(not(target_os = "linux"))]
        const LAZY: libc::c_int = 0;
        Self::new(len, libc::MAP_PRIVATE | libc::MAP_ANON | LAZY, -1)
    }

    fn new(len: usize, flags: libc::c_int, fd: libc::c_int) -> io::Result<Self> {
        // SAFETY: a mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0) };
        match NonNull::new(base.cast::<u8>()) {
            Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => Ok(Self { base, len }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length and unmapped nowhere else.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// `ppoll(2)`: whether one of the descriptors is ready within `timeout`. A signal counts as "maybe".
pub(super) fn poll<const N: usize>(
    fds: [(BorrowedFd<'_>, libc::c_short); N],
    timeout: Option<Duration>,
) -> io::Result<bool> {
    let mut fds = fds.map(|(fd, events)| libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 });
    let timeout = timeout.map(|t| libc::timespec {
        tv_sec: libc::time_t::try_from(t.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: t.subsec_nanos() as _,
    });
    let limit = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the descriptors are open for as long as they are borrowed; both pointers live through the call.
    let ready = unsafe { libc::ppoll(fds.as_mut_ptr(), N as libc::nfds_t, limit, std::ptr::null()) };
    match ready {
        0 => Ok(false),
        1.. => Ok(true),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            error => Err(error),
        },
    }
}

/// A counter of events with a descriptor: `eventfd(2)`, not blocking.
pub(super) fn eventfd() -> io::Result<File> {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else has it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// The index of an interface, if there is one of that name.
pub(super) fn interface(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: a string that ends in NUL and lives through the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index > 0).then_some(index)
}
