//! The socket: an enum and one `match` per call.

#[cfg(all(target_os = "linux", feature = "dpdk"))]
use super::context::{Held, Point};
use super::{AnyFlags, Context, backends};
#[cfg(all(target_os = "linux", feature = "af_xdp"))]
use crate::af_xdp;
use crate::api::{
    Batch, Context as ContextTrait, Interest, LinkInfo, Metadata, MetadataType, Mode, Payload, PortSpec, Socket, Stats,
    Token,
};
#[cfg(all(target_os = "linux", feature = "dpdk"))]
use crate::dpdk;
use crate::errors::{Error, Refused, Result};
use crate::mem;
use crate::mem::faults::{Faults, Injector, Plan};
#[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
use crate::netmap;
#[cfg(feature = "pcap")]
use crate::pcap;
#[cfg(all(unix, not(loom)))]
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

/// A socket of the backend that its port spec names.
#[derive(Debug)]
pub struct Sock(Held);

#[allow(clippy::large_enum_variant, reason = "a program has few sockets, and a box would cost every packet")]
#[derive(Debug)]
pub(super) enum Port {
    Mem(mem::Sock),
    #[cfg(feature = "pcap")]
    Pcap(pcap::Sock),
    #[cfg(all(target_os = "linux", feature = "af_xdp"))]
    AfXdp(af_xdp::Sock),
    #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
    Netmap(netmap::Sock),
    #[cfg(all(target_os = "linux", feature = "dpdk"))]
    Dpdk(dpdk::Sock),
    // The same, made worse. Not one variant around all: one `match` a call is enough here too.
    BadMem(Box<Faults<mem::Sock>>),
    #[cfg(feature = "pcap")]
    BadPcap(Box<Faults<pcap::Sock>>),
    #[cfg(all(target_os = "linux", feature = "af_xdp"))]
    BadAfXdp(Box<Faults<af_xdp::Sock>>),
    #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
    BadNetmap(Box<Faults<netmap::Sock>>),
    #[cfg(all(target_os = "linux", feature = "dpdk"))]
    BadDpdk(Box<Faults<dpdk::Sock>>),
}

/// Does the same with the socket of whichever backend it is.
macro_rules! each {
    ($port:expr, $socket:ident => $what:expr) => {
        match $port {
            Port::Mem($socket) => $what,
            #[cfg(feature = "pcap")]
            Port::Pcap($socket) => $what,
            Port::BadMem($socket) => $what,
            #[cfg(feature = "pcap")]
            Port::BadPcap($socket) => $what,
            #[cfg(all(target_os = "linux", feature = "af_xdp"))]
            Port::AfXdp($socket) => $what,
            #[cfg(all(target_os = "linux", feature = "af_xdp"))]
            Port::BadAfXdp($socket) => $what,
            #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
            Port::Netmap($socket) => $what,
            #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
            Port::BadNetmap($socket) => $what,
            #[cfg(all(target_os = "linux", feature = "dpdk"))]
            Port::Dpdk($socket) => $what,
            #[cfg(all(target_os = "linux", feature = "dpdk"))]
            Port::BadDpdk($socket) => $what,
        }
    };
}

/// The backend's socket. With feature `dpdk` there is more to it: see `context`.
#[cfg(not(all(target_os = "linux", feature = "dpdk")))]
#[derive(Debug)]
struct Held(Port);

#[cfg(not(all(target_os = "linux", feature = "dpdk")))]
impl Held {
    fn new(port: Port) -> Self {
        Self(port)
    }

    #[inline(always)]
    fn port(&self) -> &Port {
        &self.0
    }

    #[inline(always)]
    fn context(&self) -> &Context {
        each!(self.port(), socket => socket.context())
    }
}

#[cfg(all(target_os = "linux", feature = "dpdk"))]
impl Port {
    /// A context that points to the socket's own.
    pub(super) fn point(&self) -> Context {
        each!(self, socket => socket.context().point())
    }
}

