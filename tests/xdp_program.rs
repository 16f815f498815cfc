//! The XDP program on real interfaces: attached, shared, refused with a reason, gone again.
#![cfg(all(target_os = "linux", feature = "af_xdp"))]

mod common;

use common::caps::{BPF, NET_ADMIN, NET_RAW, with_only};
use common::netns::{Lab, ip, join, run};
use common::xsk::RawXsk;
use nethuns_rs::af_xdp::program::{AttachWish, Place, Program, Request, Source, inspect};
use nethuns_rs::api::{Attach, LinkInfo};
use nethuns_rs::{Error, Result};
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::Arc;

fn attach(name: &str, wish: AttachWish, source: &Source) -> Result<Arc<Program>> {
    Program::attach(&Request { wish, ..Request::new(name, source)? })
}

/// What `ip` says of XDP on an interface: nothing, or a mode and an id.
fn xdp_on(name: &str) -> String {
    let text = String::from_utf8(run("ip", &format!("-d link show dev {name}")).stdout).unwrap();
    text.lines().filter(|line| line.contains("xdp/id") || line.contains("prog/xdp")).collect()
}

/// An error's text, all of whose needles are there.
fn says(error: &Error, needles: &[&str]) {
    let text = error.to_string();
    for needle in needles {
        assert!(text.contains(needle), "`{text}` does not say `{needle}`");
    }
}

#[test]
fn a_program_is_attached_and_gone() {
    let Some(lab) = Lab::enter("a_program_is_attached_and_gone") else { return };
    lab.veth("va", "vb", 2);
    for (wish, attached) in [
        (AttachWish::Auto, Attach::Driver),
        (AttachWish::Driver, Attach::Driver),
        (AttachWish::Generic, Attach::Generic),
    ] {
        let program = attach("va", wish, &Source::default()).unwrap();
        assert_eq!(program.attached(), attached);
        assert_eq!(program.notes(), Vec::<String>::new());
        let id = program.prog_id().unwrap();
        assert!(xdp_on("va").contains(&format!("prog/xdp id {id}")), "{}", xdp_on("va"));
        drop(program);
        assert_eq!(xdp_on("va"), "");
    }
}

#[test]
fn sockets_of_one_process_share_a_program() {
    let Some(lab) = Lab::enter("sockets_of_one_process_share_a_program") else { return };
    lab.veth("va", "vb", 2);
    let first = attach("va", AttachWish::Auto, &Source::default()).unwrap();
    let second = attach("va", AttachWish::Driver, &Source::default()).unwrap();
    assert!(Arc::ptr_eq(&first, &second));

    let other = Source::Steer("arp".parse().unwrap());
    let error = attach("va", AttachWish::Auto, &other).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error:?}");
    says(&error, &["va is busy", "another socket of this process", "`steer=all`", "`steer=arp`"]);
    let error = attach("va", AttachWish::Generic, &Source::default()).unwrap_err();
    says(&error, &["va is busy", "driver mode", "generic mode"]);
    let source = Source::default();
    let error = Program::attach(&Request { multi_buffer: true, ..Request::new("va", &source).unwrap() }).unwrap_err();
    says(&error, &["va is busy", "jumbo"]);

    drop(first);
    assert_ne!(xdp_on("va"), "");
    drop(second);
    assert_eq!(xdp_on("va"), "");
    // Now nothing is shared any more.
    drop(attach("va", AttachWish::Auto, &other).unwrap());
    assert_eq!(xdp_on("va"), "");
}

/// One thread takes the program down while others ask for it.
#[test]
fn threads_attach_and_detach_at_will() {
    let Some(lab) = Lab::enter("threads_attach_and_detach_at_will") else { return };
    lab.veth("va", "vb", 1);
    let namespace = lab.handle();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                join(&namespace);
                for _ in 0..25 {
                    drop(attach("va", AttachWish::Auto, &Source::default()).unwrap());
                }
            });
        }
    });
    assert_eq!(xdp_on("va"), "");
}

