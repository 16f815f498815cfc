//! libpcap behind a safe handle. The one file of this backend with `unsafe` in it.
//!
//! The `pcap` crate links the library and lends us its device list, link-type names and error type. Opening, receiving
//! and sending go to libpcap directly, because the crate
//!
//! * reads by `pcap_next_ex`, which on Linux copies every packet into a buffer of its own first, while a callback of
//!   `pcap_dispatch` sees it in the kernel's ring: one copy instead of two;
//! * takes `&mut self`, so a program could not send from within `recv_each`;
//! * turns the status of `pcap_activate(3PCAP)` into a text, warnings included, where we must know which it was.
#![allow(unsafe_code)]

use libc::{c_char, c_int, c_uchar, c_uint};
use std::any::Any;
use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{self, NonNull};
#[cfg(unix)]
use std::time::Duration;

#[repr(C)]
struct PcapT {
    _opaque: [u8; 0],
}

/// `struct pcap_pkthdr` of <pcap/pcap.h> (macOS appends a comment, which is never read).
#[repr(C)]
struct PktHdr {
    ts: libc::timeval,
    caplen: c_uint,
    len: c_uint,
}

/// `struct pcap_stat` of <pcap/pcap.h>. Windows appends fields; room for them is kept.
#[repr(C)]
#[derive(Default)]
struct PcapStat {
    recv: c_uint,
    drop: c_uint,
    ifdrop: c_uint,
    more: [c_uint; 5],
}

/// `struct bpf_program` of <pcap/bpf.h>.
#[repr(C)]
struct BpfProgram {
    len: c_uint,
    instructions: *mut libc::c_void,
}

type Callback = extern "C" fn(*mut c_uchar, *const PktHdr, *const c_uchar);

// Linked by the `pcap` crate; present since libpcap 1.5 and in Npcap.
unsafe extern "C" {
    fn pcap_create(source: *const c_char, errbuf: *mut c_char) -> *mut PcapT;
    fn pcap_set_snaplen(p: *mut PcapT, snaplen: c_int) -> c_int;
    fn pcap_set_promisc(p: *mut PcapT, promisc: c_int) -> c_int;
    fn pcap_set_timeout(p: *mut PcapT, ms: c_int) -> c_int;
    fn pcap_set_immediate_mode(p: *mut PcapT, immediate: c_int) -> c_int;
    fn pcap_set_buffer_size(p: *mut PcapT, bytes: c_int) -> c_int;
    fn pcap_set_tstamp_precision(p: *mut PcapT, precision: c_int) -> c_int;
    fn pcap_get_tstamp_precision(p: *mut PcapT) -> c_int;
    fn pcap_activate(p: *mut PcapT) -> c_int;
    fn pcap_open_offline_with_tstamp_precision(
        path: *const c_char,
        precision: c_uint,
        errbuf: *mut c_char,
    ) -> *mut PcapT;
    fn pcap_close(p: *mut PcapT);
    fn pcap_setnonblock(p: *mut PcapT, nonblock: c_int, errbuf: *mut c_char) -> c_int;
    fn pcap_setdirection(p: *mut PcapT, direction: c_uint) -> c_int;
    fn pcap_compile(
        p: *mut PcapT,
        program: *mut BpfProgram,
        text: *const c_char,
        optimise: c_int,
        mask: c_uint,
    ) -> c_int;
    fn pcap_setfilter(p: *mut PcapT, program: *mut BpfProgram) -> c_int;
    fn pcap_freecode(program: *mut BpfProgram);
    fn pcap_datalink(p: *mut PcapT) -> c_int;
    fn pcap_dispatch(p: *mut PcapT, count: c_int, callback: Callback, user: *mut c_uchar) -> c_int;
    fn pcap_breakloop(p: *mut PcapT);
    fn pcap_sendpacket(p: *mut PcapT, packet: *const c_uchar, len: c_int) -> c_int;
    fn pcap_stats(p: *mut PcapT, stats: *mut PcapStat) -> c_int;
    fn pcap_geterr(p: *mut PcapT) -> *mut c_char;
    fn pcap_statustostr(status: c_int) -> *const c_char;
    fn pcap_lib_version() -> *const c_char;
    #[cfg(unix)]
    fn pcap_get_selectable_fd(p: *mut PcapT) -> c_int;
}

