//! The closing table of a run through several programs: where every packet has gone.
//!
//! ```text
//!   generator ──▶ [ wire ] ──▶ forwarder ──▶ [ wire ] ──▶ meter
//! ```
//!
//! Each stage tells what it took in, what it gave on and what it lost for which cause. The books balance if what one
//! stage gave on is what the next one took in or lost for a known cause.

use crate::Failure;
use crate::output::{Causes, Record};
use crate::report::{Forwarded, Received, Sent};
use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// What one stage of the way says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Packets it was given, or accepted from its program.
    pub taken: u64,
    /// Packets that it knows to have arrived and not reached it, by cause.
    pub lost_before: Vec<(String, u64)>,
    /// Packets it took and lost, by cause.
    pub lost: Vec<(String, u64)>,
    /// Packets it gave on.
    pub given: u64,
}

fn owned(causes: &Causes) -> Vec<(String, u64)> {
    causes.0.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect()
}

fn total(causes: &[(String, u64)]) -> u64 {
    causes.iter().map(|(_, n)| n).sum()
}

fn brief(causes: &[(String, u64)]) -> String {
    let some: Vec<String> = causes.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} {n}")).collect();
    if some.is_empty() { "-".into() } else { some.join(", ") }
}

impl From<&Sent> for Stage {
    fn from(sent: &Sent) -> Self {
        let mut lost = owned(&sent.dropped);
        lost.push(("pending".into(), sent.pending));
        Self { name: "pkt-gen".into(), taken: sent.submitted, lost_before: Vec::new(), lost, given: sent.flow.packets }
    }
}

impl From<&Forwarded> for Stage {
    fn from(way: &Forwarded) -> Self {
        let mut lost = owned(&way.dropped);
        lost.push(("pending".into(), way.pending));
        Self {
            name: "forward".into(),
            taken: way.received,
            lost_before: owned(&way.rx_dropped),
            lost,
            given: way.flow.packets,
        }
    }
}

impl From<&Received> for Stage {
    fn from(received: &Received) -> Self {
        Self {
            name: "meter".into(),
            taken: received.flow.packets,
            lost_before: owned(&received.dropped),
            lost: Vec::new(),
            given: received.flow.packets,
        }
    }
}

impl Stage {
    /// Reads the summary out of a tool's JSON lines.
    ///
    /// # Errors
    ///
    /// If there is none, or it is not that of a generator, forwarder or meter.
    pub fn from_log(text: &str) -> Result<Self, Failure> {
        let summary = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|line| line["event"] == "summary")
            .ok_or_else(|| Failure::new("no summary: the program did not come to its end"))?;
        let number = |key: &str| summary[key].as_u64().ok_or_else(|| Failure::new(format!("summary without `{key}`")));
        let causes = |key: &str| {
            let map = summary[key].as_object().into_iter().flatten();
            map.filter_map(|(cause, n)| Some((cause.clone(), n.as_u64()?))).collect::<Vec<_>>()
        };
        let name = summary["tool"].as_str().unwrap_or_default().to_owned();
        let given = number("packets")?;
        let with_pending = |mut lost: Vec<(String, u64)>, pending| {
            lost.push(("pending".into(), pending));
            lost
        };
        match name.as_str() {
            "pkt-gen" => Ok(Self {
                taken: number("submitted")?,
                lost_before: Vec::new(),
                lost: with_pending(causes("dropped"), number("pending")?),
                given,
                name,
            }),
            "forward" | "forward_mt" => Ok(Self {
                taken: number("received")?,
                lost_before: causes("rx_dropped"),
                lost: with_pending(causes("dropped"), number("pending")?),
                given,
                name,
            }),
            "meter" => Ok(Self { taken: given, lost_before: causes("dropped"), lost: Vec::new(), given, name }),
            other => Err(Failure::new(format!("summary of `{other}`: expected pkt-gen, forward or meter"))),
        }
    }
}

/// The stages in the order of the way.
#[derive(Clone, Debug, Default)]
pub struct Account {
    stages: Vec<Stage>,
}

impl Account {
    /// An account over these stages.
    #[must_use]
    pub fn new(stages: Vec<Stage>) -> Self {
        Self { stages }
    }

    /// An account over stages that are joined by wires in memory. Such a wire tells the sender what it lost, so what the
    /// receivers count are the same packets.
    #[must_use]
    pub fn in_memory(mut stages: Vec<Stage>) -> Self {
        for stage in &mut stages {
            stage.lost_before.clear();
        }
        Self::new(stages)
    }

