//! A network namespace of the test's own.
//!
//! [`Lab::enter`] moves the calling thread into a fresh namespace. Interfaces made there, programs attached to them and
//! processes started from the thread live in it; it is gone with the last of them, even after `kill -9`, so that nothing
//! is ever left behind. Note that `/sys` keeps showing the namespace the process was started in.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Output};

/// Proof that this thread is in a namespace of its own.
pub struct Lab(());

impl Lab {
    /// Enters a fresh namespace with `lo` up and IPv6 off (no stray packets). `None`, and a line that names the test
    /// and the reason, where the process may not do that: the test then returns.
    pub fn enter(test: &str) -> Option<Self> {
        // SAFETY: unshare takes no pointers; it affects this thread only.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            super::skip(test, format_args!("needs root (unshare: {})", std::io::Error::last_os_error()));
            return None;
        }
        for which in ["default", "all"] {
            let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6"), "1");
        }
        ip("link set lo up");
        Some(Self(()))
    }

    /// Makes a veth pair, both ends up in this namespace, with `queues` receive and transmit queues each.
    pub fn veth(&self, a: &str, b: &str, queues: u32) {
        ip(&format!(
            "link add {a} numrxqueues {queues} numtxqueues {queues} type veth peer name {b} numrxqueues {queues} numtxqueues {queues}"
        ));
        for end in [a, b] {
            ip(&format!("link set {end} up"));
        }
    }

    /// A handle on this thread's namespace, for [`join`] and `ip link set … netns`.
    pub fn handle(&self) -> OwnedFd {
        std::fs::File::open("/proc/thread-self/ns/net").expect("this thread's namespace").into()
    }
}

/// Moves the calling thread into a namespace.
pub fn join(namespace: &OwnedFd) {
    // SAFETY: setns takes a descriptor that is open; it affects this thread only.
    let done = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(done, 0, "setns: {}", std::io::Error::last_os_error());
}

/// Runs `ip` with these arguments in the thread's namespace.
pub fn ip(args: &str) {
    run("ip", args);
}

/// Runs a command in the thread's namespace and insists that it succeeds.
pub fn run(command: &str, args: &str) -> Output {
    let output = Command::new(command)
        .args(args.split_whitespace())
        .output()
        .unwrap_or_else(|e| panic!("{command}: {e}: install it (scripts/test.sh does)"));
    assert!(output.status.success(), "{command} {args}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
