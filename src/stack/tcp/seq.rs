//! Sequence numbers: 32 bits that wrap (RFC 9293, 3.4).

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// A sequence number. Comparisons are modulo 2³²: `a` is before `b` if the way from `a` forward to `b` is the shorter one.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Seq(pub(crate) u32);

impl Seq {
    /// How far it is from `earlier` forward to here; wraps.
    #[inline(always)]
    pub(crate) const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Whether this comes before `other`.
    #[inline(always)]
    pub(crate) const fn before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Whether this is `other` or comes before it.
    #[inline(always)]
    pub(crate) const fn at_or_before(self, other: Self) -> bool {
        !other.before(self)
    }

    /// Whether this comes after `other`.
    #[inline(always)]
    pub(crate) const fn after(self, other: Self) -> bool {
        other.before(self)
    }

    /// Whether this is `other` or comes after it.
    #[inline(always)]
    pub(crate) const fn at_or_after(self, other: Self) -> bool {
        !self.before(other)
    }

    /// The later of the two.
    #[inline(always)]
    pub(crate) fn max(self, other: Self) -> Self {
        if self.before(other) { other } else { self }
    }

    /// The earlier of the two.
    #[inline(always)]
    pub(crate) fn min(self, other: Self) -> Self {
        if self.before(other) { self } else { other }
    }
}

impl Add<u32> for Seq {
    type Output = Self;

    #[inline(always)]
    fn add(self, by: u32) -> Self {
        Self(self.0.wrapping_add(by))
    }
}

impl AddAssign<u32> for Seq {
    #[inline(always)]
    fn add_assign(&mut self, by: u32) {
        *self = *self + by;
    }
}

impl Sub<u32> for Seq {
    type Output = Self;

    #[inline(always)]
    fn sub(self, by: u32) -> Self {
        Self(self.0.wrapping_sub(by))
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
