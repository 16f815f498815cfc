//! How a netmap port is named, and how it is opened.
//!
//! | spec | port |
//! |---|---|
//! | `netmap:eth0` | all ring pairs of a card |
//! | `netmap:eth0-2` | one ring pair; the same as queue 2 of `netmap:eth0` |
//! | `netmap:eth0^`, `netmap:eth0^1` | the host's rings, or one pair of them: what the kernel's stack sends and receives |
//! | `netmap:vale0:a` | port `a` of switch `vale0` |
//! | `netmap:p{1`, `netmap:p}1` | the two ends of pipe 1 on `p` |
//! | `netmap:vale0:a{1` | a pipe on a port of a switch |

use super::NetmapFlags;
use super::device::Device;
use super::emulation::Emulated;
use super::error::Error as Netmap;
use super::kernel::Kernel;
use super::layout::Layout;
use super::sys::{self, Register};
use crate::api::PortSpec;
use crate::errors::{Error, Result};
use std::io;

/// Says which netmap is meant where the port spec does not: `emulated` or `kernel`.
const VARIABLE: &str = "NETHUNS_NETMAP";

/// What kind of port it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Card,
    Vale,
    Pipe,
}

/// Which of its rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rings {
    All,
    One(u16),
    Host,
    OneHost(u16),
}

/// A port as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    /// As the user wrote it, without scheme and options.
    pub(super) label: String,
    /// As the kernel wants it.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) rings: Rings,
    pub(super) emulated: bool,
    pub(super) extra_bufs: u32,
    /// Ring pairs and slots of a port that is made by being opened; 0 leaves it to netmap.
    ring_pairs: u16,
    slots: u32,
    mem_id: u16,
}

impl Port {
    /// Reads a port spec. A queue is a ring pair.
    pub(super) fn parse(portspec: &str, queue: Option<usize>, flags: &NetmapFlags) -> Result<Self> {
        let spec = PortSpec::parse_for(portspec, "netmap")?;
        let mut options = spec.options();
        let emulated = match options.switch("emulated")? {
            Some(emulated) => emulated,
            None => from_environment(std::env::var(VARIABLE).ok().as_deref())?,
        };
        let extra_bufs = options.number("extra_buf", 1..=1 << 24)?.unwrap_or(flags.extra_buf);
        let ring_pairs = options.number("rings", 1..=256)?.unwrap_or(0);
        let slots = options.number("slots", 2..=1 << 16)?.unwrap_or(0);
        let mem_id = options.number("mem_id", 1..=u16::MAX)?.unwrap_or(0);
        options.finish()?;
        if extra_bufs == 0 {
            let expected = "at least 1: received packets are exchanged for extra buffers".to_owned();
            return Err(Error::BadOption { option: "extra_buf", value: "0".to_owned(), expected });
        }
        let exists = |name: &str| !emulated && sys::interface(name).is_some();
        let bad = |problem: String| Error::PortSpec { spec: portspec.to_owned(), problem };
        let (name, kind, rings) = take_apart(&spec.name, exists).map_err(bad)?;
        let rings = match queue {
            None => rings,
            Some(queue) => one_of(rings, queue).map_err(bad)?,
        };
        if kind == Kind::Card && (ring_pairs, slots) != (0, 0) {
            return Err(bad(
                "`rings` and `slots` are for pipes and VALE ports; a card's are set by `ethtool -L` and `-G`".into(),
            ));
        }
        let (label, name) = (spec.name.clone(), name.to_owned());
        Ok(Self { label, name, kind, rings, emulated, extra_bufs, ring_pairs, slots, mem_id })
    }

    /// The same port, to be opened on a memory that is there already, without buffers of its own.
    pub(super) fn sharing(self, mem_id: u16) -> Self {
        Self { mem_id, extra_bufs: 0, ..self }
    }

    fn request(&self) -> Register {
        let (mode, ringid) = match self.rings {
            Rings::All => (sys::REG_ALL_NIC, 0),
            Rings::One(ring) => (sys::REG_ONE_NIC, ring),
            Rings::Host => (sys::REG_SW, 0),
            Rings::OneHost(ring) => (sys::REG_ONE_SW, ring),
        };
        Register {
            mode,
            ringid,
            tx_rings: self.ring_pairs,
            rx_rings: self.ring_pairs,
            tx_slots: self.slots,
            rx_slots: self.slots,
            mem_id: self.mem_id,
            extra_bufs: self.extra_bufs,
            // Two sockets on one ring would each take the buffers that the other has lent out.
            flags: sys::EXCLUSIVE,
            ..Register::default()
        }
    }

