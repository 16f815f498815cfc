//! Ids for the program's threads.
//!
//! DPDK gives each of its threads a number, and a mempool has a cache per number. A thread without one is served all the
//! same, but every frame that a driver takes or returns on it costs an operation on the pool's shared ring. So a thread
//! that receives or sends takes a number (`rte_thread_register`) and returns it when it ends, with whatever its caches
//! hold: frames in the cache of a thread that is gone could not be used by anybody.
#![allow(unsafe_code)]

use super::pool;
use dpdk_sys as sys;
use std::cell::Cell;

thread_local! {
    static KNOWN: Cell<bool> = const { Cell::new(false) };
    static MEMBER: Cell<Option<Member>> = const { Cell::new(None) };
}

/// Has the number back when its thread ends.
struct Member;

impl Drop for Member {
    fn drop(&mut self) {
        KNOWN.set(true); // whoever sends from another thread-local's destructor does without
        pool::flush_caches();
        // SAFETY: called on the thread that registered.
        unsafe { sys::rte_thread_unregister() }
    }
}

/// Called once per burst. EAL runs: whoever calls has a socket.
#[inline(always)]
pub(super) fn ensure() {
    if !KNOWN.get() {
        register();
    }
}

#[cold]
#[inline(never)]
fn register() {
    KNOWN.set(true);
    // SAFETY: EAL runs (a socket exists). The call fails if every number is taken; the thread then goes without.
    let registered = unsafe { sys::nd_lcore_id() == sys::LCORE_ID_ANY && sys::rte_thread_register() == 0 };
    if registered && MEMBER.try_with(|member| member.set(Some(Member))).is_err() {
        // The thread is ending and nobody would undo it.
        // SAFETY: called on the thread that registered.
        unsafe { sys::rte_thread_unregister() }
    }
}
