//! AF_XDP and the life of a process: killed without warning, without rights, without an allocation.
#![cfg(all(target_os = "linux", feature = "af_xdp"))]
#![allow(unsafe_code)]

mod common;

use common::netns::{Lab, run};
use common::xdp::{PATIENCE, assert_clean, expect, open, receive, send};
use nethuns_rs::af_xdp::program::Request;
use nethuns_rs::af_xdp::{AfXdpFlags, AttachWish, Program, Sock, Source, Steering};
use nethuns_rs::api::{Attach, Interest, Socket};
use nethuns_rs::errors::Error;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Which interface the child of `a_killed_receiver_leaves_nothing_behind`, another run of itself, receives on.
const CHILD: &str = "NETHUNS_TEST_RECEIVE_ON";

/// What that child does.
fn receive_until_killed(spec: &str) -> ! {
    let socket = open(spec);
    let (mut held, mut said) = (Vec::new(), false);
    loop {
        socket.wait(Interest::Readable, None).unwrap();
        let n = socket.recv_each(64, |token, _| held.push(token)).unwrap();
        held.truncate(100);
        if n > 0 && !said {
            println!("received");
            said = true;
        }
    }
}

fn xdp_on(interface: &str) -> bool {
    let output = run("ip", &format!("-d link show {interface}"));
    String::from_utf8(output.stdout).unwrap().contains("xdp")
}

#[test]
fn a_killed_receiver_leaves_nothing_behind() {
    if let Ok(spec) = std::env::var(CHILD) {
        receive_until_killed(&spec);
    }
    let Some(lab) = Lab::enter("a_killed_receiver_leaves_nothing_behind") else { return };
    lab.veth("va", "vb", 1);
    let sender = open("va");
    for mode in ["driver", "generic"] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["a_killed_receiver_leaves_nothing_behind", "--exact", "--nocapture"])
            .env(CHILD, format!("vb?mode={mode}&promisc"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let start = Instant::now();
        while !xdp_on("vb") {
            assert!(start.elapsed() < PATIENCE, "the child never attached");
            std::thread::sleep(Duration::from_millis(5));
        }
        let feeding = std::thread::scope(|scope| {
            let heard = scope.spawn(move || lines.any(|line| line.unwrap().contains("received")));
            while !heard.is_finished() && start.elapsed() < PATIENCE {
                send(&sender, 8, 60);
                std::thread::sleep(Duration::from_millis(2));
            }
            // SAFETY: a signal to a child that has not been waited for, so the number is still its own.
            unsafe { libc::kill(child.id() as i32, libc::SIGKILL) };
            heard.join().unwrap()
        });
        let died_of = std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap());
        assert_eq!(died_of, Some(libc::SIGKILL));
        assert!(feeding, "it was receiving when it was killed");
        let start = Instant::now();
        while xdp_on("vb") {
            assert!(start.elapsed() < PATIENCE, "the program is still attached");
            std::thread::sleep(Duration::from_millis(1));
        }
        let after = String::from_utf8(run("ip", "-d link show vb").stdout).unwrap();
        assert!(after.contains("promiscuity 0"), "{after}");
        // In the other mode: a program left over would be in the way.
        let socket = open(if mode == "driver" { "vb?mode=generic" } else { "vb?mode=driver" });
        send(&sender, 20, 60);
        expect(&socket, 20, 60);
    }
}

/// Leaves the calling thread no capability but CAP_NET_RAW.
fn drop_capabilities() {
    const VERSION_3: u32 = 0x2008_0522;
    const NET_RAW: u32 = 13;
    let header = [VERSION_3, 0];
    // Effective, permitted and inheritable, each in two words.
    let data = [1u32 << NET_RAW, 1 << NET_RAW, 0, 0, 0, 0];
    // SAFETY: both arrays have the layout of `cap_user_header_t` and two `cap_user_data_t` (capset(2)).
    let done = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// A bpffs in a mount namespace of the calling thread.
fn bpffs(at: &std::path::Path) {
    std::fs::create_dir_all(at).unwrap();
    let at = std::ffi::CString::new(at.to_str().unwrap()).unwrap();
    // SAFETY: system calls on strings that live; the namespace is this thread's own after the first.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0, "{}", std::io::Error::last_os_error());
        let private = libc::MS_REC | libc::MS_PRIVATE;
        let none = std::ptr::null();
        assert_eq!(libc::mount(none, c"/".as_ptr(), none, private, none.cast()), 0);
        let done = libc::mount(c"bpf".as_ptr(), at.as_ptr(), c"bpf".as_ptr(), 0, none.cast());
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }
}

