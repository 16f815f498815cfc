//! What the tests of AF_XDP share: frames that say which one they are, and sockets that insist.

use nethuns_rs::af_xdp::{AfXdpFlags, Sock};
use nethuns_rs::api::{Interest, Socket, Token};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// A frame of `len` bytes (18 or more) that says which one it is, for nobody's protocol (0x88b5).
pub fn frame(number: u32, len: usize) -> Vec<u8> {
    let mut frame = vec![0u8; len];
    frame[..6].copy_from_slice(&[0x02, 0, 0, 0, 0, 2]);
    frame[6..12].copy_from_slice(&[0x02, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&0x88b5u16.to_be_bytes());
    frame[14..18].copy_from_slice(&number.to_be_bytes());
    for (i, byte) in frame.iter_mut().enumerate().skip(18) {
        *byte = (i as u32 ^ (i as u32 >> 8) ^ number) as u8;
    }
    frame
}

/// Which one a frame is.
pub fn number(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[14..18].try_into().unwrap())
}

/// Opens a socket with the documented defaults.
pub fn open(spec: &str) -> Sock {
    Sock::create(spec, None, AfXdpFlags::default()).unwrap_or_else(|error| panic!("{spec}: {error}"))
}

/// The words of the error with which a socket is refused.
pub fn refused(spec: &str, queue: Option<usize>) -> String {
    match Sock::create(spec, queue, AfXdpFlags::default()) {
        Ok(socket) => panic!("{spec} was opened: {}", socket.mode()),
        Err(error) => error.to_string(),
    }
}

/// Receives `n` packets with the queue each came from.
pub fn receive_with_queue(socket: &Sock, n: usize) -> Vec<(Token, u32)> {
    let (mut got, start) = (Vec::new(), Instant::now());
    while got.len() < n {
        assert!(start.elapsed() < PATIENCE, "{} of {n} packets: {:?}", got.len(), socket.stats());
        let left = n - got.len();
        if socket.recv_each(left, |token, meta| got.push((token, meta.queue))).unwrap() == 0 {
            socket.wait(Interest::Readable, Some(Duration::from_millis(20))).unwrap();
        }
    }
    got
}

/// Receives `n` packets.
pub fn receive(socket: &Sock, n: usize) -> Vec<Token> {
    receive_with_queue(socket, n).into_iter().map(|(token, _)| token).collect()
}

/// Receives frames 0 to `n` - 1 of this length, in order, and compares every byte.
pub fn expect(socket: &Sock, n: u32, len: usize) {
    for (i, token) in receive(socket, n as usize).into_iter().enumerate() {
        let packet = token.consume(socket.context());
        assert_eq!(packet.len(), len, "packet {i}");
        assert!(packet[..] == frame(i as u32, len)[..], "packet {i} of {len} bytes differs");
    }
}

/// Sends frames 0 to `n` - 1 in batches and waits until all have left.
pub fn send(socket: &Sock, n: u32, len: usize) {
    for i in 0..n {
        while let Err(error) = socket.send(&frame(i, len)) {
            assert!(error.is_transient(), "{error}");
            socket.flush();
        }
        if i % 64 == 63 {
            socket.flush();
        }
    }
    drain(socket);
}

/// Waits until everything accepted has left.
pub fn drain(socket: &Sock) {
    assert!(socket.drain(PATIENCE).unwrap(), "{:?}", socket.stats());
}

/// Nothing is held by anybody, and everything sent has left.
pub fn assert_clean(socket: &Sock) {
    assert_eq!(socket.frames_in_flight(), Some(0), "{socket:?}");
    let stats = socket.stats();
    assert_eq!((stats.tx_pending(), stats.tx_packets), (0, stats.tx_submitted), "{stats:?}");
}
