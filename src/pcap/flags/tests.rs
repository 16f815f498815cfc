use super::*;

fn read(text: &str) -> Result<(PcapFlags, Port)> {
    let mut flags = PcapFlags::default();
    let port = settle(&PortSpec::parse_for(text, "pcap")?, &mut flags)?;
    Ok((flags, port))
}

fn live(text: &str) -> (PcapFlags, LiveOptions) {
    match read(text) {
        Ok((flags, Port::Live(options))) => (flags, options),
        Ok(_) => panic!("{text} is no interface"),
        Err(error) => panic!("{text}: {error}"),
    }
}

#[test]
fn defaults_are_those_documented() {
    let (flags, options) = live("pcap:eth0");
    let PcapFlags { snaplen, promiscuous, timeout_ms, immediate, filter, buffer_size, buffer_count } = flags;
    assert_eq!((snaplen, promiscuous, timeout_ms, immediate), (65535, true, 1, true));
    assert_eq!((filter, buffer_size, buffer_count), (None, 2048, 32));
    assert_eq!((options.kernel_buffer, options.direction, options.nanos), (None, None, false));
}

#[test]
fn every_option_ends_in_its_flag() {
    let (flags, options) = live(
        "eth0?snaplen=96&promisc=off&timeout=2500us&immediate=off&filter=tcp port 80&buffer_size=4Ki&buffers=1k&kernel_buffer=8Mi&direction=both&nano",
    );
    assert_eq!((flags.snaplen, flags.promiscuous, flags.timeout_ms, flags.immediate), (96, false, 3, false));
    assert_eq!((flags.filter.as_deref(), flags.buffer_size, flags.buffer_count), (Some("tcp port 80"), 4096, 1000));
    assert_eq!((options.kernel_buffer, options.direction, options.nanos), (Some(8 << 20), Some(Direction::Both), true));
    assert_eq!(live("eth0?timeout=1ns").0.timeout_ms, 1, "never none at all");
    assert_eq!(live("eth0?filter=ether[0] %26 1 = 0").0.filter.as_deref(), Some("ether[0] & 1 = 0"));
}

#[test]
fn a_port_is_what_its_name_and_options_say() {
    enum Is {
        Live,
        Read,
        Write(Format, bool, bool),
    }
    use Is::{Live, Read, Write};
    for (text, wanted) in [
        ("eth0", Live),
        ("enp1s0f0.100", Live),
        ("trace.pcap", Read),
        ("trace.PcapNg", Read),
        ("trace.cap", Read),
        ("./eth0", Read),
        ("/tmp/x", Read),
        ("trace?file", Read),
        ("x.pcap?file=off", Live),
        ("x?write", Write(Format::Pcap, false, true)),
        ("x.pcapng?write", Write(Format::PcapNg, false, true)),
        ("x.pcapng?append", Write(Format::PcapNg, true, true)),
        ("x.pcap?write&format=pcapng", Write(Format::PcapNg, false, true)),
        ("x.pcap?append&nano=off", Write(Format::Pcap, true, false)),
        ("x.pcap?write=off", Read),
    ] {
        let agrees = match (read(text).map(|(_, port)| port), wanted) {
            (Ok(Port::Live(_)), Live) | (Ok(Port::Read), Read) => true,
            (Ok(Port::Write(got)), Write(format, append, nanos)) => {
                (got.format, got.append, got.nanos) == (format, append, nanos)
            }
            _ => false,
        };
        assert!(agrees, "{text}");
    }
}

#[test]
fn a_name_on_windows_is_no_path() {
    assert!(matches!(read(r"pcap:\Device\NPF_{4FD4-01}"), Ok((_, Port::Live(_)))));
}

#[test]
fn what_has_no_meaning_is_refused() {
    for (text, word) in [
        ("eth0?format=pcap", "unknown option `format`"),
        ("x.pcap?kernel_buffer=1M", "unknown option `kernel_buffer`"),
        ("x.pcap?nano", "unknown option `nano`"),
        ("x.pcap?write&filter=arp", "unknown option `filter`"),
        ("eth0?kernel_buffer=1", "kernel_buffer=1"),
        ("eth0?buffer_size=13", "14 to 262144"),
        ("eth0?buffers=0", "buffers=0"),
        ("eth0?snaplen=262145", "1 to 262144"),
        ("eth0?promisc=perhaps", "on or off"),
        ("eth0?filter", "filter"),
        ("eth0?write=off&append=off&file=off&speed=1", "unknown option `speed`"),
    ] {
        match read(text) {
            Ok(_) => panic!("{text} is accepted"),
            Err(error) => assert!(error.to_string().contains(word), "{text}: {error}"),
        }
    }
}
