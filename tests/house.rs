//! The plan of the house, checked: arrows between rooms point down only, and `unsafe` lives where it is said to live.
//!
//! Reads the sources as text. Comments and strings do not count; tests inside `src/` do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each room with those it may know. `docs/architecture.md` has the figure.
const ROOMS: &[(&str, &[&str])] = &[
    ("errors", &[]),
    // The two halves of one contract: a token finds its pool, a pool makes tokens.
    ("api", &["errors", "pool"]),
    ("pool", &["errors", "api"]),
    ("capture", &[]),
    ("mem", &["errors", "api", "pool"]),
    ("pcap", &["errors", "api", "pool", "capture"]),
    ("af_xdp", &["errors", "api", "pool"]),
    ("netmap", &["errors", "api", "pool"]),
    ("dpdk", &["errors", "api", "pool"]),
    ("any", &["errors", "api", "pool", "mem", "pcap", "af_xdp", "netmap", "dpdk"]),
    ("wire", &["errors"]),
    ("stack", &["errors", "api", "pool", "wire"]),
    // The driver takes its time from the same clock as simulated wires.
    ("host", &["errors", "api", "pool", "capture", "mem", "any", "wire", "stack"]),
    // Of the engine it knows the names only: ids, events, options, errors.
    ("kernel", &["errors", "stack"]),
    ("net", &["errors", "api", "any", "stack", "host", "kernel"]),
    ("usockets", &["errors", "net"]),
];

/// Arrows that point up all the same: file, room, reason.
const EXCEPTIONS: &[(&str, &[&str], &str)] = &[
    (
        "src/api/metadata.rs",
        &["mem", "pcap", "af_xdp", "netmap", "dpdk"],
        "`MetadataType` is documented as an enum over the backends' own types",
    ),
    ("src/errors.rs", &["netmap"], "`Error::Netmap` is documented as a variant that wraps netmap's own error"),
];

/// Files with `unsafe` in them, each with `#![allow(unsafe_code)]`; everywhere else the compiler refuses it.
const UNSAFE: &[&str] = &[
    "src/af_xdp/mmap.rs",             // rings mapped from the kernel
    "src/af_xdp/program/sys.rs",      // libbpf
    "src/af_xdp/ring.rs",             // memory shared with the kernel
    "src/af_xdp/ring/tests.rs",       // the same, with a double of the kernel
    "src/af_xdp/rx.rs",               // frames come out of a ring as tokens
    "src/af_xdp/sys.rs",              // system calls
    "src/af_xdp/tx.rs",               // frames go into a ring
    "src/any/context.rs",             // a context that points into its socket
    "src/api/context.rs",             // the contract between pools and payloads
    "src/api/link/linux.rs",          // ioctl and netlink
    "src/api/link/names.rs",          // if_nametoindex
    "src/api/payload.rs",             // a token's bytes
    "src/api/token.rs",               // `Token::new`, and the way home
    "src/dpdk/attach.rs",             // devices are probed, rings made
    "src/dpdk/burst.rs",              // mbufs to and from a driver
    "src/dpdk/device.rs",             // the control calls of a port
    "src/dpdk/eal.rs",                // EAL is started
    "src/dpdk/log.rs",                // a stream for DPDK's log
    "src/dpdk/mbuf.rs",               // fields of an mbuf
    "src/dpdk/pool.rs",               // mbufs lent as frames
    "src/dpdk/ready.rs",              // timers and receive interrupts
    "src/dpdk/thread.rs",             // ids of threads
    "src/host/wait.rs",               // ppoll
    "src/kernel/mmsg.rs",             // sendmmsg, recvmmsg
    "src/kernel/sys.rs",              // system calls
    "src/mem/wire.rs",                // frames pass through an inbox
    "src/netmap/buffers.rs",          // packets are copied into buffers
    "src/netmap/emulation/kring.rs",  // slots, as the kernel sees them
    "src/netmap/emulation/region.rs", // memory laid out as the kernel lays it out
    "src/netmap/layout.rs",           // what the kernel wrote, checked
    "src/netmap/ring.rs",             // memory shared with the kernel
    "src/netmap/rx.rs",               // buffers come out of a ring as tokens
    "src/netmap/sock.rs",             // a pool on that memory
    "src/netmap/sys.rs",              // system calls
    "src/netmap/tests.rs",            // vandalism in rings
    "src/netmap/tx.rs",               // buffers go into a ring
    "src/pcap/ffi.rs",                // libpcap
    "src/pool/memory.rs",             // the allocator, mmap
    "src/pool/mod.rs",                // frames cut out of memory
    "src/pool/registry.rs",           // the contract with pools outside
    "src/pool/shown.rs",              // frames lent where they lie
];

/// The files of this crate's library, by their path from the root.
fn sources() -> BTreeMap<String, String> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    walk(&root.join("src"), &mut files);
    assert!(files.len() > 30, "only {} files found", files.len());
    let name = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
    files.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

