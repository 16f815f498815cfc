//! From what was asked for to what will be done: every refusal that needs no kernel.

use super::config::{
    Config, TxChecksum, Wish, XDP_COPY, XDP_FLAGS_DRV_MODE, XDP_FLAGS_HW_MODE, XDP_FLAGS_SKB_MODE,
    XDP_FLAGS_UPDATE_IF_NOEXIST, XDP_SHARED_UMEM, XDP_USE_NEED_WAKEUP, XDP_USE_SG, XDP_ZEROCOPY,
};
use super::program::AttachWish;
use crate::errors::{Error, Result};
use crate::pool::Geometry;

/// Frames that a packet of several may have at most, both ways (`MAX_SKB_FRAGS` is 17).
pub(super) const MOST_FRAGMENTS: u32 = 16;
/// Bytes of `struct xsk_tx_metadata` as far as we use it: flags, and the checksum request.
pub(super) const TX_METADATA: u32 = 16;

fn refuse<T>(option: &'static str, value: impl ToString, expected: impl Into<String>) -> Result<T> {
    Err(Error::BadOption { option, value: value.to_string(), expected: expected.into() })
}

fn contradiction<T>(what: &str, help: &str) -> Result<T> {
    Err(Error::unsupported(what, help))
}

/// Checks everything that can be checked without looking at the interface.
pub(super) fn check(config: &Config) -> Result<()> {
    if config.interface.is_empty() {
        return refuse("interface", "", "the name of an interface, such as eth0");
    }
    flags(config.flags.0, config.flags.1)?;
    ring("rx", config.rx)?;
    ring("tx", config.tx)?;
    if !matches!(config.frame_size, 2048 | 4096) {
        return refuse("frame_size", config.frame_size, "2048 or 4096 bytes (AF_XDP chunks are at most a page)");
    }
    if !(4..=1 << 24).contains(&config.frames) {
        return refuse("frames", config.frames, "4 to 16777216 frames");
    }
    if config.attach == AttachWish::Generic && config.zero_copy == Wish::Require {
        return contradiction(
            "zero-copy in generic mode",
            "generic mode works on copies: ask for mode=driver, or leave out zerocopy=require",
        );
    }
    if config.busy_budget == 0 {
        return refuse("busy_budget", 0, "1 to 65535 packets");
    }
    if let super::config::Queues::Only(queues) = &config.queues {
        if queues.is_empty() {
            return refuse("queues", "", "at least one queue, such as 0-3");
        }
        if let Some((n, twice)) = queues.iter().enumerate().find(|(n, q)| queues[..*n].contains(q)) {
            return refuse("queues", twice, format!("each queue once; it is given again in place {}", n + 1));
        }
    }
    jumbo(config)
}

/// The flags of [`AfXdpFlags`](super::AfXdpFlags), bit by bit.
fn flags(bind: u16, xdp: u32) -> Result<()> {
    let hex = |bits: u32| format!("{bits:#x}");
    let known = XDP_COPY | XDP_ZEROCOPY | XDP_USE_NEED_WAKEUP | XDP_USE_SG;
    if bind & XDP_SHARED_UMEM != 0 {
        return refuse("bind_flags", hex(bind.into()), "no XDP_SHARED_UMEM: sockets share by `create_sharing`");
    }
    if bind & !known != 0 {
        return refuse(
            "bind_flags",
            hex(bind.into()),
            "XDP_COPY, XDP_ZEROCOPY, XDP_USE_NEED_WAKEUP and XDP_USE_SG only",
        );
    }
    if bind & XDP_COPY != 0 && bind & XDP_ZEROCOPY != 0 {
        return refuse("bind_flags", hex(bind.into()), "XDP_COPY or XDP_ZEROCOPY, not both");
    }
    if xdp & XDP_FLAGS_HW_MODE != 0 {
        return refuse("xdp_flags", hex(xdp), "no XDP_FLAGS_HW_MODE: offloaded programs cannot redirect to sockets");
    }
    if xdp & !(XDP_FLAGS_UPDATE_IF_NOEXIST | XDP_FLAGS_SKB_MODE | XDP_FLAGS_DRV_MODE) != 0 {
        return refuse(
            "xdp_flags",
            hex(xdp),
            "XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE and XDP_FLAGS_UPDATE_IF_NOEXIST only",
        );
    }
    if xdp & XDP_FLAGS_SKB_MODE != 0 && xdp & XDP_FLAGS_DRV_MODE != 0 {
        return refuse("xdp_flags", hex(xdp), "XDP_FLAGS_SKB_MODE or XDP_FLAGS_DRV_MODE, not both");
    }
    Ok(())
}

fn ring(name: &'static str, slots: u32) -> Result<()> {
    if slots.is_power_of_two() && (2..=1 << 20).contains(&slots) {
        return Ok(());
    }
    let near = slots.clamp(2, 1 << 20).next_power_of_two();
    refuse(name, slots, format!("a power of two from 2 to 1048576, such as {near}"))
}

fn jumbo(config: &Config) -> Result<()> {
    let Some(bytes) = config.jumbo else {
        return match config.jumbo_frames {
            Some(frames) => refuse("jumbo_frames", frames, "jumbo packets to be switched on: add `jumbo`"),
            None => Ok(()),
        };
    };
    let most = MOST_FRAGMENTS * config.frame_size;
    if !(config.frame_size..=most).contains(&bytes) {
        return refuse(
            "jumbo",
            bytes,
            format!("{} to {most} bytes with frames of {} bytes", config.frame_size, config.frame_size),
        );
    }
    if config.jumbo_frames.is_some_and(|frames| !(1..=1 << 20).contains(&frames)) {
        return refuse("jumbo_frames", config.jumbo_frames.unwrap_or(0), "1 to 1048576 frames");
    }
    if config.tx_checksum != TxChecksum::Off {
        return contradiction(
            "`jumbo` together with `tx_checksum`",
            "the kernel wants room for metadata before every fragment, so jumbo packets could not be sent from where \
             they lie: leave one of them out",
        );
    }
    Ok(())
}

