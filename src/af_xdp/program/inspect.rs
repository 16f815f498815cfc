//! What there is on an interface: programs, features, the other end of the cable.

use super::sys;
use crate::api::LinkInfo;
use crate::api::link::{self, Peer};
use crate::errors::Result;
use std::fmt;
use std::fs;
use std::os::fd::AsFd;

/// What the kernel tells of XDP on an interface. See [`inspect`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct XdpInfo {
    /// The interface.
    pub link: LinkInfo,
    /// What kind of virtual interface it is (`veth`, `tun`, `bridge`); `None` for hardware and `lo`.
    pub kind: Option<String>,
    /// The programs attached now.
    pub attached: Vec<Attached>,
    /// What the driver can do; `None` on kernels that do not tell (before 6.3).
    pub features: Option<Features>,
    /// The other end of a veth, if it is in this namespace.
    pub peer: Option<LinkInfo>,
    /// Whether there is another end in another namespace.
    pub peer_elsewhere: bool,
    /// What would keep AF_XDP from working well here: each says what to type.
    pub hints: Vec<String>,
}

/// An XDP program on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attached {
    /// The kernel's number of the program.
    pub id: u32,
    /// Its name, if the process may see it (CAP_SYS_ADMIN).
    pub name: Option<String>,
    /// Where it sits.
    pub place: Place,
    /// The `bpf_link` that keeps it there; `None` if it was attached by netlink, or [`links_known`](Self::links_known)
    /// is false.
    pub link_id: Option<u32>,
    /// Whether the process may see links (CAP_SYS_ADMIN).
    pub links_known: bool,
    /// Processes that hold the link, or else the program: number and name. Of those that the process may look into.
    pub holders: Vec<(u32, String)>,
}

/// Where an attached program sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// In the driver.
    Driver,
    /// In the generic path.
    Generic,
    /// In the card.
    Hardware,
}

/// What a driver can do (`NETDEV_XDP_ACT_*` of `linux/netdev.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Features {
    /// Native XDP.
    pub basic: bool,
    /// Redirection out of a native program: what AF_XDP in driver mode lives from.
    pub redirect: bool,
    /// Frames redirected to this interface are sent.
    pub ndo_xmit: bool,
    /// AF_XDP zero-copy.
    pub zero_copy: bool,
    /// Programs can run in the card.
    pub hw_offload: bool,
    /// Received packets of several buffers.
    pub rx_sg: bool,
    /// Sent packets of several buffers.
    pub ndo_xmit_sg: bool,
    /// Most buffers of a zero-copy packet; 0 without zero-copy.
    pub zc_max_segs: u32,
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = [
            (self.basic, "basic"),
            (self.redirect, "redirect"),
            (self.ndo_xmit, "ndo-xmit"),
            (self.zero_copy, "xsk-zerocopy"),
            (self.hw_offload, "hw-offload"),
            (self.rx_sg, "rx-sg"),
            (self.ndo_xmit_sg, "ndo-xmit-sg"),
        ]
        .into_iter()
        .filter_map(|(on, word)| on.then_some(word))
        .collect();
        f.write_str(if words.is_empty() { "none" } else { "" })?;
        f.write_str(&words.join(" "))
    }
}

impl fmt::Display for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "XDP program {}", self.id)?;
        if let Some(name) = self.name.as_deref().filter(|name| !name.is_empty()) {
            write!(f, " `{name}`")?;
        }
        f.write_str(match self.place {
            Place::Driver => ", in driver mode",
            Place::Generic => ", in generic mode",
            Place::Hardware => ", in the card",
        })?;
        match (self.link_id, self.links_known) {
            (Some(id), _) => write!(f, ", by bpf_link {id}")?,
            (None, true) => f.write_str(", by netlink")?,
            (None, false) => {}
        }
        for (i, (pid, name)) in self.holders.iter().enumerate() {
            write!(f, "{}process {pid} ({name})", if i == 0 { ", held by " } else { ", " })?;
        }
        Ok(())
    }
}