const ERRBUF: usize = 256;
const NANO: c_int = 1;
/// PCAP_ERROR_BREAK.
const BREAK: c_int = -2;
/// PCAP_NETMASK_UNKNOWN: `ip broadcast` needs a mask and is refused without.
const NO_NETMASK: c_uint = 0xffff_ffff;

/// PCAP_ERROR_NO_SUCH_DEVICE.
pub(super) const NO_SUCH_DEVICE: i32 = -5;
/// PCAP_ERROR_PERM_DENIED.
pub(super) const PERM_DENIED: i32 = -8;
/// PCAP_ERROR_IFACE_NOT_UP.
pub(super) const IFACE_NOT_UP: i32 = -9;
/// PCAP_ERROR_PROMISC_PERM_DENIED.
pub(super) const PROMISC_PERM_DENIED: i32 = -11;
/// PCAP_WARNING_PROMISC_NOTSUP.
pub(super) const PROMISC_NOTSUP: i32 = 2;
/// DLT_EN10MB.
pub(super) const ETHERNET: i32 = 1;

/// How a live handle is set up.
pub(super) struct Live {
    pub snaplen: i32,
    pub promiscuous: bool,
    pub timeout_ms: i32,
    pub immediate: bool,
    pub nanos: bool,
    /// Bytes of the kernel's buffer; `None` leaves it to libpcap.
    pub kernel_buffer: Option<i32>,
}

/// Which packets are received: `pcap_direction_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Both = 0,
    In = 1,
    Out = 2,
}

/// A status of `pcap_activate` that is not plain success, with libpcap's words.
#[derive(Debug)]
pub(super) struct Status {
    pub code: i32,
    pub message: String,
}

/// What libpcap says of a packet. The unit of `ts.tv_usec` is [`Handle::nanos`]'s affair.
pub(super) struct Header {
    pub ts: libc::timeval,
    pub len: u32,
}

/// Totals of `pcap_stats(3PCAP)`; they wrap.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drops {
    pub kernel: u32,
    pub interface: u32,
}

/// An open capture: an interface or a file.
#[derive(Debug)]
pub(super) struct Handle {
    raw: NonNull<PcapT>,
    nanos: bool,
    /// The selectable descriptor; open for as long as the handle is.
    #[cfg(unix)]
    fd: RawFd,
    /// A dispatch is running: libpcap's buffers are lent to its callback.
    busy: Cell<bool>,
}

// SAFETY: a pcap_t has no ties to the thread that made it; it is used by one thread at a time, for `Handle` is not Sync.
unsafe impl Send for Handle {}

impl Handle {
    fn new(raw: NonNull<PcapT>) -> Self {
        Self {
            raw,
            nanos: false,
            #[cfg(unix)]
            fd: -1,
            busy: Cell::new(false),
        }
    }

    /// Opens an interface, non-blocking. What libpcap warned of comes with the handle.
    pub fn live(device: &str, live: &Live) -> Result<(Self, Option<Status>), Status> {
        let mut errbuf = [0; ERRBUF];
        let name = c_string(device).map_err(|message| Status { code: NO_SUCH_DEVICE, message })?;
        // SAFETY: a C string and a buffer of PCAP_ERRBUF_SIZE bytes.
        let raw = unsafe { pcap_create(name.as_ptr(), errbuf.as_mut_ptr()) };
        let raw = NonNull::new(raw).ok_or_else(|| Status { code: -1, message: text(&errbuf) })?;
        let mut handle = Self::new(raw);
        let p = raw.as_ptr();
        // SAFETY: `p` was just created and is not active, the state in which these may be called; a setting that cannot
        // be had fails here or in `pcap_activate`.
        let code = unsafe {
            pcap_set_snaplen(p, live.snaplen);
            pcap_set_promisc(p, c_int::from(live.promiscuous));
            pcap_set_timeout(p, live.timeout_ms);
            pcap_set_immediate_mode(p, c_int::from(live.immediate));
            if let Some(bytes) = live.kernel_buffer {
                pcap_set_buffer_size(p, bytes);
            }
            if live.nanos {
                // Microseconds where nanoseconds cannot be had: `nanos` tells.
                pcap_set_tstamp_precision(p, NANO);
            }
            pcap_activate(p)
        };
        let status = (code != 0).then(|| handle.status(code));
        if code < 0 {
            return Err(status.unwrap_or(Status { code, message: String::new() }));
        }
        // SAFETY: the handle is active; the buffer has PCAP_ERRBUF_SIZE bytes.
        if unsafe { pcap_setnonblock(p, 1, errbuf.as_mut_ptr()) } != 0 {
            return Err(Status { code: -1, message: text(&errbuf) });
        }
        handle.settle().map_err(|message| Status { code: -1, message })?;
        Ok((handle, status))
    }

