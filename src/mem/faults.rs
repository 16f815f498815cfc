//! A fault injector over any socket.