/// Which backend a spec means.
fn scheme(spec: &PortSpec) -> Result<&'static str> {
    if let Some(scheme) = spec.scheme {
        return Ok(scheme);
    }
    let path = Path::new(&spec.name);
    let capture = path.extension().is_some_and(|e| ["pcap", "pcapng", "cap"].iter().any(|c| e.eq_ignore_ascii_case(c)));
    if capture || path.is_file() {
        return Ok("pcap");
    }
    let choice: Vec<String> =
        backends().iter().filter(|b| b.compiled).map(|b| format!("`{}:{}`", b.scheme, spec.name)).collect();
    Err(Error::PortSpec {
        spec: spec.text().to_owned(),
        problem: format!("say which backend: {} (only capture files go without)", choice.join(" or ")),
    })
}

/// A backend that is not in this build.
fn absent(spec: &PortSpec, scheme: &str) -> Error {
    let enable = backends().iter().find(|b| b.scheme == scheme).map_or("", |b| b.enable);
    Error::unsupported(format!("port {}: backend `{scheme}`", spec.text()), enable)
}

impl Sock {
    /// Opens the port without faults.
    fn open(spec: &PortSpec, queue: Option<usize>, flags: AnyFlags) -> Result<Port> {
        Ok(match scheme(spec)? {
            "mem" => Port::Mem(mem::Sock::create(spec.text(), queue, flags.mem)?),
            #[cfg(feature = "pcap")]
            "pcap" => Port::Pcap(pcap::Sock::create(spec.text(), queue, flags.pcap)?),
            #[cfg(all(target_os = "linux", feature = "af_xdp"))]
            "af_xdp" => Port::AfXdp(af_xdp::Sock::create(spec.text(), queue, flags.af_xdp)?),
            #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
            "netmap" => Port::Netmap(netmap::Sock::create(spec.text(), queue, flags.netmap)?),
            #[cfg(all(target_os = "linux", feature = "dpdk"))]
            "dpdk" => Port::Dpdk(dpdk::Sock::create(spec.text(), queue, flags.dpdk)?),
            other => return Err(absent(spec, other)),
        })
    }

    /// Opens the port without faults, on the pool of this one.
    fn open_sharing(&self, spec: &PortSpec, queue: Option<usize>, flags: AnyFlags) -> Result<Port> {
        Ok(match (self.0.port(), scheme(spec)?) {
            (Port::Mem(socket), "mem") => Port::Mem(socket.create_sharing(spec.text(), queue, flags.mem)?),
            (Port::BadMem(bad), "mem") => Port::Mem(bad.inner().create_sharing(spec.text(), queue, flags.mem)?),
            #[cfg(feature = "pcap")]
            (Port::Pcap(socket), "pcap") => Port::Pcap(socket.create_sharing(spec.text(), queue, flags.pcap)?),
            #[cfg(feature = "pcap")]
            (Port::BadPcap(bad), "pcap") => Port::Pcap(bad.inner().create_sharing(spec.text(), queue, flags.pcap)?),
            #[cfg(all(target_os = "linux", feature = "af_xdp"))]
            (Port::AfXdp(socket), "af_xdp") => Port::AfXdp(socket.create_sharing(spec.text(), queue, flags.af_xdp)?),
            #[cfg(all(target_os = "linux", feature = "af_xdp"))]
            (Port::BadAfXdp(bad), "af_xdp") => {
                Port::AfXdp(bad.inner().create_sharing(spec.text(), queue, flags.af_xdp)?)
            }
            #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
            (Port::Netmap(socket), "netmap") => {
                Port::Netmap(socket.create_sharing(spec.text(), queue, flags.netmap)?)
            }
            #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
            (Port::BadNetmap(bad), "netmap") => {
                Port::Netmap(bad.inner().create_sharing(spec.text(), queue, flags.netmap)?)
            }
            #[cfg(all(target_os = "linux", feature = "dpdk"))]
            (Port::Dpdk(socket), "dpdk") => Port::Dpdk(socket.create_sharing(spec.text(), queue, flags.dpdk)?),
            #[cfg(all(target_os = "linux", feature = "dpdk"))]
            (Port::BadDpdk(bad), "dpdk") => Port::Dpdk(bad.inner().create_sharing(spec.text(), queue, flags.dpdk)?),
            _ => {
                return Err(Error::unsupported(
                    format!("sharing a pool of backend `{}` with {}", self.scheme(), spec.text()),
                    "only ports of one backend share a pool: open it with `create`, packets are then copied",
                ));
            }
        })
    }

