//! Looks at what packet I/O depends on, and says of everything that stands in the way what to type.
//!
//! ```text
//! doctor                    the machine, the backends, every interface but lo
//! doctor eth0 --json        one interface, as JSON lines
//! ```
//!
//! Nothing is changed, no other program is run.

mod interface;
mod system;

use clap::Parser;
use nethuns_rs::api::LinkInfo;
use nethuns_tools::{Failure, Output, OutputArgs, Record, Stop, args};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Exit statuses by the worst finding.
const AFTER_HELP: &str = "Exit status: 0 nothing in the way, 10 something will hurt (warnings), 20 something cannot work \
                          (problems), 1 error, 2 wrong arguments.";

/// Look at what packet I/O depends on, and say what to type
#[derive(Parser)]
#[command(name = "doctor", version, after_help = AFTER_HELP)]
struct Args {
    /// Interfaces to look at [default: all but lo]
    interfaces: Vec<String>,
    /// The program that is to get rights, for the `setcap` line [default: meter, beside this one]
    #[arg(long = "for", value_name = "BINARY")]
    program: Option<PathBuf>,
    /// Print JSON lines instead of text
    #[arg(long)]
    json: bool,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Works, but hurts.
    Warning,
    /// Cannot work.
    Problem,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Note => "note",
            Severity::Warning => "WARNING",
            Severity::Problem => "PROBLEM",
        }
    }

    fn status(self) -> u8 {
        match self {
            Severity::Ok | Severity::Note => 0,
            Severity::Warning => 10,
            Severity::Problem => 20,
        }
    }
}

/// Something found.
#[derive(Debug, Serialize)]
struct Finding {
    /// `system`, `backend` or `interface`.
    topic: &'static str,
    /// Which backend or interface.
    subject: Option<String>,
    severity: Severity,
    /// What was found, and what it means.
    text: String,
    /// What to type.
    fix: Option<String>,
}

impl Record for Finding {
    const EVENT: &'static str = "finding";

    fn text(&self) -> String {
        let fix = self.fix.as_ref().map_or(String::new(), |fix| format!("\n           {fix}"));
        format!("  {:<7}  {}{fix}", self.severity.word(), self.text)
    }
}

/// The end of the examination.
#[derive(Debug, Serialize)]
struct Verdict {
    severity: Severity,
    problems: usize,
    warnings: usize,
    notes: usize,
}

impl Record for Verdict {
    const EVENT: &'static str = "verdict";

    fn text(&self) -> String {
        let some = |n: usize, what| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let [problems, warnings, notes] =
            [some(self.problems, "problem"), some(self.warnings, "warning"), some(self.notes, "note")];
        format!("\n{problems}, {warnings}, {notes}")
    }
}

/// Findings of one topic and subject.
struct Findings {
    topic: &'static str,
    subject: Option<String>,
    list: Vec<Finding>,
}

impl Findings {
    fn about(topic: &'static str, subject: Option<&str>) -> Self {
        Self { topic, subject: subject.map(str::to_owned), list: Vec::new() }
    }

    fn add(&mut self, severity: Severity, text: impl Into<String>) {
        self.list.push(Finding {
            topic: self.topic,
            subject: self.subject.clone(),
            severity,
            text: text.into(),
            fix: None,
        });
    }

    fn add_fix(&mut self, severity: Severity, text: impl Into<String>, fix: impl Into<String>) {
        self.add(severity, text);
        if let Some(last) = self.list.last_mut() {
            last.fix = Some(fix.into());
        }
    }
}

fn main() -> ExitCode {
    let mut status = 0;
    let code = args::main("doctor", |args: Args| {
        status = examine(&args)?.status();
        Ok(())
    });
    if status == 0 { code } else { ExitCode::from(status) }
}

fn examine(args: &Args) -> Result<Severity, Failure> {
    let format = OutputArgs { json: args.json, log: None, quiet: false, interval: Duration::from_secs(1) };
    let output = Output::new("doctor", &format, &Stop::default())?;
    let names = if args.interfaces.is_empty() {
        LinkInfo::interfaces().into_iter().filter(|name| name != "lo").collect()
    } else {
        args.interfaces.clone()
    };
    let program = args.program.clone().or_else(|| Some(std::env::current_exe().ok()?.with_file_name("meter")));

    let mut sections = vec![system::machine(), system::rights(program), system::backends()];
    for name in &names {
        sections.push(interface::examine(name)?);
    }
    let mut count = [0; 4];
    for section in &sections {
        let subject = section.subject.as_ref().map_or(String::new(), |subject| format!(" {subject}"));
        output.heading(&format!("{}{subject}", section.topic));
        for finding in &section.list {
            count[finding.severity as usize] += 1;
            output.tell(finding);
        }
    }
    let severity = sections.iter().flat_map(|s| &s.list).map(|f| f.severity).max().unwrap_or(Severity::Ok);
    let [_, notes, warnings, problems] = count;
    output.tell(&Verdict { severity, problems, warnings, notes });
    Ok(severity)
}
