//! A backend of somebody else: its own pool, context and metadata, written against the public API alone, and held to the
//! same suite as the backends of this crate.
//!
//! Its wire is a pair of sockets of the kernel that keep packets apart (`SOCK_SEQPACKET`, `unix(7)`). Frames are boxes in a
//! slab; a `BufferDesc` is a place in it.
#![cfg(target_os = "linux")]
#![allow(unsafe_code)]

mod common;

use common::conformance::{Facts, Rig};
use nethuns_rs::api::{
    BufferDesc, Context, Flags, Interest, LinkInfo, Mode, PacketInfo, Payload, PortSpec, Socket, Stats, Token,
};
use nethuns_rs::pool::{Home, register};
use nethuns_rs::{Error, Result};
use std::cell::{Cell, UnsafeCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const FRAME: usize = 1600;

/// Frames in a slab, and a list of those that are free.
struct ToyPool {
    id: u32,
    slab: Box<[UnsafeCell<[u8; FRAME]>]>,
    free: Mutex<Vec<usize>>,
}

// SAFETY: a frame is touched only through the one token or payload that has it on loan.
unsafe impl Sync for ToyPool {}

impl ToyPool {
    fn new(frames: usize) -> Result<Arc<Self>> {
        register(|id| {
            let slab = (0..frames).map(|_| UnsafeCell::new([0; FRAME])).collect();
            Ok(Self { id, slab, free: Mutex::new((0..frames).collect()) })
        })
    }

    fn take(&self) -> Option<usize> {
        self.free.lock().unwrap().pop()
    }

    fn put(&self, frame: usize) {
        self.free.lock().unwrap().push(frame);
    }

    fn bytes(&self, desc: BufferDesc, len: usize) -> *mut [u8] {
        assert!(len <= FRAME);
        std::ptr::slice_from_raw_parts_mut(self.slab[desc.index()].get().cast(), len)
    }
}

// SAFETY: the slab lives as long as the pool; its frames are disjoint and initialised.
unsafe impl Home for ToyPool {
    unsafe fn give_back(&self, desc: BufferDesc) {
        self.put(desc.index());
    }
    unsafe fn bytes(&self, desc: BufferDesc, len: usize) -> *mut [u8] {
        self.bytes(desc, len)
    }
}

#[derive(Clone)]
struct ToyContext(Arc<ToyPool>);

// SAFETY: the id is from `register`; clones share the pool, which keeps the slab alive and in place; a frame holds `FRAME`
// bytes.
unsafe impl Context for ToyContext {
    fn pool_id(&self) -> u32 {
        self.0.id
    }
    unsafe fn unsafe_buffer(&self, desc: BufferDesc, size: usize) -> *mut [u8] {
        self.0.bytes(desc, size)
    }
    unsafe fn release(&self, desc: BufferDesc) {
        self.0.put(desc.index());
    }
    fn capacity(&self, _: BufferDesc) -> usize {
        FRAME
    }
}

#[derive(Clone, Debug)]
struct ToyFlags {
    frames: usize,
}

impl Flags for ToyFlags {}

struct Toy {
    name: String,
    fd: OwnedFd,
    ctx: ToyContext,
    sent: Cell<(u64, u64)>,
    received: Cell<(u64, u64)>,
}

/// Ends whose other end is in use already.
static ENDS: Mutex<Option<HashMap<String, OwnedFd>>> = Mutex::new(None);

fn bump(cell: &Cell<(u64, u64)>, bytes: usize) {
    let (packets, sum) = cell.get();
    cell.set((packets + 1, sum + bytes as u64));
}

impl Toy {
    fn poll(&self, events: i16, timeout: Option<Duration>) -> Result<bool> {
        let mut fds = [libc::pollfd { fd: self.fd.as_raw_fd(), events, revents: 0 }];
        let millis = timeout.map_or(-1, |t| t.as_micros().div_ceil(1000) as i32);
        // SAFETY: one pollfd that outlives the call.
        match unsafe { libc::poll(fds.as_mut_ptr(), 1, millis) } {
            n if n < 0 => Err(io::Error::last_os_error().into()),
            n => Ok(n > 0),
        }
    }
}

impl Socket for Toy {
    type Context = ToyContext;
    type Metadata = PacketInfo;
    type Flags = ToyFlags;

    fn create(portspec: &str, queue: Option<usize>, flags: ToyFlags) -> Result<Self> {
        let spec = PortSpec::parse(portspec)?;
        let Some(name) = spec.name.strip_prefix("toy:").filter(|name| !name.is_empty() && queue.unwrap_or(0) == 0)
        else {
            return Err(Error::NoSuchPort { port: portspec.to_owned(), problem: "not a toy".to_owned() });
        };
        let mut options = spec.options();
        let frames = options.number("frames", 1..=4096)?.unwrap_or(flags.frames);
        options.finish()?;
        let mut ends = ENDS.lock().unwrap();
        let ends = ends.get_or_insert_default();
        let fd = match ends.remove(name) {
            Some(other_end) => other_end,
            None => {
                let mut fds = [0; 2];
                let kind = libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
                // SAFETY: `fds` has room for the two descriptors.
                if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) } != 0 {
                    return Err(io::Error::last_os_error().into());
                }
                // SAFETY: both were just opened, and are nobody else's.
                let [one, other] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
                ends.insert(name.to_owned(), other);
                one
            }
        };
        let ctx = ToyContext(ToyPool::new(frames)?);
        Ok(Self { name: name.to_owned(), fd, ctx, sent: Cell::default(), received: Cell::default() })
    }

    fn context(&self) -> &ToyContext {
        &self.ctx
    }

    fn recv_token(&self) -> Result<(Token, PacketInfo)> {
        let frame = self.ctx.0.take().ok_or(Error::NoMemory)?;
        // SAFETY: the frame was just taken, so it is ours, and the slab outlives the call.
        let n = unsafe { libc::recv(self.fd.as_raw_fd(), self.ctx.0.slab[frame].get().cast(), FRAME, 0) };
        if n <= 0 {
            self.ctx.0.put(frame);
            let error = io::Error::last_os_error();
            return if n == 0 || error.kind() == io::ErrorKind::WouldBlock {
                Err(Error::NoPacket)
            } else {
                Err(error.into())
            };
        }
        bump(&self.received, n as usize);
        // SAFETY: the frame is ours and goes into the token; `recv` wrote `n` bytes of it.
        Ok((unsafe { Token::new(frame, n as u32, self.ctx.0.id) }, PacketInfo::default()))
    }

    fn send(&self, packet: &[u8]) -> Result<()> {
        if packet.len() > FRAME {
            return Err(Error::TooBigPacket(packet.len()));
        }
        let flags = libc::MSG_NOSIGNAL;
        // SAFETY: reads `packet`, which outlives the call.
        if unsafe { libc::send(self.fd.as_raw_fd(), packet.as_ptr().cast(), packet.len(), flags) } < 0 {
            let error = io::Error::last_os_error();
            return Err(if error.kind() == io::ErrorKind::WouldBlock { Error::RingFull } else { error.into() });
        }
        bump(&self.sent, packet.len());
        Ok(())
    }

    fn flush(&self) {}

    fn alloc(&self, len: usize) -> Result<Payload<'_, ToyContext>> {
        if len > FRAME {
            return Err(Error::TooBigPacket(len));
        }
        let frame = self.ctx.0.take().ok_or(Error::NoMemory)?;
        // SAFETY: the frame is ours and goes into the token; all of it is initialised.
        Ok(self.ctx.packet(unsafe { Token::new(frame, len as u32, self.ctx.0.id) }))
    }

    fn wait(&self, interest: Interest, timeout: Option<Duration>) -> Result<bool> {
        let events = match interest {
            Interest::Readable => libc::POLLIN,
            Interest::Writable => libc::POLLOUT,
            Interest::Both => libc::POLLIN | libc::POLLOUT,
        };
        self.poll(events, timeout)
    }

    fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        (stats.tx_submitted, stats.tx_bytes) = self.sent.get();
        stats.tx_packets = stats.tx_submitted;
        (stats.rx_packets, stats.rx_bytes) = self.received.get();
        stats
    }

    fn link(&self) -> Result<LinkInfo> {
        let mut link = LinkInfo::default();
        link.name.clone_from(&self.name);
        Ok(link)
    }

    fn mode(&self) -> Mode {
        let mut mode = Mode::default();
        mode.backend = "toy";
        mode.port.clone_from(&self.name);
        (mode.frames, mode.frame_size) = (self.ctx.0.slab.len(), FRAME);
        mode
    }

    fn frames_in_flight(&self) -> Option<usize> {
        Some(self.ctx.0.slab.len() - self.ctx.0.free.lock().unwrap().len())
    }
}