impl Attached {
    /// What to type to get rid of it.
    #[must_use]
    pub fn remedy(&self, interface: &str) -> String {
        let off = match self.place {
            Place::Driver => "xdpdrv off",
            Place::Generic => "xdpgeneric off",
            Place::Hardware => "xdpoffload off",
        };
        if self.name.as_deref() == Some("xdp_dispatcher") {
            return format!("libxdp put it there: `sudo xdp-loader unload {interface} --all`");
        }
        match (self.link_id, self.holders.first(), self.links_known) {
            (Some(_), Some((pid, _)), _) => format!("it goes when that process ends: `sudo kill {pid}`"),
            (Some(id), None, _) => {
                format!("no process was seen to hold it, so the link is pinned: `sudo bpftool link detach id {id}`")
            }
            (None, _, true) => format!("`sudo ip link set dev {interface} {off}`"),
            (None, _, false) => {
                format!("`sudo ip link set dev {interface} {off}`, or end the process that `sudo bpftool link` shows")
            }
        }
    }
}

/// What the kernel tells of XDP on an interface of the calling thread's namespace. Works without rights, and tells more
/// with CAP_SYS_ADMIN.
///
/// # Errors
///
/// [`Error::NoSuchPort`](crate::Error::NoSuchPort) listing the interfaces there are; an error of netlink.
pub fn inspect(name: &str) -> Result<XdpInfo> {
    let link = LinkInfo::of_interface(name)?;
    let index = link.index.unwrap_or(0);
    let Peer { kind, link: peer, elsewhere, .. } = link::peer(index);
    let mut info = XdpInfo {
        attached: attached(index)?,
        features: features(index)?,
        link,
        kind,
        peer,
        peer_elsewhere: elsewhere,
        hints: Vec::new(),
    };
    info.hints = hints(&info);
    Ok(info)
}

/// The programs on an interface.
pub(super) fn attached(index: u32) -> Result<Vec<Attached>> {
    let query = sys::query(index)?;
    // With one program the kernel fills in `prog_id` and the mode, with several those of each mode.
    let one = match query.attach_mode {
        1 => Some((query.prog_id, Place::Driver)),
        2 => Some((query.prog_id, Place::Generic)),
        3 => Some((query.prog_id, Place::Hardware)),
        _ => None,
    };
    let mut found: Vec<(u32, Place)> =
        [(query.drv_prog_id, Place::Driver), (query.skb_prog_id, Place::Generic), (query.hw_prog_id, Place::Hardware)]
            .into_iter()
            .chain(one)
            .filter(|(id, _)| *id != 0)
            .collect();
    found.dedup();
    let links = if found.is_empty() { Ok(Vec::new()) } else { sys::xdp_links() };
    let mut programs: Vec<Attached> = Vec::new();
    for (id, place) in found {
        if programs.iter().any(|known| (known.id, known.place) == (id, place)) {
            continue;
        }
        let name = sys::program_by_id(id).and_then(|program| sys::program_info(program.as_fd())).ok().map(|info| {
            let bytes: Vec<u8> = info.name.iter().map(|c| *c as u8).take_while(|b| *b != 0).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let mine = |link: &&sys::XdpLink| link.program == id && link.ifindex == index;
        let link_id = links.as_ref().ok().and_then(|links| links.iter().find(mine)).map(|link| link.id);
        let holders = match link_id {
            Some(link) => holders("link_id:", link),
            None => holders("prog_id:", id),
        };
        programs.push(Attached { id, name, place, link_id, links_known: links.is_ok(), holders });
    }
    Ok(programs)
}

fn features(index: u32) -> Result<Option<Features>> {
    let query = sys::query(index)?;
    if query.feature_flags == 0 && !tells_features() {
        return Ok(None);
    }
    let bit = |n: u32| query.feature_flags & 1 << n != 0;
    Ok(Some(Features {
        basic: bit(0),
        redirect: bit(1),
        ndo_xmit: bit(2),
        zero_copy: bit(3),
        hw_offload: bit(4),
        rx_sg: bit(5),
        ndo_xmit_sg: bit(6),
        zc_max_segs: query.xdp_zc_max_segs,
    }))
}

/// Whether this kernel tells the XDP features of drivers at all (6.3).
fn tells_features() -> bool {
    sys::kernel_version() >= (6, 3)
}

/// Processes with a descriptor whose `fdinfo` has this line (`proc(5)`).
fn holders(key: &str, id: u32) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let holds = |info: &str| {
            let mut lines = info.lines().filter_map(|line| line.strip_prefix(key));
            lines.any(|value| value.trim() == id.to_string())
        };
        let infos = fs::read_dir(entry.path().join("fdinfo")).into_iter().flatten().flatten();
        if infos.filter_map(|info| fs::read_to_string(info.path()).ok()).any(|info| holds(&info)) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.push((pid, name.trim().to_owned()));
        }
    }
    found
}

