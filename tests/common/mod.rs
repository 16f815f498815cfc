//! What integration tests share. Each test binary uses a part of it.
#![allow(dead_code, unused_imports, reason = "every test binary compiles the whole module and uses a part of it")]

#[cfg(target_os = "linux")]
pub mod bpffs;
#[cfg(target_os = "linux")]
pub mod caps;
#[cfg(unix)]
pub mod conformance;
pub mod counting;
#[cfg(all(target_os = "linux", feature = "dpdk"))]
pub mod dpdk;
#[cfg(all(unix, feature = "net"))]
pub mod host;
#[cfg(target_os = "linux")]
pub mod netns;
#[cfg(all(target_os = "linux", feature = "af_xdp"))]
pub mod xdp;
#[cfg(all(target_os = "linux", feature = "af_xdp"))]
pub mod xsk;

/// Says that a test, or a part of one, cannot run on this machine, and why. `scripts/test.sh` collects these lines from
/// the file that `NETHUNS_SKIP_LOG` names, since the test harness hides what a passing test prints.
pub fn skip(test: &str, reason: impl std::fmt::Display) {
    let line = format!("SKIPPED {test}: {reason}\n");
    print!("{line}");
    if let Some(log) = std::env::var_os("NETHUNS_SKIP_LOG") {
        use std::io::Write;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log);
        let _ = log.and_then(|mut log| log.write_all(line.as_bytes()));
    }
}
