//! Scripts: which segments come and what the engine must do about them, line by line, in virtual time.
//!
//! The language is that of `tests/tcp_scripts/README.md`. A script is read as a whole ([`parse`]) and then run against
//! an engine of its own ([`run`]); every frame that the engine sends must be expected, in order and at its time, and
//! every payload byte that it sends or delivers is compared with a pattern.

mod info;
mod matching;
mod parse;
mod run;
mod settings;
mod tests;

use super::frame::Opt;
use std::net::SocketAddrV4;
use std::time::Duration;

/// A script that has been read.
#[derive(Debug, Default)]
struct Script {
    /// `config` lines, applied before the engine is made: name, value, line.
    settings: Vec<(String, String, usize)>,
    /// Peers that are not the usual one: label, their address, our port.
    flows: Vec<(String, SocketAddrV4, u16)>,
    steps: Vec<Step>,
}

/// One line.
#[derive(Debug)]
struct Step {
    line: usize,
    when: When,
    flow: String,
    action: Action,
}

/// When a line happens, or between which times.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    /// At this time of the script.
    At(Duration),
    /// So long after the line before.
    After(Duration),
    /// Between these, counted from the line before.
    Between(Duration, Duration),
    /// Whenever.
    Any,
}

#[derive(Debug)]
enum Action {
    /// A segment comes.
    Inject(Inject),
    /// An ICMP error comes.
    Icmp(Icmp),
    /// A segment, or several, must go.
    Expect(Expect),
    /// Nothing more may have gone.
    Nothing,
    /// The program does something; what must come of it.
    Call(Call, Outcome),
    /// Something must be true.
    Check(Check),
}

/// Sequence numbers and flags of a segment line.
#[derive(Clone, Debug, Default, PartialEq)]
struct Shape {
    flags: u8,
    seq: u32,
    len: u32,
    ack: Option<u32>,
    urgent: u16,
    /// Cut into segments of so many bytes.
    split: Option<u32>,
}

#[derive(Debug)]
struct Inject {
    shape: Shape,
    window: u16,
    options: Vec<Field>,
    /// Its checksum is wrong.
    bad_checksum: bool,
    /// Its payload is not that of the stream.
    garbled: bool,
    /// It comes in one burst with the next.
    held: bool,
}

#[derive(Debug)]
struct Icmp {
    kind: u8,
    code: u8,
    mtu: u32,
    /// The segment it complains of.
    shape: Shape,
}

#[derive(Debug)]
struct Expect {
    shape: Shape,
    window: Option<Bound>,
    options: Option<Vec<Field>>,
    dont_fragment: Option<bool>,
    /// Sequence numbers are as on the wire, not relative.
    raw: bool,
}

/// One option in a script, its numbers not yet resolved.
#[derive(Clone, Debug, PartialEq)]
enum Field {
    Plain(Opt),
    /// Value and echo.
    Timestamp(Number, Number),
    /// Blocks relative to the initial sequence number.
    Sack(Vec<(u32, u32)>),
    /// Any options, or none.
    Rest,
}

/// A timestamp in a script.
#[derive(Clone, Debug, PartialEq)]
enum Number {
    Any,
    Is(u32),
    /// A name, bound by its first use, and what is added to it.
    Named(String, i64),
}

/// What a number must be.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bound {
    least: f64,
    most: f64,
}

#[derive(Clone, Debug, PartialEq)]
enum Call {
    Listen {
        port: u16,
        backlog: Option<usize>,
        settings: Vec<(String, String)>,
    },
    Accept,
    Unlisten,
    Connect {
        port: Option<u16>,
        settings: Vec<(String, String)>,
    },
    Write(usize),
    Read(usize),
    /// Reads until there is no more.
    Drain(usize),
    Shutdown(std::net::Shutdown),
    Close,
    Abort,
    Set(String, String),
    /// The network card takes so many more frames.
    Room(usize),
    /// Forgets the initial sequence number of our side: another connection begins.
    Forget,
}

/// What a call returns.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Fine,
    Count(usize),
    End,
    Error(String),
}

#[derive(Clone, Debug, PartialEq)]
enum Check {
    State(String),
    /// Why it is closed; "none" if it is not.
    Error(String),
    Events(String),
    /// That a listener has connections to accept, or has not.
    Acceptable(bool),
    Counter(String, Bound),
    Info(String, Bound),
    Readable(usize),
    /// Frames that the engine keeps.
    Kept(usize),
    Orphans(usize),
    /// The initial sequence number gets a name, or lies so far after one that has it.
    IsnIs(String),
    IsnAfter(String, Bound),
    /// It is nowhere near one that has a name.
    IsnUnlike(String),
    /// Nothing is left: no connection, no record, no frame, no deadline.
    Clean,
}