    /// Opens it.
    pub(super) fn open(&self) -> Result<Layout> {
        let device: Box<dyn Device> = if self.emulated {
            Box::new(Emulated::register(&self.name, self.request()).map_err(|error| self.explain(error, None))?)
        } else {
            let control = |error| self.cannot_open(error);
            // Questions about a failure go to a descriptor of their own: a registration that failed half way is closed.
            let device = sys::open().map_err(control)?;
            match Kernel::register(device, &self.name, self.request()) {
                Ok(kernel) => Box::new(kernel),
                Err(error) => return Err(self.explain(error, sys::open().ok().as_ref())),
            }
        };
        let layout = Layout::find(device, &self.label)?;
        if self.extra_bufs > 0 && layout.answer().extra_bufs == 0 {
            return Err(Netmap::ExtraBuffers { port: self.label.clone(), wanted: self.extra_bufs }.into());
        }
        Ok(layout)
    }

    fn cannot_open(&self, error: io::Error) -> Error {
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENXIO | libc::ENODEV) => Netmap::NoDevice.into(),
            Some(libc::EACCES | libc::EPERM) => Error::Permission {
                what: "opening /dev/netmap".to_owned(),
                help: "run as root, or let a group in: chown root:netmap /dev/netmap && chmod 660 /dev/netmap"
                    .to_owned(),
            },
            _ => Error::System { what: "opening /dev/netmap".to_owned(), help: String::new(), source: error },
        }
    }

    /// Says what a failed registration means.
    fn explain(&self, error: io::Error, device: Option<&std::fs::File>) -> Error {
        let port = self.label.clone();
        let missing = |problem: String| Error::NoSuchPort { port: port.clone(), problem };
        match error.raw_os_error() {
            Some(libc::ENXIO | libc::ENODEV | libc::ENOENT) if self.emulated => {
                missing("the emulation has pipes (`p{1`), VALE switches (`vale0:a`) and the cards `emu0` to `emu9`".into())
            }
            Some(libc::ENXIO | libc::ENODEV | libc::ENOENT) => missing(format!(
                "no such interface in this network namespace; there are {}",
                crate::api::LinkInfo::interfaces().join(", ")
            )),
            Some(libc::EBUSY) => Error::Busy {
                what: format!("netmap port {port}"),
                help: "another socket of this or another process has its rings, or the kernel does (a card in a bridge or \
                       a switch): close that one, or open other rings; `fuser -v /dev/netmap` lists the processes"
                    .to_owned(),
            },
            Some(libc::ENOMEM) => Netmap::Memory { port }.into(),
            Some(libc::EPERM | libc::EACCES) => Error::Permission {
                what: format!("opening netmap port {port}"),
                help: "CAP_NET_ADMIN is needed: run as root".to_owned(),
            },
            Some(libc::EINVAL | libc::ENOTTY | libc::EOPNOTSUPP) => self.invalid(error, device),
            _ => Error::System {
                what: format!("opening netmap port {port}"),
                help: "`dmesg | tail` has netmap's own words".to_owned(),
                source: error,
            },
        }
    }

    /// `EINVAL` means many things: asks on.
    fn invalid(&self, error: io::Error, device: Option<&std::fs::File>) -> Error {
        let port = self.label.clone();
        // A question about the common memory that only a kernel of another version refuses.
        if let Some(Err(_)) = device.map(|device| Kernel::info(device, "")) {
            return Netmap::Version.into();
        }
        match self.rings {
            Rings::One(ring) | Rings::OneHost(ring) => {
                let there =
                    device.and_then(|device| Kernel::info(device, &self.name).ok()).map(|info| match self.rings {
                        Rings::OneHost(_) => info.host_tx_rings.max(info.host_rx_rings),
                        _ => info.tx_rings.max(info.rx_rings),
                    });
                let there = there.map_or(String::new(), |n| format!(": there are {n}, counted from 0"));
                return Error::NoSuchPort { port, problem: format!("ring {ring} does not exist{there}") };
            }
            Rings::Host if self.kind != Kind::Card => {
                return Error::NoSuchPort { port, problem: "only cards have host rings".to_owned() };
            }
            _ => {}
        }
        let help = if self.mem_id != 0 {
            format!("memory {} may not exist any more, or may not suit this port", self.mem_id)
        } else {
            "the driver may not support netmap, or `rings` and `slots` may be more than it takes; `dmesg | tail` has \
             netmap's own words"
                .to_owned()
        };
        Error::System { what: format!("opening netmap port {port}"), help, source: error }
    }
}

