//! What can be asked of an AF_XDP socket.
//!
//! Three ways lead here: the documented [`AfXdpFlags`], the builder [`Config`], and the options of a port spec
//! (`options.rs`), which override what the flags say.

use super::program::{AttachWish, Source, Steering};
use crate::api::Flags;
use std::time::Duration;

/// Bind flag: copy mode, whatever the driver can do.
pub const XDP_COPY: u16 = libc::XDP_COPY;
/// Bind flag: zero-copy mode or nothing.
pub const XDP_ZEROCOPY: u16 = libc::XDP_ZEROCOPY;
/// Bind flag: the kernel says when it needs to be woken. The default here.
pub const XDP_USE_NEED_WAKEUP: u16 = libc::XDP_USE_NEED_WAKEUP;
/// Bind flag: packets may span several frames (jumbo).
pub const XDP_USE_SG: u16 = libc::XDP_USE_SG;
/// Bind flag: set by [`create_sharing`](crate::api::Socket::create_sharing), refused from outside.
pub const XDP_SHARED_UMEM: u16 = libc::XDP_SHARED_UMEM;

/// XDP flag: do not replace a program that is there. This library never does.
pub const XDP_FLAGS_UPDATE_IF_NOEXIST: u32 = 1 << 0;
/// XDP flag: attach in generic mode.
pub const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
/// XDP flag: attach in the driver.
pub const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// XDP flag: offload the program to the card. Not supported: offloaded programs cannot redirect to sockets.
pub const XDP_FLAGS_HW_MODE: u32 = 1 << 3;

/// Configuration of an AF_XDP socket as documented. What has no field here is an option of the port spec, or of
/// [`Config`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfXdpFlags {
    /// Bind flags ([`XDP_ZEROCOPY`], [`XDP_COPY`], [`XDP_USE_NEED_WAKEUP`], [`XDP_USE_SG`]). 0: zero-copy where the
    /// driver has it, need-wakeup on.
    pub bind_flags: u16,
    /// XDP flags ([`XDP_FLAGS_DRV_MODE`], [`XDP_FLAGS_SKB_MODE`]). 0: driver mode where it can be had.
    pub xdp_flags: u32,
    /// Number of UMEM frames, of all queues together.
    pub num_frames: u32,
    /// Size of each UMEM frame: 2048 or 4096 bytes.
    pub frame_size: u32,
    /// TX ring size, in packets (must be power of 2).
    pub tx_size: u32,
    /// RX ring size, in packets (must be power of 2).
    pub rx_size: u32,
}

impl Default for AfXdpFlags {
    fn default() -> Self {
        Self { bind_flags: 0, xdp_flags: 0, num_frames: 4096, frame_size: 4096, tx_size: 2048, rx_size: 2048 }
    }
}

impl Flags for AfXdpFlags {}

/// How much something is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Or an error.
    Require,
    /// If it can be had; [`mode`](crate::api::Socket::mode) tells.
    #[default]
    Prefer,
    /// Not even if it could be had.
    Forbid,
}

/// Which queues of the interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Queues {
    /// All there are.
    #[default]
    All,
    /// These.
    Only(Vec<u32>),
}

/// Checksums of sent packets by the kernel or the card (`tx_checksum`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TxChecksum {
    /// The program computes them.
    #[default]
    Off,
    /// By the card in zero-copy mode, by the kernel's software in copy mode. Always correct on the wire.
    On,
    /// By the card in either mode. On a virtual interface nobody may ever fill them in.
    Hardware,
}

/// Everything that can be asked of an AF_XDP socket. [`Sock::open`](super::Sock::open) takes it.
///
/// ```no_run
/// use nethuns_rs::af_xdp::{Config, Sock, Wish};
/// # fn main() -> nethuns_rs::Result<()> {
/// let socket = Sock::open(&Config::new("eth0").queues([0, 1]).zero_copy(Wish::Require).promiscuous(true))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub(super) interface: String,
    pub(super) queues: Queues,
    pub(super) attach: AttachWish,
    pub(super) zero_copy: Wish,
    pub(super) need_wakeup: bool,
    pub(super) busy_poll: Option<Duration>,
    pub(super) busy_budget: u16,
    pub(super) hugepages: bool,
    pub(super) frames: u32,
    pub(super) frame_size: u32,
    pub(super) rx: u32,
    pub(super) tx: u32,
    pub(super) jumbo: Option<u32>,
    pub(super) jumbo_frames: Option<u32>,
    pub(super) tx_checksum: TxChecksum,
    pub(super) tx_spread: bool,
    pub(super) timestamps: bool,
    pub(super) promiscuous: bool,
    pub(super) source: Source,
    /// As given in [`AfXdpFlags`], for the checks that the fields above cannot express any more.
    pub(super) flags: (u16, u32),
}

/// Bytes of the largest packet if `jumbo` is asked for without a number: what a 9000-byte MTU needs, and some.
pub(super) const JUMBO: u32 = 16 * 1024;

impl Config {
    /// The defaults, for an interface: all its queues, every packet.
    #[must_use]
    pub fn new(interface: impl Into<String>) -> Self {
        Self { interface: interface.into(), ..Self::from(AfXdpFlags::default()) }
    }

    /// The interface's name.
    #[must_use]
    pub fn interface(mut self, name: impl Into<String>) -> Self {
        self.interface = name.into();
        self
    }

