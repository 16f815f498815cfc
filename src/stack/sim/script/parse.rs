//! Reads a script.

use super::super::frame::{ACK, FIN, LETTERS, Opt, SYN};
use super::{Action, Bound, Call, Check, Expect, Field, Icmp, Inject, Number, Outcome, Script, Shape, Step, When};
use std::net::Shutdown;
use std::time::Duration;

type Result<T> = std::result::Result<T, String>;

impl Script {
    /// Reads a whole script; the error names the line.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut script = Self::default();
        for (line, text) in text.lines().enumerate() {
            let line = line + 1;
            let text = text.split('#').next().unwrap_or_default().trim();
            if !text.is_empty() {
                script.line(line, text).map_err(|why| format!("line {line}: {why}\n    {text}"))?;
            }
        }
        Ok(script)
    }

    fn line(&mut self, line: usize, text: &str) -> Result<()> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            ["config", name, value] => self.settings.push((name.to_owned(), value.to_owned(), line)),
            ["config", ..] => return Err("config NAME VALUE".into()),
            ["flow", label, remote, port] => {
                let remote = remote.parse().map_err(|_| "an address and port of the peer")?;
                self.flows.push((label.to_owned(), remote, number(port)?));
            }
            _ => {
                let (when, rest) = time(text)?;
                let (flow, rest) = label(rest);
                self.steps.push(Step { line, when, flow: flow.to_owned(), action: action(rest)? });
            }
        }
        Ok(())
    }
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N> {
    text.parse().map_err(|_| format!("{text:?} is not a number that fits here"))
}

pub(super) fn seconds(text: &str) -> Result<Duration> {
    let (digits, unit) = match text {
        _ if text.ends_with("us") => (&text[..text.len() - 2], 1e-6),
        _ if text.ends_with("ms") => (&text[..text.len() - 2], 1e-3),
        _ => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let value: f64 = digits.parse().map_err(|_| format!("{text:?} is no time"))?;
    Duration::try_from_secs_f64(value * unit).map_err(|_| format!("{text:?} is no time"))
}

/// The time at the beginning of a line, if there is one.
fn time(text: &str) -> Result<(When, &str)> {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim_start();
    if word == "*" {
        return Ok((When::Any, rest));
    }
    if !word.starts_with(|c: char| c.is_ascii_digit() || c == '+' || c == '.') {
        return Ok((When::After(Duration::ZERO), text));
    }
    let Some(relative) = word.strip_prefix('+') else { return Ok((When::At(seconds(word)?), rest)) };
    let when = match relative.split_once("..") {
        Some((from, to)) => When::Between(seconds(from)?, seconds(to)?),
        None => When::After(seconds(relative)?),
    };
    Ok((when, rest))
}

/// The label of a flow before what happens to it: `b.write 100`, `b< S …`, `b> S. …`.
fn label(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    match text[end..].chars().next() {
        Some('.') if end > 0 => (&text[..end], &text[end + 1..]),
        Some('<' | '>') if end > 0 => (&text[..end], &text[end..]),
        _ => ("", text),
    }
}

fn action(text: &str) -> Result<Action> {
    match text.as_bytes().first() {
        Some(b'<') => {
            let rest = text[1..].trim();
            match rest.strip_prefix("icmp ") {
                Some(icmp) => Ok(Action::Icmp(self::icmp(icmp)?)),
                None => inject(rest),
            }
        }
        Some(b'>') => expect(text[1..].trim()),
        _ if text == "none" => Ok(Action::Nothing),
        _ => call_or_check(text),
    }
}

/// Takes the options in angle brackets off the end of a segment.
fn split_options(text: &str) -> Result<(&str, Option<Vec<Field>>, &str)> {
    let Some((before, rest)) = text.split_once('<') else { return Ok((text, None, "")) };
    let (options, after) = rest.split_once('>').ok_or("options that do not end")?;
    let fields = options.split(',').map(str::trim).filter(|field| !field.is_empty()).map(field);
    Ok((before, Some(fields.collect::<Result<_>>()?), after))
}

fn field(text: &str) -> Result<Field> {
    let words: Vec<&str> = text.split_whitespace().collect();
    Ok(match words[..] {
        ["mss", mss] => Field::Plain(Opt::Mss(number(mss)?)),
        ["wscale", shift] => Field::Plain(Opt::WindowScale(number(shift)?)),
        ["sackOK"] => Field::Plain(Opt::SackOk),
        ["nop"] => Field::Plain(Opt::Nop),
        ["eol"] => Field::Plain(Opt::End),
        ["..."] => Field::Rest,
        ["TS", "val", value, "ecr", echo] => Field::Timestamp(timestamp(value)?, timestamp(echo)?),
        ["sack", ref blocks @ ..] => Field::Sack(blocks.iter().map(|block| range(block)).collect::<Result<_>>()?),
        // Any other: its kind and its bytes after kind and length, in hexadecimal.
        ["opt", kind, ref bytes @ ..] => {
            let hex = |byte: &&str| u8::from_str_radix(byte, 16).map_err(|_| format!("{byte:?} is no byte"));
            Field::Plain(Opt::Other(number(kind)?, bytes.iter().map(hex).collect::<Result<_>>()?))
        }
        _ => return Err(format!("no option: {text:?}")),
    })
}

fn range(text: &str) -> Result<(u32, u32)> {
    let (from, to) = text.split_once(':').ok_or_else(|| format!("{text:?} is not FROM:TO"))?;
    Ok((number(from)?, number(to)?))
}

fn timestamp(text: &str) -> Result<Number> {
    if text == "*" {
        return Ok(Number::Any);
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(Number::Is(number(text)?));
    }
    let at = text.find(['+', '-']).unwrap_or(text.len());
    let (name, offset) = text.split_at(at);
    Ok(Number::Named(name.to_owned(), if offset.is_empty() { 0 } else { number(offset)? }))
}

/// Flags, sequence numbers and acknowledgement; returns the words that are left.
fn shape<'t>(words: &[&'t str]) -> Result<(Shape, Vec<&'t str>)> {
    let [flags, seq, rest @ ..] = words else { return Err("FLAGS FROM:TO(LEN) [ack N] [win N] …".into()) };
    let mut shape = Shape::default();
    for letter in flags.chars().filter(|letter| *letter != '-') {
        let flag = LETTERS.iter().find(|(_, known)| *known == letter);
        shape.flags |= flag.ok_or_else(|| format!("no flag: {letter:?}"))?.0;
    }
    let (from, rest_of_seq) = seq.split_once(':').ok_or("sequence numbers are FROM:TO(LEN)")?;
    let (to, len) = rest_of_seq.split_once('(').ok_or("sequence numbers are FROM:TO(LEN)")?;
    let (len, split) = len.split_once(')').ok_or("sequence numbers are FROM:TO(LEN)")?;
    (shape.seq, shape.len) = (number(from)?, number(len)?);
    if shape.seq.wrapping_add(shape.len) != number::<u32>(to)? {
        return Err(format!("from {from} to {to} is not {len} bytes"));
    }
    if let Some(size) = split.strip_prefix('/') {
        shape.split = Some(number(size)?);
    } else if !split.is_empty() {
        return Err(format!("{split:?} after the length"));
    }
    let mut left = Vec::new();
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match *word {
            "ack" => shape.ack = Some(number(words.next().ok_or("ack of what")?)?),
            "urg" => shape.urgent = number(words.next().ok_or("urg of what")?)?,
            _ => left.push(*word),
        }
    }
    if shape.ack.is_some() != (shape.flags & ACK != 0) {
        return Err("ack N and the flag '.' go together".into());
    }
    if shape.split.is_some() && shape.flags & (SYN | FIN) != 0 || shape.split == Some(0) {
        return Err("only plain data can be cut into segments".into());
    }
    Ok((shape, left))
}