    /// Opens a capture file; `Err` has libpcap's words.
    pub fn offline(path: &str) -> Result<Self, String> {
        let mut errbuf = [0; ERRBUF];
        let path = c_string(path)?;
        // SAFETY: a C string and a buffer of PCAP_ERRBUF_SIZE bytes.
        let raw =
            unsafe { pcap_open_offline_with_tstamp_precision(path.as_ptr(), NANO as c_uint, errbuf.as_mut_ptr()) };
        let raw = NonNull::new(raw).ok_or_else(|| text(&errbuf))?;
        let mut handle = Self::new(raw);
        handle.settle()?;
        Ok(handle)
    }

    /// Whether `tv_usec` of headers counts nanoseconds.
    #[inline]
    pub fn nanos(&self) -> bool {
        self.nanos
    }

    /// Its link type, a `DLT_` value.
    pub fn datalink(&self) -> i32 {
        // SAFETY: the handle is active.
        unsafe { pcap_datalink(self.raw.as_ptr()) }
    }

    /// Receives only packets of this direction, where the platform can.
    pub fn set_direction(&self, direction: Direction) -> Result<(), String> {
        // SAFETY: the handle is active.
        match unsafe { pcap_setdirection(self.raw.as_ptr(), direction as c_uint) } {
            0 => Ok(()),
            _ => Err(self.message()),
        }
    }

    #[cfg(target_os = "linux")]
    fn set_option(&self, level: c_int, option: c_int, value: c_int) -> bool {
        let size = size_of::<c_int>() as libc::socklen_t;
        // SAFETY: an open descriptor and a value of the size given.
        unsafe { libc::setsockopt(self.fd, level, option, ptr::from_ref(&value).cast(), size) == 0 }
    }

