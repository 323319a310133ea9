//! Data sets from the network: downloaded as far as they are not there yet, checked against a known
//! hash, and unpacked with care.

mod checksum;
pub(crate) mod http;
mod proxy;
pub(crate) mod transfer;

pub use checksum::{Checksum, ChecksumError};
pub use proxy::ProxyError;

use crate::error_kind::{Classified, ErrorKind};
use crate::progress::{Progress, Stage};
use regraft_data::archive::{ArchiveError, ArchiveKind, UnpackLimits, unpack};
use regraft_data::file_kind;
use serde::Serialize;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use transfer::Transfer;

/// A data set that is known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownData {
    /// Its name.
    pub name: &'static str,
    /// If it is.
    pub url: &'static str,
    /// The hash of the archive.
    pub checksum: Checksum,
    /// A description in one line.
    pub about: &'static str,
}

/// The data sets that are known by name. Address and hash of `hotdog` are those of the textbook's
/// code (d2l.ai, "Fine-Tuning").
pub const KNOWN: [KnownData; 1] = [KnownData {
    name: "hotdog",
    url: "http://d2l-data.s3-accelerate.amazonaws.com/hotdog.zip",
    checksum: Checksum::Sha1([
        0xfb, 0xa4, 0x80, 0xff, 0xa8, 0xaa, 0x7e, 0x0f, 0xeb, 0xbb, 0x51, 0x1d, 0x18, 0x14, 0x09,
        0xf8, 0x99, 0xb9, 0xba, 0xa5,
    ]),
    about: "hot dog or not: 1,000 + 1,000 images to train on, 400 + 400 to test (d2l.ai)",
}];

/// The data to fetch, and how to fetch it.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchOptions {
    /// The address: `http` or `https`.
    pub url: String,
    /// The file's hash.
    pub checksum: Checksum,
    /// The folder (for an archive) or file to make; unless given, named after the address, in the
    /// current folder.
    pub output: Option<PathBuf>,
    /// The most bytes that are downloaded.
    pub max_bytes: u64,
    /// How often in a row nothing may come before the download is given up.
    pub attempts: u32,
    /// The pause before the first new attempt; each further one is twice as long.
    pub pause: Duration,
}

impl FetchOptions {
    /// At most 64 GiB, five attempts, a pause of a second.
    #[must_use]
    pub fn new(url: &str, checksum: Checksum) -> Self {
        let (max_bytes, attempts, pause) = (64 << 30, 5, Duration::from_secs(1));
        Self { url: url.to_owned(), checksum, output: None, max_bytes, attempts, pause }
    }
}

/// The data that was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fetched {
    /// The folder or file that was made.
    pub path: PathBuf,
    /// Where it came from.
    pub url: String,
    /// Bytes that were downloaded, those of earlier calls included.
    pub bytes: u64,
    /// Bytes that an earlier call had left.
    pub resumed_bytes: u64,
    /// Files that came out of the archive; 1 if it is not one.
    pub files: usize,
    /// Notes to the user, one sentence each.
    pub notes: Vec<String>,
}

/// A fetch that came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Something is where the data would go.
    #[error("{} already exists", .path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// The address has no name for the data.
    #[error("{url} does not end with a file's name, by which to call the data")]
    NoName {
        /// The address.
        url: String,
    },
    /// Another process fetches the same.
    #[error("{} is being written by another process", .path.display())]
    Locked {
        /// The unfinished file.
        path: PathBuf,
    },
    /// The address is none that can be asked.
    #[error("{url}: {message}; check the address, which must begin with http:// or https://")]
    Address {
        /// The address.
        url: String,
        /// The problem with it.
        message: String,
    },
    /// The environment names a proxy that cannot be used.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The server refused.
    #[error("{url}: the server answers {status}; check the address")]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// Nothing comes any more.
    #[error(
        "{url}: {message}, {attempts} times in a row; the {bytes} bytes that have arrived are kept"
    )]
    Broken {
        /// The address.
        url: String,
        /// The last problem.
        message: String,
        /// How often.
        attempts: u32,
        /// Bytes that are there.
        bytes: u64,
    },
    /// More than allowed.
    #[error("{url} is larger than {max_bytes} bytes, the most that are allowed")]
    TooLarge {
        /// The address.
        url: String,
        /// The limit in bytes.
        max_bytes: u64,
    },
    /// Another file than was meant.
    #[error(
        "{url}: has the {kind} {found}, not {wanted}: it is another file, or was changed on the \
         way; it was removed"
    )]
    Mismatch {
        /// The address.
        url: String,
        /// `SHA-1` or `SHA-256`.
        kind: &'static str,
        /// The file's hash.
        found: String,
        /// The hash that was expected.
        wanted: String,
    },
    /// A file could not be written or read.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The archive cannot be unpacked.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl Classified for FetchError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::failure_if(!matches!(
            self,
            Self::Exists { .. }
                | Self::NoName { .. }
                | Self::Address { .. }
                | Self::Proxy(_)
                | Self::TooLarge { .. }
        ))
    }
}

