//! Opening ports, and telling what was got.

use crate::output::{Output, Record};
use crate::{Failure, Rate};
use nethuns_rs::any::{AnyFlags, Sock, backends};
use nethuns_rs::api::{Mode, Socket};
use serde::Serialize;

/// A port was opened.
#[derive(Debug, Serialize)]
pub struct Opened {
    /// The port spec, as it was given.
    pub port: String,
    /// What was really obtained, on one line.
    pub mode: String,
    /// The backend.
    pub backend: &'static str,
    /// Whether an earlier port's pool is used, so that nothing is copied between the two.
    pub shared: bool,
}

impl Record for Opened {
    const EVENT: &'static str = "start";

    fn text(&self) -> String {
        let shared = if self.shared { ", pool shared" } else { "" };
        format!("{}{shared}", self.mode)
    }
}

/// Opens a port and tells its mode.
///
/// # Errors
///
/// Whatever stands in the way, with the port's name.
pub fn open(spec: &str, output: &Output) -> Result<Sock, Failure> {
    let socket = Sock::create(spec, None, AnyFlags::default()).map_err(|e| explain(spec, e))?;
    announce(spec, &socket, output);
    Ok(socket)
}

/// Opens a port on the pool of another, or with one of its own where that cannot be, and tells which.
///
/// # Errors
///
/// As [`open`].
pub fn open_beside(first: &Sock, spec: &str, output: &Output) -> Result<Sock, Failure> {
    match first.create_sharing(spec, None, AnyFlags::default()) {
        Ok(socket) => {
            told(spec, &socket.mode(), true, output);
            Ok(socket)
        }
        Err(nethuns_rs::Error::Unsupported { what, help }) => {
            let socket = open(spec, output)?;
            output.remark(&format!("packets are copied: {what}: {help}"));
            Ok(socket)
        }
        Err(error) => Err(explain(spec, error)),
    }
}

/// Names the port in errors that do not.
#[must_use]
pub fn explain(spec: &str, error: nethuns_rs::Error) -> Failure {
    let message = error.to_string();
    Failure::new(if message.contains(spec) { message } else { format!("{spec}: {message}") })
}

/// Tells the mode of a port that was opened otherwise.
pub fn announce(spec: &str, socket: &Sock, output: &Output) {
    told(spec, &socket.mode(), false, output);
}

fn told(spec: &str, mode: &Mode, shared: bool, output: &Output) {
    output.tell(&Opened { port: spec.into(), mode: mode.to_string(), backend: mode.backend, shared });
}

/// What can be sent through this port: an error if frames are too long for it, a warning if they are wanted faster than
/// its link carries them.
///
/// # Errors
///
/// [`Failure::usage`] if a frame of `size` bytes exceeds the port's MTU.
pub fn check_link<S: Socket>(socket: &S, spec: &str, size: usize, rate: Rate) -> Result<Option<String>, Failure> {
    const ETHERNET: usize = 14;
    let Ok(link) = socket.link() else { return Ok(None) };
    if let Some(mtu) = link.mtu.map(|mtu| mtu as usize).filter(|mtu| size > mtu + ETHERNET) {
        return Err(Failure::usage(format!(
            "--size {size}: {spec} has an MTU of {mtu}, so frames of at most {} bytes without FCS",
            mtu + ETHERNET
        )));
    }
    let wanted = rate.packets_per_second(size);
    let possible = link.speed_mbps.filter(|mbps| *mbps > 0).map(|mbps| line_rate(mbps, size));
    Ok(wanted.zip(possible).filter(|(wanted, possible)| wanted > possible).map(|(wanted, possible)| {
        format!(
            "{spec}: {wanted:.0} packets/s of {size} bytes exceed the link, which carries {possible:.0} at {} Mbit/s",
            link.speed_mbps.unwrap_or(0)
        )
    }))
}

/// Frames of `size` bytes without FCS that a link of so many megabits carries in a second.
fn line_rate(mbps: u32, size: usize) -> f64 {
    const FCS_PREAMBLE_GAP: usize = 4 + 8 + 12;
    f64::from(mbps) * 1e6 / ((size + FCS_PREAMBLE_GAP) * 8) as f64
}

/// The backends of this build, for the help of a tool.
#[must_use]
pub fn ports_help() -> String {
    let mut text = String::from("Ports are written scheme:name?option=value&…:\n");
    for backend in backends() {
        let absent = if backend.compiled { String::new() } else { format!(" [{}]", backend.enable) };
        text += &format!("  {:<20} {}{absent}\n", backend.example, backend.about);
    }
    text + "Exit status: 0 done, 1 error, 2 wrong arguments, 3 done, but packets are missing."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_rates_are_those_of_the_textbook() {
        assert_eq!(line_rate(10_000, 60).round(), 14_880_952.0);
        assert_eq!(line_rate(1_000, 1514).round(), 81_274.0);
    }

    #[test]
    fn a_frame_longer_than_the_mtu_is_refused() {
        let socket = Sock::create("mem:port-mtu?frame_size=1514", None, AnyFlags::default()).unwrap();
        assert_eq!(check_link(&socket, "mem:port-mtu", 1514, Rate::Max), Ok(None));
        let refused = check_link(&socket, "mem:port-mtu", 1515, Rate::Max).unwrap_err();
        assert_eq!(refused.status(), Failure::USAGE);
        assert!(refused.to_string().contains("at most 1514"), "{refused}");
    }
}
