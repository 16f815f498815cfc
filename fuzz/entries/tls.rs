//! Any bytes instead of TLS, to a server and to a client, in any pieces: nothing panics, and every connection ends.
//!
//! A loop on a wire in memory has both ends: plain sockets say what the input says, to sockets with TLS.

use nethuns_rs::net::Net;
use nethuns_rs::usockets::{ListenSocket, Loop, Socket, SocketContext, SocketContextOptions};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

const HOST: &str = "10.0.0.1";

/// What is to be said next, and by whom.
#[derive(Default)]
struct Speech {
    socket: Option<Socket<false, ()>>,
    pieces: Vec<Vec<u8>>,
}

struct World {
    event_loop: Loop<()>,
    speaker: SocketContext<false, (), ()>,
    secure: SocketContext<true, (), ()>,
    /// Where speakers wait for clients with TLS, and servers with TLS for speakers.
    to_speaker: ListenSocket<false, ()>,
    to_server: ListenSocket<true, ()>,
    speech: Rc<RefCell<Speech>>,
}

impl World {
    fn new() -> Self {
        let unique = format!("{}-{:?}", std::process::id(), std::thread::current().id());
        let folder = std::env::temp_dir().join(format!("nethuns-fuzz-tls-{unique}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec![HOST.to_owned()]).expect("a good name");
        let cert = params.self_signed(&key).expect("a certificate");
        let file = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("a file");
            Some(path.to_str().expect("UTF-8").to_owned())
        };
        let options = SocketContextOptions {
            cert_file_name: file("cert.pem", cert.pem()),
            key_file_name: file("key.pem", key.serialize_pem()),
            alpn_protocols: vec!["http/1.1".into()],
            verify_peer: false,
            ..Default::default()
        };
        let spec = format!("mem:fuzz-tls-{unique}?ip={HOST}/24");
        let event_loop = Loop::on_network(Net::builder().spec(spec), ()).expect("a loop");
        let secure = event_loop.create_socket_context::<true, ()>(options).expect("a context");
        std::fs::remove_dir_all(&folder).expect("the files were read");
        secure.on_data(|_, _| panic!("nobody has the keys to say anything"));
        let speaker =
            event_loop.create_socket_context::<false, ()>(SocketContextOptions::default()).expect("a context");
        let speech = Rc::new(RefCell::new(Speech::default()));
        let of_speaker = speech.clone();
        speaker.on_open(move |socket, _, _| of_speaker.borrow_mut().socket = Some(socket.clone()));
        speaker.on_end(|socket| socket.close(0));
        let to_speaker = speaker.listen(HOST, 0, 0).expect("a listener");
        let to_server = secure.listen(HOST, 0, 0).expect("a listener");
        Self { event_loop, speaker, secure, to_speaker, to_server, speech }
    }

    fn turn(&mut self) {
        self.event_loop.step(Some(Duration::ZERO)).expect("an iteration");
    }

    fn run(&mut self, bytes: &[u8]) {
        let Some((&first, mut rest)) = bytes.split_first() else { return };
        // The first byte says who gets it, and each piece begins with its length.
        let mut pieces = Vec::new();
        while let Some((&len, more)) = rest.split_first() {
            let (piece, more) = more.split_at((usize::from(len) * 4 + 1).min(more.len()));
            pieces.push(piece.to_vec());
            rest = more;
        }
        pieces.reverse();
        *self.speech.borrow_mut() = Speech { socket: None, pieces };
        let connected = if first & 1 == 0 {
            self.speaker.connect(HOST, self.to_server.port() as u16, None, 0).is_ok()
        } else {
            self.secure.connect(HOST, self.to_speaker.port() as u16, None, 0).is_ok()
        };
        assert!(connected, "there is a listener");
        let start = Instant::now();
        while self.speaker.sockets() + self.secure.sockets() > 0 || self.speech.borrow().socket.is_none() {
            assert!(start.elapsed() < Duration::from_secs(20), "a connection does not end");
            self.turn();
            let mut speech = self.speech.borrow_mut();
            let Some(socket) = speech.socket.clone() else { continue };
            match speech.pieces.pop() {
                Some(piece) => drop(socket.write(&piece, false)),
                None => {
                    drop(speech);
                    socket.close(0);
                }
            }
        }
    }
}

/// Runs the bytes against a server or a client.
pub fn tls(bytes: &[u8]) {
    thread_local! {
        static WORLD: RefCell<World> = RefCell::new(World::new());
    }
    WORLD.with_borrow_mut(|world| world.run(bytes));
}
