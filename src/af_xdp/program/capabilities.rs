//! What the process may do, and what to type if that is not enough (`capabilities(7)`).

use std::fs;
use std::path::{Path, PathBuf};

/// CAP_NET_ADMIN: attach XDP programs, create XSKMAPs, set interfaces.
const NET_ADMIN: u32 = 12;
/// CAP_NET_RAW: open AF_XDP and packet sockets.
const NET_RAW: u32 = 13;
/// CAP_SYS_ADMIN: see the programs and links of others; before Linux 5.8 everything of BPF.
const SYS_ADMIN: u32 = 21;
/// CAP_BPF: load programs.
const BPF: u32 = 39;

/// The rights of the calling thread that AF_XDP asks for. See [`capabilities`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// CAP_NET_RAW: to open an AF_XDP socket.
    pub net_raw: bool,
    /// CAP_NET_ADMIN: to attach an XDP program and to change settings of an interface.
    pub net_admin: bool,
    /// CAP_BPF, or CAP_SYS_ADMIN which includes it: to load an XDP program.
    pub bpf: bool,
    /// CAP_SYS_ADMIN: to see whose program holds an interface. Nothing else here needs it.
    pub sys_admin: bool,
    /// The process is in a user namespace other than the machine's first: capabilities there do not count for BPF.
    pub user_namespace: bool,
    /// A seccomp filter is active (containers): it may refuse `bpf(2)` whatever the capabilities.
    pub seccomp: bool,
    /// Capabilities that are missing and cannot be given by `setcap` either, because the bounding set lacks them.
    pub out_of_bounds: Vec<&'static str>,
    /// The program that runs.
    pub binary: Option<PathBuf>,
}

impl Capabilities {
    /// The names of what is missing of the three that a socket with a program of its own needs, as `setcap(8)` spells
    /// them; empty if nothing is.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        [("cap_net_raw", self.net_raw), ("cap_net_admin", self.net_admin), ("cap_bpf", self.bpf)]
            .into_iter()
            .filter_map(|(name, there)| (!there).then_some(name))
            .collect()
    }

    /// The command that gives this binary what it needs, to be typed once after each build.
    #[must_use]
    pub fn setcap(&self) -> String {
        let binary = self.binary.as_deref().unwrap_or(Path::new("/path/to/binary")).display().to_string();
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
        let binary = if binary.chars().all(plain) { binary } else { format!("'{}'", binary.replace('\'', r"'\''")) };
        format!("sudo setcap cap_net_raw,cap_net_admin,cap_bpf+ep {binary}")
    }

    /// What stands in the way and what to do about it, for an error message.
    #[must_use]
    pub fn help(&self) -> String {
        let missing = self.missing();
        if self.user_namespace {
            return "the process is in a user namespace, where capabilities do not count for BPF: run it outside, or hand \
                    it a pinned XSK map"
                .to_owned();
        }
        if !self.out_of_bounds.is_empty() {
            return format!(
                "{} missing, and the bounding set of this container or service excludes it: start it with {}",
                list(&missing),
                self.out_of_bounds
                    .iter()
                    .map(|name| format!("--cap-add={}", name.trim_start_matches("cap_").to_ascii_uppercase()))
                    .collect::<Vec<_>>()
                    .join(" ")
            );
        }
        if !missing.is_empty() {
            return format!("{} missing: run as root, or type `{}`", list(&missing), self.setcap());
        }
        if self.seccomp {
            return "all capabilities are there, but a seccomp filter is active (a container's default?): allow bpf(2)"
                .to_owned();
        }
        "all capabilities are there: kernel lockdown, a security module or (before Linux 5.11) the limit of locked memory \
         forbids it; try `ulimit -l unlimited`, and look at `dmesg`"
            .to_owned()
    }
}

/// The rights of the calling thread, from `/proc`.
#[must_use]
pub fn capabilities() -> Capabilities {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let uid_map = fs::read_to_string("/proc/thread-self/uid_map").unwrap_or_default();
    read(&status, &uid_map, fs::read_link("/proc/self/exe").ok())
}

