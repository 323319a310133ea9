//! Opens files that a user, a table or a folder names, without ever blocking or reading without
//! end.
//!
//! Only regular files are opened, with one exception: the process's own streams (`/dev/stdin`,
//! `/dev/fd/N`, and so a shell's process substitution `<(command)`), which the user passed on
//! purpose and which have a writer. Any other pipe would block until a writer opens it, and a
//! device such as `/dev/zero` never ends.

use std::fs::{File, FileType, Metadata};
use std::io::{self, Read};
use std::path::Path;

/// The most bytes of a table or a list: about ten million lines.
pub const MAX_TABLE_BYTES: u64 = 1 << 30;

/// The most bytes of an option file such as `config.toml`.
pub const MAX_OPTIONS_BYTES: u64 = 16 << 20;

/// Why a file is not read although it exists. [`open`] and [`read`] return it inside an
/// [`io::Error`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not a regular file.
    #[error("it is {0}, not a regular file")]
    NotRegular(&'static str),
    /// It is longer than the limit.
    #[error("it has more than {limit} bytes, the limit")]
    TooLong {
        /// The limit in bytes.
        limit: u64,
    },
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal {
            Refusal::NotRegular(_) => io::ErrorKind::InvalidInput,
            Refusal::TooLong { .. } => io::ErrorKind::FileTooLarge,
        };
        Self::new(kind, refusal)
    }
}

/// Opens a regular file, or one of the process's own streams, for reading. Links are followed.
///
/// # Errors
///
/// [`Refusal::NotRegular`] for a folder, a named pipe, a socket or a device; otherwise the
/// operating system's error.
pub fn open(path: &Path) -> io::Result<File> {
    let about = std::fs::metadata(path)?;
    if !about.is_file() && (about.is_dir() || !is_own_stream(path)) {
        return Err(Refusal::NotRegular(kind_of(about.file_type())).into());
    }
    File::open(path)
}

/// The bytes of a file, opened with [`open`].
///
/// # Errors
///
/// Like [`open`], and [`Refusal::TooLong`] if it has more than `limit` bytes. A regular file is
/// then not read at all, and a stream only up to the limit.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_if(path, limit, 0, |_| Ok(()))
}

/// Like [`read`], but if `judge` refuses the first `probe` bytes, the rest is not read.
///
/// # Errors
///
/// Like [`read`], and the error that `judge` returns.
pub fn read_if<E: From<io::Error>>(
    path: &Path,
    limit: u64,
    probe: u64,
    judge: impl FnOnce(&[u8]) -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let file = open(path)?;
    let expected = expected_length(&file.metadata()?, limit);
    let mut bytes = Vec::new();
    (&file).take(probe.min(limit)).read_to_end(&mut bytes)?;
    judge(&bytes)?;
    let expected = expected?;
    bytes.try_reserve(expected.saturating_sub(bytes.len())).map_err(io::Error::from)?;
    let left = limit.saturating_sub(bytes.len() as u64).saturating_add(1);
    file.take(left).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        Err(io::Error::from(Refusal::TooLong { limit }).into())
    } else {
        Ok(bytes)
    }
}

/// The text of a file, opened with [`open`].
///
/// # Errors
///
/// Like [`read`], and [`io::ErrorKind::InvalidData`] if it is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let bytes = read(path, limit)?;
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// The expected number of bytes: a regular file's length, 0 for a stream.
fn expected_length(about: &Metadata, limit: u64) -> io::Result<usize> {
    match about.is_file() {
        true if about.len() > limit => Err(Refusal::TooLong { limit }.into()),
        true => usize::try_from(about.len()).map_err(|_| Refusal::TooLong { limit }.into()),
        false => Ok(0),
    }
}

#[cfg(unix)]
fn kind_of(file_type: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match () {
        () if file_type.is_dir() => "a folder",
        () if file_type.is_fifo() => "a named pipe",
        () if file_type.is_socket() => "a socket",
        () if file_type.is_char_device() || file_type.is_block_device() => "a device",
        () => "something else",
    }
}

#[cfg(not(unix))]
fn kind_of(file_type: FileType) -> &'static str {
    if file_type.is_dir() { "a folder" } else { "something else" }
}

/// Whether a path leads to an entry of the folder that holds the process's open files. Links are
/// followed one by one, because a pipe's entry is itself a broken link in the file
/// system.
#[cfg(unix)]
fn is_own_stream(path: &Path) -> bool {
    /// The most links that Linux follows.
    const MAX_LINKS: usize = 40;
    let own: Vec<_> = ["/proc/self/fd", "/dev/fd"]
        .iter()
        .filter_map(|folder| Path::new(folder).canonicalize().ok())
        .collect();
    let mut path = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        let parent =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Ok(parent) = parent.canonicalize() else { return false };
        if own.contains(&parent) {
            return true;
        }
        match std::fs::read_link(&path) {
            Ok(target) => path = parent.join(target),
            Err(_) => return false,
        }
    }
    false
}

/// On Windows, streams have no names in the file system.
#[cfg(not(unix))]
fn is_own_stream(_path: &Path) -> bool {
    false
}
