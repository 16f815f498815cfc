//! Writes capture files: `pcap` with micro- or nanoseconds, `pcapng` with nanoseconds, Ethernet, little-endian.
//!
//! It needs no libpcap: with or without feature `pcap`, which writes its capture files by it.
//!
//! Formats: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05.html>,
//! <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html>.

use std::fmt;
use std::io::{self, Write};

/// The two formats of capture files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The classic one: one interface, seconds in 32 bits.
    Pcap,
    /// Blocks; what Wireshark writes.
    PcapNg,
}

/// What the head of a capture file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The format.
    pub format: Format,
    /// Longest packet in bytes; longer ones are cut.
    pub snaplen: u32,
    /// Nanoseconds in a `pcap` file (without: microseconds). `pcapng` files always have nanoseconds.
    pub nanos: bool,
    /// The interface that packets come from, for `pcapng`.
    pub interface: Option<String>,
}

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Towards the interface's owner.
    Received,
    /// Away from it.
    Sent,
}

impl Default for Layout {
    /// `pcapng`, 262144 bytes (the most that libpcap reads), nanoseconds, no interface name.
    fn default() -> Self {
        Self { format: Format::PcapNg, snaplen: 262_144, nanos: true, interface: None }
    }
}

/// Bytes gathered before they are written.
const CHUNK: usize = 64 * 1024;
pub(crate) const ETHERNET: u16 = 1;

/// Writes packets to a file, or to anything else that takes bytes, 64 KiB at a time. What is left is written by
/// [`flush`](Self::flush) and when the writer is dropped.
///
/// After an error the file may end within a packet: every further call fails, and [`written`](Self::written) stays at
/// the number of packets known to be out.
///
/// ```
/// use nethuns_rs::capture::{CaptureWriter, Layout};
/// # fn main() -> std::io::Result<()> {
/// let mut file = Vec::new();
/// let mut capture = CaptureWriter::new(&mut file, Layout::default());
/// capture.write(&[0; 60], 1_700_000_000_123_456_789, 60)?;
/// capture.finish()?;
/// assert_eq!(file[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
/// # Ok(())
/// # }
/// ```
pub struct CaptureWriter<W: Write> {
    out: W,
    layout: Layout,
    buffer: Vec<u8>,
    waiting: u64,
    written: u64,
    failed: Option<io::ErrorKind>,
}

impl<W: Write> CaptureWriter<W> {
    /// A writer that begins with the head of a file. (For `pcapng` that is a new section, which may follow another.)
    pub fn new(out: W, layout: Layout) -> Self {
        let mut writer = Self::resume(out, layout);
        match writer.layout.format {
            Format::Pcap => writer.pcap_head(),
            Format::PcapNg => writer.pcapng_head(),
        }
        writer
    }

    /// A writer that goes on after the last packet of a file whose head is as `layout` says.
    pub fn resume(out: W, layout: Layout) -> Self {
        Self { out, layout, buffer: Vec::with_capacity(CHUNK), waiting: 0, written: 0, failed: None }
    }

    /// What the file's head says.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What it writes to. What has been gathered and not been written out yet is not there.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Packets gathered that have not been written out yet.
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Packets that have been written out.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether an earlier call failed, so that all further ones do.
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Adds a packet that was `wire_len` bytes long (at least `packet.len()`) when it was seen, `timestamp_ns`
    /// nanoseconds after the Unix epoch.
    ///
    /// # Errors
    ///
    /// Of the output; `InvalidInput` for a time that a `pcap` file cannot hold (after 2106).
    #[inline]
    pub fn write(&mut self, packet: &[u8], timestamp_ns: u64, wire_len: u32) -> io::Result<()> {
        self.record(packet, timestamp_ns, wire_len, None)
    }

    /// The same with the direction, which a `pcapng` file tells and a `pcap` file cannot.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    #[inline]
    pub fn write_directed(
        &mut self,
        packet: &[u8],
        timestamp_ns: u64,
        wire_len: u32,
        direction: Direction,
    ) -> io::Result<()> {
        self.record(packet, timestamp_ns, wire_len, Some(direction))
    }

    #[inline(always)]
    fn record(
        &mut self,
        packet: &[u8],
        timestamp_ns: u64,
        wire_len: u32,
        direction: Option<Direction>,
    ) -> io::Result<()> {
        if self.failed.is_some() {
            return Err(self.earlier());
        }
        let kept = &packet[..packet.len().min(self.layout.snaplen as usize)];
        let wire_len = wire_len.max(u32::try_from(packet.len()).unwrap_or(u32::MAX));
        match self.layout.format {
            Format::Pcap => self.pcap_record(kept, timestamp_ns, wire_len)?,
            Format::PcapNg => self.pcapng_packet(kept, timestamp_ns, wire_len, direction),
        }
        self.waiting += 1;
        if self.buffer.len() >= CHUNK { self.push_out() } else { Ok(()) }
    }

