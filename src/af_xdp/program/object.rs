//! Programs of the user's own: compiled object files, and what is pinned.

use super::{Loaded, Request, explain, sys};
use crate::errors::{Error, Result};
use libbpf_rs::{ErrorKind, MapType, ObjectBuilder, OpenObject, PrintCallback, PrintLevel, ProgramType};
use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The name that the XSKMAP has by convention.
const USUAL_MAP: &str = "xsks_map";
/// How a program is compiled.
const COMPILE: &str = "compile it with `clang -O2 -g -target bpf -c FILE.c`";
/// `e_machine` of BPF objects.
const EM_BPF: u16 = 247;

/// Loads one program of an object file and its map.
pub fn load(request: &Request<'_>, path: &Path, program: Option<&str>, map: Option<&str>) -> Result<Loaded> {
    check_file(path)?;
    let (opened, log) = captured(|| ObjectBuilder::default().open_file(path));
    let mut object =
        opened.map_err(|error| refused(path, &format!("it cannot be opened ({error}): {}", last_words(&log))))?;
    let (program, section) = choose_program(path, &object, program)?;
    if request.multi_buffer && !section.starts_with("xdp.frags") {
        return Err(refused(
            path,
            &format!(
                "program `{program}` is in section `{section}`, which takes packets of one buffer: for jumbo write \
                 SEC(\"xdp.frags\")"
            ),
        ));
    }
    let map = choose_map(path, &object, map)?;
    let mut notes = Vec::new();
    for mut other in object.progs_mut().filter(|other| other.name() != program.as_str()) {
        other.set_autoload(false);
    }
    for mut ours in object.maps_mut().filter(|ours| ours.name() == map.as_str()) {
        let slots = ours.max_entries();
        if slots < request.queues && ours.set_max_entries(request.queues).is_ok() {
            notes.push(format!("XSKMAP `{map}` made larger, from {slots} slots to {}", request.queues));
        }
    }
    let (loaded, log) = captured(|| object.load());
    let object = loaded.map_err(|error| {
        let rejected = log.contains("PROG LOAD LOG");
        match error.kind() {
            ErrorKind::PermissionDenied if !rejected => {
                explain::permission(&format!("{}: load {}", request.ifname, path.display()))
            }
            _ => refused(path, &format!("the kernel does not load it ({error}): {}", last_words(&log))),
        }
    })?;
    let find = |what: &str| refused(path, &format!("{what} is gone after loading"));
    let program = object.progs().find(|p| p.name() == program.as_str()).ok_or_else(|| find("the program"))?;
    let map = object.maps().find(|m| m.name() == map.as_str()).ok_or_else(|| find("the map"))?;
    use libbpf_rs::MapCore;
    Ok(Loaded { program: program.as_fd().try_clone_to_owned()?, map: map.as_fd().try_clone_to_owned()?, notes })
}

/// Opens a pinned program and its map.
pub fn open_pinned(request: &Request<'_>, program: &Path, map: &Path) -> Result<Loaded> {
    let fd = sys::open_pinned(program).map_err(|error| explain::pinned("open the pinned program", program, error))?;
    let is_xdp = |info: libbpf_rs::libbpf_sys::bpf_prog_info| info.type_ == libbpf_rs::libbpf_sys::BPF_PROG_TYPE_XDP;
    if !sys::program_info(fd.as_fd()).is_ok_and(is_xdp) {
        return Err(Error::unsupported(
            format!("{}: {}", request.ifname, request.source),
            format!("what is pinned at {} is no XDP program", program.display()),
        ));
    }
    let map = sys::open_pinned(map).map_err(|error| explain::pinned("open the pinned XSKMAP", map, error))?;
    Ok(Loaded { program: fd, map, notes: Vec::new() })
}

fn refused(path: &Path, why: &str) -> Error {
    Error::unsupported(format!("program {}", path.display()), why)
}

