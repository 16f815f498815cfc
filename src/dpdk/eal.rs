//! DPDK's environment abstraction layer: started once per process, by the first port or by [`Eal::start`].
//!
//! EAL keeps its state in globals and can be started once in the life of a process. It is started on a thread of its
//! own, because the thread that starts it is pinned and renamed; the program's threads stay as they are and take an id
//! when they first use a socket (see [`thread`](super::thread)).
//!
//! # Arguments
//!
//! From the option `eal=` of the port spec, else from the environment variable `NETHUNS_DPDK_ARGS`, else by what the
//! machine has:
//!
//! | | arguments |
//! |---|---|
//! | at least 64 MiB of huge pages are free | `--in-memory`: nothing is left in hugetlbfs or `/var/run` |
//! | otherwise | `--no-huge -m 1024 --no-shconf`: ordinary memory, taken as it is touched |
//! | both | `--no-telemetry`, `-a 0000:00:00.0`: no PCI device is taken but those that a port spec names |
//!
//! Whatever the source, `--lcores 0@(…)` is added where no core is chosen: one EAL thread that floats over the CPUs the
//! process may use, instead of one that spins on each.
#![allow(unsafe_code)]

use super::log;
use crate::errors::{Error, Result};
use dpdk_sys as sys;
use std::ffi::OsStr;
use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

/// The environment variable with EAL's arguments, separated by white space.
pub const ARGS_VARIABLE: &str = "NETHUNS_DPDK_ARGS";

/// EAL as it runs in this process.
#[derive(Debug)]
pub struct Eal {
    asked: Vec<String>,
    args: Vec<String>,
    hugepages: bool,
    version: String,
}

/// `Err` is final: EAL cannot be started a second time in a process, even after it failed.
static RUNNING: OnceLock<std::result::Result<Eal, String>> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

impl Eal {
    /// Starts EAL with these arguments (as after the program's name on a command line), or returns it if it runs with
    /// them already. No arguments: those of `NETHUNS_DPDK_ARGS`, else the defaults above, or whatever it runs with.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if it runs with other arguments, [`Error::System`] with what DPDK said if it does not start: no
    /// memory, no permission, an argument that it does not know.
    pub fn start<I, S>(args: I) -> Result<&'static Eal>
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let asked: Vec<String> = args.into_iter().map(Into::into).collect();
        let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        match RUNNING.get_or_init(|| Self::launch(asked.clone())) {
            Ok(eal) if asked.is_empty() || asked == eal.asked => Ok(eal),
            Ok(eal) => Err(Error::Busy {
                what: "DPDK's environment (EAL)".into(),
                help: format!(
                    "it runs with `{}` and cannot be started again with `{}` in this process: give every port the \
                     same `eal=`, or set {ARGS_VARIABLE} once for all of them",
                    eal.args[1..].join(" "),
                    asked.join(" "),
                ),
            }),
            Err(problem) => Err(Error::System {
                what: "starting DPDK's environment (EAL)".into(),
                help: problem.clone(),
                source: io::Error::other("it can be tried once per process"),
            }),
        }
    }

    /// EAL, if it has been started.
    #[must_use]
    pub fn running() -> Option<&'static Eal> {
        RUNNING.get()?.as_ref().ok()
    }

    /// The arguments that it was started with; the first is the program's name.
    #[must_use]
    pub fn args(&self) -> &[String] {
        &self.args
    }

    /// Whether its memory lies on huge pages.
    #[must_use]
    pub fn hugepages(&self) -> bool {
        self.hugepages
    }

    /// The version of DPDK, such as `DPDK 22.11.4`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    fn launch(asked: Vec<String>) -> std::result::Result<Self, String> {
        let args = arguments(&asked);
        let tee = args.iter().any(|arg| arg.starts_with("--log-level"));
        log::install(tee);
        let words: Vec<CString> = args.iter().filter_map(|arg| CString::new(arg.as_str()).ok()).collect();
        if words.len() != args.len() {
            return Err("an argument contains a NUL byte".into());
        }
        let ((started, errno), said) = log::quietly(|| {
            let thread = std::thread::Builder::new().name("dpdk-eal".into()).spawn(move || init(words));
            thread.ok().and_then(|thread| thread.join().ok()).unwrap_or((-1, libc::EAGAIN))
        });
        tidy(&args);
        if started < 0 {
            return Err(explain(&args, errno, &said));
        }
        // SAFETY: EAL runs; both return what it found at start.
        let (hugepages, version) = unsafe { (sys::rte_eal_has_hugepages() != 0, CStr::from_ptr(sys::rte_version())) };
        Ok(Self { asked, args, hugepages, version: version.to_string_lossy().into_owned() })
    }
}

