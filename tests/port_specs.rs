//! Port specs through `any`: which backend, which options, which refusal.

mod common;

use nethuns_rs::Error;
use nethuns_rs::any::{AnyFlags, Sock, backends};
use nethuns_rs::api::{SCHEMES, Socket};
use nethuns_rs::mem::faults::{Plan, Profile};

#[path = "../fuzz/entries/port_spec.rs"]
mod fuzz;

fn open(spec: &str) -> nethuns_rs::Result<Sock> {
    Sock::create(spec, None, AnyFlags::default())
}

/// Specs and a part of what must be said of each.
fn refused(cases: &[(&str, &str)]) {
    for (spec, part) in cases {
        match open(spec) {
            Ok(socket) => panic!("{spec}: opened as {}", socket.mode()),
            Err(error) => assert!(error.to_string().contains(part), "{spec}: {error}"),
        }
    }
}

/// Specs and what the mode of the socket must begin with.
fn opened(cases: &[(&str, &str)]) {
    for (spec, mode) in cases {
        let socket = open(spec).unwrap_or_else(|error| panic!("{spec}: {error}"));
        assert!(socket.mode().to_string().starts_with(mode), "{spec}: {}", socket.mode());
        assert_eq!(socket.scheme(), socket.mode().backend);
    }
}

#[test]
fn every_scheme_is_listed() {
    let listed: Vec<&str> = backends().iter().map(|b| b.scheme).collect();
    assert_eq!(listed, SCHEMES);
    for backend in backends() {
        assert!(backend.example.starts_with(&format!("{}:", backend.scheme)), "{backend:?}");
        assert!(!backend.about.is_empty() && !backend.enable.is_empty());
        let error = open(&format!("{}:no such port", backend.scheme)).map(drop);
        let absent = matches!(&error, Err(Error::Unsupported { help, .. }) if help == backend.enable);
        assert_eq!(absent, !backend.compiled, "{}: {error:?}", backend.scheme);
    }
}

#[test]
fn an_interface_is_not_guessed_at() {
    for name in ["eth0", "lo", "0000:01:00.0", "eth0?frames=4", "ethernet", "Mem:a", "xdp:eth0"] {
        let error = open(name).map(drop).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::PortSpec { .. }), "{text}");
        let name = name.split('?').next().unwrap();
        assert!(text.contains("say which backend") && text.contains(&format!("`mem:{name}`")), "{text}");
        for backend in backends() {
            assert_eq!(text.contains(&format!("`{}:{name}`", backend.scheme)), backend.compiled, "{text}");
        }
    }
}

#[test]
fn mem() {
    opened(&[
        ("mem:specs-a", "mem:specs-a queues 0, 4096 frames of 2048 B"),
        ("mem:specs-b?frames=16&frame_size=128", "mem:specs-b queues 0, 16 frames of 128 B"),
        ("mem:specs-c?frames=1Ki&queue=4&full=refuse&timestamps", "mem:specs-c queues 0, 1024 frames"),
        ("mem:specs%3F", "mem:specs? queues 0"),
        ("mem:été", "mem:été queues 0"),
        ("mem:eth0", "mem:eth0 queues 0"),
    ]);
    refused(&[
        ("mem:", "the name is missing"),
        ("mem:a?frames", "frames=: expected a value"),
        ("mem:a?frames=1", "frames=1: expected a number from 2 to 16777216"),
        ("mem:a?frames=-1", "frames=-1: expected a number"),
        ("mem:a?frame_size=63", "frame_size=63: expected a number from 64 to 1048576"),
        ("mem:a?queue=0", "queue=0: expected a number from 1"),
        ("mem:a?full=never", "full=never: expected one of drop, refuse"),
        ("mem:a?timestamps=maybe", "timestamps=maybe: expected on or off"),
        ("mem:a?snaplen=96", "unknown option `snaplen`; known here: frame_size, frames, full, queue, timestamps"),
        ("mem:a?frames=4&frames=5", "option `frames` is given twice"),
    ]);
    assert!(matches!(
        Sock::create("mem:specs-queue", Some(1), AnyFlags::default()).map(drop),
        Err(Error::NoSuchPort { .. })
    ));
    let first = open("mem:specs-size?frame_size=128").unwrap();
    let error = open("mem:specs-size?frame_size=129").map(drop).unwrap_err().to_string();
    assert!(error.contains("frame_size=129: expected at most 128"), "{error}");
    drop(first);
    // The wire went with its last socket: a new one may be larger.
    opened(&[("mem:specs-size?frame_size=129", "mem:specs-size queues 0, 4096 frames of 129 B")]);
}

