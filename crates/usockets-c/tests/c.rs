//! The library as C programs see it: what the header says, and what programs do.
//!
//! Every program in `tests/*.c` and `examples/*.c` is compiled against the header and the static library that a build of
//! this package leaves, and run; those that take a network, on each.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Warnings are errors: the header must give none.
const WARNINGS: &[&str] = &["-Wall", "-Wextra", "-pedantic", "-Werror"];

/// Networks, and the address that a program has on each. `NAME` is replaced, so that two programs do not meet.
const NETWORKS: &[(&str, &str)] =
    &[("kernel", "127.0.0.1"), ("mem:NAME?ip=10.0.0.1/24", "10.0.0.1"), ("mem:NAME?ip=10.0.0.1/24", "127.0.0.1")];

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where this test was built: the libraries are beside it.
fn built() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().to_owned()
}

/// The folder with `libusockets.a` and `libusockets.so`. `cargo test` alone does not leave them where others find them.
fn libraries() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = built();
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let mut features = Vec::new();
        for (name, on) in [
            ("af_xdp", cfg!(feature = "af_xdp")),
            ("netmap", cfg!(feature = "netmap")),
            ("pcap", cfg!(feature = "pcap")),
        ] {
            if on {
                features.push(name);
            }
        }
        let mut cargo = Command::new(env!("CARGO"));
        // What is set for this test would make build scripts run again.
        for (name, _) in std::env::vars() {
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                cargo.env_remove(name);
            }
        }
        let status = cargo
            .args(["build", "--package", "usockets-c", "--profile", profile, "--no-default-features", "--features"])
            .arg(features.join(","))
            .arg("--target-dir")
            .arg(folder.parent().unwrap())
            .current_dir(here())
            .status()
            .unwrap();
        assert!(status.success(), "cannot build the library");
        folder
    })
}

/// A folder for what one test makes.
fn scratch(name: &str) -> PathBuf {
    let folder = built().join("usockets-c-tests").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs a command and returns what it said; it must succeed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    said
}

/// Compiles a program in C or C++ against the static library.
fn compile(source: &Path, to: &Path, more: &[&str]) -> PathBuf {
    let program = to.join(source.file_stem().unwrap());
    let (compiler, standard) = if source.extension().is_some_and(|suffix| suffix == "cc") {
        ("c++", "-std=c++17")
    } else {
        ("cc", "-std=c11")
    };
    let mut cc = Command::new(compiler);
    cc.args([standard, "-D_GNU_SOURCE", "-g", "-O1"]).args(WARNINGS).args(more);
    cc.arg("-I").arg(here().join("include")).arg(source).arg("-o").arg(&program);
    cc.arg(libraries().join("libusockets.a")).args(system_libraries());
    run(&mut cc);
    program
}

/// What the library needs of the system, as its pkg-config file says.
fn system_libraries() -> Vec<&'static str> {
    let mut all = vec!["-lpthread", "-ldl", "-lm"];
    if cfg!(feature = "af_xdp") {
        all.extend(["-lelf", "-lz"]);
    }
    if cfg!(feature = "pcap") {
        all.push("-lpcap");
    }
    all
}

/// Compiles a program of `tests/` and runs it on every network.
fn program(name: &str, more: &[&str]) {
    let folder = scratch(&format!("{name}{}", more.concat()));
    let mut source = here().join("tests").join(name).with_extension("c");
    if !source.exists() {
        source.set_extension("cc");
    }
    let program = compile(&source, &folder, more);
    std::thread::scope(|scope| {
        for (number, (network, address)) in NETWORKS.iter().enumerate() {
            let (program, wire) = (&program, format!("c-{name}-{}{number}", more.len()));
            let network = network.replace("NAME", &wire);
            scope.spawn(move || {
                // Undefined behaviour ends the program as errors of memory do.
                let mut command = Command::new("timeout");
                command.env("CERTIFICATES", scratch("certificates"));
                command.env("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1");
                run(command.arg("--signal=ABRT").arg("300").arg(program).arg(&network).arg(address))
            });
        }
    });
}

const SANITIZED: &[&str] = &["-fsanitize=address,undefined", "-fno-omit-frame-pointer"];

#[test]
fn the_order_of_events() {
    program("order", &[]);
}

#[test]
fn the_order_of_events_sanitized() {
    program("order", SANITIZED);
}

/// One after the other: each is a load for the machine.
fn hammer(more: &[&str]) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    certificates();
    program("hammer", more);
}

#[test]
fn hammering() {
    hammer(&[]);
}

#[test]
fn hammering_sanitized() {
    hammer(SANITIZED);
}

#[test]
fn threads() {
    program("threads", &[]);
}

