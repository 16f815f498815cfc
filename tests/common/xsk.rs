//! The least AF_XDP socket that a slot of an XSKMAP takes, and programs run without an interface.

#![allow(unsafe_code)]

use libbpf_rs::libbpf_sys as bpf;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const FRAME: u64 = 2048;
const FRAMES: u64 = 4;

/// An AF_XDP socket with its rings and memory, bound to nothing.
pub struct RawXsk {
    socket: OwnedFd,
    memory: *mut libc::c_void,
}

impl RawXsk {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the descriptor is new and nobody else's.
        let socket = unsafe {
            let fd = libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let len = (FRAME * FRAMES) as usize;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping that overlaps nothing.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        assert_ne!(memory, libc::MAP_FAILED);
        let this = Self { socket, memory };
        // `struct xdp_umem_reg` of `linux/if_xdp.h`, in 64-bit words: address, length, frame size and headroom.
        this.set(libc::XDP_UMEM_REG, &[memory as u64, FRAME * FRAMES, FRAME])?;
        for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING] {
            this.set(ring, &[4u32])?;
        }
        Ok(this)
    }

    fn set<T>(&self, option: i32, value: &[T]) -> io::Result<()> {
        // SAFETY: the value outlives the call and its size is told.
        let done = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_XDP,
                option,
                value.as_ptr().cast(),
                size_of_val(value) as libc::socklen_t,
            )
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsFd for RawXsk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for RawXsk {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`; the kernel holds its pages for as long as it needs them.
        unsafe { libc::munmap(self.memory, (FRAME * FRAMES) as usize) };
    }
}

/// What a program answers to a frame that arrived on queue 0 (`XDP_PASS` is 2, `XDP_REDIRECT` 4).
pub fn run_program(program: BorrowedFd<'_>, frame: &[u8]) -> io::Result<u32> {
    let mut opts = bpf::bpf_test_run_opts {
        sz: size_of::<bpf::bpf_test_run_opts>() as bpf::size_t,
        data_in: frame.as_ptr().cast(),
        data_size_in: frame.len() as u32,
        repeat: 1,
        ..Default::default()
    };
    // SAFETY: the frame outlives the call and its size is told.
    match unsafe { bpf::bpf_prog_test_run_opts(program.as_raw_fd(), &mut opts) } {
        0 => Ok(opts.retval),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}