/// `lo` has the same index in every namespace.
#[test]
fn namespaces_do_not_share() {
    let Some(_lab) = Lab::enter("namespaces_do_not_share") else { return };
    let here = attach("lo", AttachWish::Generic, &Source::default()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _lab = Lab::enter("namespaces_do_not_share").unwrap();
            assert_eq!(xdp_on("lo"), "");
            let there = attach("lo", AttachWish::Generic, &Source::default()).unwrap();
            assert!(!Arc::ptr_eq(&here, &there));
            assert_ne!(here.prog_id(), there.prog_id());
            assert!(xdp_on("lo").contains(&format!("id {}", there.prog_id().unwrap())));
        });
    });
    assert!(xdp_on("lo").contains(&format!("id {}", here.prog_id().unwrap())));
}

#[test]
fn an_interface_that_was_made_anew_gets_a_new_program() {
    let Some(_lab) = Lab::enter("an_interface_that_was_made_anew_gets_a_new_program") else { return };
    let make = || {
        ip(
            "link add va index 77 numrxqueues 1 numtxqueues 1 type veth peer name vb index 78 numrxqueues 1 numtxqueues 1",
        );
    };
    make();
    let old = attach("va", AttachWish::Auto, &Source::default()).unwrap();
    ip("link del va");
    make();
    let new = attach("va", AttachWish::Auto, &Source::default()).unwrap();
    assert!(!Arc::ptr_eq(&old, &new));
    drop(old);
    // The end of the old one leaves the new one in place, to be shared.
    assert!(xdp_on("va").contains(&format!("id {}", new.prog_id().unwrap())));
    assert!(Arc::ptr_eq(&new, &attach("va", AttachWish::Auto, &Source::default()).unwrap()));
}

#[test]
fn a_driver_without_xdp_is_told() {
    let Some(_lab) = Lab::enter("a_driver_without_xdp_is_told") else { return };
    let error = attach("lo", AttachWish::Driver, &Source::default()).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
    says(&error, &["lo: attach an XDP program in driver mode is not supported", "the driver of lo has no native XDP"]);
    let program = attach("lo", AttachWish::Auto, &Source::default()).unwrap();
    assert_eq!(program.attached(), Attach::Generic);
    assert_eq!(program.notes(), ["fell back to generic mode: the driver of lo has no native XDP"]);
    drop(program);
    assert_eq!(xdp_on("lo"), "");
    let error = attach("eth7", AttachWish::Auto, &Source::default()).unwrap_err();
    says(&error, &["eth7: no such interface", "there are lo"]);
}

#[test]
fn an_mtu_that_is_too_large_is_told() {
    let Some(lab) = Lab::enter("an_mtu_that_is_too_large_is_told") else { return };
    lab.veth("va", "vb", 1);
    ip("link set vb mtu 9000");
    let error = attach("va", AttachWish::Driver, &Source::default()).unwrap_err();
    says(
        &error,
        &["the MTU of 9000 of vb is too large", "jumbo", "`sudo ip link set dev vb mtu 3506`", "generic mode"],
    );
    let program = attach("va", AttachWish::Auto, &Source::default()).unwrap();
    assert_eq!(program.attached(), Attach::Generic);
    assert!(program.notes()[0].contains("the MTU of 9000 of vb"), "{:?}", program.notes());
    drop(program);
    let source = Source::default();
    let jumbo = Request { multi_buffer: true, wish: AttachWish::Driver, ..Request::new("va", &source).unwrap() };
    assert_eq!(Program::attach(&jumbo).unwrap().attached(), Attach::Driver);
    // What was advised works.
    ip("link set dev vb mtu 3506");
    drop(attach("va", AttachWish::Driver, &source).unwrap());
    assert_eq!(xdp_on("va"), "");
}

#[test]
fn too_few_receive_queues_are_told() {
    let Some(_lab) = Lab::enter("too_few_receive_queues_are_told") else { return };
    ip("link add va numrxqueues 1 numtxqueues 1 type veth peer name vb numrxqueues 4 numtxqueues 4");
    ip("link set va up");
    ip("link set vb up");
    let refused = |advice: &str| {
        let error = attach("va", AttachWish::Driver, &Source::default()).unwrap_err();
        says(&error, &["1 receive queues and its peer vb", &format!("`sudo {advice}`")]);
        let (command, args) = advice.split_once(' ').unwrap();
        run(command, args);
        drop(attach("va", AttachWish::Driver, &Source::default()).unwrap());
    };
    // va was made with one queue; its peer must give in.
    refused("ethtool -L vb tx 1");
    ip("link del va");
    ip("link add va numrxqueues 4 numtxqueues 4 type veth peer name vb numrxqueues 3 numtxqueues 3");
    run("ethtool", "-L va rx 1");
    ip("link set va up");
    ip("link set vb up");
    let info = inspect("va").unwrap();
    assert!(info.hints.iter().any(|hint| hint.contains("`sudo ethtool -L va rx 3`")), "{:?}", info.hints);
    refused("ethtool -L va rx 3");
}