/// What the environment says about emulation.
fn from_environment(value: Option<&str>) -> Result<bool> {
    match value {
        None | Some("" | "kernel") => Ok(false),
        Some("emulated") => Ok(true),
        Some(other) => Err(Error::BadOption {
            option: VARIABLE,
            value: other.to_owned(),
            expected: "kernel or emulated".to_owned(),
        }),
    }
}

/// Takes a name apart into what the kernel wants, the kind of port and its rings. `exists` knows the interfaces, whose
/// names may end like the number of a ring.
fn take_apart(name: &str, exists: impl Fn(&str) -> bool) -> std::result::Result<(&str, Kind, Rings), String> {
    const HEADER: usize = 63;
    const IFNAME: usize = 15;
    if name.len() > HEADER {
        return Err(format!("the name is longer than {HEADER} bytes"));
    }
    if name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("a port's name has no blanks".to_owned());
    }
    if let Some(at) = name.find(['/', '@', '*', '+']) {
        let instead = match &name[at..=at] {
            "@" => "write `?mem_id=…`",
            "/" => "rings are always opened exclusively, for both directions",
            _ => "open the card and its host rings (`^`) as two sockets, the second by `create_sharing`",
        };
        return Err(format!("`{}` is not understood here: {instead}", &name[at..=at]));
    }
    if let Some(at) = name.find(['{', '}']) {
        let (parent, id) = (&name[..at], &name[at + 1..]);
        if parent.is_empty() || id.is_empty() || id.contains(['{', '}']) {
            return Err("a pipe is written `port{name` at one end and `port}name` at the other".to_owned());
        }
        if !parent.contains(':') && parent.len() > IFNAME {
            return Err(format!("`{parent}` is longer than {IFNAME} bytes"));
        }
        return Ok((name, Kind::Pipe, Rings::All));
    }
    if name.starts_with("vale") && name.contains(':') {
        return match name.split_once(':') {
            Some((_, port)) if !port.is_empty() && !port.contains(':') => Ok((name, Kind::Vale, Rings::All)),
            _ => Err("a port of a switch is written `vale0:port`".to_owned()),
        };
    }
    if name.contains(':') {
        return Err("only ports of a switch have a colon, and their switch is called `vale…`".to_owned());
    }
    let number = |text: &str| text.parse::<u16>().map_err(|_| format!("`{text}` is not the number of a ring"));
    let (interface, rings) = if let Some((interface, ring)) = name.split_once('^') {
        (interface, if ring.is_empty() { Rings::Host } else { Rings::OneHost(number(ring)?) })
    } else {
        match name.rsplit_once('-') {
            Some((interface, ring)) if is_number(ring) && !exists(name) => (interface, Rings::One(number(ring)?)),
            _ => (name, Rings::All),
        }
    };
    if interface.is_empty() || interface.len() > IFNAME {
        return Err(format!("`{interface}` is no name of an interface: 1 to {IFNAME} bytes"));
    }
    Ok((interface, Kind::Card, rings))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// One queue of the rings that a name stands for.
