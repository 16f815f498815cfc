//! The scripts of `tests/tcp_scripts`, and the language they are written in.

use super::Script;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tcp_scripts")
}

/// All scripts, by their path below the folder.
fn scripts() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("the folder of scripts") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "script") {
                found.push(path);
            }
        }
    }
    let (root, mut found) = (folder(), Vec::new());
    walk(&root, &mut found);
    found.sort();
    let name = |path: &Path| path.strip_prefix(&root).expect("below it").display().to_string();
    found.iter().map(|path| (name(path), std::fs::read_to_string(path).expect("a script"))).collect()
}

fn run(text: &str) -> Result<(), String> {
    let script = Script::parse(text)?;
    catch_unwind(AssertUnwindSafe(|| script.run())).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        Err(format!(
            "panicked: {}",
            said.or_else(|| Some((*panic.downcast_ref::<&str>()?).to_owned())).unwrap_or_default()
        ))
    })
}

/// Runs every script, or those whose name contains `NETHUNS_SCRIPT`.
#[test]
fn scripts_hold() {
    let only = std::env::var("NETHUNS_SCRIPT").unwrap_or_default();
    let (mut ran, mut failed) = (0, Vec::new());
    for (name, text) in scripts().iter().filter(|(name, _)| name.contains(&only)) {
        ran += 1;
        if let Err(why) = run(text) {
            failed.push(format!("{name}: {why}"));
        }
    }
    assert!(ran > 0, "no script is called {only:?}");
    assert!(failed.is_empty(), "{} of {ran} scripts fail:\n\n{}\n", failed.len(), failed.join("\n\n"));
}

#[test]
fn all_scripts_can_be_read() {
    let scripts = scripts();
    assert!(scripts.len() >= 100, "only {} scripts", scripts.len());
    for (name, text) in &scripts {
        if let Err(why) = Script::parse(text) {
            panic!("{name}: {why}");
        }
        assert!(text.starts_with("# "), "{name} does not begin by saying what it shows");
    }
}

#[test]
fn what_is_no_script_is_refused_with_its_line() {
    for (text, why) in [
        ("listen\n+0 < S 0:0(0) ack 1 win 5", "line 2: ack N and the flag '.' go together"),
        ("< S 0:1(0) win 5", "from 0 to 1 is not 0 bytes"),
        ("< . 1:1(0) ack 1", "says win N"),
        ("< X 0:0(0) win 1", "no flag"),
        ("config nothing", "config NAME VALUE"),
        ("+x listen", "no time"),
        ("frobnicate 7", "no such call"),
        ("< S 0:0(0) win 1 <mss>", "no option"),
        ("read 5 =", "= what"),
        ("> F. 1:3(2)/1 ack 1", "only plain data"),
    ] {
        let error = Script::parse(text).expect_err(text);
        assert!(error.contains(why), "{text:?}: {error}");
    }
}

/// A harness that cannot fail proves nothing: each of these differs from what the engine does in one thing.
#[test]
fn a_wrong_expectation_is_found() {
    let opening = "listen\n< S 0:0(0) win 1000 <mss 1000>\n";
    let rest = "> S. 0:0(0) ack 1 <mss 1460>\n< . 1:1(0) ack 1 win 1000\naccept\n";
    run(&format!("{opening}{rest}")).expect("the right script");
    for (wrong, why) in [
        ("> S. 0:0(0) ack 2", "different acknowledgement"),
        ("> S 0:0(0)", "different flags"),
        ("> S. 0:0(0) ack 1 <mss 1461>", "different options"),
        ("> S. 0:0(0) ack 1 <mss 1460,nop>", "different options"),
        ("> S. 0:0(0) ack 1 win 1", "different window"),
        ("+0.5 > S. 0:0(0) ack 1", "expected between"),
        ("+0.5 none", "nobody expected"),
        ("> S. 0:0(0) ack 1\n+0.01 > . 1:1(0) ack 1", "nothing came until"),
        ("> S. 0:0(0) ack 1\naccept", "came WouldBlock"),
        ("b> S. 0:0(0) ack 1", "expected 10.0.0.1:80"),
    ] {
        let error = run(&format!("{opening}{wrong}\n")).expect_err(wrong);
        assert!(error.contains(why), "{wrong:?}: {error}");
    }
    let opened = format!("{opening}{rest}");
    for (wrong, why) in [
        ("state SynSent", "is Established"),
        ("counter tcp.resets_sent = 1", "is 0"),
        ("read = end", "came WouldBlock"),
        ("write 10\n> P. 1:12(11) ack 1", "different sequence numbers"),
        ("write 10", "nobody expected"),
        ("clean", "left"),
        ("< . 1:11(10) ack 1 win 1000 garbled\n+0..1 > . 1:1(0) ack 11\nread 10", "a wrong byte at 0"),
    ] {
        let error = run(&format!("{opened}{wrong}\n")).expect_err(wrong);
        assert!(error.contains(why), "{wrong:?}: {error}");
    }
}
