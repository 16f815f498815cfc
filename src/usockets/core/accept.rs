//! Connections that others have opened: accepted here, or elsewhere and given to us.

use super::connect::SOCKET;
use super::records::{Flags, Handler, Listener, Place};
use super::{ContextKey, Core, SocketKey};
use crate::net::{ListenerId, Net, SocketError, TcpId};
use crate::usockets::{PreOpen, UsError};
use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;

impl Core {
    /// Connections wait at a listener.
    pub(super) fn accept_event(self: &Rc<Self>, id: ListenerId) {
        loop {
            let (tcp, peer, context, handler, make) = {
                let state = &mut *self.state.borrow_mut();
                let Some(net) = &mut state.net else { return };
                // Closed by a callback, perhaps that of the connection before.
                let listener = state.listeners.values().find(|listener| listener.id == id);
                let Some(Listener { context, make, .. }) = listener else { return };
                let Some(handler) = state.contexts.get(*context).map(|context| context.handler.clone()) else { return };
                let Ok(tcp) = net.tcp_accept(id) else { return };
                state.metrics.events += 1;
                let peer = match net.tcp_peer_addr(tcp) {
                    Ok(peer) => Some(peer),
                    // Over a path nobody has an address.
                    Err(SocketError::InvalidAddress) => None,
                    Err(_) => {
                        net.tcp_close(tcp);
                        continue;
                    }
                };
                (tcp, peer, *context, handler, make.clone())
            };
            let Some(tcp) = self.ask(&*handler, tcp, peer) else { continue };
            let Some(key) = self.take_in(context, tcp, &*handler, make.as_deref()) else { return };
            let (bytes, len) = peer.map_or(([0; 16], 0), address_bytes);
            if let Some((handler, told)) = self.tell(key) {
                handler.open(self, told, false, &bytes[..len]);
            }
        }
    }

    /// Asks whether a connection is welcome. `None`: it is not, or is somebody else's now.
    fn ask(&self, handler: &dyn Handler, tcp: TcpId, peer: Option<SocketAddr>) -> Option<TcpId> {
        // Out of the network's hands while the program decides, which may give it to another loop at once, or to this one.
        let fd = if handler.wants_fd() { self.with_net(|net| net.tcp_into_fd(tcp)).ok()? } else { None };
        let answer = handler.pre_open(fd.as_ref().map_or(-1, AsRawFd::as_raw_fd), peer);
        let mut tcp = Some(tcp);
        if let Some(fd) = fd {
            if answer == PreOpen::Export {
                // It has been told the number, and closes it.
                let _ = fd.into_raw_fd();
                return None;
            }
            tcp = self.with_net(|net| net.tcp_adopt(fd, &SOCKET).ok()).ok()?;
        }
        if answer == PreOpen::Keep {
            return tcp;
        }
        self.count(|metrics| metrics.refused += 1);
        let _ = self.with_net(|net| tcp.map(|tcp| net.tcp_abort(tcp)));
        None
    }

    /// Makes a connection that stands a socket of a context. `None`: that is closed, and so is the connection.
    fn take_in(
        &self,
        context: ContextKey,
        tcp: TcpId,
        handler: &dyn Handler,
        make: Option<&dyn Any>,
    ) -> Option<SocketKey> {
        let key = {
            let state = &mut *self.state.borrow_mut();
            let Some(key) = state.insert(context, Place::Net(tcp)) else {
                // `on_pre_open` has closed the context.
                state.net.as_mut()?.tcp_abort(tcp);
                return None;
            };
            state.adopt_word(tcp, key);
            if let Some(socket) = state.sockets.get_mut(key) {
                socket.flags.set(Flags::ESTABLISHED);
                #[cfg(feature = "tls")]
                {
                    let settings = state.contexts.get(context).and_then(|context| context.tls.clone());
                    socket.tls = settings.map(|settings| Box::new(crate::usockets::tls::Session::server(settings)));
                }
            }
            state.metrics.accepted += 1;
            key
        };
        self.attach(key, handler, make);
        Some(key)
    }

    /// Makes a connection that was accepted elsewhere a socket of a context. It is told of as open before this returns.
    pub(in crate::usockets) fn adopt_fd(
        self: &Rc<Self>,
        context: ContextKey,
        fd: OwnedFd,
        ip: &[u8],
    ) -> Result<SocketKey, UsError> {
        let (handler, tcp) = {
            let state = &mut *self.state.borrow_mut();
            let net: &mut Net = state.net.as_mut().ok_or(UsError::LoopNotRunning)?;
            let context = state.contexts.get(context).ok_or(UsError::SocketContextExtNull)?;
            let tcp = net.tcp_adopt(fd, &SOCKET).map_err(|error| UsError::NetworkOperation {
                operation: format!("cannot adopt a descriptor as a connection: {error}"),
            })?;
            (context.handler.clone(), tcp)
        };
        let key = self.take_in(context, tcp, &*handler, None).ok_or(UsError::SocketContextExtNull)?;
        if let Some((handler, told)) = self.tell(key) {
            handler.open(self, told, false, ip);
        }
        Ok(key)
    }
}

/// An address as its 4 or 16 bytes.
fn address_bytes(peer: SocketAddr) -> ([u8; 16], usize) {
    let mut bytes = [0; 16];
    match peer.ip() {
        IpAddr::V4(ip) => {
            bytes[..4].copy_from_slice(&ip.octets());
            (bytes, 4)
        }
        IpAddr::V6(ip) => (ip.octets(), 16),
    }
}
