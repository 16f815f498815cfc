//! A token made up would be a frame that somebody else owns.
use nethuns_rs::api::{BufferDesc, Token};

fn token(desc: BufferDesc) -> Token {
    Token { idx: desc, len_and_pool: 60 }
}

fn main() {}
