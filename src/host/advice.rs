//! What is likely to be wrong with a set-up, in words.

use super::Host;
use crate::api::{Attach, LinkInfo, Mode, RxDrops, Socket};
use crate::stack::config::RxChecksum;
use std::net::{IpAddr, UdpSocket};

impl<S: Socket> Host<S> {
    /// What is likely to be wrong with the set-up, one remark each, with what to type; empty if nothing is. It looks at
    /// the link, its other end if that is a veth in the same namespace, and the counters: worth printing at the start and
    /// whenever a connection does not come about.
    #[must_use]
    pub fn advice(&self) -> Vec<String> {
        let (mode, link, stats) = (self.socket.mode(), self.socket.link().unwrap_or_default(), self.stats());
        let verifies = self.config().checksum.rx == RxChecksum::Verify;
        let mut advice = Vec::new();
        let mut say = |text: String| advice.push(text);
        if link.carrier == Some(false) {
            say(format!("{0} has no carrier: `ip link set {0} up`, and see to the other end of its cable", mode.port));
        }
        if let Some(end) = other_end(&link) {
            if let Some(remark) = end.unfinished_checksums(&mode.port).filter(|_| verifies) {
                say(remark);
            }
            if let Some(remark) = end.superframes(&mode) {
                say(remark);
            }
        }
        let wrong = stats.stack.tcp.rx_bad_checksum + stats.stack.udp.rx_bad_checksum;
        if verifies && wrong > 0 {
            say(format!(
                "{wrong} segments and datagrams came with a wrong checksum: if the peer is a kernel on the same machine it \
                 has left them unfinished (`ethtool -K PEER tx off`, or rx_checksum=trust here); if not, something on the \
                 way damages packets"
            ));
        }
        if mode.backend == "pcap" {
            for (address, _) in self.config().addresses.iter().filter(|(address, _)| kernel_has(*address)) {
                say(format!(
                    "the kernel has {address} too: it will answer for it and reset our connections; choose a free address, \
                     or `ip addr del {address} dev {}`",
                    mode.port
                ));
            }
        }
        let served = mode.queues.len();
        if let Some(queues) = link.rx_queues.filter(|queues| served != 0 && (served as u32) < *queues) {
            say(format!(
                "this host serves {served} of the {queues} receive queues of {}: what the card puts into the others, ARP \
                 replies and answers to our connects among it, does not reach it (see \"Several hosts\" in docs/host.md)",
                mode.port
            ));
        }
        if stats.socket.rx_truncated > 0 {
            say(format!(
                "{} packets were longer than a frame of {} bytes and were cut: switch off segmentation offload at the sender \
                 (`ethtool -K PEER tso off gso off`), or ask for longer frames",
                stats.socket.rx_truncated, mode.frame_size
            ));
        }
        let RxDrops { no_frame, ring_full, .. } = stats.socket.rx_dropped;
        if no_frame > 0 || ring_full > 0 {
            say(format!(
                "{} packets found no free frame or no room in the receive ring: ask the backend for two of each for every \
                 connection that may speak at the same time, and as many frames again for sending (frames=, rx=, buffers=); of {} \
                 frames the engine may keep {} for programs that do not read (max_kept=)",
                no_frame + ring_full,
                mode.frames,
                self.config().max_kept_frames
            ));
        }
        if let Some(error) = self.send_error() {
            say(format!("{} frames were not sent: {error}", stats.host.tx_errors));
        }
        if let Some((path, error)) = stats.tap.and_then(|tap| Some((tap.path, tap.error?))) {
            say(format!("the tap {} has ended: {error}", path.display()));
        }
        advice
    }
}

/// The other end of a virtual cable.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux has such cables, and tells"))]
enum OtherEnd {
    Here(Box<LinkInfo>),
    Elsewhere,
}

#[cfg(target_os = "linux")]
fn other_end(link: &LinkInfo) -> Option<OtherEnd> {
    let peer = crate::api::link::peer(link.index?);
    match peer.link {
        Some(link) => Some(OtherEnd::Here(Box::new(link))),
        None => peer.elsewhere.then_some(OtherEnd::Elsewhere),
    }
}

#[cfg(not(target_os = "linux"))]
fn other_end(_: &LinkInfo) -> Option<OtherEnd> {
    None
}

impl OtherEnd {
    fn unfinished_checksums(&self, port: &str) -> Option<String> {
        match self {
            OtherEnd::Here(link) => (link.offloads.tx_checksum == Some(true)).then(|| format!(
                "the kernel at {0}, the other end of {port}, leaves TCP and UDP checksums unfinished, and this host refuses \
                 them: `ethtool -K {0} tx off`, or rx_checksum=trust",
                link.name
            )),
            OtherEnd::Elsewhere => Some(format!(
                "the other end of {port} is in another network namespace: unless `ethtool -K PEER tx off` was typed there, \
                 its kernel leaves TCP and UDP checksums unfinished, and this host refuses them; or set rx_checksum=trust"
            )),
        }
    }

    /// Where packets that are still to be cut into segments can arrive.
    fn superframes(&self, mode: &Mode) -> Option<String> {
        let OtherEnd::Here(link) = self else { return None };
        let whole = mode.backend == "pcap" || mode.attach == Some(Attach::Generic);
        let cuts_not = [link.offloads.tso, link.offloads.gso].contains(&Some(true));
        (whole && cuts_not).then(|| {
            format!(
                "the kernel at {0} sends TCP packets of up to 64 KiB to be cut by a card that is not there: `ethtool -K {0} \
                 tso off gso off`",
                link.name
            )
        })
    }
}

/// Whether an address is one of the kernel's own in this network namespace: only then can a socket be bound to it.
fn kernel_has(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}
