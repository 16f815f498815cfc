//! Where a test takes place, and the programs that take part.

use crate::certs::{Authority, Folder, Leaf};
use crate::common::netns::{Lab, ip, join};
use nethuns_rs::net::Net;
use nethuns_rs::usockets::{Loop, SocketContextOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take: far more than it does.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A network, and certificates.
pub struct Place {
    /// The namespaces of the programs and of the loop.
    lab: Option<(Lab, OwnedFd)>,
    /// What a loop is opened with.
    pub spec: &'static str,
    /// The loop's address.
    pub ours: &'static str,
    /// The address of the programs.
    pub theirs: &'static str,
    pub folder: Folder,
    pub root: Authority,
    pub roots: String,
}

impl Place {
    fn new(lab: Option<(Lab, OwnedFd)>, spec: &'static str, ours: &'static str, theirs: &'static str) -> Self {
        let (folder, root) = (Folder::new(), Authority::new("root"));
        let roots = folder.file("roots.pem", root.pem());
        Self { lab, spec, ours, theirs, folder, root, roots }
    }

    pub fn kernel() -> Self {
        Self::new(None, "kernel", "127.0.0.1", "127.0.0.1")
    }

    /// `None` without the rights to make one.
    pub fn stack(test: &str) -> Option<Self> {
        let name = test.to_owned();
        let other = std::thread::spawn(move || Lab::enter(&name).map(|lab| lab.handle()));
        let loops = other.join().expect("a namespace")?;
        let lab = Lab::enter(test)?;
        lab.veth("eth0", "eth1", 1);
        ip(&format!("link set eth0 netns /proc/{}/fd/{}", std::process::id(), loops.as_raw_fd()));
        ip("addr add 10.0.0.1/24 dev eth1");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                join(&loops);
                ip("link set eth0 up");
            });
        });
        let spec = "af_xdp:eth0?ip=10.0.0.2/24&rx_checksum=trust";
        Some(Self::new(Some((lab, loops)), spec, "10.0.0.2", "10.0.0.1"))
    }

    /// Moves the calling thread to where the loop is.
    pub fn enter(&self) {
        if let Some((_, namespace)) = &self.lab {
            join(namespace);
        }
    }

    /// Opens the loop, in a thread that has entered.
    pub fn open<T: 'static>(&self, ext: T) -> Loop<T> {
        let event_loop = Loop::on_network(Net::builder().spec(self.spec), ext).expect("a loop");
        assert_eq!(event_loop.network(), self.spec, "the test is about another network");
        if self.lab.is_some() {
            let addresses = Command::new("ip").args(["-4", "-o", "addr", "show", "dev", "eth0"]).output().expect("ip");
            assert_eq!(addresses.stdout, b"", "the kernel has no address there");
        }
        event_loop
    }

    /// Options of somebody who shows this certificate.
    pub fn shows(&self, name: &str, leaf: &Leaf) -> SocketContextOptions {
        SocketContextOptions {
            cert_file_name: Some(self.folder.file(&format!("{name}.pem"), &leaf.cert)),
            key_file_name: Some(self.folder.file(&format!("{name}.key"), &leaf.key)),
            ..Default::default()
        }
    }

    /// Options of a server with a good certificate for these names.
    pub fn good(&self, names: &[&str]) -> SocketContextOptions {
        self.shows(&names[0].replace('*', "any"), &self.root.issue(names, |_| {}))
    }

    /// Options of a client that trusts the root.
    pub fn trusts(&self) -> SocketContextOptions {
        SocketContextOptions { ca_file_name: Some(self.roots.clone()), ..Default::default() }
    }
}

/// A command line; `{}` in it stands for the next of the arguments.
pub fn command(line: &str, args: &[&dyn std::fmt::Display]) -> Command {
    let mut args = args.iter();
    let mut words = line.split_whitespace().map(|word| {
        let mut parts = word.split("{}");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |word, part| format!("{word}{}{part}", args.next().expect("an argument")))
    });
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words);
    assert!(args.next().is_none(), "an argument is left");
    command
}

/// What a program says on both of its outputs, and whether it succeeded. It gets the input all at once and then its end; or,
/// with a pause after each line, for those that look at lines as they come.
pub fn talk(mut command: Command, input: &[u8], pause: Duration) -> (String, bool) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error} (scripts/test.sh installs it)"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        for line in input.split_inclusive(|byte| *byte == b'\n') {
            // Who has ended does not read.
            let _ = stdin.write_all(line);
            std::thread::sleep(pause);
        }
    });
    let killer = kill_later(&child);
    let output = child.wait_with_output().expect("it ends");
    drop(killer);
    writer.join().expect("the writer ends");
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.success())
}

/// Runs a program to its end and insists on success.
pub fn good(command: Command, input: &[u8]) -> String {
    let what = format!("{command:?}");
    let (text, success) = talk(command, input, Duration::ZERO);
    assert!(success, "{what}: {text}");
    text
}

/// Ends a program that takes too long, unless it is dropped before.
fn kill_later(child: &Child) -> std::sync::mpsc::Sender<()> {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let pid = child.id().to_string();
    std::thread::spawn(move || {
        if receiver.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = Command::new("kill").arg(pid).status();
        }
    });
    sender
}

/// A program that goes on until it is dropped.
pub struct Running(Child);

impl Running {
    /// Starts a server and waits until it listens on the port.
    pub fn server(mut command: Command, address: &str, port: u16) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn();
        let running = Self(child.unwrap_or_else(|error| panic!("{command:?}: {error} (scripts/test.sh installs it)")));
        let start = Instant::now();
        while std::net::TcpStream::connect((address, port)).is_err() {
            assert!(start.elapsed() < PATIENCE, "{command:?} does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port of the kernel's on which nobody listens.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}
