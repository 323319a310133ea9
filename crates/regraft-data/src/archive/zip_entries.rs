//! The entries of a ZIP archive.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::error::{ArchiveError, file_error};
use super::names;
use super::target::Target;
use crate::named_file;

pub fn unpack(
    archive: &Path,
    target: &mut Target<'_>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(), ArchiveError> {
    let file = named_file::open(archive).map_err(|error| file_error(archive, &error))?;
    let mut zip =
        ZipArchive::new(BufReader::new(file)).map_err(|error| target.damaged(error.to_string()))?;
    // The reader keeps the last of several entries with the same name.
    if zip.has_duplicate_names() {
        return Err(match name_twice(archive, &zip) {
            Some(name) => target.refused(&name, "occurs twice"),
            None => target.damaged("two entries have the same name".to_owned()),
        });
    }
    let count = zip.len();
    for place in 0..count {
        let listed = zip.by_index_data(place).map_err(|error| target.damaged(error.to_string()))?;
        let entry = target.entry(listed.name_raw())?;
        let kind = listed.unix_mode().map_or(0, |mode| mode & 0o170_000);
        if listed.is_symlink() || ![0, 0o100_000, 0o040_000].contains(&kind) {
            return Err(target.refused(&entry.name, "is a link or a device"));
        }
        if listed.is_dir() {
            target.folder(&entry)?;
        } else {
            if listed.encrypted() {
                return Err(target.unsupported(&entry.name, "encrypted".to_owned()));
            }
            if let Some(name) = other_method(listed.compression()) {
                return Err(target.unsupported(&entry.name, format!("compressed with {name}")));
            }
            let mut content = match zip.by_index(place) {
                Ok(content) => content,
                Err(ZipError::UnsupportedArchive(message)) => {
                    return Err(target
                        .unsupported(&entry.name, format!("stored in another way ({message})")));
                }
                Err(error) => return Err(target.damaged(format!("{}: {error}", entry.name))),
            };
            target.file(&entry, &mut content)?;
        }
        progress(place + 1, count);
    }
    Ok(())
}

/// The first name that occurs twice in the central directory (APPNOTE.TXT, 4.3.12). `None` if it
/// cannot be read.
fn name_twice(archive: &Path, zip: &ZipArchive<BufReader<File>>) -> Option<String> {
    let mut file = BufReader::new(named_file::open(archive).ok()?);
    file.seek(SeekFrom::Start(zip.central_directory_start())).ok()?;
    let mut seen = HashSet::new();
    loop {
        let mut header = [0; 46];
        file.read_exact(&mut header).ok()?;
        if !header.starts_with(b"PK\x01\x02") {
            return None;
        }
        let length = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let mut name = vec![0; usize::from(length(28))];
        file.read_exact(&mut name).ok()?;
        file.seek_relative(i64::from(length(30)) + i64::from(length(32))).ok()?;
        let text = names::decode(&name).0.into_owned();
        if !seen.insert(name) {
            return Some(text);
        }
    }
}

/// The name of an unsupported compression method, by the numbers of APPNOTE.TXT, 4.4.5.
fn other_method(method: CompressionMethod) -> Option<String> {
    // If `zip` was built without a method, its number is in a variant that the crate deprecates.
    #[allow(deprecated)]
    let number = match method {
        CompressionMethod::Stored | CompressionMethod::Deflated => return None,
        CompressionMethod::Unsupported(number) => number,
        other => return Some(other.to_string()),
    };
    let name = match number {
        1 => "Shrink",
        2..=5 => "Reduce",
        6 => "Implode",
        9 => "Deflate64",
        12 => "bzip2",
        14 => "LZMA",
        20 | 93 => "zstd",
        95 => "xz",
        98 => "PPMd",
        99 => "AES encryption",
        _ => return Some(format!("method {number}")),
    };
    Some(name.to_owned())
}
