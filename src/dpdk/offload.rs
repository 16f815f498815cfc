//! What a port can be asked to do to a packet on its way out.

use dpdk_sys as sys;

/// What the port does to a packet before it leaves; each needs its option when the port is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxOffload {
    /// Put this VLAN tag (TCI) into the packet (option `vlan_insert`).
    pub vlan: Option<u16>,
    /// Fill in the checksums of IPv4, TCP and UDP (option `tx_checksum`). Packets of other protocols are left alone.
    pub checksum: bool,
}

/// What is written into the mbuf for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) flags: u64,
    /// `l2_len` in bits 0-6, `l3_len` in bits 7-15 (`rte_mbuf_core.h`).
    pub(super) lengths: u64,
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: [u16; 2] = [0x8100, 0x88a8];
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Which checksums a packet has, and where. `None` if it has none that a port can fill in.
pub(super) fn checksums(packet: &[u8]) -> Option<Request> {
    let word = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
    let mut l2 = 14;
    while VLAN.contains(&word(l2 - 2)?) {
        l2 += 4;
    }
    let (mut flags, l3, protocol) = match word(l2 - 2)? {
        IPV4 => {
            let l3 = usize::from(packet.get(l2)? & 0xf) * 4;
            // A fragment has no checksum of its own.
            let whole = word(l2 + 6)? & 0x3fff == 0;
            let protocol = packet.get(l2 + 9).filter(|_| whole).copied().unwrap_or(0);
            (sys::ND_MBUF_F_TX_IPV4 | sys::ND_MBUF_F_TX_IP_CKSUM, l3, protocol)
        }
        IPV6 => (sys::ND_MBUF_F_TX_IPV6, 40, *packet.get(l2 + 6)?),
        _ => return None,
    };
    if l3 < 20 || packet.len() < l2 + l3 {
        return None;
    }
    let rest = packet.len() - l2 - l3;
    match protocol {
        TCP if rest >= 20 => flags |= sys::ND_MBUF_F_TX_TCP_CKSUM,
        UDP if rest >= 8 => flags |= sys::ND_MBUF_F_TX_UDP_CKSUM,
        _ if flags & sys::ND_MBUF_F_TX_IPV6 != 0 => return None,
        _ => {}
    }
    Some(Request { flags, lengths: l2 as u64 | (l3 as u64) << 7 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(l2: usize, ethertype: u16, header: &[u8], rest: usize) -> Vec<u8> {
        let mut packet = vec![0; l2];
        for at in (12..l2 - 2).step_by(4) {
            packet[at..at + 2].copy_from_slice(&0x8100u16.to_be_bytes());
        }
        packet[l2 - 2..].copy_from_slice(&ethertype.to_be_bytes());
        packet.extend_from_slice(header);
        packet.resize(packet.len() + rest, 0);
        packet
    }

    fn ipv4(protocol: u8, fragment: u16) -> [u8; 20] {
        let mut header = [0; 20];
        header[0] = 0x45;
        header[6..8].copy_from_slice(&fragment.to_be_bytes());
        header[9] = protocol;
        header
    }

    #[test]
    fn headers_are_found() {
        let v4 = sys::ND_MBUF_F_TX_IPV4 | sys::ND_MBUF_F_TX_IP_CKSUM;
        let udp = checksums(&packet(14, IPV4, &ipv4(UDP, 0), 8)).unwrap();
        assert_eq!(udp, Request { flags: v4 | sys::ND_MBUF_F_TX_UDP_CKSUM, lengths: 14 | 20 << 7 });
        let tagged = checksums(&packet(22, IPV4, &ipv4(TCP, 0), 20)).unwrap();
        assert_eq!(tagged, Request { flags: v4 | sys::ND_MBUF_F_TX_TCP_CKSUM, lengths: 22 | 20 << 7 });
        let mut six = [0; 40];
        six[6] = TCP;
        let six = checksums(&packet(14, IPV6, &six, 20)).unwrap();
        assert_eq!(six.flags, sys::ND_MBUF_F_TX_IPV6 | sys::ND_MBUF_F_TX_TCP_CKSUM);
        assert_eq!(six.lengths, 14 | 40 << 7);
    }

    #[test]
    fn what_has_no_checksum_of_its_own_is_left_alone() {
        let v4 = sys::ND_MBUF_F_TX_IPV4 | sys::ND_MBUF_F_TX_IP_CKSUM;
        assert_eq!(checksums(&packet(14, IPV4, &ipv4(UDP, 0x2000), 8)).unwrap().flags, v4);
        assert_eq!(checksums(&packet(14, IPV4, &ipv4(1, 0), 8)).unwrap().flags, v4);
        assert_eq!(checksums(&packet(14, 0x0806, &[0; 28], 0)), None);
        assert_eq!(checksums(&packet(14, IPV6, &[0; 40], 0)), None);
    }

    #[test]
    fn short_packets_are_no_trouble() {
        let whole = packet(18, IPV4, &ipv4(TCP, 0), 20);
        for len in 0..whole.len() {
            let _ = checksums(&whole[..len]);
        }
        let mut short_header = packet(14, IPV4, &ipv4(UDP, 0), 8);
        short_header[14] = 0x41;
        assert_eq!(checksums(&short_header), None);
    }
}
