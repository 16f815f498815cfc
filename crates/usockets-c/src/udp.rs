//! `us_udp_socket_t` and `us_udp_packet_buffer_t`.
//!
//! A socket receives into memory of its own. While `data_cb` runs that memory is in the program's packet buffer, and what
//! the program has there is away; both are back where they were when it returns.
#![allow(unsafe_code)]

use crate::event_loop::us_loop_t;
use crate::memory::{self, Head, Kind, Object, bytes, look, text};
use nethuns_rs::usockets::{UdpDataCallback, UdpDrainCallback, UdpPacketBuffer, UdpSocket};
use std::cell::{Cell, RefCell, UnsafeCell};
use std::ffi::{c_char, c_int, c_uint, c_ushort, c_void};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ptr;

type OnPackets = Option<unsafe extern "C" fn(*mut us_udp_socket_t, *mut us_udp_packet_buffer_t, c_int)>;
type OnDrain = Option<unsafe extern "C" fn(*mut us_udp_socket_t)>;

/// An address as C programs look at it: a `sockaddr_in` or `sockaddr_in6`.
#[repr(C)]
union Peer {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

/// `us_udp_packet_buffer_t`
#[repr(C, align(16))]
pub(crate) struct us_udp_packet_buffer_t {
    head: Head,
    packets: RefCell<UdpPacketBuffer>,
    /// Addresses that were asked for, by the index of their packet.
    peers: Box<[UnsafeCell<Peer>]>,
}

// SAFETY: `repr(C)`, begins with its `Head`, the only one of its kind.
unsafe impl Object for us_udp_packet_buffer_t {
    const KIND: Kind = Kind::PacketBuffer;
}

/// `us_udp_socket_t`
#[repr(C, align(16))]
pub(crate) struct us_udp_socket_t {
    head: Head,
    socket: RefCell<Option<UdpSocket>>,
    buffer: *mut us_udp_packet_buffer_t,
    /// Whether the packet buffer was made for the socket alone.
    owns_buffer: bool,
    on_data: OnPackets,
    on_drain: OnDrain,
    user: *mut c_void,
    of: *mut us_loop_t,
    closed: Cell<bool>,
}

// SAFETY: `repr(C)`, begins with its `Head`, the only one of its kind.
unsafe impl Object for us_udp_socket_t {
    const KIND: Kind = Kind::UdpSocket;
}

impl Drop for us_udp_socket_t {
    fn drop(&mut self) {
        if self.owns_buffer {
            // SAFETY: made for this socket, and nobody else's.
            unsafe { memory::free(self.buffer) };
        }
    }
}

impl us_udp_socket_t {
    fn with<R>(&self, f: impl FnOnce(&UdpSocket) -> R) -> Option<R> {
        self.socket.borrow().as_ref().map(f)
    }
}

/// The index of a packet; past the end for what is none.
fn index(index: c_int) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// A packet buffer; null if there is no memory. It is the program's as long as the process lives.
#[unsafe(no_mangle)]
extern "C" fn us_create_udp_packet_buffer() -> *mut us_udp_packet_buffer_t {
    let Ok(packets) = UdpPacketBuffer::new() else { return ptr::null_mut() };
    memory::make(0, |head| us_udp_packet_buffer_t {
        head,
        packets: RefCell::new(packets),
        peers: (0..UdpPacketBuffer::PACKETS)
            // SAFETY: these are structures of numbers.
            .map(|_| UnsafeCell::new(unsafe { std::mem::zeroed() }))
            .collect(),
    })
}

/// The payload of a packet: room for 64 KiB.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_udp_packet_buffer_payload(buf: *mut us_udp_packet_buffer_t, packet: c_int) -> *mut c_char {
    // SAFETY: null or a packet buffer, as the header asks for.
    let Some(it) = (unsafe { look(buf) }) else { return ptr::null_mut() };
    let mut packets = it.packets.borrow_mut();
    let payload = packets.payload_mut(index(packet));
    if payload.is_empty() { ptr::null_mut() } else { payload.as_mut_ptr().cast() }
}

