//! Building the tools, starting them, and reading what they tell.

use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up: far more than it does.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary of a tool, as this test's own features and profile make it.
///
/// Cargo tells tests where binaries are, but not where examples are, and builds them only together with all tests. So
/// the first call asks cargo for them; where nothing has changed that takes a moment.
pub fn tool(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    DIRECTORY.get_or_init(build).as_ref().unwrap_or_else(|error| panic!("{error}")).join(name)
}

/// Builds the examples into the target directory that this test lies in:
/// `<target>/[<triple>/]<profile>/deps/tools-<hash>`.
fn build() -> Result<PathBuf, String> {
    let me = std::env::current_exe().expect("the path of this test");
    let profile = me.ancestors().nth(2).expect("a profile directory");
    let above = profile.parent().expect("a directory above it");
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--examples", "--no-default-features", "--package", env!("CARGO_PKG_NAME")]);
    cargo.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    let features = [
        ("pcap", cfg!(feature = "pcap")),
        ("af_xdp", cfg!(feature = "af_xdp")),
        ("netmap", cfg!(feature = "netmap")),
        ("dpdk", cfg!(feature = "dpdk")),
        ("net", cfg!(feature = "net")),
        ("usockets", cfg!(feature = "usockets")),
        ("usockets-udp", cfg!(feature = "usockets-udp")),
        ("tls", cfg!(feature = "tls")),
    ];
    let features: Vec<&str> = features.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    cargo.args(["--features", &features.join(",")]);
    // What cargo knows of rustc lies in the root of a target directory; between it and the profile lies a triple, if one
    // was asked for.
    if above.join(".rustc_info.json").exists() {
        cargo.arg("--target-dir").arg(above);
    } else {
        cargo.args(["--target", &name(above)]);
        cargo.arg("--target-dir").arg(above.parent().expect("a target directory"));
    }
    match name(profile).as_str() {
        "debug" => {}
        other => drop(cargo.args(["--profile", other])),
    }
    let done = cargo.output().expect("cargo");
    if !done.status.success() {
        return Err(format!("cargo build --examples: {}", String::from_utf8_lossy(&done.stderr)));
    }
    Ok(profile.join("examples"))
}

/// A path of this test run's own for a file of that name.
pub fn scratch(name: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let unique = format!("{}-{}-{name}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!("{}/{unique}", env!("CARGO_TARGET_TMPDIR"))
}

/// A tool that runs.
pub struct Running {
    child: Child,
    out: String,
    err: String,
    what: String,
}

/// A tool that has ended.
pub struct Ended {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
    what: String,
}

/// Starts a command; its output goes to files, so that it never waits for a reader.
pub fn start(command: impl AsRef<Path>, args: &[&str]) -> Running {
    let (out, err) = (scratch("out"), scratch("err"));
    let file = |path: &str| Stdio::from(File::create(path).expect("a scratch file"));
    let command = command.as_ref();
    let what = format!("{} {}", command.display(), args.join(" "));
    let child = Command::new(command)
        .args(args)
        .stdin(Stdio::null())
        .stdout(file(&out))
        .stderr(file(&err))
        .spawn()
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    Running { child, out, err, what }
}

/// Starts a tool and waits until its ports are open.
#[cfg(target_os = "linux")]
pub fn open(name: &str, args: &[&str], ports: usize) -> Running {
    start(tool(name), &[args, &["--json", "--quiet"]].concat()).opened(ports)
}

/// Runs a tool to its end.
pub fn run(name: &str, args: &[&str]) -> Ended {
    start(tool(name), args).end()
}

/// Runs a tool to its end and insists on success.
pub fn good(name: &str, args: &[&str]) -> Ended {
    run(name, args).good()
}

impl Running {
    fn wait_for(&mut self, what: &str, mut there: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !there(self) {
            let ended = self.child.try_wait().expect("a child");
            let late = start.elapsed() > PATIENCE;
            // What it wrote just before it ended counts.
            if (ended.is_some() || late) && !there(self) {
                let _ = self.child.kill();
                let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
                panic!("{}: no {what} ({ended:?})\n{}\n{}", self.what, read(&self.out), read(&self.err));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until so many ports are open: of a tool that prints JSON lines.
    pub fn opened(mut self, ports: usize) -> Self {
        self.wait_for("open port", |me| {
            std::fs::read_to_string(&me.out).unwrap_or_default().matches(r#""event":"start""#).count() >= ports
        });
        self
    }

    /// The lines of its output so far as JSON.
    #[cfg(all(target_os = "linux", feature = "net"))]
    pub fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.out).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until a text appears on standard error.
    #[cfg(all(target_os = "linux", any(feature = "pcap", feature = "af_xdp")))]
    pub fn says(mut self, text: &str) -> Self {
        self.wait_for(text, |me| std::fs::read_to_string(&me.err).unwrap_or_default().contains(text));
        self
    }

    /// Sends ctrl-C.
    pub fn interrupt(self) -> Self {
        let pid = self.child.id().to_string();
        let done = Command::new("kill").args(["-INT", &pid]).status().expect("kill");
        assert!(done.success(), "{}: has ended before ctrl-C", self.what);
        self
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            if start.elapsed() > PATIENCE {
                let _ = self.child.kill();
                panic!("{}: does not end", self.what);
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let take = |path: &str| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let _ = std::fs::remove_file(path);
            text
        };
        Ended { status, out: take(&self.out), err: take(&self.err), what: self.what.clone() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A failed test leaves no process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Insists on success.
    pub fn good(self) -> Self {
        assert!(self.status.success(), "{}: {}\n{}\n{}", self.what, self.status, self.out, self.err);
        self
    }

    /// Its exit status.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Every line of its output as JSON.
    pub fn lines(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}: {line}", self.what));
        self.out.lines().map(parse).collect()
    }

    /// Its summaries.
    pub fn summaries(&self) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["event"] == "summary").collect()
    }

    /// Its only summary.
    pub fn summary(&self) -> Value {
        let mut all = self.summaries();
        assert_eq!(all.len(), 1, "{}\n{}\n{}", self.what, self.out, self.err);
        all.remove(0)
    }
}

/// A whole number in a record; a dot goes into it.
pub fn number(record: &Value, path: &str) -> u64 {
    let found = path.split('.').fold(record, |at, key| &at[key]);
    found.as_u64().unwrap_or_else(|| panic!("no number `{path}` in {record}"))
}

/// All drops of a kind together.
pub fn total(record: &Value, key: &str) -> u64 {
    record[key].as_object().unwrap_or_else(|| panic!("no `{key}` in {record}")).values().filter_map(Value::as_u64).sum()
}
