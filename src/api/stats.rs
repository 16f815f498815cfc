//! Counters of a socket, the same names for every backend. All are totals since the socket was created.

/// What a socket has received, sent and lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Packets handed to the program.
    pub rx_packets: u64,
    /// Their bytes, as delivered.
    pub rx_bytes: u64,
    /// Of these, packets that were cut because they were longer than a frame.
    pub rx_truncated: u64,
    /// Packets that arrived and did not reach the program, by cause.
    pub rx_dropped: RxDrops,
    /// Packets accepted by `send` and its kin.
    pub tx_submitted: u64,
    /// Of these, packets whose transmission the engine has completed.
    pub tx_packets: u64,
    /// Bytes of the packets accepted.
    pub tx_bytes: u64,
    /// Accepted packets that never left, by cause.
    pub tx_dropped: TxDrops,
}

/// Packets lost on the way in, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RxDrops {
    /// The receive ring, socket buffer or queue was full: the program was too slow.
    pub ring_full: u64,
    /// No free frame to put the packet into: the program held too many, or the fill ring ran dry.
    pub no_frame: u64,
    /// Longer than the engine can deliver.
    pub oversize: u64,
    /// Dropped by the interface or its driver.
    pub interface: u64,
    /// Refused by the engine as malformed, or by its own error.
    pub invalid: u64,
    /// Dropped on purpose by a fault injector.
    pub injected: u64,
}

/// Packets lost on the way out after they were accepted, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TxDrops {
    /// The engine refused the descriptor or the packet.
    pub invalid: u64,
    /// A receiver's queue was full (in-memory wire).
    pub queue_full: u64,
    /// Nobody listened (in-memory wire).
    pub no_receiver: u64,
    /// The interface or the system call failed.
    pub interface: u64,
    /// Dropped on purpose by a fault injector.
    pub injected: u64,
}

impl RxDrops {
    /// Each cause with its name.
    #[must_use]
    pub fn causes(&self) -> [(&'static str, u64); 6] {
        [
            ("ring_full", self.ring_full),
            ("no_frame", self.no_frame),
            ("oversize", self.oversize),
            ("interface", self.interface),
            ("invalid", self.invalid),
            ("injected", self.injected),
        ]
    }

    /// All causes together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.causes().iter().map(|(_, n)| n).sum()
    }
}

impl TxDrops {
    /// Each cause with its name.
    #[must_use]
    pub fn causes(&self) -> [(&'static str, u64); 5] {
        [
            ("invalid", self.invalid),
            ("queue_full", self.queue_full),
            ("no_receiver", self.no_receiver),
            ("interface", self.interface),
            ("injected", self.injected),
        ]
    }

    /// All causes together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.causes().iter().map(|(_, n)| n).sum()
    }
}

impl Stats {
    /// Packets accepted for transmission of which nothing has been heard yet.
    #[must_use]
    pub fn tx_pending(&self) -> u64 {
        self.tx_submitted.saturating_sub(self.tx_packets + self.tx_dropped.total())
    }
}
