//! A capture of everything that a host sends and receives, in a pcapng file.
//!
//! ```text
//!   host ──▶ CaptureWriter, 64 KiB ──full, or 50 ms old──▶ channel ──▶ thread ──▶ file
//!                ▲                                                      │
//!                └───────────────── empty buffers ◀─────────────────────┘
//! ```
//!
//! The host never waits for the disk: if the thread lags behind by [`QUEUE`] buffers, a whole buffer of packets is
//! dropped and counted. It never fails because of it either: an error of the file ends the capture and is shown.

use crate::capture::{CaptureWriter, Direction, Layout};
use crate::errors::{Error, Result};
use crate::stack::Instant;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Buffers that may wait for the disk.
const QUEUE: usize = 64;
/// How old a packet may become before it is handed to the thread although its buffer is not full.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long the end of a host waits for the file to be complete.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a tap has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TapStats {
    /// The file.
    pub path: PathBuf,
    /// Packets seen.
    pub packets: u64,
    /// Of these, packets dropped because the disk was too slow.
    pub dropped: u64,
    /// Bytes written to the file.
    pub bytes: u64,
    /// Why writing ended, if it failed.
    pub error: Option<String>,
}

/// What the thread has to tell.
#[derive(Debug, Default)]
struct Report {
    bytes: AtomicU64,
    error: Mutex<Option<String>>,
}

/// The end of the channel that buffers go into.
#[derive(Debug)]
struct Outbox {
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    /// The last buffer could not be handed over.
    refused: bool,
}