    /// Writes out what has been gathered.
    ///
    /// # Errors
    ///
    /// Of the output.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.failed.is_some() {
            return Err(self.earlier());
        }
        self.push_out()?;
        self.out.flush()
    }

    /// Writes out what has been gathered and ends.
    ///
    /// # Errors
    ///
    /// Of the output.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()
    }

    fn push_out(&mut self) -> io::Result<()> {
        let outcome = self.out.write_all(&self.buffer);
        // Also after an error: nobody can tell how much of it is out.
        self.buffer.clear();
        match &outcome {
            Ok(()) => self.written += self.waiting,
            Err(error) => self.failed = Some(error.kind()),
        }
        self.waiting = 0;
        outcome
    }

    #[cold]
    fn earlier(&self) -> io::Error {
        io::Error::new(
            self.failed.unwrap_or(io::ErrorKind::Other),
            "an earlier write failed and may have left half a packet",
        )
    }

    fn u16(&mut self, value: u16) {
        self.buffer.extend_from_slice(&value.to_le_bytes());
    }

    #[inline]
    fn u32(&mut self, value: u32) {
        self.buffer.extend_from_slice(&value.to_le_bytes());
    }

    fn pcap_head(&mut self) {
        self.u32(if self.layout.nanos { MAGIC_NANOS } else { MAGIC_MICROS });
        self.u16(2);
        self.u16(4);
        self.u32(0);
        self.u32(0);
        self.u32(self.layout.snaplen);
        self.u32(u32::from(ETHERNET));
    }

    #[inline]
    fn pcap_record(&mut self, packet: &[u8], timestamp_ns: u64, wire_len: u32) -> io::Result<()> {
        let seconds = u32::try_from(timestamp_ns / 1_000_000_000).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, "a pcap file holds times until 2106: write pcapng instead")
        })?;
        let nanos = (timestamp_ns % 1_000_000_000) as u32;
        self.u32(seconds);
        self.u32(if self.layout.nanos { nanos } else { nanos / 1000 });
        self.u32(packet.len() as u32);
        self.u32(wire_len);
        self.buffer.extend_from_slice(packet);
        Ok(())
    }

    /// Section header and interface description.
    fn pcapng_head(&mut self) {
        self.block(SECTION_HEADER, |w| {
            w.u32(BYTE_ORDER);
            w.u16(1);
            w.u16(0);
            w.buffer.extend_from_slice(&[0xff; 8]);
            w.option(4, concat!("nethuns-rs ", env!("CARGO_PKG_VERSION")).as_bytes());
            w.u32(0);
        });
        let (snaplen, interface) = (self.layout.snaplen, self.layout.interface.take());
        self.block(INTERFACE, |w| {
            w.u16(ETHERNET);
            w.u16(0);
            w.u32(snaplen);
            if let Some(name) = &interface {
                w.option(2, &name.as_bytes()[..name.len().min(usize::from(u16::MAX))]);
            }
            // if_tsresol: units of 10^-9 seconds.
            w.option(9, &[9]);
            w.u32(0);
        });
        self.layout.interface = interface;
    }

    fn block(&mut self, kind: u32, body: impl FnOnce(&mut Self)) {
        let start = self.buffer.len();
        self.u32(kind);
        self.u32(0);
        body(self);
        let len = (self.buffer.len() - start + 4) as u32;
        self.buffer[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
        self.u32(len);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.u16(code);
        self.u16(value.len() as u16);
        self.buffer.extend_from_slice(value);
        self.pad(value.len());
    }

    #[inline]
    fn pad(&mut self, len: usize) {
        self.buffer.extend_from_slice(&[0; 3][..len.wrapping_neg() % 4]);
    }

    #[inline]
    fn pcapng_packet(&mut self, packet: &[u8], timestamp_ns: u64, wire_len: u32, direction: Option<Direction>) {
        let options = if direction.is_some() { 12 } else { 0 };
        let total = 32 + packet.len().next_multiple_of(4) as u32 + options;
        self.u32(ENHANCED_PACKET);
        self.u32(total);
        self.u32(0);
        self.u32((timestamp_ns >> 32) as u32);
        self.u32(timestamp_ns as u32);
        self.u32(packet.len() as u32);
        self.u32(wire_len);
        self.buffer.extend_from_slice(packet);
        self.pad(packet.len());
        if let Some(direction) = direction {
            // epb_flags: bits 0 and 1 are 1 for inbound, 2 for outbound. Then the end of the options.
            self.option(2, &(direction as u32 + 1).to_le_bytes());
            self.u32(0);
        }
        self.u32(total);
    }
}

pub(crate) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
pub(crate) const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
pub(crate) const BYTE_ORDER: u32 = 0x1a2b_3c4d;
pub(crate) const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
pub(crate) const MAGIC_NANOS: u32 = 0xa1b2_3c4d;

impl<W: Write> Drop for CaptureWriter<W> {
    fn drop(&mut self) {
        if self.failed.is_none() {
            // `flush` and `finish` report; a drop cannot.
            let _ = self.flush();
        }
    }
}

impl<W: Write> fmt::Debug for CaptureWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureWriter")
            .field("layout", &self.layout)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