fn inject(text: &str) -> Result<Action> {
    let (before, options, after) = split_options(text)?;
    let words: Vec<&str> = before.split_whitespace().chain(after.split_whitespace()).collect();
    let (shape, left) = shape(&words)?;
    let options = options.unwrap_or_default();
    let mut inject = Inject { shape, window: 0, options, bad_checksum: false, garbled: false, held: false };
    let mut window = None;
    let mut words = left.iter();
    while let Some(word) = words.next() {
        match *word {
            "win" => window = Some(number(words.next().ok_or("win of what")?)?),
            "badsum" => inject.bad_checksum = true,
            "garbled" => inject.garbled = true,
            "held" => inject.held = true,
            other => return Err(format!("{other:?} in a segment that comes")),
        }
    }
    inject.window = match window {
        Some(window) => window,
        None if inject.shape.flags & ACK == 0 => 0,
        None => return Err("a segment that comes says win N".into()),
    };
    Ok(Action::Inject(inject))
}

fn expect(text: &str) -> Result<Action> {
    let (before, options, after) = split_options(text)?;
    let words: Vec<&str> = before.split_whitespace().chain(after.split_whitespace()).collect();
    let (shape, left) = shape(&words)?;
    let mut expect = Expect { shape, window: None, options, dont_fragment: None, raw: false };
    let mut words = left.iter();
    while let Some(word) = words.next() {
        match *word {
            "win" => expect.window = Some(bound(words.next().ok_or("win of what")?)?),
            "df" => expect.dont_fragment = Some(true),
            "raw" => expect.raw = true,
            other => return Err(format!("{other:?} in a segment that must go")),
        }
    }
    Ok(Action::Expect(expect))
}

