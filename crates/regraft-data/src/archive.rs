//! Unpacks ZIP and tar archives, which may be hostile.

mod error;
mod names;
mod tar_entries;
mod target;
mod zip_entries;

use std::io::{self, Read};
use std::path::Path;

use flate2::read::GzDecoder;

pub use error::ArchiveError;

use crate::file_kind::start_of;
use target::Target;

/// Limits on the unpacked content of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Total bytes of all files.
    pub bytes: u64,
    /// Number of files and folders.
    pub entries: usize,
}

impl UnpackLimits {
    /// Limits for an archive of `bytes` bytes: a hundred times its size, because images hardly
    /// compress, and at most a million entries.
    #[must_use]
    pub fn of_archive(bytes: u64) -> Self {
        Self { bytes: bytes.saturating_mul(100).max(64 << 20), entries: 1_000_000 }
    }
}

/// A kind of archive that can be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveKind {
    /// ZIP.
    Zip,
    /// tar in any of its variants.
    Tar,
    /// tar compressed with gzip.
    TarGz,
}

impl ArchiveKind {
    /// The kind of a regular file by its content; `None` if it is not an archive that can be
    /// unpacked.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn of(path: &Path) -> io::Result<Option<Self>> {
        Ok(Self::of_start(&start_of(path)?))
    }

    /// The kind of a file that begins with the bytes that [`start_of`] read.
    pub(crate) fn of_start(start: &[u8]) -> Option<Self> {
        match start {
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Self::Zip),
            [0x1F, 0x8B, 8, ..] => {
                let mut header = [0; 512];
                let mut decoder = GzDecoder::new(start);
                let read = read_up_to(&mut decoder, &mut header);
                is_tar_header(&header[..read]).then_some(Self::TarGz)
            }
            _ => is_tar_header(start).then_some(Self::Tar),
        }
    }

    /// A file's name without its archive extensions: `photos` for `photos.tar.gz`.
    #[must_use]
    pub fn stem(name: &str) -> &str {
        let lower = name.to_ascii_lowercase();
        let ending =
            [".tar.gz", ".tgz", ".tar", ".zip"].into_iter().find(|ending| lower.ends_with(ending));
        match ending {
            Some(ending) if name.len() > ending.len() => &name[..name.len() - ending.len()],
            _ => name,
        }
    }
}

/// Reads until the buffer is full, the source ends or an error occurs, and returns the number of
/// bytes read.
fn read_up_to(source: &mut dyn Read, buffer: &mut [u8]) -> usize {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) | Err(_) => break,
            Ok(read) => filled += read,
        }
    }
    filled
}

/// Whether a block is a tar header: the sum of its bytes equals the octal checksum in it, whose own
/// eight bytes count as blanks.
fn is_tar_header(block: &[u8]) -> bool {
    let Some(block) = block.first_chunk::<512>() else { return false };
    let number = std::str::from_utf8(&block[148..156]).unwrap_or_default();
    let number = u32::from_str_radix(number.trim_matches(['\0', ' ']), 8);
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, &byte)| if (148..156).contains(&at) { 32 } else { u32::from(byte) })
        .sum();
    number == Ok(sum)
}

/// Unpacks an archive into an empty or missing folder. Nothing is written outside of that folder:
/// absolute paths, `..`, links, devices and repeated names are errors. The limits apply to the
/// unpacked bytes, not to the sizes that the archive claims. `progress` is called with the number
/// of entries done and the total; if the total is unknown, both are the number of entries done.
/// Returns notes for the user, one sentence each.
///
/// # Errors
///
/// If the archive is damaged, uses an unsupported feature, or breaks a rule or a limit, or if a
/// file cannot be written. The files written so far are left in place.
pub fn unpack(
    archive: &Path,
    folder: &Path,
    limits: &UnpackLimits,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<String>, ArchiveError> {
    let kind = ArchiveKind::of(archive).map_err(|error| error::file_error(archive, &error))?;
    let mut target = Target::new(archive, folder, limits)?;
    let Some(kind) = kind else {
        return Err(target.damaged("it is neither ZIP nor tar".to_owned()));
    };
    match kind {
        ArchiveKind::Zip => zip_entries::unpack(archive, &mut target, progress)?,
        ArchiveKind::Tar | ArchiveKind::TarGz => {
            tar_entries::unpack(archive, kind == ArchiveKind::TarGz, &mut target, progress)?;
        }
    }
    Ok(target.notes(kind))
}