/// Frames and jumbo frames of the pool.
pub(super) fn geometry(config: &Config) -> Geometry {
    let mut geometry = Geometry::new(config.frames as usize, config.frame_size as usize);
    if let Some(bytes) = config.jumbo {
        geometry.big_size = bytes as usize;
        geometry.big_frames = config.jumbo_frames.unwrap_or_else(|| (config.frames / 16).max(64)) as usize;
    }
    geometry
}

/// `XDP_*` flags for bind(2) of the first socket on a UMEM; the others inherit.
pub(super) fn bind_flags(config: &Config, generic: bool) -> u16 {
    let mode = match config.zero_copy {
        Wish::Require => XDP_ZEROCOPY,
        Wish::Forbid => XDP_COPY,
        // In generic mode a zero-copy driver would put packets where the generic path does not look.
        Wish::Prefer if generic => XDP_COPY,
        Wish::Prefer => 0,
    };
    let wakeup = if config.need_wakeup { XDP_USE_NEED_WAKEUP } else { 0 };
    let fragments = if config.jumbo.is_some() { XDP_USE_SG } else { 0 };
    mode | wakeup | fragments
}

/// `XDP_UMEM_*` flags, and the room for metadata before a sent packet.
pub(super) fn umem_flags(config: &Config) -> (u32, u32) {
    match config.tx_checksum {
        TxChecksum::Off => (0, 0),
        TxChecksum::On => (libc::XDP_UMEM_TX_METADATA_LEN | libc::XDP_UMEM_TX_SW_CSUM, TX_METADATA),
        TxChecksum::Hardware => (libc::XDP_UMEM_TX_METADATA_LEN, TX_METADATA),
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{AfXdpFlags, XDP_FLAGS_SKB_MODE};
    use super::*;

    fn refused(config: Config) -> String {
        check(&config).unwrap_err().to_string()
    }

    fn with(flags: AfXdpFlags) -> String {
        refused(Config::from(flags).interface("eth0"))
    }

    #[test]
    fn the_documented_example_is_legal() {
        let flags = AfXdpFlags {
            bind_flags: 0,
            xdp_flags: 0,
            num_frames: 4096,
            frame_size: 4096,
            tx_size: 2048,
            rx_size: 2048,
        };
        assert_eq!(flags, AfXdpFlags::default());
        check(&Config::from(flags).interface("eth0")).unwrap();
    }

    #[test]
    fn refusals_name_field_value_and_range() {
        let d = AfXdpFlags::default;
        for (flags, field, found, legal) in [
            (AfXdpFlags { rx_size: 1000, ..d() }, "rx", "1000", "such as 1024"),
            (AfXdpFlags { tx_size: 0, ..d() }, "tx", "0", "power of two"),
            (AfXdpFlags { frame_size: 8192, ..d() }, "frame_size", "8192", "2048 or 4096"),
            (AfXdpFlags { num_frames: 1, ..d() }, "frames", "1", "4 to"),
            (AfXdpFlags { bind_flags: XDP_COPY | XDP_ZEROCOPY, ..d() }, "bind_flags", "0x6", "not both"),
            (AfXdpFlags { bind_flags: XDP_SHARED_UMEM, ..d() }, "bind_flags", "0x1", "create_sharing"),
            (AfXdpFlags { bind_flags: 1 << 9, ..d() }, "bind_flags", "0x200", "only"),
            (AfXdpFlags { xdp_flags: 6, ..d() }, "xdp_flags", "0x6", "not both"),
            (AfXdpFlags { xdp_flags: XDP_FLAGS_HW_MODE, ..d() }, "xdp_flags", "0x8", "HW_MODE"),
            (AfXdpFlags { xdp_flags: 1 << 4, ..d() }, "xdp_flags", "0x10", "only"),
        ] {
            let text = with(flags);
            for part in [field, found, legal] {
                assert!(text.contains(part), "`{text}` does not tell `{part}`");
            }
        }
    }

    #[test]
    fn contradictions() {
        let flags = AfXdpFlags { bind_flags: XDP_ZEROCOPY, xdp_flags: XDP_FLAGS_SKB_MODE, ..Default::default() };
        assert!(with(flags).contains("generic mode works on copies"));
        let eth0 = || Config::new("eth0");
        assert!(refused(eth0().jumbo(9000).tx_checksum(TxChecksum::On)).contains("leave one of them out"));
        assert!(refused(eth0().jumbo(1 << 20)).contains("4096 to 65536"));
        assert!(refused(eth0().jumbo_frames(8)).contains("add `jumbo`"));
        assert!(refused(eth0().queues([1, 1])).contains("each queue once"));
        assert!(refused(eth0().queues([])).contains("at least one"));
        assert!(refused(Config::new("")).contains("interface"));
    }

    #[test]
    fn bind_flags_follow_the_wishes() {
        let eth0 = || Config::new("eth0");
        assert_eq!(bind_flags(&eth0(), false), XDP_USE_NEED_WAKEUP);
        assert_eq!(bind_flags(&eth0(), true), XDP_USE_NEED_WAKEUP | XDP_COPY);
        assert_eq!(bind_flags(&eth0().zero_copy(Wish::Require).need_wakeup(false), false), XDP_ZEROCOPY);
        assert_eq!(
            bind_flags(&eth0().jumbo(9000).zero_copy(Wish::Forbid), false),
            XDP_USE_NEED_WAKEUP | XDP_COPY | XDP_USE_SG
        );
    }
}
