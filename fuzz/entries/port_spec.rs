//! Any bytes as a port spec: it is refused with a reason or understood, and what is understood means the same when it is
//! written down again.

use nethuns_rs::api::{Options, PortSpec, SCHEMES};
use nethuns_rs::errors::{Error, Result};
use nethuns_rs::mem::faults::Plan;
use std::time::Duration;

/// Takes `bytes` for a port spec, if they are text.
pub fn port_spec(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let spec = match PortSpec::parse(text) {
        Ok(spec) => spec,
        Err(error) => return assert!(matches!(error, Error::PortSpec { .. }), "{error:?}"),
    };
    assert_eq!(spec.text(), text);
    assert!(!spec.name.is_empty() && !spec.name.contains('\0'));
    assert!(spec.scheme.is_none_or(|scheme| text.starts_with(&format!("{scheme}:"))));
    for scheme in SCHEMES {
        let understood = PortSpec::parse_for(text, scheme).is_ok();
        assert_eq!(understood, spec.scheme.is_none_or(|mine| mine == scheme));
    }

    // Divided, each part is a spec of its own for the same port, and no option is lost or doubled.
    let (rest, mine) = spec.split_options(&Plan::OPTIONS);
    for part in [&rest, &mine] {
        assert_eq!((part.scheme, &part.name), (spec.scheme, &spec.name));
        assert_eq!(&PortSpec::parse(part.text()).expect("a part of a good spec"), part);
    }
    assert!(rest.options().finish().is_ok() || rest.text().contains('?'));
    let mut known = mine.options();
    for key in Plan::OPTIONS {
        let _ = known.raw(key);
    }
    known.finish().expect("these options only");
    assert_eq!(rest.split_options(&Plan::OPTIONS).0, rest);

    // Every kind of value, out of whatever stands there.
    for key in ["x", "a", "frames", "loss", "delay", "queues", "mode"] {
        let takers: [fn(&mut Options<'_>, &'static str) -> Result<()>; 8] = [
            |o, key| o.text(key).map(|text| assert_ne!(text, Some(""))),
            |o, key| o.switch(key).map(drop),
            |o, key| o.number(key, 2..=1000u16).map(|n| assert!(n.is_none_or(|n| (2..=1000).contains(&n)))),
            |o, key| o.number(key, 0..=u64::MAX).map(drop),
            |o, key| o.one_of(key, &[("driver", 1), ("generic", 2)]).map(drop),
            |o, key| o.probability(key).map(|p| assert!(p.is_none_or(|p| (0.0..=1.0).contains(&p)))),
            |o, key| o.duration(key).map(drop),
            |o, key| {
                o.list(key, 4095)
                    .map(|list| assert!(list.is_none_or(|l| !l.is_empty() && l.iter().all(|n| *n <= 4095))))
            },
        ];
        for take in takers {
            match take(&mut spec.options(), key) {
                Ok(()) => {}
                Err(Error::BadOption { option, .. }) => assert_eq!(option, key),
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    // A plan of faults, written down and read again.
    let mut plan = Plan::default();
    if plan.take(&mut mine.options()).is_err() {
        return;
    }
    let again = PortSpec::parse(&format!("mem:a?{plan}"));
    let exact = [plan.rx.delay, plan.rx.jitter, plan.rx.hold].iter().all(|time| *time < Duration::from_nanos(1 << 50));
    if plan.rx == plan.tx && exact {
        let mut replayed = Plan::default();
        replayed.take(&mut again.expect("a plan as options").options()).expect("its own options");
        assert_eq!((replayed.rx, replayed.tx, replayed.seed), (plan.rx, plan.tx, plan.seed));
    }
}
