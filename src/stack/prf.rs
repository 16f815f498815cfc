//! One secret, many uses: each gets a keyed function of its own, so that what one lets out says nothing about another.

use siphasher::sip::SipHasher24;

/// What a keyed function is for. Two with the same secret and different purposes have nothing in common.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Where flows lie in their table.
    FlowTable,
    /// Initial sequence numbers (RFC 6528).
    InitialSequence,
    /// Offsets of timestamps (RFC 7323).
    TimestampOffset,
    /// Local ports (RFC 6056).
    Ports,
    /// SYN cookies (RFC 4987).
    Cookies,
    /// Limits of challenge acknowledgements (RFC 5961).
    ChallengeAcks,
    /// Limits of ICMP errors (RFC 1812).
    IcmpErrors,
    /// Where neighbours lie in their cache.
    Neighbours,
    /// The same of path MTUs.
    PathMtus,
    /// The same of datagrams that are put together.
    Reassembly,
    /// Identification fields (RFC 7739).
    Identification,
    /// Where UDP ports lie in their table, and who of several sockets at one gets a datagram.
    UdpPorts,
}

/// A pseudo-random function: SipHash-2-4 under a key derived from the secret.
#[derive(Clone)]
pub(crate) struct Prf(SipHasher24);

impl Prf {
    /// Of a secret, for one purpose.
    pub(crate) fn new(secret: [u64; 2], purpose: Purpose) -> Self {
        let [first, second] = derive(secret, purpose);
        Self(SipHasher24::new_with_keys(first, second))
    }

    /// 64 bits that nobody without the secret can tell from random ones.
    pub(crate) fn hash(&self, bytes: &[u8]) -> u64 {
        self.0.hash(bytes)
    }
}

/// A key for one purpose.
pub(crate) fn derive(secret: [u64; 2], purpose: Purpose) -> [u64; 2] {
    let root = SipHasher24::new_with_keys(secret[0], secret[1]);
    [0, 1].map(|half| root.hash(&[purpose as u8, half]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of the SipHash paper (appendix A) and its reference implementation, which the crate must reproduce.
    #[test]
    fn siphash_is_siphash() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let bytes: Vec<u8> = (0..63).collect();
        let hash = |len: usize| SipHasher24::new_with_keys(key[0], key[1]).hash(&bytes[..len]);
        assert_eq!(hash(0), 0x726f_db47_dd0e_0e31);
        assert_eq!(hash(1), 0x74f8_39c5_93dc_67fd);
        assert_eq!(hash(15), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn purposes_and_secrets_have_nothing_in_common() {
        let hash = |secret, purpose| Prf::new(secret, purpose).hash(b"same");
        let all = [
            hash([1, 2], Purpose::FlowTable),
            hash([1, 2], Purpose::Cookies),
            hash([2, 1], Purpose::Cookies),
            hash([0, 0], Purpose::Cookies),
        ];
        assert!((1..all.len()).all(|n| !all[..n].contains(&all[n])), "{all:x?}");
        assert_eq!(all[0], hash([1, 2], Purpose::FlowTable));
    }
}
