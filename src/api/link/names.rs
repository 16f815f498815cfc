//! What every Unix tells of interfaces: names and indexes (`if_nameindex(3)`), flags and addresses (`getifaddrs(3)`).
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};

/// The index of an interface; `None` if there is no such interface.
pub fn index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is NUL-terminated and outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => None,
        index => Some(index),
    }
}

/// The names of all interfaces in the order of their indexes; empty if the system does not tell.
pub fn all() -> Vec<String> {
    let mut names = Vec::new();
    // SAFETY: takes nothing; null on failure.
    let list = unsafe { libc::if_nameindex() };
    if list.is_null() {
        return names;
    }
    let mut entry = list;
    // SAFETY: the list ends with an entry whose index is zero and whose name is null; up to there entries are valid
    // and names NUL-terminated, until the list is freed.
    unsafe {
        while (*entry).if_index != 0 && !(*entry).if_name.is_null() {
            names.push(CStr::from_ptr((*entry).if_name).to_string_lossy().into_owned());
            entry = entry.add(1);
        }
        libc::if_freenameindex(list);
    }
    names
}

/// Whether an interface has its resources and carrier (`IFF_RUNNING`), and its MAC address where addresses of the link
/// layer are listed in the form of the BSDs.
pub fn running_and_mac(name: &str) -> (Option<bool>, Option<[u8; 6]>) {
    let mut found = (None, None);
    let mut list = std::ptr::null_mut();
    // SAFETY: fills in the pointer, or fails.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return found;
    }
    let mut entry = list;
    // SAFETY: entries form a list that ends with null; names are NUL-terminated, until the list is freed. An address that
    // is there has, on the BSDs, its length in its first byte.
    unsafe {
        while !entry.is_null() {
            if CStr::from_ptr((*entry).ifa_name).to_bytes() == name.as_bytes() {
                found.0 = Some((*entry).ifa_flags & libc::IFF_RUNNING as libc::c_uint != 0);
                let address: *const u8 = (*entry).ifa_addr.cast();
                if cfg!(not(any(target_os = "linux", target_os = "android"))) && !address.is_null() {
                    let bytes = std::slice::from_raw_parts(address, usize::from(*address));
                    found.1 = found.1.or_else(|| mac_of_link_address(bytes));
                }
            }
            entry = (*entry).ifa_next;
        }
        libc::freeifaddrs(list);
    }
    found
}

/// The MAC address in a `sockaddr_dl` of the BSDs (`net/if_dl.h`): length, family, index (2), type, length of the name,
/// of the address, of the selector, then these three.
fn mac_of_link_address(bytes: &[u8]) -> Option<[u8; 6]> {
    const AF_LINK: u8 = 18;
    const HEADER: usize = 8;
    let [_, AF_LINK, _, _, _, name, 6, ..] = bytes else { return None };
    bytes.get(HEADER + usize::from(*name)..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_runs() {
        let lo = all().into_iter().find(|name| name.starts_with("lo")).unwrap();
        assert_ne!(index(&lo), None);
        assert_eq!(running_and_mac(&lo).0, Some(true));
        assert_eq!(running_and_mac("no such interface"), (None, None));
    }

    #[test]
    fn a_mac_address_is_behind_the_name() {
        let bytes = [20, 18, 1, 0, 6, 3, 6, 0, b'e', b'm', b'0', 2, 0, 0, 0, 0, 9, 0, 0, 0];
        assert_eq!(mac_of_link_address(&bytes), Some([2, 0, 0, 0, 0, 9]));
        assert_eq!(mac_of_link_address(&bytes[..16]), None);
        assert_eq!(mac_of_link_address(&[20, 2, 1, 0, 6, 3, 6, 0]), None);
        assert_eq!(mac_of_link_address(&[8, 18, 1, 0, 6, 255, 6, 0]), None);
    }
}
