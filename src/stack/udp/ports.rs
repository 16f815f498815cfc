//! Which socket a datagram is for: the one that is connected to its sender, else one bound to its address, else one bound to
//! any address. Each is one look-up, however many sockets there are.

use crate::stack::SocketError;
use crate::stack::ip::hash::{Keyed, number};
use crate::stack::prf::Purpose;
use crate::stack::tcp::table::FlowKey;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// Who has which port. Sockets are numbers here.
#[derive(Debug)]
pub(super) struct Bindings {
    ports: HashMap<u16, Vec<Group>, Keyed>,
    connected: HashMap<FlowKey, u32, Keyed>,
    keyed: Keyed,
}

/// The sockets of one address and port.
#[derive(Debug)]
struct Group {
    /// May be unspecified.
    address: IpAddr,
    /// All of them.
    members: u32,
    /// Those not connected.
    open: Vec<u32>,
    /// Whether all have agreed to share.
    shared: bool,
}

impl Bindings {
    pub(super) fn new(secret: [u64; 2]) -> Self {
        let keyed = Keyed::new(secret, Purpose::UdpPorts);
        Self { ports: HashMap::with_hasher(keyed), connected: HashMap::with_hasher(keyed), keyed }
    }

    /// Whether a socket may not be bound there: another one has the port, with the same address or one of the two with any,
    /// and not both share (`socket(7)`, `SO_REUSEPORT`).
    pub(super) fn is_taken(&self, local: SocketAddr, share: bool) -> bool {
        self.ports.get(&local.port()).is_some_and(|groups| {
            groups.iter().any(|group| {
                let overlap =
                    group.address == local.ip() || group.address.is_unspecified() || local.ip().is_unspecified();
                overlap && !(group.shared && share)
            })
        })
    }

    /// Enters a socket at an address that is not taken.
    pub(super) fn bind(&mut self, local: SocketAddr, share: bool, socket: u32) {
        let groups = self.ports.entry(local.port()).or_default();
        match groups.iter_mut().find(|group| group.address == local.ip()) {
            Some(group) => {
                group.members += 1;
                group.open.push(socket);
                group.shared &= share;
            }
            None => groups.push(Group { address: local.ip(), members: 1, open: vec![socket], shared: share }),
        }
    }

    /// Takes a socket out that is not connected.
    pub(super) fn unbind(&mut self, local: SocketAddr, socket: u32) {
        let Some(groups) = self.ports.get_mut(&local.port()) else { return };
        if let Some(at) = groups.iter().position(|group| group.address == local.ip()) {
            groups[at].open.retain(|other| *other != socket);
            groups[at].members -= 1;
            if groups[at].members == 0 {
                groups.swap_remove(at);
            }
        }
        if groups.is_empty() {
            self.ports.remove(&local.port());
        }
    }

    /// Of what is sent to `local` a socket bound to `bound` gets only what `remote` sends.
    ///
    /// # Errors
    ///
    /// [`SocketError::AddrInUse`] if another one has that pair.
    pub(super) fn connect(
        &mut self,
        bound: SocketAddr,
        local: IpAddr,
        remote: SocketAddr,
        socket: u32,
    ) -> Result<(), SocketError> {
        let flow = FlowKey::from_ips(local, bound.port(), remote.ip(), remote.port());
        if self.connected.contains_key(&flow) {
            return Err(SocketError::AddrInUse);
        }
        self.connected.insert(flow, socket);
        if let Some(group) = self.group(bound) {
            group.open.retain(|other| *other != socket);
        }
        Ok(())
    }

    /// Takes a connection back.
    pub(super) fn disconnect(&mut self, bound: SocketAddr, local: IpAddr, remote: SocketAddr, socket: u32) {
        self.connected.remove(&FlowKey::from_ips(local, bound.port(), remote.ip(), remote.port()));
        if let Some(group) = self.group(bound) {
            group.open.push(socket);
        }
    }

    fn group(&mut self, local: SocketAddr) -> Option<&mut Group> {
        self.ports.get_mut(&local.port())?.iter_mut().find(|group| group.address == local.ip())
    }

    /// The socket for a datagram. What is sent to everybody goes to one bound to any address.
    #[inline]
    pub(super) fn find(&self, local: IpAddr, local_port: u16, remote: SocketAddr, broadcast: bool) -> Option<u32> {
        if !self.connected.is_empty() {
            let flow = FlowKey::from_ips(local, local_port, remote.ip(), remote.port());
            if let Some(socket) = self.connected.get(&flow) {
                return Some(*socket);
            }
        }
        let groups = self.ports.get(&local_port)?;
        let open = |group: &&Group| !group.open.is_empty();
        let group = groups
            .iter()
            .filter(open)
            .find(|group| group.address == local && !broadcast)
            .or_else(|| groups.iter().filter(open).find(|group| group.address.is_unspecified()))?;
        match group.open[..] {
            [socket] => Some(socket),
            ref sockets => {
                let (a, b) = (number(local), number(remote.ip()));
                let words = [a as u64, (a >> 64) as u64, b as u64, (b >> 64) as u64, remote.port().into()];
                let hash = self.keyed.hash(words) >> 32;
                Some(sockets[((hash * sockets.len() as u64) >> 32) as usize])
            }
        }
    }
}

#[cfg(test)]
mod tests;
