//! What was really obtained, as opposed to what was asked for.

use std::fmt;

/// How an XDP program sits on its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attach {
    /// In the driver (native XDP).
    Driver,
    /// In the generic network path, after the kernel has made an skb.
    Generic,
    /// By somebody else: this socket was handed a map.
    External,
}

/// The mode a socket runs in. A required mode that cannot be had is an error at creation; what was only preferred can
/// be read here. `Display` prints it on one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mode {
    /// The backend: `mem`, `pcap`, `af_xdp`.
    pub backend: &'static str,
    /// The port: interface, file or wire.
    pub port: String,
    /// Queues that this socket serves.
    pub queues: Vec<u32>,
    /// Frames in the pool, and bytes that each can hold.
    pub frames: usize,
    /// See `frames`.
    pub frame_size: usize,
    /// How the XDP program is attached.
    pub attach: Option<Attach>,
    /// Whether the card reads and writes frames in place; `None` where the question has no meaning.
    pub zero_copy: Option<bool>,
    /// The kernel tells when it needs to be woken.
    pub need_wakeup: bool,
    /// Preferred busy polling is on.
    pub busy_poll: bool,
    /// Packets may span several frames of the engine.
    pub multi_buffer: bool,
    /// The pool lies on huge pages.
    pub hugepages: bool,
    /// Checksums of sent packets can be left to the kernel or card.
    pub tx_checksum: bool,
    /// The interface was put into promiscuous mode.
    pub promiscuous: bool,
    /// Anything else worth knowing, one remark each: fallbacks above all.
    pub notes: Vec<String>,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.backend, self.port)?;
        if !self.queues.is_empty() {
            f.write_str(" queues ")?;
            for (i, q) in self.queues.iter().enumerate() {
                write!(f, "{}{q}", if i == 0 { "" } else { "," })?;
            }
        }
        write!(f, ", {} frames of {} B", self.frames, self.frame_size)?;
        match self.attach {
            Some(Attach::Driver) => f.write_str(", driver mode")?,
            Some(Attach::Generic) => f.write_str(", generic mode")?,
            Some(Attach::External) => f.write_str(", external program")?,
            None => {}
        }
        match self.zero_copy {
            Some(true) => f.write_str(", zero-copy")?,
            Some(false) => f.write_str(", copy")?,
            None => {}
        }
        for (on, word) in [
            (self.need_wakeup, "need-wakeup"),
            (self.busy_poll, "busy-poll"),
            (self.multi_buffer, "multi-buffer"),
            (self.hugepages, "hugepages"),
            (self.tx_checksum, "tx-checksum"),
            (self.promiscuous, "promiscuous"),
        ] {
            if on {
                write!(f, ", {word}")?;
            }
        }
        for note in &self.notes {
            write!(f, "; {note}")?;
        }
        Ok(())
    }
}
