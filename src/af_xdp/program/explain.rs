//! What a refusal of the kernel means, and what to type.

use super::{AttachWish, Request};
use crate::api::Attach;
use crate::errors::Error;
use std::io;
use std::path::Path;

/// Whether the driver has refused the program for a reason that the generic path does not know.
pub fn driver_cannot(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ERANGE | libc::ENOSPC | libc::EINVAL | libc::ENOMEM))
}

/// The note that tells of a fall-back.
pub fn fallback(request: &Request<'_>, error: &io::Error) -> String {
    format!("generic mode: the driver of {} refuses the program ({error})", request.ifname)
}

/// Why a program or map could not be loaded.
pub fn load(request: &Request<'_>, what: &str, error: io::Error, log: &str) -> Error {
    if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES)) && log.is_empty() {
        return permission(&format!("{}: {what}", request.ifname), &[]);
    }
    Error::System { what: format!("{}: {what}", request.ifname), help: log.trim().to_owned(), source: error }
}

/// Why a program could not be attached.
pub fn attach(request: &Request<'_>, mode: Attach, error: io::Error) -> Error {
    let mode = if mode == Attach::Driver { "driver" } else { "generic" };
    let what = format!("{}: attach an XDP program in {mode} mode", request.ifname);
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => permission(&what, &[]),
        Some(libc::EBUSY | libc::EEXIST) => {
            Error::Busy { what: request.ifname.to_owned(), help: "an XDP program is attached".into() }
        }
        _ if request.wish == AttachWish::Driver => Error::unsupported(what, error.to_string()),
        _ => Error::System { what, help: String::new(), source: error },
    }
}

/// What the process lacks.
pub fn permission(what: &str, _needed: &[&str]) -> Error {
    Error::Permission { what: what.to_owned(), help: "run as root".into() }
}

/// Why something could not be pinned or opened from its pin.
pub fn pinned(what: &str, path: &Path, error: io::Error) -> Error {
    Error::System { what: format!("{what} {}", path.display()), help: String::new(), source: error }
}
