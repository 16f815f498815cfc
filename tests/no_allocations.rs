//! Nothing is allocated per packet once things are running: an allocator that counts says so.
#![allow(unsafe_code)]

mod common;

use nethuns_rs::api::{Batch, Interest, Socket, Token};
use nethuns_rs::mem::faults::{Faults, Plan, Profile};
use nethuns_rs::mem::{MemFlags, Sock};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Counts what each thread allocates, so that tests beside each other do not meet.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no counter any more, and nothing to measure.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: everything is passed on to the system's allocator; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(block, layout, size) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // Giving back is not free either, but what was never taken is never given back.
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `round` until it is warm, then counts over 500 more.
fn steady(what: &str, mut round: impl FnMut()) {
    for _ in 0..300 {
        round();
    }
    let before = COUNT.get();
    for _ in 0..500 {
        round();
    }
    assert_eq!(COUNT.get() - before, 0, "{what}: allocations in 500 rounds");
}

#[test]
fn the_counter_counts() {
    let before = COUNT.get();
    let mut bytes = std::hint::black_box(Vec::<u8>::with_capacity(10));
    bytes.resize(1000, 0);
    drop(std::hint::black_box(bytes));
    assert_eq!(COUNT.get() - before, 2);
}

const BURST: usize = 32;

fn frame() -> [u8; 60] {
    let mut frame = [0x33; 60];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
    frame
}

/// Receives `n` packets into `sink`, waiting for them.
fn receive(socket: &impl Socket, n: usize, mut sink: impl FnMut(Token)) {
    let (start, mut got) = (Instant::now(), 0);
    while got < n {
        match socket.recv_each(n - got, |token, _| sink(token)).unwrap() {
            0 => {
                assert!(start.elapsed() < Duration::from_secs(10), "{got} of {n} came");
                socket.wait(Interest::Readable, Some(Duration::from_millis(1))).unwrap();
            }
            more => got += more,
        }
    }
}

/// Every way to move a packet from `a` to `b`.
fn everything_between<S: Socket>(name: &str, a: &S, b: &S) {
    let frame = frame();
    let slices = [&frame[..]; BURST];
    steady(&format!("{name}: send, recv"), || {
        a.send(&frame).unwrap();
        a.flush();
        loop {
            if let Ok((packet, _)) = b.recv() {
                assert_eq!(packet[14], 0x33);
                break;
            }
            b.wait(Interest::Readable, Some(Duration::from_millis(1))).unwrap();
        }
    });
    steady(&format!("{name}: nothing to receive"), || assert!(b.recv().is_err()));
    steady(&format!("{name}: send_batch, recv_each, payloads dropped"), || {
        assert_eq!(a.send_batch(slices).unwrap(), BURST);
        a.flush();
        receive(b, BURST, |token| drop(token.consume(b.context())));
    });
    steady(&format!("{name}: tokens dropped without a context"), || {
        assert_eq!(a.send_batch(slices).unwrap(), BURST);
        a.flush();
        receive(b, BURST, drop);
    });
    let mut pairs = Vec::with_capacity(BURST);
    steady(&format!("{name}: recv_batch into a Vec with room"), || {
        assert_eq!(a.send_batch(slices).unwrap(), BURST);
        a.flush();
        while pairs.len() < BURST {
            let missing = BURST - pairs.len();
            b.recv_batch(&mut pairs, missing).unwrap();
        }
        pairs.clear();
    });
    steady(&format!("{name}: alloc, send_payload"), || {
        for _ in 0..BURST {
            let mut payload = a.alloc(60).unwrap();
            payload.copy_from_slice(&frame);
            a.send_payload(payload).map_err(|refused| refused.error).unwrap();
        }
        a.flush();
        receive(b, BURST, |token| drop(token.consume(b.context())));
    });
    let mut tokens = Vec::with_capacity(BURST);
    steady(&format!("{name}: tokens there and back"), || {
        for _ in 0..BURST {
            let mut payload = a.alloc(60).unwrap();
            payload.copy_from_slice(&frame);
            tokens.push(payload.into_token());
        }
        assert_eq!(a.send_tokens(&mut tokens).unwrap(), BURST);
        a.flush();
        receive(b, BURST, |token| tokens.push(token));
        assert_eq!(b.send_tokens(&mut tokens).unwrap(), BURST);
        b.flush();
        receive(a, BURST, |token| drop(token.consume(a.context())));
    });
    steady(&format!("{name}: wait, stats, frames_in_flight"), || {
        b.wait(Interest::Readable, Some(Duration::ZERO)).unwrap();
        assert_eq!(b.stats().tx_pending() + b.frames_in_flight().unwrap_or(0) as u64, 0);
    });
    let (pusher, popper) = nethuns_rs::api::Channel::<BURST>::from(flume::bounded(4)).split(b.context().clone());
    steady(&format!("{name}: through a channel"), || {
        assert_eq!(a.send_batch(slices).unwrap(), BURST);
        a.flush();
        let mut batch = Batch::new();
        receive(b, BURST, |token| batch.push(token));
        pusher.push(batch).unwrap();
        assert_eq!(popper.pop().unwrap().map(|packet| packet.len()).sum::<usize>(), 60 * BURST);
    });
}

