//! Where the services listen: RFC 862 to 864, and one for connections that live for a single request.

pub const ECHO: u16 = 7;
pub const DISCARD: u16 = 9;
pub const CHARGEN: u16 = 19;
pub const ONCE: u16 = 80;
