//! What `doctor` finds on interfaces made for it.

use crate::common::netns::{self, Lab};
use crate::common::skip;
use crate::run::{open, run, start, tool};

#[test]
fn doctor_sees_what_stands_in_the_way() {
    let Some(lab) = Lab::enter("tools: doctor") else { return };
    lab.veth("va", "vb", 1);
    let examine = |args: &[&str]| {
        let ended = run("doctor", &[args, &["--json"]].concat());
        let lines = ended.lines();
        let verdict = lines.last().expect("a verdict")["severity"].clone();
        (ended.code(), verdict, lines)
    };
    let says = |lines: &[serde_json::Value], severity: &str, texts: &[&str]| {
        let text = |line: &serde_json::Value| format!("{} {}", line["text"], line["fix"]);
        let found = |line: &&serde_json::Value| {
            line["severity"] == severity && texts.iter().all(|wanted| text(line).contains(wanted))
        };
        assert!(lines.iter().any(|line| found(&line)), "no {severity} with {texts:?} in {lines:#?}");
    };
    let (_, _, lines) = examine(&[]);
    let subjects = |name| lines.iter().filter(|line| line["subject"] == name).count();
    assert!(subjects("va") > 0 && subjects("vb") > 0 && subjects("lo") == 0, "{lines:#?}");
    says(&lines, "ok", &["MTU 1500", "1 receive queue"]);

    // Offloads: the very line that ends what is complained of.
    let (_, _, lines) = examine(&["va"]);
    says(&lines, "note", &["TSO", "sudo ethtool -K va tso off"]);
    netns::run("ethtool", "-K va tso off");
    let (_, _, lines) = examine(&["va"]);
    assert!(lines.iter().all(|line| line["fix"] != "sudo ethtool -K va tso off"), "{lines:#?}");

    if cfg!(feature = "af_xdp") {
        let meter = open("meter", &["af_xdp:vb"], 1);
        let (code, verdict, lines) = examine(&["vb"]);
        assert_eq!((code, verdict), (Some(10), "warning".into()), "{lines:#?}");
        says(&lines, "warning", &["XDP program", "driver mode", "(meter)"]);
        meter.interrupt().end().good();
        let (_, _, lines) = examine(&["vb"]);
        says(&lines, "ok", &["no XDP program attached"]);
    }

    // Without a right that the backends need.
    if std::process::Command::new("setpriv").arg("--version").output().is_err() {
        return skip("tools: doctor without rights", "setpriv is not installed");
    }
    let binary = tool("doctor");
    let binary = binary.to_str().expect("a path of text");
    let ended = start("setpriv", &["--bounding-set=-net_raw", binary, "va", "--json"]).end();
    assert_eq!(ended.code(), Some(20), "{}\n{}", ended.out, ended.err);
    says(
        &ended.lines(),
        "problem",
        &[if cfg!(feature = "af_xdp") { "--cap-add=NET_RAW" } else { "setcap cap_net_raw+ep" }],
    );
}