/// The text without comments and without what stands in strings and characters.
fn code(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let (mut out, mut i) = (String::with_capacity(text.len()), 0);
    let at = |i: usize| bytes.get(i).copied().unwrap_or('\0');
    while i < bytes.len() {
        match (at(i), at(i + 1)) {
            ('/', '/') => {
                while i < bytes.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            ('/', '*') => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= bytes.len() {
                        break;
                    }
                }
            }
            ('r', '"' | '#') if !at(i.wrapping_sub(1)).is_alphanumeric() && at(i.wrapping_sub(1)) != '_' => {
                let hashes = (i + 1..).take_while(|k| at(*k) == '#').count();
                if at(i + 1 + hashes) != '"' {
                    // A raw identifier.
                    out.push('r');
                    i += 1;
                    continue;
                }
                i += 2 + hashes;
                while i < bytes.len() && !(at(i) == '"' && (1..=hashes).all(|k| at(i + k) == '#')) {
                    i += 1;
                }
                i += 1 + hashes;
                out.push_str("\"\"");
            }
            ('"', _) => {
                i += 1;
                while i < bytes.len() && at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                i += 1;
                out.push_str("\"\"");
            }
            ('\'', '\\') => {
                i += 3;
                while i < bytes.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            ('\'', _) if at(i + 2) == '\'' => i += 3,
            (c, _) => {
                out.push(c);
                i += 1;
            }
        }
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The first names of paths that begin at `text`: one, or those of a `{…}` list.
fn first_names(text: &str) -> Vec<&str> {
    let Some(list) = text.strip_prefix('{') else {
        return vec![&text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]];
    };
    let (mut names, mut depth, mut fresh) = (Vec::new(), 0, true);
    for (i, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if is_word(c) && depth == 0 && fresh => {
                names.extend(first_names(&list[i..]));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

/// The room a file is in: its folder or name under `src`.
fn room(file: &str) -> &str {
    let inside = file.strip_prefix("src/").unwrap();
    inside.split('/').next().unwrap().trim_end_matches(".rs")
}

/// How many `super::` lead from a file's module to the crate.
fn depth(file: &str) -> usize {
    let parts = file.split('/').count() - 1;
    if file.ends_with("/mod.rs") { parts - 1 } else { parts }
}

/// Rooms that the code of a file names.
fn known_by(file: &str, code: &str) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    let mut add = |names: Vec<&str>| known.extend(names.into_iter().map(str::to_owned));
    for (at, _) in code.match_indices("crate::") {
        if !code[..at].ends_with(is_word) {
            add(first_names(&code[at + "crate::".len()..]));
        }
    }
    for (at, _) in code.match_indices("super::") {
        if code[..at].ends_with("super::") {
            continue;
        }
        let mut rest = &code[at..];
        let mut climbed = 0;
        while let Some(next) = rest.strip_prefix("super::") {
            (rest, climbed) = (next, climbed + 1);
        }
        if climbed >= depth(file) {
            // Out of the room, unless a module inside the file began it: then no room has that name.
            add(first_names(rest));
        }
    }
    known.into_iter().map(|name| if name == "Error" || name == "Result" { "errors".to_owned() } else { name }).collect()
}

#[test]
fn arrows_point_down() {
    let rooms: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for (file, text) in sources() {
        if file == "src/lib.rs" {
            continue;
        }
        let room = room(&file);
        let Some(may) = rooms.get(room) else {
            wrong.push(format!(
                "{file}: room `{room}` is not in the plan: enter it in this test and in docs/architecture.md"
            ));
            continue;
        };
        let excepted = EXCEPTIONS.iter().find(|(name, ..)| *name == file).map_or(&[][..], |(_, rooms, _)| rooms);
        for name in known_by(&file, &code(&text)) {
            let name = name.as_str();
            if !rooms.contains_key(name) || name == room || may.contains(&name) {
                continue;
            }
            if excepted.contains(&name) {
                used.insert((file.clone(), name.to_owned()));
                continue;
            }
            wrong.push(format!("{file}: `{room}` must not know `{name}`"));
        }
    }
    assert!(wrong.is_empty(), "arrows that point up or sideways:\n{}", wrong.join("\n"));
    for (file, rooms, reason) in EXCEPTIONS {
        for room in *rooms {
            assert!(used.contains(&((*file).to_owned(), (*room).to_owned())), "needless: {file} -> {room} ({reason})");
        }
    }
}

#[test]
fn unsafe_lives_where_it_is_said_to_live() {
    let keyword = |code: &str| {
        code.match_indices("unsafe")
            .any(|(at, word)| !code[..at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word))
    };
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for (file, text) in sources() {
        let code = code(&text);
        let allowed = code.contains("#![allow(unsafe_code)]");
        let relaxed =
            code.replace("#![allow(unsafe_code)]", "").replace("#![forbid(unsafe_code)]", "").contains("unsafe_code");
        if relaxed || keyword(&code) != allowed {
            wrong.push(file.clone());
        }
        if allowed {
            found.push(file);
        }
    }
    assert!(
        wrong.is_empty(),
        "`unsafe` needs `#![allow(unsafe_code)]` at the top of its file, no other form, and not without need: {wrong:#?}"
    );
    assert_eq!(found, UNSAFE, "the list in this test is what reviewers look at first");
}

/// What this test understands of Rust, on a few lines of it.
#[test]
fn the_reader_reads() {
    let text = r##"
        use crate::api::{Socket, Token}; // crate::wrong1
        use crate::{errors::Error, pool::{Pool, registry}, mem};
        /* crate::wrong2 /* nested */ crate::wrong3 */
        fn f<'a>(x: &'a str) -> crate::Result<char> { "crate::wrong4 \" crate::wrong5"; r#"crate::wrong6 " "#; '"' ; '\''; Ok('\u{1F}') }
        use super::super::any::Sock;
        use super::inside;
        mycrate::wrong7::x();
    "##;
    let known: Vec<String> = known_by("src/api/link/linux.rs", &code(text)).into_iter().collect();
    assert_eq!(known, ["api", "errors", "mem", "pool"], "two climbs stay in the room");
    let known = known_by("src/api/link.rs", &code(text));
    assert!(known.contains("any") && !known.contains("inside"), "two climbs lead out of it");
    assert_eq!((depth("src/errors.rs"), depth("src/api/mod.rs"), depth("src/pool/free/tests.rs")), (1, 1, 3));
    assert_eq!((room("src/errors.rs"), room("src/api/link/mod.rs")), ("errors", "api"));
}
