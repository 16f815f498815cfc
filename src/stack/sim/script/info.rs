//! Figures of a connection by name.

use super::super::super::TcpInfo;

/// The figure of that name; times in seconds.
pub(super) fn value(info: &TcpInfo, name: &str) -> Option<f64> {
    Some(match name {
        "srtt" => info.srtt.as_secs_f64(),
        "rttvar" => info.rttvar.as_secs_f64(),
        "min_rtt" => info.min_rtt.as_secs_f64(),
        "rto" => info.rto.as_secs_f64(),
        "cwnd" => f64::from(info.cwnd),
        "ssthresh" => f64::from(info.ssthresh),
        "in_flight" => f64::from(info.in_flight),
        "mss" => f64::from(info.mss),
        "send_window" => f64::from(info.send_window),
        "receive_window" => f64::from(info.receive_window),
        "send_queued" => info.send_queued as f64,
        "receive_queued" => info.receive_queued as f64,
        "out_of_order" => info.out_of_order as f64,
        "bytes_sent" => info.bytes_sent as f64,
        "bytes_received" => info.bytes_received as f64,
        "retransmits" => f64::from(info.retransmits),
        "timestamps" => f64::from(u8::from(info.timestamps)),
        "sack" => f64::from(u8::from(info.sack)),
        "peer_shift" => f64::from(info.window_scale?.0),
        "our_shift" => f64::from(info.window_scale?.1),
        _ => return None,
    })
}
