//! Values as people type them on a command line, and errors of one line.

use crate::frame::Endpoint;
use crate::{Failure, Rate};
use std::fmt;
use std::net::IpAddr;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

/// Parses the command line and runs a tool. Every failure becomes one line on standard error that begins with the
/// tool's name; the exit status is that of [`Failure`], or 2 for a command line that cannot be read.
pub fn main<A: clap::Parser>(tool: &str, run: impl FnOnce(A) -> Result<(), Failure>) -> ExitCode {
    let args = match A::try_parse() {
        Ok(args) => args,
        Err(error) if !error.use_stderr() => {
            // Help and version: what was asked for. A reader that has gone away is no reason to fail.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{tool}: {} (try --help)", one_line(&error.to_string()));
            return ExitCode::from(Failure::USAGE);
        }
    };
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{tool}: {failure}");
            ExitCode::from(failure.status())
        }
    }
}

/// The first paragraph of clap's message, on one line.
fn one_line(message: &str) -> String {
    let first = message.trim_start_matches("error: ").split("\n\n").next().unwrap_or(message);
    first.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A number with an optional fraction and a suffix `k`, `M` or `G`: its value and what follows it.
fn scaled(text: &str) -> Option<(f64, &str)> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (digits, rest) = text.split_at(split);
    let value = f64::from_str(digits).ok()?;
    let (unit, rest) = match rest.chars().next() {
        Some('k' | 'K') => (1e3, &rest[1..]),
        Some('M') => (1e6, &rest[1..]),
        Some('G') => (1e9, &rest[1..]),
        _ => (1.0, rest),
    };
    Some((value * unit, rest))
}

/// How many: `1000`, `10k`, `1.5M`.
///
/// # Errors
///
/// What would have been right.
pub fn count(text: &str) -> Result<u64, String> {
    match scaled(text) {
        Some((n, "")) if n.fract() == 0.0 && (1.0..=1e18).contains(&n) => Ok(n as u64),
        _ => Err("expected a whole number from 1, such as 1000, 10k or 1.5M".into()),
    }
}

/// How fast: `100k` or `100kpps` packets per second, `1Gbps` bits per second, `max`.
///
/// # Errors
///
/// What would have been right.
pub fn rate(text: &str) -> Result<Rate, String> {
    let bad =
        || "expected packets per second such as 100k or 1.5Mpps, bits per second such as 1Gbps, or max".to_owned();
    if text == "max" {
        return Ok(Rate::Max);
    }
    let (value, unit) = scaled(text).ok_or_else(bad)?;
    if !(0.001..=1e13).contains(&value) {
        return Err(format!("{text} is no possible rate: 0.001 to 10000G"));
    }
    match unit {
        "" | "pps" | "p/s" => Ok(Rate::Packets(value)),
        "bps" | "bit" | "bit/s" => Ok(Rate::Bits(value)),
        _ => Err(bad()),
    }
}

/// How long: `10s`, `500ms`, `2m`; without a unit, seconds.
///
/// # Errors
///
/// What would have been right.
pub fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let unit = match unit {
        "" | "s" => 1.0,
        "us" => 1e-6,
        "ms" => 1e-3,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => f64::NAN,
    };
    f64::from_str(digits)
        .ok()
        .and_then(|n| Duration::try_from_secs_f64(n * unit).ok())
        .filter(|d| !d.is_zero() && d.as_secs() < 1 << 32)
        .ok_or_else(|| "expected a duration above zero, such as 10s, 500ms or 2m".into())
}

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut mac = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut mac {
            let part = parts.next().filter(|p| (1..=2).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = part
                .and_then(|p| u8::from_str_radix(p, 16).ok())
                .ok_or("expected a MAC address such as 02:00:00:00:00:01")?;
        }
        match parts.next() {
            None => Ok(Self(mac)),
            Some(_) => Err("expected a MAC address of six bytes, such as 02:00:00:00:00:01".into()),
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An address with an optional port: `10.0.0.1`, `10.0.0.1:9`, `fd00::1`, `[fd00::1]:9`.
///
/// # Errors
///
/// What would have been right.
pub fn endpoint(text: &str) -> Result<Endpoint, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = IpAddr::from_str(bare) {
        return Ok(Endpoint { ip, port: Endpoint::DEFAULT_PORT });
    }
    match std::net::SocketAddr::from_str(text) {
        Ok(at) => Ok(Endpoint { ip: at.ip(), port: at.port() }),
        Err(_) => Err("expected an address with or without a port, such as 10.0.0.1:9 or [fd00::1]:9".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_rates() {
        for (text, value) in [("1", 1), ("10k", 10_000), ("1.5M", 1_500_000), ("2G", 2_000_000_000)] {
            assert_eq!(count(text), Ok(value), "{text}");
        }
        for text in ["", "0", "-1", "1.5", "10q", "k", "1kk", "1e99", "nan"] {
            assert!(count(text).is_err(), "{text}");
        }
        assert_eq!(rate("10M"), Ok(Rate::Packets(10e6)));
        assert_eq!(rate("10Mpps"), Ok(Rate::Packets(10e6)));
        assert_eq!(rate("1.5Gbps"), Ok(Rate::Bits(1.5e9)));
        assert_eq!(rate("0.5"), Ok(Rate::Packets(0.5)));
        assert_eq!(rate("max"), Ok(Rate::Max));
        for text in ["", "0", "-5", "10X", "fast", "1Gfoo", "99999999G", "."] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in [("2", 2000), ("1.5s", 1500), ("20ms", 20), ("2m", 120_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "0", "0s", "-1s", "5 parsecs", "s", "99999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses() {
        assert_eq!("02:0:00:00:00:ff".parse(), Ok(Mac([2, 0, 0, 0, 0, 255])));
        for text in ["", "02:00", "02:00:00:00:00:00:00", "0g:00:00:00:00:00", "+2:00:00:00:00:00", "020:0:0:0:0:0"] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
        let at = |ip: &str, port| Ok(Endpoint { ip: ip.parse().unwrap(), port });
        assert_eq!(endpoint("10.0.0.1"), at("10.0.0.1", Endpoint::DEFAULT_PORT));
        assert_eq!(endpoint("10.0.0.1:7"), at("10.0.0.1", 7));
        assert_eq!(endpoint("fd00::1"), at("fd00::1", Endpoint::DEFAULT_PORT));
        assert_eq!(endpoint("[fd00::1]:7"), at("fd00::1", 7));
        assert_eq!(endpoint("[fd00::1]"), at("fd00::1", Endpoint::DEFAULT_PORT));
        for text in ["", "10.0.0", "10.0.0.1:", "10.0.0.1:70000", "host", "[fd00::1", "fd00::1]", "[[fd00::1]]"] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn clap_messages_become_one_line() {
        let text = "error: the following required arguments were not provided:\n  <PORT>\n\nUsage: x <PORT>\n";
        assert_eq!(one_line(text), "the following required arguments were not provided: <PORT>");
    }
}
