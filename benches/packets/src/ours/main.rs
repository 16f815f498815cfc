//! Our contender: one set of loops, generic over `Socket`, for every backend. See `benches/peers` for the others, which
//! have the same command line but for the backend.
//!
//! ```text
//! packets-ours rx  BACKEND SOURCE PORT           receive, read, drop
//! packets-ours tx  BACKEND PORT SINK             send copies of a frame
//! packets-ours fwd BACKEND SOURCE PORT OUT SINK  receive, swap the addresses, send on OUT
//! packets-ours mem BACKEND                       send, receive, read, drop, on an in-memory wire
//! packets-ours pipe BACKEND                      send a batch, receive, read, drop, on a netmap pipe of the emulation
//! packets-ours channel nethuns|flume one|two     batches of tokens through a channel, in one thread or from one to another
//! ```
//!
//! BACKEND is `af_xdp`, `pcap`, `netmap` or `mem`: the concrete socket; or `any-` before it: the same port through
//! `any::Sock`. `pipe by-hand` is the peer of `pipe netmap`: a loop over the rings without the library's socket.

mod channel;
mod count;
mod netmap;
#[path = "../../../peers/raw/mod.rs"]
mod raw;

use nethuns_rs::api::{Socket, Token};
use nethuns_rs::netmap as library_netmap;
use nethuns_rs::{Result, af_xdp, any, mem, pcap};
use raw::{Args, BATCH, Part, Source, WARM_UP};
use std::hint::black_box;

/// What a receiving program does with a packet: it looks at the first eight bytes, to decide that it is not interesting.
#[inline(always)]
fn head(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |word| u64::from_ne_bytes(*word)).wrapping_add(bytes.len() as u64)
}

/// Or at a word of every cache line: where the peer's packets lie in the kernel's memory and ours are copies, the bytes
/// must be fetched by both.
#[inline(always)]
fn lines(bytes: &[u8]) -> u64 {
    bytes
        .chunks(64)
        .filter_map(|line| line.first_chunk())
        .fold(bytes.len() as u64, |sum, word| sum.wrapping_add(u64::from_ne_bytes(*word)))
}

#[inline(never)]
fn rx_burst<S: Socket>(socket: &S, want: usize, read: impl Fn(&[u8]) -> u64, sum: &mut u64) -> Result<usize> {
    let ctx = socket.context();
    let mut total = 0_u64;
    let got = socket.recv_each(want, |token, _| total = total.wrapping_add(read(&token.consume(ctx))))?;
    *sum = sum.wrapping_add(total);
    Ok(got)
}

#[inline(never)]
fn tx_burst<S: Socket>(socket: &S, want: usize, packet: &[u8]) -> Result<usize> {
    let sent = socket.send_batch(std::iter::repeat_n(packet, want))?;
    socket.flush();
    Ok(sent)
}

#[inline(never)]
fn fwd_burst<S: Socket>(from: &S, to: &S, want: usize) -> Result<usize> {
    let ctx = from.context();
    let mut refused = 0;
    let got = from.recv_each(want, |token: Token, _| {
        let mut packet = token.consume(ctx);
        if let Some((to, from)) = packet.get_mut(..12).map(|addresses| addresses.split_at_mut(6)) {
            to.swap_with_slice(from);
        }
        // A refused packet goes home as the error is dropped.
        refused += usize::from(to.send_payload(packet).is_err());
    })?;
    to.flush();
    Ok(got - refused)
}

#[inline(never)]
fn mem_round<S: Socket>(from: &S, to: &S, packet: &[u8], sum: &mut u64) -> Result<usize> {
    for _ in 0..BATCH {
        from.send(packet)?;
        let (packet, _) = to.recv()?;
        *sum = sum.wrapping_add(head(&packet));
    }
    Ok(BATCH)
}

/// The port spec of an interface under test: rings, frames and modes as those of the peers.
fn spec(backend: &str, interface: &str) -> String {
    let options = match backend {
        "af_xdp" => "mode=driver&zerocopy=forbid&frames=4096&frame_size=2048&rx=2048&tx=2048",
        "pcap" => "snaplen=2048&buffers=4096&buffer_size=2048",
        _ => "",
    };
    format!("{backend}:{interface}?{options}")
}