#[test]
fn mem() {
    let make = || Sock::create("mem:no-allocations", None, MemFlags::default()).unwrap();
    everything_between("mem", &make(), &make());
}

#[test]
fn mem_of_few_frames() {
    let make = || Sock::create("mem:no-allocations-few?frames=256", None, MemFlags::default()).unwrap();
    everything_between("mem of few frames", &make(), &make());
}

#[test]
fn any_over_mem() {
    let make = || nethuns_rs::any::Sock::create("mem:no-allocations-any", None, Default::default()).unwrap();
    everything_between("any over mem", &make(), &make());
}

#[test]
fn faults_that_queue_over_mem() {
    let profile = Profile { delay: Duration::from_nanos(1), ..Profile::default() };
    let make = || {
        let socket = Sock::create("mem:no-allocations-faults", None, MemFlags::default()).unwrap();
        Faults::new(socket, Plan { rx: profile.clone(), ..Plan::default() }).unwrap()
    };
    everything_between("faults over mem", &make(), &make());
}

#[cfg(all(target_os = "linux", feature = "pcap"))]
#[test]
fn pcap() {
    let Some(lab) = common::netns::Lab::enter("no_allocations::pcap") else { return };
    lab.veth("left", "right", 1);
    let flags = nethuns_rs::pcap::PcapFlags { buffer_count: 256, ..Default::default() };
    let make = |end| nethuns_rs::pcap::Sock::create(end, None, flags.clone()).unwrap();
    everything_between("pcap", &make("left"), &make("right"));
}

#[cfg(all(target_os = "linux", feature = "af_xdp"))]
#[test]
fn af_xdp() {
    let Some(lab) = common::netns::Lab::enter("no_allocations::af_xdp") else { return };
    lab.veth("left", "right", 1);
    let make = |end| nethuns_rs::af_xdp::Sock::create(end, None, Default::default()).unwrap();
    everything_between("af_xdp", &make("left"), &make("right"));
}

#[cfg(all(target_os = "linux", feature = "af_xdp"))]
#[test]
fn any_over_af_xdp() {
    let Some(lab) = common::netns::Lab::enter("no_allocations::any_over_af_xdp") else { return };
    lab.veth("left", "right", 1);
    let make = |end| nethuns_rs::any::Sock::create(end, None, Default::default()).unwrap();
    everything_between("any over af_xdp", &make("af_xdp:left"), &make("af_xdp:right"));
}

#[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
#[test]
fn netmap() {
    use nethuns_rs::netmap::Sock;
    let make = |port: &str| Sock::create(&format!("netmap:{port}?emulated"), None, Default::default()).unwrap();
    everything_between("netmap pipe", &make("no-allocations{1"), &make("no-allocations}1"));
    everything_between("netmap VALE", &make("vale-no-allocations:a"), &make("vale-no-allocations:b"));
}

#[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
#[test]
fn any_over_netmap() {
    let make = |end: char| {
        let spec = format!("netmap:no-alloc-any{end}1?emulated");
        nethuns_rs::any::Sock::create(&spec, None, Default::default()).unwrap()
    };
    everything_between("any over netmap", &make('{'), &make('}'));
}
