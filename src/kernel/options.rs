//! Options of connections, and what the kernel tells about them.

use super::sys;
use crate::stack::config::CongestionControl;
use crate::stack::{KeepAlive, SocketOptions, State, TcpInfo};
use socket2::{Socket, TcpKeepalive};
use std::io;
use std::time::Duration;

/// Sets the options of a new socket: only what differs from the kernel's defaults costs a call.
pub(super) fn apply_new(socket: &Socket, options: &SocketOptions) -> io::Result<()> {
    if options.nodelay {
        socket.set_tcp_nodelay(true)?;
    }
    if options.cork {
        socket.set_tcp_cork(true)?;
    }
    if let Some(keep_alive) = options.keep_alive {
        socket.set_tcp_keepalive(&probes(keep_alive))?;
    }
    if options.user_timeout.is_some() {
        socket.set_tcp_user_timeout(options.user_timeout)?;
    }
    if options.quick_ack {
        socket.set_tcp_quickack(true)?;
    }
    Ok(())
}

/// Sets all options.
pub(super) fn apply(socket: &Socket, options: &SocketOptions) -> io::Result<()> {
    socket.set_tcp_nodelay(options.nodelay)?;
    socket.set_tcp_cork(options.cork)?;
    match options.keep_alive {
        Some(keep_alive) => socket.set_tcp_keepalive(&probes(keep_alive))?,
        None => socket.set_keepalive(false)?,
    }
    // None is 0, the kernel's word for "as long as the retransmissions last".
    socket.set_tcp_user_timeout(options.user_timeout)?;
    socket.set_tcp_quickack(options.quick_ack)
}

/// The kernel counts keep-alive times in whole seconds from 1, and probes up to 127.
fn probes(keep_alive: KeepAlive) -> TcpKeepalive {
    let seconds = |time: Duration| Duration::from_secs(time.as_nanos().div_ceil(1_000_000_000).clamp(1, 32767) as u64);
    TcpKeepalive::new()
        .with_time(seconds(keep_alive.idle))
        .with_interval(seconds(keep_alive.interval))
        .with_retries(keep_alive.probes.clamp(1, 127))
}

/// Reads the options back.
pub(super) fn read(socket: &Socket) -> io::Result<SocketOptions> {
    let keep_alive = if socket.keepalive()? {
        Some(KeepAlive {
            idle: socket.tcp_keepalive_time()?,
            interval: socket.tcp_keepalive_interval()?,
            probes: socket.tcp_keepalive_retries()?,
        })
    } else {
        None
    };
    Ok(SocketOptions {
        nodelay: socket.tcp_nodelay()?,
        cork: socket.tcp_cork()?,
        keep_alive,
        user_timeout: socket.tcp_user_timeout()?.filter(|timeout| !timeout.is_zero()),
        quick_ack: socket.tcp_quickack()?,
    })
}

/// Sizes of the buffers, in bytes; the kernel takes twice as much for its own book-keeping (socket(7)).
pub(super) fn sizes(socket: &Socket, receive: Option<usize>, send: Option<usize>) -> io::Result<()> {
    if let Some(bytes) = receive {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = send {
        socket.set_send_buffer_size(bytes)?;
    }
    Ok(())
}

/// The congestion control, if one is asked for.
pub(super) fn congestion(socket: &Socket, which: Option<CongestionControl>) -> io::Result<()> {
    match which {
        None => Ok(()),
        Some(CongestionControl::Cubic) => socket.set_tcp_congestion(b"cubic"),
        Some(CongestionControl::NewReno) => socket.set_tcp_congestion(b"reno"),
    }
}

/// `TCP_INFO` in the words of the engine.
pub(super) fn info(socket: &Socket) -> io::Result<TcpInfo> {
    let raw = sys::tcp_info(socket)?;
    let us = |n: u32| Duration::from_micros(n.into());
    let segments = |n: u32| n.saturating_mul(raw.snd_mss);
    // Bits of `tcpi_options` in `linux/tcp.h`.
    let (timestamps, sack, scaling) = (raw.options & 1 != 0, raw.options & 2 != 0, raw.options & 4 != 0);
    let congestion = socket.tcp_congestion().ok().and_then(|name| match name.split(|b| *b == 0).next() {
        Some(b"cubic") => Some(CongestionControl::Cubic),
        Some(b"reno") => Some(CongestionControl::NewReno),
        _ => None,
    });
    Ok(TcpInfo {
        state: state(raw.state),
        srtt: us(raw.rtt),
        rttvar: us(raw.rttvar),
        // The kernel says "never" by the largest number.
        min_rtt: if raw.min_rtt == u32::MAX { Duration::ZERO } else { us(raw.min_rtt) },
        rto: us(raw.rto),
        cwnd: segments(raw.snd_cwnd),
        ssthresh: segments(raw.snd_ssthresh),
        in_flight: segments(
            raw.unacked.saturating_add(raw.retrans).saturating_sub(raw.sacked.saturating_add(raw.lost)),
        ),
        mss: u16::try_from(raw.snd_mss).unwrap_or(u16::MAX),
        send_window: raw.snd_wnd,
        // Older kernels do not tell the window itself.
        receive_window: if raw.rcv_wnd > 0 { raw.rcv_wnd } else { raw.rcv_space },
        send_queued: sys::unacknowledged(socket),
        receive_queued: sys::received(socket),
        out_of_order: 0,
        bytes_sent: raw.bytes_sent.saturating_sub(raw.bytes_retrans),
        bytes_received: raw.bytes_received,
        retransmits: raw.total_retrans,
        sacked: segments(raw.sacked),
        lost: segments(raw.lost),
        timeouts: raw.retransmits.into(),
        // TCP_CA_Recovery and TCP_CA_Loss of `linux/tcp.h`.
        recovering: raw.ca_state >= 3,
        reordering: raw.reord_seen > 0,
        pacing_rate: if raw.pacing_rate == u64::MAX { 0 } else { raw.pacing_rate },
        congestion,
        timestamps,
        sack,
        window_scale: scaling.then_some((raw.window_scales & 15, raw.window_scales >> 4)),
    })
}

/// The numbers of `net/tcp_states.h`.
fn state(number: u8) -> State {
    match number {
        1 => State::Established,
        2 => State::SynSent,
        3 => State::SynReceived,
        4 => State::FinWait1,
        5 => State::FinWait2,
        6 => State::TimeWait,
        8 => State::CloseWait,
        9 => State::LastAck,
        11 => State::Closing,
        _ => State::Closed,
    }
}
