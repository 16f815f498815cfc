//! The options of a port spec, over the flags.

use super::config::{AfXdpFlags, Config, JUMBO, Queues, TxChecksum, Wish};
use super::program::{AttachWish, Source};
use crate::api::{Options, PortSpec};
use crate::errors::{Error, Result};
use std::path::PathBuf;

/// Highest queue number that a spec may name; what the interface has is checked later.
const MOST_QUEUES: u32 = 4095;

/// What a port spec, the queue argument and the flags ask for together.
pub(super) fn read(portspec: &str, queue: Option<usize>, flags: AfXdpFlags) -> Result<Config> {
    let spec = PortSpec::parse_for(portspec, "af_xdp")?;
    let mut config = Config::from(flags).interface(spec.name.clone());
    let mut options = spec.options();
    let o = &mut options;
    let listed = o.list("queues", MOST_QUEUES)?;
    config.queues = which_queues(queue, listed)?;
    let modes = [("auto", AttachWish::Auto), ("driver", AttachWish::Driver), ("generic", AttachWish::Generic)];
    let wishes = [("require", Wish::Require), ("prefer", Wish::Prefer), ("forbid", Wish::Forbid)];
    set(&mut config.attach, o.one_of("mode", &modes)?);
    set(&mut config.zero_copy, o.one_of("zerocopy", &wishes)?);
    set(&mut config.need_wakeup, o.switch("need_wakeup")?);
    if let Some(time) = o.duration("busy_poll")? {
        config.busy_poll = Some(time);
    }
    set(&mut config.busy_budget, o.number("busy_budget", 1..=u16::MAX)?);
    set(&mut config.hugepages, o.switch("hugepages")?);
    // Ranges of these are checked together with those of the flags, in `plan`.
    set(&mut config.frames, o.number("frames", 0..=u32::MAX)?);
    set(&mut config.frame_size, o.number("frame_size", 0..=u32::MAX)?);
    set(&mut config.rx, o.number("rx", 0..=u32::MAX)?);
    set(&mut config.tx, o.number("tx", 0..=u32::MAX)?);
    if let Some(jumbo) = jumbo(o)? {
        config.jumbo = jumbo;
    }
    if let Some(frames) = o.number("jumbo_frames", 0..=u32::MAX)? {
        config.jumbo_frames = Some(frames);
    }
    set(&mut config.tx_checksum, tx_checksum(o)?);
    set(&mut config.tx_spread, o.switch("tx_spread")?);
    set(&mut config.timestamps, o.switch("timestamps")?);
    set(&mut config.promiscuous, o.switch("promisc")?);
    if let Some(source) = source(portspec, o)? {
        config.source = source;
    }
    options.finish()?;
    Ok(config)
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// The queue argument and the `queues` option must not contradict each other.
fn which_queues(queue: Option<usize>, listed: Option<Vec<u32>>) -> Result<Queues> {
    let one = match queue {
        None => None,
        Some(queue) => Some(u32::try_from(queue).map_err(|_| Error::BadOption {
            option: "queue",
            value: queue.to_string(),
            expected: format!("a number up to {MOST_QUEUES}"),
        })?),
    };
    match (one, listed) {
        (None, None) => Ok(Queues::All),
        (None, Some(listed)) => Ok(Queues::Only(listed)),
        (Some(one), None) => Ok(Queues::Only(vec![one])),
        (Some(one), Some(listed)) if listed == [one] => Ok(Queues::Only(listed)),
        (Some(one), Some(listed)) => Err(Error::BadOption {
            option: "queues",
            value: format!("{listed:?}"),
            expected: format!("no list, or {one} alone: the call asks for queue {one}"),
        }),
    }
}

/// `jumbo`, `jumbo=off`, `jumbo=9000`.
fn jumbo(options: &mut Options<'_>) -> Result<Option<Option<u32>>> {
    Ok(match options.raw("jumbo") {
        None => None,
        Some(None | Some("on" | "yes" | "true")) => Some(Some(JUMBO)),
        Some(Some("off" | "no" | "false")) => Some(None),
        Some(Some(_)) => Some(options.number("jumbo", 0..=u32::MAX)?),
    })
}

/// `tx_checksum`, `tx_checksum=off`, `tx_checksum=hardware`.
fn tx_checksum(options: &mut Options<'_>) -> Result<Option<TxChecksum>> {
    Ok(match options.raw("tx_checksum") {
        Some(Some("hardware")) => Some(TxChecksum::Hardware),
        _ => options.switch("tx_checksum")?.map(|on| if on { TxChecksum::On } else { TxChecksum::Off }),
    })
}

/// Which program: one of `steer`, `program`, `pinned_program` with `xsk_map`, `xsk_map` alone.
fn source(portspec: &str, options: &mut Options<'_>) -> Result<Option<Source>> {
    let bad = |problem: &str| Error::PortSpec { spec: portspec.to_owned(), problem: problem.to_owned() };
    let steer = options.text("steer")?;
    let object = options.text("program")?.map(PathBuf::from);
    let (section, map) = (options.text("section")?, options.text("map")?);
    let pinned = options.text("pinned_program")?.map(PathBuf::from);
    let xsk_map = options.text("xsk_map")?.map(PathBuf::from);
    if (section.is_some() || map.is_some()) && object.is_none() {
        return Err(bad("`section` and `map` name parts of an object file: give it with `program=FILE`"));
    }
    match (steer, object, pinned, xsk_map) {
        (None, None, None, None) => Ok(None),
        (Some(rules), None, None, None) => Ok(Some(Source::Steer(rules.parse()?))),
        (None, Some(path), None, None) => {
            Ok(Some(Source::Object { path, program: section.map(str::to_owned), map: map.map(str::to_owned) }))
        }
        (None, None, Some(program), Some(map)) => Ok(Some(Source::Pinned { program, map })),
        (None, None, None, Some(map)) => Ok(Some(Source::PinnedMap(map))),
        (None, None, Some(_), None) => Err(bad("`pinned_program` needs the map it redirects to: add `xsk_map=PATH`")),
        _ => Err(bad("`steer`, `program`, `pinned_program` and `xsk_map` exclude each other, except for the last two")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn of(spec: &str) -> Config {
        read(spec, None, AfXdpFlags::default()).unwrap()
    }

    fn refused(spec: &str, queue: Option<usize>) -> String {
        read(spec, queue, AfXdpFlags::default()).unwrap_err().to_string()
    }

    #[test]
    fn options_override_flags() {
        let flags = AfXdpFlags { bind_flags: libc::XDP_COPY, xdp_flags: 1 << 1, num_frames: 64, ..Default::default() };
        let config = read("eth0", None, flags.clone()).unwrap();
        assert_eq!((config.zero_copy, config.attach, config.frames), (Wish::Forbid, AttachWish::Generic, 64));
        let config = read("af_xdp:eth0?zerocopy=require&mode=driver&frames=8Ki", None, flags).unwrap();
        assert_eq!((config.zero_copy, config.attach, config.frames), (Wish::Require, AttachWish::Driver, 8192));
    }

    #[test]
    fn every_option_reaches_its_field() {
        let config = of("eth0?queues=0-2,5&need_wakeup=off&busy_poll=20us&busy_budget=32&hugepages&frame_size=2048\
                         &rx=512&tx=256&jumbo=9000&jumbo_frames=7&tx_checksum&tx_spread&timestamps&promisc");
        assert_eq!(config.interface, "eth0");
        assert_eq!(config.queues, Queues::Only(vec![0, 1, 2, 5]));
        assert_eq!((config.need_wakeup, config.hugepages), (false, true));
        assert_eq!((config.busy_poll, config.busy_budget), (Some(Duration::from_micros(20)), 32));
        assert_eq!((config.frame_size, config.rx, config.tx), (2048, 512, 256));
        assert_eq!((config.jumbo, config.jumbo_frames), (Some(9000), Some(7)));
        assert_eq!(config.tx_checksum, TxChecksum::On);
        assert!(config.tx_spread && config.timestamps && config.promiscuous);
        let config = of("eth0?tx_checksum=hardware&jumbo");
        assert_eq!((config.tx_checksum, config.jumbo), (TxChecksum::Hardware, Some(JUMBO)));
        assert_eq!(of("eth0?jumbo=off").jumbo, None);
    }

    #[test]
    fn programs() {
        assert_eq!(of("eth0?xsk_map=/p/m").source, Source::PinnedMap("/p/m".into()));
        let pinned = Source::Pinned { program: "/p/p".into(), map: "/p/m".into() };
        assert_eq!(of("eth0?pinned_program=/p/p&xsk_map=/p/m").source, pinned);
        let object = Source::Object { path: "a.o".into(), program: Some("xdp".into()), map: Some("m".into()) };
        assert_eq!(of("eth0?program=a.o&section=xdp&map=m").source, object);
        assert!(refused("eth0?pinned_program=/p/p", None).contains("xsk_map=PATH"));
        assert!(refused("eth0?map=m", None).contains("program=FILE"));
        assert!(refused("eth0?program=a.o&xsk_map=/p/m", None).contains("exclude"));
    }

    #[test]
    fn the_queue_argument_and_the_list_must_agree() {
        assert_eq!(read("eth0", Some(3), AfXdpFlags::default()).unwrap().queues, Queues::Only(vec![3]));
        assert_eq!(read("eth0?queues=3", Some(3), AfXdpFlags::default()).unwrap().queues, Queues::Only(vec![3]));
        assert!(refused("eth0?queues=0-3", Some(3)).contains("asks for queue 3"));
        assert!(refused("eth0?queue=1", None).contains("queues"), "unknown options list the known ones");
    }
}
