//! The XDP program that hands packets to AF_XDP sockets: who writes it, who attaches it, when it goes away.
//!
//! ```text
//!   interface ──▶ XDP program ──▶ XSKMAP[queue] ──▶ socket bound to that queue
//!                      │  no rule matches, or no socket in the slot
//!                      └──▶ the kernel's stack
//! ```
//!
//! A [`Program`] owns the program, the map and the link between interface and program. The sockets of this process that
//! are open on one interface share one (`Arc`); the last to go takes it off the interface. Because it is attached by
//! `bpf_link`, the kernel does the same when the process dies, however it dies.
//!
//! | file | what it is for |
//! |---|---|
//! | `steering` | which packets: rules, their text, their meaning |
//! | `emit`, `asm` | the same as BPF instructions |
//! | `object` | programs of the user's own |
//! | `inspect`, `capabilities` | what there is on an interface, what the process may do |
//! | `explain` | what a refusal of the kernel means, and what to type |
//! | `sys` | the calls into libbpf |

mod asm;
mod capabilities;
mod emit;
mod explain;
mod inspect;
mod object;
mod sys;

pub mod steering;

pub use capabilities::{Capabilities, capabilities};
pub use inspect::{Attached, Features, Place, XdpInfo, inspect};
pub use steering::{Prefix, Rule, Steering};

use crate::api::{Attach, LinkInfo};
use crate::errors::{Error, Result};
use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Where the program that feeds a socket comes from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Source {
    /// A program of this crate's own, written for these rules when the socket is opened. Needs no compiler.
    Steer(Steering),
    /// A compiled object file (`clang -O2 -target bpf -c`), loaded and attached.
    Object {
        /// The file.
        path: PathBuf,
        /// The program's function name or section; may be left out if the file has one XDP program only.
        program: Option<String>,
        /// The XSKMAP's name; may be left out if it is `xsks_map`, or the only one.
        map: Option<String>,
    },
    /// A program and its XSKMAP, both pinned on a bpffs; the program is attached.
    Pinned {
        /// Where the program is pinned.
        program: PathBuf,
        /// Where the map is pinned.
        map: PathBuf,
    },
    /// A pinned XSKMAP that a program attached by somebody else redirects to. Nothing is attached: this works without
    /// CAP_BPF and CAP_NET_ADMIN.
    PinnedMap(PathBuf),
    /// The same, with the map's descriptor at hand (inherited, or received over a Unix socket).
    Map(Arc<OwnedFd>),
}

impl Default for Source {
    /// Every packet.
    fn default() -> Self {
        Source::Steer(Steering::all())
    }
}

/// Two sources are equal when they name the same thing: the same rules, paths and names, the same descriptor.
impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Source::Steer(a), Source::Steer(b)) => a == b,
            (
                Source::Object { path, program, map },
                Source::Object { path: other_path, program: other_program, map: other_map },
            ) => path == other_path && program == other_program && map == other_map,
            (Source::Pinned { program, map }, Source::Pinned { program: other_program, map: other_map }) => {
                program == other_program && map == other_map
            }
            (Source::PinnedMap(a), Source::PinnedMap(b)) => a == b,
            (Source::Map(a), Source::Map(b)) => a.as_raw_fd() == b.as_raw_fd(),
            _ => false,
        }
    }
}

impl Eq for Source {}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Steer(steering) => write!(f, "steer={steering}"),
            Source::Object { path, .. } => write!(f, "program {}", path.display()),
            Source::Pinned { program, .. } => write!(f, "pinned program {}", program.display()),
            Source::PinnedMap(path) => write!(f, "pinned map {}", path.display()),
            Source::Map(fd) => write!(f, "map of descriptor {}", fd.as_raw_fd()),
        }
    }
}

/// Where the program may sit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachWish {
    /// In the driver; where that cannot be had, in the generic path, and the socket's mode says so.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Driver,
    /// In the generic path: after the kernel has made an skb. Slower, works on every interface.
    Generic,
}

