//! The machine: kernel, limits, rights, backends.

use crate::{Findings, Severity};
use nethuns_rs::any;
use std::fs;
use std::path::{Path, PathBuf};

/// What `/proc` says of memory that may be locked: a limit in bytes (`None`: no limit).
fn memlock(limits: &str) -> Option<Option<u64>> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(None),
        bytes => bytes.parse().ok().map(Some),
    }
}

/// Major and minor of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// A field of `/proc/meminfo`.
fn meminfo(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Whether the effective set of `/proc/self/status` has a capability.
fn capable(status: &str, capability: u32) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_some_and(|set| set & 1 << capability != 0)
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Kernel, CPUs, clock, memory.
pub fn machine() -> Findings {
    let mut findings = Findings::about("system", None);
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match read("/proc/sys/kernel/osrelease") {
        None => {
            findings.add(Severity::Note, format!("{} on {}: not Linux", std::env::consts::OS, std::env::consts::ARCH))
        }
        Some(release) => kernel(&mut findings, &release, cpus),
    }
    if cpus < 2 {
        findings.add(Severity::Note, "one CPU: a generator that spins leaves nothing to the receiver (--no-spin)");
    }
    if read("/proc/sys/net/core/bpf_jit_enable").as_deref() == Some("0") {
        let fix = "sudo sysctl net.core.bpf_jit_enable=1";
        findings.add_fix(Severity::Warning, "BPF programs are interpreted: every XDP program is slow", fix);
    }
    if let Some(clock) = read("/sys/devices/system/clocksource/clocksource0/current_clocksource") {
        if ["hpet", "acpi_pm", "jiffies", "refined-jiffies"].contains(&clock.as_str()) {
            let text = format!("clock source {clock}: every look at the clock is a slow call; stamps and rates suffer");
            findings.add(Severity::Warning, text);
        }
    }
    if let Some(text) = read("/proc/meminfo") {
        let pages = |field| meminfo(&text, field);
        match (pages("HugePages_Total"), pages("HugePages_Free"), pages("Hugepagesize")) {
            (Some(0), _, Some(size)) => findings.add_fix(
                Severity::Note,
                format!("no huge pages of {size} KiB reserved (only for `hugepages` in a port spec, and DPDK)"),
                "sudo sysctl vm.nr_hugepages=64",
            ),
            (Some(total), Some(free), Some(size)) => {
                findings.add(Severity::Ok, format!("{total} huge pages of {size} KiB, {free} free"));
            }
            _ => {}
        }
    }
    findings
}

fn kernel(findings: &mut Findings, release: &str, cpus: usize) {
    let text = format!("Linux {release}, {cpus} CPUs");
    match version(release) {
        // XDP by bpf_link: see bpf_xdp_link_attach in net/core/dev.c.
        Some(found) if found < (5, 9) => {
            findings.add(
                Severity::Problem,
                format!("{text}: AF_XDP needs 5.9, for programs that go when their process ends"),
            );
        }
        Some(found) if found < (6, 6) => {
            findings.add(Severity::Note, format!("{text}: AF_XDP works; jumbo frames of several buffers need 6.6"));
        }
        _ => findings.add(Severity::Ok, text),
    }
}

/// What the process may do.
pub fn rights(program: Option<PathBuf>) -> Findings {
    const IPC_LOCK: u32 = 14;
    // Frames of the default pool.
    const DEFAULT_POOL: u64 = 4096 * 4096;
    let mut findings = Findings::about("rights", None);
    let Some(status) = read("/proc/self/status") else {
        findings.add(Severity::Note, "not known on this system");
        return findings;
    };
    capabilities(&mut findings, &status, program);
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    match read("/proc/self/limits").as_deref().and_then(memlock) {
        Some(Some(limit)) if capable(&status, IPC_LOCK) => {
            findings
                .add(Severity::Ok, format!("limit of locked memory {}: does not bind here (CAP_IPC_LOCK)", mib(limit)));
        }
        Some(Some(limit)) if limit < 2 * DEFAULT_POOL => findings.add_fix(
            Severity::Warning,
            format!(
                "limit of locked memory {}: an AF_XDP pool of the default size takes {}",
                mib(limit),
                mib(DEFAULT_POOL)
            ),
            "ulimit -l unlimited   (for good: `* - memlock unlimited` in /etc/security/limits.d/nethuns.conf)",
        ),
        Some(Some(limit)) => findings.add(Severity::Ok, format!("limit of locked memory {}", mib(limit))),
        Some(None) => findings.add(Severity::Ok, "no limit of locked memory"),
        None => {}
    }
    findings
}

#[cfg(all(target_os = "linux", feature = "af_xdp"))]
fn capabilities(findings: &mut Findings, _status: &str, program: Option<PathBuf>) {
    let mut rights = nethuns_rs::af_xdp::capabilities();
    rights.binary = program;
    if rights.user_namespace || !rights.missing().is_empty() {
        // `help` ends with what to type, whatever the reason.
        findings.add(Severity::Problem, format!("for AF_XDP: {}", rights.help()));
    } else {
        findings.add(Severity::Ok, "capabilities for every backend of this build");
    }
    if rights.seccomp {
        findings.add(Severity::Note, "a seccomp filter is active: containers' default ones refuse bpf(2)");
    }
    if !rights.sys_admin {
        findings.add(Severity::Note, "without CAP_SYS_ADMIN it stays hidden whose XDP program holds an interface");
    }
}

#[cfg(not(all(target_os = "linux", feature = "af_xdp")))]
fn capabilities(findings: &mut Findings, status: &str, program: Option<PathBuf>) {
    const NET_RAW: u32 = 13;
    if capable(status, NET_RAW) {
        findings.add(Severity::Ok, "capabilities for every backend of this build");
    } else {
        let program = program.unwrap_or_else(|| "/path/to/binary".into());
        let fix = format!("sudo setcap cap_net_raw+ep {}", program.display());
        findings.add_fix(Severity::Problem, "CAP_NET_RAW is missing: no live capture with libpcap", fix);
    }
}

/// The backends of this build.
pub fn backends() -> Findings {
    let mut findings = Findings::about("backends", None);
    for backend in any::backends() {
        if !backend.compiled {
            findings.add(Severity::Note, format!("{}: {}", backend.scheme, backend.enable));
            continue;
        }
        let version = match backend.scheme {
            #[cfg(feature = "pcap")]
            "pcap" => format!(" ({})", nethuns_rs::pcap::library_version()),
            #[cfg(all(target_os = "linux", feature = "dpdk"))]
            "dpdk" => format!(" (built with {})", nethuns_rs::dpdk::BUILT_WITH),
            _ => String::new(),
        };
        findings.add(Severity::Ok, format!("{}: {}{version}", backend.scheme, backend.about));
    }
    if Path::new("/dev/netmap").exists() {
        findings.add(Severity::Ok, "/dev/netmap is there: the netmap module is loaded");
    } else {
        findings.add(Severity::Note, "no /dev/netmap: the netmap module is not loaded");
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_says_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max locked memory         8388608              8388608              bytes     \n";
        assert_eq!(memlock(limits), Some(Some(8_388_608)));
        assert_eq!(memlock("Max locked memory         unlimited            unlimited            bytes"), Some(None));
        assert_eq!(memlock(""), None);
        assert_eq!(version("6.18.5-cloud"), Some((6, 18)));
        assert_eq!(version("5.4"), Some((5, 4)));
        assert_eq!(version("x"), None);
        assert_eq!(meminfo("MemTotal:  5 kB\nHugePages_Total:     512\n", "HugePages_Total"), Some(512));
        assert!(capable("CapEff:\t0000000000002000\n", 13));
        assert!(!capable("CapEff:\t0000000000002000\n", 12));
        assert!(!capable("", 0));
    }
}
