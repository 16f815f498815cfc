use super::*;

fn spec(text: &str) -> PortSpec {
    PortSpec::parse(text).unwrap_or_else(|e| panic!("{e}"))
}

fn refusal(text: &str) -> String {
    match PortSpec::parse(text) {
        Err(error @ Error::PortSpec { .. }) => error.to_string(),
        other => panic!("{text:?}: {other:?}"),
    }
}

#[test]
fn scheme_and_name() {
    for (text, scheme, name) in [
        ("mem:a", Some("mem"), "a"),
        ("pcap:eth0", Some("pcap"), "eth0"),
        ("af_xdp:eth0", Some("af_xdp"), "eth0"),
        ("netmap:eth0", Some("netmap"), "eth0"),
        ("dpdk:0000:01:00.0", Some("dpdk"), "0000:01:00.0"),
        ("eth0", None, "eth0"),
        ("eth0.100", None, "eth0.100"),
        ("0000:01:00.0", None, "0000:01:00.0"),
        (r"C:\trace.pcap", None, r"C:\trace.pcap"),
        ("pcap:C:/trace.pcap", Some("pcap"), "C:/trace.pcap"),
        ("Pcap:eth0", None, "Pcap:eth0"),
        ("mem:mem:a", Some("mem"), "mem:a"),
        ("mem:with spaces/and=signs&more", Some("mem"), "with spaces/and=signs&more"),
        ("dpdk:net_af_packet0,iface=veth1", Some("dpdk"), "net_af_packet0,iface=veth1"),
        ("pcap:what%3F.pcap", Some("pcap"), "what?.pcap"),
        ("pcap:100%.pcap", Some("pcap"), "100%.pcap"),
        ("pcap:%zz%4", Some("pcap"), "%zz%4"),
        ("mem:%C3%A9t%C3%A9", Some("mem"), "été"),
        ("mem:été", Some("mem"), "été"),
    ] {
        let parsed = spec(text);
        assert_eq!((parsed.scheme, &*parsed.name, parsed.text()), (scheme, name, text));
        parsed.options().finish().unwrap();
    }
}

#[test]
fn refusals_name_the_spec_and_the_trouble() {
    for (text, trouble) in [
        ("", "the name is missing"),
        ("mem:", "the name is missing"),
        ("mem:?frames=4", "the name is missing"),
        ("?", "the name is missing"),
        ("mem:a?", "an option has no name"),
        ("mem:a?&", "an option has no name"),
        ("mem:a?x=1&", "an option has no name"),
        ("mem:a?=1", "an option has no name"),
        ("mem:a?x=1&x=2", "option `x` is given twice"),
        ("mem:a?x&%78", "option `x` is given twice"),
        ("mem:a\0", "NUL"),
        ("mem:a%00", "NUL"),
        ("mem:a?x=%00", "NUL"),
        ("mem:a?%00", "NUL"),
        ("mem:%ff", "does not decode to text"),
        ("mem:a?x=%c3", "does not decode to text"),
    ] {
        let error = refusal(text);
        assert!(error.contains(trouble) && error.starts_with(&format!("port spec `{text}`: ")), "{text:?}: {error}");
    }
}

#[test]
fn a_backend_refuses_what_is_for_another() {
    assert_eq!(PortSpec::parse_for("eth0", "pcap").unwrap().name, "eth0");
    assert_eq!(PortSpec::parse_for("pcap:eth0", "pcap").unwrap().name, "eth0");
    let error = PortSpec::parse_for("af_xdp:eth0", "pcap").unwrap_err().to_string();
    assert!(error.contains("af_xdp") && error.contains("nethuns_rs::any"), "{error}");
}

#[test]
fn options_are_taken_once_and_the_rest_is_refused() {
    let parsed = spec("mem:a?on&off=no&n=5&word=b&p=2.5%25&t=1.5ms&list=0-2,1,7&text=a=b%26c");
    let mut options = parsed.options();
    assert_eq!(options.switch("on").unwrap(), Some(true));
    assert_eq!(options.switch("off").unwrap(), Some(false));
    assert_eq!(options.switch("absent").unwrap(), None);
    assert_eq!(options.number("n", 0..=5u8).unwrap(), Some(5));
    assert_eq!(options.one_of("word", &[("a", 1), ("b", 2)]).unwrap(), Some(2));
    assert_eq!(options.probability("p").unwrap(), Some(0.025));
    assert_eq!(options.duration("t").unwrap(), Some(Duration::from_micros(1500)));
    assert_eq!(options.list("list", 7).unwrap(), Some(vec![0, 1, 2, 7]));
    assert_eq!(options.text("text").unwrap(), Some("a=b&c"));
    options.finish().unwrap();

    let mut options = parsed.options();
    let _ = options.switch("on");
    let _ = options.switch("also");
    let error = options.finish().unwrap_err().to_string();
    assert!(error.ends_with("unknown option `off`; known here: also, on"), "{error}");
}