/// What is to be attached, and where.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The interface's name, for messages.
    pub ifname: &'a str,
    /// Its index in the calling thread's namespace.
    pub ifindex: u32,
    /// Driver or generic.
    pub wish: AttachWish,
    /// Packets may span several buffers.
    pub multi_buffer: bool,
    /// Which program.
    pub source: &'a Source,
    /// Receive queues of the interface.
    pub queues: u32,
}

impl<'a> Request<'a> {
    /// A program for packets of one buffer on an interface of the calling thread's network namespace, in the driver if
    /// that can be had.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchPort`] listing the interfaces there are.
    pub fn new(ifname: &'a str, source: &'a Source) -> Result<Self> {
        let link = LinkInfo::of_interface(ifname)?;
        Ok(Self {
            ifname,
            ifindex: link.index.unwrap_or(0),
            wish: AttachWish::Auto,
            multi_buffer: false,
            source,
            queues: link.rx_queues.unwrap_or(1),
        })
    }
}

/// An attached program and its map. Dropping the last reference detaches it.
pub struct Program {
    map: OwnedFd,
    /// Slots of the map.
    slots: u32,
    /// `None` when somebody else attached the program.
    link: Option<OwnedFd>,
    attached: Attach,
    source: Source,
    multi_buffer: bool,
    prog_id: Option<u32>,
    ifname: String,
    notes: Vec<String>,
    /// A child of `fork` must not detach its parent's program.
    process: u32,
    key: Option<Key>,
}

/// An interface of this machine: namespace and index.
type Key = (u64, u32);

/// The programs that sockets of this process may share.
static PROGRAMS: LazyLock<Mutex<HashMap<Key, Weak<Program>>>> = LazyLock::new(Mutex::default);

/// How long to wait for a program that another thread is just taking down.
const TAKE_DOWN: Duration = Duration::from_secs(2);

/// The least number of slots of our own map, so that queues added later (`ethtool -L`) fit.
const SLOTS: u32 = 64;

