//! The table for people and the JSON lines for machines.

use crate::{Options, Sample, median};
use std::fmt::Write;
use std::process::ExitCode;

/// One comparison.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// What was measured.
    pub figure: String,
    /// In what.
    pub unit: &'static str,
    /// Our median.
    pub ours: f64,
    /// Whom we are compared with; `limit` for a fixed bound.
    pub peer: &'static str,
    /// Their median, or the bound.
    pub theirs: Option<f64>,
    /// More than 1: we are better.
    pub ratio: Option<f64>,
    /// What the ratio must reach, if anything.
    pub bar: Option<f64>,
    /// Whether the figure does not depend on the machine's mood, so that its bar counts in a quick run too.
    pub exact: bool,
    /// Packets per second, ours and theirs, by the wall clock.
    pub pps: Option<(f64, f64)>,
    /// Why there is no figure.
    pub skipped: Option<String>,
    /// What went wrong.
    pub failed: Option<String>,
}

/// What the median of nine pairs cannot tell apart: by so much two runs of the same program differ.
const RESOLUTION: f64 = 0.005;

impl Row {
    fn ok(&self) -> bool {
        let slack = if self.exact { 0.0 } else { RESOLUTION };
        self.failed.is_none() && self.bar.is_none_or(|bar| self.ratio.is_some_and(|ratio| ratio + slack >= bar))
    }
}

/// Collects rows, shows each as it comes, and ends with whether all bars were reached.
#[derive(Debug)]
pub struct Report<'a> {
    area: &'static str,
    options: &'a Options,
    rows: Vec<Row>,
}

impl<'a> Report<'a> {
    /// Of an area; prints the head of the table.
    #[must_use]
    pub fn new(area: &'static str, options: &'a Options) -> Self {
        println!(
            "{:<38} {:<20} {:>9}  {:<11} {:>9} {:>6} {:>5}  {:<4} {:>8} {:>8}",
            "figure", "unit", "ours", "peer", "theirs", "ratio", "bar", "ok", "ours/s", "theirs/s"
        );
        Self { area, options, rows: Vec::new() }
    }

    /// Compares two contenders of a race by one of their figures, of which less is better.
    pub fn compare(
        &mut self,
        figure: impl Into<String>,
        unit: &'static str,
        (ours, theirs): (&[Sample], &[Sample]),
        peer: &'static str,
        bar: Option<f64>,
        value: impl Fn(&Sample) -> f64,
    ) {
        let each = |samples: &[Sample]| median(samples.iter().map(&value));
        let pps = |samples: &[Sample]| median(samples.iter().map(Sample::pps));
        self.add(Row {
            figure: figure.into(),
            unit,
            ours: each(ours),
            peer,
            theirs: Some(each(theirs)),
            ratio: Some(crate::ratio(ours, theirs, &value)),
            bar,
            pps: Some((pps(ours), pps(theirs))),
            ..Row::default()
        });
    }

    /// As [`compare`](Self::compare), by the best run of each instead of the median of pairs: for figures by the wall clock,
    /// where a run that had to share its CPUs says nothing.
    pub fn compare_best(
        &mut self,
        figure: impl Into<String>,
        unit: &'static str,
        (ours, theirs): (&[Sample], &[Sample]),
        peer: &'static str,
        bar: Option<f64>,
        value: impl Fn(&Sample) -> f64,
    ) {
        let best = |samples: &[Sample]| samples.iter().map(&value).fold(f64::INFINITY, f64::min);
        let pps = |samples: &[Sample]| samples.iter().map(Sample::pps).fold(0.0, f64::max);
        self.add(Row {
            figure: figure.into(),
            unit,
            ours: best(ours),
            peer,
            theirs: Some(best(theirs)),
            ratio: Some(best(theirs) / best(ours)),
            bar,
            pps: Some((pps(ours), pps(theirs))),
            ..Row::default()
        });
    }

    /// Compares a figure with a bound that it must not exceed.
    pub fn limit(&mut self, figure: impl Into<String>, unit: &'static str, ours: f64, limit: f64, exact: bool) {
        // No allocation at all is as good as it gets.
        let ratio = if ours <= 0.0 { 1.0_f64.max(limit) } else { limit / ours };
        self.add(Row {
            figure: figure.into(),
            unit,
            ours,
            peer: "limit",
            theirs: Some(limit),
            ratio: Some(ratio),
            bar: Some(1.0),
            exact,
            ..Row::default()
        });
    }

    /// Says that a figure could not be had on this machine, and why.
    pub fn skip(&mut self, figure: impl Into<String>, peer: &'static str, reason: impl Into<String>) {
        self.add(Row { figure: figure.into(), peer, skipped: Some(reason.into()), ..Row::default() });
    }

    /// Says that a figure should have been had and was not.
    pub fn fail(&mut self, figure: impl Into<String>, peer: &'static str, problem: impl Into<String>) {
        self.add(Row { figure: figure.into(), peer, failed: Some(problem.into()), ..Row::default() });
    }