#[test]
fn whoever_holds_the_interface_is_named() {
    let Some(lab) = Lab::enter("whoever_holds_the_interface_is_named") else { return };
    lab.veth("va", "vb", 1);
    // By netlink: nobody's program, as other tools and crashed ones leave it.
    let lender = attach("vb", AttachWish::Auto, &Source::default()).unwrap();
    let program = libbpf_rs::Program::fd_from_id(lender.prog_id().unwrap()).unwrap();
    let index = LinkInfo::of_interface("va").unwrap().index.unwrap() as i32;
    for (flags, place, word, off) in [
        (libbpf_rs::XdpFlags::SKB_MODE, Place::Generic, "generic", "xdpgeneric off"),
        (libbpf_rs::XdpFlags::DRV_MODE, Place::Driver, "driver", "xdpdrv off"),
    ] {
        libbpf_rs::Xdp::new(program.as_fd()).attach(index, flags).unwrap();
        for wish in [AttachWish::Auto, AttachWish::Driver, AttachWish::Generic] {
            let error = attach("va", wish, &Source::default()).unwrap_err();
            assert!(matches!(error, Error::Busy { .. }), "{error:?}");
            let id = format!("XDP program {} `nethuns_steer`", lender.prog_id().unwrap());
            let mode = format!("in {word} mode, by netlink");
            says(&error, &["va is busy", &id, &mode, &format!("`sudo ip link set dev va {off}`")]);
        }
        let info = inspect("va").unwrap();
        assert_eq!(info.attached.len(), 1);
        assert_eq!((info.attached[0].place, info.attached[0].link_id), (place, None));
        ip(&format!("link set dev va {off}"));
        assert_eq!(inspect("va").unwrap().attached, []);
    }
    drop(lender);
    assert_eq!((xdp_on("va"), xdp_on("vb")), (String::new(), String::new()));
}

/// The variable by which the test tells its child, another run of itself, what to hold.
const HOLD: &str = "NETHUNS_TEST_HOLD";

/// What the child of `a_killed_process_leaves_the_interface_clean` does until it is killed.
fn hold(name: &str) -> ! {
    let program = attach(name, AttachWish::Auto, &Source::default()).unwrap();
    println!("\nattached {}", program.prog_id().unwrap());
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_process_leaves_the_interface_clean() {
    if let Ok(name) = std::env::var(HOLD) {
        hold(&name);
    }
    let Some(lab) = Lab::enter("a_killed_process_leaves_the_interface_clean") else { return };
    lab.veth("va", "vb", 1);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "a_killed_process_leaves_the_interface_clean"])
        .env(HOLD, "va")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let id: u32 = loop {
        let line = lines.next().expect("the child attaches").unwrap();
        if let Some(id) = line.strip_prefix("attached ") {
            break id.parse().unwrap();
        }
    };
    let error = attach("va", AttachWish::Auto, &Source::default()).unwrap_err();
    let [held, kill] = [format!("held by process {} (", child.id()), format!("`sudo kill {}`", child.id())];
    says(&error, &["va is busy", &format!("XDP program {id}"), "in driver mode, by bpf_link", &held, &kill]);
    // SIGKILL: no destructor runs.
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(xdp_on("va"), "");
    drop(attach("va", AttachWish::Auto, &Source::default()).unwrap());
}

