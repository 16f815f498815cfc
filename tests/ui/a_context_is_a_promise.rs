//! Writing a context is unsafe: payloads trust it with memory.
use nethuns_rs::api::{BufferDesc, Context};

#[derive(Clone)]
struct Mine;

impl Context for Mine {
    fn pool_id(&self) -> u32 {
        1
    }
    unsafe fn unsafe_buffer(&self, _: BufferDesc, size: usize) -> *mut [u8] {
        std::ptr::slice_from_raw_parts_mut(std::ptr::null_mut(), size)
    }
    unsafe fn release(&self, _: BufferDesc) {}
}

fn main() {}
