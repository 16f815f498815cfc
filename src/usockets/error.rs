//! What can fail here: a variant per thing that a caller can do about it.

/// Why an operation of a loop, a context, a socket or a timer failed.
///
/// What happens to a single connection is not told here but by its callbacks, with the network's own words
/// ([`SocketError`](crate::net::SocketError)).
#[derive(thiserror::Error, Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UsError {
    /// The loop runs already, so it cannot be run or stepped from one of its own callbacks.
    #[error("the loop is running already")]
    LoopAlreadyRunning,

    /// The loop could not be made: its network cannot be opened.
    #[error("cannot create the loop: {message}")]
    LoopCreation {
        /// What failed, and what would help.
        message: String,
    },

    /// The loop's user data is gone, because the loop is.
    #[error("the loop's user data is gone: the loop has ended")]
    LoopExtNull,

    /// The timer could not be made.
    #[error("cannot create the timer: {message}")]
    TimerCreation {
        /// What failed, and what would help.
        message: String,
    },

    /// The timer is closed.
    #[error("the timer is closed")]
    TimerExtNull,

    /// The context could not be made: a key, a certificate, a cipher or another option cannot be used.
    #[error("cannot create the socket context: {message}")]
    SocketContextCreation {
        /// The file or option, what is wrong with it and what would be right.
        message: String,
    },

    /// The context is closed.
    #[error("the socket context is closed")]
    SocketContextExtNull,

    /// The socket is closed and its user data dropped.
    #[error("the socket is closed")]
    SocketExtNull,

    /// This is neither an address nor a host name.
    #[error("`{host}` is neither an address nor a host name")]
    InvalidHostString {
        /// The string as it was given.
        host: String,
    },

    /// This is neither an address nor a host name from which a connection could come.
    #[error("source `{host}` is neither an address nor a host name")]
    InvalidSourceHostString {
        /// The string as it was given.
        host: String,
    },

    /// Only the thread to which the loop belongs may do this.
    #[error("not on the loop's thread: defer it through a LoopHandle")]
    NotOnLoopThread,

    /// The loop has ended, so nothing will run on it any more.
    #[error("the loop has ended")]
    LoopNotRunning,

    /// A thread panicked while it held the lock that this operation needs.
    #[error("cannot {operation}: a thread panicked while it held the lock")]
    MutexLockFailed {
        /// What was to be done, as an infinitive.
        operation: String,
    },

    /// The loop to which the timer belongs has ended.
    #[error("the timer's loop has ended")]
    TimerLoopNull,

    /// There is no memory for it.
    #[error("out of memory")]
    AllocationFailed,

    /// The network refused: the address is in use, is not ours, cannot be reached …
    #[error("{operation}")]
    NetworkOperation {
        /// What was tried, the network's answer, and what would help.
        operation: String,
    },

    /// These bytes are not a string: no UTF-8, or a NUL within.
    #[error("not a valid string: UTF-8 without NUL was expected")]
    InvalidStringConversion,
}