impl Write for Outbox {
    /// Takes all of it or drops all of it: a writer hands over whole blocks, so the file stays sound.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut buffer = self.empty.try_recv().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.full.try_send(buffer) {
            self.refused = true;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Tap {
    path: PathBuf,
    writer: Option<CaptureWriter<Outbox>>,
    /// What to add to the host's time for that of the file.
    offset: u64,
    /// When the oldest packet that waits in the writer was seen.
    oldest: Option<Instant>,
    packets: u64,
    dropped: u64,
    /// Packets of the writer that have been accounted for.
    passed: u64,
    report: Arc<Report>,
    /// Says that the thread has written everything.
    done: Receiver<()>,
}

impl Tap {
    /// Begins the file.
    pub(super) fn create(path: &Path, snaplen: u32, interface: String, offset: u64) -> Result<Self> {
        let failed = |source| Error::System {
            what: format!("writing the tap {}", path.display()),
            help: "choose another file with `tap=`".to_owned(),
            source,
        };
        let file = File::create(path).map_err(failed)?;
        let (full, buffers) = sync_channel(QUEUE);
        let (give_back, empty) = sync_channel(QUEUE + 1);
        let (tell, done) = sync_channel(1);
        let report = Arc::new(Report::default());
        let theirs = report.clone();
        std::thread::Builder::new()
            .name("nethuns-tap".to_owned())
            .spawn(move || {
                write_out(file, &buffers, &give_back, &theirs);
                let _ = tell.send(());
            })
            .map_err(failed)?;
        let outbox = Outbox { full, empty, refused: false };
        let layout = Layout { snaplen, interface: Some(interface), ..Layout::default() };
        let mut writer = CaptureWriter::new(outbox, layout);
        // The head of the file before anything can be dropped.
        writer.flush().map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            writer: Some(writer),
            offset,
            oldest: None,
            packets: 0,
            dropped: 0,
            passed: 0,
            report,
            done,
        })
    }

    /// Notes a packet.
    #[inline]
    pub(super) fn note(&mut self, now: Instant, packet: &[u8], direction: Direction) {
        let Some(writer) = &mut self.writer else { return };
        self.packets += 1;
        let time = self.offset.saturating_add(now.as_nanos());
        let wire_len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        // The outbox takes everything; what became of it is asked below.
        let _ = writer.write_directed(packet, time, wire_len, direction);
        if writer.waiting() == 0 {
            self.account();
        } else if self.oldest.is_none() {
            self.oldest = Some(now);
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        Some(self.oldest? + PATIENCE)
    }

    /// Hands over what has waited long enough.
    pub(super) fn tick(&mut self, now: Instant) {
        if self.due().is_some_and(|due| due <= now) {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if let Some(writer) = &mut self.writer {
            let _ = writer.flush();
            self.account();
        }
    }

    /// The writer has just handed over what it had.
    fn account(&mut self) {
        self.oldest = None;
        let Some(writer) = &mut self.writer else { return };
        let gone = writer.written() - self.passed;
        self.passed = writer.written();
        if std::mem::take(&mut writer.get_mut().refused) {
            self.dropped += gone;
        }
    }

    pub(super) fn stats(&self) -> TapStats {
        TapStats {
            path: self.path.clone(),
            packets: self.packets,
            dropped: self.dropped,
            bytes: self.report.bytes.load(Ordering::Relaxed),
            error: self.report.error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.flush();
        // Closes the channel, which ends the thread once it has written what is in it.
        self.writer = None;
        let _ = self.done.recv_timeout(FAREWELL);
    }
}

/// What the thread does.
fn write_out(mut file: File, buffers: &Receiver<Vec<u8>>, empty: &SyncSender<Vec<u8>>, report: &Report) {
    for buffer in buffers {
        if let Err(error) = file.write_all(&buffer) {
            // The file may end within a packet now: nothing can follow it. The channel closes, and the host counts.
            *report.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            return;
        }
        report.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        let _ = empty.try_send(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("nethuns-tap-{}-{name}.pcapng", std::process::id()))
    }

    /// Blocks of a pcapng file by kind.
    fn blocks(path: &Path) -> Vec<u32> {
        let bytes = std::fs::read(path).unwrap();
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (mut at, mut kinds) = (0, Vec::new());
        while at < bytes.len() {
            kinds.push(word(at));
            at += word(at + 4) as usize;
        }
        assert_eq!(at, bytes.len(), "the last block is whole");
        kinds
    }

    #[test]
    fn everything_is_in_the_file_when_the_tap_is_gone() {
        let path = file("whole");
        let mut tap = Tap::create(&path, 200, "va".into(), 7).unwrap();
        for n in 0..5000u64 {
            let direction = if n % 2 == 0 { Direction::Received } else { Direction::Sent };
            tap.note(Instant::from_micros(n), &[0x55; 1514], direction);
            // As fast as the disk, so that nothing is dropped.
            while tap.report.bytes.load(Ordering::Relaxed) + (1 << 20) < n * 200 {
                std::thread::yield_now();
            }
        }
        assert_eq!(tap.stats(), TapStats { packets: 5000, ..tap.stats() });
        assert_eq!((tap.stats().dropped, tap.stats().error), (0, None));
        drop(tap);
        let kinds = blocks(&path);
        assert_eq!(kinds[1..3], [1, 6]);
        assert_eq!(kinds.len(), 5002);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_quiet_tap_is_written_all_the_same() {
        let path = file("quiet");
        let mut tap = Tap::create(&path, 200, "va".into(), 0).unwrap();
        assert_eq!(tap.due(), None);
        tap.note(Instant::from_millis(1), &[1; 60], Direction::Sent);
        let due = tap.due().unwrap();
        assert_eq!(due, Instant::from_millis(51));
        tap.tick(Instant::from_millis(50));
        assert_eq!(tap.due(), Some(due));
        tap.tick(due);
        assert_eq!(tap.due(), None);
        drop(tap);
        assert_eq!(blocks(&path).len(), 3);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_full_disk_is_counted_and_shown() {
        let mut tap = Tap::create(Path::new("/dev/full"), 1514, "va".into(), 0).unwrap();
        let start = std::time::Instant::now();
        while tap.stats().dropped == 0 || tap.stats().error.is_none() {
            tap.note(Instant::from_millis(1), &[1; 1514], Direction::Sent);
            assert!(start.elapsed() < Duration::from_secs(10));
        }
        assert!(tap.stats().dropped <= tap.stats().packets);
    }

    #[test]
    fn a_file_that_cannot_be_made_is_an_error() {
        let error = Tap::create(Path::new("/no/such/folder/t.pcapng"), 1514, "va".into(), 0).unwrap_err();
        assert!(error.to_string().contains("/no/such/folder/t.pcapng"), "{error}");
    }
}