/// The length of a packet's payload.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_udp_packet_buffer_payload_length(buf: *mut us_udp_packet_buffer_t, packet: c_int) -> c_int {
    // SAFETY: null or a packet buffer, as the header asks for.
    let length = unsafe { look(buf) }.map_or(0, |it| it.packets.borrow().payload_length(index(packet)));
    c_int::try_from(length).unwrap_or(c_int::MAX)
}

/// Copies the address that a packet was sent to, 4 or 16 bytes, and says how many; 0 if it is not known.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_udp_packet_buffer_local_ip(
    buf: *mut us_udp_packet_buffer_t,
    packet: c_int,
    ip: *mut c_char,
) -> c_int {
    // SAFETY: null or a packet buffer, as the header asks for.
    let local = unsafe { look(buf) }.and_then(|it| it.packets.borrow().local_ip(index(packet)));
    let Some(local) = local.filter(|_| !ip.is_null()) else { return 0 };
    let (bytes, length) = crate::socket::address_bytes(local, false);
    // SAFETY: the program has room for 16 bytes, as the header asks for.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), ip.cast(), length as usize) };
    length
}

/// Whom a packet is from: a `struct sockaddr`, until the packet is another one. Of family `AF_UNSPEC` if nobody is known.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_udp_packet_buffer_peer(buf: *mut us_udp_packet_buffer_t, packet: c_int) -> *mut c_char {
    // SAFETY: null or a packet buffer, as the header asks for.
    let Some(it) = (unsafe { look(buf) }) else { return ptr::null_mut() };
    let Some(place) = it.peers.get(index(packet)) else { return ptr::null_mut() };
    let peer = it.packets.borrow().peer(index(packet)).map_or_else(
        // SAFETY: these are structures of numbers.
        || unsafe { std::mem::zeroed() },
        to_c,
    );
    // SAFETY: the place is the packet's, and nobody else looks at it now: buffers belong to one thread.
    unsafe { place.get().write(peer) };
    place.get().cast()
}

/// The ECN bits of a packet.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_udp_packet_buffer_ecn(buf: *mut us_udp_packet_buffer_t, packet: c_int) -> c_int {
    // SAFETY: null or a packet buffer, as the header asks for.
    unsafe { look(buf) }.map_or(0, |it| it.packets.borrow().ecn(index(packet)).into())
}

/// Writes a packet to be sent: puts the bytes at an offset of its payload, which ends there. `peer_addr` is a
/// `struct sockaddr`; null leaves it as it is.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_udp_buffer_set_packet_payload(
    buf: *mut us_udp_packet_buffer_t,
    packet: c_int,
    offset: c_int,
    payload: *mut c_void,
    length: c_int,
    peer_addr: *mut c_void,
) {
    // SAFETY: null or a packet buffer, as the header asks for.
    let (Some(it), Ok(offset)) = (unsafe { look(buf) }, usize::try_from(offset)) else { return };
    // SAFETY: null or an address of one of two kinds, as the header asks for.
    let peer = unsafe { from_c(peer_addr.cast()) }.or_else(|| it.packets.borrow().peer(index(packet)));
    // SAFETY: so many bytes, as the header asks for. They may lie in another packet of this buffer, or in this one.
    let payload = unsafe { bytes(payload.cast(), length) }.to_vec();
    let Some(peer) = peer else { return };
    // What does not fit is not written, and the packet stays as it was.
    let _ = it.packets.borrow_mut().set_packet_payload(index(packet), offset, &payload, peer);
}

