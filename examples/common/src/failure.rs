//! Why a tool ends with a status other than 0.

use std::fmt;

/// One line for standard error, and an exit status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    message: String,
    status: u8,
}

impl Failure {
    /// Something failed: a port, a system call.
    pub const ERROR: u8 = 1;
    /// The command line asks for something that does not exist or cannot be.
    pub const USAGE: u8 = 2;
    /// The run ended, but not with what was asked for: packets missing, not completed, not accounted for.
    pub const SHORT: u8 = 3;

    /// Something failed.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), status: Self::ERROR }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), status: Self::USAGE }
    }

    /// The result is not what was asked for.
    pub fn short(message: impl Into<String>) -> Self {
        Self { message: message.into(), status: Self::SHORT }
    }

    /// The exit status.
    #[must_use]
    pub fn status(&self) -> u8 {
        self.status
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line, whatever is in it.
        let mut words = self.message.lines().map(str::trim).filter(|line| !line.is_empty());
        f.write_str(words.next().unwrap_or("unknown failure"))?;
        words.try_for_each(|line| write!(f, "; {line}"))
    }
}

impl std::error::Error for Failure {}

impl From<nethuns_rs::Error> for Failure {
    fn from(error: nethuns_rs::Error) -> Self {
        Self::new(error.to_string())
    }
}
