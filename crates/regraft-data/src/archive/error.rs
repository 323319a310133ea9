//! Why an archive cannot be unpacked.

use std::io;
use std::path::{Path, PathBuf};

use super::UnpackLimits;

/// An archive that cannot be unpacked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ArchiveError {
    /// The archive or a file to write fails.
    #[error("{}: {message}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// Not an archive, or a damaged one.
    #[error("{}: is not an archive that can be read ({message}); get it again, or unpack it \
        yourself and name the folder", .path.display())]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// An intact archive that uses what is not supported.
    #[error("{}: its entry {entry:?} is {what}, which is not supported; unpack it yourself and \
        name the folder", .path.display())]
    Unsupported {
        /// The archive.
        path: PathBuf,
        /// The entry's name.
        entry: String,
        /// What it is, such as `encrypted`.
        what: String,
    },
    /// An entry that would be written somewhere else, or over another, or is neither file nor
    /// folder.
    #[error("{}: its entry {entry:?} {why}; nothing of it is used", .path.display())]
    Entry {
        /// The archive.
        path: PathBuf,
        /// The entry's name.
        entry: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Too much.
    #[error(
        "{}: unpacks to more than {} MiB or {} entries, which no archive of images of its size \
         does; unpack it yourself if you trust it",
        .path.display(),
        .limits.bytes >> 20,
        .limits.entries
    )]
    TooLarge {
        /// The archive.
        path: PathBuf,
        /// What is allowed.
        limits: UnpackLimits,
    },
}

pub fn file_error(path: &Path, error: &io::Error) -> ArchiveError {
    ArchiveError::File { path: path.to_path_buf(), message: error.to_string() }
}
