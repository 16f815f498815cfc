//! What a refusal of the kernel means, and what to type.
//!
//! The kernel puts its reasons into netlink's extended acknowledgement, which `bpf(2)` does not carry: what is said here
//! is worked out from the error number and from what can be read of the interface.

use super::capabilities::capabilities;
use super::inspect::{self, VETH_MTU};
use super::{AttachWish, Request, sys};
use crate::api::{Attach, LinkInfo, link};
use crate::errors::Error;
use std::io;
use std::path::Path;

/// Whether the driver has refused the program for a reason that the generic path does not know.
pub fn driver_cannot(error: &io::Error) -> bool {
    let reasons =
        [libc::EOPNOTSUPP, libc::ERANGE, libc::ENOSPC, libc::EINVAL, libc::ENOMEM, libc::ENOTCONN, libc::E2BIG];
    error.raw_os_error().is_some_and(|number| reasons.contains(&number))
}

/// The note that tells of a fall-back.
pub fn fallback(request: &Request<'_>, error: &io::Error) -> String {
    format!("fell back to generic mode: {}", refusal(request, error))
}

/// Why a program or map could not be loaded.
pub fn load(request: &Request<'_>, what: &str, error: io::Error, log: &str) -> Error {
    let what = format!("{}: {what}", request.ifname);
    // The verifier's verdict is in the last lines of its log; before them the whole program is listed.
    let words: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let verdict = words[words.len().saturating_sub(8)..].join(" | ");
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if verdict.is_empty() => permission(&what),
        Some(libc::EINVAL) if request.multi_buffer && sys::kernel_version() < (5, 18) => {
            Error::unsupported(what, "programs for packets of several buffers (jumbo) need Linux 5.18")
        }
        Some(libc::ENOSYS) => Error::unsupported(what, "this kernel was built without bpf(2) (CONFIG_BPF_SYSCALL)"),
        _ if verdict.is_empty() => Error::System { what, help: String::new(), source: error },
        _ => Error::System { what, help: format!("the verifier says: {verdict}"), source: error },
    }
}

/// Why a program could not be attached.
pub fn attach(request: &Request<'_>, mode: Attach, error: io::Error) -> Error {
    let name = request.ifname;
    let what =
        format!("{name}: attach an XDP program in {} mode", if mode == Attach::Driver { "driver" } else { "generic" });
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => permission(&what),
        Some(libc::EBUSY | libc::EEXIST) => busy(request, mode),
        Some(libc::ENODEV) => {
            Error::NoSuchPort { port: name.to_owned(), problem: "the interface has just gone".into() }
        }
        Some(libc::EINVAL) if sys::kernel_version() < (5, 9) => {
            Error::unsupported(what, "attaching by bpf_link needs Linux 5.9")
        }
        _ if mode == Attach::Driver && driver_cannot(&error) => {
            let help = match request.wish {
                AttachWish::Driver => format!("{}; or take generic mode (`mode=generic`)", refusal(request, &error)),
                _ => refusal(request, &error),
            };
            Error::unsupported(what, help)
        }
        _ => Error::System { what, help: String::new(), source: error },
    }
}

/// Who holds the interface.
fn busy(request: &Request<'_>, mode: Attach) -> Error {
    let name = request.ifname;
    let there = inspect::attached(request.ifindex).unwrap_or_default();
    let Some(program) = there.first() else {
        return Error::Busy {
            what: name.to_owned(),
            help: "an XDP program was attached to it and has gone in the meantime: try again".into(),
        };
    };
    let mut help = format!("{program} is on it and an interface takes one; {}", program.remedy(name));
    if mode == Attach::Driver && program.place == inspect::Place::Generic {
        help.push_str(" (driver mode is not possible beside generic mode)");
    }
    Error::Busy { what: name.to_owned(), help }
}

/// Why the driver has refused the program, and what would change its mind.
fn refusal(request: &Request<'_>, error: &io::Error) -> String {
    let name = request.ifname;
    let link = LinkInfo::of_interface(name).unwrap_or_default();
    let peer = link::peer(request.ifindex);
    let is_veth = peer.kind.as_deref() == Some("veth");
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) if inspect_says_no_xdp(name) => format!("the driver of {name} has no native XDP"),
        Some(libc::ERANGE | libc::E2BIG) => too_long(request, &link, &peer),
        Some(libc::ENOSPC) if is_veth => {
            let rx = link.rx_queues.unwrap_or(request.queues);
            match &peer.link {
                Some(other) => {
                    inspect::queue_rule(name, rx, &other.name, other.tx_queues.unwrap_or(0), peer.max_rx_queues)
                }
                None => format!(
                    "{name} has {rx} receive queues, fewer than its peer in another namespace has transmit queues: there, \
                     `sudo ethtool -L PEER tx {rx}`"
                ),
            }
        }
        Some(libc::ENOTCONN) => format!("the peer of {name} does not exist"),
        Some(libc::ENOMEM | libc::ENOSPC) => format!(
            "the driver of {name} cannot spare transmit queues for XDP ({error}): use fewer, `sudo ethtool -L {name} \
             combined {}`",
            (link.rx_queues.unwrap_or(request.queues) / 2).max(1)
        ),
        _ if link.offloads.lro == Some(true) => {
            format!(
                "the driver of {name} refuses ({error}); large receive offload is on: `sudo ethtool -K {name} lro off`"
            )
        }
        _ if !request.multi_buffer && link.mtu.is_some_and(|mtu| mtu > 1500) => {
            format!("the driver of {name} refuses ({error}); perhaps for its MTU: {}", too_long(request, &link, &peer))
        }
        _ => format!("the driver of {name} refuses ({error}); `sudo dmesg | tail` may say why"),
    }
}

