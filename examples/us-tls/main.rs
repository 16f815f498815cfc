//! An HTTPS server with the callbacks of uSockets, over the kernel's sockets or over our own stack on a network card.
//!
//! ```text
//! us-tls --listen 0.0.0.0:8443
//! curl --cacert … https://localhost:8443/
//! us-tls --cert chain.pem --key key.pem --name '*.example.org=other.pem,other.key'
//! NETHUNS_NET='af_xdp:eth0?ip=10.0.0.2/24' us-tls --listen 10.0.0.2:443
//! ```
//!
//! `/` is a greeting, `/bytes/N` a body of N bytes. Without `--cert` it makes a certificate for `localhost` and the address
//! it listens on, which vouches for itself, and says where the file is until the program ends.

#[path = "../common/us.rs"]
mod common;
#[path = "../http/date.rs"]
mod date;
mod own;
#[path = "../http/request.rs"]
mod request;
#[path = "../us-http/session.rs"]
mod session;

use clap::Parser;
use common::{NetArgs, failed};
use date::Date;
use nethuns_rs::usockets::SocketContextOptions;
use nethuns_tools::{Failure, Output, OutputArgs, Record, Stop, args};
use own::OwnCertificate;
use serde::Serialize;
use session::{Answers, Session};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;

/// Seconds of silence after which a connection is closed.
const IDLE: u32 = 60;

/// Serve HTTPS over the kernel's network or our own stack
#[derive(Parser)]
#[command(name = "us-tls", version)]
struct Args {
    /// Where to listen
    #[arg(short, long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// The certificate and those that lead to a root (PEM)
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<String>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<String>,
    /// What opens the key if it is encrypted
    #[arg(long)]
    passphrase: Option<String>,
    /// Ask clients for certificates that these have issued (PEM)
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// Refuse clients without a certificate
    #[arg(long, requires = "ca")]
    require_client_cert: bool,
    /// Allowed ciphers, in OpenSSL's words
    #[arg(long, value_name = "LIST")]
    ciphers: Option<String>,
    /// Show another certificate to clients that ask for such a name
    #[arg(long = "name", value_name = "PATTERN=CERT,KEY")]
    names: Vec<String>,
    /// Spend less memory on connections that are slow
    #[arg(long)]
    low_memory: bool,
    /// Connections that must be possible at once
    #[arg(long, value_name = "N", default_value_t = 16384, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    fn options(&self, cert: &str, key: &str) -> SocketContextOptions {
        SocketContextOptions {
            cert_file_name: Some(cert.to_owned()),
            key_file_name: Some(key.to_owned()),
            passphrase: self.passphrase.clone(),
            ca_file_name: self.ca.clone(),
            require_client_cert: self.require_client_cert,
            ssl_ciphers: self.ciphers.clone(),
            ssl_prefer_low_memory_usage: self.low_memory,
            alpn_protocols: vec!["http/1.1".into()],
            ..Default::default()
        }
    }
}

/// What was served.
#[derive(Debug, Serialize)]
struct Served {
    connections: u64,
    handshakes: u64,
    requests: u64,
}

impl Record for Served {
    const EVENT: &'static str = "summary";

    fn text(&self) -> String {
        let Self { connections, handshakes, requests } = self;
        format!("answered {requests} requests on {connections} connections, {handshakes} of which spoke TLS")
    }
}

/// A connection that was not TLS, or not good enough.
#[derive(Debug, Serialize)]
struct Refused {
    peer: Option<SocketAddr>,
    reason: String,
}

impl Record for Refused {
    const EVENT: &'static str = "refused";

    fn text(&self) -> String {
        let peer = self.peer.map_or("somebody".into(), |peer| peer.to_string());
        format!("{peer}: {}", self.reason)
    }
}

fn main() -> ExitCode {
    args::main("us-tls", run)
}

fn run(args: Args) -> Result<(), Failure> {
    let stop = Stop::on_signal()?;
    let output = Rc::new(Output::new("us-tls", &args.output, &stop)?);
    let own = args.cert.is_none().then(|| OwnCertificate::new(args.listen.ip())).transpose()?;
    let options = match (&own, &args.cert, &args.key) {
        (None, Some(cert), Some(key)) => args.options(cert, key),
        (Some(own), ..) => args.options(&own.cert, &own.key),
        _ => return Err(Failure::new("--cert and --key go together")),
    };
    let loop_ = common::open(&args.net, args.connections as usize)?;
    let https = loop_.create_socket_context::<true, Session>(options).map_err(failed)?;
    for name in &args.names {
        let parts = name.split_once('=').and_then(|(pattern, files)| Some((pattern, files.split_once(',')?)));
        let Some((pattern, (cert, key))) = parts else {
            return Err(Failure::new(format!("`{name}` is not of the form PATTERN=CERT,KEY")));
        };
        https.add_server_name(pattern, &args.options(cert, key)).map_err(failed)?;
    }

    let answers = Rc::new(RefCell::new(Answers::default()));
    let mine = answers.clone();
    loop_.on_pre(move |_| mine.borrow_mut().date.update());
    // Before the handshake: who does not begin it in time is closed, too.
    https.on_open(|socket, _, _| socket.set_timeout(IDLE));
    let mine = answers.clone();
    https.on_data(move |socket, data| {
        socket.set_timeout(IDLE);
        mine.borrow_mut().take(socket, data);
    });
    let mine = answers.clone();
    https.on_writable(move |socket| mine.borrow_mut().go_on(socket));
    https.on_timeout(|socket| socket.close(0));
    let out = output.clone();
    https.on_close(move |socket, _, _| {
        if let Some(reason) = socket.tls_error() {
            out.tell(&Refused { peer: socket.remote_addr(), reason: reason.into() });
        }
    });

    let listener = common::listen(&loop_, &https, args.listen, &output)?;
    if let Some(own) = &own {
        output.tell(own);
    }
    common::on_stop(&loop_, stop, move || {
        listener.close();
        https.close();
        let metrics = https.loop_mut().metrics();
        let requests = answers.borrow().count;
        output.tell(&Served { connections: metrics.accepted, handshakes: metrics.tls_handshakes, requests });
    })?;
    loop_.run().map_err(failed)
}