fn run<S: Socket>(args: &Args, backend: &str) -> Result<()>
where
    S::Flags: Default,
{
    let open = |interface: &str| S::create(&spec(backend, interface), None, S::Flags::default());
    let packet = raw::template(args.size);
    let ports: Vec<&str> = args.ports.iter().skip(1).map(String::as_str).collect();
    let mut sum = 0;
    match (args.mode.as_str(), ports.as_slice()) {
        ("rx", [far, near]) => {
            let socket = open(near)?;
            let mut source = Source::open(far, args.size);
            measured(args.packets, |part| {
                source.burst();
                part.time(|| match backend {
                    "pcap" => fully(|want| rx_burst(&socket, want, lines, &mut sum)),
                    _ => fully(|want| rx_burst(&socket, want, head, &mut sum)),
                })
            });
        }
        ("tx", [near, sink]) => {
            raw::drop_all(sink);
            let socket = open(near)?;
            measured(args.packets, |_| fully(|want| tx_burst(&socket, want, &packet)));
        }
        ("fwd", [far, near, out, sink]) => {
            raw::drop_all(sink);
            let from = open(near)?;
            let to = from.create_sharing(&spec(backend, out), None, S::Flags::default())?;
            let mut source = Source::open(far, args.size);
            measured(args.packets, |_| {
                source.burst();
                fully(|want| fwd_burst(&from, &to, want))
            });
        }
        ("mem", []) => {
            let wire = || S::create("mem:bench?frames=4096&queue=1024", None, S::Flags::default());
            let (from, to) = (wire()?, wire()?);
            measured(args.packets, |_| fully(|_| mem_round(&from, &to, &packet, &mut sum)));
        }
        ("pipe", []) => {
            let [from, to] = netmap::ENDS.map(|end| S::create(end, None, S::Flags::default()));
            let (from, to) = (from?, to?);
            let packet = netmap::Placed::new(&packet);
            measured(args.packets, |_| {
                let sent = fully(|want| tx_burst(&from, want, packet.bytes(args.size)));
                fully(|want| rx_burst(&to, want.min(sent), head, &mut sum))
            });
        }
        _ => usage(),
    }
    black_box(sum);
    Ok(())
}

/// Repeats a burst until a batch is complete: libpcap may stop in the middle of one at a packet that the kernel has not
/// finished. Gives up after a while.
fn fully(mut burst: impl FnMut(usize) -> Result<usize>) -> usize {
    let mut got = 0;
    for _ in 0..1000 {
        got += burst(BATCH - got).unwrap_or_else(|error| {
            eprintln!("error: {error}");
            std::process::exit(1)
        });
        if got == BATCH {
            break;
        }
    }
    got
}

/// As [`raw::measure`], and says how many heap allocations there were.
fn measured(packets: u64, mut round: impl FnMut(&mut Part) -> usize) {
    let (mut rounds, mut before) = (0, 0);
    raw::measure(packets, |part| {
        if rounds == WARM_UP {
            before = count::allocations();
        }
        rounds += 1;
        round(part)
    });
    println!("{{\"allocations\":{}}}", count::allocations() - before);
}

fn usage() -> ! {
    eprintln!(
        "usage: packets-ours rx|tx|fwd [any-]af_xdp|[any-]pcap PORT… | mem [any-]mem | pipe [any-]netmap|by-hand | channel nethuns|flume one|two [--size N] [--packets N]"
    );
    std::process::exit(2)
}

fn main() {
    let args = Args::parse();
    let first = args.ports.first().map_or("", String::as_str);
    let outcome = match (args.mode.as_str(), first) {
        ("channel", _) => channel::run(&args),
        (_, "af_xdp") => run::<af_xdp::Sock>(&args, first),
        (_, "pcap") => run::<pcap::Sock>(&args, first),
        (_, "mem") => run::<mem::Sock>(&args, first),
        ("pipe", "by-hand") => netmap::by_hand(&args),
        (_, "netmap") => run::<library_netmap::Sock>(&args, first),
        (_, through) => match through.strip_prefix("any-") {
            Some(backend) => run::<any::Sock>(&args, backend),
            None => usage(),
        },
    };
    if let Err(error) = outcome {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}