fn to_c(peer: SocketAddr) -> Peer {
    match peer {
        SocketAddr::V4(peer) => {
            // SAFETY: this is a structure of numbers.
            let mut v4: libc::sockaddr_in = unsafe { std::mem::zeroed() };
            v4.sin_family = libc::AF_INET as libc::sa_family_t;
            v4.sin_port = peer.port().to_be();
            v4.sin_addr.s_addr = u32::from_ne_bytes(peer.ip().octets());
            // SAFETY: as above; what is left of the larger one is zero.
            let mut all: Peer = unsafe { std::mem::zeroed() };
            all.v4 = v4;
            all
        }
        SocketAddr::V6(peer) => {
            // SAFETY: this is a structure of numbers.
            let mut v6: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
            v6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            v6.sin6_port = peer.port().to_be();
            v6.sin6_flowinfo = peer.flowinfo();
            v6.sin6_addr.s6_addr = peer.ip().octets();
            v6.sin6_scope_id = peer.scope_id();
            Peer { v6 }
        }
    }
}

/// # Safety
///
/// `peer` is null, or leads to a `sockaddr_in` or a `sockaddr_in6`, and its family says which.
unsafe fn from_c(peer: *const libc::sockaddr) -> Option<SocketAddr> {
    if peer.is_null() {
        return None;
    }
    // SAFETY: as promised; programs need not align it.
    unsafe {
        match c_int::from((&raw const (*peer).sa_family).read_unaligned()) {
            libc::AF_INET => {
                let v4 = peer.cast::<libc::sockaddr_in>().read_unaligned();
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Some((ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                let v6 = peer.cast::<libc::sockaddr_in6>().read_unaligned();
                let (ip, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
                match ip.to_canonical() {
                    IpAddr::V4(ip) => Some((ip, port).into()),
                    IpAddr::V6(ip) => Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into()),
                }
            }
            _ => None,
        }
    }
}

/// A UDP socket. `data_cb` is called with what was received, `drain_cb` when there is room again after fewer packets were
/// sent than asked for. Null if it cannot be bound.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_create_udp_socket(
    loop_: *mut us_loop_t,
    buf: *mut us_udp_packet_buffer_t,
    data_cb: OnPackets,
    drain_cb: OnDrain,
    host: *const c_char,
    port: c_ushort,
    user: *mut c_void,
) -> *mut us_udp_socket_t {
    // SAFETY: null or a loop, as the header asks for.
    let Some(of) = (unsafe { look(loop_) }) else { return ptr::null_mut() };
    // SAFETY: null or a string, as the header asks for.
    let name = unsafe { text(host) };
    if name.is_none() && !host.is_null() {
        return ptr::null_mut();
    }
    let owns_buffer = buf.is_null();
    let buffer = if owns_buffer { us_create_udp_packet_buffer() } else { buf };
    // SAFETY: the program's or ours.
    let Some(packets) = (unsafe { look(buffer) }) else { return ptr::null_mut() };
    let block = memory::make(0, |head| us_udp_socket_t {
        head,
        socket: RefCell::new(None),
        buffer,
        owns_buffer,
        on_data: data_cb,
        on_drain: drain_cb,
        user,
        of: loop_,
        closed: Cell::new(false),
    });
    let on_data = move |_: &mut UdpSocket, received: &mut UdpPacketBuffer, count: usize| {
        // SAFETY: the socket is there until its loop is freed.
        let Some(it) = (unsafe { look(block) }) else { return };
        // SAFETY: packet buffers stay.
        let (Some(callback), Some(buffer)) = (it.on_data, unsafe { look(it.buffer) }) else { return };
        std::mem::swap(&mut *buffer.packets.borrow_mut(), received);
        // SAFETY: a callback of the program, called as the header says.
        unsafe { callback(block, it.buffer, c_int::try_from(count).unwrap_or(c_int::MAX)) };
        std::mem::swap(&mut *buffer.packets.borrow_mut(), received);
    };
    let on_drain = move |_: &mut UdpSocket| {
        // SAFETY: the socket is there until its loop is freed.
        let Some(callback) = (unsafe { look(block) }).and_then(|it| it.on_drain) else { return };
        // SAFETY: a callback of the program, called as the header says.
        unsafe { callback(block) };
    };
    let socket = of.with(|of| {
        let on_data = data_cb.map(|_| Box::new(on_data) as UdpDataCallback);
        let on_drain = drain_cb.map(|_| Box::new(on_drain) as UdpDrainCallback);
        UdpSocket::create_in(of, &mut packets.packets.borrow_mut(), name, port, on_data, on_drain)
    });
    match socket {
        Some(Ok(socket)) => {
            // SAFETY: made just now.
            if let Some(it) = unsafe { look(block) } {
                it.socket.replace(Some(socket));
            }
            of.add_udp(block);
            block
        }
        _ => {
            // SAFETY: nobody has heard of it.
            unsafe { memory::free(block) };
            ptr::null_mut()
        }
    }
}

/// Closes the socket: the loop is not kept running by it any more. It is freed with the loop.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_udp_socket_close(s: *mut us_udp_socket_t) {
    // SAFETY: null or a UDP socket, as the header asks for.
    let Some(it) = (unsafe { look(s) }) else { return };
    if it.closed.replace(true) {
        return;
    }
    it.with(UdpSocket::close);
    // SAFETY: the loop frees its UDP sockets, so it is there.
    if let Some(of) = unsafe { look(it.of) } {
        of.let_go();
    }
}

