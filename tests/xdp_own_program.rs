//! XDP programs of the user's own: object files, pinned programs, maps handed over.
#![cfg(all(target_os = "linux", feature = "af_xdp"))]

mod common;

use common::bpffs::Bpffs;
use common::caps::{NET_RAW, with_only};
use common::netns::{Lab, run};
use common::skip;
use common::xdp::{expect, frame, open};
use common::xsk::RawXsk;
use nethuns_rs::af_xdp::inspect;
use nethuns_rs::af_xdp::program::{Program, Request, Source};
use nethuns_rs::api::{Attach, Socket};
use nethuns_rs::{Error, Result};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// What each source begins with: the few declarations of `bpf_helpers.h` that are used here.
const HEAD: &str = r#"
#define SEC(name) __attribute__((section(name), used))
#define MAP(type_, name, entries) struct { int (*type)[type_]; int (*key_size)[4]; int (*value_size)[4]; \
    int (*max_entries)[entries]; } name SEC(".maps")
#define XSKMAP 17
#define ARRAY 2
struct xdp_md { unsigned data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
static long (*bpf_redirect_map)(void *map, unsigned long long key, unsigned long long flags) = (void *)51;
char _license[] SEC("license") = "Dual BSD/GPL";
"#;

/// Takes frames of ethertype 0x88b5 only.
const TAKES_88B5: &str = r#"
MAP(XSKMAP, xsks_map, 1);
SEC("xdp") int take(struct xdp_md *ctx) {
    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 14 > end || data[12] != 0x88 || data[13] != 0xb5) return 2;
    return bpf_redirect_map(&xsks_map, ctx->rx_queue_index, 2);
}
"#;

/// A folder of compiled objects, removed on drop.
struct Objects(PathBuf);

