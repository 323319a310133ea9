//! Why an archive cannot be unpacked.

use std::io;
use std::path::{Path, PathBuf};

use super::UnpackLimits;

/// An archive that cannot be unpacked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ArchiveError {
    /// The archive cannot be read, or a file cannot be written.
    #[error("{}: {message}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's message.
        message: String,
    },
    /// Not an archive, or a damaged one.
    #[error("{}: is not a readable archive ({message}); download it again, or unpack it \
        yourself and name the folder", .path.display())]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// The fault.
        message: String,
    },
    /// An intact archive that uses an unsupported feature.
    #[error("{}: its entry {entry:?} is {what}, which is not supported; unpack it yourself and \
        name the folder", .path.display())]
    Unsupported {
        /// The archive.
        path: PathBuf,
        /// The entry's name.
        entry: String,
        /// The feature, such as `encrypted`.
        what: String,
    },
    /// An entry that would be written elsewhere or over another entry, or that is neither a file
    /// nor a folder.
    #[error("{}: its entry {entry:?} {why}; the archive is not used", .path.display())]
    Entry {
        /// The archive.
        path: PathBuf,
        /// The entry's name.
        entry: String,
        /// The reason.
        why: &'static str,
    },
    /// An archive that unpacks to more than is allowed.
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
        /// The limits.
        limits: UnpackLimits,
    },
}

pub fn file_error(path: &Path, error: &io::Error) -> ArchiveError {
    ArchiveError::File { path: path.to_path_buf(), message: error.to_string() }
}
