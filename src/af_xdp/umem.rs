//! The UMEM: a pool of frames that is registered with the kernel, and the division of its frames between those who
//! draw on it.
//!
//! Half of the frames are for receiving, the other half for sending and for what the program holds on to. The receiving
//! half is shared out evenly between all queues of all sockets on the UMEM. A queue never has more than its share with
//! the kernel on the receive side (fill and rx ring together), so however many packets arrive, there are frames to send
//! with; and as sockets come and go the shares change, and each queue follows as its traffic goes on.

use super::config::Config;
use super::plan;
use super::sys::{self, UmemShape};
use crate::errors::{Error, Result};
use crate::pool::{Memory, Pool};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Memory that sockets share. Lives as long as one of them; the pool in it as long as a context or token needs it.
#[derive(Debug)]
pub(super) struct Umem {
    pool: Arc<Pool>,
    shape: UmemShape,
    tx_room: usize,
    /// Queues of all sockets on it.
    queues: AtomicU32,
    /// Frames that each of them may have with the kernel to receive into.
    share: AtomicU32,
}

impl Umem {
    /// Memory and pool; nothing is registered yet.
    pub(super) fn new(config: &Config) -> Result<Arc<Self>> {
        let geometry = plan::geometry(config);
        let len = geometry.bytes()?;
        let pool = Pool::new(geometry, Memory::mapped(len, config.hugepages)?)?;
        let (flags, tx_metadata) = plan::umem_flags(config);
        let shape = UmemShape { len, chunk: config.frame_size, flags, tx_metadata };
        let tx_room = (tx_metadata as usize).next_multiple_of(64);
        Ok(Arc::new(Self { pool, shape, tx_room, queues: AtomicU32::new(0), share: AtomicU32::new(0) }))
    }

    /// Makes it the UMEM of a socket, to be shared by others.
    pub(super) fn register(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        sys::register_umem(fd, self.pool.memory(), self.shape)
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Chunks, those of big frames included, and the logarithm of their size.
    pub(super) fn chunks(&self) -> (usize, u32) {
        (self.shape.len / self.shape.chunk as usize, self.shape.chunk.trailing_zeros())
    }

    /// Bytes of a chunk.
    pub(super) fn chunk(&self) -> u32 {
        self.shape.chunk
    }

    /// Bytes before every sent packet that belong to its metadata; 0 without checksum offload.
    pub(super) fn tx_metadata(&self) -> u32 {
        self.shape.tx_metadata
    }

    /// Bytes left free before every packet that is to be sent: its metadata, rounded up to a cache line.
    #[inline(always)]
    pub(super) fn tx_room(&self) -> usize {
        self.tx_room
    }

    /// Whether the kernel computes checksums of sent packets in software in copy mode.
    pub(super) fn software_checksum(&self) -> bool {
        self.shape.flags & libc::XDP_UMEM_TX_SW_CSUM != 0
    }

    /// A socket with so many queues joins.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] if there are too few frames for all of them.
    pub(super) fn join(&self, queues: u32) -> Result<()> {
        let all = self.queues.fetch_add(queues, Ordering::Relaxed) + queues;
        let frames = self.pool.geometry().frames;
        if frames < 4 * all as usize {
            self.leave(queues);
            return Err(Error::BadOption {
                option: "frames",
                value: frames.to_string(),
                expected: format!("at least {} for {all} queues: 4 each, better 1024", 4 * all),
            });
        }
        self.divide(all);
        Ok(())
    }

    /// And leaves.
    pub(super) fn leave(&self, queues: u32) {
        let all = self.queues.fetch_sub(queues, Ordering::Relaxed) - queues;
        self.divide(all);
    }

    fn divide(&self, queues: u32) {
        let half = self.pool.geometry().frames as u32 / 2;
        self.share.store(half / queues.max(1), Ordering::Relaxed);
    }

    /// Frames that a queue may have with the kernel to receive into.
    #[inline(always)]
    pub(super) fn share(&self) -> u32 {
        self.share.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_frames_shared_evenly() {
        let umem = Umem::new(&Config::new("eth0").frames(64).frame_size(2048)).unwrap();
        umem.join(1).unwrap();
        assert_eq!(umem.share(), 32);
        umem.join(3).unwrap();
        assert_eq!(umem.share(), 8);
        umem.leave(1);
        assert_eq!(umem.share(), 10);
        let error = umem.join(14).unwrap_err().to_string();
        assert!(error.contains("frames=64") && error.contains("at least 68 for 17 queues"), "{error}");
        assert_eq!(umem.share(), 10, "who was refused has no share");
    }
}