#[test]
fn a_process_without_rights_receives_through_a_pinned_map() {
    let Some(lab) = Lab::enter("a_process_without_rights_receives_through_a_pinned_map") else { return };
    lab.veth("va", "vb", 1);
    lab.veth("vc", "vd", 1);
    let directory = std::env::temp_dir().join(format!("nethuns-bpf-{}", std::process::id()));
    bpffs(&directory);
    let map = directory.join("xsks");
    let link = nethuns_rs::api::LinkInfo::of_interface("vb").unwrap();
    let request = Request {
        ifname: "vb",
        ifindex: link.index.unwrap(),
        wish: AttachWish::Driver,
        multi_buffer: false,
        source: &Source::Steer(Steering::all()),
        queues: 1,
    };
    let program = Program::attach(&request).unwrap();
    program.pin_map(&map).unwrap();
    let sender = open("va");
    std::thread::scope(|scope| {
        let map = map.display();
        scope
            .spawn(move || {
                drop_capabilities();
                // With a program of its own it would need more, and says what.
                match Sock::create("vc?frames=512&rx=256&tx=256", None, AfXdpFlags::default()) {
                    Err(error @ Error::Permission { .. }) => {
                        let text = error.to_string();
                        assert!(text.contains("setcap cap_net_raw,cap_net_admin,cap_bpf+ep /"), "{text}");
                    }
                    other => panic!("{other:?}"),
                }
                let socket = open(&format!("vb?frames=512&rx=256&tx=256&xsk_map={map}"));
                assert_eq!(socket.mode().attach, Some(Attach::External));
                send(&sender, 100, 60);
                expect(&socket, 100, 60);
                send(&socket, 100, 60);
                expect(&sender, 100, 60);
                assert_clean(&socket);
                // More memory than an ordinary process may lock.
                limit_locked_memory(1 << 20);
                let text = match Sock::create(&format!("vb?xsk_map={map}"), None, AfXdpFlags::default()) {
                    Err(error) => error.to_string(),
                    Ok(socket) => panic!("opened: {}", socket.mode()),
                };
                assert!(text.contains("`ulimit -l"), "{text}");
            })
            .join()
            .unwrap();
    });
    drop(program);
    assert!(!xdp_on("vb"));
    let _ = std::fs::remove_dir(&directory);
}

/// Lowers the soft limit of the process. Other tests of this binary have CAP_IPC_LOCK, which lifts it.
fn limit_locked_memory(bytes: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a live structure, read and written by the kernel.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit), 0);
        limit.rlim_cur = bytes.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit), 0);
    }
}

/// Counts what the calling thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl std::alloc::GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: std::alloc::Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: as the caller vouches.
        unsafe { std::alloc::System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: std::alloc::Layout) {
        // SAFETY: as the caller vouches.
        unsafe { std::alloc::System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn the_steady_state_allocates_nothing() {
    let Some(lab) = Lab::enter("the_steady_state_allocates_nothing") else { return };
    lab.veth("va", "vb", 2);
    for end in ["va", "vb"] {
        common::netns::ip(&format!("link set {end} mtu 9000"));
    }
    let (a, b) = (open("va?jumbo=9100"), open("vb?jumbo=9100&timestamps"));
    let packet = common::xdp::frame(0, 60);
    let jumbo = common::xdp::frame(0, 8000);
    let mut tokens = Vec::with_capacity(64);
    let mut turn = || {
        for _ in 0..16 {
            a.send(&packet).unwrap();
        }
        a.send(&jumbo).unwrap();
        a.send_payload(a.alloc(60).unwrap()).unwrap();
        a.flush();
        let start = Instant::now();
        while tokens.len() < 18 {
            b.wait(Interest::Readable, Some(Duration::from_millis(10))).unwrap();
            b.recv_each(64, |token, _| tokens.push(token)).unwrap();
            assert!(start.elapsed() < PATIENCE);
        }
        // One is dropped as a token, one read, the others go back.
        drop(tokens.pop());
        drop(tokens.pop().unwrap().consume(b.context()));
        b.send_tokens(&mut tokens).unwrap();
        b.flush();
        let mut back = 0;
        while back < 16 {
            a.wait(Interest::Readable, Some(Duration::from_millis(10))).unwrap();
            back += a.recv_each(64, |token, _| drop(token.consume(a.context()))).unwrap();
            assert!(start.elapsed() < PATIENCE);
        }
        let _ = (a.stats(), b.frames_in_flight());
    };
    for _ in 0..200 {
        turn();
    }
    let before = ALLOCATIONS.with(std::cell::Cell::get);
    for _ in 0..500 {
        turn();
    }
    let allocated = ALLOCATIONS.with(std::cell::Cell::get) - before;
    assert_eq!(allocated, 0, "allocations in 9000 packets");
    drop(receive(&a, 0));
    assert_clean(&a);
    assert_clean(&b);
}