#[test]
fn values_out_of_range_name_the_range() {
    type Take = fn(&mut Options<'_>) -> Result<()>;
    let number: Take = |o| o.number("x", 2..=100u32).map(drop);
    let wide: Take = |o| o.number("x", 0..=u64::MAX).map(drop);
    let switch: Take = |o| o.switch("x").map(drop);
    let word: Take = |o| o.one_of("x", &[("a", ()), ("b", ())]).map(drop);
    let probability: Take = |o| o.probability("x").map(drop);
    let duration: Take = |o| o.duration("x").map(drop);
    let list: Take = |o| o.list("x", 63).map(drop);
    let text: Take = |o| o.text("x").map(drop);
    let cases: [(Take, &[&str], &[&str], &str); 8] = [
        (
            number,
            &["x=2", "x=100", "x=002"],
            &["x=1", "x=101", "x=-2", "x=2.0", "x=", "x", "x=2x", "x=5000000000", "x=1G"],
            "2 to 100",
        ),
        (
            wide,
            &["x=0", "x=18446744073709551615", "x=3Ki", "x=9M", "x=2G", "x=1Gi"],
            &["x=18446744073709551616", "x=18446744073709551615k", "x=k", "x=1kk", "x= 1"],
            "a number from 0",
        ),
        (
            switch,
            &["x", "x=on", "x=off", "x=yes", "x=no", "x=true", "x=false", "x=1", "x=0"],
            &["x=", "x=ON", "x=2"],
            "on or off",
        ),
        (word, &["x=a", "x=b"], &["x=c", "x=A"], "one of a, b"),
        (
            probability,
            &["x=0", "x=1", "x=0.5", "x=100%", "x=1e-6", "x=0%"],
            &["x=1.1", "x=-0.1", "x=101%", "x=nan", "x=inf", "x=half", "x=%"],
            "a probability from 0 to 1",
        ),
        (
            duration,
            &["x=0s", "x=10us", "x=10µs", "x=250ns", "x=.5s", "x=1.5ms"],
            &["x=5", "x=s", "x=1h", "x=-1s", "x=1.2.3s", "x=1 s", "x=99999999999999999999999s"],
            "a duration with its unit",
        ),
        (list, &["x=0", "x=63", "x=0-63", "x=3,1,2-2"], &["x=64", "x=3-1", "x=1,", "x=-1", "x=1-", "x=a"], "up to 63"),
        (text, &["x=a", "x= "], &["x", "x="], "a value"),
    ];
    for (take, good, bad, expected) in cases {
        for option in good {
            let parsed = spec(&format!("mem:a?{option}"));
            let mut options = parsed.options();
            take(&mut options).unwrap_or_else(|e| panic!("{option}: {e}"));
            options.finish().unwrap();
        }
        for option in bad {
            let parsed = spec(&format!("mem:a?{option}"));
            match take(&mut parsed.options()) {
                Err(error @ Error::BadOption { option: "x", .. }) => {
                    let text = error.to_string();
                    let missing = text.contains("expected a value");
                    assert!(text.contains(expected) || missing, "{option}: {text}");
                }
                other => panic!("{option}: {other:?}"),
            }
        }
    }
}

#[test]
fn some_options_can_be_split_off() {
    let parsed = spec("pcap:a%3Fb?x=1%26&loss=1%25&y&%6coss2=3");
    let (rest, mine) = parsed.split_options(&["loss", "loss2", "delay"]);
    assert_eq!((rest.text(), mine.text()), ("pcap:a%3Fb?x=1%26&y", "pcap:a%3Fb?loss=1%25&%6coss2=3"));
    for part in [rest, mine] {
        // What is left says the same when it is parsed again.
        assert_eq!(spec(part.text()), part);
    }
    let (rest, mine) = spec("mem:a?loss=1").split_options(&["loss"]);
    assert_eq!((rest.text(), mine.text()), ("mem:a", "mem:a?loss=1"));
    let (rest, mine) = spec("mem:a").split_options(&["loss"]);
    assert_eq!((rest.text(), mine.text()), ("mem:a", "mem:a"));
}

/// Whatever it is given, the parser answers; and what it accepts it accepts again.
#[test]
fn random_specs_are_answered() {
    const PIECES: [&str; 22] = [
        "mem:", "pcap:", "af_xdp:", "a", "eth0", "?", "&", "=", "%", "%3F", "%00", "%ff", "\0", "é", ":", ",", "-",
        "1", "0.5", "loss", "ms", "Ki",
    ];
    let mut state = 7u64;
    let mut next = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let (mut good, mut bad) = (0, 0);
    for _ in 0..20_000 {
        let text: String = (0..next(9)).map(|_| PIECES[next(PIECES.len())]).collect();
        match PortSpec::parse(&text) {
            Ok(parsed) => {
                good += 1;
                assert_eq!(spec(parsed.text()), parsed);
                let (rest, mine) = parsed.split_options(&["loss", "a"]);
                assert_eq!((spec(rest.text()), spec(mine.text())), (rest, mine), "{text:?}");
            }
            Err(Error::PortSpec { .. }) => bad += 1,
            Err(other) => panic!("{text:?}: {other}"),
        }
    }
    assert!(good > 2000 && bad > 2000, "{good} {bad}");
}
