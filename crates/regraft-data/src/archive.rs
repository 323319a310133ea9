//! Unpacking ZIP archives that may be hostile.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};

use zip::ZipArchive;
use zip::result::ZipError;

/// What an archive may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Bytes of all files together.
    pub bytes: u64,
    /// Files and folders.
    pub entries: usize,
}

impl UnpackLimits {
    /// For an archive of so many bytes: pictures hardly shrink, so an archive that grows a hundredfold is no archive of pictures.
    /// A million entries at the most.
    #[must_use]
    pub fn of_archive(bytes: u64) -> Self {
        Self { bytes: bytes.saturating_mul(100).max(64 << 20), entries: 1_000_000 }
    }
}

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
    /// No archive, or a damaged one.
    #[error("{}: is no ZIP archive that can be read ({message}); get it anew, or unpack it yourself and name the folder", .path.display())]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// An entry that would be written somewhere else, or over another, or is neither file nor folder.
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
        "{}: unpacks to more than {} MiB or {} entries, which no archive of pictures of its size does; unpack it yourself if you trust it",
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

/// Unpacks an archive into an empty or missing folder. Nothing is written outside of it: absolute paths, `..`, links and names
/// that occur twice are errors. What counts is what really comes out, not what the archive says of itself. `progress` is called
/// with the entries done and their number.
///
/// # Errors
///
/// When the archive is damaged, breaks a rule or a limit, or a file cannot be written. What was written till then is left.
pub fn unpack(
    archive: &Path,
    folder: &Path,
    limits: &UnpackLimits,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(), ArchiveError> {
    let damaged = |error: ZipError| ArchiveError::Damaged { path: archive.to_path_buf(), message: error.to_string() };
    let too_large = || ArchiveError::TooLarge { path: archive.to_path_buf(), limits: *limits };
    let file = File::open(archive).map_err(|error| file_error(archive, &error))?;
    let mut zip = ZipArchive::new(io::BufReader::new(file)).map_err(damaged)?;
    let count = zip.len();
    if count > limits.entries {
        return Err(too_large());
    }
    std::fs::create_dir_all(folder).map_err(|error| file_error(folder, &error))?;
    let mut left = limits.bytes;
    // Some systems do not tell letter case apart: two names that differ in it alone would be one file there.
    let mut names = HashSet::new();
    for place in 0..count {
        let mut entry = zip.by_index(place).map_err(damaged)?;
        let refused = |name: &str, why| ArchiveError::Entry { path: archive.to_path_buf(), entry: name.to_owned(), why };
        let name = entry.name().map_err(damaged)?.into_owned();
        let relative = inside(&name).ok_or_else(|| refused(&name, "leads out of the folder that it is unpacked into"))?;
        let kind = entry.unix_mode().map_or(0, |mode| mode & 0o170_000);
        if entry.is_symlink() || ![0, 0o100_000, 0o040_000].contains(&kind) {
            return Err(refused(&name, "is a link or a device"));
        }
        let target = folder.join(&relative);
        if entry.is_dir() {
            std::fs::create_dir_all(&target).map_err(|error| file_error(&target, &error))?;
        } else {
            if !names.insert(relative.to_string_lossy().to_lowercase()) {
                return Err(refused(&name, "occurs twice"));
            }
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent).map_err(|error| file_error(parent, &error))?;
            }
            let written = copy_at_most(&mut entry, &target, left, |error| {
                if error.kind() == io::ErrorKind::InvalidData || error.kind() == io::ErrorKind::UnexpectedEof {
                    ArchiveError::Damaged { path: archive.to_path_buf(), message: format!("{name}: {error}") }
                } else {
                    file_error(&target, &error)
                }
            })?;
            left = left.checked_sub(written).ok_or_else(too_large)?;
        }
        progress(place + 1, count);
    }
    Ok(())
}

/// Writes at most one byte more than `limit`.
fn copy_at_most(
    source: &mut dyn Read,
    target: &Path,
    limit: u64,
    failed: impl Fn(io::Error) -> ArchiveError,
) -> Result<u64, ArchiveError> {
    let file = File::options().write(true).create_new(true).open(target).map_err(|error| file_error(target, &error))?;
    let mut writer = BufWriter::new(file);
    let written = io::copy(&mut source.take(limit.saturating_add(1)), &mut writer).map_err(&failed)?;
    writer.flush().map_err(failed)?;
    Ok(written)
}

/// An entry's name as a path inside a folder, if it is one. Windows' ways of writing one out of it count on every system.
fn inside(name: &str) -> Option<PathBuf> {
    let name = name.replace('\\', "/");
    let mut path = PathBuf::new();
    for component in Path::new(&name).components() {
        match component {
            Component::Normal(part) if !part.as_encoded_bytes().iter().any(|byte| matches!(byte, b':' | 0)) => path.push(part),
            Component::CurDir => {}
            _ => return None,
        }
    }
    (path.components().next().is_some()).then_some(path)
}

fn file_error(path: &Path, error: &io::Error) -> ArchiveError {
    ArchiveError::File { path: path.to_path_buf(), message: error.to_string() }
}