fn one_of(rings: Rings, queue: usize) -> std::result::Result<Rings, String> {
    let queue = u16::try_from(queue).map_err(|_| format!("queue {queue} does not exist"))?;
    match rings {
        Rings::All => Ok(Rings::One(queue)),
        Rings::Host => Ok(Rings::OneHost(queue)),
        Rings::One(ring) | Rings::OneHost(ring) if ring == queue => Ok(rings),
        Rings::One(ring) | Rings::OneHost(ring) => {
            Err(format!("it names ring {ring}, but queue {queue} was asked for"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let table = [
            ("eth0", "eth0", Kind::Card, Rings::All),
            ("eth0-2", "eth0", Kind::Card, Rings::One(2)),
            ("eth0^", "eth0", Kind::Card, Rings::Host),
            ("eth0^1", "eth0", Kind::Card, Rings::OneHost(1)),
            ("br-lan", "br-lan", Kind::Card, Rings::All),
            ("br-lan-3", "br-lan", Kind::Card, Rings::One(3)),
            ("tap-7", "tap-7", Kind::Card, Rings::All), // exists
            ("vale", "vale", Kind::Card, Rings::All),
            ("vale0:1", "vale0:1", Kind::Vale, Rings::All),
            ("valeX:a-b", "valeX:a-b", Kind::Vale, Rings::All),
            ("p{1", "p{1", Kind::Pipe, Rings::All),
            ("p}1", "p}1", Kind::Pipe, Rings::All),
            ("eth0{in-7", "eth0{in-7", Kind::Pipe, Rings::All),
            ("valeX:1{2", "valeX:1{2", Kind::Pipe, Rings::All),
        ];
        for (text, name, kind, rings) in table {
            assert_eq!(take_apart(text, |n| n == "tap-7"), Ok((name, kind, rings)), "{text}");
        }
    }

    #[test]
    fn names_that_are_refused() {
        let long = "n".repeat(64);
        let table = [
            ("eth0*", "create_sharing"),
            ("eth0+", "create_sharing"),
            ("eth0/x", "exclusively"),
            ("eth0@3", "?mem_id"),
            ("{1", "port{name"),
            ("p{", "port{name"),
            ("p{1}2", "port{name"),
            ("vale0:", "vale0:port"),
            ("vale0:a:b", "vale0:port"),
            ("eth0:1", "vale…"),
            ("eth0^x", "not the number of a ring"),
            ("eth0-70000", "not the number of a ring"),
            ("-1", "no name of an interface"),
            ("^", "no name of an interface"),
            ("an-interface-too-long", "no name of an interface"),
            ("a-parent-too-long{1", "longer than 15"),
            ("a b", "no blanks"),
            (&long, "longer than 63"),
        ];
        for (text, part) in table {
            let error = take_apart(text, |_| false).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_queue_is_a_ring() {
        assert_eq!(one_of(Rings::All, 3), Ok(Rings::One(3)));
        assert_eq!(one_of(Rings::Host, 0), Ok(Rings::OneHost(0)));
        assert_eq!(one_of(Rings::One(2), 2), Ok(Rings::One(2)));
        assert!(one_of(Rings::One(2), 1).is_err());
        assert!(one_of(Rings::All, 1 << 20).is_err());
    }

    #[test]
    fn the_environment_chooses() {
        for (value, emulated) in [(None, false), (Some(""), false), (Some("kernel"), false), (Some("emulated"), true)] {
            assert_eq!(from_environment(value).unwrap(), emulated);
        }
        assert!(from_environment(Some("maybe")).unwrap_err().to_string().contains("kernel or emulated"));
    }

    #[test]
    fn requests() {
        let port = |spec: &str, queue| Port::parse(spec, queue, &NetmapFlags::default()).unwrap().request();
        let all = port("netmap:eth0", None);
        assert_eq!((all.mode, all.extra_bufs, all.flags), (sys::REG_ALL_NIC, 1024, sys::EXCLUSIVE));
        let one = port("netmap:eth0?extra_buf=7&mem_id=3", Some(5));
        assert_eq!((one.mode, one.ringid, one.extra_bufs, one.mem_id), (sys::REG_ONE_NIC, 5, 7, 3));
        let host = port("eth0^", None);
        assert_eq!(host.mode, sys::REG_SW);
        let pipe = port("p{1?rings=2&slots=256", None);
        assert_eq!((pipe.tx_rings, pipe.rx_rings, pipe.tx_slots, pipe.rx_slots), (2, 2, 256, 256));
        let refused = Port::parse("netmap:eth0?rings=2", None, &NetmapFlags::default()).unwrap_err();
        assert!(refused.to_string().contains("ethtool -L"), "{refused}");
    }
}
