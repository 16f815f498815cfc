//! Whoever releases a frame vouches that it is his, and that it is the last time.
use nethuns_rs::api::{BufferDesc, Context};
use nethuns_rs::pool::PoolContext;

fn release(ctx: &PoolContext, desc: BufferDesc) {
    ctx.release(desc);
}

fn look(ctx: &PoolContext, desc: BufferDesc) -> *mut [u8] {
    ctx.unsafe_buffer(desc, 60)
}

fn main() {}