/// What would keep AF_XDP from working well on this interface.
fn hints(info: &XdpInfo) -> Vec<String> {
    let name = &info.link.name;
    let mut hints = Vec::new();
    for program in &info.attached {
        hints.push(format!("{program}: {}", program.remedy(name)));
    }
    if info.link.carrier == Some(false) {
        hints.push(format!("{name} has no carrier: `sudo ip link set dev {name} up`, and the other end too"));
    }
    if info.features.is_some_and(|features| !features.basic) {
        hints.push(format!("the driver of {name} has no native XDP: AF_XDP runs in generic mode there"));
    }
    if info.kind.as_deref() != Some("veth") {
        return hints;
    }
    let Some(peer) = &info.peer else {
        if info.peer_elsewhere {
            hints.push(format!(
                "the peer of {name} is in another namespace: look at its queues, MTU and offloads there (`ethtool -K PEER \
                 tx off tso off gso off` for whole checksums and frames)"
            ));
        }
        return hints;
    };
    let queues = info.link.rx_queues.zip(peer.tx_queues).filter(|(rx, tx)| rx < tx);
    if let Some((rx, tx)) = queues {
        let most = link::peer(info.link.index.unwrap_or(0)).max_rx_queues;
        hints.push(queue_rule(name, rx, &peer.name, tx, most));
    }
    if let Some(mtu) = peer.mtu.filter(|mtu| *mtu > VETH_MTU) {
        hints.push(format!(
            "the MTU of {name}'s peer {} is {mtu}, and native XDP without jumbo takes at most {VETH_MTU}: ask for `jumbo`, or \
             `sudo ip link set dev {} mtu {VETH_MTU}`",
            peer.name, peer.name
        ));
    }
    if peer.offloads.tx_checksum == Some(true) {
        hints.push(format!(
            "packets that the kernel sends into {name}'s peer {} arrive with partial checksums: `sudo ethtool -K {} tx off`",
            peer.name, peer.name
        ));
    }
    hints
}

/// Largest MTU of a veth's peer for a native program without multi-buffer: a page less headroom and bookkeeping.
pub(super) const VETH_MTU: u32 = 3506;

/// What to type where a veth has fewer receive queues than its peer has transmit queues.
pub(super) fn queue_rule(name: &str, rx: u32, peer: &str, tx: u32, max_rx: Option<u32>) -> String {
    let remedy = if max_rx.is_some_and(|max| max >= tx) {
        format!("`sudo ethtool -L {name} rx {tx}`")
    } else {
        format!("`sudo ethtool -L {peer} tx {rx}`")
    };
    format!(
        "{name} has {rx} receive queues and its peer {peer} {tx} transmit queues; native XDP needs at least as many: {remedy}"
    )
}