#[test]
fn threads_sanitized() {
    program("threads", SANITIZED);
}

#[test]
fn descriptors() {
    program("descriptors", &[]);
}

#[test]
fn descriptors_sanitized() {
    program("descriptors", SANITIZED);
}

#[test]
fn hammering_tls() {
    hammer(&["-DTLS"]);
}

#[test]
fn hammering_tls_sanitized() {
    hammer(&[SANITIZED, &["-DTLS"]].concat());
}

#[test]
fn loops_of_threads() {
    program("cleaner", &[]);
}

#[test]
fn loops_of_threads_sanitized() {
    program("cleaner", SANITIZED);
}

#[test]
fn packets() {
    program("udp", &[]);
}

#[test]
fn packets_sanitized() {
    program("udp", SANITIZED);
}

#[test]
fn secure() {
    certificates();
    program("tls", &[]);
}

#[test]
fn secure_sanitized() {
    certificates();
    program("tls", SANITIZED);
}

/// Makes keys and certificates, and tells programs where they are: an authority, what it has issued for names and clients,
/// and what nobody has.
fn certificates() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = scratch("certificates");
        let openssl = |arguments: &str| {
            run(Command::new("openssl").args(arguments.split_whitespace()).current_dir(&folder));
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority -days 30"));
        for (name, alt) in [("server", ""), ("client", ""), ("one", "DNS:one.test"), ("two", "DNS:*.two.test")] {
            // An extension makes it a certificate of X.509 version 3.
            let names = if alt.is_empty() { String::new() } else { format!("-addext subjectAltName={alt}") };
            openssl(&format!(
                "req {key} -keyout {name}.key -out {name}.csr -subj /CN={name} -addext basicConstraints=CA:FALSE {names}"
            ));
            openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 30 \
                 -copy_extensions copyall"
            ));
        }
        openssl(&format!("req -x509 {key} -keyout self.key -out self.pem -subj /CN=self -days 30"));
        openssl("pkcs8 -topk8 -in server.key -out locked.key -passout pass:1234");
        folder
    })
}

#[test]
fn a_program_of_2019() {
    program("compat2019", &[]);
}

#[test]
fn a_program_of_2019_sanitized() {
    program("compat2019", SANITIZED);
}

/// The header alone, in each language that a program may be written in, and in both years.
#[test]
fn the_header_compiles_without_a_warning() {
    let folder = scratch("header");
    for (compiler, standard, suffix) in
        [("cc", "c99", "c"), ("cc", "c11", "c"), ("c++", "c++17", "cc"), ("c++", "c++20", "cc")]
    {
        for year in ["", "#define LIBUS_COMPAT_2019\n"] {
            let source = folder.join(format!("header.{suffix}"));
            // Twice: it guards itself.
            let include = "#include <libusockets.h>\n";
            std::fs::write(&source, format!("{year}{include}{include}int main(void) {{ return 0; }}\n")).unwrap();
            let mut command = Command::new(compiler);
            command
                .arg(format!("-std={standard}"))
                .args(WARNINGS)
                .args(["-Wstrict-prototypes"].iter().filter(|_| suffix == "c"));
            command.arg("-I").arg(here().join("include")).arg("-fsyntax-only").arg(&source);
            run(&mut command);
        }
    }
}

/// Sizes and values that programs are compiled with.
#[test]
fn sizes_and_constants_are_those_of_the_interface() {
    let folder = scratch("constants");
    let facts = r#"
        #include <libusockets.h>
        #include <stddef.h>
        #define FACT(name, fact) typedef char name[(fact) ? 1 : -1]
        FACT(options_size, sizeof(struct us_socket_context_options_t) == 56);
        FACT(options_memory, offsetof(struct us_socket_context_options_t, ssl_prefer_low_memory_usage) == 48);
        FACT(buffer, LIBUS_RECV_BUFFER_LENGTH == 512 * 1024);
        FACT(padding, LIBUS_RECV_BUFFER_PADDING == 32);
        FACT(granularity, LIBUS_TIMEOUT_GRANULARITY == 4);
        FACT(alignment, LIBUS_EXT_ALIGNMENT == 16);
        FACT(shared, LIBUS_LISTEN_DEFAULT == 0);
        FACT(exclusive, LIBUS_LISTEN_EXCLUSIVE_PORT == 1);
        FACT(readable, LIBUS_SOCKET_READABLE == 1);
        FACT(writable, LIBUS_SOCKET_WRITABLE == 4);
        FACT(descriptor, sizeof(LIBUS_SOCKET_DESCRIPTOR) == sizeof(int));
    "#;
    let source = folder.join("constants.c");
    std::fs::write(&source, facts).unwrap();
    run(Command::new("cc").args(["-std=c11", "-fsyntax-only", "-I"]).arg(here().join("include")).arg(source));
}

