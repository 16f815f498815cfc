//! What iperf3's two ends say to each other over the control connection.
//!
//! ```text
//!   client                                   server
//!   cookie (37 bytes) ───────────────────▶
//!                     ◀─────────────────── PARAM_EXCHANGE
//!   parameters (JSON) ───────────────────▶
//!                     ◀─────────────────── CREATE_STREAMS
//!   a connection per stream, each begins with the cookie
//!                     ◀─────────────────── TEST_START, TEST_RUNNING
//!   TEST_END          ───────────────────▶
//!                     ◀─────────────────── EXCHANGE_RESULTS
//!   results (JSON)    ───────────────────▶
//!                     ◀─────────────────── results (JSON), DISPLAY_RESULTS
//!   IPERF_DONE        ───────────────────▶
//! ```
//!
//! States are one byte, JSON follows its length in four bytes, most significant first. As observed with iperf 3.12, and
//! as its `iperf_api.h` names them.

use serde::{Deserialize, Serialize};

/// What a client calls itself: 36 letters and a zero.
pub const COOKIE: usize = 37;

/// Letters, not more.
pub const LONGEST_JSON: usize = 1 << 20;

pub const TEST_START: u8 = 1;
pub const TEST_RUNNING: u8 = 2;
pub const TEST_END: u8 = 4;
pub const PARAM_EXCHANGE: u8 = 9;
pub const CREATE_STREAMS: u8 = 10;
pub const EXCHANGE_RESULTS: u8 = 13;
pub const DISPLAY_RESULTS: u8 = 14;
pub const IPERF_DONE: u8 = 16;
/// -1: another test is running.
pub const ACCESS_DENIED: u8 = 0xff;
/// -2; two numbers of four bytes follow, iperf3's and the system's for what is wrong.
pub const SERVER_ERROR: u8 = 0xfe;

/// iperf3's number for "an unimplemented feature or option was selected".
pub const UNIMPLEMENTED: u32 = 13;

/// What the client wants, as far as it matters to a server.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Parameters {
    pub tcp: bool,
    /// Seconds at the beginning that do not count.
    pub omit: u32,
    pub parallel: u32,
    /// The server sends.
    pub reverse: bool,
    /// Both send, each over streams of its own.
    pub bidirectional: bool,
    /// Bytes per write.
    pub len: usize,
}

/// What the server has seen.
#[derive(Debug, Serialize)]
pub struct Results {
    pub cpu_util_total: f64,
    pub cpu_util_user: f64,
    pub cpu_util_system: f64,
    /// Whether what follows tells retransmits: 1, or -1 if the server sends nothing.
    pub sender_has_retransmits: i32,
    pub streams: Vec<StreamResult>,
}

/// Of one stream.
#[derive(Debug, Serialize)]
pub struct StreamResult {
    pub id: usize,
    pub bytes: u64,
    pub retransmits: i64,
    pub jitter: f64,
    pub errors: u32,
    pub packets: u32,
    pub start_time: f64,
    pub end_time: f64,
}

/// Streams are numbered 1, 3, 4, 5 and so on.
pub fn stream_number(place: usize) -> usize {
    if place == 0 { 1 } else { place + 2 }
}

/// With its length before it.
pub fn framed(results: &Results) -> Vec<u8> {
    let json = serde_json::to_vec(results).unwrap_or_default();
    let len = u32::try_from(json.len()).unwrap_or(0);
    [&len.to_be_bytes()[..], &json].concat()
}

/// Takes JSON out of what has come, if it is there whole. `Err`: it never will be.
pub fn take_json(input: &mut Vec<u8>) -> Result<Option<Vec<u8>>, ()> {
    let Some(len) = input.first_chunk::<4>().map(|len| u32::from_be_bytes(*len) as usize) else { return Ok(None) };
    if len > LONGEST_JSON {
        return Err(());
    }
    if input.len() < 4 + len {
        return Ok(None);
    }
    let json = input[4..4 + len].to_vec();
    input.drain(..4 + len);
    Ok(Some(json))
}