/// Tells what a file is before libbpf stumbles over it.
fn check_file(path: &Path) -> Result<()> {
    let missing = |error: std::io::Error| Error::NoSuchPort {
        port: path.display().to_string(),
        problem: format!("the object file cannot be read ({error}): {COMPILE}"),
    };
    let mut head = Vec::new();
    File::open(path).map_err(missing)?.take(20).read_to_end(&mut head).map_err(missing)?;
    if !head.starts_with(b"\x7fELF") || head.len() < 20 {
        return Err(refused(path, &format!("it is no ELF object: {COMPILE}")));
    }
    let machine = [head[18], head[19]];
    // Byte 5 tells the byte order: 1 is little.
    let machine = if head[5] == 1 { u16::from_le_bytes(machine) } else { u16::from_be_bytes(machine) };
    if machine != EM_BPF {
        return Err(refused(
            path,
            &format!("it is an object for a processor (number {machine}), not for BPF: {COMPILE}"),
        ));
    }
    Ok(())
}

/// The name and section of the program that was asked for.
fn choose_program(path: &Path, object: &OpenObject, wanted: Option<&str>) -> Result<(String, String)> {
    let mut others = Vec::new();
    let mut programs: Vec<(String, String)> = Vec::new();
    for program in object.progs() {
        let [name, section] = [program.name(), program.section()].map(|text| text.to_string_lossy().into_owned());
        // Programs for device and CPU maps cannot be attached to an interface.
        if program.prog_type() == ProgramType::Xdp && !section.contains("devmap") && !section.contains("cpumap") {
            programs.push((name, section));
        } else {
            others.push(format!("`{name}` in section `{section}`"));
        }
    }
    if programs.is_empty() {
        let found = if others.is_empty() { String::new() } else { format!(", only {}", others.join(", ")) };
        return Err(refused(
            path,
            &format!("there is no XDP program in it{found}: mark the function with SEC(\"xdp\")"),
        ));
    }
    let list = || {
        programs.iter().map(|(name, section)| format!("`{name}` in section `{section}`")).collect::<Vec<_>>().join(", ")
    };
    let Some(wanted) = wanted else {
        return match <[_; 1]>::try_from(programs.clone()) {
            Ok([only]) => Ok(only),
            Err(_) => Err(refused(path, &format!("there are several XDP programs in it, name one: {}", list()))),
        };
    };
    let named = programs.iter().find(|(name, _)| name == wanted);
    let mut in_section = programs.iter().filter(|(_, section)| section == wanted);
    match (named, in_section.next(), in_section.next()) {
        (Some(found), _, _) | (None, Some(found), None) => Ok(found.clone()),
        (None, Some(_), Some(_)) => {
            Err(refused(path, &format!("several programs are in section `{wanted}`, choose by name: {}", list())))
        }
        (None, None, _) => {
            Err(refused(path, &format!("there is no XDP program or section `{wanted}` in it; there is {}", list())))
        }
    }
}

