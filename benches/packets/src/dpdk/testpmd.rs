//! `dpdk-testpmd`, driven through its prompt.

use super::{Outcome, memory};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

struct Testpmd {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Testpmd {
    fn start(mode: &str, vdevs: &[String]) -> Result<Self, String> {
        // Line by line: it would keep what it says to a pipe to itself until there are 4 KiB of it.
        let mut command = Command::new("stdbuf");
        command
            .args(["-oL", "dpdk-testpmd", "-l", "0,1", "--main-lcore", "0", "--no-telemetry", "--no-pci"])
            .args(memory());
        if memory()[0] == "--no-huge" {
            command.arg("--no-shconf");
        }
        for vdev in vdevs {
            command.args(["--vdev", vdev]);
        }
        let forward = match mode {
            "rx" => "rxonly",
            "tx" => "txonly",
            _ => "io",
        };
        command.args(["--", "-i", "--nb-cores=1", "--total-num-mbufs=8192", "--burst=32", "--no-flush-rx"]);
        command.arg(format!("--forward-mode={forward}"));
        if vdevs.len() == 1 {
            command.arg("--port-topology=loop");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("dpdk-testpmd: {error}: install dpdk-dev"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("dpdk-testpmd has no pipes".into());
        };
        let (tx, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if tx.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, input, lines })
    }

    fn say(&mut self, command: &str) -> Result<(), String> {
        writeln!(self.input, "{command}").map_err(|error| format!("dpdk-testpmd: {error}"))
    }

    /// What it prints up to a line with this in it.
    fn until(&self, part: &str) -> Result<Vec<String>, String> {
        let mut seen = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                return Err(format!("dpdk-testpmd did not say `{part}`, but: {}", seen.join(" | ")));
            };
            let found = line.contains(part);
            seen.push(line);
            if found {
                return Ok(seen);
            }
        }
    }

    /// CPU time of its forwarding thread.
    fn cpu_ns(&self) -> Result<u64, String> {
        let tasks = format!("/proc/{}/task", self.child.id());
        for task in std::fs::read_dir(&tasks).map_err(|error| error.to_string())?.flatten() {
            let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
            if read("comm").contains("worker") {
                let first = read("schedstat").split(' ').next().and_then(|ns| ns.parse().ok());
                return first.ok_or_else(|| "no schedstat in this kernel".to_owned());
            }
        }
        Err("dpdk-testpmd has no worker thread".into())
    }

    /// Forwards for a while. Packets, CPU time, time.
    fn forward(&mut self, mode: &str, time: Duration, first: bool) -> Result<Outcome, String> {
        let before = self.cpu_ns()?;
        self.say(if first && mode == "io" { "start tx_first 4" } else { "start" })?;
        let start = Instant::now();
        std::thread::sleep(time);
        self.say("stop")?;
        let said = self.until("Done.")?;
        let wall_ns = start.elapsed().as_nanos() as u64;
        let cpu_ns = self.cpu_ns()? - before;
        let total = said.iter().position(|line| line.contains("Accumulated forward statistics"));
        let word = if mode == "rx" { "RX-packets:" } else { "TX-packets:" };
        let packets = said[total.unwrap_or(0)..]
            .iter()
            .find_map(|line| line.split_once(word)?.1.split_whitespace().next()?.parse().ok())
            .ok_or_else(|| format!("dpdk-testpmd gave no {word} {}", said.join(" | ")))?;
        Ok(Outcome { packets, cpu_ns, wall_ns, allocations: 0 })
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn run(mode: &str, time: Duration, vdevs: &[String]) -> Result<Outcome, String> {
    let mut testpmd = Testpmd::start(mode, vdevs)?;
    // It is ready when it answers.
    testpmd.say("show config fwd")?;
    testpmd.until("packet forwarding")?;
    testpmd.forward(mode, time / 10, true)?;
    let outcome = testpmd.forward(mode, time, false)?;
    let _ = testpmd.say("quit");
    let _ = testpmd.until("Bye...");
    Ok(outcome)
}