#[test]
fn faults_go_with_every_backend_and_never_reach_it() {
    let socket = open("mem:specs-faults?loss=5%&frames=32&delay=1ms&seed=3").unwrap();
    let faults = socket.faults().expect("a fault injector");
    let profile = Profile { loss: 0.05, delay: std::time::Duration::from_millis(1), ..Profile::default() };
    assert_eq!((&faults.plan().rx, &faults.plan().tx, faults.seed()), (&profile, &profile, 3));
    let mode = socket.mode();
    assert_eq!((mode.backend, mode.frames), ("mem", 32));
    assert_eq!(mode.notes, ["faults injected: faults=both&loss=0.05&delay=1000000ns&seed=3"]);
    assert!(mode.to_string().ends_with("; faults injected: faults=both&loss=0.05&delay=1000000ns&seed=3"));

    let one_way = open("mem:specs-faults?faults=tx&dup=1").unwrap();
    let plan = one_way.faults().unwrap().plan();
    assert!(plan.rx.is_clean() && plan.tx.duplicate >= 1.0);

    // Nothing goes wrong: nothing is wrapped.
    for spec in ["mem:specs-faults", "mem:specs-faults?loss=0", "mem:specs-faults?seed=1&faults=rx&gap=5"] {
        assert!(open(spec).unwrap().faults().is_none(), "{spec}");
    }
    // Flags say the same; the spec is put over them.
    let flags = AnyFlags::from(Plan::both(Profile { loss: 0.5, corrupt: 1.0, ..Profile::default() }).seeded(9));
    let socket = Sock::create("mem:specs-faults?loss=0&faults=rx", None, flags).unwrap();
    let faults = socket.faults().unwrap();
    assert_eq!((faults.plan().rx.loss, faults.plan().tx.loss, faults.seed()), (0.0, 0.5, 9));

    // Delays run on the clock of the wire.
    let clock = nethuns_rs::mem::SimClock::new();
    let flags = nethuns_rs::mem::MemFlags {
        clock: nethuns_rs::mem::Clock::Simulated(clock.clone()),
        ..nethuns_rs::mem::MemFlags::default()
    };
    let late = Sock::create("mem:specs-faults-clock?delay=3ms", None, flags.into()).unwrap();
    late.send(b"late").unwrap();
    clock.advance_to(1);
    assert_eq!(late.faults().unwrap().next_due(), Some(3_000_000));

    refused(&[
        ("mem:a?loss=2", "loss=2: expected a probability"),
        ("mem:a?delay=3", "delay=3: expected a duration with its unit"),
        ("mem:a?rate=0", "rate=0: expected"),
        ("mem:a?faults=maybe", "faults=maybe: expected one of rx, tx, both"),
        ("mem:a?lost=1%", "unknown option `lost`"),
        ("mem:a?loss=1%&loss=2%", "option `loss` is given twice"),
        ("mem:?loss=1%", "the name is missing"),
    ]);
}

