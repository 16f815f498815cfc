//! DPDK's packet buffer, by the offsets of its fields.
#![allow(unsafe_code)]

use dpdk_sys as sys;

/// A pointer to an mbuf. Says nothing about who owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Mbuf(pub(super) *mut sys::rte_mbuf);

// The eight bytes that drivers write at once when they arm a buffer: data_off, refcnt, nb_segs, port.
const REARM: usize = sys::ND_MBUF_DATA_OFF as usize;
const _: () = assert!(
    sys::ND_MBUF_REFCNT as usize == REARM + 2
        && sys::ND_MBUF_NB_SEGS as usize == REARM + 4
        && sys::ND_MBUF_PORT as usize == REARM + 6
        && REARM.is_multiple_of(8)
);
/// Reference count and number of segments of a frame that is whole and ours alone, as they lie in the rearm word.
const SOLE: u64 = 1 << 16 | 1 << 32; // the middle two of four: the same in either byte order
const SOLE_MASK: u64 = 0xffff << 16 | 0xffff << 32;
/// The port of a frame that came from none.
const NO_PORT: u16 = u16::MAX;

macro_rules! fields {
    ($($(#[$doc:meta])* $get:ident / $set:ident: $ty:ty = $offset:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// The mbuf is alive and the caller's, or being lent by its owner.
        #[inline(always)]
        pub(super) unsafe fn $get(self) -> $ty {
            // SAFETY: as the caller vouches; the offset and the type are those of the header compiled against.
            unsafe { self.0.byte_add(sys::$offset as usize).cast::<$ty>().read() }
        }

        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// The mbuf is alive and the caller's alone.
        #[inline(always)]
        pub(super) unsafe fn $set(self, value: $ty) {
            // SAFETY: as above.
            unsafe { self.0.byte_add(sys::$offset as usize).cast::<$ty>().write(value) }
        }
    )*};
}

#[allow(dead_code, reason = "every field has both halves, used or not")]
impl Mbuf {
    fields! {
        /// Where its buffer begins.
        buf_addr / set_buf_addr: *mut u8 = ND_MBUF_BUF_ADDR;
        /// Where in it the packet begins.
        data_off / set_data_off: u16 = ND_MBUF_DATA_OFF;
        /// How long its buffer is.
        buf_len / set_buf_len: u16 = ND_MBUF_BUF_LEN;
        /// What the engine found, or is to do.
        ol_flags / set_ol_flags: u64 = ND_MBUF_OL_FLAGS;
        /// What kind of packet the engine took it for.
        packet_type / set_packet_type: u32 = ND_MBUF_PACKET_TYPE;
        /// Bytes of the packet, over all segments.
        pkt_len / set_pkt_len: u32 = ND_MBUF_PKT_LEN;
        /// Bytes of this segment.
        data_len / set_data_len: u16 = ND_MBUF_DATA_LEN;
        /// VLAN tag.
        vlan_tci / set_vlan_tci: u16 = ND_MBUF_VLAN_TCI;
        /// Outer VLAN tag.
        vlan_tci_outer / set_vlan_tci_outer: u16 = ND_MBUF_VLAN_TCI_OUTER;
        /// RSS hash.
        rss / set_rss: u32 = ND_MBUF_RSS;
        /// The mempool it came from.
        pool / set_pool: *mut sys::rte_mempool = ND_MBUF_POOL;
        /// Lengths of the headers, for offloads.
        tx_offload / set_tx_offload: u64 = ND_MBUF_TX_OFFLOAD;
    }

    /// The packet's first byte.
    ///
    /// # Safety
    ///
    /// As for reading a field.
    #[inline(always)]
    pub(super) unsafe fn data(self) -> *mut u8 {
        // SAFETY: the data offset is kept within the buffer by whoever filled the mbuf.
        unsafe { self.buf_addr().wrapping_add(usize::from(self.data_off())) }
    }

    /// How many bytes the buffer has from the packet's first byte on.
    ///
    /// # Safety
    ///
    /// As for reading a field.
    #[inline(always)]
    pub(super) unsafe fn room(self) -> usize {
        // SAFETY: as the caller vouches.
        unsafe { usize::from(self.buf_len()).saturating_sub(usize::from(self.data_off())) }
    }

    /// Whether it is one whole frame of `pool`, its buffer its own, with no other reference: what a token may lend.
    ///
    /// # Safety
    ///
    /// As for reading a field.
    #[inline(always)]
    pub(super) unsafe fn is_sole(self, pool: *mut sys::rte_mempool) -> bool {
        // SAFETY: as the caller vouches; aligned, see the assertion above.
        let rearm = unsafe { self.0.byte_add(REARM).cast::<u64>().read() };
        const BORROWED: u64 = sys::ND_MBUF_F_INDIRECT | sys::ND_MBUF_F_EXTERNAL;
        // SAFETY: as the caller vouches.
        unsafe { rearm & SOLE_MASK == SOLE && self.pool() == pool && self.ol_flags() & BORROWED == 0 }
    }

    /// Makes it an empty packet that begins `headroom` bytes into its buffer.
    ///
    /// # Safety
    ///
    /// It is the caller's alone, and direct.
    #[inline(always)]
    pub(super) unsafe fn reset(self, headroom: u16) {
        // SAFETY: as the caller vouches. The next pointer is null already: a mempool holds single segments only.
        unsafe {
            self.0.byte_add(REARM).cast::<[u16; 4]>().write([headroom, 1, 1, NO_PORT]);
            self.set_ol_flags(0);
        }
    }

    /// Sets both lengths of a single segment.
    ///
    /// # Safety
    ///
    /// It is the caller's alone; `len` is within its [`room`](Self::room).
    #[inline(always)]
    pub(super) unsafe fn set_len(self, len: u32) {
        // SAFETY: as the caller vouches; room is at most 65535.
        unsafe {
            self.set_pkt_len(len);
            self.set_data_len(len as u16);
        }
    }
}
