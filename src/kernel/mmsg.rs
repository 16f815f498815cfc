//! Many datagrams per system call (`recvmmsg(2)`, `sendmmsg(2)`), with where they went and their ECN bits.
#![allow(unsafe_code)]

use super::buffer::{Buffer, Buffers};
use crate::stack::Datagram;
use socket2::{SockAddr, SockAddrStorage, Socket};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::ptr;

/// Datagrams per system call, at most (`UIO_MAXIOV`).
pub(super) const MOST: usize = 1024;

/// Datagrams per system call when sending: control data for them is laid out anew each time.
const SEND: usize = 64;

/// What comes beside a datagram: room for `IPV6_PKTINFO` or `IP_PKTINFO`, and `IP_TOS` or `IPV6_TCLASS`, aligned as
/// `struct cmsghdr` wants it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

const CONTROL: usize = 128;

/// One received datagram.
#[derive(Debug)]
pub struct Packet {
    /// Its bytes.
    pub data: Buffer,
    /// Who sent it.
    pub from: SocketAddr,
    /// The address it was sent to: one of this machine's, or a broadcast or multicast address.
    pub to: IpAddr,
    /// The ECN bits of its IP header (RFC 3168).
    pub ecn: u8,
}

/// The arrays of `recvmmsg`. Every pointer in them leads into the other vectors here or into a buffer held here.
pub(super) struct Receiver {
    headers: Vec<libc::mmsghdr>,
    parts: Vec<libc::iovec>,
    names: Vec<SockAddrStorage>,
    controls: Vec<Control>,
    buffers: Vec<Option<Buffer>>,
}

impl Receiver {
    pub(super) const fn new() -> Self {
        Self { headers: Vec::new(), parts: Vec::new(), names: Vec::new(), controls: Vec::new(), buffers: Vec::new() }
    }

    /// Receives up to `most` datagrams, gives each to `take`, and says how many there were.
    pub(super) fn receive(
        &mut self,
        socket: &Socket,
        most: usize,
        home: &Buffers,
        mut take: impl FnMut(Packet),
    ) -> io::Result<usize> {
        let most = most.clamp(1, MOST);
        self.prepare(most, home);
        // SAFETY: `prepare` has filled that many headers with pointers into memory that `self` owns and that nothing
        // else refers to; the vectors are not touched before the call returns.
        let got = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                most as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        for i in 0..got {
            let header = &self.headers[i];
            let len = header.msg_len as usize;
            // SAFETY: the pointer leads to our own storage, plain bytes, where the kernel has written an address of that
            // length.
            let from = unsafe {
                SockAddr::new(ptr::read(header.msg_hdr.msg_name.cast::<SockAddrStorage>()), header.msg_hdr.msg_namelen)
            };
            let from = from.as_socket();
            let (to, ecn) = beside(&header.msg_hdr);
            if let (Some(mut data), Some(from)) = (self.buffers[i].take(), from) {
                data.set_len(len);
                let to = to.unwrap_or(match from {
                    SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                    SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                });
                take(Packet { data, from: super::canonical(from), to: to.to_canonical(), ecn });
            }
        }
        Ok(got)
    }

    /// Makes the first `most` headers ready: a buffer each, and the lengths that the last call has overwritten.
    fn prepare(&mut self, most: usize, home: &Buffers) {
        if self.headers.len() < most {
            // Growing moves the vectors, so all pointers are set anew.
            self.parts.resize(most, libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 });
            self.names.resize_with(most, SockAddrStorage::zeroed);
            self.controls.resize(most, Control([0; CONTROL]));
            self.buffers.resize_with(most, || None);
            // SAFETY: all zeroes is a value of this structure of numbers and pointers.
            self.headers.resize_with(most, || unsafe { std::mem::zeroed() });
            for i in 0..most {
                let header = &mut self.headers[i].msg_hdr;
                header.msg_name = (&raw mut self.names[i]).cast();
                header.msg_iov = &raw mut self.parts[i];
                header.msg_iovlen = 1;
                header.msg_control = (&raw mut self.controls[i]).cast();
            }
        }
        for i in 0..most {
            let buffer = self.buffers[i].get_or_insert_with(|| home.datagram());
            let room = buffer.room();
            self.parts[i] = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
            let header = &mut self.headers[i].msg_hdr;
            header.msg_namelen = size_of::<SockAddrStorage>() as libc::socklen_t;
            header.msg_controllen = CONTROL as _;
        }
    }
}

/// The destination address and the ECN bits that came beside a datagram.
fn beside(header: &libc::msghdr) -> (Option<IpAddr>, u8) {
    let (mut to, mut ecn) = (None, 0);
    // SAFETY: the kernel has filled the header: `msg_control` leads to `msg_controllen` bytes of control messages, each
    // at least as long as its type says; the structures are read unaligned, and live as long as the header is borrowed.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            let data = libc::CMSG_DATA(message);
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                    to = Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr))));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = ptr::read_unaligned(data.cast());
                    to = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
                }
                // One byte from IPv4, an int from IPv6.
                (libc::IPPROTO_IP, libc::IP_TOS) => ecn = *data & 3,
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    ecn = (ptr::read_unaligned(data.cast::<i32>()) & 3) as u8;
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    (to, ecn)
}

