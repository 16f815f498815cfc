//! What the benchmarks of every area share.
//!
//! A contender is a command that measures itself and prints one line, `{"packets":…,"cpu_ns":…,"wall_ns":…}`
//! (and possibly `part_ns`, `allocations` and `bytes`). A [`race`]
//! runs several of them in turn, so that whatever happens to the machine happens to all of them, and a [`Report`]
//! compares them pair by pair: the ratio of a figure is the median of the ratios of its pairs.

pub mod instructions;
// What the tests use.
#[path = "../../../tests/common/netns.rs"]
pub mod netns;
mod report;

pub use report::{Report, Row};

use std::path::{Path, PathBuf};
use std::process::Command;

/// What the command line of every area's driver says.
#[derive(Debug, Default)]
pub struct Options {
    /// Few packets and pairs: shows that everything runs; bars of times are not enforced.
    pub quick: bool,
    /// Where the JSON lines go.
    pub json: Option<PathBuf>,
    /// Only figures whose name contains this.
    pub only: Option<String>,
    /// Where the scripts put the peers they have built.
    pub peers: PathBuf,
    /// Peers that could not be built, with the reason.
    pub without: Vec<(String, String)>,
}

impl Options {
    /// Reads `[--quick] [--json FILE] [--only TEXT] [--peers DIR] [--without PEER=REASON]…`; ends the process with
    /// what is wrong if it cannot.
    #[must_use]
    pub fn parse() -> Self {
        let mut all = Self::default();
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| stop(&format!("{arg} needs a value")));
            match arg.as_str() {
                "--quick" => all.quick = true,
                "--json" => all.json = Some(value().into()),
                "--only" => all.only = Some(value()),
                "--peers" => all.peers = value().into(),
                "--without" => {
                    let value = value();
                    let (peer, reason) = value.split_once('=').unwrap_or((&value, "not built"));
                    all.without.push((peer.to_owned(), reason.to_owned()));
                }
                _ => stop(&format!("unknown argument {arg}: there are --quick, --json FILE, --only TEXT, --peers DIR")),
            }
        }
        all
    }

    /// Whether this figure was asked for.
    #[must_use]
    pub fn wants(&self, figure: &str) -> bool {
        self.only.as_ref().is_none_or(|text| figure.contains(text.as_str()))
    }

    /// `full`, or `quick` if the run is one.
    #[must_use]
    pub fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// Says that a figure cannot be had on this machine, and why; also where `scripts/test.sh` collects such lines.
pub fn skip(figure: &str, reason: impl std::fmt::Display) {
    let line = format!("SKIPPED {figure}: {reason}\n");
    print!("{line}");
    if let Some(log) = std::env::var_os("NETHUNS_SKIP_LOG") {
        use std::io::Write;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log);
        let _ = log.and_then(|mut log| log.write_all(line.as_bytes()));
    }
}

fn stop(problem: &str) -> ! {
    eprintln!("error: {problem}");
    std::process::exit(2)
}

/// One run of one contender.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Packets (or tokens) moved.
    pub packets: f64,
    /// CPU time of the process, user and system, in nanoseconds.
    pub cpu_ns: f64,
    /// Time that passed, in nanoseconds.
    pub wall_ns: f64,
    /// Median duration of the part that the contender timed apart, for all packets, in nanoseconds.
    pub part_ns: f64,
    /// Heap allocations while measuring, where the contender counts them.
    pub allocations: f64,
    /// Bytes of heap per connection, where the contender counts them.
    pub bytes: f64,
}

impl Sample {
    /// The sample in what a contender printed; `None` if it moved no packets.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |key: &str| {
            let rest = text.split_once(&format!("\"{key}\":"))?.1;
            rest.split([',', '}']).next()?.trim().parse::<f64>().ok()
        };
        Some(Self {
            packets: number("packets").filter(|n| *n > 0.0)?,
            cpu_ns: number("cpu_ns")?,
            wall_ns: number("wall_ns")?,
            part_ns: number("part_ns").unwrap_or(0.0),
            allocations: number("allocations").unwrap_or(0.0),
            bytes: number("bytes").unwrap_or(0.0),
        })
    }

    /// CPU nanoseconds per packet.
    #[must_use]
    pub fn cpu(&self) -> f64 {
        self.cpu_ns / self.packets
    }

    /// Nanoseconds per packet of the part timed apart.
    #[must_use]
    pub fn part(&self) -> f64 {
        self.part_ns / self.packets
    }

    /// Nanoseconds per packet by the wall clock.
    #[must_use]
    pub fn wall(&self) -> f64 {
        self.wall_ns / self.packets
    }

    /// Packets per second, by the wall clock.
    #[must_use]
    pub fn pps(&self) -> f64 {
        self.packets * 1e9 / self.wall_ns
    }
}

/// A command that measures itself.
#[derive(Clone, Debug)]
pub struct Contender {
    /// As the report calls it.
    pub name: &'static str,
    /// Program and arguments.
    pub command: Vec<String>,
}

