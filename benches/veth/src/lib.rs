//! What benchmarks of servers over veth share.
//!
//! A [`Site`] is two hosts joined by a veth pair: a server program runs on one of them, with a CPU of its own, on our
//! stack over AF_XDP or on the kernel's; a [`Client`], this process, loads it from the other, with another CPU. [`Veth`]
//! runs several [`Side`]s of a comparison in turn under the same load and keeps account of what each [`Run`] cost both
//! CPUs; [`compare`] and [`compare_latency`] make rows of them.

mod client;
mod run;
mod site;

pub use client::{Client, Exchange, Outcome, Plain, Transport};
pub use run::{BOTH_CPU, Run, SERVER_CPU, WALL, compare, compare_latency, timed};
pub use site::{Network, Server, Site};

use nethuns_bench::{Options, Report, one_cpu};
use nethuns_rs::net::Net;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Connections at once, at most; fewer in a quick run.
pub const MOST: usize = 10_000;
const MOST_QUICK: usize = 2000;

/// What a host is told that will have that many connections speaking at once: frames and room for two packets of each, see
/// docs/host.md.
pub const FOR_MANY: &str = "&frames=65536&rx=32768";

/// What a host is told of that will have so many connections.
#[must_use]
pub fn for_crowd(count: usize) -> &'static str {
    if count > 1000 { FOR_MANY } else { "" }
}

/// One side of a comparison: a server program on a network.
#[derive(Clone, Debug)]
pub struct Side {
    /// As the report calls it.
    pub name: &'static str,
    pub program: PathBuf,
    pub network: Network,
    /// Arguments after the address and the network.
    pub args: Vec<String>,
}

impl Side {
    /// A program without further arguments.
    #[must_use]
    pub fn new(name: &'static str, program: &Path, network: Network) -> Self {
        Self { name, program: program.to_owned(), network, args: Vec::new() }
    }
}

/// What a load does with a server that runs.
pub type Load<'a> = &'a dyn Fn(&Server) -> io::Result<Run>;

/// The site, with what the command line says about runs.
#[derive(Debug)]
pub struct Veth<'a> {
    pub site: Site,
    options: &'a Options,
    /// Runs of each side of a comparison, unless the run is a quick one.
    pairs: usize,
    /// Of one run, unless it is quick.
    duration: Duration,
}

impl<'a> Veth<'a> {
    /// Does all that `figures` do, in a thread of its own, which does not come back out of the namespaces. Where there can
    /// be no site it is said why.
    pub fn run(
        options: &'a Options,
        report: &mut Report,
        pairs: usize,
        duration: Duration,
        figures: impl FnOnce(&Veth<'a>, &mut Report) + Send,
    ) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let Some(site) = Site::enter("veth") else { return };
                // Servers inherit it.
                if let Err(problem) = Net::kernel().and_then(|net| net.allow_sockets(MOST + 2000)) {
                    return report.fail("veth", "kernel", problem.to_string());
                }
                one_cpu(true);
                figures(&Veth { site, options, pairs, duration }, report);
            });
        });
    }

    /// The figure's name, if it was asked for.
    #[must_use]
    pub fn wanted(&self, figure: &str) -> Option<String> {
        self.options.wants(figure).then(|| figure.to_owned())
    }

    /// How long one run loads its server.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.options.pick(self.duration, Duration::from_millis(200))
    }

    /// So many connections, or as many as a quick run has.
    #[must_use]
    pub fn crowd(&self, count: usize) -> usize {
        count.min(self.options.pick(MOST, MOST_QUICK))
    }

    /// One run of one side.
    fn measure(&self, side: &Side, load: Load<'_>) -> Result<Run, String> {
        let server = self.site.serve(&side.program, side.network, &side.args)?;
        let mut run = load(&server).map_err(|error| format!("{}: {error}", side.name))?;
        run.outcome.latencies.sort_unstable();
        Ok(run)
    }

    /// All sides in turn, again and again, every other time in reverse. One list of runs per side.
    ///
    /// # Errors
    ///
    /// Of the first run that fails.
    pub fn race(&self, sides: &[Side], load: Load<'_>) -> Result<Vec<Vec<Run>>, String> {
        let mut runs: Vec<Vec<Run>> = sides.iter().map(|_| Vec::new()).collect();
        for pair in 0..self.options.pick(self.pairs, 1) {
            let mut order: Vec<usize> = (0..sides.len()).collect();
            if pair % 2 == 1 {
                order.reverse();
            }
            for at in order {
                runs[at].push(self.measure(&sides[at], load)?);
            }
        }
        Ok(runs)
    }

    /// One request after the other on each of so many connections, a tenth of the time before the clock runs.
    ///
    /// # Errors
    ///
    /// If the server does not do its part.
    pub fn requests<T: Transport>(
        &self,
        server: &Server,
        client: &mut Client<T>,
        exchange: Exchange,
    ) -> io::Result<Run> {
        client.requests(exchange, self.duration() / 10)?;
        timed(server, || client.requests(exchange, self.duration()))
    }

    /// Bytes by which a server's resident memory grows with a connection; a tenth of them, which have had requests, come
    /// before the rest. The kernel keeps its own outside of it.
    ///
    /// # Errors
    ///
    /// If the server does not do its part.
    pub fn growth(&self, side: &Side, port: u16, exchange: Exchange) -> Result<f64, String> {
        let count = self.crowd(MOST);
        let server = self.site.serve(&side.program, side.network, &side.args)?;
        let grow = || -> io::Result<f64> {
            // What a server touches once: frames, buffers, the first pieces of its tables.
            let few = count / 10;
            Client::connect(Server::address(port), few, false)?.requests(exchange, self.duration())?;
            let before = server.resident();
            let many = Client::connect(Server::address(port), count, false)?;
            let after = server.resident();
            drop(many);
            Ok((after - before) / (count - few) as f64)
        };
        grow().map_err(|error| error.to_string())
    }
}
