//! Sockets, as programs hold them.

use super::UsError;
use super::core::{Core, Is, SocketKey};
use super::ext::Page;
use crate::net::{Readiness, SocketError};
use std::cell::{Ref, RefMut};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::rc::Rc;

/// A connection, by its name: what callbacks are given, and what a program may keep.
///
/// The loop owns the connection; dropping or cloning a `Socket` changes nothing. Once the connection is closed every
/// operation is harmless: nothing is written, nothing happens. `SSL` says whether it speaks TLS; `S` is the type of its
/// user data.
pub struct Socket<const SSL: bool, S: 'static> {
    pub(super) core: Rc<Core>,
    pub(super) key: SocketKey,
    pub(super) page: Page<S>,
    pub(super) place: usize,
}

impl<const SSL: bool, S> Socket<SSL, S> {
    /// Writes bytes, and returns how many were taken: all, or fewer if there is no room for more now; then `on_writable`
    /// tells when there is. 0 if the socket is closed, shut down or not connected yet. With `msg_more` a part that does not
    /// fill a segment may wait for what follows, for 200 ms at most.
    #[inline]
    pub fn write(&self, data: &[u8], msg_more: bool) -> usize {
        self.core.write(self.key, data, msg_more)
    }

    /// Writes a header and a payload as if they were one, and returns how many bytes of both were taken.
    #[inline]
    pub fn write2(&self, header: &[u8], payload: &[u8]) -> usize {
        self.core.write2(self.key, header, payload)
    }

    /// Sends what was written with `msg_more` and waits.
    pub fn flush(&self) {
        self.core.flush(self.key);
    }

    /// Ends our stream after what was written; the peer's goes on. Nothing can be written any more.
    pub fn shutdown(&self) {
        self.core.shutdown(self.key);
    }

    /// Ends reading: what came before is still told, then `on_end` is.
    pub fn shutdown_read(&self) {
        self.core.shutdown_read(self.key);
    }

    /// Closes the socket: `on_close` is called with this code before `close` returns. What was written is still
    /// delivered; what was received and not read is lost, and the peer may be told so by a reset.
    pub fn close(&self, code: i32) {
        self.core.close(self.key, code, None);
    }

    /// Closes a socket that is not connected yet, without `on_close`. Does nothing to one that is.
    pub fn close_connecting(&self) {
        self.core.close_connecting(self.key);
    }

    /// Lets received data wait; in the end the peer has to wait too.
    pub fn pause(&self) {
        self.core.set_reading(self.key, false);
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        self.core.set_reading(self.key, true);
    }