/// `rte_eal_init` and the `rte_errno` it leaves.
fn init(words: Vec<CString>) -> (i32, i32) {
    // EAL keeps pointers to some of its arguments: they live as long as the process.
    let words: &'static [CString] = Vec::leak(words);
    let mut argv: Vec<*mut c_char> = words.iter().map(|word| word.as_ptr().cast_mut()).collect();
    argv.push(std::ptr::null_mut());
    let argv = Vec::leak(argv);
    // SAFETY: an argument vector as C's `main` gets it, alive for ever. EAL permutes the pointers and does not write
    // to the texts. `STARTING` and `RUNNING` let nobody else in.
    unsafe {
        let started = sys::rte_eal_init(words.len() as i32, argv.as_mut_ptr());
        (started, if started < 0 { sys::nd_errno() } else { 0 })
    }
}

/// Removes the folder that EAL makes for other processes of its kind, where the arguments say that there are none: it
/// would stay behind, empty.
fn tidy(args: &[String]) {
    if args.iter().any(|arg| arg == "--in-memory" || arg == "--no-shconf") {
        // SAFETY: a C string of its own, empty until it has made the folder.
        let folder = unsafe { CStr::from_ptr(sys::rte_eal_get_runtime_dir()) };
        let folder = Path::new(OsStr::from_bytes(folder.to_bytes()));
        // Neither goes if there is anything in it.
        if std::fs::remove_dir(folder).is_ok() {
            let _ = folder.parent().map(std::fs::remove_dir);
        }
    }
}

/// The full argument vector.
fn arguments(asked: &[String]) -> Vec<String> {
    let mut args = vec!["nethuns".to_owned()];
    if asked.is_empty() {
        match std::env::var(ARGS_VARIABLE) {
            Ok(given) => args.extend(given.split_whitespace().map(str::to_owned)),
            Err(_) => args.extend(defaults(free_hugepages()).into_iter().map(str::to_owned)),
        }
    } else {
        args.extend_from_slice(asked);
    }
    let chosen = |arg: &String| {
        ["--lcores", "--main-lcore", "-s"].iter().any(|word| arg.starts_with(word))
            || (arg.starts_with("-l") || arg.starts_with("-c")) && !arg.starts_with("--")
    };
    if !args[1..].iter().any(chosen) {
        args.push(format!("--lcores=0@({})", cpus()));
    }
    args
}

fn defaults(free_hugepages: u64) -> Vec<&'static str> {
    const ENOUGH: u64 = 64 << 20;
    let memory: &[&str] =
        if free_hugepages >= ENOUGH { &["--in-memory"] } else { &["--no-huge", "-m", "1024", "--no-shconf"] };
    // A list of allowed devices with none on it: address 0 is the host bridge, which no driver of DPDK wants.
    [memory, &["--no-telemetry", "-a", "0000:00:00.0"]].concat()
}

/// Bytes of huge pages that nobody has taken.
pub(super) fn free_hugepages() -> u64 {
    let Ok(sizes) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return 0 };
    sizes
        .flatten()
        .filter_map(|size| {
            let name = size.file_name().into_string().ok()?;
            let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let free: u64 = std::fs::read_to_string(size.path().join("free_hugepages")).ok()?.trim().parse().ok()?;
            Some(free * kib * 1024)
        })
        .sum()
}

/// The CPUs this process may use, as a list.
fn cpus() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.map_or("0", str::trim).to_owned()
}

fn explain(args: &[String], errno: i32, said: &str) -> String {
    let no_huge = args.iter().any(|arg| arg == "--no-huge");
    let help = match errno {
        libc::EALREADY => "other code in this process has started EAL before",
        libc::EINVAL => "an argument is wrong: see https://doc.dpdk.org/guides/linux_gsg/linux_eal_parameters.html",
        // DPDK's word counts too: others may have freed some since it looked.
        _ if !no_huge && (free_hugepages() == 0 || said.contains("Cannot get hugepage information")) => {
            "no huge page is free: reserve some (sysctl vm.nr_hugepages=512), or start with `--no-huge -m 512`"
        }
        libc::EACCES | libc::EPERM => "run it as root, or with `--no-huge` and drivers that need no rights",
        libc::ENOMEM => "ask for less memory (-m), or reserve more huge pages (sysctl vm.nr_hugepages)",
        _ => "see what DPDK said",
    };
    let said = if said.is_empty() { String::new() } else { format!(" (DPDK: {said})") };
    let error = io::Error::from_raw_os_error(errno);
    format!("with `{}`: {error}: {help}{said}", args[1..].join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_arguments_fit_the_machine() {
        assert!(defaults(1 << 30).contains(&"--in-memory"));
        assert!(!defaults(1 << 30).contains(&"--no-huge"));
        let without = defaults(0);
        assert!(without.contains(&"--no-huge") && without.contains(&"--no-shconf"));
        assert!(!without.contains(&"--in-memory"), "DPDK 22.11 refuses both together");
    }

    #[test]
    fn a_core_is_chosen_once() {
        let chosen = arguments(&["-l".into(), "1".into()]);
        assert_eq!(chosen, ["nethuns", "-l", "1"]);
        let joined = arguments(&["-l1".into()]);
        assert_eq!(joined.len(), 2);
        let open = arguments(&["--log-level=8".into()]);
        assert_eq!(open.len(), 3);
        assert!(open[2].starts_with("--lcores=0@("), "{open:?}");
    }
}
