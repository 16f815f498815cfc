//! The C interface of uSockets over [`nethuns_rs::usockets`]: programs written for that library link against this one.
//!
//! `include/libusockets.h` declares what is here. Each object that a program holds is one block of memory: a header that
//! says what it is, our own part, and directly behind it the program's extension memory.
//!
//! ```text
//!   us_loop_t ─────▶ Loop<LoopRef>            the program's; us_loop_free drops it
//!   us_socket_context_t ─▶ SocketContext       the program's; given back at the end of the iteration in which it is freed
//!   us_listen_socket_t ──▶ ListenSocket        the context's
//!   us_socket_t ───▶ Socket<SSL, Owner>        the loop's: `Owner` is the socket's user data in Rust, and frees the block
//!   us_timer_t ────▶ Timer<()>                 the program's; us_timer_close frees it at once
//!   us_udp_socket_t ─▶ UdpSocket               the loop's
//! ```
//!
//! So a closed `us_socket_t` can be looked at until the end of the iteration, as programs expect. Everything belongs to the
//! thread of its loop; only `us_wakeup_loop` may be called from others.
//!
//! A handle that is null, or of another kind than its function wants, is answered like a closed one.

mod compat;
mod context;
mod event_loop;
mod memory;
mod network;
mod poll;
mod socket;
mod timer;
mod tls;
mod told;
mod udp;
