//! An operation on a file or folder that the operating system refused.

use std::io;
use std::path::{Path, PathBuf};

/// Something that could not be done with a file or folder. What to do about it is said by the
/// errors that contain this one.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {source}", path = path.display())]
pub struct FileError {
    /// The operation.
    pub action: &'static str,
    /// With which file or folder.
    pub path: PathBuf,
    /// The operating system's error.
    pub source: io::Error,
}

impl FileError {
    /// Makes the error from the operating system's, for `map_err`.
    pub(crate) fn when(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}
