//! Threads with fewer rights.

#![allow(unsafe_code)]

/// The numbers of `linux/capability.h`.
pub const NET_ADMIN: u32 = 12;
pub const NET_RAW: u32 = 13;
pub const BPF: u32 = 39;

/// Runs `work` on a thread that keeps these capabilities only, in the namespaces of the caller.
pub fn with_only<R: Send>(keep: &[u32], work: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let set: u64 = keep.iter().map(|cap| 1 << cap).sum();
            // Version 3 of the header, this thread; effective, permitted and inheritable, low words then high words.
            let header: [u32; 2] = [0x2008_0522, 0];
            let (low, high) = (set as u32, (set >> 32) as u32);
            let data: [u32; 6] = [low, low, 0, high, high, 0];
            // SAFETY: both structures have the sizes of version 3 and outlive the call; it affects this thread only.
            let done = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
            assert_eq!(done, 0, "capset: {}", std::io::Error::last_os_error());
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
