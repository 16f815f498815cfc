//! Where results go: text for people or JSON lines for programs on standard output, and JSON lines in a log file.

use crate::{Failure, Stop};
use serde::{Serialize, Serializer};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Options that every tool has.
#[derive(clap::Args, Clone, Debug)]
pub struct OutputArgs {
    /// Print JSON lines instead of text
    #[arg(long)]
    pub json: bool,
    /// Also write JSON lines to this file
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Print no line per interval
    #[arg(short, long)]
    pub quiet: bool,
    /// Time between two lines
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = crate::args::duration)]
    pub interval: Duration,
}

/// Something to tell.
pub trait Record: Serialize {
    /// What kind of record it is: `start`, `interval`, `summary`.
    const EVENT: &'static str;

    /// For people. May be several lines.
    fn text(&self) -> String;

    /// The names of the columns, where `text` is a row of a table.
    fn columns(&self) -> Option<String> {
        None
    }
}

/// The way out. Shared by the threads of a tool.
#[derive(Debug)]
pub struct Output {
    tool: &'static str,
    json: bool,
    quiet: bool,
    stop: Stop,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    log: Option<File>,
    /// The heading of the table that is being printed, and its rows so far.
    table: Option<(String, usize)>,
}

#[derive(Serialize)]
struct Line<'a, R> {
    tool: &'static str,
    event: &'static str,
    #[serde(flatten)]
    record: &'a R,
}

impl Output {
    /// Rows of a table before its heading is repeated.
    const PAGE: usize = 20;

    /// The way out of a tool of that name. If nobody reads any more, `stop` is requested.
    ///
    /// # Errors
    ///
    /// If the log file cannot be made.
    pub fn new(tool: &'static str, args: &OutputArgs, stop: &Stop) -> Result<Self, Failure> {
        let open =
            |path: &PathBuf| File::create(path).map_err(|e| Failure::new(format!("--log {}: {e}", path.display())));
        let log = args.log.as_ref().map(open).transpose()?;
        let state = Mutex::new(State { log, table: None });
        Ok(Self { tool, json: args.json, quiet: args.quiet, stop: stop.clone(), state })
    }

    /// Tells a record.
    pub fn tell<R: Record>(&self, record: &R) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let line = (self.json || state.log.is_some()).then(|| {
            let line = Line { tool: self.tool, event: R::EVENT, record };
            let mut line = serde_json::to_string(&line).unwrap_or_else(|e| format!("{{\"error\":\"{e}\"}}"));
            line.push('\n');
            line
        });
        if let (Some(log), Some(line)) = (&mut state.log, &line)
            && let Err(error) = log.write_all(line.as_bytes())
        {
            eprintln!("{}: --log: {error}", self.tool);
            state.log = None;
        }
        if self.quiet && R::EVENT == "interval" {
            return;
        }
        let text = match line {
            Some(line) if self.json => line,
            _ => table(&mut state.table, record),
        };
        let mut out = io::stdout().lock();
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            // Nobody reads any more: end as after ctrl-C.
            self.stop.request();
        }
    }

    /// A heading between records, for people only.
    pub fn heading(&self, text: &str) {
        let mut out = io::stdout().lock();
        if !self.json && writeln!(out, "{text}").is_err() {
            self.stop.request();
        }
    }

    /// Tells people something worth knowing, on standard error.
    pub fn remark(&self, text: &str) {
        eprintln!("{}: {text}", self.tool);
    }
}

fn table<R: Record>(table: &mut Option<(String, usize)>, record: &R) -> String {
    let mut out = String::new();
    if let Some(columns) = record.columns() {
        match table {
            Some((heading, rows)) if *heading == columns && *rows < Output::PAGE => *rows += 1,
            _ => {
                let _ = writeln!(out, "{columns}");
                *table = Some((columns, 1));
            }
        }
    } else {
        *table = None;
    }
    let _ = writeln!(out, "{}", record.text());
    out
}

/// Packets lost, by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Causes(pub Vec<(&'static str, u64)>);

impl Causes {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, n)| n).sum()
    }

    /// What has been added since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Causes) -> Causes {
        let before = |cause: &str| earlier.0.iter().find(|(name, _)| *name == cause).map_or(0, |(_, n)| *n);
        Causes(self.0.iter().map(|(name, n)| (*name, n.saturating_sub(before(name)))).collect())
    }

    /// Those that happened, on one line: `3 (ring_full 2, no_frame 1)`, or `0`.
    #[must_use]
    pub fn brief(&self) -> String {
        let some: Vec<String> = self.0.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} {n}")).collect();
        if some.is_empty() { "0".into() } else { format!("{} ({})", self.total(), some.join(", ")) }
    }

    fn width(name: &str) -> usize {
        name.len().max(8) + 1
    }

    pub(crate) fn heading(&self) -> String {
        self.0.iter().map(|(name, _)| format!("{name:>0$}", Self::width(name))).collect()
    }

    pub(crate) fn row(&self) -> String {
        self.0.iter().map(|(name, n)| format!("{n:>0$}", Self::width(name))).collect()
    }
}

impl Serialize for Causes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// When the next line is due.
#[derive(Debug)]
pub struct Ticker {
    every: Duration,
    start: std::time::Instant,
    last: std::time::Instant,
    next: std::time::Instant,
}

impl Ticker {
    /// Lines on a grid of `every` from `start`.
    #[must_use]
    pub fn new(every: Duration, start: std::time::Instant) -> Self {
        Self { every, start, last: start, next: start + every }
    }

    /// When the next one is due.
    #[must_use]
    pub fn next(&self) -> std::time::Instant {
        self.next
    }

    /// If a line is due: seconds since the start and since the last one.
    #[inline]
    pub fn due(&mut self, now: std::time::Instant) -> Option<(f64, f64)> {
        if now < self.next {
            return None;
        }
        let spans = ((now - self.start).as_secs_f64(), (now - self.last).as_secs_f64());
        self.last = now;
        while self.next <= now {
            self.next += self.every;
        }
        Some(spans)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_by_name() {
        let causes = Causes(vec![("ring_full", 5), ("no_frame", 0), ("interface", 2)]);
        assert_eq!(causes.brief(), "7 (ring_full 5, interface 2)");
        assert_eq!(Causes(vec![("x", 0)]).brief(), "0");
        assert_eq!(
            causes.since(&Causes(vec![("ring_full", 4)])).0,
            [("ring_full", 1), ("no_frame", 0), ("interface", 2)]
        );
        assert_eq!(serde_json::to_string(&causes).unwrap(), r#"{"ring_full":5,"no_frame":0,"interface":2}"#);
        assert_eq!(causes.heading().len(), causes.row().len());
    }

    #[test]
    fn lines_are_due_on_their_grid() {
        let start = std::time::Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut ticker = Ticker::new(Duration::from_secs(1), start);
        assert_eq!(ticker.due(at(999)), None);
        assert_eq!(ticker.due(at(1250)), Some((1.25, 1.25)));
        assert_eq!(ticker.next(), at(2000));
        assert_eq!(ticker.due(at(4500)), Some((4.5, 3.25)));
        assert_eq!(ticker.next(), at(5000));
    }
}