impl Program {
    /// Loads and attaches what is asked for, or finds that a socket of this process already did.
    ///
    /// # Errors
    ///
    /// [`Error::Permission`], [`Error::Busy`], [`Error::Unsupported`] and their kin, each with its remedy.
    pub fn attach(request: &Request<'_>) -> Result<Arc<Program>> {
        if matches!(request.source, Source::PinnedMap(_) | Source::Map(_)) {
            return Ok(Arc::new(Self::adopt(request)?));
        }
        let key = (sys::namespace()?, request.ifindex);
        let deadline = Instant::now() + TAKE_DOWN;
        loop {
            let mut programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(entry) = programs.get(&key) else {
                let program = Arc::new(Self::build(request, key)?);
                programs.insert(key, Arc::downgrade(&program));
                return Ok(program);
            };
            // The lock must be free before a `Program` may be dropped.
            let living = entry.upgrade();
            match living {
                Some(program) if program.is_stale() => {
                    programs.remove(&key);
                    drop(programs);
                }
                Some(program) => {
                    drop(programs);
                    program.serves(request)?;
                    return Ok(program);
                }
                None if Instant::now() > deadline => {
                    programs.remove(&key);
                }
                None => {
                    drop(programs);
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        }
    }

    /// Puts a socket into the slot of its queue.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if another socket is in it, [`Error::Unsupported`] if the map is too small.
    pub fn insert(&self, queue: u32, xsk: BorrowedFd<'_>) -> Result<()> {
        if queue >= self.slots {
            return Err(Error::unsupported(
                format!("queue {queue} of {}", self.ifname),
                format!(
                    "the XSKMAP of {} has room for queues 0 to {}: make it larger, or open fewer queues",
                    self.source,
                    self.slots.saturating_sub(1)
                ),
            ));
        }
        sys::map_insert(self.map.as_fd(), queue, xsk).map_err(|error| match error.raw_os_error() {
            Some(libc::EEXIST | libc::EBUSY) => Error::Busy {
                what: format!("queue {queue} of {}", self.ifname),
                help: "another socket receives from it: choose another queue, or share that socket's pool".into(),
            },
            Some(libc::EPERM | libc::EACCES) => {
                explain::permission(&format!("{}: put a socket into the XSKMAP", self.ifname))
            }
            _ => Error::System {
                what: format!("{}: put the socket of queue {queue} into the XSKMAP", self.ifname),
                help: String::new(),
                source: error,
            },
        })
    }

    /// Empties the slot of a queue; nothing happens if it is empty. (The kernel does so when a socket is closed.)
    pub fn remove(&self, queue: u32) {
        let _ = sys::map_remove(self.map.as_fd(), queue);
    }

    /// Where the program sits.
    pub fn attached(&self) -> Attach {
        self.attached
    }

    /// What is worth telling of how it came to sit there.
    pub fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    /// The kernel's number for the program (`bpftool prog show id`), if it is ours.
    pub fn prog_id(&self) -> Option<u32> {
        self.prog_id
    }

    /// Pins the map on a bpffs, for processes that may not load programs themselves ([`Source::PinnedMap`]). The file
    /// is root's: `chown` and `chmod` say who may put sockets into it. It stays until it is removed, also when the
    /// program has gone.
    ///
    /// ```no_run
    /// use nethuns_rs::af_xdp::program::{Program, Request, Source};
    /// # fn main() -> nethuns_rs::Result<()> {
    /// // A privileged process: everything for 10.0.0.2 goes to whoever puts sockets into the map.
    /// let source = Source::Steer("10.0.0.2".parse()?);
    /// let program = Program::attach(&Request::new("eth0", &source)?)?;
    /// program.pin_map("/sys/fs/bpf/eth0_xsks".as_ref())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if the path is on no bpffs, [`Error::Busy`] if it exists.
    pub fn pin_map(&self, path: &Path) -> Result<()> {
        sys::pin(self.map.as_fd(), path).map_err(|error| explain::pinned("pin the XSKMAP", path, error))
    }

    /// The map, to be handed to another process.
    pub fn map(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }

    /// Whether the interface is gone, so that the link hangs in the air.
    fn is_stale(&self) -> bool {
        let (Some(link), Some((_, ifindex))) = (&self.link, self.key) else { return false };
        !matches!(sys::link_info(link.as_fd()), Ok(Some(info)) if info.ifindex == ifindex)
    }

    /// Whether this program does for another socket.
    fn serves(&self, request: &Request<'_>) -> Result<()> {
        let busy = |is: String, wanted: String| Error::Busy {
            what: request.ifname.to_owned(),
            help: format!(
                "another socket of this process attached its program with {is}; all sockets of one interface share one \
                 program: open this one with the same instead of {wanted}"
            ),
        };
        if self.source != *request.source {
            return Err(busy(format!("`{}`", self.source), format!("`{}`", request.source)));
        }
        match (request.wish, self.attached) {
            (AttachWish::Driver, Attach::Generic) => return Err(busy("generic mode".into(), "driver mode".into())),
            (AttachWish::Generic, Attach::Driver) => return Err(busy("driver mode".into(), "generic mode".into())),
            _ => {}
        }
        if request.multi_buffer && !self.multi_buffer {
            return Err(busy("single-buffer packets".into(), "multi-buffer packets (jumbo)".into()));
        }
        Ok(())
    }

    /// A map that somebody else's program redirects to.
    fn adopt(request: &Request<'_>) -> Result<Self> {
        let map = match request.source {
            Source::PinnedMap(path) => {
                sys::open_pinned(path).map_err(|error| explain::pinned("open the pinned XSKMAP", path, error))?
            }
            Source::Map(fd) => fd.try_clone()?,
            _ => return Err(Error::Unknown),
        };
        let slots = check_map(&map, request.source)?;
        Ok(Self {
            map,
            slots,
            link: None,
            attached: Attach::External,
            source: request.source.clone(),
            multi_buffer: request.multi_buffer,
            prog_id: None,
            ifname: request.ifname.to_owned(),
            notes: Vec::new(),
            process: std::process::id(),
            key: None,
        })
    }

    fn build(request: &Request<'_>, key: Key) -> Result<Self> {
        let loaded = load(request)?;
        let slots = check_map(&loaded.map, request.source)?;
        let mut notes = loaded.notes;
        if slots < request.queues {
            notes.push(format!("the XSKMAP has room for {slots} of {} queues", request.queues));
        }
        let (link, attached) = link(request, &loaded.program, &mut notes)?;
        Ok(Self {
            map: loaded.map,
            slots,
            prog_id: sys::program_info(loaded.program.as_fd()).ok().map(|info| info.id),
            link: Some(link),
            attached,
            source: request.source.clone(),
            multi_buffer: request.multi_buffer,
            ifname: request.ifname.to_owned(),
            notes,
            process: std::process::id(),
            key: Some(key),
        })
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("interface", &self.ifname)
            .field("attached", &self.attached)
            .field("id", &self.prog_id)
            .finish_non_exhaustive()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            return;
        }
        // First off the interface, then out of the registry: whoever no longer finds it there can attach.
        if let Some(link) = self.link.take() {
            let _ = sys::unlink(link.as_fd());
        }
        if let Some(key) = self.key {
            let mut programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
            if programs.get(&key).is_some_and(|entry| std::ptr::eq(entry.as_ptr(), self)) {
                programs.remove(&key);
            }
        }
    }
}

/// A program in the kernel, not attached yet, and the map it redirects to.
struct Loaded {
    program: OwnedFd,
    map: OwnedFd,
    notes: Vec<String>,
}

fn load(request: &Request<'_>) -> Result<Loaded> {
    match request.source {
        Source::Steer(steering) => {
            let map = sys::create_xskmap(c"nethuns_xsks", request.queues.max(SLOTS))
                .map_err(|error| explain::load(request, "create an XSKMAP", error, ""))?;
            let (walk, notes) = match (steering.looks_behind_extensions(), sys::kernel_version() >= (5, 18)) {
                (true, true) => (emit::Walk::Extensions, Vec::new()),
                (false, _) => (emit::Walk::Nothing, Vec::new()),
                (true, false) => {
                    let note = "steering does not look behind IPv6 extension headers, which takes Linux 5.18";
                    (emit::Walk::Nothing, vec![note.to_owned()])
                }
            };
            let code = steering.compile(map.as_raw_fd(), walk)?;
            let flags = if request.multi_buffer { sys::HAS_FRAGS } else { 0 };
            let program = sys::load_xdp(c"nethuns_steer", &code, flags)
                .map_err(|(error, log)| explain::load(request, "load the XDP program", error, &log))?;
            Ok(Loaded { program, map, notes })
        }
        Source::Object { path, program, map } => object::load(request, path, program.as_deref(), map.as_deref()),
        Source::Pinned { program, map } => object::open_pinned(request, program, map),
        Source::PinnedMap(_) | Source::Map(_) => Err(Error::Unknown),
    }
}

/// Puts a loaded program onto the interface.
fn link(request: &Request<'_>, program: &OwnedFd, notes: &mut Vec<String>) -> Result<(OwnedFd, Attach)> {
    let attempt = |mode| sys::link_xdp(program.as_fd(), request.ifindex, mode);
    if request.wish != AttachWish::Generic {
        match attempt(sys::DRV_MODE) {
            Ok(link) => return Ok((link, Attach::Driver)),
            Err(error) if request.wish == AttachWish::Driver || !explain::driver_cannot(&error) => {
                return Err(explain::attach(request, Attach::Driver, error));
            }
            Err(error) => notes.push(explain::fallback(request, &error)),
        }
    }
    match attempt(sys::SKB_MODE) {
        Ok(link) => Ok((link, Attach::Generic)),
        Err(error) => Err(explain::attach(request, Attach::Generic, error)),
    }
}

/// The number of slots of what should be an XSKMAP.
fn check_map(map: &OwnedFd, source: &Source) -> Result<u32> {
    let not_a_map = |found: &str| {
        Error::unsupported(source.to_string(), format!("{found}; a map of type BPF_MAP_TYPE_XSKMAP is needed"))
    };
    let info = sys::map_info(map.as_fd()).map_err(|_| not_a_map("it is no BPF map"))?;
    if info.type_ != libbpf_rs::libbpf_sys::BPF_MAP_TYPE_XSKMAP {
        return Err(not_a_map(&format!("it is a map of another type ({})", info.type_)));
    }
    Ok(info.max_entries)
}
