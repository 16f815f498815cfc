//! The calls into libbpf that its safe wrapper does not offer, each as a safe function over owned descriptors.
#![allow(unsafe_code)]

use super::asm::Insn;
use libbpf_rs::libbpf_sys as bpf;
use std::ffi::{CStr, CString};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `XDP_FLAGS_SKB_MODE` of `linux/if_link.h`: attach in the generic path.
pub const SKB_MODE: u32 = 1 << 1;
/// `XDP_FLAGS_DRV_MODE`: attach in the driver.
pub const DRV_MODE: u32 = 1 << 2;
/// `BPF_F_XDP_HAS_FRAGS` of `linux/bpf.h`: the program takes packets of several buffers.
pub const HAS_FRAGS: u32 = 1 << 5;
/// What libbpf's verifier log is cut to.
const LOG_SIZE: usize = 64 * 1024;

/// A number of libbpf: a descriptor, or minus `errno`.
fn fd(result: i32) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    // SAFETY: libbpf has just opened the descriptor for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

fn done(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Creates an XSKMAP with room for `queues` sockets.
pub fn create_xskmap(name: &CStr, queues: u32) -> io::Result<OwnedFd> {
    // SAFETY: the name is NUL-terminated and outlives the call; null options mean defaults.
    fd(unsafe { bpf::bpf_map_create(bpf::BPF_MAP_TYPE_XSKMAP, name.as_ptr(), 4, 4, queues, std::ptr::null()) })
}

/// Loads an XDP program. On failure the verifier's last words come with the error, if it got that far.
pub fn load_xdp(name: &CStr, code: &[Insn], flags: u32) -> Result<OwnedFd, (io::Error, String)> {
    let mut log = vec![0u8; LOG_SIZE];
    let mut opts = bpf::bpf_prog_load_opts {
        sz: size_of::<bpf::bpf_prog_load_opts>() as bpf::size_t,
        expected_attach_type: bpf::BPF_XDP,
        prog_flags: flags,
        log_size: LOG_SIZE as u32,
        log_buf: log.as_mut_ptr().cast(),
        ..Default::default()
    };
    // SAFETY: `Insn` is eight bytes laid out as `struct bpf_insn` (tested below); names and log outlive the call and
    // the log's size is its buffer's.
    let result = unsafe {
        bpf::bpf_prog_load(
            bpf::BPF_PROG_TYPE_XDP,
            name.as_ptr(),
            c"Dual BSD/GPL".as_ptr(),
            code.as_ptr().cast(),
            code.len() as bpf::size_t,
            &mut opts,
        )
    };
    fd(result).map_err(|error| {
        let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
        (error, String::from_utf8_lossy(&log[..end]).into_owned())
    })
}

/// Attaches a program to an interface of the calling thread's namespace. Closing the link detaches it.
pub fn link_xdp(program: BorrowedFd<'_>, ifindex: u32, mode: u32) -> io::Result<OwnedFd> {
    let opts = bpf::bpf_link_create_opts {
        sz: size_of::<bpf::bpf_link_create_opts>() as bpf::size_t,
        flags: mode,
        ..Default::default()
    };
    // SAFETY: the program is open for the call, the options outlive it and carry their size.
    fd(unsafe { bpf::bpf_link_create(program.as_raw_fd(), ifindex as i32, bpf::BPF_XDP, &opts) })
}

/// Detaches a link now, even while a forked child still holds a copy of its descriptor.
pub fn unlink(link: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes a number only, of a descriptor that is open.
    done(unsafe { bpf::bpf_link_detach(link.as_raw_fd()) })
}

/// Puts a socket into the slot of a queue. Refuses to replace another.
pub fn map_insert(map: BorrowedFd<'_>, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
    let value = socket.as_raw_fd();
    // SAFETY: keys and values of an XSKMAP are four bytes each, as both variables are; they outlive the call.
    done(unsafe {
        bpf::bpf_map_update_elem(
            map.as_raw_fd(),
            (&raw const queue).cast(),
            (&raw const value).cast(),
            u64::from(bpf::BPF_NOEXIST),
        )
    })
}

/// Empties the slot of a queue.
pub fn map_remove(map: BorrowedFd<'_>, queue: u32) -> io::Result<()> {
    // SAFETY: as in `map_insert`.
    done(unsafe { bpf::bpf_map_delete_elem(map.as_raw_fd(), (&raw const queue).cast()) })
}

/// Pins a program or map under a path of a bpffs.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: the path is NUL-terminated and outlives the call.
    done(unsafe { bpf::bpf_obj_pin(object.as_raw_fd(), path.as_ptr()) })
}

/// Opens what is pinned under a path.
pub fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    // SAFETY: the path is NUL-terminated and outlives the call.
    fd(unsafe { bpf::bpf_obj_get(path.as_ptr()) })
}

/// Whether what is at a path lies on a bpffs.
pub fn is_bpffs(path: &Path) -> io::Result<bool> {
    let path = c_path(path)?;
    // SAFETY: the path is NUL-terminated, and a `statfs` of zeros is valid for the kernel to fill in.
    unsafe {
        let mut stat: libc::statfs = std::mem::zeroed();
        if libc::statfs(path.as_ptr(), &mut stat) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stat.f_type == libc::BPF_FS_MAGIC as _)
    }
}

