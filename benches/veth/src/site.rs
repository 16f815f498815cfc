//! Two hosts joined by a veth pair, each in a network namespace of its own: one for the server, one for the load.

use nethuns_bench::netns::{self, Lab, ip, run};
use nethuns_bench::{cpus, skip};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const SERVER: [u8; 4] = [10, 9, 0, 2];

/// Where the server's packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Kernel,
    /// Ours, with these options of the host, each after a `&`.
    Ours(&'static str),
}

/// Both hosts, each a network namespace. They are gone with the last process in them, however that ends.
#[derive(Debug)]
pub struct Site {
    server: OwnedFd,
    client: OwnedFd,
    cpus: [usize; 2],
}

impl Site {
    /// Moves this thread into the client's namespace. `None`, said, where that cannot be done.
    pub fn enter(figures: &str) -> Option<Self> {
        let cpus = cpus();
        let &[first, .., last] = &cpus[..] else {
            skip(figures, "needs two CPUs, one for the server and one for the load");
            return None;
        };
        let server = Lab::enter(figures)?.handle();
        let client = Lab::enter(figures)?.handle();
        netns::join(&server);
        // One queue at each end: an XDP program wants as many to receive from as the peer has to send on.
        let queues = "numrxqueues 1 numtxqueues 1";
        let there = format!("/proc/{}/fd/{}", std::process::id(), client.as_raw_fd());
        ip(&format!("link add vs {queues} mtu 1500 type veth peer name vc {queues} mtu 1500"));
        ip(&format!("link set vc netns {there}"));
        let site = Self { server, client, cpus: [first, last] };
        site.prepare("vs");
        netns::join(&site.client);
        site.prepare("vc");
        ip("addr add 10.9.0.1/24 dev vc");
        site.segment_late(false);
        sysctl("net/ipv4/ip_local_port_range", "1024 65535");
        Some(site)
    }

    /// One end, of the thread's namespace: the same for whoever serves.
    fn prepare(&self, end: &str) {
        ip(&format!("link set {end} up"));
        // Without segmentation offload, and with checksums in software: a packet on this wire is what it would be on another,
        // and those that are left out would be wrong to everybody but the kernel.
        for feature in ["tso", "gso", "gro", "tx"] {
            run("ethtool", &format!("-K {end} {feature} off"));
        }
    }

    /// Whether the kernel's TCP makes large segments that its own stack cuts up just before the wire. To it, `gso off` does
    /// not apply (`sk_setup_caps`); a limit of one segment does.
    pub fn segment_late(&self, on: bool) {
        for (namespace, end) in [(&self.server, "vs"), (&self.client, "vc")] {
            netns::join(namespace);
            ip(&format!("link set {end} gso_max_segs {}", if on { 64 } else { 1 }));
        }
        netns::join(&self.client);
    }

    /// Receive packet steering: each end's receive work on the CPU of its own program, instead of on its sender's.
    pub fn steer(&self, on: bool) {
        for (namespace, end, cpu) in [(&self.server, "vs", self.cpus[0]), (&self.client, "vc", self.cpus[1])] {
            netns::join(namespace);
            let mask = if on { 1u64 << (cpu % 64) } else { 0 };
            // A mount of its own: /sys shows the namespace in which it was mounted.
            let script =
                format!("mount -t sysfs sysfs /sys && echo {mask:x} > /sys/class/net/{end}/queues/rx-0/rps_cpus");
            let done = Command::new("unshare").args(["--mount", "sh", "-c", &script]).status();
            assert!(done.is_ok_and(|status| status.success()), "receive packet steering on {end}: {script}");
        }
        netns::join(&self.client);
    }

    /// Whether the load's end loses one of a hundred packets that it receives.
    pub fn lose(&self, on: bool) {
        let which = if on { "-A" } else { "-D" };
        run("iptables", &format!("{which} INPUT -i vc -m statistic --mode random --probability 0.01 -j DROP"));
    }

    /// Starts a server on a network, as `PROGRAM ADDRESS NETWORK ARGUMENT…`, and waits for the line that says it listens.
    ///
    /// # Errors
    ///
    /// If it says nothing, or cannot be started.
    pub fn serve(&self, program: &Path, network: Network, args: &[String]) -> Result<Server, String> {
        netns::join(&self.server);
        let spec = match network {
            Network::Kernel => {
                ip("addr replace 10.9.0.2/24 dev vs");
                // The same for a program that cannot ask for it: the machine's own may be BBR.
                ip("route replace 10.9.0.0/24 dev vs proto kernel scope link src 10.9.0.2 congctl cubic");
                "kernel".to_owned()
            }
            Network::Ours(options) => {
                ip("addr flush dev vs");
                format!("af_xdp:vs?mode=driver&ip=10.9.0.2/24{options}")
            }
        };
        let child = Command::new("taskset")
            .args(["-c", &self.cpus[0].to_string()])
            .arg(program)
            .args(["10.9.0.2", &spec])
            .args(args)
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn();
        netns::join(&self.client);
        let mut server = Server(child.map_err(|error| format!("taskset: {error}"))?, network);
        let mut line = String::new();
        let said = server.0.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        match said {
            Some(Ok(1..)) => Ok(server),
            _ => Err(format!("{} does not serve on {spec}", program.display())),
        }
    }
}

/// A server that runs; ended when this is dropped.
#[derive(Debug)]
pub struct Server(Child, Network);

impl Server {
    /// Where it listens, whatever it runs on.
    #[must_use]
    pub fn address(port: u16) -> SocketAddr {
        (SERVER, port).into()
    }

    /// Where its packets go.
    #[must_use]
    pub fn network(&self) -> Network {
        self.1
    }

    /// CPU time that it has had, in nanoseconds.
    #[must_use]
    pub fn cpu_ns(&self) -> f64 {
        schedstat(&format!("/proc/{}/schedstat", self.0.id()))
    }

    /// Memory that it has, in bytes.
    #[must_use]
    pub fn resident(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok())
            .map_or(f64::NAN, |kb: f64| kb * 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU time that this thread has had, in nanoseconds.
pub(crate) fn own_cpu_ns() -> f64 {
    schedstat("/proc/thread-self/schedstat")
}

/// The scheduler's count of the time that a thread ran: the first number (proc(5), Documentation/scheduler/sched-stats).
fn schedstat(file: &str) -> f64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(f64::NAN)
}

/// A setting of the thread's namespace.
fn sysctl(name: &str, value: &str) {
    let file = format!("/proc/sys/{name}");
    fs::write(&file, value).unwrap_or_else(|error| panic!("{file}: {error}"));
}
