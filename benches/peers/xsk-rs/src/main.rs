//! The xsk-rs peer: the loops of `af_xdp_loop.c` written over `xsk-rs`, with the same command line.
//!
//! libxdp is told not to load its program: the trivial one of `raw_xsk.c` is attached instead, so that everybody runs
//! the same instructions in the kernel.

#[path = "../../raw/mod.rs"]
mod raw;

use raw::{Args, BATCH, FRAME_SIZE, FRAMES, RING, Source, measure};
use std::hint::black_box;
use std::io::Write;
use std::num::NonZeroU32;
use std::os::fd::AsRawFd;
use xsk_rs::config::{BindFlags, FrameSize, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

struct Port {
    tx: TxQueue,
    rx: RxQueue,
    fill: FillQueue,
    comp: CompQueue,
}

fn umem() -> (Umem, Vec<FrameDesc>) {
    let ring = QueueSize::new(RING).expect("a power of two");
    let config = UmemConfig::builder()
        .frame_size(FrameSize::new(FRAME_SIZE).expect("at least 2048"))
        .fill_queue_size(ring)
        .comp_queue_size(ring)
        .build()
        .expect("a UMEM's configuration");
    Umem::new(config, NonZeroU32::new(FRAMES).expect("not zero"), false).expect("a UMEM")
}

fn port(umem: &Umem, interface: &str) -> Port {
    let ring = QueueSize::new(RING).expect("a power of two");
    let config = SocketConfig::builder()
        .rx_queue_size(ring)
        .tx_queue_size(ring)
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .bind_flags(BindFlags::XDP_COPY | BindFlags::XDP_USE_NEED_WAKEUP)
        .build();
    for _ in 0..1000 {
        let name = interface.parse().expect("an interface's name");
        // SAFETY: no other socket of this UMEM is bound to this interface and queue.
        match unsafe { Socket::new(config, umem, &name, 0) } {
            Ok((tx, rx, rings)) => {
                let (fill, comp) = rings.expect("rings of its own");
                return Port { tx, rx, fill, comp };
            }
            // The kernel releases the queue of a socket that was just closed a moment later.
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(1)),
        }
    }
    panic!("cannot open {interface}");
}

/// Transmits what is queued: `wakeup` does not tell whether the kernel stopped at its budget, the completions do.
fn kick(tx: &TxQueue, comp: &mut CompQueue, sent: usize, done: &mut Vec<FrameDesc>) {
    let mut descs = [FrameDesc::default(); BATCH];
    let mut left = sent;
    while left > 0 {
        if tx.needs_wakeup() {
            tx.wakeup().expect("sendto");
        }
        // SAFETY: the queue is of the UMEM that the descriptors will be used with.
        let n = unsafe { comp.consume(&mut descs) };
        done.extend_from_slice(&descs[..n]);
        left -= n;
    }
}

#[inline(never)]
fn rx_burst(umem: &Umem, port: &mut Port, sum: &mut u64) -> usize {
    let mut descs = [FrameDesc::default(); BATCH];
    // SAFETY: the queues are of this UMEM; the frames go back only after they have been read.
    unsafe {
        let n = port.rx.consume(&mut descs);
        for desc in &descs[..n] {
            let data = umem.data(desc);
            let bytes = data.contents();
            let word = bytes.first_chunk().map_or(0, |word| u64::from_ne_bytes(*word));
            *sum = sum.wrapping_add(word).wrapping_add(bytes.len() as u64);
        }
        port.fill.produce(&descs[..n]);
        n
    }
}

#[inline(never)]
fn tx_burst(umem: &Umem, port: &mut Port, packet: &[u8], free: &mut Vec<FrameDesc>) -> usize {
    let mut descs = [FrameDesc::default(); BATCH];
    for desc in &mut descs {
        *desc = free.pop().expect("a free frame");
        // SAFETY: the frame is in no ring.
        let mut data = unsafe { umem.data_mut(desc) };
        data.cursor().write_all(packet).expect("a packet that fits");
    }
    // SAFETY: the frames are of this UMEM and in no other ring.
    let n = unsafe { port.tx.produce(&descs) };
    kick(&port.tx, &mut port.comp, n, free);
    n
}

#[inline(never)]
fn fwd_burst(umem: &Umem, from: &mut Port, to: &mut Port, free: &mut Vec<FrameDesc>) -> usize {
    let mut descs = [FrameDesc::default(); BATCH];
    // SAFETY: both ports are of this UMEM, and a frame is in one ring at a time.
    unsafe {
        let n = from.rx.consume(&mut descs);
        for desc in &mut descs[..n] {
            let mut data = umem.data_mut(desc);
            let (to, from) = data.contents_mut()[..12].split_at_mut(6);
            to.swap_with_slice(from);
        }
        let n = to.tx.produce(&descs[..n]);
        kick(&to.tx, &mut to.comp, n, free);
        from.fill.produce(free);
        free.clear();
        n
    }
}

fn main() {
    let args = Args::parse();
    let (umem, mut free) = umem();
    let ports: Vec<&str> = args.ports.iter().map(String::as_str).collect();
    match (args.mode.as_str(), ports.as_slice()) {
        ("rx", [far, near]) => {
            let mut port = port(&umem, near);
            // SAFETY: the frames are in no ring.
            unsafe { port.fill.produce(&free[..RING as usize]) };
            raw::redirect(near, port.rx.fd().as_raw_fd());
            let mut source = Source::open(far, args.size);
            let mut sum = 0;
            measure(args.packets, |part| {
                source.burst();
                part.time(|| rx_burst(&umem, &mut port, &mut sum))
            });
            black_box(sum);
        }
        ("tx", [near, sink]) => {
            raw::drop_all(sink);
            let mut port = port(&umem, near);
            let packet = raw::template(args.size);
            measure(args.packets, |_| tx_burst(&umem, &mut port, &packet, &mut free));
        }
        ("fwd", [far, near, out, sink]) => {
            raw::drop_all(sink);
            let mut from = port(&umem, near);
            let mut to = port(&umem, out);
            // SAFETY: the frames are in no ring.
            unsafe { from.fill.produce(&free[..RING as usize]) };
            free = Vec::with_capacity(FRAMES as usize);
            raw::redirect(near, from.rx.fd().as_raw_fd());
            let mut source = Source::open(far, args.size);
            measure(args.packets, |_| {
                source.burst();
                fwd_burst(&umem, &mut from, &mut to, &mut free)
            });
        }
        _ => {
            eprintln!(
                "usage: xsk-rs-loop rx SOURCE PORT | tx PORT SINK | fwd SOURCE PORT OUT SINK [--size N] [--packets N]"
            );
            std::process::exit(2);
        }
    }
}
