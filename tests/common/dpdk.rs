//! What the tests of DPDK share: EAL is started once in a process, so another kind of memory means another process.

use nethuns_rs::dpdk::Eal;
use std::process::Command;

/// Set in the process that runs everything again on huge pages.
const AGAIN: &str = "NETHUNS_TEST_HUGE_PAGES";
const SYSCTL: &str = "/proc/sys/vm/nr_hugepages";

/// Whether this is that process.
pub fn on_huge_pages() -> bool {
    std::env::var_os(AGAIN).is_some()
}

/// Starts EAL with the kind of memory that this process is about. Every test does so first.
pub fn eal() -> &'static Eal {
    let args: &[&str] = if on_huge_pages() {
        &["--in-memory", "--no-telemetry", "-a", "0000:00:00.0"]
    } else {
        &["--no-huge", "-m", "1024", "--no-shconf", "--no-telemetry", "-a", "0000:00:00.0"]
    };
    let eal = Eal::start(args.iter().copied()).expect("EAL starts");
    assert_eq!(eal.hugepages(), on_huge_pages(), "{eal:?}");
    eal
}

/// Huge pages for the time of a test, as far as the machine can spare them.
struct Reserved {
    before: String,
}

impl Reserved {
    fn new(pages: usize) -> Result<Self, String> {
        let read = || std::fs::read_to_string(SYSCTL).map_err(|e| format!("{SYSCTL}: {e}"));
        let before = read()?;
        let reserved = Self { before: before.trim().to_owned() };
        std::fs::write(SYSCTL, pages.to_string()).map_err(|e| format!("reserving huge pages needs root: {e}"))?;
        let got: usize = read()?.trim().parse().unwrap_or(0);
        if got < pages { Err(format!("only {got} of {pages} huge pages could be reserved")) } else { Ok(reserved) }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let _ = std::fs::write(SYSCTL, &self.before);
    }
}

/// Runs all tests of this program again, in a process whose EAL is on huge pages. At least `least` must pass there.
pub fn again_on_huge_pages(test: &str, least: usize) {
    if on_huge_pages() {
        return;
    }
    let _reserved = match Reserved::new(256) {
        Ok(reserved) => reserved,
        Err(reason) => return super::skip(test, reason),
    };
    let output = Command::new(std::env::current_exe().expect("this program"))
        .env(AGAIN, "1")
        .output()
        .expect("this program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let passed = text
        .lines()
        .find_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse::<usize>().ok())
        .unwrap_or(0);
    assert!(
        output.status.success() && passed >= least,
        "on huge pages: {}, {passed} passed\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}
