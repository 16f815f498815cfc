//! What both contenders share: the clients, the meter, the command line.
#![allow(dead_code, reason = "each contender uses a part of it")]

pub mod heap;
pub mod load;
pub mod meter;

/// A server under test, in the hands of the clients.
pub trait Server {
    /// Takes a frame that the next turns receive. Not measured.
    fn load(&mut self, frame: &[u8]);

    /// Receives what was loaded, `burst` frames per turn, and answers each request with its bytes, until nothing is left
    /// to do. This is what is measured. `now` in nanoseconds goes on by [`TICK`] per frame.
    fn serve(&mut self, now: &mut u64, burst: usize);

    /// Shows each frame that it has sent since the last call, in order. Not measured.
    fn sent(&mut self, each: &mut dyn FnMut(&[u8]));
}

/// Simulated nanoseconds from one frame to the next.
pub const TICK: u64 = 200;

/// Bytes by which bulk transfers are counted: a segment without options at an MTU of 1500.
pub const SEGMENT: u64 = 1460;

/// Frames a server has sent, in the places where it wrote them.
pub struct Out {
    bytes: Vec<u8>,
    lens: Vec<usize>,
}

impl Out {
    const SLOT: usize = 256;

    /// With room for `frames` frames, which is never exceeded.
    pub fn new(frames: usize) -> Self {
        Self { bytes: vec![0; frames * Self::SLOT], lens: Vec::with_capacity(frames) }
    }

    /// The place of the next frame; `None` if there is no room.
    #[inline(always)]
    pub fn next(&mut self, len: usize) -> Option<&mut [u8]> {
        let at = self.lens.len() * Self::SLOT;
        let place = self.bytes.get_mut(at..at + Self::SLOT)?.get_mut(..len)?;
        self.lens.push(len);
        Some(place)
    }

    /// Shows all frames and forgets them.
    pub fn take(&mut self, each: &mut dyn FnMut(&[u8])) {
        for (slot, len) in self.bytes.chunks_exact(Self::SLOT).zip(self.lens.drain(..)) {
            each(&slot[..len]);
        }
    }
}

/// The command line of a contender: `MODE [--open N] [--active N] [--burst N] [--packets N]`.
pub struct Args {
    /// `requests` or `bulk`, the latter perhaps with `no-checksums` after it.
    pub modes: Vec<String>,
    /// Open connections.
    pub open: usize,
    /// Of these, those that send requests, one after the other.
    pub active: usize,
    /// Frames per turn of the server.
    pub burst: usize,
    /// Exchanges (or full segments) to be measured.
    pub packets: u64,
}

impl Args {
    /// Reads it.
    ///
    /// # Panics
    ///
    /// If it makes no sense.
    #[must_use]
    pub fn parse() -> Self {
        let mut all = Self { modes: Vec::new(), open: 1, active: 1, burst: 1, packets: 100_000 };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut number =
                || args.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{arg} needs a number"));
            match arg.as_str() {
                "--open" => all.open = number(),
                "--active" => all.active = number(),
                "--burst" => all.burst = number(),
                "--packets" => all.packets = number() as u64,
                _ => all.modes.push(arg),
            }
        }
        assert!(all.active >= 1 && all.active <= all.open && all.burst >= 1, "no such load");
        assert!(all.burst == 1 || all.active >= all.burst, "a connection has one request under way");
        all
    }

    /// Whether the word is on the command line.
    #[must_use]
    pub fn has(&self, word: &str) -> bool {
        self.modes.iter().any(|mode| mode == word)
    }
}
