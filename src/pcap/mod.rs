//! libpcap: live capture and injection, capture files as ports.
//!
//! ```text
//!                    kernel ring                       pool of this socket
//!   interface ──▶ [ ▒ ▒ ▒ ▒ ▒ ▒ ] ──one copy──▶ frame ──▶ Token, Payload ──drop──▶ free
//!                      libpcap         ▲
//!   file      ──▶ [ its buffer  ] ─────┘               `send` ──▶ libpcap ──▶ interface
//!                                                      `send` ──▶ CaptureWriter ──▶ file
//! ```
//!
//! A packet stays in the kernel's ring until there is a frame for it: a program that holds every frame loses nothing
//! until that ring is full. What overflows meanwhile is counted as `no_frame`, at other times as `ring_full`.
//!
//! | port spec | what it is |
//! |---|---|
//! | `pcap:eth0` | an interface: receive and send |
//! | `pcap:trace.pcap`, `pcap:trace.pcapng` | a capture file, read from begin to end: receive |
//! | `pcap:out.pcapng?write`, `…?append` | a capture file, written anew or added to: send |
//!
//! Options, limits and what each flag does: `docs/pcap.md`.

mod explain;
mod ffi;
mod file;
mod flags;
mod head;
mod live;
mod meta;
mod sock;

pub use crate::capture::{CaptureWriter, Format, Layout};
pub use flags::PcapFlags;
pub use meta::Meta;
pub use sock::Sock;

/// Name and version of the libpcap that is used, as it tells them (`pcap_lib_version(3PCAP)`).
#[must_use]
pub fn library_version() -> String {
    ffi::lib_version()
}
