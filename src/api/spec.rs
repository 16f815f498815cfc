//! Port specs: how a port and its options are written, for every backend.
//!
//! ```text
//! spec    = [ scheme ":" ] name [ "?" option *( "&" option ) ]
//! option  = key [ "=" value ]                a key alone means "on"
//! scheme  = "mem" | "pcap" | "af_xdp" | "netmap" | "dpdk"
//! ```
//!
//! A word before the first colon that is no scheme belongs to the name (`0000:01:00.0`, `C:\trace.pcap`). `%XX` stands
//! for a byte, so that a file may be called `what%3F.pcap`.

use crate::errors::{Error, Result};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// The schemes a port spec may begin with.
pub const SCHEMES: [&str; 5] = ["mem", "pcap", "af_xdp", "netmap", "dpdk"];

/// A port spec taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// The backend, if the spec names one.
    pub scheme: Option<&'static str>,
    /// Interface, file or wire.
    pub name: String,
    /// Keys and values in the order they were given.
    options: Vec<(String, Option<String>)>,
    text: String,
}

impl PortSpec {
    /// Takes a port spec apart. Options are not checked here: each backend knows its own.
    ///
    /// # Errors
    ///
    /// [`Error::PortSpec`] when the name is missing, an option has no key or is given twice, or the spec has a NUL byte.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |problem: &str| Error::PortSpec { spec: text.to_owned(), problem: problem.to_owned() };
        if text.contains('\0') {
            return Err(bad("it contains a NUL byte"));
        }
        let (scheme, rest) = match text.split_once(':') {
            Some((word, rest)) => match SCHEMES.iter().find(|s| **s == word) {
                Some(scheme) => (Some(*scheme), rest),
                None => (None, text),
            },
            None => (None, text),
        };
        let (name, query) = match rest.split_once('?') {
            Some((name, query)) => (name, Some(query)),
            None => (rest, None),
        };
        if name.is_empty() {
            return Err(bad("the name is missing: write an interface, file or wire, such as `pcap:eth0` or `mem:a`"));
        }
        let decode = |part: &str| decode(part).ok_or_else(|| bad("a %XX escape does not decode to text"));
        let mut options: Vec<(String, Option<String>)> = Vec::new();
        for part in query.into_iter().flat_map(|q| q.split('&')) {
            let (key, value) = match part.split_once('=') {
                Some((key, value)) => (decode(key)?, Some(decode(value)?)),
                None => (decode(part)?, None),
            };
            if key.is_empty() {
                return Err(bad("an option has no name: write `?key=value&key=value`"));
            }
            if options.iter().any(|(k, _)| *k == key) {
                return Err(bad(&format!("option `{key}` is given twice")));
            }
            options.push((key, value));
        }
        let name = decode(name)?;
        if name.contains('\0')
            || options.iter().any(|(k, v)| k.contains('\0') || v.as_ref().is_some_and(|v| v.contains('\0')))
        {
            return Err(bad("it contains a NUL byte"));
        }
        Ok(Self { scheme, name, options, text: text.to_owned() })
    }

    /// Takes a port spec apart for the backend `scheme`.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), and when the spec names another backend.
    pub fn parse_for(text: &str, scheme: &'static str) -> Result<Self> {
        let spec = Self::parse(text)?;
        match spec.scheme {
            Some(other) if other != scheme => Err(Error::PortSpec {
                spec: text.to_owned(),
                problem: format!(
                    "this is the `{scheme}` backend; open a `{other}:` port through `nethuns_rs::{other}` or `nethuns_rs::any`"
                ),
            }),
            _ => Ok(spec),
        }
    }

    /// The options, to be taken one by one.
    #[must_use]
    pub fn options(&self) -> Options<'_> {
        Options { spec: self, left: vec![true; self.options.len()], known: Vec::new() }
    }

    /// The spec without the options of these names, and with no others: for whoever wraps a backend and keeps options
    /// to itself.
    #[must_use]
    pub fn split_options(&self, keys: &[&str]) -> (Self, Self) {
        let (base, query) = match self.text.split_once('?') {
            Some((base, query)) => (base, query),
            None => (self.text.as_str(), ""),
        };
        let part = |mine: bool| {
            let chosen =
                || self.options.iter().zip(query.split('&')).filter(|((k, _), _)| keys.contains(&&**k) == mine);
            let raw: Vec<&str> = chosen().map(|(_, raw)| raw).collect();
            Self {
                scheme: self.scheme,
                name: self.name.clone(),
                options: chosen().map(|(option, _)| option.clone()).collect(),
                text: if raw.is_empty() { base.to_owned() } else { format!("{base}?{}", raw.join("&")) },
            }
        };
        (part(false), part(true))
    }

    /// The spec as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// `%XX` to bytes; a `%` that no two hexadecimal digits follow stands for itself.
