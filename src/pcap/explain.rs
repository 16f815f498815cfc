//! What libpcap and the system say, turned into errors that say what to do.

use super::ffi::{self, Status};
use crate::api::LinkInfo;
use crate::errors::Error;
use std::io;
use std::path::Path;

/// Names of the interfaces there are: the system's, where it tells, for libpcap's list has much besides (`nflog`,
/// `bluetooth-monitor`, `dbus-system`).
pub(super) fn interfaces() -> Vec<String> {
    let names = LinkInfo::interfaces();
    if !names.is_empty() {
        return names;
    }
    ::pcap::Device::list().map(|all| all.into_iter().map(|device| device.name).collect()).unwrap_or_default()
}

fn missing_interface(name: &str) -> Error {
    let there = interfaces();
    let there = if there.is_empty() { "none that this process can see".to_owned() } else { there.join(", ") };
    Error::NoSuchPort {
        port: name.to_owned(),
        problem: format!(
            "no such interface; there are: {there} (a capture file is written with its path: pcap:./{name})"
        ),
    }
}

/// Why an interface could not be opened.
pub(super) fn opening(name: &str, status: Status) -> Error {
    let known = interfaces();
    if status.code == ffi::NO_SUCH_DEVICE || (!known.is_empty() && !known.iter().any(|i| i == name)) {
        return missing_interface(name);
    }
    match status.code {
        ffi::PERM_DENIED | ffi::PROMISC_PERM_DENIED => {
            Error::Permission { what: format!("opening {name} with libpcap"), help: rights() }
        }
        ffi::IFACE_NOT_UP => Error::System {
            what: format!("opening {name} with libpcap"),
            help: bring_up(name),
            source: io::Error::new(io::ErrorKind::NetworkDown, status.message),
        },
        _ => Error::System {
            what: format!("opening {name} with libpcap"),
            help: String::new(),
            source: io::Error::other(status.message),
        },
    }
}

/// The command that brings an interface up.
pub(super) fn bring_up(name: &str) -> String {
    if cfg!(target_os = "linux") { format!("ip link set {name} up") } else { format!("ifconfig {name} up") }
}

/// Which right is missing, and what to type.
fn rights() -> String {
    if cfg!(target_os = "linux") {
        let program = std::env::current_exe().map_or("/path/to/program".to_owned(), |p| p.display().to_string());
        format!("it needs CAP_NET_RAW: run it as root, or once `sudo setcap cap_net_raw+ep {program}`")
    } else if cfg!(windows) {
        "run it as administrator, or install Npcap without `restrict access to administrators`".to_owned()
    } else {
        "run it as root, or give yourself the BPF devices: sudo chmod o+rw /dev/bpf*".to_owned()
    }
}

/// A filter expression that does not compile.
pub(super) fn filter(expression: &str, message: &str) -> Error {
    Error::BadOption {
        option: "filter",
        value: expression.to_owned(),
        expected: format!("an expression as in pcap-filter(7); libpcap says: {message}"),
    }
}

/// A link type that is not Ethernet.
pub(super) fn link_type(port: &str, link: i32, file: bool) -> Error {
    let link = ::pcap::Linktype(link);
    let name = link.get_name().unwrap_or_else(|_| format!("DLT {}", link.0));
    let about = link.get_description().map_or_else(|_| String::new(), |d| format!(" ({d})"));
    let help = if file {
        "packets are Ethernet frames here; if those in the file are, relabel it: editcap -T ether IN OUT"
    } else {
        "packets are Ethernet frames here: choose an Ethernet interface (on Linux `lo`, veth, bridges and taps are such)"
    };
    Error::unsupported(format!("link type {name}{about} of {port}"), help)
}

/// Receiving from an interface failed.
pub(super) fn receiving(name: &str, message: String) -> Error {
    if message.contains("disappeared") || !interfaces().iter().any(|i| i == name) {
        return Error::NoSuchPort { port: name.to_owned(), problem: format!("the interface has gone ({message})") };
    }
    Error::System {
        what: format!("receiving on {name}"),
        help: if message.contains("down") { bring_up(name) } else { String::new() },
        source: io::Error::other(message),
    }
}

/// A file that cannot be opened for reading.
pub(super) fn opening_file(path: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::NoSuchPort {
            port: path.to_owned(),
            problem: format!("no such file; to write one: pcap:{path}?write"),
        },
        io::ErrorKind::PermissionDenied => {
            Error::Permission { what: format!("opening {path}"), help: format!("look at its rights: ls -l {path}") }
        }
        _ => Error::System { what: format!("opening {path}"), help: String::new(), source: error },
    }
}

/// A file that libpcap does not take for a capture, by its first bytes and libpcap's words.
pub(super) fn not_a_capture(path: &str, head: &[u8], message: &str) -> Error {
    let what = format!("reading {path} as a capture");
    let packed = match head {
        [0x1f, 0x8b, ..] => Some(("gzip", "gunzip -k")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(("zstd", "unzstd")),
        [0xfd, b'7', b'z', b'X', ..] => Some(("xz", "unxz -k")),
        _ => None,
    };
    let help = match packed {
        Some((kind, command)) => format!("it is packed with {kind}: {command} {path}"),
        None if head.is_empty() => "it is empty".to_owned(),
        None => format!("libpcap says: {message}{}", hint(message)),
    };
    Error::unsupported(what, help)
}

/// Reading on in a file failed.
pub(super) fn reading(path: &str, message: String) -> Error {
    let help = hint(&message);
    Error::System {
        what: format!("reading {path}"),
        help: help.trim_start_matches("; ").to_owned(),
        source: io::Error::other(message),
    }
}

/// What helps against a complaint of libpcap about a file, begun with `; `, or nothing.
fn hint(message: &str) -> &'static str {
    if message.contains("different from the type of the first") {
        "; libpcap reads one link type per file: keep one with tshark -r IN -Y 'frame.interface_id == 0' -w OUT"
    } else if message.contains("different from the snapshot length of the first") {
        "; libpcap reads one snapshot length per file: rewrite it with editcap -s 262144 IN OUT"
    } else if message.contains("different byte order") {
        "; its sections have different byte orders: rewrite it with editcap IN OUT"
    } else if message.contains("truncated") {
        "; the file ends within a packet, everything before has been delivered"
    } else {
        ""
    }
}

/// A file that cannot be written.
pub(super) fn writing(path: &str, error: io::Error) -> Error {
    let folder = Path::new(path).parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let help = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => format!("make room: df -h {}", folder.display()),
        io::ErrorKind::NotFound => format!("make its folder first: mkdir -p {}", folder.display()),
        io::ErrorKind::PermissionDenied => {
            return Error::Permission {
                what: format!("writing {path}"),
                help: format!("look at the rights: ls -ld {} {path}", folder.display()),
            };
        }
        _ => String::new(),
    };
    Error::System { what: format!("writing {path}"), help, source: error }
}
