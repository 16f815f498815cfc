use super::sink::{Out, Outgoing};
use super::stats::Counters;
use crate::api::{Context, Socket};
use crate::mem::{MemFlags, Sock};
use crate::stack::{Full, Instant, Sink};

struct Desk {
    socket: Sock,
    outgoing: Outgoing,
    counters: Counters,
}

impl Desk {
    fn new(spec: &str) -> Self {
        let socket = Sock::create(spec, None, MemFlags::default()).unwrap();
        Self { socket, outgoing: Outgoing::default(), counters: Counters::default() }
    }

    fn out(&mut self) -> Out<'_, Sock> {
        Out {
            socket: &self.socket,
            outgoing: &mut self.outgoing,
            counters: &mut self.counters,
            tap: None,
            now: Instant::ZERO,
            offload: false,
        }
    }

    /// Sends a frame with a number in it.
    fn emit(&mut self, number: u8) -> Result<(), Full> {
        self.out().emit(60, |frame| frame.fill(number))
    }
}

/// The numbers of the frames that have come.
fn numbers(socket: &Sock) -> Vec<u8> {
    std::iter::from_fn(|| socket.recv().ok().map(|(packet, _)| packet[59])).collect()
}

#[test]
fn what_was_written_is_neither_lost_nor_overtaken_when_the_ring_is_full() {
    let mut desk = Desk::new("mem:sink-full?full=refuse");
    let peer = Sock::create("mem:sink-full?queue=2", None, MemFlags::default()).unwrap();
    let mut written = Vec::new();
    let mut number = 0;
    // Two into the ring, one that waits; then no room, and nothing is written.
    while desk.emit(number).is_ok() {
        written.push(number);
        number += 1;
        assert!(number < 10);
    }
    assert!(desk.outgoing.is_waiting());
    assert_eq!(desk.out().emit(60, |_| unreachable!("nothing is written without room")), Err(Full));
    assert!(desk.counters.tx_full > 0);
    let mut read = numbers(&peer);
    assert_eq!(read, written[..written.len() - 1]);
    assert!(desk.out().catch_up());
    for number in [100, 101] {
        let _ = desk.emit(number);
    }
    read.extend(numbers(&peer));
    assert!(desk.out().catch_up());
    read.extend(numbers(&peer));
    written.extend([100, 101]);
    assert_eq!(read, written);
    assert_eq!(desk.counters.tx_errors, 0);
}

#[test]
fn without_a_frame_there_is_no_room() {
    let mut desk = Desk::new("mem:sink-empty?frames=4");
    let peer = Sock::create("mem:sink-empty?frames=4", None, MemFlags::default()).unwrap();
    let held: Vec<_> = std::iter::from_fn(|| desk.socket.alloc(60).ok().map(crate::api::Payload::into_token)).collect();
    assert_eq!(held.len(), 4);
    assert_eq!(desk.out().emit(60, |_| unreachable!("there is no frame")), Err(Full));
    for token in held {
        drop(desk.socket.context().packet(token));
    }
    assert_eq!(desk.emit(7), Ok(()));
    assert_eq!(numbers(&peer), [7]);
}

#[test]
fn what_does_not_fit_a_frame_is_lost_and_told() {
    let mut desk = Desk::new("mem:sink-long?frame_size=100");
    let peer = Sock::create("mem:sink-long?frame_size=100", None, MemFlags::default()).unwrap();
    let mut written = false;
    assert_eq!(desk.out().emit(101, |_| written = true), Ok(()));
    assert!(written);
    assert_eq!(desk.counters.tx_errors, 1);
    assert_eq!(desk.outgoing.error.as_deref(), Some("Too big packet: 101"));
    assert_eq!(desk.emit(1), Ok(()));
    assert_eq!(numbers(&peer), [1]);
}