fn inspect_says_no_xdp(name: &str) -> bool {
    inspect::inspect(name).ok().and_then(|info| info.features).is_none_or(|features| !features.basic)
}

/// The rule of the MTU: a packet must fit one page, unless the program takes several buffers.
fn too_long(request: &Request<'_>, link: &LinkInfo, peer: &link::Peer) -> String {
    // A veth receives what its peer sends: the peer's MTU is the one that counts.
    let long = match (&peer.link, peer.elsewhere) {
        (Some(other), _) => other.clone(),
        (None, true) => LinkInfo { name: "PEER (in its namespace)".into(), mtu: None, ..LinkInfo::default() },
        (None, false) => link.clone(),
    };
    let found = long.mtu.map_or(String::new(), |mtu| format!(" of {mtu}"));
    let jumbo = if request.multi_buffer { "" } else { "ask for multi-buffer packets (`jumbo`), or " };
    format!(
        "the MTU{found} of {} is too large for native XDP, whose packets must fit a page: {jumbo}`sudo ip link set dev {} mtu \
         {VETH_MTU}`",
        long.name, long.name
    )
}

/// What the process lacks.
pub fn permission(what: &str) -> Error {
    Error::Permission { what: what.to_owned(), help: capabilities().help() }
}

/// Why something could not be pinned, or opened from its pin.
pub fn pinned(what: &str, path: &Path, error: io::Error) -> Error {
    let shown = path.display();
    let what = format!("{what} {shown}");
    match error.raw_os_error() {
        Some(libc::ENOENT) => Error::NoSuchPort {
            port: shown.to_string(),
            problem:
                "there is no such file or folder; a bpffs is mounted by `sudo mount -t bpf bpf /sys/fs/bpf` (and `ip \
                      netns exec` hides it: use `nsenter --net=`)"
                    .into(),
        },
        Some(libc::EEXIST) => {
            Error::Busy { what, help: format!("the file exists: `sudo rm {shown}`, or choose another") }
        }
        // Pinning elsewhere than on a bpffs is EPERM, opening a file that is no pin EACCES or EINVAL.
        Some(libc::EPERM | libc::EACCES) if !on_bpffs(path) => Error::unsupported(
            what,
            "the path is not on a bpffs: `sudo mount -t bpf bpf /sys/fs/bpf`, and choose a path there",
        ),
        Some(libc::EPERM | libc::EACCES) => Error::Permission {
            what,
            help: format!(
                "the file belongs to somebody else: `sudo chown $USER {shown}`, and let its folders be entered (chmod a+x); {}",
                capabilities().help()
            ),
        },
        Some(libc::EINVAL) if !on_bpffs(path) => Error::unsupported(what, "this is no pinned BPF object"),
        _ => Error::System { what, help: String::new(), source: error },
    }
}

/// Whether a path, or the folder it would be made in, is on a bpffs; yes if that cannot be told.
fn on_bpffs(path: &Path) -> bool {
    let folder = path.parent().unwrap_or(path);
    sys::is_bpffs(path).or_else(|_| sys::is_bpffs(folder)).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::*;

    /// What is said of an error number, on the one interface that is everywhere.
    fn said(number: i32, mode: Attach, wish: AttachWish, queues: u32) -> String {
        let source = Source::default();
        let request = Request { wish, queues, ..Request::new("lo", &source).unwrap() };
        attach(&request, mode, io::Error::from_raw_os_error(number)).to_string()
    }

    #[test]
    fn each_refusal_has_its_reason_and_remedy() {
        use Attach::{Driver, Generic};
        for (number, mode, needles) in [
            (libc::EOPNOTSUPP, Driver, ["no native XDP", "`mode=generic`"]),
            (libc::ERANGE, Driver, ["the MTU of 65536 of lo is too large", "`sudo ip link set dev lo mtu 3506`"]),
            (libc::ENOMEM, Driver, ["cannot spare transmit queues", "`sudo ethtool -L lo combined 1`"]),
            (libc::ENOSPC, Driver, ["cannot spare transmit queues", "`sudo ethtool -L lo combined 1`"]),
            (libc::EINVAL, Driver, ["perhaps for its MTU", "`jumbo`"]),
            (libc::ENOTCONN, Driver, ["the peer of lo does not exist", "`mode=generic`"]),
            (libc::EBUSY, Generic, ["lo is busy", "try again"]),
            (libc::EEXIST, Driver, ["lo is busy", "try again"]),
            (libc::ENODEV, Driver, ["lo: ", "has just gone"]),
            (libc::EPERM, Generic, ["lo: attach an XDP program", "in generic mode: not permitted"]),
            (libc::EIO, Generic, ["lo: attach an XDP program in generic mode", "Input/output error"]),
        ] {
            let text = said(number, mode, AttachWish::Driver, 2);
            for needle in needles {
                assert!(text.contains(needle), "`{text}` does not say `{needle}`");
            }
        }
    }

    #[test]
    fn the_verifiers_last_words_are_passed_on() {
        let source = Source::default();
        let request = Request::new("lo", &source).unwrap();
        let log: String = (0..50).map(|i| format!("{i}: (b7) r0 = 2\n")).collect();
        let text = load(&request, "load", io::Error::from_raw_os_error(libc::EACCES), &format!("{log}R1 is bad\n\n"));
        let text = text.to_string();
        assert!(text.ends_with("49: (b7) r0 = 2 | R1 is bad") && !text.contains("40: "), "{text}");
    }
}