/// What the kernel knows of an open program. Zeroed where it is older than the header.
pub fn program_info(program: BorrowedFd<'_>) -> io::Result<bpf::bpf_prog_info> {
    let mut info = bpf::bpf_prog_info::default();
    let mut len = size_of::<bpf::bpf_prog_info>() as u32;
    // SAFETY: the kernel writes at most `len` bytes, the size of `info`, in which all bit patterns are valid.
    done(unsafe { bpf::bpf_prog_get_info_by_fd(program.as_raw_fd(), &mut info, &mut len) })?;
    Ok(info)
}

/// What the kernel knows of an open map.
pub fn map_info(map: BorrowedFd<'_>) -> io::Result<bpf::bpf_map_info> {
    let mut info = bpf::bpf_map_info::default();
    let mut len = size_of::<bpf::bpf_map_info>() as u32;
    // SAFETY: as in `program_info`.
    done(unsafe { bpf::bpf_map_get_info_by_fd(map.as_raw_fd(), &mut info, &mut len) })?;
    Ok(info)
}

/// An attached link: its id, its program's, and the interface it is on; zero once that is gone.
pub struct XdpLink {
    pub id: u32,
    pub program: u32,
    pub ifindex: u32,
}

/// What the kernel knows of an open link; `None` if it is not an XDP link.
pub fn link_info(link: BorrowedFd<'_>) -> io::Result<Option<XdpLink>> {
    let mut info = bpf::bpf_link_info::default();
    let mut len = size_of::<bpf::bpf_link_info>() as u32;
    // SAFETY: as in `program_info`.
    done(unsafe { bpf::bpf_link_get_info_by_fd(link.as_raw_fd(), &mut info, &mut len) })?;
    if info.type_ != bpf::BPF_LINK_TYPE_XDP {
        return Ok(None);
    }
    // SAFETY: the type says that this member of the union was filled in; all were zeroed before.
    let ifindex = unsafe { info.__bindgen_anon_1.xdp.ifindex };
    Ok(Some(XdpLink { id: info.id, program: info.prog_id, ifindex }))
}

/// Opens a program by its id (needs CAP_SYS_ADMIN).
pub fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes a number only.
    fd(unsafe { bpf::bpf_prog_get_fd_by_id(id) })
}

/// Every XDP link of the machine (needs CAP_SYS_ADMIN).
pub fn xdp_links() -> io::Result<Vec<XdpLink>> {
    let mut found = Vec::new();
    let mut id = 0;
    loop {
        // SAFETY: reads a number and writes one into `id`.
        match done(unsafe { bpf::bpf_link_get_next_id(id, &mut id) }) {
            Ok(()) => {}
            Err(end) if end.raw_os_error() == Some(libc::ENOENT) => return Ok(found),
            Err(error) => return Err(error),
        }
        // SAFETY: takes a number only. A link that went away in between is passed over.
        if let Ok(link) = fd(unsafe { bpf::bpf_link_get_fd_by_id(id) }) {
            use std::os::fd::AsFd;
            found.extend(link_info(link.as_fd()).ok().flatten());
        }
    }
}

/// Which network namespace the calling thread is in: a number that no other ever had (`SO_NETNS_COOKIE`, Linux 5.14),
/// before that the inode of the namespace.
pub fn namespace() -> io::Result<u64> {
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    let mut cookie = 0u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, the size of `cookie`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &mut len,
        )
    };
    if result == 0 {
        return Ok(cookie);
    }
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata("/proc/thread-self/ns/net")?.ino())
}

/// The kernel's version, as far as features go by it.
pub fn kernel_version() -> (u32, u32) {
    // SAFETY: a `utsname` of zeros is valid, and the kernel fills it in with NUL-terminated texts.
    let release = unsafe {
        let mut names: libc::utsname = std::mem::zeroed();
        libc::uname(&mut names);
        CStr::from_ptr(names.release.as_ptr()).to_string_lossy().into_owned()
    };
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// What netlink says of XDP on an interface of the calling thread's namespace.
pub fn query(ifindex: u32) -> io::Result<bpf::bpf_xdp_query_opts> {
    let mut opts =
        bpf::bpf_xdp_query_opts { sz: size_of::<bpf::bpf_xdp_query_opts>() as bpf::size_t, ..Default::default() };
    // SAFETY: libbpf writes into the options, whose size they carry.
    done(unsafe { bpf::bpf_xdp_query(ifindex as i32, 0, &mut opts) })?;
    Ok(opts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_is_laid_out_as_the_kernels() {
        assert_eq!(size_of::<Insn>(), size_of::<bpf::bpf_insn>());
        let ours = Insn::new(0x61, 3, 7, -2, 0x0102_0304);
        // SAFETY: both are eight bytes of plain integers.
        let theirs: bpf::bpf_insn = unsafe { std::mem::transmute(ours) };
        assert_eq!(
            (theirs.code, theirs.dst_reg(), theirs.src_reg(), theirs.off, theirs.imm),
            (0x61, 3, 7, -2, 0x0102_0304)
        );
    }
}
