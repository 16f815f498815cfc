//! Batches of tokens through the library's pusher and popper, and through plain `flume` that carries the same arrays.
//!
//! What is done with the tokens is the same on both sides: each becomes a payload, its length is read, and it goes
//! round again as a token. What differs is the channel.

use crate::raw::{Args, BATCH};
use crate::{measured, usage};
use nethuns_rs::Result;
use nethuns_rs::api::{Batch, Channel, Context, NethunsPopper, NethunsPusher, Socket};
use nethuns_rs::mem::{MemFlags, Sock};
use nethuns_rs::pool::PoolContext;
use std::hint::black_box;
use std::time::Duration;

/// Tokens per message.
const N: usize = 32;
/// Messages under way.
const UNDER_WAY: usize = 32;

/// One channel in both of its forms. Neither end is ever gone while it is used: an error would end the benchmark.
trait Ends {
    fn push(&self, batch: Batch<N>);
    /// Takes a message if there is one, reads each packet's length, and returns the tokens.
    fn pop(&self, sum: &mut u64) -> Option<Batch<N>>;
}

/// Tries until there is a message. Going to sleep and being woken costs more than anything measured here, and how often
/// that happens is chance; only where both threads share a CPU must one let the other run.
#[inline]
fn spin(mut pop: impl FnMut() -> Option<Batch<N>>) -> Batch<N> {
    loop {
        for _ in 0..1000 {
            if let Some(batch) = pop() {
                return batch;
            }
            std::hint::spin_loop();
        }
        std::thread::yield_now();
    }
}

struct Ours(NethunsPusher<N>, NethunsPopper<PoolContext, N>);

impl Ends for Ours {
    #[inline]
    fn push(&self, batch: Batch<N>) {
        assert!(self.0.push(batch).is_ok(), "the popper is gone");
    }
    #[inline]
    fn pop(&self, sum: &mut u64) -> Option<Batch<N>> {
        let packets = self.1.pop_timeout(Duration::ZERO).ok()?;
        Some(
            packets
                .map(|packet| {
                    *sum += packet.len() as u64;
                    packet.into_token()
                })
                .collect(),
        )
    }
}

struct Flume(flume::Sender<Batch<N>>, flume::Receiver<Batch<N>>, PoolContext);

impl Ends for Flume {
    #[inline]
    fn push(&self, batch: Batch<N>) {
        assert!(self.0.send(batch).is_ok(), "the receiver is gone");
    }
    #[inline]
    fn pop(&self, sum: &mut u64) -> Option<Batch<N>> {
        let batch = self.1.try_recv().ok()?;
        Some(
            batch
                .into_iter()
                .map(|token| {
                    let packet = self.2.packet(token);
                    *sum += packet.len() as u64;
                    packet.into_token()
                })
                .collect(),
        )
    }
}

/// In one thread: what the channel itself costs.
fn alone(args: &Args, ends: &impl Ends, mut batches: Vec<Batch<N>>) {
    let mut sum = 0;
    let mut batch = batches.pop().unwrap_or_default();
    measured(args.packets, |_| {
        for _ in 0..BATCH / N {
            ends.push(std::mem::take(&mut batch));
            batch = ends.pop(&mut sum).expect("what was just pushed");
        }
        BATCH
    });
    black_box(sum);
}

/// From one thread to another, with a plain channel for the way back.
fn across(args: &Args, ends: impl Ends + Send, to: &impl Fn(Batch<N>), batches: Vec<Batch<N>>) {
    let (back, returned) = flume::bounded(UNDER_WAY);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut sum = 0;
            // An empty batch ends it.
            loop {
                let batch = spin(|| ends.pop(&mut sum));
                if batch.is_empty() || back.send(batch).is_err() {
                    break;
                }
            }
            black_box(sum);
        });
        for batch in batches {
            to(batch);
        }
        measured(args.packets, |_| {
            for _ in 0..BATCH / N {
                to(spin(|| returned.try_recv().ok()));
            }
            BATCH
        });
        to(Batch::new());
        // The other thread may still be returning batches: make room.
        while returned.recv().is_ok() {}
    });
}

pub fn run(args: &Args) -> Result<()> {
    let socket = Sock::create("mem:channel", None, MemFlags::default())?;
    let mut batches = Vec::new();
    for _ in 0..UNDER_WAY {
        let mut batch = Batch::new();
        for _ in 0..N {
            batch.push(socket.alloc(args.size)?.into_token());
        }
        batches.push(batch);
    }
    let ctx = socket.context().clone();
    let ends = flume::bounded(2 * UNDER_WAY);
    let ports: Vec<&str> = args.ports.iter().map(String::as_str).collect();
    match ports.as_slice() {
        ["nethuns", threads] => {
            let (pusher, popper) = Channel::from(ends).split(ctx);
            match *threads {
                "one" => alone(args, &Ours(pusher, popper), batches),
                _ => {
                    let ends = Ours(pusher.clone(), popper);
                    across(args, ends, &|batch| assert!(pusher.push(batch).is_ok(), "the popper is gone"), batches);
                }
            }
        }
        ["flume", threads] => match *threads {
            "one" => alone(args, &Flume(ends.0, ends.1, ctx), batches),
            _ => {
                let sender = ends.0.clone();
                let to = |batch| assert!(sender.send(batch).is_ok(), "the receiver is gone");
                across(args, Flume(ends.0, ends.1, ctx), &to, batches);
            }
        },
        _ => usage(),
    }
    Ok(())
}
