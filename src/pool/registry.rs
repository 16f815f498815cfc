//! Pool ids, one counter for every backend, never used twice; and the way home for a dropped token.

#![allow(unsafe_code)]

use crate::api::BufferDesc;
use crate::errors::{Error, Result};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock, Weak};

/// Where the frames of a pool go when a [`Token`](crate::api::Token) is dropped away from its context.
///
/// # Safety
///
/// [`bytes`](Self::bytes) keeps the promises of [`Context::unsafe_buffer`](crate::api::Context::unsafe_buffer) for as
/// long as `self` lives.
pub unsafe trait Home: Send + Sync {
    /// Takes a frame back, from any thread. Never fails, never waits.
    ///
    /// # Safety
    ///
    /// The frame is on loan from this pool to the caller, who gives it up.
    unsafe fn give_back(&self, desc: BufferDesc);

    /// The memory of a frame, `len` bytes from where its packet begins.
    ///
    /// # Safety
    ///
    /// As [`Context::unsafe_buffer`](crate::api::Context::unsafe_buffer).
    unsafe fn bytes(&self, desc: BufferDesc, len: usize) -> *mut [u8];
}

static HOMES: LazyLock<RwLock<HashMap<u32, Weak<dyn Home>>>> = LazyLock::new(RwLock::default);
static NEXT: AtomicU32 = AtomicU32::new(1);

/// Makes a pool with an id of its own and enters it into the registry, which does not keep it alive.
///
/// # Errors
///
/// Those of `make`; [`Error::NoMemory`] once four billion pools have lived: an id is never handed out twice.
pub fn register<H: Home + 'static>(make: impl FnOnce(u32) -> Result<H>) -> Result<Arc<H>> {
    let id =
        NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_add(1)).map_err(|_| Error::NoMemory)?;
    let home = Arc::new(make(id)?);
    let weak: Weak<H> = Arc::downgrade(&home);
    let mut homes = HOMES.write().unwrap_or_else(PoisonError::into_inner);
    homes.retain(|_, home| home.strong_count() > 0);
    homes.insert(id, weak);
    Ok(home)
}

/// What is left of a pool whose frames somebody else wants back, when its sockets and contexts are gone: the frames that
/// were free then, and those that come later, as the last tokens are dropped.
#[derive(Default)]
struct Estate {
    frames: Vec<usize>,
    /// How many there will be; not known while the pool lives.
    total: Option<usize>,
    heir: Option<Heir>,
}

/// Gets all frames of a pool that has ended.
pub(crate) type Heir = Box<dyn FnOnce(Vec<usize>) + Send>;

static ESTATES: LazyLock<Mutex<HashMap<u32, Estate>>> = LazyLock::new(Mutex::default);

/// Names who gets the frames of this pool when it has ended and the last token of it is dropped.
#[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
pub(crate) fn will(id: u32, heir: Heir) {
    let mut estates = ESTATES.lock().unwrap_or_else(PoisonError::into_inner);
    estates.insert(id, Estate { heir: Some(heir), ..Estate::default() });
}

/// Adds frames to the estate of a pool that has ended; `total` is told by the pool itself. The heir gets them all once
/// they are complete.
#[cold]
pub(crate) fn bequeath(id: u32, frames: impl IntoIterator<Item = usize>, total: Option<usize>) {
    let mut estates = ESTATES.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(estate) = estates.get_mut(&id) else { return };
    estate.frames.extend(frames);
    estate.total = total.or(estate.total);
    if estate.total.is_some_and(|total| estate.frames.len() >= total) {
        let estate = estates.remove(&id);
        // The heir may close what it likes: not under the lock.
        drop(estates);
        if let Some(Estate { frames, heir: Some(heir), .. }) = estate {
            heir(frames);
        }
    }
}

/// The pool with this id, if it still lives.
#[cold]
pub(crate) fn find(id: u32) -> Option<Arc<dyn Home>> {
    HOMES.read().unwrap_or_else(PoisonError::into_inner).get(&id)?.upgrade()
}
