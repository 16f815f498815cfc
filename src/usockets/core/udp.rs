//! UDP sockets: their addresses, and who is told of their events.
#![cfg_attr(not(feature = "usockets-udp"), allow(dead_code, reason = "nobody opens one"))]

use super::Core;
use super::connect::local_addresses;
use crate::net::{Net, Reader, Readiness, SocketError, UdpId, UdpOptions};
use crate::usockets::UsError;
use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

/// What a UDP socket's owner does about events. Called with nothing borrowed.
pub(in crate::usockets) trait UdpHandler {
    /// Something can be received, or there is room again.
    fn ready(&self, core: &Core, what: Readiness);
    /// The loop is over: drops the callbacks, as they may hold what holds them.
    fn forget(&self);
}

/// The UDP sockets of a loop.
#[derive(Default)]
pub(super) struct UdpSockets {
    /// Few, so that a search is the fastest way.
    open: Vec<Udp>,
    /// Those to be told of something in the next iteration.
    later: VecDeque<(UdpId, Readiness)>,
}

struct Udp {
    id: UdpId,
    handler: Rc<dyn UdpHandler>,
}

impl UdpSockets {
    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether one is to be told of something without an event.
    pub(super) fn is_busy(&self) -> bool {
        !self.later.is_empty()
    }

    fn find(&mut self, id: UdpId) -> Option<&mut Udp> {
        self.open.iter_mut().find(|udp| udp.id == id)
    }

    /// Closes all of them; the callbacks are still to be [forgotten](Self::forget).
    pub(super) fn close(&mut self, net: &mut Net) {
        self.open.iter().for_each(|udp| net.udp_close(udp.id));
        self.later.clear();
    }

    /// Drops the callbacks.
    pub(super) fn forget(self) {
        self.open.iter().for_each(|udp| udp.handler.forget());
    }
}

impl Core {
    /// Opens what the network has received.
    pub(in crate::usockets) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Opens a UDP socket at an address of this machine, and tells `handler` of its events.
    pub(in crate::usockets) fn open_udp(
        &self,
        host: &str,
        port: u16,
        handler: Rc<dyn UdpHandler>,
    ) -> Result<UdpId, UsError> {
        let addresses = local_addresses(host, port)?;
        let state = &mut *self.state.borrow_mut();
        let Some(net) = &mut state.net else { return Err(UsError::LoopNotRunning) };
        let id = bind(net, &addresses).map_err(|error| refused(host, port, error))?;
        state.udp.open.push(Udp { id, handler });
        Ok(id)
    }

    /// Gives the UDP socket with this name another address, and another name. If that fails it keeps what it had.
    pub(in crate::usockets) fn rebind_udp(
        &self,
        id: &Cell<Option<UdpId>>,
        host: &str,
        port: u16,
    ) -> Result<(), UsError> {
        let addresses = local_addresses(host, port)?;
        let state = &mut *self.state.borrow_mut();
        let Some(net) = &mut state.net else { return Err(UsError::LoopNotRunning) };
        let Some(udp) = id.get().and_then(|id| state.udp.find(id)) else { return Err(UsError::SocketExtNull) };
        let before = net.udp_local_addr(udp.id).ok().filter(|before| before.port() == port);
        let result = match (bind(net, &addresses), before) {
            // Perhaps by the socket itself, if the network chose its port: such a port is not shared.
            (Err(SocketError::AddrInUse), Some(before)) => {
                net.udp_close(udp.id);
                bind(net, &addresses).inspect_err(|_| {
                    // Nobody had the time to take it.
                    if let Ok(back) = bind(net, &[before]) {
                        udp.id = back;
                    }
                })
            }
            (Ok(new), _) => {
                net.udp_close(udp.id);
                Ok(new)
            }
            (Err(error), _) => Err(error),
        };
        udp.id = result.unwrap_or(udp.id);
        id.set(Some(udp.id));
        result.map(|_| ()).map_err(|error| refused(host, port, error))
    }

    /// Tells a UDP socket of something in the next iteration.
    pub(in crate::usockets) fn udp_later(&self, id: UdpId, what: Readiness) {
        self.state.borrow_mut().udp.later.push_back((id, what));
    }

    /// Closes a UDP socket.
    pub(in crate::usockets) fn close_udp(&self, id: UdpId) {
        let removed = {
            let state = &mut *self.state.borrow_mut();
            if let Some(net) = &mut state.net {
                net.udp_close(id);
            }
            let open = &mut state.udp.open;
            open.iter().position(|udp| udp.id == id).map(|place| open.remove(place))
        };
        // With nothing borrowed.
        drop(removed);
    }

    /// Something has happened to a UDP socket.
    pub(super) fn udp_event(&self, id: UdpId, what: Readiness) {
        let handler = self.state.borrow_mut().udp.find(id).map(|udp| udp.handler.clone());
        if let Some(handler) = handler {
            handler.ready(self, what);
        }
    }

    /// Tells what was put off. What is put off meanwhile waits for the next iteration.
    pub(super) fn udp_go_on(&self) {
        let waiting = self.state.borrow().udp.later.len();
        for _ in 0..waiting {
            let next = self.state.borrow_mut().udp.later.pop_front();
            if let Some((id, what)) = next {
                self.udp_event(id, what);
            }
        }
    }
}

/// Binds to the first of the addresses that can be had.
fn bind(net: &mut Net, addresses: &[SocketAddr]) -> Result<UdpId, SocketError> {
    let mut refused = SocketError::InvalidAddress;
    for address in addresses {
        // A port that the network chooses is nobody else's.
        let options = UdpOptions { reuse_port: address.port() != 0, ..UdpOptions::default() };
        match net.udp_bind(*address, &options) {
            Ok(id) => return Ok(id),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

#[cold]
fn refused(host: &str, port: u16, error: SocketError) -> UsError {
    let place = if host.is_empty() { "every address" } else { host };
    UsError::NetworkOperation { operation: format!("cannot bind to {place}, port {port}: {error}") }
}