    /// Keeps the options that are the fault injector's, opens the port with the others, and wraps it if need be.
    fn with_faults(
        portspec: &str,
        mut flags: AnyFlags,
        open: impl FnOnce(&PortSpec, AnyFlags) -> Result<Port>,
    ) -> Result<Self> {
        let (rest, mine) = PortSpec::parse(portspec)?.split_options(&Plan::OPTIONS);
        let mut plan = std::mem::take(&mut flags.faults);
        let mut options = mine.options();
        plan.take(&mut options)?;
        options.finish()?;
        let wire_clock = flags.mem.clock.clone();
        let port = open(&rest, flags)?;
        if plan.is_clean() {
            return Ok(Self(Held::new(port)));
        }
        // A wire on simulated time is not made worse on real time.
        if matches!(port, Port::Mem(_)) && !plan.clock.is_simulated() {
            plan.clock = wire_clock;
        }
        Ok(Self(Held::new(match port {
            Port::Mem(socket) => Port::BadMem(Box::new(Faults::new(socket, plan)?)),
            #[cfg(feature = "pcap")]
            Port::Pcap(socket) => Port::BadPcap(Box::new(Faults::new(socket, plan)?)),
            #[cfg(all(target_os = "linux", feature = "af_xdp"))]
            Port::AfXdp(socket) => Port::BadAfXdp(Box::new(Faults::new(socket, plan)?)),
            #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
            Port::Netmap(socket) => Port::BadNetmap(Box::new(Faults::new(socket, plan)?)),
            #[cfg(all(target_os = "linux", feature = "dpdk"))]
            Port::Dpdk(socket) => Port::BadDpdk(Box::new(Faults::new(socket, plan)?)),
            bad => bad,
        })))
    }

    /// The fault injector around the port, if the port spec or the flags asked for one.
    #[must_use]
    pub fn faults(&self) -> Option<&dyn Injector> {
        match self.0.port() {
            Port::BadMem(bad) => Some(&**bad),
            #[cfg(feature = "pcap")]
            Port::BadPcap(bad) => Some(&**bad),
            #[cfg(all(target_os = "linux", feature = "af_xdp"))]
            Port::BadAfXdp(bad) => Some(&**bad),
            #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
            Port::BadNetmap(bad) => Some(&**bad),
            #[cfg(all(target_os = "linux", feature = "dpdk"))]
            Port::BadDpdk(bad) => Some(&**bad),
            _ => None,
        }
    }

    /// The scheme of the backend behind it.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match self.0.port() {
            Port::Mem(_) | Port::BadMem(_) => "mem",
            #[cfg(feature = "pcap")]
            Port::Pcap(_) | Port::BadPcap(_) => "pcap",
            #[cfg(all(target_os = "linux", feature = "af_xdp"))]
            Port::AfXdp(_) | Port::BadAfXdp(_) => "af_xdp",
            #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
            Port::Netmap(_) | Port::BadNetmap(_) => "netmap",
            #[cfg(all(target_os = "linux", feature = "dpdk"))]
            Port::Dpdk(_) | Port::BadDpdk(_) => "dpdk",
        }
    }
}

impl Socket for Sock {
    type Context = Context;
    type Metadata = MetadataType;
    type Flags = AnyFlags;

    fn create(portspec: &str, queue: Option<usize>, flags: AnyFlags) -> Result<Self> {
        Self::with_faults(portspec, flags, |spec, flags| Self::open(spec, queue, flags))
    }

