//! Every backend through one suite: see `common/conformance`.
#![cfg(unix)]

mod common;

use common::conformance::{Facts, Rig};
use nethuns_rs::any::{self, AnyFlags};
use nethuns_rs::api::{PortSpec, Socket};
use nethuns_rs::mem::faults::{FaultFlags, Faults, Plan, Profile};
use nethuns_rs::mem::{self, MemFlags};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const FRAMES: usize = 64;

/// Sockets that end on an in-memory wire.
struct Wire<S: Socket> {
    name: String,
    flags: S::Flags,
    socket: PhantomData<S>,
}

impl<S: Socket> Wire<S> {
    fn new(flags: impl FnOnce(MemFlags) -> S::Flags) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("mem:conformance-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let flags = flags(MemFlags { frames: FRAMES, frame_size: 1514, queue: FRAMES, ..MemFlags::default() });
        Self { name, flags, socket: PhantomData }
    }
}

impl<S: Socket + std::os::fd::AsFd + 'static> Rig for Wire<S> {
    type Sock = S;

    fn pair(&self) -> (S, S) {
        (self.open(&self.name, None).unwrap(), self.open(&self.name, Some(0)).unwrap())
    }

    fn facts(&self) -> Facts {
        Facts {
            backend: "mem",
            max_len: 1514,
            too_big: 1515,
            window: 32,
            frames: FRAMES,
            one_pool: true,
            wrong: vec![
                ("mem:", "the name is missing"),
                ("mem:a\0b", "NUL"),
                ("mem:a?nonsense", "unknown option `nonsense`; known here:"),
                ("mem:a?frames=1", "frames=1: expected a number from 2"),
                ("mem:a?frames=many", "frames=many: expected a number"),
                ("mem:a?full=perhaps", "full=perhaps: expected one of drop, refuse"),
                ("mem:a?queue=0", "queue=0: expected"),
                ("mem:a?queue=1&queue=2", "`queue` is given twice"),
                ("mem:a?=1", "an option has no name"),
            ],
        }
    }

    fn sharing(&self, socket: &S) -> Option<S> {
        Some(socket.create_sharing(&self.name, None, self.flags.clone()).unwrap())
    }

    fn open(&self, spec: &str, queue: Option<usize>) -> nethuns_rs::Result<S> {
        // The rig's own names are good; whatever else is opened is a test of refusals.
        if PortSpec::parse(spec).is_ok() {
            let error = S::create(&self.name, Some(1), self.flags.clone()).err().expect("a wire has no queue 1");
            assert!(error.to_string().contains("queue 1 does not exist"), "{error}");
        }
        S::create(spec, queue, self.flags.clone())
    }
}

/// Sockets on the two ends of a veth pair in a network namespace of the test's own.
#[cfg(all(target_os = "linux", any(feature = "pcap", feature = "af_xdp")))]
struct Veth<S: Socket> {
    scheme: &'static str,
    flags: S::Flags,
    facts: Facts,
    _lab: common::netns::Lab,
}

#[cfg(all(target_os = "linux", any(feature = "pcap", feature = "af_xdp")))]
impl<S: Socket> Veth<S> {
    fn new(test: &str, scheme: &'static str, flags: S::Flags, facts: Facts) -> Option<Self> {
        let lab = common::netns::Lab::enter(test)?;
        lab.veth("left", "right", 1);
        lab.veth("further", "beyond", 1);
        Some(Self { scheme, flags, facts, _lab: lab })
    }
}

#[cfg(all(target_os = "linux", any(feature = "pcap", feature = "af_xdp")))]
impl<S: Socket + std::os::fd::AsFd + 'static> Rig for Veth<S> {
    type Sock = S;

    fn pair(&self) -> (S, S) {
        let open = |end: &str| self.open(&format!("{}:{end}", self.scheme), None).unwrap();
        (open("left"), open("right"))
    }

    fn facts(&self) -> Facts {
        self.facts.clone()
    }

    fn sharing(&self, socket: &S) -> Option<S> {
        Some(socket.create_sharing(&format!("{}:further", self.scheme), None, self.flags.clone()).unwrap())
    }

    fn open(&self, spec: &str, queue: Option<usize>) -> nethuns_rs::Result<S> {
        S::create(spec, queue, self.flags.clone())
    }
}

#[cfg(all(target_os = "linux", feature = "pcap"))]
mod pcap_rig {
    use super::*;
    use nethuns_rs::pcap::{PcapFlags, Sock};

    fn flags() -> PcapFlags {
        PcapFlags { buffer_count: FRAMES, ..PcapFlags::default() }
    }

    fn facts() -> Facts {
        Facts {
            backend: "pcap",
            max_len: 1514,
            too_big: 1600,
            window: 32,
            frames: FRAMES,
            one_pool: false,
            wrong: vec![
                ("pcap:", "the name is missing"),
                ("pcap:nowhere0", "nowhere0"),
                ("pcap:left?snaplen=0", "snaplen=0: expected a number from 1"),
                ("pcap:left?nonsense=1", "unknown option `nonsense`; known here:"),
                ("pcap:left?filter=no+such+filter", "filter"),
                ("pcap:/nonexistent/trace.pcap", "/nonexistent/trace.pcap"),
            ],
        }
    }

