//! What a refusal of the kernel means, and what to type.

use super::config::{Config, Wish};
use super::program::capabilities;
use crate::errors::Error;
use std::io;

/// A step of opening a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// socket(2).
    Socket,
    /// `XDP_UMEM_REG`.
    Umem,
    /// Making and mapping the rings.
    Rings,
    /// bind(2).
    Bind,
    /// The options of busy polling.
    BusyPoll,
    /// Promiscuous mode.
    Promiscuous,
}

/// Everything that the explanation may depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances<'a> {
    pub config: &'a Config,
    pub queue: u32,
    /// Whether the socket joins the UMEM of another.
    pub sharing: bool,
    /// Bytes of the UMEM.
    pub bytes: usize,
}

/// The error for a step that failed.
pub(super) fn step(step: Step, at: Circumstances<'_>, source: io::Error) -> Error {
    let eth = &at.config.interface;
    let queue = at.queue;
    let code = source.raw_os_error().unwrap_or(0);
    match (step, code) {
        (_, libc::EPERM | libc::EACCES) => permission(step, eth),
        (Step::Socket, libc::EAFNOSUPPORT) => {
            Error::unsupported("AF_XDP", "this kernel was built without CONFIG_XDP_SOCKETS: use the `pcap` backend")
        }
        (Step::Umem, libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN) => Error::System {
            what: format!("{eth}: locking {} KiB for frames", at.bytes / 1024),
            help: format!(
                "the locked-memory limit is too low: run `ulimit -l {}` (or `unlimited`) as root first, grant \
                 cap_ipc_lock, or ask for fewer frames",
                (at.bytes / 1024).next_power_of_two() * 2
            ),
            source,
        },
        (Step::Umem, libc::EINVAL) if at.config.tx_checksum != super::config::TxChecksum::Off => {
            Error::unsupported("tx_checksum", "this kernel has no metadata for sent packets (needs Linux 6.8)")
        }
        (Step::Bind, libc::EBUSY) => Error::Busy {
            what: format!("queue {queue} of {eth}"),
            help: "another AF_XDP socket is bound to it: see `ss --xdp -e`, end that program, or choose another queue \
                   with `queues=`"
                .to_owned(),
        },
        (Step::Bind, libc::EOPNOTSUPP | ENOTSUPP) if at.config.zero_copy == Wish::Require => Error::unsupported(
            format!("zero-copy on {eth}"),
            format!(
                "its driver has no AF_XDP zero-copy mode (virtual interfaces have none; see `ethtool -i {eth}`): ask for \
                 zerocopy=prefer"
            ),
        ),
        (Step::Bind, libc::EOPNOTSUPP | ENOTSUPP) if at.sharing => Error::unsupported(
            format!("sharing the UMEM with queue {queue} of {eth}"),
            "the first socket is in a mode that this interface cannot do (zero-copy, or packets of several frames): open \
             it with zerocopy=forbid",
        ),
        (Step::Bind, libc::EINVAL) if at.config.jumbo.is_some() => Error::unsupported(
            format!("jumbo packets on {eth}"),
            "this kernel has no multi-buffer AF_XDP (needs Linux 6.6): leave out `jumbo` and set an MTU of at most 3506",
        ),
        (Step::Bind, libc::EINVAL) if at.sharing => Error::Busy {
            what: format!("queue {queue} of {eth}"),
            help:
                "a socket on the same UMEM is bound to it already, or the queue has gone: choose another with `queues=`"
                    .to_owned(),
        },
        (Step::Bind, libc::EINVAL) => Error::NoSuchPort {
            port: eth.clone(),
            problem: format!("queue {queue} cannot be bound: see `ethtool -l {eth}` for the queues there are"),
        },
        (Step::Bind, libc::ENODEV | libc::ENXIO) => {
            Error::NoSuchPort { port: eth.clone(), problem: "the interface has gone: see `ip link`".to_owned() }
        }
        (Step::Rings, libc::ENOMEM) => Error::NoMemory,
        (Step::BusyPoll, libc::ENOPROTOOPT) => {
            Error::unsupported("busy_poll", "this kernel has no preferred busy polling (needs Linux 5.11)")
        }
        _ => Error::System { what: format!("{eth}: {} of queue {queue}", name(step)), help: String::new(), source },
    }
}

fn name(step: Step) -> &'static str {
    match step {
        Step::Socket => "opening the AF_XDP socket",
        Step::Umem => "registering the UMEM",
        Step::Rings => "making the rings",
        Step::Bind => "binding the AF_XDP socket",
        Step::BusyPoll => "switching on busy polling",
        Step::Promiscuous => "switching on promiscuous mode",
    }
}

/// `ENOTSUPP` of the kernel, which has no name in user space.
const ENOTSUPP: i32 = 524;

fn permission(step: Step, eth: &str) -> Error {
    Error::Permission { what: format!("{eth}: {}", name(step)), help: capabilities().help() }
}

/// The queue that was asked for is not there.
pub(super) fn no_such_queue(eth: &str, queue: u32, count: u32) -> Error {
    let there = match count {
        1 => "queue 0 only".to_owned(),
        n => format!("{n} receive queues, 0 to {}", n - 1),
    };
    Error::NoSuchPort {
        port: eth.to_owned(),
        problem: format!(
            "queue {queue} does not exist: it has {there}; `ethtool -l {eth}` shows how many it could have, \
             `ethtool -L {eth} combined N` (or `rx N tx N`) sets them"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(what: Step, code: i32, config: &Config, sharing: bool) -> String {
        let at = Circumstances { config, queue: 3, sharing, bytes: 16 << 20 };
        step(what, at, io::Error::from_raw_os_error(code)).to_string()
    }

    #[test]
    fn every_explanation_says_what_to_do() {
        let plain = Config::new("eth7");
        for (what, code, config, sharing, tells) in [
            (Step::Socket, libc::EPERM, plain.clone(), false, "opening the AF_XDP socket"),
            (Step::Socket, libc::EAFNOSUPPORT, plain.clone(), false, "CONFIG_XDP_SOCKETS"),
            (Step::Umem, libc::ENOBUFS, plain.clone(), false, "`ulimit -l 32768`"),
            (Step::Bind, libc::EBUSY, plain.clone(), false, "queue 3 of eth7 is busy"),
            (Step::Bind, libc::EOPNOTSUPP, plain.clone().zero_copy(Wish::Require), false, "zerocopy=prefer"),
            (Step::Bind, libc::EOPNOTSUPP, plain.clone(), true, "zerocopy=forbid"),
            (Step::Bind, libc::EINVAL, plain.clone().jumbo(9000), false, "Linux 6.6"),
            (Step::Bind, libc::EINVAL, plain.clone(), true, "queues="),
            (Step::Bind, libc::EINVAL, plain.clone(), false, "ethtool -l eth7"),
            (Step::BusyPoll, libc::EPERM, plain.clone(), false, "not permitted; "),
            (Step::Rings, libc::EIO, plain.clone(), false, "making the rings of queue 3"),
        ] {
            let text = text(what, code, &config, sharing);
            assert!(text.contains(tells), "{what:?} {code}: `{text}` does not tell `{tells}`");
        }
        assert!(no_such_queue("eth7", 4, 4).to_string().contains("4 receive queues, 0 to 3"));
        assert!(no_such_queue("eth7", 1, 1).to_string().contains("ethtool -L eth7"));
    }
}
