//! Names and values of `config`, `set` and of the options of `listen` and `connect`.

use super::super::super::config::CongestionControl;
use super::super::super::{Config, KeepAlive, SocketOptions};
use super::parse::seconds;
use std::time::Duration;

type Result<T> = std::result::Result<T, String>;

/// What is not the engine's: how the script itself is run.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) engine: Config,
    /// The peer's initial sequence number.
    pub(super) peer_isn: u32,
    /// The time of the engine at which the script begins.
    pub(super) start: Duration,
    /// How much too early or too late a segment may go.
    pub(super) early: Duration,
    pub(super) late: Duration,
    /// Frames of the engine's pool.
    pub(super) frames: usize,
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N> {
    text.parse().map_err(|_| format!("{text:?} is not a number that fits here"))
}

fn switch(text: &str) -> Result<bool> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{text:?} is neither on nor off")),
    }
}

pub(super) fn congestion(text: &str) -> Result<CongestionControl> {
    match text {
        "cubic" => Ok(CongestionControl::Cubic),
        "newreno" => Ok(CongestionControl::NewReno),
        _ => Err(format!("no congestion control: {text:?}")),
    }
}

impl Settings {
    pub(super) fn new(engine: Config) -> Self {
        let late = Duration::from_millis(4);
        let (start, early) = (Duration::from_secs(1000), Duration::from_millis(1));
        Self { engine, peer_isn: 1_000_000_000, start, early, late, frames: 256 }
    }

    /// Applies one `config NAME VALUE`.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let engine = &mut self.engine;
        match name {
            "peer_isn" => self.peer_isn = number(value)?,
            "start" => self.start = seconds(value)?,
            "early" => self.early = seconds(value)?,
            "late" => self.late = seconds(value)?,
            "frames" => self.frames = number(value)?,
            "mtu" => engine.mtu = number(value)?,
            "max_kept_frames" => engine.max_kept_frames = number(value)?,
            "congestion" => engine.tcp.congestion = congestion(value)?,
            "pacing" => engine.tcp.pacing = switch(value)?,
            "initial_window" => engine.tcp.initial_window = number(value)?,
            "send_buffer" => engine.tcp.send_buffer = number(value)?,
            "receive_buffer" => engine.tcp.receive_buffer = number(value)?,
            "min_rto" => engine.tcp.min_rto = seconds(value)?,
            "max_rto" => engine.tcp.max_rto = seconds(value)?,
            "delayed_ack" => engine.tcp.delayed_ack = seconds(value)?,
            "syn_retries" => engine.tcp.syn_retries = number(value)?,
            "synack_retries" => engine.tcp.synack_retries = number(value)?,
            "retries" => engine.tcp.retries = number(value)?,
            "max_half_open" => engine.tcp.max_half_open = number(value)?,
            "syn_cookies" => engine.tcp.syn_cookies = switch(value)?,
            "time_wait" => engine.tcp.time_wait = seconds(value)?,
            "max_time_wait" => engine.tcp.max_time_wait = number(value)?,
            "max_connections" => engine.tcp.max_connections = number(value)?,
            "fin_wait_2" => engine.tcp.fin_wait_2 = seconds(value)?,
            "challenge_acks_per_second" => engine.tcp.challenge_acks_per_second = number(value)?,
            "max_buffered_bytes" => engine.tcp.max_buffered_bytes = number(value)?,
            "timestamps" => engine.tcp.timestamps = switch(value)?,
            "sack" => engine.tcp.sack = switch(value)?,
            "window_scaling" => engine.tcp.window_scaling = switch(value)?,
            _ => return Err(format!("no setting {name:?}")),
        }
        Ok(())
    }
}

/// Applies one option of a socket. `keepalive` is `IDLE,INTERVAL,PROBES` or `off`.
pub(super) fn socket(options: &mut SocketOptions, name: &str, value: &str) -> Result<()> {
    match name {
        "nodelay" => options.nodelay = switch(value)?,
        "cork" => options.cork = switch(value)?,
        "quick_ack" => options.quick_ack = switch(value)?,
        "user_timeout" => options.user_timeout = if value == "off" { None } else { Some(seconds(value)?) },
        "keepalive" if value == "off" => options.keep_alive = None,
        "keepalive" => {
            let parts: Vec<&str> = value.split(',').collect();
            let [idle, interval, probes] = parts[..] else { return Err("keepalive IDLE,INTERVAL,PROBES".into()) };
            let (idle, interval) = (seconds(idle)?, seconds(interval)?);
            options.keep_alive = Some(KeepAlive { idle, interval, probes: number(probes)? });
        }
        _ => return Err(format!("no option of a socket: {name:?}")),
    }
    Ok(())
}
