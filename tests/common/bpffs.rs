//! A bpffs of the test's own.

#![allow(unsafe_code)]

use std::path::{Path, PathBuf};

/// A bpffs mounted in a mount namespace of the calling thread's own; gone with the thread. The folder it is mounted on
/// is removed on drop.
pub struct Bpffs {
    folder: PathBuf,
}

impl Bpffs {
    /// `None`, and a line that says why, where the process may not mount.
    pub fn mount(test: &str) -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("nethuns-bpffs-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for temporary files");
        let this = Self { folder };
        let target = std::ffi::CString::new(this.folder.to_str().expect("text")).expect("no NUL");
        let null = std::ptr::null();
        // SAFETY: all texts are NUL-terminated; unshare gives this thread mounts of its own, the first mount keeps
        // what follows from reaching the machine's.
        let done = unsafe {
            libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(c"none".as_ptr(), c"/".as_ptr(), null, libc::MS_REC | libc::MS_PRIVATE, null.cast()) == 0
                && libc::mount(c"bpf".as_ptr(), target.as_ptr(), c"bpf".as_ptr(), 0, null.cast()) == 0
        };
        if !done {
            super::skip(test, format!("cannot mount a bpffs: {}", std::io::Error::last_os_error()));
            return None;
        }
        Some(this)
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let target = std::ffi::CString::new(self.folder.to_str().expect("text")).expect("no NUL");
        // SAFETY: NUL-terminated; unmounts in this thread's namespace only.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
        let _ = std::fs::remove_dir(&self.folder);
    }
}
