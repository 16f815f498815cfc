//! The conformance suite over virtual devices of DPDK: see `common/conformance`.
//!
//! EAL is started once in a process, so all of it runs on one kind of memory: ordinary pages. The last test runs the
//! whole again in a process of its own, on huge pages.
#![cfg(all(target_os = "linux", feature = "dpdk"))]

mod common;

use common::conformance::{Facts, Rig};
use common::netns::Lab;
use nethuns_rs::any::{self, AnyFlags};
use nethuns_rs::api::Socket;
use nethuns_rs::dpdk::{DpdkFlags, Sock};
use nethuns_rs::mem::faults::{FaultFlags, Faults, Plan, Profile};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const FRAMES: usize = 256;

fn flags() -> DpdkFlags {
    DpdkFlags { num_mbufs: FRAMES as u32, mbuf_cache_size: 8, ..DpdkFlags::default() }
}

/// Port names are the process's: every rig has numbers of its own.
fn number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Two ports that hear each other, by their specs.
struct Pair<S: Socket> {
    left: String,
    right: String,
    further: String,
    flags: S::Flags,
    facts: Facts,
    _lab: Option<Lab>,
}

impl<S: Socket> Pair<S> {
    fn new([left, right, further]: [String; 3], flags: S::Flags, too_big: usize, lab: Option<Lab>) -> Self {
        common::dpdk::eal();
        let facts = Facts {
            backend: "dpdk",
            max_len: 1514,
            too_big,
            window: 32,
            frames: FRAMES,
            one_pool: false,
            wrong: vec![
                ("dpdk:", "the name is missing"),
                ("dpdk:nowhere0", "name a PCI address"),
                ("dpdk:net_nothing0", "no driver of this DPDK goes by that name"),
                ("dpdk:net_null99?nonsense", "unknown option `nonsense`; known here:"),
                ("dpdk:net_null99?num_mbufs=1", "num_mbufs=1: expected a number from 2"),
                ("dpdk:net_null99?queues=0", "queues=0: expected"),
                ("dpdk:net_null99?timestamps=soon", "timestamps=soon: expected one of off, sw, hw"),
            ],
        };
        Self { left, right, further, flags, facts, _lab: lab }
    }
}

impl<S: Socket + std::os::fd::AsFd + 'static> Rig for Pair<S> {
    type Sock = S;

    fn pair(&self) -> (S, S) {
        let open = |spec: &str| self.open(spec, None).unwrap();
        let (left, right) = (open(&self.left), open(&self.right));
        let start = Instant::now();
        while left.link().unwrap().carrier != Some(true) || right.link().unwrap().carrier != Some(true) {
            assert!(start.elapsed() < Duration::from_secs(10), "{} and {} do not connect", self.left, self.right);
            std::thread::sleep(Duration::from_millis(1));
        }
        // A client of memif has no buffers for its server before it has looked once.
        assert!(left.recv().is_err() && right.recv().is_err());
        (left, right)
    }

    fn facts(&self) -> Facts {
        self.facts.clone()
    }

    fn sharing(&self, socket: &S) -> Option<S> {
        Some(socket.create_sharing(&self.further, None, self.flags.clone()).unwrap())
    }

    fn open(&self, spec: &str, queue: Option<usize>) -> nethuns_rs::Result<S> {
        S::create(spec, queue, self.flags.clone())
    }
}

/// Two ends of a wire: mbufs themselves pass from one port to the other.
fn rings<S: Socket>(flags: S::Flags) -> Option<Pair<S>> {
    let n = number();
    let end = |end: &str, wire: &str| format!("dpdk:net_ring{n}{end}?wire={n}{wire}");
    Some(Pair::new([end("a", "near"), end("b", "near"), end("c", "far")], flags, 1600, None))
}

/// Shared memory between a server and a client, as between two processes.
fn memif<S: Socket>(flags: S::Flags) -> Option<Pair<S>> {
    let n = number();
    let socket = std::env::temp_dir().join(format!("nethuns-memif-{}-{n}", std::process::id()));
    let end = |end: usize, role: &str| {
        format!("dpdk:net_memif{n}{end},role={role},socket={},socket-abstract=no", socket.display())
    };
    Some(Pair::new([end(0, "server"), end(1, "client"), format!("dpdk:net_null{n}")], flags, 1600, None))
}

/// Packet sockets on both ends of a veth pair, with the kernel in between.
fn veth<S: Socket>(test: &str, flags: S::Flags) -> Option<Pair<S>> {
    let lab = Lab::enter(test)?;
    lab.veth("left", "right", 1);
    lab.veth("further", "beyond", 1);
    let n = number();
    let port = |end: &str| format!("dpdk:net_af_packet{n}{end},iface={end}");
    Some(Pair::new([port("left"), port("right"), port("further")], flags, 1600, Some(lab)))
}

fn barely_late() -> FaultFlags<DpdkFlags> {
    let profile = Profile { delay: Duration::from_nanos(1), ..Profile::default() };
    FaultFlags { inner: flags(), plan: Plan::both(profile) }
}

fn ring_sockets(_: &str) -> Option<Pair<Sock>> {
    rings(flags())
}
fn any_rings(_: &str) -> Option<Pair<any::Sock>> {
    rings(AnyFlags::from(flags()))
}
fn late_rings(_: &str) -> Option<Pair<Faults<Sock>>> {
    let mut pair = rings(barely_late())?;
    // Whether the link takes a packet shows when it is due; at once, only whether a frame holds it.
    pair.facts.too_big = 2049;
    Some(pair)
}
fn memif_sockets(_: &str) -> Option<Pair<Sock>> {
    memif(flags())
}
fn veth_sockets(test: &str) -> Option<Pair<Sock>> {
    veth(test, flags())
}
fn any_veth(test: &str) -> Option<Pair<any::Sock>> {
    veth(test, AnyFlags::from(flags()))
}

conformance_suite!(over_rings, ring_sockets);
conformance_suite!(over_any_rings, any_rings);
conformance_suite!(over_faults_over_rings, late_rings);
conformance_suite!(over_memif, memif_sockets);
conformance_suite!(over_af_packet, veth_sockets);
conformance_suite!(over_any_af_packet, any_veth);

#[test]
fn the_same_on_huge_pages() {
    common::dpdk::again_on_huge_pages("dpdk_conformance::the_same_on_huge_pages", 140);
}
