//! Packets that come out of a channel borrow the popper's context.
use nethuns_rs::api::{NethunsPopper, Payload};
use nethuns_rs::pool::PoolContext;

fn first(popper: NethunsPopper<PoolContext, 8>) -> Payload<'static, PoolContext> {
    popper.pop().unwrap().next().unwrap()
}

fn main() {}