impl Objects {
    /// `None`, and a line that says so, without a compiler for BPF.
    fn new(test: &str) -> Option<Self> {
        if Command::new("clang").arg("--version").output().is_err() {
            skip(test, "clang is not installed");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("nethuns-objects-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Some(Self(folder))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn compile(&self, name: &str, source: &str) -> PathBuf {
        let (c, object) = (self.file(&format!("{name}.c")), self.file(&format!("{name}.o")));
        std::fs::write(&c, format!("{HEAD}{source}")).unwrap();
        run("clang", &format!("-O2 -g -target bpf -c {} -o {}", c.display(), object.display()));
        object
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn object(path: &Path, program: Option<&str>, map: Option<&str>) -> Source {
    Source::Object { path: path.to_owned(), program: program.map(Into::into), map: map.map(Into::into) }
}

fn attach(source: &Source) -> Result<Arc<Program>> {
    Program::attach(&Request::new("va", source)?)
}

fn nothing_attached() {
    assert_eq!(inspect("va").unwrap().attached, []);
}

/// An error's text, all of whose needles are there.
fn says(error: &Error, needles: &[&str]) {
    let text = error.to_string();
    for needle in needles {
        assert!(text.contains(needle), "`{text}` does not say `{needle}`");
    }
}

#[test]
fn an_object_file_feeds_a_socket() {
    const TEST: &str = "an_object_file_feeds_a_socket";
    let Some(objects) = Objects::new(TEST) else { return };
    let Some(lab) = Lab::enter(TEST) else { return };
    lab.veth("va", "vb", 2);
    let path = objects.compile("take", TAKES_88B5);
    let receiver = open(&format!("af_xdp:va?program={}", path.display()));
    assert_eq!(receiver.mode().attach, Some(Attach::Driver));
    let notes = receiver.mode().notes;
    assert!(notes.iter().any(|note| note == "XSKMAP `xsks_map` made larger, from 1 slots to 2"), "{notes:?}");
    let info = inspect("va").unwrap();
    assert_eq!(info.attached[0].name.as_deref(), Some("take"));
    let sender = open("af_xdp:vb");
    for number in 0..4 {
        // What the program does not take goes to the kernel.
        let mut other = frame(number, 60);
        other[13] = 0xb6;
        sender.send(&other).unwrap();
        sender.send(&frame(number, 60)).unwrap();
    }
    sender.flush();
    expect(&receiver, 4, 60);
    assert!(receiver.recv().is_err());
    drop(receiver);
    nothing_attached();
}

#[test]
fn programs_and_maps_are_chosen_by_name() {
    const TEST: &str = "programs_and_maps_are_chosen_by_name";
    let Some(objects) = Objects::new(TEST) else { return };
    let Some(lab) = Lab::enter(TEST) else { return };
    lab.veth("va", "vb", 1);
    let path = objects.compile(
        "several",
        r#"
MAP(XSKMAP, first, 4); MAP(XSKMAP, second, 4); MAP(ARRAY, counts, 4);
SEC("xdp") int one(struct xdp_md *ctx) { return bpf_redirect_map(&first, 0, 2); }
SEC("xdp") int two(struct xdp_md *ctx) { return bpf_redirect_map(&second, 0, 2); }
SEC("xdp.frags") int three(struct xdp_md *ctx) { return bpf_redirect_map(&second, 0, 2); }
SEC("tc") int four(void *ctx) { return 0; }
"#,
    );
    for (program, expected) in [("one", "one"), ("two", "two"), ("xdp.frags", "three")] {
        let attached = attach(&object(&path, Some(program), Some("second"))).unwrap();
        assert_eq!(inspect("va").unwrap().attached[0].name.as_deref(), Some(expected));
        drop(attached);
        nothing_attached();
    }
    let list = "`one` in section `xdp`, `two` in section `xdp`, `three` in section `xdp.frags`";
    for (program, map, needles) in [
        (None, Some("first"), ["there are several XDP programs in it, name one", list]),
        (Some("four"), Some("first"), ["there is no XDP program or section `four`", list]),
        (Some("xdp"), Some("first"), ["several programs are in section `xdp`, choose by name", list]),
        (Some("one"), None, ["there are several XSKMAPs in it, name one", "`first`, `second`"]),
        (Some("one"), Some("third"), ["there is no map `third` in it", "`first`, `second`"]),
        (Some("one"), Some("counts"), ["map `counts` is no XSKMAP", "`first`, `second`"]),
    ] {
        let error = attach(&object(&path, program, map)).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
        says(&error, &needles);
    }
    // Packets of several buffers need a program that says it takes them.
    let jumbo = |program| {
        let source = object(&path, Some(program), Some("second"));
        Program::attach(&Request { multi_buffer: true, ..Request::new("va", &source).unwrap() })
    };
    says(&jumbo("one").unwrap_err(), &["program `one` is in section `xdp`", "SEC(\"xdp.frags\")"]);
    drop(jumbo("three").unwrap());
    nothing_attached();
}

#[test]
fn what_is_no_program_is_told() {
    const TEST: &str = "what_is_no_program_is_told";
    let Some(objects) = Objects::new(TEST) else { return };
    let Some(lab) = Lab::enter(TEST) else { return };
    lab.veth("va", "vb", 1);
    let text = objects.file("text.o");
    std::fs::write(&text, "int main() {}").unwrap();
    let no_program =
        objects.compile("no_program", "MAP(XSKMAP, xsks_map, 4);\nSEC(\"tc\") int filter(void *ctx) { return 0; }");
    let no_map =
        objects.compile("no_map", "MAP(ARRAY, counts, 4);\nSEC(\"xdp\") int pass(struct xdp_md *ctx) { return 2; }");
    let broken = objects.compile(
        "broken",
        r#"
MAP(XSKMAP, xsks_map, 4);
SEC("xdp") int peek(struct xdp_md *ctx) { return *(unsigned char *)(long)ctx->data; }
"#,
    );
    for (path, needles) in [
        (objects.file("missing.o"), ["missing.o: the object file cannot be read", "clang -O2 -g -target bpf"]),
        (text, ["it is no ELF object", "clang -O2 -g -target bpf"]),
        (std::env::current_exe().unwrap(), ["it is an object for a processor", "not for BPF"]),
        (no_program, ["there is no XDP program in it, only `filter` in section `tc`", "SEC(\"xdp\")"]),
        (no_map, ["there is no map of type BPF_MAP_TYPE_XSKMAP", "maps in it: `counts`"]),
        (broken, ["the kernel does not load it", "invalid access to packet"]),
    ] {
        let error = attach(&object(&path, None, None)).unwrap_err();
        says(&error, &needles);
        nothing_attached();
    }
    let ours = objects.compile("take", TAKES_88B5);
    let error = with_only(&[NET_RAW], || attach(&object(&ours, None, None)).unwrap_err());
    says(&error, &["va: load ", "take.o: not permitted", "CAP_NET_ADMIN and CAP_BPF are missing"]);
}

/// Pins the crate's own program, as any other could be.
fn pin_program(program: &Program, path: &Path) {
    libbpf_rs::ProgramHandle::from_prog_id(program.prog_id().unwrap()).unwrap().pin(path).unwrap();
}

#[test]
fn what_is_pinned_is_attached() {
    const TEST: &str = "what_is_pinned_is_attached";
    let Some(lab) = Lab::enter(TEST) else { return };
    let Some(bpffs) = Bpffs::mount(TEST) else { return };
    lab.veth("va", "vb", 1);
    let (program_path, map_path) = (bpffs.path().join("program"), bpffs.path().join("map"));
    let ours = attach(&Source::default()).unwrap();
    let id = ours.prog_id();
    pin_program(&ours, &program_path);
    ours.pin_map(&map_path).unwrap();
    says(&ours.pin_map(&map_path).unwrap_err(), &["map is busy", "`sudo rm "]);
    says(
        &ours.pin_map(&std::env::temp_dir().join("nethuns-no-bpffs")).unwrap_err(),
        &["not on a bpffs", "mount -t bpf"],
    );
    says(&ours.pin_map(&bpffs.path().join("no/such")).unwrap_err(), &["no such file or folder"]);
    drop(ours);
    nothing_attached();

    let source = Source::Pinned { program: program_path.clone(), map: map_path.clone() };
    let pinned = attach(&source).unwrap();
    assert_eq!((pinned.attached(), pinned.prog_id()), (Attach::Driver, id));
    pinned.insert(0, RawXsk::new().unwrap().as_fd()).unwrap();
    drop(pinned);
    nothing_attached();

    // A whole socket, by its port spec.
    let spec = format!("af_xdp:va?pinned_program={}&xsk_map={}", program_path.display(), map_path.display());
    let (receiver, sender) = (open(&spec), open("af_xdp:vb"));
    sender.send(&frame(0, 60)).unwrap();
    sender.flush();
    expect(&receiver, 1, 60);
    drop(receiver);
    nothing_attached();

    let pinned = |program: &Path, map: &Path| attach(&Source::Pinned { program: program.into(), map: map.into() });
    says(&pinned(&map_path, &map_path).unwrap_err(), &["is no XDP program"]);
    says(&pinned(&program_path, &program_path).unwrap_err(), &["BPF_MAP_TYPE_XSKMAP is needed"]);
    says(&pinned(&program_path, &bpffs.path().join("nothing")).unwrap_err(), &["nothing: there is no such file"]);
    says(&pinned(Path::new("/etc/passwd"), &map_path).unwrap_err(), &["/etc/passwd", "not on a bpffs"]);
    nothing_attached();
}

/// A privileged process attaches and pins; one that may do no more than open a raw socket receives.
#[test]
fn a_map_handed_over_needs_no_rights() {
    const TEST: &str = "a_map_handed_over_needs_no_rights";
    let Some(lab) = Lab::enter(TEST) else { return };
    let Some(bpffs) = Bpffs::mount(TEST) else { return };
    lab.veth("va", "vb", 1);
    let path = bpffs.path().join("xsks");
    let source = Source::Steer("ether:0x88b5".parse().unwrap());
    let daemon = attach(&source).unwrap();
    daemon.pin_map(&path).unwrap();
    let by_path = Source::PinnedMap(path.clone());
    let by_descriptor = Source::Map(Arc::new(daemon.map().try_clone_to_owned().unwrap()));
    with_only(&[NET_RAW], || {
        for source in [&by_path, &by_descriptor] {
            let program = attach(source).unwrap();
            assert_eq!((program.attached(), program.prog_id()), (Attach::External, None));
            let socket = RawXsk::new().unwrap();
            program.insert(0, socket.as_fd()).unwrap();
            // Another socket is refused while this one is there; dropping the program leaves its slot alone.
            let again = attach(source).unwrap().insert(0, RawXsk::new().unwrap().as_fd());
            says(&again.unwrap_err(), &["queue 0 of va is busy"]);
        }
        // A program of its own is out of the question.
        let own = Program::attach(&Request::new("vb", &Source::default()).unwrap());
        says(&own.unwrap_err(), &["CAP_NET_ADMIN and CAP_BPF are missing"]);
    });
    // The frames of the attached program arrive, others do not.
    // Few frames: memory of a process without rights is bounded (`ulimit -l`).
    let spec = format!("af_xdp:va?frames=1024&frame_size=2048&rx=256&tx=256&xsk_map={}", path.display());
    let receiver = with_only(&[NET_RAW], || open(&spec));
    assert_eq!(receiver.mode().attach, Some(Attach::External));
    let sender = open("af_xdp:vb");
    sender.send(&frame(0, 60)).unwrap();
    sender.flush();
    expect(&receiver, 1, 60);
    drop(receiver);
    // Still the daemon's.
    assert_eq!(inspect("va").unwrap().attached.len(), 1);
    drop(daemon);
    nothing_attached();

    let array = libbpf_rs::MapHandle::create(
        libbpf_rs::MapType::Array,
        Some("counts"),
        4,
        4,
        1,
        &libbpf_rs::libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_rs::libbpf_sys::bpf_map_create_opts>() as libbpf_rs::libbpf_sys::size_t,
            ..Default::default()
        },
    )
    .unwrap();
    let wrong = Source::Map(Arc::new(array.as_fd().try_clone_to_owned().unwrap()));
    says(&attach(&wrong).unwrap_err(), &["a map of another type", "BPF_MAP_TYPE_XSKMAP is needed"]);
    let no_map = Source::Map(Arc::new(std::fs::File::open("/dev/null").unwrap().into()));
    says(&attach(&no_map).unwrap_err(), &["it is no BPF map"]);
}