fn decode(part: &str) -> Option<String> {
    if !part.contains('%') {
        return Some(part.to_owned());
    }
    let hex = |b: Option<&u8>| b.and_then(|b| (*b as char).to_digit(16));
    let bytes = part.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        match (bytes[i], hex(bytes.get(i + 1)), hex(bytes.get(i + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                i += 3;
            }
            (byte, ..) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

/// The options of a port spec. A backend takes those it knows by name and type and ends with
/// [`finish`](Self::finish), which refuses the rest and lists what it would have taken.
#[derive(Debug)]
pub struct Options<'a> {
    spec: &'a PortSpec,
    left: Vec<bool>,
    known: Vec<&'static str>,
}

impl<'a> Options<'a> {
    /// The value of an option: `None` if it was not given, `Some(None)` if it was given without a value.
    pub fn raw(&mut self, key: &'static str) -> Option<Option<&'a str>> {
        self.known.push(key);
        let at = self.spec.options.iter().position(|(k, _)| k == key)?;
        self.left[at] = false;
        Some(self.spec.options[at].1.as_deref())
    }

    /// A text.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] if it has no value.
    pub fn text(&mut self, key: &'static str) -> Result<Option<&'a str>> {
        match self.raw(key) {
            None => Ok(None),
            Some(Some(value)) if !value.is_empty() => Ok(Some(value)),
            Some(value) => Err(bad_option(key, value.unwrap_or(""), "a value")),
        }
    }

    /// A switch: `key`, `key=on|off`, `yes|no`, `true|false`, `1|0`.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] for any other value.
    pub fn switch(&mut self, key: &'static str) -> Result<Option<bool>> {
        match self.raw(key) {
            None => Ok(None),
            Some(None | Some("on" | "yes" | "true" | "1")) => Ok(Some(true)),
            Some(Some("off" | "no" | "false" | "0")) => Ok(Some(false)),
            Some(Some(other)) => Err(bad_option(key, other, "on or off")),
        }
    }

    /// A number within a range. Suffixes `k`, `M`, `G` (powers of 1000) and `Ki`, `Mi`, `Gi` (of 1024) are understood.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] outside the range or if it is no number.
    pub fn number<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Result<Option<T>>
    where
        T: TryFrom<u64> + PartialOrd + Display + Copy,
    {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let value = parse_number(text).and_then(|n| T::try_from(n).ok()).filter(|n| range.contains(n));
        let expected = || format!("a number from {} to {}", range.start(), range.end());
        value.map(Some).ok_or_else(|| bad_option(key, text, expected()))
    }

    /// One of several words, with what each stands for.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] for any other word.
    pub fn one_of<T: Clone>(&mut self, key: &'static str, words: &[(&str, T)]) -> Result<Option<T>> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(Some(value.clone())),
            None => {
                let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Err(bad_option(key, text, format!("one of {}", all.join(", "))))
            }
        }
    }

    /// A probability: `0.01` or `1%`.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] outside 0 to 1.
    pub fn probability(&mut self, key: &'static str) -> Result<Option<f64>> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let value = match text.strip_suffix('%') {
            Some(percent) => f64::from_str(percent).map(|p| p / 100.0),
            None => f64::from_str(text),
        };
        match value {
            Ok(p) if (0.0..=1.0).contains(&p) => Ok(Some(p)),
            _ => Err(bad_option(key, text, "a probability from 0 to 1, such as 0.01 or 1%")),
        }
    }

    /// A duration: `250ns`, `10us`, `1.5ms`, `2s`.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] if it has no unit or is negative.
    pub fn duration(&mut self, key: &'static str) -> Result<Option<Duration>> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        parse_duration(text)
            .map(Some)
            .ok_or_else(|| bad_option(key, text, "a duration with its unit, such as 10us, 1.5ms or 2s"))
    }

    /// A list of numbers and ranges: `0-3,7`. In the order given, without repetition.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] if it is no such list or a number exceeds `max`.
    pub fn list(&mut self, key: &'static str, max: u32) -> Result<Option<Vec<u32>>> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        parse_list(text, max)
            .map(Some)
            .ok_or_else(|| bad_option(key, text, format!("numbers and ranges up to {max}, such as 0-3,7")))
    }

    /// Refuses every option that nobody took.
    ///
    /// # Errors
    ///
    /// [`Error::PortSpec`] naming the option and those there are.
    pub fn finish(self) -> Result<()> {
        let Some(at) = self.left.iter().position(|left| *left) else { return Ok(()) };
        let mut known = self.known;
        known.sort_unstable();
        known.dedup();
        Err(Error::PortSpec {
            spec: self.spec.text.clone(),
            problem: format!("unknown option `{}`; known here: {}", self.spec.options[at].0, known.join(", ")),
        })
    }
}

pub(crate) fn bad_option(option: &'static str, value: impl Display, expected: impl Into<String>) -> Error {
    Error::BadOption { option, value: value.to_string(), expected: expected.into() }
}

fn parse_number(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(split);
    let unit: u64 = match suffix {
        "" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let (digits, unit) = text.split_at(split);
    let nanos = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    Duration::try_from_secs_f64(f64::from_str(digits).ok()? * nanos / 1e9).ok()
}

fn parse_list(text: &str, max: u32) -> Option<Vec<u32>> {
    let mut out = Vec::new();
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
        if from > to || to > max {
            return None;
        }
        for n in from..=to {
            if !out.contains(&n) {
                out.push(n);
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests;
