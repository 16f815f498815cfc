//! The same with a context of one's own.
use nethuns_rs::api::{Socket, Token};
use nethuns_rs::mem::Sock;

fn keep(socket: Sock, token: Token) -> usize {
    let packet;
    {
        let context = socket.context().clone();
        packet = token.consume(&context);
    }
    packet.len()
}

fn main() {}