    /// Asks Linux not to put sent packets into the ring at all (`PACKET_IGNORE_OUTGOING`, Linux 4.20): otherwise libpcap
    /// skips them one by one, and they push received ones out of the ring. Whether the kernel agreed.
    #[cfg(target_os = "linux")]
    pub fn ignore_outgoing(&self) -> bool {
        const PACKET_IGNORE_OUTGOING: c_int = 23;
        self.set_option(libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    }

    /// Compiles and sets a filter expression.
    pub fn set_filter(&self, expression: &str) -> Result<(), String> {
        let expression = c_string(expression)?;
        let mut program = BpfProgram { len: 0, instructions: ptr::null_mut() };
        let p = self.raw.as_ptr();
        // SAFETY: an active handle, a C string; the program is filled by a compile that succeeds, copied by
        // `pcap_setfilter`, and freed once.
        unsafe {
            if pcap_compile(p, &raw mut program, expression.as_ptr(), 1, NO_NETMASK) != 0 {
                return Err(self.message());
            }
            let set = pcap_setfilter(p, &raw mut program);
            let outcome = if set == 0 { Ok(()) } else { Err(self.message()) };
            pcap_freecode(&raw mut program);
            outcome
        }
    }

    /// Hands up to `max` packets to `f` where they lie, until it returns false. Does not block on an interface. Returns
    /// how many there were: 0 if none waits, or at the end of a file. A packet that a libpcap hands over after `f`
    /// returned false goes to `f` as well.
    ///
    /// `Err` has libpcap's words, and may come after packets that `f` has seen.
    #[inline]
    pub fn dispatch<F: FnMut(&Header, &[u8]) -> bool>(&self, max: usize, f: F) -> Result<usize, String> {
        if max == 0 || self.busy.replace(true) {
            // From within `f`: its packet lies in a buffer that a second dispatch would reuse.
            return if max == 0 { Ok(0) } else { Err("receiving from within `recv_each`".to_owned()) };
        }
        let mut call = Call { f, raw: self.raw.as_ptr(), seen: 0, panic: None };
        let max = c_int::try_from(max).unwrap_or(c_int::MAX);
        let code = loop {
            // SAFETY: the handle is active and not dispatching already; `call` outlives the call and is reached through
            // this pointer only while it runs.
            let code =
                unsafe { pcap_dispatch(self.raw.as_ptr(), max, Call::<F>::packet, (&raw mut call).cast::<c_uchar>()) };
            // A break asked for on the last packet of a call may only take effect in the next.
            if code != BREAK || call.seen > 0 {
                break code;
            }
        };
        self.busy.set(false);
        if let Some(panic) = call.panic {
            resume_unwind(panic);
        }
        if code == -1 { Err(self.message()) } else { Ok(call.seen) }
    }

    /// Sends a packet; the error is the system's.
    #[inline]
    pub fn inject(&self, packet: &[u8]) -> io::Result<()> {
        let len = c_int::try_from(packet.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        // SAFETY: an active handle and `len` readable bytes; sending does not touch what a dispatch lends.
        match unsafe { pcap_sendpacket(self.raw.as_ptr(), packet.as_ptr(), len) } {
            0 => Ok(()),
            _ => self.inject_failed(packet, len),
        }
    }

    #[cold]
    fn inject_failed(&self, packet: &[u8], len: c_int) -> io::Result<()> {
        let error = io::Error::last_os_error();
        if !self.was_down(&error) {
            return Err(error);
        }
        // SAFETY: as in `inject`.
        match unsafe { pcap_sendpacket(self.raw.as_ptr(), packet.as_ptr(), len) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Whether the interface may be up again although the error says it is down: a socket on Linux remembers that it was
    /// until it has told somebody once, or has been asked, as here.
    fn was_down(&self, error: &io::Error) -> bool {
        #[cfg(target_os = "linux")]
        if error.raw_os_error() == Some(libc::ENETDOWN) {
            let (mut pending, mut size) = (0 as c_int, size_of::<c_int>() as libc::socklen_t);
            let room = (&raw mut pending).cast();
            // SAFETY: an open descriptor and room of the size given.
            unsafe { libc::getsockopt(self.fd, libc::SOL_SOCKET, libc::SO_ERROR, room, &raw mut size) };
            return true;
        }
        let _ = error;
        false
    }

    /// Drop counters; `None` where there are none (files).
    pub fn drops(&self) -> Option<Drops> {
        let mut stat = PcapStat::default();
        // SAFETY: an active handle and room for the largest of the platforms' structures.
        match unsafe { pcap_stats(self.raw.as_ptr(), &raw mut stat) } {
            0 => Some(Drops { kernel: stat.drop, interface: stat.ifdrop }),
            _ => None,
        }
    }

    /// Takes note of what does not change any more. `Err` if there is no descriptor to wait on (no Ethernet interface and
    /// no file is like that).
    fn settle(&mut self) -> Result<(), String> {
        // SAFETY: the handle is active.
        self.nanos = unsafe { pcap_get_tstamp_precision(self.raw.as_ptr()) } == NANO;
        #[cfg(unix)]
        {
            // SAFETY: the handle is active.
            self.fd = unsafe { pcap_get_selectable_fd(self.raw.as_ptr()) };
            if self.fd < 0 {
                return Err("libpcap has no descriptor for it that could be waited on".to_owned());
            }
        }
        Ok(())
    }

    /// libpcap's words on the last failure.
    pub fn message(&self) -> String {
        // SAFETY: the handle is open; the text is a C string inside it, copied before anything else is called.
        unsafe { CStr::from_ptr(pcap_geterr(self.raw.as_ptr())) }.to_string_lossy().into_owned()
    }

    fn status(&self, code: c_int) -> Status {
        // SAFETY: the function returns a C string that lives until its next call.
        let name = unsafe { CStr::from_ptr(pcap_statustostr(code)) }.to_string_lossy().into_owned();
        let more = self.message();
        // PCAP_ERROR and PCAP_WARNING say nothing by themselves.
        let message = match (code, more.is_empty()) {
            (-1 | 1, _) => more,
            (_, true) => name,
            (_, false) => format!("{name} ({more})"),
        };
        Status { code, message }
    }
}

/// The descriptor that becomes readable with packets.
#[cfg(unix)]
impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `settle` saw that there is one; it stays open until the handle is closed, which the borrow excludes.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: opened once, closed once, here; no dispatch runs, for it borrows the handle.
        unsafe { pcap_close(self.raw.as_ptr()) }
    }
}

/// What a running dispatch needs to know.
struct Call<F> {
    f: F,
    raw: *mut PcapT,
    seen: usize,
    panic: Option<Box<dyn Any + Send>>,
}

impl<F: FnMut(&Header, &[u8]) -> bool> Call<F> {
    extern "C" fn packet(user: *mut c_uchar, header: *const PktHdr, bytes: *const c_uchar) {
        // SAFETY: `dispatch` passes its `call`, which nobody else touches while libpcap runs.
        let call = unsafe { &mut *user.cast::<Self>() };
        if call.panic.is_some() {
            return;
        }
        // SAFETY: libpcap passes a header and `caplen` bytes that stay in place until the callback returns.
        let (header, bytes) = unsafe {
            let PktHdr { ts, caplen, len } = ptr::read(header);
            (Header { ts, len }, std::slice::from_raw_parts(bytes, caplen as usize))
        };
        call.seen += 1;
        // A panic must not cross the C frames: it waits until `dispatch` has left them.
        let go_on = match catch_unwind(AssertUnwindSafe(|| (call.f)(&header, bytes))) {
            Ok(go_on) => go_on,
            Err(panic) => {
                call.panic = Some(panic);
                false
            }
        };
        if !go_on {
            // SAFETY: the handle is the one that is dispatching.
            unsafe { pcap_breakloop(call.raw) }
        }
    }
}

fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| "it contains a NUL byte".to_owned())
}