    /// Whether it is [paused](Self::pause).
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.core.is(self.key, Is::Paused)
    }

    /// Whether it is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.core.is(self.key, Is::Closed)
    }

    /// Whether our stream has been ended.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.core.is(self.key, Is::ShutDown)
    }

    /// Whether it is connected, and not closed.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.core.is(self.key, Is::Established)
    }

    /// Whether its user data is still there: until the end of the iteration in which it was closed.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.core.is(self.key, Is::Known)
    }

    /// Our port; -1 if it is closed or not connected yet.
    #[must_use]
    pub fn local_port(&self) -> i32 {
        self.local_addr().map_or(-1, |local| i32::from(local.port()))
    }

    /// The peer's port; -1 if it is closed or not connected yet.
    #[must_use]
    pub fn remote_port(&self) -> i32 {
        self.remote_addr().map_or(-1, |peer| i32::from(peer.port()))
    }

    /// The peer's address, unless it is closed or not connected yet.
    #[must_use]
    pub fn remote_address(&self) -> Option<IpAddr> {
        self.remote_addr().map(|peer| peer.ip())
    }

    /// The peer's address and port, unless it is closed or not connected yet.
    #[must_use]
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.core.peer_addr(self.key)
    }

    /// Our address and port, unless it is closed or not connected yet.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.core.local_addr(self.key)
    }

    /// The descriptor of its connection, if it has one: none has that our engine made. It stays the socket's, which reads
    /// and writes it as it sees fit.
    #[must_use]
    pub fn fd(&self) -> Option<RawFd> {
        self.core.fd(self.key)
    }

    /// What its connection is polled for: `READABLE` unless that is [paused](Self::pause) or the peer's stream has ended,
    /// `WRITABLE` while it is being connected or a write was cut short. Neither once it is closed.
    #[must_use]
    pub fn poll_events(&self) -> Readiness {
        self.core.polls_for(self.key)
    }

    /// Calls `on_timeout` once, in so many seconds: counted in sweeps of four seconds, and up to one sweep early. 0 is never;
    /// the most is 956.
    #[inline]
    pub fn set_timeout(&self, seconds: u32) {
        self.core.set_timeout(self.key, seconds);
    }

    /// Calls `on_long_timeout` once, in so many minutes, up to one early. 0 is never; the most is 239.
    #[inline]
    pub fn set_long_timeout(&self, minutes: u32) {
        self.core.set_long_timeout(self.key, minutes);
    }

    /// Why it could not be connected, or is over, if not in order.
    #[must_use]
    pub fn error(&self) -> Option<SocketError> {
        self.core.error(self.key)
    }

    /// Its user data: `None` once it is gone, or while it is borrowed mutably.
    #[inline]
    #[must_use]
    pub fn ext(&self) -> Option<Ref<'_, S>> {
        self.page[self.place].get(self.key)
    }

    /// Its user data: `None` once it is gone, or while it is borrowed.
    #[inline]
    #[must_use]
    pub fn ext_mut(&self) -> Option<RefMut<'_, S>> {
        self.page[self.place].get_mut(self.key)
    }

    /// Its user data.
    ///
    /// # Errors
    ///
    /// [`SocketExtNull`](UsError::SocketExtNull) once it is gone, or while it is borrowed mutably.
    pub fn try_ext(&self) -> Result<Ref<'_, S>, UsError> {
        self.ext().ok_or(UsError::SocketExtNull)
    }
}

#[cfg(feature = "tls")]
impl<S> Socket<true, S> {
    /// What was wrong with the peer's TLS, if that is why the socket was closed. Until the iteration ends.
    #[must_use]
    pub fn tls_error(&self) -> Option<Box<str>> {
        self.core.tls_error(self.key)
    }

    /// The protocol that both ends have chosen (ALPN, RFC 7301).
    #[must_use]
    pub fn alpn(&self) -> Option<String> {
        self.core.tls(self.key, |session| session.alpn())?
    }

    /// The name that the client asked for (SNI, RFC 6066).
    #[must_use]
    pub fn server_name(&self) -> Option<String> {
        self.core.tls(self.key, |session| session.server_name())?
    }

    /// The version that was agreed on: `TLSv1.2` or `TLSv1.3`. `None` before the handshake's end.
    #[must_use]
    pub fn tls_version(&self) -> Option<&'static str> {
        self.core.tls(self.key, |session| session.version())?
    }

    /// The cipher that was agreed on, in OpenSSL's words. `None` before the handshake's end.
    #[must_use]
    pub fn tls_cipher(&self) -> Option<&'static str> {
        self.core.tls(self.key, |session| session.cipher())?
    }

    /// On a server, the certificate that the client has shown, in DER. It was checked; what is in it is for the program to
    /// judge.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<Vec<u8>> {
        self.core.tls(self.key, |session| session.peer_certificate().map(<[u8]>::to_vec))?
    }

    /// Whether an earlier session was resumed.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.core.tls(self.key, |session| session.resumed()).unwrap_or(false)
    }

    /// Whether the handshake goes on.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.core.tls(self.key, |session| session.is_handshaking()).unwrap_or(false)
    }
}

impl<const SSL: bool, S> Clone for Socket<SSL, S> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), key: self.key, page: self.page.clone(), place: self.place }
    }
}

/// Two names of one socket are equal.
impl<const SSL: bool, S> PartialEq for Socket<SSL, S> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && Rc::ptr_eq(&self.core, &other.core)
    }
}

impl<const SSL: bool, S> Eq for Socket<SSL, S> {}

impl<const SSL: bool, S> fmt::Debug for Socket<SSL, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Socket");
        shown.field("remote", &self.remote_addr()).field("closed", &self.is_closed()).finish()
    }
}