/// The functions that the preprocessed header declares.
fn declared(defines: &[&str]) -> BTreeSet<String> {
    let mut cc = Command::new("cc");
    cc.args(["-E", "-P", "-x", "c"]).args(defines).arg(here().join("include/libusockets.h"));
    let text = run(&mut cc);
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices("us_") {
        let name: String = text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let before = text[..at].chars().next_back();
        let is_word = before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_word && text[at + name.len()..].starts_with('(') {
            names.insert(name);
        }
    }
    assert!(names.len() > 40, "{names:?}");
    names
}

/// The functions that a library defines.
fn defined(library: &str, how: &str) -> BTreeSet<String> {
    let text = run(Command::new("nm").args([how, "--defined-only"]).arg(libraries().join(library)));
    let last = |line: &str| line.split_whitespace().last().unwrap_or_default().to_owned();
    text.lines().filter(|line| line.contains(" T ")).map(last).filter(|name| name.starts_with("us_")).collect()
}

/// Symbols that upstream's programs declare themselves.
const UNDECLARED: &[&str] = &["us_internal_timer_sweep"];

#[test]
fn the_header_declares_what_the_libraries_define() {
    let mut all = declared(&[]);
    all.extend(declared(&["-DLIBUS_COMPAT_2019"]));
    all.extend(UNDECLARED.iter().map(|name| (*name).to_owned()));
    assert_eq!(all, defined("libusockets.so", "--dynamic"));
    assert_eq!(all, defined("libusockets.a", "--extern-only"));
}

/// The functions of the header of 2019.
const OF_2019: &[&str] = &[
    "us_create_loop",
    "us_loop_free",
    "us_loop_ext",
    "us_loop_run",
    "us_wakeup_loop",
    "us_loop_integrate",
    "us_loop_iteration_number",
    "us_create_socket_context",
    "us_socket_context_free",
    "us_socket_context_on_open",
    "us_compat2019_socket_context_on_close",
    "us_socket_context_on_data",
    "us_socket_context_on_writable",
    "us_socket_context_on_timeout",
    "us_socket_context_on_end",
    "us_socket_context_ext",
    "us_socket_context_listen",
    "us_listen_socket_close",
    "us_compat2019_socket_context_connect",
    "us_socket_context_loop",
    "us_socket_context_adopt_socket",
    "us_create_child_socket_context",
    "us_socket_write",
    "us_socket_timeout",
    "us_socket_ext",
    "us_socket_context",
    "us_socket_flush",
    "us_socket_shutdown",
    "us_socket_is_shut_down",
    "us_socket_is_closed",
    "us_compat2019_socket_close",
    "us_socket_remote_address",
    "us_create_timer",
    "us_timer_ext",
    "us_timer_close",
    "us_timer_set",
    "us_timer_loop",
    "us_create_poll",
    "us_poll_free",
    "us_poll_init",
    "us_poll_start",
    "us_poll_change",
    "us_poll_stop",
    "us_poll_events",
    "us_poll_ext",
    "us_poll_fd",
    "us_poll_resize",
];

#[test]
fn a_program_of_2019_sees_the_interface_of_2019() {
    let expected: BTreeSet<_> = OF_2019.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(declared(&["-DLIBUS_COMPAT_2019"]), expected);
}

/// A server that was started, and ends with this.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// Compiles an example and starts it on any port. Its first line says which.
    fn start(name: &str, arguments: &[&str]) -> Self {
        let source = here().join("examples").join(name).with_extension("c");
        // A folder each: an example may be compiled for one test while it runs in another.
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let folder = scratch(&format!("examples-{}", STARTED.fetch_add(1, Ordering::Relaxed)));
        let program = compile(&source, &folder, &[]);
        let mut command = Command::new(program);
        command.env_remove("NETHUNS_NET").arg("0").args(arguments).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.split_whitespace().skip_while(|word| *word != "port").nth(1);
        let port = port.and_then(|port| port.parse().ok());
        assert!(line.contains("(kernel)"), "{line}");
        let port = port.unwrap_or_else(|| panic!("{name} says {line:?}"));
        Self { process, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, which the test has noticed then.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn example_echo() {
    let server = Server::start("echo", &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let much: Vec<u8> = (0..5_000_000_u32).map(|i| (i % 251) as u8).collect();
    let mut writer = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&much).unwrap();
        });
        // The server has to wait for us first.
        std::thread::sleep(Duration::from_millis(200));
        let mut back = vec![0; much.len()];
        stream.read_exact(&mut back).unwrap();
        assert!(back == much);
    });
}