#[test]
fn missing_rights_are_named() {
    let Some(lab) = Lab::enter("missing_rights_are_named") else { return };
    lab.veth("va", "vb", 1);
    let exe = std::env::current_exe().unwrap();
    let setcap = format!("`sudo setcap cap_net_raw,cap_net_admin,cap_bpf+ep {}`", exe.display());
    for (keep, missing) in [
        (vec![], "CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF are missing"),
        (vec![NET_RAW], "CAP_NET_ADMIN and CAP_BPF are missing"),
        (vec![NET_RAW, BPF], "CAP_NET_ADMIN is missing"),
        (vec![NET_RAW, NET_ADMIN], "CAP_BPF is missing"),
    ] {
        let error = with_only(&keep, || attach("va", AttachWish::Auto, &Source::default()).unwrap_err());
        assert!(matches!(error, Error::Permission { .. }), "{error:?}");
        says(&error, &["va: ", missing, &setcap]);
    }
    // These three are enough for everything.
    with_only(&[NET_RAW, NET_ADMIN, BPF], || {
        let program = attach("va", AttachWish::Driver, &Source::Steer("udp:53+10.0.0.2".parse().unwrap())).unwrap();
        program.insert(0, RawXsk::new().unwrap().as_fd()).unwrap();
        // Who holds it cannot be told without more.
        let info = inspect("va").unwrap();
        assert_eq!((info.attached.len(), info.attached[0].name.as_deref()), (1, None));
        assert!(!info.attached[0].links_known);
    });
    assert_eq!(xdp_on("va"), "");
}

#[test]
fn a_slot_takes_one_socket() {
    let Some(lab) = Lab::enter("a_slot_takes_one_socket") else { return };
    lab.veth("va", "vb", 2);
    let program = attach("va", AttachWish::Auto, &Source::default()).unwrap();
    let (first, second) = (RawXsk::new().unwrap(), RawXsk::new().unwrap());
    program.insert(0, first.as_fd()).unwrap();
    program.insert(1, second.as_fd()).unwrap();
    let error = program.insert(0, second.as_fd()).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error:?}");
    says(&error, &["queue 0 of va is busy", "another socket"]);
    program.remove(0);
    program.remove(0);
    program.insert(0, second.as_fd()).unwrap();
    // The kernel empties the slots of a socket that is closed.
    drop(second);
    program.insert(1, first.as_fd()).unwrap();
    let error = program.insert(64, first.as_fd()).unwrap_err();
    says(&error, &["queue 64 of va", "queues 0 to 63"]);
}

#[test]
fn what_is_known_of_an_interface_is_listed() {
    let Some(lab) = Lab::enter("what_is_known_of_an_interface_is_listed") else { return };
    lab.veth("va", "vb", 2);
    let info = inspect("va").unwrap();
    assert_eq!(info.kind.as_deref(), Some("veth"));
    assert_eq!(info.peer.as_ref().map(|peer| peer.name.as_str()), Some("vb"));
    assert!(!info.peer_elsewhere);
    assert_eq!(info.link.rx_queues, Some(2));
    let features = info.features.expect("the kernel of the test machine tells them");
    assert!(features.basic && features.redirect && !features.zero_copy, "{features}");
    assert!(info.hints.iter().any(|hint| hint.contains("`sudo ethtool -K vb tx off`")), "{:?}", info.hints);

    let program = attach("va", AttachWish::Auto, &Source::default()).unwrap();
    let info = inspect("va").unwrap();
    let [attached] = info.attached.as_slice() else { panic!("{info:?}") };
    assert_eq!(Some(attached.id), program.prog_id());
    assert_eq!(attached.name.as_deref(), Some("nethuns_steer"));
    assert_eq!(attached.place, Place::Driver);
    assert!(attached.link_id.is_some() && attached.links_known);
    assert!(attached.holders.iter().any(|(pid, _)| *pid == std::process::id()), "{attached}");
    drop(program);

    // The other end in another namespace, and nothing on top of it.
    std::thread::scope(|scope| {
        let (send, receive) = std::sync::mpsc::channel();
        let (done, wait) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            let _lab = Lab::enter("what_is_known_of_an_interface_is_listed").unwrap();
            // The last part of this link is the thread's number.
            let thread = std::fs::read_link("/proc/thread-self").unwrap();
            send.send(thread.file_name().unwrap().to_str().unwrap().to_owned()).unwrap();
            wait.recv().unwrap_err();
        });
        ip(&format!("link set vb netns {}", receive.recv().unwrap()));
        let info = inspect("va").unwrap();
        assert!(info.peer_elsewhere && info.peer.is_none());
        drop(done);
    });

    let info = inspect("lo").unwrap();
    assert_eq!((info.kind, info.peer, info.features.map(|f| f.basic)), (None, None, Some(false)));
    says(&inspect("eth7").unwrap_err(), &["there are lo"]);
}
