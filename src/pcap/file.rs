//! Capture files as ports.

use super::explain;
use super::ffi::{ETHERNET, Handle};
use super::flags::WriteOptions;
use super::head::{HEAD, Head, read_head};
use crate::capture::{CaptureWriter, Format, Layout};
use crate::errors::{Error, Result};
use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

/// The first bytes of a file, if it is one that can be read twice (a pipe cannot).
fn head(path: &str) -> std::io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    if file.metadata()?.is_file() {
        file.take(HEAD as u64).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Opens a file for reading.
pub(super) fn read(path: &str) -> Result<Handle> {
    // A pipe must not be opened twice: its writer would see the first reader go.
    let plain = std::fs::metadata(path).map_err(|e| explain::opening_file(path, e))?.is_file();
    let head = if plain { head(path).map_err(|e| explain::opening_file(path, e))? } else { Vec::new() };
    let handle = Handle::offline(path).map_err(|message| {
        if plain { explain::not_a_capture(path, &head, &message) } else { explain::reading(path, message) }
    })?;
    match handle.datalink() {
        ETHERNET => Ok(handle),
        other => Err(explain::link_type(path, other, true)),
    }
}

/// A capture file that is being written.
#[derive(Debug)]
pub(super) struct Written {
    pub path: String,
    #[cfg(unix)]
    pub file: Arc<File>,
    writer: RefCell<CaptureWriter<Arc<File>>>,
    accepted: Cell<u64>,
    bytes: Cell<u64>,
    /// May be less than the file's own, which an appended file keeps.
    snaplen: usize,
}

impl Written {
    /// Begins a file, or goes on with one.
    pub fn open(path: &str, options: &WriteOptions, snaplen: u32) -> Result<Self> {
        let failed = |error| explain::writing(path, error);
        let mut layout = Layout { format: options.format, snaplen, nanos: options.nanos, interface: None };
        let mut file = OpenOptions::new();
        let (file, fresh) = if options.append {
            let mut file = file.read(true).append(true).create(true).open(path).map_err(failed)?;
            let mut bytes = Vec::new();
            (&file).take(HEAD as u64).read_to_end(&mut bytes).map_err(failed)?;
            file.seek(SeekFrom::End(0)).map_err(failed)?;
            let fresh = match read_head(&bytes) {
                Head::Empty => true,
                Head::Ours(found) => {
                    layout = goes_on(path, &layout, found)?;
                    // A pcapng file goes on with a section of its own.
                    layout.format == Format::PcapNg
                }
                Head::Foreign(what) => {
                    return Err(Error::unsupported(
                        format!("appending to {path}, {what}"),
                        format!("write a file of its own and join them: mergecap -a -w OUT {path} NEW"),
                    ));
                }
            };
            (file, fresh)
        } else {
            (file.write(true).create(true).truncate(true).open(path).map_err(failed)?, true)
        };
        let file = Arc::new(file);
        let make = if fresh { CaptureWriter::new } else { CaptureWriter::resume };
        Ok(Self {
            path: path.to_owned(),
            #[cfg(unix)]
            file: file.clone(),
            writer: RefCell::new(make(file, layout)),
            accepted: Cell::new(0),
            bytes: Cell::new(0),
            snaplen: snaplen as usize,
        })
    }

    /// Adds a packet.
    #[inline]
    pub fn write(&self, packet: &[u8], timestamp_ns: u64, wire_len: u32) -> Result<()> {
        let mut writer = self.writer.borrow_mut();
        let wire_len = wire_len.max(u32::try_from(packet.len()).unwrap_or(u32::MAX));
        let outcome = writer.write(&packet[..packet.len().min(self.snaplen)], timestamp_ns, wire_len);
        if outcome.is_ok() {
            self.accepted.set(self.accepted.get() + 1);
            self.bytes.set(self.bytes.get() + packet.len() as u64);
        }
        outcome.map_err(|error| explain::writing(&self.path, error))
    }

    /// Writes out what has been gathered.
    pub fn flush(&self) -> Result<()> {
        self.writer.borrow_mut().flush().map_err(|error| explain::writing(&self.path, error))
    }

    /// Packets accepted, packets written out, and packets lost by an error.
    pub fn counts(&self) -> (u64, u64, u64) {
        let writer = self.writer.borrow();
        let (accepted, written) = (self.accepted.get(), writer.written());
        (accepted, written, if writer.has_failed() { accepted - written } else { 0 })
    }

    /// Bytes of the packets accepted.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// How the file is written.
    pub fn layout(&self) -> Layout {
        self.writer.borrow().layout().clone()
    }
}

/// The layout to append with: that of the file, if it is what was asked for.
fn goes_on(path: &str, wanted: &Layout, found: Layout) -> Result<Layout> {
    if wanted.format != found.format {
        let name = |format| if format == Format::Pcap { "pcap" } else { "pcapng" };
        return Err(Error::unsupported(
            format!("appending {} packets to {path}, a {} file", name(wanted.format), name(found.format)),
            format!("say so: pcap:{path}?append&format={}", name(found.format)),
        ));
    }
    Ok(found)
}