    #[inline]
    fn context(&self) -> &Context {
        self.0.context()
    }

    #[inline]
    fn recv_token(&self) -> Result<(Token, MetadataType)> {
        each!(self.0.port(), socket => socket.recv_token().map(|(token, meta)| (token, meta.into_enum())))
    }

    #[inline]
    fn send(&self, packet: &[u8]) -> Result<()> {
        each!(self.0.port(), socket => socket.send(packet))
    }

    #[inline]
    fn flush(&self) {
        each!(self.0.port(), socket => socket.flush());
    }

    #[cfg(not(all(target_os = "linux", feature = "dpdk")))]
    #[inline]
    fn recv(&self) -> Result<(Payload<'_, Context>, MetadataType)> {
        each!(self.0.port(), socket => socket.recv().map(|(packet, meta)| (packet, meta.into_enum())))
    }

    #[inline]
    fn recv_each(&self, max: usize, mut f: impl FnMut(Token, MetadataType)) -> Result<usize> {
        each!(self.0.port(), socket => socket.recv_each(max, |token, meta| f(token, meta.into_enum())))
    }

    #[inline]
    fn recv_tokens<const N: usize>(&self, batch: &mut Batch<N>) -> Result<usize> {
        each!(self.0.port(), socket => socket.recv_tokens(batch))
    }

    #[inline]
    fn send_batch<'a>(&self, packets: impl IntoIterator<Item = &'a [u8]>) -> Result<usize> {
        each!(self.0.port(), socket => socket.send_batch(packets))
    }

    #[inline]
    fn alloc(&self, len: usize) -> Result<Payload<'_, Context>> {
        let token = each!(self.0.port(), socket => socket.alloc(len).map(Payload::into_token))?;
        Ok(self.context().packet(token))
    }

    #[inline]
    fn send_token(&self, token: Token) -> std::result::Result<(), Refused<Token>> {
        each!(self.0.port(), socket => socket.send_token(token))
    }

    #[inline]
    fn send_token_checksum(&self, token: Token, start: u16, offset: u16) -> std::result::Result<(), Refused<Token>> {
        each!(self.0.port(), socket => socket.send_token_checksum(token, start, offset))
    }

    #[inline]
    fn send_payload<'ctx, C: ContextTrait>(
        &self,
        payload: Payload<'ctx, C>,
    ) -> std::result::Result<(), Refused<Payload<'ctx, C>>> {
        each!(self.0.port(), socket => socket.send_payload(payload))
    }

    #[inline]
    fn send_tokens(&self, tokens: &mut Vec<Token>) -> Result<usize> {
        each!(self.0.port(), socket => socket.send_tokens(tokens))
    }

    fn wait(&self, interest: Interest, timeout: Option<Duration>) -> Result<bool> {
        each!(self.0.port(), socket => socket.wait(interest, timeout))
    }

    fn drain(&self, timeout: Duration) -> Result<bool> {
        each!(self.0.port(), socket => socket.drain(timeout))
    }

    fn create_sharing(&self, portspec: &str, queue: Option<usize>, flags: AnyFlags) -> Result<Self> {
        Self::with_faults(portspec, flags, |spec, flags| self.open_sharing(spec, queue, flags))
    }

    fn stats(&self) -> Stats {
        each!(self.0.port(), socket => socket.stats())
    }

    fn link(&self) -> Result<LinkInfo> {
        each!(self.0.port(), socket => socket.link())
    }

    fn frames_in_flight(&self) -> Option<usize> {
        each!(self.0.port(), socket => socket.frames_in_flight())
    }

    fn mode(&self) -> Mode {
        each!(self.0.port(), socket => socket.mode())
    }
}

/// The descriptor of the backend's socket.
#[cfg(all(unix, not(loom)))]
impl AsFd for Sock {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        each!(self.0.port(), socket => socket.as_fd())
    }
}
