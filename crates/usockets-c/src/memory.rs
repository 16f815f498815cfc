//! Blocks of memory that a C program holds: a header, our part, and the program's extension right behind it.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ffi::c_void;
use std::ptr;

/// What a block is. Upstream's programs cast sockets and listeners to polls, so every block begins with this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Kind {
    /// `us_loop_t`
    Loop = 0x7573_0001,
    /// `us_socket_context_t`
    Context,
    /// `us_listen_socket_t`
    Listener,
    /// `us_socket_t`
    Socket,
    /// `us_timer_t`
    Timer,
    /// `us_poll_t`
    Poll,
    /// `us_udp_socket_t`
    UdpSocket,
    /// `us_udp_packet_buffer_t`
    PacketBuffer,
}

/// The beginning of a block.
#[repr(C, align(16))]
pub(crate) struct Head {
    /// A [`Kind`] as a number: what a stray pointer leads to need not be one.
    kind: u32,
    /// Bytes of extension.
    ext: u32,
}

/// What can be a block.
///
/// # Safety
///
/// The type is `repr(C)`, its first field is the [`Head`] that [`make`] gave it, and no other type has this `KIND`.
pub(crate) unsafe trait Object: Sized {
    /// What it is.
    const KIND: Kind;
}

fn layout<T: Object>(ext: u32) -> Layout {
    const { assert!(size_of::<T>().is_multiple_of(16) && align_of::<T>() == 16, "the extension is to be 16-aligned") };
    // Below `isize::MAX` on every system with 64 bits, which are those that there are.
    Layout::from_size_align(size_of::<T>() + ext as usize, 16).unwrap_or(Layout::new::<T>())
}

/// Makes a block, its extension zeroed.
pub(crate) fn make<T: Object>(ext: u32, value: impl FnOnce(Head) -> T) -> *mut T {
    let layout = layout::<T>(ext);
    // SAFETY: the size is not 0, because a `T` begins with a `Head`.
    let block = unsafe { alloc_zeroed(layout) }.cast::<T>();
    if block.is_null() {
        handle_alloc_error(layout);
    }
    let value = value(Head { kind: T::KIND as u32, ext });
    // SAFETY: the block is ours, aligned, and large enough for a `T`.
    unsafe { block.write(value) };
    block
}

/// Drops our part and gives the memory back.
///
/// # Safety
///
/// `block` came from [`make`], is not freed yet, and nobody looks at it any more.
pub(crate) unsafe fn free<T: Object>(block: *mut T) {
    // SAFETY: as promised; the size is read before the value is dropped, and is what `make` asked for.
    unsafe {
        let layout = layout::<T>((*block.cast::<Head>()).ext);
        // Whoever uses it after this has a chance to be answered as for a closed one, and none to free it twice.
        (*block.cast::<Head>()).kind = 0;
        ptr::drop_in_place(block);
        dealloc(block.cast(), layout);
    }
}

/// What a handle leads to, if it is a block of this type.
///
/// # Safety
///
/// `handle` is null or leads to a block that is not freed for as long as the result is used.
#[inline]
pub(crate) unsafe fn look<'a, T: Object>(handle: *const T) -> Option<&'a T> {
    // SAFETY: every block begins with a `Head`; whether the rest is a `T` is looked up there.
    let head = unsafe { handle.cast::<Head>().as_ref() }?;
    if head.kind != T::KIND as u32 {
        return None;
    }
    // SAFETY: it is a `T`; what changes in it are cells.
    unsafe { handle.as_ref() }
}

/// The extension of a block.
///
/// # Safety
///
/// `block` leads to a block that is not freed.
#[inline]
pub(crate) unsafe fn ext<T: Object>(block: *const T) -> *mut c_void {
    // SAFETY: the extension lies in the same allocation; an empty one begins at its end.
    unsafe { block.add(1).cast_mut().cast() }
}

/// How large the extension of a block is.
pub(crate) fn ext_size<T: Object>(block: &T) -> u32 {
    // SAFETY: every block begins with a `Head`.
    unsafe { (*ptr::from_ref(block).cast::<Head>()).ext }
}

/// Copies as much of an extension as fits another.
///
/// # Safety
///
/// Both lead to blocks that are not freed, and are different ones.
pub(crate) unsafe fn copy_ext<T: Object>(from: *const T, to: *mut T) {
    // SAFETY: as promised; the shorter of both lengths is within both extensions.
    unsafe {
        let len = ext_size(&*from).min(ext_size(&*to));
        ptr::copy_nonoverlapping(ext(from).cast::<u8>(), ext(to).cast::<u8>(), len as usize);
    }
}

/// A text that a C program gave: `None` if it is null or no UTF-8.
///
/// # Safety
///
/// `text` is null or leads to a string that ends with a NUL and stays as long as the result is used.
pub(crate) unsafe fn text<'a>(text: *const std::ffi::c_char) -> Option<&'a str> {
    if text.is_null() {
        return None;
    }
    // SAFETY: as promised.
    unsafe { std::ffi::CStr::from_ptr(text) }.to_str().ok()
}

/// A path that a C program gave: `None` if it is null.
///
/// # Safety
///
/// As [`text`].
pub(crate) unsafe fn path<'a>(path: *const std::ffi::c_char) -> Option<&'a std::path::Path> {
    use std::os::unix::ffi::OsStrExt;
    if path.is_null() {
        return None;
    }
    // SAFETY: as promised.
    let path = unsafe { std::ffi::CStr::from_ptr(path) };
    Some(std::path::Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())))
}

/// Bytes that a C program gave; none if there is nothing.
///
/// # Safety
///
/// `bytes` is null or leads to `length` bytes that stay as long as the result is used.
#[inline]
pub(crate) unsafe fn bytes<'a>(bytes: *const std::ffi::c_char, length: i32) -> &'a [u8] {
    match usize::try_from(length) {
        // SAFETY: as promised.
        Ok(length) if length > 0 && !bytes.is_null() => unsafe { std::slice::from_raw_parts(bytes.cast(), length) },
        _ => &[],
    }
}
