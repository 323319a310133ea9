//! Why a run has no folder.

use super::CONFIG;
use crate::file_error::FileError;
use std::path::PathBuf;

/// Why a run has no folder.
#[derive(Debug, thiserror::Error)]
pub enum RunFolderError {
    /// The named folder holds something already.
    #[error("the output folder {} is not empty", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// Something that is not a folder has its name.
    #[error("{} is not a folder, so no run can be written there", path.display())]
    NotAFolder {
        /// The file that is in the way.
        path: PathBuf,
    },
    /// A folder (or a device, a pipe) has the name of a file that the run writes.
    #[error("{} is in the way of a file that the run writes and is not a file; move it away",
        path.display())]
    NotAFile {
        /// The path that is in the way.
        path: PathBuf,
    },
    /// Another process writes to it.
    #[error("{} is in use by another run", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// There is no run to resume.
    #[error("{} is not a run folder: it has no {CONFIG}", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// The data folder has no name of its own that a run could take.
    #[error("{} has no name that the run could take", path.display())]
    NoName {
        /// The data folder.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] FileError),
}
