//! What only netmap can get wrong. What other backends get wrong too has a variant in [`crate::Error`].

use super::sys::API;

/// What only netmap can get wrong.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The kernel has no netmap.
    #[error(
        "/dev/netmap is not there: load the module (`modprobe netmap`, or `insmod netmap.ko` built for this kernel); \
         pipes and VALE switches within one process run without it: option `emulated`, or NETHUNS_NETMAP=emulated"
    )]
    NoDevice,

    /// The kernel's netmap speaks another version of the interface.
    #[error(
        "/dev/netmap does not speak version {API} of its interface: build netmap.ko from a source of 2019 or newer"
    )]
    Version,

    /// The kernel's netmap has no memory left for the port's rings and buffers.
    #[error("port {port}: netmap's memory does not hold its rings: {}", MORE_MEMORY)]
    Memory {
        /// The port.
        port: String,
    },

    /// Not one extra buffer could be had: there is nothing to exchange received packets for.
    #[error(
        "port {port}: none of {wanted} extra buffers could be had: ask for fewer (`extra_buf`), or {}",
        MORE_MEMORY
    )]
    ExtraBuffers {
        /// The port.
        port: String,
        /// How many were asked for.
        wanted: u32,
    },

    /// The memory that the kernel showed does not look as version 14 says.
    #[error("port {port}: {what} in netmap's memory makes no sense: this netmap.ko and this library do not match")]
    Layout {
        /// The port.
        port: String,
        /// What makes no sense.
        what: &'static str,
    },
}

const MORE_MEMORY: &str = "give it more, before any port is open: `echo 327680 > /sys/module/netmap/parameters/buf_num` \
                           (FreeBSD: `sysctl dev.netmap.buf_num=327680`)";