    /// Adds a row and shows it.
    pub fn add(&mut self, row: Row) {
        if let Some(reason) = &row.skipped {
            crate::skip(&format!("{} against {}", row.figure, row.peer), reason);
        } else if let Some(problem) = &row.failed {
            println!("FAILED {} against {}: {problem}", row.figure, row.peer);
        } else {
            let number = |n: Option<f64>, digits| n.map_or_else(String::new, |n| format!("{n:.digits$}"));
            let rate = |n: Option<f64>| n.map_or_else(String::new, |n| format!("{:.3} M", n / 1e6));
            println!(
                "{:<38} {:<20} {:>9.2}  {:<11} {:>9} {:>6} {:>5}  {:<4} {:>8} {:>8}",
                row.figure,
                row.unit,
                row.ours,
                row.peer,
                number(row.theirs, 2),
                number(row.ratio, 3),
                number(row.bar, 2),
                if row.bar.is_none() {
                    ""
                } else if row.ok() {
                    "yes"
                } else {
                    "NO"
                },
                rate(row.pps.map(|p| p.0)),
                rate(row.pps.map(|p| p.1)),
            );
        }
        self.rows.push(row);
    }

    /// Writes the JSON lines and says whether every bar that counts was reached.
    #[must_use]
    pub fn finish(self) -> ExitCode {
        if let Some(path) = &self.options.json {
            let text: String = self.rows.iter().map(|row| json(self.area, row) + "\n").collect();
            if let Err(error) = std::fs::write(path, text) {
                eprintln!("error: {}: {error}", path.display());
                return ExitCode::FAILURE;
            }
        }
        let missed: Vec<&Row> = self.rows.iter().filter(|row| !row.ok() && row.skipped.is_none()).collect();
        let (counting, noise): (Vec<&Row>, Vec<&Row>) =
            missed.into_iter().partition(|row| !self.options.quick || row.exact || row.failed.is_some());
        for row in &noise {
            println!("below its bar, which does not count in a quick run: {} against {}", row.figure, row.peer);
        }
        for row in &counting {
            println!("missed: {} against {}", row.figure, row.peer);
        }
        let measured = self.rows.iter().filter(|row| row.skipped.is_none()).count();
        let skipped = self.rows.len() - measured;
        println!("{measured} figures, {} missed, {skipped} skipped", counting.len());
        // A run that measured nothing shows nothing.
        if counting.is_empty() && measured > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn json(area: &str, row: &Row) -> String {
    let mut out = format!("{{\"area\":{},\"figure\":{}", quote(area), quote(&row.figure));
    let number = |n: Option<f64>| n.filter(|n| n.is_finite()).map_or_else(|| "null".to_owned(), |n| format!("{n:.4}"));
    // Writing to a string cannot fail.
    let _ = match (&row.skipped, &row.failed) {
        (Some(reason), _) => write!(out, ",\"peer\":{},\"skipped\":{}", quote(row.peer), quote(reason)),
        (_, Some(problem)) => write!(out, ",\"peer\":{},\"ok\":false,\"failed\":{}", quote(row.peer), quote(problem)),
        _ => write!(
            out,
            ",\"unit\":{},\"ours\":{},\"peer\":{},\"theirs\":{},\"ratio\":{},\"bar\":{},\"ok\":{},\"ours_pps\":{},\"theirs_pps\":{}",
            quote(row.unit),
            number(Some(row.ours)),
            quote(row.peer),
            number(row.theirs),
            number(row.ratio),
            number(row.bar),
            row.ok(),
            number(row.pps.map(|p| p.0)),
            number(row.pps.map(|p| p.1)),
        ),
    };
    out + "}"
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_ok_when_its_ratio_reaches_the_bar() {
        let row = |ratio, bar| Row { ratio: Some(ratio), bar: Some(bar), ..Row::default() };
        assert!(row(0.97, 0.97).ok());
        assert!(row(0.966, 0.97).ok(), "within what can be told apart");
        assert!(!row(0.96, 0.97).ok());
        assert!(!Row { exact: true, ..row(0.999, 1.0) }.ok(), "what is counted can be told apart");
        assert!(Row::default().ok(), "no bar, nothing to miss");
        assert!(!Row { failed: Some("it ended".into()), ..row(1.0, 0.9) }.ok());
    }

    #[test]
    fn json_lines_escape_what_they_must() {
        let row = Row { figure: "a \"b\"\n".into(), unit: "ns", ours: 1.0, bar: Some(0.5), ..Row::default() };
        assert_eq!(
            json("packets", &row),
            "{\"area\":\"packets\",\"figure\":\"a \\\"b\\\"\\n\",\"unit\":\"ns\",\"ours\":1.0000,\"peer\":\"\",\"theirs\":null,\"ratio\":null,\"bar\":0.5000,\"ok\":false,\"ours_pps\":null,\"theirs_pps\":null}"
        );
    }
}
