//! What was sent is the transmit ring's, what was pushed is the channel's, what was consumed is the payload's.
use nethuns_rs::api::{Batch, Context, NethunsPusher, Payload, Socket, Token};
use nethuns_rs::mem::Sock;
use nethuns_rs::pool::PoolContext;

fn token<S: Socket>(socket: &S, token: Token) -> u32 {
    socket.send_token(token).unwrap();
    token.size()
}

fn payload<'a>(socket: &'a Sock, packet: Payload<'a, PoolContext>) -> u8 {
    socket.send_payload(packet).map_err(|refused| refused.error).unwrap();
    packet[0]
}

fn consumed<C: Context>(ctx: &C, token: Token) {
    let one = token.consume(ctx);
    let two = token.consume(ctx);
    drop((one, two));
}

fn pushed(pusher: &NethunsPusher<8>, batch: Batch<8>) -> usize {
    pusher.push(batch).unwrap();
    batch.len()
}

fn main() {}