impl AsFd for Toy {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

struct ToyRig;

impl Rig for ToyRig {
    type Sock = Toy;

    fn pair(&self) -> (Toy, Toy) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("toy:{}", NEXT.fetch_add(1, Ordering::Relaxed));
        (self.open(&name, None).unwrap(), self.open(&name, None).unwrap())
    }

    fn facts(&self) -> Facts {
        Facts {
            backend: "toy",
            max_len: FRAME,
            too_big: FRAME + 1,
            window: 32,
            frames: 64,
            one_pool: false,
            wrong: vec![("eth0", "not a toy"), ("toy:", "not a toy"), ("toy:a?frame=1", "unknown option `frame`")],
        }
    }

    fn open(&self, spec: &str, queue: Option<usize>) -> Result<Toy> {
        Toy::create(spec, queue, ToyFlags { frames: 64 })
    }
}

fn toy(_: &str) -> Option<ToyRig> {
    Some(ToyRig)
}

conformance_suite!(over_a_toy, toy);

mod with_faults {
    use super::*;
    use nethuns_rs::mem::faults::{Faults, Plan, Profile};

    /// The fault injector takes a backend that it has never seen.
    #[test]
    fn duplicates_and_flipped_bits() {
        let (a, b) = ToyRig.pair();
        let profile = Profile { duplicate: 1.0, corrupt: 1.0, ..Profile::default() };
        let a = Faults::new(a, Plan { tx: profile, ..Plan::default() }.seeded(1)).unwrap();
        a.send(&[0; 100]).unwrap();
        let (one, two) = (b.recv().unwrap().0, b.recv().unwrap().0);
        assert_eq!(&*one, &*two);
        assert_eq!(one.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        drop((one, two));
        assert_eq!((a.frames_in_flight(), b.frames_in_flight()), (Some(0), Some(0)));
    }
}

mod with_a_channel {
    use super::*;
    use nethuns_rs::api::Batch;

    #[test]
    fn packets_cross_threads() {
        let a = Toy::create("toy:channel", None, ToyFlags { frames: 64 }).unwrap();
        let (b, pusher, popper) =
            Toy::create_with_channel::<16>("toy:channel", None, ToyFlags { frames: 64 }, flume::bounded(4)).unwrap();
        for i in 0..16 {
            a.send(&[i; 60]).unwrap();
        }
        let mut batch = Batch::new();
        assert_eq!(b.recv_tokens(&mut batch).unwrap(), 16);
        let consumer = std::thread::spawn(move || {
            popper.pop().unwrap().enumerate().filter(|(i, packet)| **packet == [*i as u8; 60]).count()
        });
        pusher.push(batch).unwrap();
        assert_eq!(consumer.join().unwrap(), 16);
        assert_eq!(b.frames_in_flight(), Some(0));
    }
}
