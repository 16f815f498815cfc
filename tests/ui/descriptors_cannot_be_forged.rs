//! A descriptor made up would be a frame that somebody else owns.
use nethuns_rs::api::{BufferDesc, BufferRef, Payload, Token};
use nethuns_rs::pool::PoolContext;

fn descriptor() -> BufferDesc {
    BufferDesc(7)
}

fn reference() -> BufferRef {
    BufferRef(7)
}

fn token_from_numbers() -> Token {
    Token::new(7, 60, 1)
}

fn payload(token: Token, ctx: &PoolContext) -> Payload<'_, PoolContext> {
    Payload::new(token, ctx)
}

fn main() {}