#[test]
fn example_http() {
    let server = Server::start("http", &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let request = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    // Two at once and one in pieces; the last ends the connection.
    stream.write_all(format!("{request}{request}GET /").as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    stream.write_all(b" HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3);
    assert_eq!(answers.matches("Hello, world!").count(), 3);
}

#[test]
fn example_https() {
    let folder = certificates();
    let (certificate, key) = (folder.join("server.pem"), folder.join("server.key"));
    let server = Server::start("http", &[certificate.to_str().unwrap(), key.to_str().unwrap()]);
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-verify_return_error", "-CAfile"])
        .arg(folder.join("ca.pem"))
        .args(["-connect", &format!("127.0.0.1:{}", server.port)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    client.stdin.as_mut().unwrap().write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let output = client.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("Hello, world!"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn example_udp() {
    let server = Server::start("udp", &[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for text in ["first", "", "third"] {
        socket.send_to(text.as_bytes(), ("127.0.0.1", server.port)).unwrap();
        let mut buffer = [0; 100];
        let (length, _) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], text.as_bytes());
    }
}

#[test]
fn example_timers() {
    let program = compile(&here().join("examples/timers.c"), &scratch("examples"), &[]);
    let said = run(&mut Command::new(program));
    let words: Vec<_> = said.lines().filter_map(|line| line.split([',', ' ']).next()).collect();
    assert_eq!(words.iter().filter(|word| **word == "tick").count(), 5, "{said}");
    assert_eq!(words.iter().filter(|word| **word == "once").count(), 1, "{said}");
    assert_eq!(words.last(), Some(&"done"));
}

/// Every example is one of those that a test runs.
#[test]
fn all_examples_are_tested() {
    let mut found: Vec<_> = std::fs::read_dir(here().join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, ["echo.c", "http.c", "timers.c", "udp.c"]);
}

/// What is written is delivered, though the program ends within the callback that has closed the socket.
#[test]
fn a_program_that_exits_delivers() {
    let program = compile(&here().join("tests/exits.c"), &scratch("exits"), &[]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut child = Command::new(program).args(["kernel", "127.0.0.1", &port]).spawn().unwrap();
    let mut got = Vec::new();
    listener.accept().unwrap().0.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), 200_000);
    assert!(child.wait().unwrap().success());
}

/// What the install script leaves is what a program finds, shared and static.
#[test]
fn installed_it_is_found() {
    libraries();
    let prefix = scratch("installed");
    let profile = if built().ends_with("debug") { "dev" } else { "release" };
    let mut script = Command::new(here().join("install.sh"));
    script.env("PREFIX", &prefix).env("PROFILE", profile).env("CARGO_TARGET_DIR", built().parent().unwrap());
    for (name, _) in std::env::vars() {
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            script.env_remove(name);
        }
    }
    run(&mut script);
    let library = prefix.join("lib");
    for how in [&["--cflags", "--libs"][..], &["--cflags", "--libs", "--static"]] {
        let mut pkg_config = Command::new("pkg-config");
        pkg_config.env("PKG_CONFIG_PATH", library.join("pkgconfig")).args(how).arg("libusockets");
        let flags = run(&mut pkg_config);
        let program = prefix.join(format!("timers{}", how.len()));
        let mut cc = Command::new("cc");
        cc.args(WARNINGS).arg(here().join("examples/timers.c")).arg("-o").arg(&program);
        if how.len() == 3 {
            // The linker prefers the shared library where it finds both.
            cc.args(flags.replace("-lusockets", "-l:libusockets.a").split_whitespace());
        } else {
            cc.args(flags.split_whitespace());
        }
        run(&mut cc);
        let mut command = Command::new(&program);
        if how.len() == 2 {
            command.env("LD_LIBRARY_PATH", &library);
        }
        assert!(run(&mut command).ends_with("done\n"));
        let needed = run(Command::new("objdump").arg("-p").arg(&program));
        assert_eq!(needed.contains("libusockets.so"), how.len() == 2, "{needed}");
    }
}

/// Files with `unsafe` in them: all that C calls, and the memory that it is given.
const UNSAFE: &[&str] = &[
    "compat.rs",
    "context.rs",
    "event_loop.rs",
    "memory.rs",
    "network.rs",
    "poll.rs",
    "socket.rs",
    "timer.rs",
    "tls.rs",
    "told.rs",
    "udp.rs",
];

#[test]
fn unsafe_lives_where_it_is_said_to_live() {
    let mut found: Vec<_> = std::fs::read_dir(here().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| std::fs::read_to_string(entry.path()).unwrap().contains("allow(unsafe_code)"))
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, UNSAFE);
}
