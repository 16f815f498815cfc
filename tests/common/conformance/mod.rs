//! What every backend must do, written once.
//!
//! A [`Rig`] makes two connected sockets of a backend; [`conformance_suite!`](crate::conformance_suite) makes a test of
//! every case. Each case ends with every frame at home.

#![allow(unsafe_code)]

mod ownership;
mod report;
mod transport;

pub use ownership::*;
pub use report::*;
pub use transport::*;

use nethuns_rs::api::{Batch, Context, Interest, Payload, Socket, Token};
use nethuns_rs::errors::{Error, Refused};
use nethuns_rs::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Long enough for anything on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// A backend to be examined.
pub trait Rig {
    type Sock: Socket + AsFd + 'static;

    /// Two sockets that hear each other and nobody else, with small pools.
    fn pair(&self) -> (Self::Sock, Self::Sock);

    /// What holds of it.
    fn facts(&self) -> Facts;

    /// A second socket on the pool of `socket`, where pools can be shared: on the same wire or another one.
    fn sharing(&self, socket: &Self::Sock) -> Option<Self::Sock> {
        let _ = socket;
        None
    }

    /// Opens a port, for specs that must be refused.
    fn open(&self, spec: &str, queue: Option<usize>) -> nethuns_rs::Result<Self::Sock>;
}

/// What holds of a backend.
#[derive(Clone)]
pub struct Facts {
    /// The name in its `Mode`.
    pub backend: &'static str,
    /// The longest packet that it carries.
    pub max_len: usize,
    /// A length that it refuses.
    pub too_big: usize,
    /// Packets that may be on their way to one socket without loss.
    pub window: usize,
    /// Frames of a pool.
    pub frames: usize,
    /// Both sockets of a pair draw on one pool, and packets pass without a copy.
    pub one_pool: bool,
    /// Specs that must be refused, each with a part of the message.
    pub wrong: Vec<(&'static str, &'static str)>,
}

/// A packet that nothing else on a link would send: local experimental Ethertype, bytes that depend on all of it.
pub fn packet(seed: usize, len: usize) -> Vec<u8> {
    let header = [0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x88, 0xb5];
    let body = (0..len.saturating_sub(14)).map(|i| (i.wrapping_mul(31) ^ seed.wrapping_mul(97) ^ (seed >> 3)) as u8);
    let mut bytes: Vec<u8> = header.into_iter().chain(body).collect();
    if let Some(number) = bytes.get_mut(14..18) {
        number.copy_from_slice(&(seed as u32).to_be_bytes());
    }
    bytes
}

fn seed_of(bytes: &[u8]) -> usize {
    u32::from_be_bytes(bytes[14..18].try_into().unwrap()) as usize
}

/// Sends a packet, however often it takes.
fn send(socket: &impl Socket, bytes: &[u8]) {
    let start = Instant::now();
    while let Err(error) = socket.send(bytes) {
        assert!(error.is_transient(), "send: {error}");
        assert!(start.elapsed() < PATIENCE, "send: still {error}");
        socket.flush();
        std::thread::yield_now();
    }
    socket.flush();
}

/// The next packet.
fn receive<S: Socket>(socket: &S) -> Payload<'_, S::Context> {
    let start = Instant::now();
    loop {
        match socket.recv() {
            Ok((packet, _)) => return packet,
            Err(Error::NoPacket) => {}
            Err(error) => panic!("recv: {error}"),
        }
        assert!(start.elapsed() < PATIENCE, "no packet came; {:?}", socket.stats());
        socket.wait(Interest::Readable, Some(Duration::from_millis(20))).unwrap();
    }
}

/// Receives tokens by `step` until there are `n`, and no more come.
fn gather(socket: &impl Socket, n: usize, mut step: impl FnMut(&mut Vec<Token>)) -> Vec<Token> {
    let (start, mut tokens) = (Instant::now(), Vec::new());
    while tokens.len() < n {
        step(&mut tokens);
        assert!(start.elapsed() < PATIENCE, "{} of {n} came; {:?}", tokens.len(), socket.stats());
        if tokens.len() < n {
            socket.wait(Interest::Readable, Some(Duration::from_millis(20))).unwrap();
        }
    }
    assert_eq!(tokens.len(), n, "more came than were sent");
    tokens
}

/// Nothing is left on loan, nothing is left to be sent.
fn settled(sockets: &[&impl Socket]) {
    for socket in sockets {
        assert!(socket.drain(PATIENCE).unwrap(), "not drained: {:?}", socket.stats());
    }
    for socket in sockets {
        let start = Instant::now();
        while socket.frames_in_flight().is_some_and(|n| n != 0) && start.elapsed() < Duration::from_secs(1) {
            socket.flush();
            let _ = socket.recv_each(0, |_, _| ());
        }
        assert_eq!(socket.frames_in_flight().unwrap_or(0), 0, "frames are on loan although all were dropped");
    }
}

/// Receives and drops whatever is still coming.
fn empty(socket: &impl Socket) {
    while socket.wait(Interest::Readable, Some(Duration::from_millis(2))).unwrap() {
        while let Ok(packet) = socket.recv() {
            drop(packet);
        }
    }
}

/// A wire of another backend, with frames longer than those of any rig: its tokens are foreign everywhere.
fn foreign(frame_size: usize) -> mem::Sock {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("mem:conformance-foreign-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    mem::Sock::create(&name, None, mem::MemFlags { frames: 16, frame_size, ..mem::MemFlags::default() }).unwrap()
}

fn filled<'a, S: Socket>(socket: &'a S, bytes: &[u8]) -> Payload<'a, S::Context> {
    let start = Instant::now();
    loop {
        match socket.alloc(bytes.len()) {
            Ok(mut payload) => {
                payload.copy_from_slice(bytes);
                return payload;
            }
            Err(error) => assert!(error.is_transient() && start.elapsed() < PATIENCE, "alloc: {error}"),
        }
        socket.flush();
    }
}

/// A module of tests, one for each case: `conformance_suite!(name, expression of type Option<impl Rig>)`.
#[macro_export]
macro_rules! conformance_suite {
    ($name:ident, $rig:expr) => {
        mod $name {
            use super::*;
            $crate::conformance_suite!(@cases $rig;
                bytes_arrive_as_they_were_sent
                batches_arrive_in_order_over_many_laps
                every_way_to_receive_gives_the_same
                a_callback_may_send
                frames_are_filled_in_place
                tokens_are_sent_and_sent_on
                a_list_of_tokens_is_accepted_in_part
                a_packet_too_big_is_refused_and_harms_nothing
                a_refused_packet_comes_back
                a_pool_run_dry_is_an_error_and_recovers
                received_packets_that_are_kept_stop_nothing_for_ever
                dropped_tokens_come_home
                payloads_side_by_side_are_disjoint
                packets_outlive_their_socket
                tokens_left_in_a_channel_go_home
                a_foreign_token_is_refused_not_lost
                waiting_ends_with_a_packet_or_the_time
                the_descriptor_is_readable_while_packets_wait
                statistics_are_exact
                draining_completes_what_was_sent
                a_shared_pool_needs_no_copy
                sockets_move_between_threads
                packets_are_released_on_other_threads
                wrong_specs_are_refused_with_a_reason
            );
        }
    };
    (@cases $rig:expr; $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                let name = concat!(module_path!(), "::", stringify!($case));
                if let Some(rig) = $rig(name) {
                    common::conformance::$case(&rig);
                }
            }
        )*
    };
}