/// The name of the XSKMAP that was asked for.
fn choose_map(path: &Path, object: &OpenObject, wanted: Option<&str>) -> Result<String> {
    let maps: Vec<(String, bool)> = object
        .maps()
        .map(|map| (map.name().to_string_lossy().into_owned(), map.map_type() == MapType::Xskmap))
        .collect();
    let names = |only_xsk: bool| {
        let names: Vec<String> =
            maps.iter().filter(|(_, xsk)| *xsk || !only_xsk).map(|(name, _)| format!("`{name}`")).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    if let Some(wanted) = wanted {
        return match maps.iter().find(|(name, _)| name == wanted) {
            Some((name, true)) => Ok(name.clone()),
            Some((_, false)) => {
                Err(refused(path, &format!("map `{wanted}` is no XSKMAP; XSKMAPs in it: {}", names(true))))
            }
            None => Err(refused(path, &format!("there is no map `{wanted}` in it; XSKMAPs in it: {}", names(true)))),
        };
    }
    let xsk: Vec<&str> = maps.iter().filter(|(_, xsk)| *xsk).map(|(name, _)| name.as_str()).collect();
    match xsk.as_slice() {
        [] => Err(refused(
            path,
            &format!(
                "there is no map of type BPF_MAP_TYPE_XSKMAP in it to put sockets into (maps in it: {}): declare one and \
                 redirect with bpf_redirect_map(&{USUAL_MAP}, ctx->rx_queue_index, XDP_PASS)",
                names(false)
            ),
        )),
        [only] => Ok((*only).to_owned()),
        several if several.contains(&USUAL_MAP) => Ok(USUAL_MAP.to_owned()),
        _ => Err(refused(path, &format!("there are several XSKMAPs in it, name one: {}", names(true)))),
    }
}

/// The end of what libbpf has to say, on one line: causes stand last.
fn last_words(log: &str) -> String {
    let boring = |line: &&str| !line.is_empty() && !line.contains("PROG LOAD LOG") && !line.starts_with("processed ");
    let lines: Vec<&str> = log.lines().map(str::trim).filter(boring).collect();
    lines[lines.len().saturating_sub(10)..].join(" | ")
}

thread_local! {
    /// What libbpf says to this thread while [`captured`] runs.
    static LOG: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Where other threads' messages go meanwhile; libbpf has one callback per process.
static PREVIOUS: Mutex<Option<(PrintLevel, PrintCallback)>> = Mutex::new(None);
/// One capture at a time.
static CAPTURE: Mutex<()> = Mutex::new(());

/// Runs `work` and returns what libbpf said to this thread on the way, instead of having it printed.
fn captured<R>(work: impl FnOnce() -> R) -> (R, String) {
    /// Puts the callback back, also when `work` panics.
    struct Restore;
    impl Drop for Restore {
        fn drop(&mut self) {
            let previous = *PREVIOUS.lock().unwrap_or_else(PoisonError::into_inner);
            libbpf_rs::set_print(previous);
        }
    }
    let _alone = CAPTURE.lock().unwrap_or_else(PoisonError::into_inner);
    LOG.set(Some(String::new()));
    let previous = libbpf_rs::set_print(Some((PrintLevel::Info, collect)));
    *PREVIOUS.lock().unwrap_or_else(PoisonError::into_inner) = previous;
    let restore = Restore;
    let result = work();
    drop(restore);
    (result, LOG.take().unwrap_or_default())
}

fn collect(level: PrintLevel, message: String) {
    let others = LOG.with_borrow_mut(|log| match log {
        Some(log) => {
            log.push_str(&message);
            None
        }
        None => Some(message),
    });
    let previous = *PREVIOUS.lock().unwrap_or_else(PoisonError::into_inner);
    let previous = previous.filter(|(least, _)| level <= *least);
    if let (Some(message), Some((_, callback))) = (others, previous) {
        callback(level, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libbpf_says_is_captured_on_the_thread_that_asked() {
        let path = std::env::temp_dir().join(format!("nethuns-object-{}", std::process::id()));
        std::fs::write(&path, [b"\x7fELF\x02\x01\x01".as_slice(), &[0; 11], &EM_BPF.to_le_bytes(), &[0; 64]].concat())
            .unwrap();
        let (opened, log) = captured(|| ObjectBuilder::default().open_file(&path).err());
        let (_, nothing) = captured(|| ());
        std::fs::remove_file(&path).unwrap();
        assert!(opened.is_some() && log.contains("libbpf"), "{log}");
        assert_eq!(nothing, "");
    }

    #[test]
    fn the_last_words_are_kept() {
        let log = "libbpf: prog 'x': BPF program load failed: -EACCES\n-- BEGIN PROG LOAD LOG --\n0: (95) exit\nR0 \
                   !read_ok\nprocessed 1 insns\n-- END PROG LOAD LOG --\n";
        assert_eq!(last_words(log), "libbpf: prog 'x': BPF program load failed: -EACCES | 0: (95) exit | R0 !read_ok");
        let long: String = (0..100).map(|i| format!("{i}\n")).collect();
        assert!(last_words(&long).starts_with("90 | 91"));
    }
}
