//! How a command fails: it was used wrongly, something failed on the way, or it was told to stop.

use crate::hint;
use regraft::error_kind::{Classified, ErrorKind};
use std::fmt;
use std::process::ExitCode;

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    error: anyhow::Error,
    hint: Option<String>,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Error(ErrorKind),
    /// Another rank failed, and says why.
    Peer,
    /// A signal of this number told it to end, and it saved everything.
    Signal(u8),
}

impl Failure {
    fn new(reason: Reason, error: impl Into<anyhow::Error>) -> Self {
        let error = error.into();
        Self { hint: hint::of(&error), error, reason }
    }

    /// Wrong usage or bad input.
    pub fn input(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Reason::Error(ErrorKind::Input), error)
    }

    /// Something failed on the way.
    pub fn under_way(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Reason::Error(ErrorKind::Failure), error)
    }

    /// An error of the library, which knows its kind.
    pub fn of(error: impl Classified + Into<anyhow::Error>) -> Self {
        let reason = if error.is_of_peer() { Reason::Peer } else { Reason::Error(error.kind()) };
        Self::new(reason, error)
    }

    /// Another rank failed.
    pub fn of_peer() -> Self {
        Self::new(Reason::Peer, anyhow::anyhow!("another rank has failed"))
    }

    /// Whether another rank failed, and says why.
    #[cfg_attr(not(feature = "mpi"), allow(dead_code))]
    pub fn is_of_peer(&self) -> bool {
        matches!(self.reason, Reason::Peer)
    }

    /// A signal of this number told it to end.
    pub fn stopped(error: impl Into<anyhow::Error>, signal: u8) -> Self {
        Self::new(Reason::Signal(signal), error)
    }

    /// Itself with this advice, unless the error has advice of its own.
    pub fn or_hint(mut self, hint: impl FnOnce() -> Option<String>) -> Self {
        self.hint = self.hint.or_else(hint);
        self
    }

    /// 2 for wrong usage and bad input, 1 for a failure, and 128 and the number for a signal, as
    /// shells have it.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    /// The number of [`Self::exit_code`].
    pub fn code(&self) -> u8 {
        match self.reason {
            Reason::Error(ErrorKind::Input) => 2,
            Reason::Error(ErrorKind::Failure) | Reason::Peer => 1,
            Reason::Signal(signal) => signal.saturating_add(128),
        }
    }

    /// Whether it is only that nobody reads the output any more.
    pub fn is_closed_pipe(&self) -> bool {
        let pipe = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
        self.error.chain().any(|cause| cause.downcast_ref().is_some_and(pipe))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if matches!(self.reason, Reason::Signal(_)) { "note" } else { "error" };
        write!(formatter, "{word}: {}", self.error)?;
        self.hint.iter().try_for_each(|hint| write!(formatter, "\nhint: {hint}"))
    }
}

/// Writing output failed.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::under_way(error)
    }
}
