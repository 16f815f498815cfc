//! The facts as Linux tells them.
#![allow(unsafe_code)]

use super::{LinkInfo, Offloads};
use crate::errors::{Error, Result};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

// Requests of `linux/sockios.h` and commands of `linux/ethtool.h`.
const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GLINK: u32 = 0x0a;
const ETHTOOL_GRXCSUM: u32 = 0x14;
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_GTSO: u32 = 0x1e;
const ETHTOOL_GGSO: u32 = 0x23;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETHTOOL_GRXRINGS: u32 = 0x2d;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_GLINKSETTINGS: u32 = 0x4c;
const ETH_FLAG_TXVLAN: u32 = 1 << 7;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;
const ETH_FLAG_LRO: u32 = 1 << 15;

/// What [`LinkInfo::of_interface`] finds for an interface that exists.
pub fn of_interface(name: &str, index: u32) -> Result<LinkInfo> {
    let interface = Interface::open(name)?;
    let route = route(index).unwrap_or_default();
    let (rx_queues, tx_queues) = match interface.channels() {
        Some((rx, tx)) => (Some(rx), Some(tx)),
        // How many queues were allocated is how many are used only if there is just one.
        None => (interface.rings().or(route.rx_queues.filter(|n| *n == 1)), route.tx_queues.filter(|n| *n == 1)),
    };
    let flags = interface.number(ETHTOOL_GFLAGS);
    let flag = |bit| flags.map(|flags| flags & bit != 0);
    let switch = |command| interface.number(command).map(|n| n != 0);
    Ok(LinkInfo {
        name: name.to_owned(),
        index: Some(index),
        mac: interface.mac(),
        mtu: interface.mtu(),
        speed_mbps: interface.speed(),
        carrier: switch(ETHTOOL_GLINK).or_else(|| super::names::running_and_mac(name).0),
        rx_queues,
        tx_queues,
        offloads: Offloads {
            rx_checksum: switch(ETHTOOL_GRXCSUM),
            tx_checksum: switch(ETHTOOL_GTXCSUM),
            tso: switch(ETHTOOL_GTSO),
            gso: switch(ETHTOOL_GGSO),
            gro: switch(ETHTOOL_GGRO),
            lro: flag(ETH_FLAG_LRO),
            rx_vlan: flag(ETH_FLAG_RXVLAN),
            tx_vlan: flag(ETH_FLAG_TXVLAN),
        },
    })
}

/// The other end of a virtual cable, as seen from one end.
#[cfg(any(feature = "af_xdp", feature = "net"))]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The kind of the link (`veth`), as `ip -d link` shows it.
    pub kind: Option<String>,
    /// The other end's facts, if it is in the same namespace.
    pub link: Option<LinkInfo>,
    /// Whether there is another end, in another namespace.
    pub elsewhere: bool,
    /// Receive queues that this end was made with: as many as `ethtool -L` can switch on.
    pub max_rx_queues: Option<u32>,
}

/// The kind of an interface, and the other end if it is a cable with two.
#[cfg(any(feature = "af_xdp", feature = "net"))]
pub(crate) fn peer(index: u32) -> Peer {
    let Ok(route) = route(index) else { return Peer::default() };
    let cable = matches!(route.kind.as_deref(), Some("veth" | "netkit"));
    let here = route.other.filter(|_| cable && !route.other_elsewhere);
    let link = here.and_then(|other| of_interface(&self::route(other).ok()?.name?, other).ok());
    Peer { kind: route.kind, link, elsewhere: cable && route.other_elsewhere, max_rx_queues: route.rx_queues }
}

/// A socket to ask questions of the driver of one interface through.
struct Interface {
    socket: OwnedFd,
    request: libc::ifreq,
}

impl Interface {
    fn open(name: &str) -> Result<Self> {
        if name.len() >= libc::IFNAMSIZ {
            return Err(super::no_such_interface(name));
        }
        // SAFETY: takes no pointers.
        let socket = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if socket < 0 {
            return Err(Error::Generic(io::Error::last_os_error()));
        }
        // SAFETY: just opened, and nobody else's. An `ifreq` of zeros is valid: integers and a null pointer.
        let (socket, mut request) = unsafe { (OwnedFd::from_raw_fd(socket), std::mem::zeroed::<libc::ifreq>()) };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        Ok(Self { socket, request })
    }