    /// Every sentence that does not hold; empty if each packet is accounted for.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.stages.iter().any(|stage| stage.given == 0) {
            faults.push("no packets went all the way".to_owned());
        }
        for stage in &self.stages {
            let accounted = stage.given + total(&stage.lost);
            if stage.taken != accounted {
                faults.push(format!("{} took {} and accounts for {accounted}", stage.name, stage.taken));
            }
            if let Some((_, n @ 1..)) = stage.lost.iter().find(|(cause, _)| cause == "pending") {
                faults.push(format!("{} does not know what became of {n}", stage.name));
            }
        }
        for pair in self.stages.windows(2) {
            let [before, after] = pair else { continue };
            let accounted = after.taken + total(&after.lost_before);
            if before.given != accounted {
                faults.push(format!(
                    "{} gave on {}, of which {accounted} are accounted for before {}",
                    before.name, before.given, after.name
                ));
            }
        }
        faults
    }

    /// Packets lost on the whole way, each for a known cause.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.stages.iter().map(|stage| total(&stage.lost) + total(&stage.lost_before)).sum()
    }
}

impl Serialize for Account {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            stages: &'a [Stage],
            lost: u64,
            faults: Vec<String>,
        }
        let fields = Fields { stages: &self.stages, lost: self.lost(), faults: self.faults() };
        fields.serialize(serializer)
    }
}

impl Record for Account {
    const EVENT: &'static str = "account";

    fn text(&self) -> String {
        format!("\n{self}")
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:<12} {:>12} {:>12} {:>8}  causes", "", "taken in", "given on", "lost")?;
        for (n, stage) in self.stages.iter().enumerate() {
            if n > 0 {
                let before = &stage.lost_before;
                writeln!(f, "  {:<12} {:>12} {:>12} {:>8}  {}", "  (wire)", "", "", total(before), brief(before))?;
            }
            let lost = total(&stage.lost);
            writeln!(
                f,
                "  {:<12} {:>12} {:>12} {lost:>8}  {}",
                stage.name,
                stage.taken,
                stage.given,
                brief(&stage.lost)
            )?;
        }
        let faults = self.faults();
        if faults.is_empty() {
            write!(f, "  every packet is accounted for: {} lost", self.lost())
        } else {
            write!(f, "  NOT accounted for: {}", faults.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, taken: u64, before: u64, lost: u64, given: u64) -> Stage {
        Stage {
            name: name.into(),
            taken,
            lost_before: vec![("ring_full".into(), before)],
            lost: vec![("refused".into(), lost), ("pending".into(), 0)],
            given,
        }
    }

    #[test]
    fn books_that_balance() {
        let stages = vec![stage("a", 100, 0, 0, 100), stage("b", 90, 10, 5, 85), stage("c", 80, 5, 0, 80)];
        let account = Account::new(stages);
        assert_eq!(account.faults(), Vec::<String>::new());
        assert_eq!(account.lost(), 20);
        assert!(account.to_string().contains("every packet is accounted for: 20 lost"), "{account}");
    }

    #[test]
    fn books_that_do_not() {
        let silent = Account::new(vec![stage("a", 0, 0, 0, 0), stage("b", 0, 0, 0, 0)]);
        assert_eq!(silent.faults().len(), 1, "zero is no success");
        let leaky = Account::new(vec![stage("a", 10, 0, 1, 8), stage("b", 9, 0, 0, 9)]);
        assert_eq!(leaky.faults().len(), 2, "{:?}", leaky.faults());
        assert!(leaky.to_string().contains("NOT accounted for"));
        let mut pending = stage("a", 10, 0, 0, 9);
        pending.lost[1].1 = 1;
        assert_eq!(Account::new(vec![pending, stage("b", 9, 0, 0, 9)]).faults().len(), 1);
    }

    #[test]
    fn summaries_are_read_back_from_logs() {
        let log = concat!(
            r#"{"tool":"forward","event":"start","port":"x"}"#,
            "\n",
            r#"{"tool":"forward","event":"summary","packets":7,"received":9,"pending":0,"rx_dropped":{"ring_full":3},"dropped":{"refused":2}}"#,
            "\n"
        );
        let read = Stage::from_log(log).unwrap();
        assert_eq!((read.taken, read.given, total(&read.lost), total(&read.lost_before)), (9, 7, 2, 3));
        assert!(Stage::from_log("").unwrap_err().to_string().contains("no summary"));
        assert!(Stage::from_log(r#"{"tool":"meter","event":"summary"}"#).is_err());
    }
}