fn text(errbuf: &[c_char; ERRBUF]) -> String {
    let bytes: Vec<u8> = errbuf.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The library's own name and version.
pub(super) fn lib_version() -> String {
    // SAFETY: a static C string.
    unsafe { CStr::from_ptr(pcap_lib_version()) }.to_string_lossy().into_owned()
}

/// Waits until the descriptor is readable (or writable), at most `timeout` (`None`: for ever). An interrupted wait, or an
/// error on the descriptor, is a spurious "ready": the next receive tells.
#[cfg(unix)]
pub(super) fn poll(fd: BorrowedFd<'_>, read: bool, write: bool, timeout: Option<Duration>) -> io::Result<bool> {
    let events = if read { libc::POLLIN } else { 0 } | if write { libc::POLLOUT } else { 0 };
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    let ready = {
        let limit = timeout.map(|timeout| {
            // SAFETY: a timespec is plain numbers; zero is one of them.
            let mut limit: libc::timespec = unsafe { std::mem::zeroed() };
            limit.tv_sec = libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX);
            limit.tv_nsec = timeout.subsec_nanos() as _;
            limit
        });
        let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: one entry, as said; a timespec or none; no signal mask.
        unsafe { libc::ppoll(&raw mut entry, 1, limit, ptr::null()) }
    };
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let ready = {
        let up = |t: Duration| c_int::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX);
        // SAFETY: one entry, as said.
        unsafe { libc::poll(&raw mut entry, 1, timeout.map_or(-1, up)) }
    };
    match ready {
        -1 => {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted { Ok(true) } else { Err(error) }
        }
        n => Ok(n > 0),
    }
}
