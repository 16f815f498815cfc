//! Both contenders over virtual devices of DPDK: our loops, and `dpdk-testpmd` in the same mode on the same devices.
//!
//! ```text
//! packets-dpdk ours|testpmd rx|tx|io|token MILLISECONDS VDEV…
//! ```
//!
//! What is compared is the CPU time that the forwarding thread spends per packet. Of testpmd it is read from
//! `/proc/PID/task/TID/schedstat` before `start` and after `stop`: between runs its worker sleeps. Both take bursts of
//! 32, from 8192 mbufs, with the same arguments of EAL, and look into no packet. For `io` over two devices, 128 packets
//! go round and round, as with testpmd's `tx_first 4`.

#[path = "../ours/count.rs"]
mod count;
mod testpmd;

use nethuns_rs::Result;
use nethuns_rs::api::{Socket, Token};
use nethuns_rs::dpdk::{DpdkFlags, Eal, Sock};
use std::time::{Duration, Instant};

const BURST: usize = 32;
/// What `Sock::forward` moves at once, if there are so many.
const FORWARDED: usize = 40;
/// Packets of testpmd's `txonly`.
const LEN: usize = 64;
/// Between two looks at the clock.
const BURSTS: usize = 256;

/// What a run came to.
pub struct Outcome {
    pub packets: u64,
    pub cpu_ns: u64,
    pub wall_ns: u64,
    pub allocations: u64,
}

/// Memory for EAL: huge pages if the machine has set some aside, as `dpdk-testpmd` would have them.
pub fn memory() -> &'static [&'static str] {
    let free = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    match free.ok().and_then(|pages| pages.trim().parse::<u32>().ok()) {
        Some(256..) => &["--in-memory", "-m", "384"],
        _ => &["--no-huge", "-m", "512"],
    }
}

fn rx_burst(sock: &Sock) -> Result<usize> {
    let ctx = sock.context();
    sock.recv_each(BURST, |token, _| drop(token.consume(ctx)))
}

fn tx_burst(sock: &Sock, packet: &[u8]) -> Result<usize> {
    let sent = match sock.send_batch(std::iter::repeat_n(packet, BURST)) {
        Ok(sent) => sent,
        Err(error) if error.is_transient() => 0,
        Err(error) => return Err(error),
    };
    sock.flush();
    Ok(sent)
}

fn io_burst(from: &Sock, to: &Sock) -> Result<usize> {
    match from.forward(to, FORWARDED) {
        Err(error) if error.is_transient() => Ok(0),
        outcome => outcome,
    }
}

/// The same, packet by packet, as a program does that wants to see them.
fn token_burst(from: &Sock, to: &Sock) -> Result<usize> {
    let mut refused = 0;
    // A refused packet goes home as the error is dropped.
    let got = from.recv_each(BURST, |token: Token, _| refused += usize::from(to.send_token(token).is_err()))?;
    to.flush();
    Ok(got - refused)
}

/// CPU time of this thread.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

fn measured(time: Duration, mut burst: impl FnMut() -> Result<usize>) -> Result<Outcome> {
    let mut run = |time: Duration| -> Result<u64> {
        let (start, mut packets) = (Instant::now(), 0);
        while start.elapsed() < time {
            for _ in 0..BURSTS {
                packets += burst()? as u64;
            }
        }
        Ok(packets)
    };
    run(time / 10)?;
    let (start, cpu, allocations) = (Instant::now(), cpu_ns(), count::allocations());
    let packets = run(time)?;
    let allocations = count::allocations() - allocations;
    Ok(Outcome { packets, cpu_ns: cpu_ns() - cpu, wall_ns: start.elapsed().as_nanos() as u64, allocations })
}

fn ours(mode: &str, time: Duration, vdevs: &[String]) -> Result<Outcome> {
    Eal::start([memory(), &["--no-telemetry", "--no-pci", "--no-shconf", "-l", "0"]].concat())?;
    let first = Sock::create(&format!("dpdk:{}", vdevs[0]), None, DpdkFlags::default())?;
    let second = match vdevs.get(1) {
        Some(vdev) => Some(first.create_sharing(&format!("dpdk:{vdev}"), None, DpdkFlags::default())?),
        None => None,
    };
    let packet = [0x22; LEN];
    match mode {
        "rx" => measured(time, || rx_burst(&first)),
        "tx" => measured(time, || tx_burst(&first, &packet)),
        _ => {
            for sock in [Some(&first), second.as_ref()].into_iter().flatten() {
                for _ in 0..4 {
                    tx_burst(sock, &packet)?;
                }
            }
            let burst = if mode == "token" { token_burst } else { io_burst };
            match &second {
                Some(second) => measured(time, || Ok(burst(&first, second)? + burst(second, &first)?)),
                None => measured(time, || burst(&first, &first)),
            }
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.as_slice() {
        [who, mode, millis, vdevs @ ..]
            if !vdevs.is_empty() && ["rx", "tx", "io", "token"].contains(&mode.as_str()) =>
        {
            let time = Duration::from_millis(millis.parse().unwrap_or(1000));
            match who.as_str() {
                "ours" => ours(mode, time, vdevs).map_err(|error| error.to_string()),
                "testpmd" => testpmd::run(mode, time, vdevs),
                _ => Err(format!("who is {who}?")),
            }
        }
        _ => Err("usage: packets-dpdk ours|testpmd rx|tx|io|token MILLISECONDS VDEV…".to_owned()),
    };
    match outcome {
        Ok(Outcome { packets, cpu_ns, wall_ns, allocations }) => println!(
            "{{\"packets\":{packets},\"cpu_ns\":{cpu_ns},\"wall_ns\":{wall_ns},\"allocations\":{allocations}}}"
        ),
        Err(error) => {
            eprintln!("error: {error}");
            std::process::exit(1);
        }
    }
}