    /// These queues only, instead of all.
    #[must_use]
    pub fn queues(mut self, queues: impl IntoIterator<Item = u32>) -> Self {
        self.queues = Queues::Only(queues.into_iter().collect());
        self
    }

    /// Where the XDP program sits: in the driver, in the generic path, or wherever it can.
    #[must_use]
    pub fn attach(mut self, wish: AttachWish) -> Self {
        self.attach = wish;
        self
    }

    /// Whether the card is to read and write frames in place.
    #[must_use]
    pub fn zero_copy(mut self, wish: Wish) -> Self {
        self.zero_copy = wish;
        self
    }

    /// Whether the kernel says when it needs to be woken (default on; off costs a system call per flush).
    #[must_use]
    pub fn need_wakeup(mut self, on: bool) -> Self {
        self.need_wakeup = on;
        self
    }

    /// Preferred busy polling: receiving drives the driver, interrupts stay off.
    #[must_use]
    pub fn busy_poll(mut self, time: Duration) -> Self {
        self.busy_poll = Some(time);
        self
    }

    /// Packets per turn of busy polling (default 64).
    #[must_use]
    pub fn busy_budget(mut self, packets: u16) -> Self {
        self.busy_budget = packets;
        self
    }

    /// Frames on huge pages.
    #[must_use]
    pub fn hugepages(mut self, on: bool) -> Self {
        self.hugepages = on;
        self
    }

    /// Number of frames, of all queues together.
    #[must_use]
    pub fn frames(mut self, frames: u32) -> Self {
        self.frames = frames;
        self
    }

    /// Bytes of a frame: 2048 or 4096. 256 of them are headroom of received packets.
    #[must_use]
    pub fn frame_size(mut self, bytes: u32) -> Self {
        self.frame_size = bytes;
        self
    }

    /// Slots of each receive ring, a power of two.
    #[must_use]
    pub fn rx(mut self, slots: u32) -> Self {
        self.rx = slots;
        self
    }

    /// Slots of each transmit ring, a power of two.
    #[must_use]
    pub fn tx(mut self, slots: u32) -> Self {
        self.tx = slots;
        self
    }

    /// Packets of up to so many bytes, each of which may span several frames of the engine.
    #[must_use]
    pub fn jumbo(mut self, bytes: u32) -> Self {
        self.jumbo = Some(bytes);
        self
    }

    /// How many jumbo packets can be held at a time (default: a sixteenth of `frames`, at least 64).
    #[must_use]
    pub fn jumbo_frames(mut self, frames: u32) -> Self {
        self.jumbo_frames = Some(frames);
        self
    }

    /// Checksums by the kernel or the card, for [`Sock::send_checksum`](super::Sock::send_checksum).
    #[must_use]
    pub fn tx_checksum(mut self, how: TxChecksum) -> Self {
        self.tx_checksum = how;
        self
    }

    /// Send on all queues in turn, a flush each, instead of on the first. Packets of one flow may overtake each other.
    #[must_use]
    pub fn tx_spread(mut self, on: bool) -> Self {
        self.tx_spread = on;
        self
    }

    /// Stamp received packets with the time at which their batch was received.
    #[must_use]
    pub fn timestamps(mut self, on: bool) -> Self {
        self.timestamps = on;
        self
    }

    /// Promiscuous mode while the socket is open.
    #[must_use]
    pub fn promiscuous(mut self, on: bool) -> Self {
        self.promiscuous = on;
        self
    }

    /// Which packets: the rest goes on to the kernel's stack.
    #[must_use]
    pub fn steer(self, steering: Steering) -> Self {
        self.program(Source::Steer(steering))
    }

    /// Which program hands packets over; by default one of our own that redirects all of them.
    #[must_use]
    pub fn program(mut self, source: Source) -> Self {
        self.source = source;
        self
    }
}

impl From<AfXdpFlags> for Config {
    /// Contradictions within the flags are reported when the socket is opened.
    fn from(flags: AfXdpFlags) -> Self {
        let AfXdpFlags { bind_flags, xdp_flags, num_frames, frame_size, tx_size, rx_size } = flags;
        Self {
            interface: String::new(),
            queues: Queues::All,
            attach: match xdp_flags & (XDP_FLAGS_SKB_MODE | XDP_FLAGS_DRV_MODE) {
                XDP_FLAGS_SKB_MODE => AttachWish::Generic,
                XDP_FLAGS_DRV_MODE => AttachWish::Driver,
                _ => AttachWish::Auto,
            },
            zero_copy: match bind_flags & (XDP_COPY | XDP_ZEROCOPY) {
                XDP_COPY => Wish::Forbid,
                XDP_ZEROCOPY => Wish::Require,
                _ => Wish::Prefer,
            },
            need_wakeup: true,
            busy_poll: None,
            busy_budget: 64,
            hugepages: false,
            frames: num_frames,
            frame_size,
            rx: rx_size,
            tx: tx_size,
            jumbo: (bind_flags & XDP_USE_SG != 0).then_some(JUMBO),
            jumbo_frames: None,
            tx_checksum: TxChecksum::Off,
            tx_spread: false,
            timestamps: false,
            promiscuous: false,
            source: Source::Steer(Steering::all()),
            flags: (bind_flags, xdp_flags),
        }
    }
}