    /// Asks one of the questions whose answer is inside the request.
    fn ask(&self, what: libc::c_ulong) -> Option<libc::ifreq> {
        let mut request = self.request;
        // SAFETY: the descriptor is open; for the requests used here the kernel writes inside the `ifreq` only.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), what as _, &mut request) };
        (result == 0).then_some(request)
    }

    /// Runs an ethtool command over a buffer of 32-bit words that begins with the command.
    fn ethtool(&self, words: &mut [u32]) -> bool {
        let mut request = self.request;
        request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
        // SAFETY: `ifru_data` points to a buffer that each caller makes as long as its command's structure, which is
        // the most the kernel writes.
        unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL as _, &mut request) == 0 }
    }

    /// The answer to a command whose structure is `ethtool_value`.
    fn number(&self, command: u32) -> Option<u32> {
        let mut value = [command, 0];
        self.ethtool(&mut value).then_some(value[1])
    }

    fn mac(&self) -> Option<[u8; 6]> {
        let request = self.ask(libc::SIOCGIFHWADDR as _)?;
        // SAFETY: this is the member that SIOCGIFHWADDR fills in.
        let address = unsafe { request.ifr_ifru.ifru_hwaddr };
        let is_ethernet = matches!(address.sa_family, libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK);
        is_ethernet.then(|| std::array::from_fn(|i| address.sa_data[i] as u8))
    }

    fn mtu(&self) -> Option<u32> {
        let request = self.ask(libc::SIOCGIFMTU as _)?;
        // SAFETY: this is the member that SIOCGIFMTU fills in.
        u32::try_from(unsafe { request.ifr_ifru.ifru_mtu }).ok()
    }

    /// Receive and transmit queues: `struct ethtool_channels`.
    fn channels(&self) -> Option<(u32, u32)> {
        // cmd, max_{rx,tx,other,combined}, {rx,tx,other,combined}_count
        let mut words = [0u32; 9];
        words[0] = ETHTOOL_GCHANNELS;
        if !self.ethtool(&mut words) {
            return None;
        }
        let [.., rx, tx, _other, combined] = words;
        Some((rx.saturating_add(combined), tx.saturating_add(combined))).filter(|(rx, tx)| *rx > 0 && *tx > 0)
    }

    /// Receive rings among which the card spreads flows: `struct ethtool_rxnfc`, of which `data` is the 64 bits from
    /// byte 8 on.
    fn rings(&self) -> Option<u32> {
        // 192 bytes in today's kernels; with room to spare.
        let mut words = [0u32; 64];
        words[0] = ETHTOOL_GRXRINGS;
        let told = self.ethtool(&mut words);
        let rings = if cfg!(target_endian = "little") { words[2] } else { words[3] };
        Some(rings).filter(|n| told && *n > 0)
    }

    /// `struct ethtool_link_settings`: twelve words, then three bit maps whose length the kernel tells at the first
    /// call as a negative number.
    fn speed(&self) -> Option<u32> {
        const HEADER: usize = 12;
        // The byte `link_mode_masks_nwords` is the last of this word.
        const LENGTH: usize = 3;
        let mut words = [0u32; HEADER + 3 * 127];
        words[0] = ETHTOOL_GLINKSETTINGS;
        if !self.ethtool(&mut words) {
            return None;
        }
        let length = (words[LENGTH].to_ne_bytes()[3] as i8).checked_neg().filter(|n| *n > 0)?;
        words.fill(0);
        words[0] = ETHTOOL_GLINKSETTINGS;
        words[LENGTH] = u32::from_ne_bytes([0, 0, 0, length as u8]);
        if !self.ethtool(&mut words) {
            return None;
        }
        Some(words[1]).filter(|speed| *speed != 0 && *speed != u32::MAX)
    }
}