/// The arrays of `sendmmsg`, filled for each call.
pub(super) struct Sender {
    headers: Vec<libc::mmsghdr>,
    parts: Vec<libc::iovec>,
    names: Vec<SockAddr>,
    controls: Vec<Control>,
}

impl Sender {
    pub(super) const fn new() -> Self {
        Self { headers: Vec::new(), parts: Vec::new(), names: Vec::new(), controls: Vec::new() }
    }

    /// Sends as many of the datagrams as there is room for, in order, and says how many; an error is that of the first.
    pub(super) fn send(&mut self, socket: &Socket, v6: bool, datagrams: &[Datagram<'_>]) -> io::Result<usize> {
        let mut sent = 0;
        for some in datagrams.chunks(SEND) {
            match self.send_some(socket, v6, some) {
                Ok(n) => {
                    sent += n;
                    if n < some.len() {
                        break;
                    }
                }
                Err(error) if sent == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(sent)
    }

    fn send_some(&mut self, socket: &Socket, v6: bool, datagrams: &[Datagram<'_>]) -> io::Result<usize> {
        self.headers.clear();
        self.parts.clear();
        self.names.clear();
        self.controls.clear();
        // All room first: nothing may move once a pointer to it is in a header.
        self.headers.reserve(SEND);
        self.parts.reserve(SEND);
        self.names.reserve(SEND);
        self.controls.reserve(SEND);
        for (i, datagram) in datagrams.iter().enumerate() {
            self.parts.push(libc::iovec {
                iov_base: datagram.bytes.as_ptr().cast_mut().cast(),
                iov_len: datagram.bytes.len(),
            });
            self.controls.push(Control([0; CONTROL]));
            // SAFETY: all zeroes is a value of this structure of numbers and pointers.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = &raw mut self.parts[i];
            header.msg_hdr.msg_iovlen = 1;
            let to = datagram.to.map(|to| if v6 { mapped(to) } else { to });
            self.names.push(SockAddr::from(to.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)))));
            if to.is_some() {
                header.msg_hdr.msg_name = self.names[i].as_ptr().cast_mut().cast();
                header.msg_hdr.msg_namelen = self.names[i].len();
            }
            let used = put_beside(&mut self.controls[i], v6, to, datagram.from, datagram.ecn);
            if used > 0 {
                header.msg_hdr.msg_control = (&raw mut self.controls[i]).cast();
                header.msg_hdr.msg_controllen = used as _;
            }
            self.headers.push(header);
        }
        // SAFETY: the headers lead to memory that `self` owns and that did not move since, and to the datagrams' bytes,
        // which are borrowed; the kernel reads all of it and writes `msg_len` only.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// An address as a socket of IPv6 names it: those of IPv4 in their mapped form (RFC 4291, 2.5.5.2).
fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into(),
        v6 => v6,
    }
}

/// Writes the source address and the ECN bits beside a datagram, as far as they are given, and says how many bytes that
/// takes. To an IPv4 destination the traffic class is IPv4's even on a socket of IPv6.
fn put_beside(control: &mut Control, v6: bool, to: Option<SocketAddr>, from: Option<IpAddr>, ecn: u8) -> usize {
    let mut used = 0;
    if let Some(from) = from {
        match (v6, from) {
            (false, IpAddr::V4(from)) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from(from).to_be() },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                used = put(control, used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            (true, from) => {
                let from = match from {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: from.octets() }, ipi6_ifindex: 0 };
                used = put(control, used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
            // An IPv6 source on a socket of IPv4: refused before this.
            (false, IpAddr::V6(_)) => {}
        }
    }
    if ecn & 3 != 0 {
        let v4 = match to {
            Some(SocketAddr::V6(to)) => to.ip().to_ipv4_mapped().is_some(),
            Some(SocketAddr::V4(_)) => true,
            None => !v6,
        };
        let (level, kind) = if v4 { (libc::IPPROTO_IP, libc::IP_TOS) } else { (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) };
        used = put(control, used, level, kind, i32::from(ecn & 3));
    }
    used
}

/// Appends one control message (`cmsg(3)`) and says where the next would begin.
fn put<T: Copy>(control: &mut Control, at: usize, level: i32, kind: i32, value: T) -> usize {
    // SAFETY: it computes with numbers only.
    let (space, len) =
        unsafe { (libc::CMSG_SPACE(size_of::<T>() as u32) as usize, libc::CMSG_LEN(size_of::<T>() as u32) as usize) };
    // The largest pair takes 64 bytes.
    if at + space > CONTROL {
        return at;
    }
    // SAFETY: header and value lie within the array, as just checked; both are written unaligned.
    unsafe {
        let header = control.0.as_mut_ptr().add(at);
        let mut filled: libc::cmsghdr = std::mem::zeroed();
        filled.cmsg_len = len as _;
        filled.cmsg_level = level;
        filled.cmsg_type = kind;
        ptr::write_unaligned(header.cast(), filled);
        let data = header.add(libc::CMSG_LEN(0) as usize);
        ptr::write_unaligned(data.cast(), value);
    }
    at + space
}
