//! A payload borrows the context, which is the socket's.
use nethuns_rs::api::Socket;
use nethuns_rs::mem::{MemFlags, Sock};

fn main() {
    let packet = {
        let socket = Sock::create("mem:a", None, MemFlags::default()).unwrap();
        socket.recv().unwrap().0
    };
    println!("{}", packet.len());
}