#[test]
fn pools_are_shared_within_a_backend_only() {
    let socket = open("mem:specs-sharing").unwrap();
    let sound = socket.create_sharing("mem:specs-sharing", None, AnyFlags::default()).unwrap();
    let bad = socket.create_sharing("mem:specs-sharing?loss=1", None, AnyFlags::default()).unwrap();
    assert!(sound.faults().is_none() && bad.faults().is_some());
    let again = bad.create_sharing("mem:specs-sharing", None, AnyFlags::default()).unwrap();
    use nethuns_rs::api::Context;
    for other in [&sound, &bad, &again] {
        assert_eq!(other.context().pool_id(), socket.context().pool_id());
    }
    for (spec, part) in [
        ("mem:specs-sharing-other", "each wire in memory has a pool of its own"),
        ("pcap:lo", "only ports of one backend share a pool"),
        ("nowhere0", "say which backend"),
    ] {
        let error = socket.create_sharing(spec, None, AnyFlags::default()).map(drop).unwrap_err();
        assert!(error.to_string().contains(part), "{spec}: {error}");
    }
}

#[cfg(feature = "pcap")]
#[test]
fn capture_files() {
    let folder = std::env::temp_dir().join(format!("nethuns-port-specs-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    for (name, how) in [("a.pcap", "write"), ("b.pcapng", "write"), ("c.cap", "write"), ("d", "write&format=pcapng")] {
        let path = file(name);
        let scheme = if name == "d" { "pcap:" } else { "" };
        let out = open(&format!("{scheme}{path}?{how}")).unwrap_or_else(|error| panic!("{name}: {error}"));
        out.send(&[7; 60]).unwrap();
        out.flush();
        drop(out);
        // A file that exists needs no scheme, whatever it is called.
        for spec in [path.clone(), format!("pcap:{path}"), format!("{path}?snaplen=40&buffers=4")] {
            let back = open(&spec).unwrap_or_else(|error| panic!("{spec}: {error}"));
            assert_eq!(back.scheme(), "pcap");
            let cut = spec.contains("snaplen");
            assert_eq!(back.recv().unwrap().0.len(), if cut { 40 } else { 60 }, "{spec}");
            assert!(matches!(back.recv().map(drop), Err(Error::EndOfFile)), "{spec}");
        }
    }
    // A bad port, this one too.
    let bad = open(&format!("{}?loss=1&faults=rx", file("a.pcap"))).unwrap();
    assert!(matches!(bad.recv().map(drop), Err(Error::EndOfFile)));
    assert_eq!((bad.stats().rx_dropped.injected, bad.scheme()), (1, "pcap"));

    let missing = file("missing.pcap");
    refused(&[
        (missing.as_str(), "missing.pcap"),
        (&format!("{missing}?nonsense=1"), "unknown option `nonsense`"),
        (&format!("{missing}?write&append"), "choose one"),
        (&format!("{missing}?write&format=text"), "format=text: expected one of pcap, pcapng"),
        (&format!("{}?snaplen=0", file("a.pcap")), "snaplen=0: expected a number from 1"),
        (&format!("{}?frames=5", file("a.pcap")), "unknown option `frames`"),
    ]);
    assert!(!folder.join("missing.pcap").exists(), "a refused spec makes no file");
    std::fs::remove_dir_all(folder).unwrap();
}

#[cfg(all(target_os = "linux", feature = "pcap"))]
#[test]
fn pcap_interfaces() {
    let Some(lab) = common::netns::Lab::enter("port_specs::pcap_interfaces") else { return };
    lab.veth("eth0", "eth1", 1);
    opened(&[
        ("pcap:eth0", "pcap:eth0 queues 0, 32 frames of 2048 B"),
        ("pcap:eth0?buffers=8&buffer_size=512&snaplen=256", "pcap:eth0 queues 0, 8 frames of 512 B"),
        ("pcap:eth0?promisc=off&immediate=on&timeout=5ms&kernel_buffer=1Mi", "pcap:eth0 queues 0"),
        ("pcap:eth0?filter=udp%20port%2053&direction=both", "pcap:eth0 queues 0"),
        ("pcap:eth0?loss=1%", "pcap:eth0 queues 0"),
    ]);
    refused(&[
        ("pcap:nowhere0", "nowhere0"),
        ("pcap:eth0?kernel_buffer=1", "kernel_buffer=1: expected a number from 65536"),
        ("pcap:eth0?filter=udp%20and%20and", "filter"),
        ("pcap:eth0?direction=up", "direction=up: expected one of in, out, both"),
        ("pcap:eth0?timeout=5", "timeout=5: expected a duration"),
        ("pcap:eth0?buffers=0", "buffers=0: expected a number from 1"),
        ("pcap:eth0?frames=64", "unknown option `frames`"),
        ("eth0", "`pcap:eth0`"),
    ]);
}

#[cfg(all(target_os = "linux", feature = "af_xdp"))]
#[test]
fn af_xdp_interfaces() {
    let Some(lab) = common::netns::Lab::enter("port_specs::af_xdp_interfaces") else { return };
    lab.veth("eth0", "eth1", 2);
    opened(&[
        ("af_xdp:eth0", "af_xdp:eth0 queues 0,1, 4096 frames of"),
        ("af_xdp:eth0?queues=1", "af_xdp:eth0 queues 1, "),
        ("af_xdp:eth0?queues=0-1&frames=512&frame_size=2048&rx=128&tx=64", "af_xdp:eth0 queues 0,1, 512 frames of"),
        ("af_xdp:eth0?mode=generic&need_wakeup=off", "af_xdp:eth0 queues 0,1"),
        ("af_xdp:eth0?zerocopy=forbid&delay=1ms", "af_xdp:eth0 queues 0,1"),
    ]);
    refused(&[
        ("af_xdp:nowhere0", "nowhere0"),
        ("af_xdp:eth0?queues=7", "7"),
        ("af_xdp:eth0?queues=1-0", "queues=1-0: expected numbers and ranges"),
        ("af_xdp:eth0?mode=warp", "mode=warp: expected one of auto, driver, generic"),
        ("af_xdp:eth0?zerocopy=perhaps", "zerocopy=perhaps: expected one of require, prefer, forbid"),
        ("af_xdp:eth0?frame_size=1000", "frame_size"),
        ("af_xdp:eth0?rx=100", "rx"),
        ("af_xdp:eth0?snaplen=64", "unknown option `snaplen`"),
        ("eth0", "`af_xdp:eth0`"),
    ]);
}

/// What `cargo fuzz run port_spec` does, for a moment, without its tools: good specs with a few characters changed.
#[test]
fn specs_with_errors_in_them() {
    const GOOD: [&str; 6] = [
        "mem:a?frames=64&loss=1%&dup=0.5&seed=7&faults=rx",
        "pcap:tr%C3%A4ce%3F.pcapng?filter=udp%20port%2053&timeout=5ms&x=3",
        "af_xdp:eth0?queues=0-3,7&mode=driver&frames=4Ki&delay=1.5ms&jitter=10us&rate=10M",
        "dpdk:0000:01:00.0?a=driver&loss",
        "C:\\trace.pcap?x=0.25&hold=2s&gap=5&limit=100&corrupt=1e-3",
        "mem:a?reorder=0.1&delay=99999999999999999999999999s",
    ];
    const CHARACTERS: [&str; 20] = [
        "?",
        "&",
        "=",
        "%",
        ":",
        ",",
        "-",
        ".",
        "0",
        "9",
        "a",
        "f",
        "\0",
        "é",
        "\u{10FFFF}",
        " ",
        "%00",
        "Ki",
        "ms",
        "loss",
    ];
    let mut state = 11u64;
    let mut below = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    GOOD.iter().for_each(|spec| fuzz::port_spec(spec.as_bytes()));
    for round in 0..5_000 {
        let mut spec: Vec<char> = GOOD[round % GOOD.len()].chars().collect();
        for _ in 0..1 + below(4) {
            let at = below(spec.len() + 1);
            match below(3) {
                0 => drop(spec.splice(at..at, CHARACTERS[below(CHARACTERS.len())].chars())),
                1 => spec.truncate(at.max(3)),
                _ => drop(spec.drain(at..(at + below(4)).min(spec.len()))),
            }
        }
        fuzz::port_spec(spec.into_iter().collect::<String>().as_bytes());
    }
    fuzz::port_spec(b"mem:\xff");
}
