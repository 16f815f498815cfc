//! Headers as they are on the wire: views that check once and cannot panic later, and emitters.
#![forbid(unsafe_code)]
