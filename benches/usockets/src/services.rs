//! What the servers offer, the same on uSockets and in C.
#![allow(dead_code, reason = "each program uses a part of it")]

/// Sends back what comes (RFC 862).
pub const ECHO: u16 = 7;
/// Answers HTTP requests, all alike.
pub const HTTP: u16 = 80;
/// The same over TLS.
pub const HTTPS: u16 = 443;

pub const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 10.9.0.2\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";
pub const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!";
