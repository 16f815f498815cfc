//! The program that is measured over veth: one, on the kernel's network or on ours.
//!
//! ```text
//! tcp-server ADDRESS [SPEC]
//! ```
//!
//! Prints a line when it listens, and serves until it is ended. Its ports are those of the classic services, with one more
//! for connections that live for a single request.

mod ports;

use nethuns_rs::errors::Result;
use nethuns_rs::net::{
    Builder, Event, ListenOptions, ListenerId, Net, Reader, Readiness, SocketError, SocketOptions, TcpId,
};
use nethuns_rs::stack::config::CongestionControl;
use ports::{CHARGEN, DISCARD, ECHO, ONCE};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

/// What a connection's listener is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    /// Sends back what comes.
    Echo,
    /// Throws it away.
    Discard,
    /// Sends without end.
    Chargen,
    /// Sends back what comes first, and closes.
    Once,
}

const SERVICES: [(Service, u16); 4] =
    [(Service::Echo, ECHO), (Service::Discard, DISCARD), (Service::Chargen, CHARGEN), (Service::Once, ONCE)];

/// Connections that wait to be accepted, and that there may be at all.
const BACKLOG: usize = 4096;
const SOCKETS: usize = 12_000;

/// What is sent without end, by a call that takes as much as there is room for.
static STREAM: [u8; 256 << 10] = [b'x'; 256 << 10];

struct Server {
    net: Net,
    reader: Reader,
    listeners: Vec<(ListenerId, Service)>,
}

impl Server {
    fn open(address: IpAddr, spec: &str) -> Result<Self> {
        let mut net = Builder::new().spec(spec).build()?;
        net.allow_sockets(SOCKETS)?;
        let socket = SocketOptions { nodelay: true, ..SocketOptions::default() };
        // The same on both networks, whatever this kernel's own choice is.
        let congestion = Some(CongestionControl::Cubic);
        let options = ListenOptions { backlog: BACKLOG, socket, congestion, ..ListenOptions::default() };
        let listeners = SERVICES
            .map(|(service, port)| {
                let id = net.tcp_listen(SocketAddr::new(address, port), &options).expect("a free port");
                (id, service)
            })
            .into();
        Ok(Self { reader: net.reader(), net, listeners })
    }

    fn serve(&mut self) -> Result<()> {
        loop {
            self.net.poll(None)?;
            while let Some(event) = self.net.next_event() {
                match event {
                    Event::Accept(listener) => self.accept(listener),
                    Event::Tcp(id, what) => self.go_on(id, what),
                    Event::Udp(..) | Event::Watch(..) => {}
                }
            }
        }
    }

    fn accept(&mut self, listener: ListenerId) {
        let service = self.listeners.iter().position(|(id, _)| *id == listener).unwrap_or(0);
        while let Ok(id) = self.net.tcp_accept(listener) {
            // Zero, as it is: nothing to be told, and an echo's first word is not looked up.
            if service != 0 {
                self.net.tcp_set_user(id, service as u64);
            }
            if self.listeners[service].1 == Service::Chargen {
                self.go_on(id, Readiness::WRITABLE);
            }
        }
    }

    #[inline]
    fn go_on(&mut self, id: TcpId, what: Readiness) {
        let service = self.net.tcp_user(id).map_or(Service::Echo, |at| self.listeners[at as usize].1);
        let broken = what.contains(Readiness::CLOSED) && self.net.tcp_error(id).is_some();
        if broken || self.take(id, service).is_err() {
            self.net.tcp_close(id);
        }
    }

    fn take(&mut self, id: TcpId, service: Service) -> std::result::Result<(), SocketError> {
        if service == Service::Chargen {
            while self.net.tcp_send(id, &STREAM).is_ok_and(|sent| sent == STREAM.len()) {}
        }
        loop {
            let data = match self.net.tcp_recv(id) {
                Ok(Some(data)) => data,
                Ok(None) => return Err(SocketError::Closed),
                Err(SocketError::WouldBlock) => return Ok(()),
                Err(error) => return Err(error),
            };
            match service {
                Service::Discard | Service::Chargen => continue,
                Service::Echo | Service::Once => {
                    let bytes = self.reader.open(data);
                    // Requests are short and answered one at a time: there is always room for an answer.
                    if self.net.tcp_send(id, &bytes)? != bytes.len() || service == Service::Once {
                        return Err(SocketError::Closed);
                    }
                }
            }
        }
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(address) = args.next().and_then(|address| address.parse().ok()) else {
        eprintln!("usage: tcp-server ADDRESS [SPEC]");
        return ExitCode::FAILURE;
    };
    let outcome = Server::open(address, &args.next().unwrap_or_else(|| "kernel".into())).and_then(|mut server| {
        println!("on {}", server.net.name());
        server.serve()
    });
    if let Err(error) = outcome {
        eprintln!("error: {error}");
    }
    ExitCode::FAILURE
}