/// Gives the socket another address and port; null is every address. -1 if it cannot be, and then it keeps its own.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_udp_socket_bind(s: *mut us_udp_socket_t, hostname: *const c_char, port: c_uint) -> c_int {
    // SAFETY: null or a UDP socket, and null or a string, as the header asks for.
    let (Some(it), name) = (unsafe { look(s) }, unsafe { text(hostname) }) else { return -1 };
    let (Some(name), Ok(port)) = (name.or(hostname.is_null().then_some("")), u16::try_from(port)) else { return -1 };
    match it.with(|socket| socket.bind(name, port)) {
        Some(Ok(())) => 0,
        _ => -1,
    }
}

/// Sends the first packets of a buffer, 1024 at most, each to its peer. Returns how many were taken; -1 if the first one
/// cannot be sent at all.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_udp_socket_send(
    s: *mut us_udp_socket_t,
    buf: *mut us_udp_packet_buffer_t,
    num: c_int,
) -> c_int {
    // SAFETY: null or what the header asks for.
    let (Some(it), Some(buffer)) = (unsafe { look(s) }, unsafe { look(buf) }) else { return -1 };
    let packets = usize::try_from(num).unwrap_or(0);
    match it.with(|socket| socket.send(&mut buffer.packets.borrow_mut(), packets)) {
        Some(Ok(sent)) => c_int::try_from(sent).unwrap_or(c_int::MAX),
        _ => -1,
    }
}

/// Receives what waits, up to 1024 packets. Returns how many; -1 if there are none.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_udp_socket_receive(s: *mut us_udp_socket_t, buf: *mut us_udp_packet_buffer_t) -> c_int {
    // SAFETY: null or what the header asks for.
    let (Some(it), Some(buffer)) = (unsafe { look(s) }, unsafe { look(buf) }) else { return -1 };
    match it.with(|socket| socket.receive(&mut buffer.packets.borrow_mut())) {
        Some(Ok(count)) if count > 0 => c_int::try_from(count).unwrap_or(c_int::MAX),
        _ => -1,
    }
}

/// The port; -1 if there is none.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_udp_socket_bound_port(s: *mut us_udp_socket_t) -> c_int {
    // SAFETY: null or a UDP socket, as the header asks for.
    unsafe { look(s) }.and_then(|it| it.with(UdpSocket::bound_port)).unwrap_or(-1)
}

/// What the socket was created with.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_udp_socket_user(s: *mut us_udp_socket_t) -> *mut c_void {
    // SAFETY: null or a UDP socket, as the header asks for.
    unsafe { look(s) }.map_or(ptr::null_mut(), |it| it.user)
}