/// What route netlink says of an interface (`rtnetlink(7)`).
#[derive(Debug, Default)]
struct Route {
    name: Option<String>,
    kind: Option<String>,
    /// Queues allocated.
    rx_queues: Option<u32>,
    tx_queues: Option<u32>,
    /// The interface this one is tied to, and whether that is in another namespace.
    other: Option<u32>,
    other_elsewhere: bool,
}

// Attributes of `linux/if_link.h`.
const IFLA_INFO_KIND: u16 = 1;
const IFLA_LINK_NETNSID: u16 = 37;

fn route(index: u32) -> io::Result<Route> {
    // SAFETY: takes no pointers.
    let socket = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // `struct nlmsghdr`: length, type and flags, sequence, port; `struct ifinfomsg`: family, index, flags, change.
    let kind = u32::from(libc::RTM_GETLINK) | (libc::NLM_F_REQUEST as u32) << 16;
    let kind = if cfg!(target_endian = "little") { kind } else { kind.rotate_left(16) };
    let request: [u32; 8] = [32, kind, 1, 0, 0, index, 0, 0];
    // SAFETY: the buffer is 32 bytes long and outlives the call.
    if unsafe { libc::send(socket.as_raw_fd(), request.as_ptr().cast(), 32, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // An answer may list statistics of many virtual functions.
    let mut answer = vec![0u8; 256 * 1024];
    // SAFETY: the buffer outlives the call, which writes at most its length. The kernel answers before `send` returns.
    let len = unsafe { libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), libc::MSG_DONTWAIT) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    parse_route(&answer[..len]).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

fn parse_route(message: &[u8]) -> Option<Route> {
    const HEADERS: usize = 32;
    let half = |at: usize| Some(u16::from_ne_bytes(message.get(at..at + 2)?.try_into().ok()?));
    if half(4)? != libc::RTM_NEWLINK {
        return None;
    }
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    };
    let word = |bytes: &[u8]| Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?));
    let mut route = Route::default();
    for (kind, value) in attributes(message.get(HEADERS..)?) {
        match kind {
            libc::IFLA_IFNAME => route.name = Some(text(value)),
            libc::IFLA_LINK => route.other = word(value),
            IFLA_LINK_NETNSID => route.other_elsewhere = true,
            libc::IFLA_NUM_RX_QUEUES => route.rx_queues = word(value),
            libc::IFLA_NUM_TX_QUEUES => route.tx_queues = word(value),
            libc::IFLA_LINKINFO => {
                route.kind = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND).map(|(_, kind)| text(kind));
            }
            _ => {}
        }
    }
    Some(route)
}

/// The attributes (`struct rtattr`) in a piece of a message; ends at the first that does not fit.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, _) = bytes.split_first_chunk::<4>()?;
        let [len, kind] = [[head[0], head[1]], [head[2], head[3]]].map(u16::from_ne_bytes);
        let value = bytes.get(4..usize::from(len))?;
        bytes = bytes.get(usize::from(len).next_multiple_of(4)..).unwrap_or(&[]);
        // The two highest bits are flags.
        Some((kind & 0x3fff, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_end_where_the_bytes_do() {
        let mut bytes = Vec::new();
        for (kind, value) in [(3u16, &b"va\0"[..]), (5, &7u32.to_ne_bytes())] {
            bytes.extend((value.len() as u16 + 4).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        assert_eq!(attributes(&bytes).map(|(kind, _)| kind).collect::<Vec<_>>(), [3, 5]);
        for end in 0..bytes.len() {
            assert!(attributes(&bytes[..end]).count() < 2);
        }
        // A length shorter than the header would never advance.
        assert_eq!(attributes(&[0, 0, 0, 0, 1, 2, 3, 4]).count(), 0);
    }

    #[test]
    fn the_loopback_interface_is_known() {
        let route = route(super::super::names::index("lo").unwrap()).unwrap();
        assert_eq!(route.name.as_deref(), Some("lo"));
        assert!(!route.other_elsewhere);
    }
}
