//! The options of a port spec.

use super::DpdkFlags;
use super::pool::HEADROOM;
use crate::api::PortSpec;
use crate::errors::{Error, Result};
use std::fmt::Display;

/// Which timestamps received packets carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timestamps {
    /// None.
    Off,
    /// The system clock, read once per burst.
    Software,
    /// The device's, packet by packet.
    Hardware,
}

/// Everything that can be chosen about a port. `None`: whatever the device makes best.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) flags: DpdkFlags,
    pub(super) eal: Vec<String>,
    pub(super) queues: Option<u16>,
    pub(super) rx_ring: Option<u16>,
    pub(super) tx_ring: Option<u16>,
    pub(super) mtu: Option<u16>,
    pub(super) big_mbufs: Option<u32>,
    pub(super) promiscuous: Option<bool>,
    pub(super) rss: Option<bool>,
    pub(super) rx_checksum: bool,
    pub(super) tx_checksum: bool,
    pub(super) vlan_strip: bool,
    pub(super) vlan_insert: bool,
    pub(super) timestamps: Timestamps,
    pub(super) interrupts: bool,
    pub(super) wire: Option<String>,
}

/// Queues a port can have at most in DPDK.
const MOST_QUEUES: u16 = 1024;
/// `RTE_MEMPOOL_CACHE_MAX_SIZE`.
const LARGEST_CACHE: u32 = 512;

impl Config {
    /// Reads the options of a spec over the flags.
    pub(super) fn read(spec: &PortSpec, flags: DpdkFlags) -> Result<Self> {
        let mut options = spec.options();
        let flags = DpdkFlags {
            num_mbufs: options.number("num_mbufs", 2..=1 << 28)?.unwrap_or(flags.num_mbufs),
            mbuf_cache_size: options.number("mbuf_cache_size", 0..=LARGEST_CACHE)?.unwrap_or(flags.mbuf_cache_size),
            mbuf_default_buf_size: options
                .number("mbuf_default_buf_size", 256..=u16::MAX)?
                .unwrap_or(flags.mbuf_default_buf_size),
        };
        let words = [("off", Timestamps::Off), ("sw", Timestamps::Software), ("hw", Timestamps::Hardware)];
        let config = Self {
            eal: options
                .text("eal")?
                .map(|args| args.split_whitespace().map(str::to_owned).collect())
                .unwrap_or_default(),
            queues: options.number("queues", 1..=MOST_QUEUES)?,
            rx_ring: options.number("rx_ring", 1..=1 << 15)?,
            tx_ring: options.number("tx_ring", 1..=1 << 15)?,
            mtu: options.number("mtu", 68..=65_000)?,
            big_mbufs: options.number("big_mbufs", 2..=1 << 28)?,
            promiscuous: options.switch("promiscuous")?,
            rss: options.switch("rss")?,
            rx_checksum: options.switch("rx_checksum")?.unwrap_or(false),
            tx_checksum: options.switch("tx_checksum")?.unwrap_or(false),
            vlan_strip: options.switch("vlan_strip")?.unwrap_or(false),
            vlan_insert: options.switch("vlan_insert")?.unwrap_or(false),
            timestamps: options.one_of("timestamps", &words)?.unwrap_or(Timestamps::Off),
            interrupts: options.switch("interrupts")?.unwrap_or(false),
            wire: options.text("wire")?.map(str::to_owned),
            flags,
        };
        options.finish()?;
        config.check()?;
        Ok(config)
    }

    /// What the flags may hold; DPDK would say `Invalid argument` to the rest.
    fn check(&self) -> Result<()> {
        let DpdkFlags { num_mbufs, mbuf_cache_size, mbuf_default_buf_size } = self.flags;
        let refuse = |option, value: u32, expected: String| Err(bad_option(option, value, expected));
        if !(2..=1 << 28).contains(&num_mbufs) {
            return refuse("num_mbufs", num_mbufs, "2 to 268435456 mbufs".into());
        }
        // A cache may hold one and a half times its size before it is emptied.
        let largest = LARGEST_CACHE.min(num_mbufs * 2 / 3);
        if mbuf_cache_size > largest {
            return refuse(
                "mbuf_cache_size",
                mbuf_cache_size,
                format!("at most {largest}: two thirds of num_mbufs={num_mbufs}, and no more than {LARGEST_CACHE}"),
            );
        }
        if usize::from(mbuf_default_buf_size) < HEADROOM + 128 {
            return refuse(
                "mbuf_default_buf_size",
                mbuf_default_buf_size.into(),
                format!("at least 256 bytes, {HEADROOM} of which are headroom"),
            );
        }
        Ok(())
    }
}

/// An option whose value does not do.
pub(super) fn bad_option(option: &'static str, value: impl Display, expected: String) -> Error {
    Error::BadOption { option, value: value.to_string(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spec: &str, flags: DpdkFlags) -> Result<Config> {
        Config::read(&PortSpec::parse_for(spec, "dpdk")?, flags)
    }

    #[test]
    fn options_win_over_flags() {
        let config =
            read("dpdk:net_null0?num_mbufs=1k&queues=2&vlan_strip&timestamps=sw", DpdkFlags::default()).unwrap();
        assert_eq!((config.flags.num_mbufs, config.flags.mbuf_cache_size), (1000, 250));
        assert_eq!((config.queues, config.vlan_strip, config.timestamps), (Some(2), true, Timestamps::Software));
        assert_eq!(config.mtu, None);
        let args = read("dpdk:net_null0?eal=--no-huge -m 64", DpdkFlags::default()).unwrap().eal;
        assert_eq!(args, ["--no-huge", "-m", "64"]);
    }

    #[test]
    fn what_dpdk_would_refuse_without_a_word_is_named() {
        let named = |spec: &str, flags: DpdkFlags| read(spec, flags).unwrap_err().to_string();
        let default = DpdkFlags::default;
        assert!(named("net_null0?num_mbufs=100", default()).contains("mbuf_cache_size=250: expected at most 66"));
        assert!(named("net_null0?queues=0", default()).contains("queues=0"));
        assert!(named("net_null0?colour=red", default()).contains("unknown option `colour`"));
        let flags = DpdkFlags { mbuf_default_buf_size: 130, ..default() };
        assert!(named("net_null0", flags).contains("mbuf_default_buf_size=130"));
        let flags = DpdkFlags { num_mbufs: 0, ..default() };
        assert!(named("net_null0", flags).contains("num_mbufs=0"));
    }
}
