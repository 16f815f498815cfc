//! Generates UDP packets: any port, a precise rate, stamps that the meter reads.
//!
//! ```text
//! pkt-gen af_xdp:eth0 --rate 1M --duration 10s
//! pkt-gen pcap:eth0 --rate 100Mbps --size 1514 --dst 10.0.0.2:5000
//! pkt-gen pcap:out.pcapng?write --count 1000
//! ```

use clap::Parser;
use nethuns_rs::any::Sock;
use nethuns_rs::api::Socket;
use nethuns_tools::args::{self, Mac};
use nethuns_tools::frame::{Endpoint, UdpFrame};
use nethuns_tools::generate::{self, Plan};
use nethuns_tools::pacer::Waiter;
use nethuns_tools::port::{check_link, open, ports_help};
use nethuns_tools::{Failure, Output, OutputArgs, Rate, Stop};
use std::process::ExitCode;
use std::time::Duration;

/// Generate UDP packets at a precise rate
#[derive(Parser)]
#[command(name = "pkt-gen", version, after_help = ports_help())]
struct Args {
    /// Where packets go; with several ports, each has its own thread, stream, rate and count
    #[arg(required = true, value_name = "PORT")]
    ports: Vec<String>,
    /// Packets per second (100k, 1.5M), bits per second of frames without FCS (1Gbps), or max
    #[arg(short, long, value_parser = args::rate, default_value = "max", allow_negative_numbers = true)]
    rate: Rate,
    /// Bytes of a frame without FCS [default: the smallest possible, at least 60]
    #[arg(short, long, value_name = "BYTES")]
    size: Option<usize>,
    /// End after so many packets
    #[arg(short = 'n', long, value_parser = args::count)]
    count: Option<u64>,
    /// End after so long (10s, 500ms, 2m)
    #[arg(short, long, value_name = "TIME", value_parser = args::duration)]
    duration: Option<Duration>,
    /// Packets that leave together
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
    burst: u16,
    /// Most packets per call
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch: u16,
    /// Sleep between packets even where spinning would be more precise
    #[arg(long)]
    no_spin: bool,
    /// Number of the first port's stream in its stamps; further ports count on from it
    #[arg(long, value_name = "N", default_value_t = 1)]
    stream: u16,
    /// Write no stamps: every packet is the same
    #[arg(long)]
    no_stamp: bool,
    /// Source address, with or without UDP port [default: 10.0.0.1:9 or fd00::1]
    #[arg(long, value_name = "IP[:PORT]", value_parser = args::endpoint)]
    src: Option<Endpoint>,
    /// Destination address, with or without UDP port [default: 10.0.0.2:9 or fd00::2]
    #[arg(long, value_name = "IP[:PORT]", value_parser = args::endpoint)]
    dst: Option<Endpoint>,
    /// Source MAC address [default: the port's own]
    #[arg(long, value_name = "MAC")]
    src_mac: Option<Mac>,
    /// Destination MAC address
    #[arg(long, value_name = "MAC", default_value = "ff:ff:ff:ff:ff:ff")]
    dst_mac: Mac,
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    /// Source and destination: what is not given is of the family of what is.
    fn addresses(&self) -> (Endpoint, Endpoint) {
        let v6 = self.src.or(self.dst).is_some_and(|at| at.ip.is_ipv6());
        let default = |v4: [u8; 4], v6_last: u16| {
            let ip = if v6 { [0xfd00, 0, 0, 0, 0, 0, 0, v6_last].into() } else { v4.into() };
            Endpoint { ip, port: Endpoint::DEFAULT_PORT }
        };
        (self.src.unwrap_or_else(|| default([10, 0, 0, 1], 1)), self.dst.unwrap_or_else(|| default([10, 0, 0, 2], 2)))
    }

    fn frame(&self) -> UdpFrame {
        let (src, dst) = self.addresses();
        let src_mac = self.src_mac.unwrap_or(Mac([2, 0, 0, 0, 0, 1]));
        let mut frame = UdpFrame { src_mac, dst_mac: self.dst_mac, src, dst, size: 0, stamped: !self.no_stamp };
        frame.size = self.size.unwrap_or(frame.min_size());
        frame
    }

    /// The plan for a port, once it is open.
    fn plan(&self, n: usize, socket: &Sock, output: &Output) -> Result<Plan, Failure> {
        let port = &self.ports[n];
        let mut frame = self.frame();
        if let (None, Ok(Some(mac))) = (self.src_mac, socket.link().map(|link| link.mac)) {
            frame.src_mac = Mac(mac);
        }
        if let Some(warning) = check_link(socket, port, frame.size, self.rate)? {
            output.remark(&warning);
        }
        Ok(Plan {
            port: port.clone(),
            template: frame.template()?,
            stream: (!self.no_stamp).then(|| self.stream.wrapping_add(n as u16)),
            count: self.count,
            duration: self.duration,
            rate: self.rate,
            burst: self.burst.into(),
            batch: self.batch.into(),
            waiter: Waiter { spin: !self.no_spin },
            interval: self.output.interval,
            drain: Duration::from_secs(2),
        })
    }
}

fn main() -> ExitCode {
    args::main("pkt-gen", run)
}

fn run(args: Args) -> Result<(), Failure> {
    // What is impossible for every port is said before any is opened.
    args.frame().template()?;
    let stop = Stop::on_signal()?;
    let output = Output::new("pkt-gen", &args.output, &stop)?;
    let mut runs = Vec::new();
    for (n, port) in args.ports.iter().enumerate() {
        let socket = open(port, &output)?;
        let plan = args.plan(n, &socket, &output)?;
        runs.push((socket, plan));
    }
    let one = |socket: Sock, plan: Plan| {
        let sent = generate::run(&socket, &plan, &output, &stop).inspect_err(|_| stop.request())?;
        output.tell(&sent);
        generate::verdict(&sent, plan.count, stop.requested())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = runs.into_iter().map(|(socket, plan)| scope.spawn(|| one(socket, plan))).collect();
        let outcomes = threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err(Failure::new("a thread failed"))));
        // All are waited for; the first failure is told.
        outcomes.collect::<Vec<_>>().into_iter().collect()
    })
}