impl Contender {
    /// From a program and arguments separated by blanks.
    #[must_use]
    pub fn new(name: &'static str, program: &Path, args: &str) -> Self {
        let program = program.display().to_string();
        Self { name, command: std::iter::once(program).chain(args.split_whitespace().map(str::to_owned)).collect() }
    }

    /// Runs it once.
    ///
    /// # Errors
    ///
    /// What it said, if it failed or printed no sample.
    pub fn run(&self) -> Result<Sample, String> {
        let text = output(&self.command)?;
        Sample::parse(&text).ok_or_else(|| format!("`{}` printed no figures: {}", self.command.join(" "), text.trim()))
    }
}

/// A program of the same build, beside this one.
#[must_use]
pub fn sibling(name: &str) -> PathBuf {
    let me = std::env::current_exe().unwrap_or_default();
    me.parent().unwrap_or(Path::new(".")).join(name)
}

/// The standard output of a command.
///
/// # Errors
///
/// What it said on standard error, if it failed.
pub fn output(command: &[String]) -> Result<String, String> {
    let (program, args) = command.split_first().ok_or("an empty command")?;
    let out = Command::new(program).args(args).output().map_err(|e| format!("{program}: {e}"))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        // valgrind has a lot to say; what the contender said is what matters.
        let said: Vec<&str> = said.lines().filter(|line| !line.starts_with("==")).collect();
        return Err(format!("`{}` failed ({}): {}", command.join(" "), out.status, said.join("; ")));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Runs all contenders `pairs` times, in turn, every other time in reverse. One list of samples per contender.
///
/// # Errors
///
/// Of the first run that fails.
pub fn race(contenders: &[Contender], pairs: usize) -> Result<Vec<Vec<Sample>>, String> {
    let mut samples = vec![Vec::with_capacity(pairs); contenders.len()];
    for pair in 0..pairs {
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        if pair % 2 == 1 {
            order.reverse();
        }
        for at in order {
            samples[at].push(contenders[at].run()?);
        }
    }
    Ok(samples)
}

/// As [`race`], and if `clear` says that the outcome is not, twice as many pairs more: all of them count.
///
/// # Errors
///
/// As [`race`].
pub fn race_until_clear(
    contenders: &[Contender],
    pairs: usize,
    clear: impl FnOnce(&[Vec<Sample>]) -> bool,
) -> Result<Vec<Vec<Sample>>, String> {
    let mut samples = race(contenders, pairs)?;
    if !clear(&samples) {
        for (samples, more) in samples.iter_mut().zip(race(contenders, 2 * pairs)?) {
            samples.extend(more);
        }
    }
    Ok(samples)
}

/// How much better ours is than theirs by a value of which less is better: the median of the ratios of pairs.
#[must_use]
pub fn ratio(ours: &[Sample], theirs: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    median(ours.iter().zip(theirs).map(|(ours, theirs)| value(theirs) / value(ours)))
}

/// The middle value; of an even number, the mean of the two in the middle. NaN of none.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let n = values.len();
    if n == 0 { f64::NAN } else { (values[(n - 1) / 2] + values[n / 2]) / 2.0 }
}

/// The CPUs that this process was given, before [`one_cpu`].
#[cfg(target_os = "linux")]
#[must_use]
pub fn cpus() -> Vec<usize> {
    let all = all_cpus();
    // SAFETY: the number is below the size of the set.
    #[allow(unsafe_code)]
    (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, all) }).collect()
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn all_cpus() -> &'static libc::cpu_set_t {
    static ALL: std::sync::OnceLock<libc::cpu_set_t> = std::sync::OnceLock::new();
    // SAFETY: the set is plain memory of the size that is given; 0 names this thread.
    ALL.get_or_init(|| unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set);
        set
    })
}

/// Keeps this thread, and the processes it starts from now on, on the last CPU it may use; `false` gives back all.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub fn one_cpu(pin: bool) {
    const SIZE: usize = size_of::<libc::cpu_set_t>();
    let all = all_cpus();
    // SAFETY: the set is plain memory of the size that is given; 0 names this thread.
    unsafe {
        let mut set = *all;
        if pin && let Some(last) = (0..libc::CPU_SETSIZE as usize).rev().find(|cpu| libc::CPU_ISSET(*cpu, all)) {
            libc::CPU_ZERO(&mut set);
            libc::CPU_SET(last, &mut set);
        }
        libc::sched_setaffinity(0, SIZE, &set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median([]).is_nan());
    }

    #[test]
    fn a_sample_is_read_from_its_line() {
        let sample = Sample::parse(r#"{"packets":200,"cpu_ns":1000,"wall_ns":4000,"part_ns":100}"#).unwrap();
        assert_eq!((sample.cpu(), sample.part(), sample.pps()), (5.0, 0.5, 5e7));
        assert_eq!(Sample::parse("no figures"), None);
        assert_eq!(Sample::parse(r#"{"packets":0,"cpu_ns":1,"wall_ns":1}"#), None);
    }
}