/// Downloads a file, checks its hash and, if it is an archive (ZIP, tar, tar.gz), unpacks it into a
/// folder (of an archive that holds one folder, that folder's content). A download that an earlier
/// call left unfinished is resumed. `progress` is called now and then.
///
/// # Errors
/// If the place is taken, the server or the network fails, or the file is not the one that was
/// meant.
pub fn fetch(
    options: &FetchOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Fetched, FetchError> {
    let file_name = file_name(&options.url);
    let default = || file_name.map(|name| PathBuf::from(ArchiveKind::stem(name)));
    let output = options
        .output
        .clone()
        .or_else(default)
        .ok_or_else(|| FetchError::NoName { url: options.url.clone() })?;
    if output.symlink_metadata().is_ok() {
        return Err(FetchError::Exists { path: output });
    }
    let part = beside(&output, ".part");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| FetchError::File { path, source }
    };
    if let Some(parent) = output.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(failed(parent))?;
    }
    let file =
        File::options().create(true).append(true).read(true).open(&part).map_err(failed(&part))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(FetchError::Locked { path: part }),
        // A file system without locks: nothing guards against a second process there.
        Err(fs::TryLockError::Error(_)) => {}
    }
    let resumed_bytes = file.metadata().map_err(failed(&part))?.len();
    let FetchOptions { url, max_bytes, attempts, pause, .. } = options;
    let transfer =
        Transfer { url, token: None, max_bytes: *max_bytes, attempts: *attempts, pause: *pause };
    transfer::download(&transfer, &file, &part, progress)?;
    let mut found = checksum::of_file(&part, &options.checksum).map_err(failed(&part))?;
    if found != options.checksum && resumed_bytes > 0 {
        // The earlier part may have been of another file, so the download starts again.
        file.set_len(0).map_err(failed(&part))?;
        transfer::download(&transfer, &file, &part, progress)?;
        found = checksum::of_file(&part, &options.checksum).map_err(failed(&part))?;
    }
    if found != options.checksum {
        fs::remove_file(&part).map_err(failed(&part))?;
        let (url, kind) = (options.url.clone(), options.checksum.kind());
        return Err(FetchError::Mismatch {
            url,
            kind,
            found: found.to_string(),
            wanted: options.checksum.to_string(),
        });
    }
    let bytes = file.metadata().map_err(failed(&part))?.len();
    // A weight file or workbook is a ZIP archive, too, and is kept as it is.
    let is_archive = ArchiveKind::of(&part).map_err(failed(&part))?.is_some()
        && file_kind::of_zip(&part).is_none();
    let (files, notes) = if is_archive {
        let unpacked = unpack_to(&part, &output, bytes, progress)?;
        fs::remove_file(&part).map_err(failed(&part))?;
        unpacked
    } else {
        fs::rename(&part, &output).map_err(failed(&output))?;
        (1, Vec::new())
    };
    Ok(Fetched {
        path: output,
        url: options.url.clone(),
        bytes,
        resumed_bytes: resumed_bytes.min(bytes),
        files,
        notes,
    })
}

/// The last part of an address's path.
fn file_name(url: &str) -> Option<&str> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let (_, path) = path.split_once("://")?;
    let (_, name) = path.rsplit_once('/')?;
    (!name.is_empty() && name != "." && name != ".." && !name.contains(['\\', ':', '%']))
        .then_some(name)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Unpacks aside, then renames, so that the folder is whole or not there. Returns the number of
/// files, and notes.
fn unpack_to(
    archive: &Path,
    output: &Path,
    bytes: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<(usize, Vec<String>), FetchError> {
    let aside = beside(output, ".unpacking");
    let failed = |source| FetchError::File { path: aside.clone(), source };
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let limits = UnpackLimits::of_archive(bytes);
    let outcome = unpack(archive, &aside, &limits, &mut |done, total| {
        progress(Progress::of(Stage::Unpacking, done, total))
    });
    let moved = outcome.map_err(FetchError::from).and_then(|notes| {
        let inner = only_folder(&aside).map_err(failed)?.unwrap_or_else(|| aside.clone());
        let files = count_files(&inner).map_err(failed)?;
        fs::rename(&inner, output)
            .map_err(|source| FetchError::File { path: output.to_owned(), source })?;
        Ok((files, notes))
    });
    // The rest is useless, and a failure to remove it does no harm.
    let _ = fs::remove_dir_all(&aside);
    moved
}

/// The one folder that an unpacked archive holds, unless it is a part of the data.
fn only_folder(folder: &Path) -> io::Result<Option<PathBuf>> {
    let mut only = None;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == "__MACOSX" || name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if only.is_some() || name == "train" || !entry.file_type()?.is_dir() {
            return Ok(None);
        }
        only = Some(entry.path());
    }
    Ok(only)
}

fn count_files(folder: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() { count_files(&entry.path())? } else { 1 };
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_the_file() {
        assert_eq!(file_name("http://a.b/c/hotdog.zip"), Some("hotdog.zip"));
        assert_eq!(file_name("https://a.b/x.zip?token=1/2#part"), Some("x.zip"));
        for none in ["http://a.b", "http://a.b/", "x.zip", "http://a.b/..", "http://a.b/a%2Fb", ""]
        {
            assert_eq!(file_name(none), None, "{none}");
        }
    }

    #[test]
    fn the_textbooks_archive_has_its_hash() {
        assert_eq!(KNOWN[0].checksum.to_string(), "fba480ffa8aa7e0febbb511d181409f899b9baa5");
    }
}
