//! Two tokens of one frame would be two owners.
use nethuns_rs::api::Token;

fn twice(token: &Token) -> Token {
    Clone::clone(token)
}

fn main() {}
