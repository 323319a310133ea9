//! Kinds of errors, which decide a program's exit code.

use std::error::Error;

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Something impossible was asked for: a wrong option, or an input that cannot be used.
    Input,
    /// Something failed on the way: the disk, memory, a file that changed, or a training that
    /// diverged.
    Failure,
}

impl ErrorKind {
    /// [`ErrorKind::Failure`] if `is_failure`.
    #[must_use]
    pub fn failure_if(is_failure: bool) -> Self {
        if is_failure { Self::Failure } else { Self::Input }
    }
}

/// An error whose kind is known.
pub trait Classified: Error {
    /// Its kind.
    fn kind(&self) -> ErrorKind;

    /// Whether it only says that another rank failed, which tells its reason itself.
    fn is_of_peer(&self) -> bool {
        false
    }
}
