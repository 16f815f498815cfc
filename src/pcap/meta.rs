//! What libpcap tells of a packet.

use super::ffi::Header;
use crate::api::{Metadata, MetadataType};

/// What libpcap tells of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// Packet arrival timestamp: of the kernel on an interface, as recorded in a file. In microseconds, as the type has
    /// it; [`timestamp_ns`](Metadata::timestamp_ns) has the nanoseconds.
    pub timestamp: libc::timeval,
    /// Original packet length (before truncation).
    pub len: u32,
    /// Captured length: that of the packet delivered.
    pub caplen: u32,
    /// What `timestamp` has no room for: nanoseconds beyond the microsecond.
    nanos: u16,
}

impl Meta {
    /// `nanos` says whether the header's `tv_usec` counts nanoseconds; `delivered` is what is left after cutting.
    #[inline]
    pub(super) fn new(header: &Header, nanos: bool, delivered: usize) -> Self {
        let mut timestamp = header.ts;
        let mut rest = 0;
        if nanos {
            rest = (timestamp.tv_usec % 1000).max(0) as u16;
            timestamp.tv_usec /= 1000;
        }
        Self { timestamp, len: header.len, caplen: delivered as u32, nanos: rest }
    }
}

impl Metadata for Meta {
    #[inline]
    fn into_enum(self) -> MetadataType {
        MetadataType::Pcap(self)
    }

    /// `None` only for a time before 1970, which a damaged file may have.
    #[inline]
    fn timestamp_ns(&self) -> Option<u64> {
        let seconds = u64::try_from(self.timestamp.tv_sec).ok()?;
        let micros = u64::try_from(self.timestamp.tv_usec).ok()?;
        seconds.checked_mul(1_000_000_000)?.checked_add(micros.checked_mul(1000)?)?.checked_add(u64::from(self.nanos))
    }

    #[inline]
    fn wire_len(&self) -> Option<u32> {
        (self.len != self.caplen).then_some(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(seconds: i32, fraction: i32, nanos: bool) -> Meta {
        let ts = libc::timeval { tv_sec: seconds.into(), tv_usec: fraction.into() };
        Meta::new(&Header { ts, len: 100 }, nanos, 60)
    }

    #[test]
    fn no_nanosecond_is_lost() {
        let fine = meta(1_700_000_000, 123_456_789, true);
        assert_eq!((fine.timestamp.tv_usec, fine.timestamp_ns()), (123_456, Some(1_700_000_000_123_456_789)));
        assert_eq!(meta(1_700_000_000, 999_999, false).timestamp_ns(), Some(1_700_000_000_999_999_000));
        assert_eq!((fine.len, fine.caplen, fine.wire_len()), (100, 60, Some(100)));
    }

    #[test]
    fn a_time_that_makes_no_sense_is_none() {
        assert_eq!(meta(-1, 0, false).timestamp_ns(), None);
        assert_eq!(meta(0, -5_000, false).timestamp_ns(), None);
        assert_eq!(meta(0, -5, true).timestamp_ns(), Some(0), "as near as it gets");
    }
}