fn read(status: &str, uid_map: &str, binary: Option<PathBuf>) -> Capabilities {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let set = |name| u64::from_str_radix(field(name).unwrap_or(""), 16).unwrap_or(0);
    let (effective, bounding) = (set("CapEff:"), set("CapBnd:"));
    let has = |set: u64, cap: u32| set & 1 << cap != 0;
    let mut found = Capabilities {
        net_raw: has(effective, NET_RAW),
        net_admin: has(effective, NET_ADMIN),
        bpf: has(effective, BPF) || has(effective, SYS_ADMIN),
        sys_admin: has(effective, SYS_ADMIN),
        // The first namespace maps every id to itself.
        user_namespace: !uid_map.is_empty() && uid_map.split_whitespace().ne(["0", "0", "4294967295"]),
        seccomp: field("Seccomp:").is_some_and(|mode| mode != "0"),
        out_of_bounds: Vec::new(),
        binary,
    };
    found.out_of_bounds = found.missing();
    found.out_of_bounds.retain(|name| {
        let cap = match *name {
            "cap_net_raw" => NET_RAW,
            "cap_net_admin" => NET_ADMIN,
            _ => BPF,
        };
        !has(bounding, cap)
    });
    found
}

/// `A`, `A and B`, `A, B and C` in capitals, with the verb that follows.
fn list(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| name.to_ascii_uppercase()).collect();
    match names.split_last() {
        None => "nothing is".to_owned(),
        Some((only, [])) => format!("{only} is"),
        Some((last, others)) => format!("{} and {last} are", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "         0          0 4294967295\n";

    fn status(effective: u64, bounding: u64, seccomp: u32) -> String {
        format!("Name:\tx\nCapInh:\t0\nCapEff:\t{effective:016x}\nCapBnd:\t{bounding:016x}\nSeccomp:\t{seccomp}\n")
    }

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        let all = 0x1ff_ffff_ffff;
        let binary = || Some(PathBuf::from("/opt/meter"));
        for (effective, bounding, uid_map, seccomp, missing, help) in [
            (all, all, FIRST, 0, vec![], "all capabilities are there: kernel lockdown"),
            (all, all, FIRST, 2, vec![], "seccomp"),
            (
                0,
                all,
                FIRST,
                0,
                vec!["cap_net_raw", "cap_net_admin", "cap_bpf"],
                "CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF are missing: run as root, or type `sudo setcap \
                 cap_net_raw,cap_net_admin,cap_bpf+ep /opt/meter`",
            ),
            (
                1 << NET_RAW,
                all,
                FIRST,
                0,
                vec!["cap_net_admin", "cap_bpf"],
                "CAP_NET_ADMIN and CAP_BPF are missing: run",
            ),
            (1 << NET_RAW | 1 << NET_ADMIN, all, FIRST, 0, vec!["cap_bpf"], "CAP_BPF is missing: run as root"),
            (1 << NET_RAW | 1 << NET_ADMIN | 1 << SYS_ADMIN, all, FIRST, 0, vec![], "all capabilities are there"),
            (1 << NET_RAW | 1 << BPF, !(1 << NET_ADMIN), FIRST, 0, vec!["cap_net_admin"], "--cap-add=NET_ADMIN"),
            (all, all, "0 1000 1\n", 0, vec![], "user namespace"),
        ] {
            let found = read(&status(effective, bounding, seccomp), uid_map, binary());
            assert_eq!(found.missing(), missing);
            assert!(found.help().contains(help), "{} does not contain {help}", found.help());
        }
    }

    #[test]
    fn a_path_with_blanks_can_be_pasted() {
        let found = read("", "", Some(PathBuf::from("/home/a b/it's")));
        assert!(found.setcap().ends_with(r"+ep '/home/a b/it'\''s'"), "{}", found.setcap());
    }
}