    pub fn direct(test: &str) -> Option<Veth<Sock>> {
        Veth::new(test, "pcap", flags(), facts())
    }

    pub fn any(test: &str) -> Option<Veth<any::Sock>> {
        Veth::new(test, "pcap", AnyFlags::from(flags()), facts())
    }

    pub fn barely_late(test: &str) -> Option<Veth<Faults<Sock>>> {
        let profile = Profile { delay: Duration::from_nanos(1), ..Profile::default() };
        // Whether the link takes a packet shows when it is due; at once, only whether a frame holds it.
        let facts = Facts { too_big: flags().buffer_size + 1, ..facts() };
        Veth::new(test, "pcap", FaultFlags { inner: flags(), plan: Plan::both(profile) }, facts)
    }
}

#[cfg(all(target_os = "linux", feature = "af_xdp"))]
mod af_xdp_rig {
    use super::*;
    use nethuns_rs::af_xdp::{AfXdpFlags, Sock};

    const FRAMES: u32 = 256;

    fn flags() -> AfXdpFlags {
        AfXdpFlags { num_frames: FRAMES, frame_size: 2048, tx_size: 64, rx_size: 64, ..AfXdpFlags::default() }
    }

    fn facts() -> Facts {
        Facts {
            backend: "af_xdp",
            max_len: 1514,
            too_big: 4096,
            window: 32,
            frames: FRAMES as usize,
            one_pool: false,
            wrong: vec![
                ("af_xdp:", "the name is missing"),
                ("af_xdp:nowhere0", "nowhere0"),
                ("af_xdp:left?nonsense=1", "unknown option `nonsense`; known here:"),
                ("af_xdp:left?frames=1", "frames"),
                ("af_xdp:left?mode=sideways", "mode=sideways: expected"),
            ],
        }
    }

    pub fn direct(test: &str) -> Option<Veth<Sock>> {
        Veth::new(test, "af_xdp", flags(), facts())
    }

    pub fn generic(test: &str) -> Option<Veth<Sock>> {
        let xdp_flags = nethuns_rs::af_xdp::XDP_FLAGS_SKB_MODE;
        Veth::new(test, "af_xdp", AfXdpFlags { xdp_flags, ..flags() }, facts())
    }

    pub fn any(test: &str) -> Option<Veth<any::Sock>> {
        Veth::new(test, "af_xdp", AnyFlags::from(flags()), facts())
    }

    pub fn barely_late(test: &str) -> Option<Veth<Faults<Sock>>> {
        let profile = Profile { delay: Duration::from_nanos(1), ..Profile::default() };
        Veth::new(test, "af_xdp", FaultFlags { inner: flags(), plan: Plan::both(profile) }, facts())
    }
}

fn mem(_: &str) -> Option<Wire<mem::Sock>> {
    Some(Wire::new(|flags| flags))
}

fn any_mem(_: &str) -> Option<Wire<any::Sock>> {
    Some(Wire::new(AnyFlags::from))
}

fn faultless(_: &str) -> Option<Wire<Faults<mem::Sock>>> {
    Some(Wire::new(|inner| FaultFlags { inner, plan: Plan::default() }))
}

/// Packets take the long way through the fault injector, and nothing happens to them there.
fn barely_late(_: &str) -> Option<Wire<Faults<mem::Sock>>> {
    let profile = Profile { delay: Duration::from_nanos(1), ..Profile::default() };
    Some(Wire::new(|inner| FaultFlags { inner, plan: Plan::both(profile) }))
}

fn any_barely_late(_: &str) -> Option<Wire<any::Sock>> {
    let profile = Profile { delay: Duration::from_nanos(1), ..Profile::default() };
    Some(Wire::new(|mem| {
        let mut flags = AnyFlags::from(mem);
        flags.faults = Plan::both(profile);
        flags
    }))
}

conformance_suite!(over_mem, mem);
conformance_suite!(over_any, any_mem);
conformance_suite!(over_faults_without_faults, faultless);
conformance_suite!(over_faults_that_queue, barely_late);
conformance_suite!(over_any_with_faults_that_queue, any_barely_late);

#[cfg(all(target_os = "linux", feature = "pcap"))]
conformance_suite!(over_pcap, pcap_rig::direct);
#[cfg(all(target_os = "linux", feature = "pcap"))]
conformance_suite!(over_any_pcap, pcap_rig::any);
#[cfg(all(target_os = "linux", feature = "pcap"))]
conformance_suite!(over_faults_over_pcap, pcap_rig::barely_late);

#[cfg(all(target_os = "linux", feature = "af_xdp"))]
conformance_suite!(over_af_xdp, af_xdp_rig::direct);
#[cfg(all(target_os = "linux", feature = "af_xdp"))]
conformance_suite!(over_generic_af_xdp, af_xdp_rig::generic);
#[cfg(all(target_os = "linux", feature = "af_xdp"))]
conformance_suite!(over_any_af_xdp, af_xdp_rig::any);
#[cfg(all(target_os = "linux", feature = "af_xdp"))]
conformance_suite!(over_faults_over_af_xdp, af_xdp_rig::barely_late);