fn icmp(text: &str) -> Result<Icmp> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (kind, code, mtu, rest) = match words[..] {
        ["unreachable", what, ref rest @ ..] => {
            let known = [("net", 0), ("host", 1), ("protocol", 2), ("port", 3), ("admin", 13)];
            let code = known.iter().find(|(name, _)| *name == what).ok_or_else(|| format!("{what:?} unreachable"))?;
            (3, code.1, 0, rest)
        }
        ["frag_needed", mtu, ref rest @ ..] => (3, 4, number(mtu)?, rest),
        ["time_exceeded", ref rest @ ..] => (11, 0, 0, rest),
        ["source_quench", ref rest @ ..] => (4, 0, 0, rest),
        _ => {
            return Err(
                "icmp unreachable WHAT | frag_needed MTU | time_exceeded | source_quench, and the segment".into()
            );
        }
    };
    let (shape, left) = shape(rest)?;
    if !left.is_empty() {
        return Err(format!("{:?} in a quoted segment", left[0]));
    }
    Ok(Icmp { kind, code, mtu, shape })
}

/// `N`, `A..B`, `>=N` or `<=N`, times with a unit or plain numbers.
fn bound(text: &str) -> Result<Bound> {
    let value = |text: &str| match text.parse::<f64>() {
        Ok(value) => Ok(value),
        Err(_) => seconds(text).map(|time| time.as_secs_f64()),
    };
    if let Some(least) = text.strip_prefix(">=") {
        return Ok(Bound { least: value(least)?, most: f64::INFINITY });
    }
    if let Some(most) = text.strip_prefix("<=") {
        return Ok(Bound { least: f64::NEG_INFINITY, most: value(most)? });
    }
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    Ok(Bound { least: value(least)?, most: value(most)? })
}

fn settings(words: &[&str]) -> Result<Vec<(String, String)>> {
    words
        .iter()
        .map(|word| {
            let (name, value) = word.split_once('=').ok_or_else(|| format!("{word:?} is not NAME=VALUE"))?;
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

fn call_or_check(text: &str) -> Result<Action> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if let Some(check) = check(&words)? {
        return Ok(Action::Check(check));
    }
    let end = words.iter().position(|word| *word == "=").unwrap_or(words.len());
    let call = match words[..end] {
        ["listen", ref rest @ ..] => {
            let (mut port, mut backlog, mut others) = (80, None, Vec::new());
            for (name, value) in settings(rest)? {
                match name.as_str() {
                    "port" => port = number(&value)?,
                    "backlog" => backlog = Some(number(&value)?),
                    _ => others.push((name, value)),
                }
            }
            Call::Listen { port, backlog, settings: others }
        }
        ["accept"] => Call::Accept,
        ["unlisten"] => Call::Unlisten,
        ["connect", ref rest @ ..] => {
            let (mut port, mut others) = (None, Vec::new());
            for (name, value) in settings(rest)? {
                if name == "port" { port = Some(number(&value)?) } else { others.push((name, value)) }
            }
            Call::Connect { port, settings: others }
        }
        ["write", count] => Call::Write(number(count)?),
        ["read"] => Call::Read(usize::MAX),
        ["read", count] => Call::Read(number(count)?),
        ["drain", count] => Call::Drain(number(count)?),
        ["shutdown", "wr"] => Call::Shutdown(Shutdown::Write),
        ["shutdown", "rd"] => Call::Shutdown(Shutdown::Read),
        ["shutdown", "rdwr"] => Call::Shutdown(Shutdown::Both),
        ["close"] => Call::Close,
        ["abort"] => Call::Abort,
        ["set", name, value] => Call::Set(name.to_owned(), value.to_owned()),
        ["room", "any"] => Call::Room(usize::MAX),
        ["room", frames] => Call::Room(number(frames)?),
        ["forget"] => Call::Forget,
        _ => return Err("no such call, check or segment".into()),
    };
    let outcome = match words.get(end + 1..).unwrap_or_default() {
        [] if end < words.len() => return Err("= what".into()),
        [] | ["ok"] => Outcome::Fine,
        ["end"] => Outcome::End,
        [count] if count.parse::<usize>().is_ok() => Outcome::Count(number(count)?),
        [error] => Outcome::Error((*error).to_owned()),
        _ => return Err("= ok, end, a count or an error".into()),
    };
    Ok(Action::Call(call, outcome))
}

fn check(words: &[&str]) -> Result<Option<Check>> {
    Ok(Some(match *words {
        ["state", state] => Check::State(state.to_owned()),
        ["error", error] => Check::Error(error.to_owned()),
        ["events", events] => Check::Events(events.to_owned()),
        ["acceptable"] => Check::Acceptable(true),
        ["acceptable", "no"] => Check::Acceptable(false),
        ["counter", name, "=", value] => Check::Counter(name.to_owned(), bound(value)?),
        ["info", name, "=", value] => Check::Info(name.to_owned(), bound(value)?),
        ["readable", count] => Check::Readable(number(count)?),
        ["kept", count] => Check::Kept(number(count)?),
        ["orphans", count] => Check::Orphans(number(count)?),
        ["isn", "is", name] => Check::IsnIs(name.to_owned()),
        ["isn", "after", name, "by", by] => Check::IsnAfter(name.to_owned(), bound(by)?),
        ["isn", "unlike", name] => Check::IsnUnlike(name.to_owned()),
        ["clean"] => Check::Clean,
        _ => return Ok(None),
    }))
}
