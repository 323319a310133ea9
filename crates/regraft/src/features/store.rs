//! Features on disk, outside the data folder, for the runs that come after.
//!
//! A backbone has a folder, named after its fingerprint. Each pass that computed something leaves
//! one file there: a header with the images' keys, then a row for each with a checksum. Files are
//! written whole and never changed, so that several runs may use them at once. When all files
//! together are larger than the limit, those used longest ago are removed.

use super::Fingerprint;
use crate::atomic_file::{self, AtomicFileError};
use crate::file_error::FileError;
use crate::ranks::Ranks;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Bytes that all kept features may take together.
pub const LIMIT_BYTES: u64 = 2 << 30;

/// The first bytes of a file, with the version of its layout.
const MAGIC: &[u8; 16] = b"regraft rows v1\n";
const KEY_LENGTH: usize = 32;
const EXTENSION: &str = "features";

/// A problem with kept features. None of them stops a run: the features are computed again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file has changed since it was written.
    #[error("{} is damaged ({reason}): it was removed, and its features are computed again",
        .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The problem with it.
        reason: String,
    },
    /// The folder cannot be used.
    #[error(
        "{0}; features are not kept for later runs. Name another folder by the environment \
         variable REGRAFT_CACHE"
    )]
    Io(#[from] FileError),
    /// A file could not be written.
    #[error("features are not kept for later runs: {0}")]
    Write(#[from] AtomicFileError),
}

/// The kept features of one backbone.
#[derive(Debug)]
pub struct FeatureStore {
    root: PathBuf,
    folder: PathBuf,
    limit: u64,
    ranks: Ranks,
    errors: Vec<StoreError>,
}

impl FeatureStore {
    /// The kept features of a backbone below `folder` (see
    /// [`cache_folder`](regraft_data::source::cache_folder)), of at most `limit` bytes for all
    /// backbones together ([`LIMIT_BYTES`]). Nothing is made before something is kept.
    #[must_use]
    pub fn new(folder: &Path, trunk: Fingerprint, limit: u64) -> Self {
        let root = folder.join("features");
        Self {
            folder: root.join(trunk.to_string()),
            root,
            limit,
            ranks: Ranks::default(),
            errors: Vec::new(),
        }
    }

    /// The store of several ranks: each reads and keeps the features of its share. The folder may
    /// be the same for all, or each machine's own.
    #[must_use]
    pub fn of_ranks(self, ranks: &Ranks) -> Self {
        Self { ranks: ranks.clone(), ..self }
    }

    /// The ranks that share it.
    pub(super) fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// The errors so far, for the user.
    pub fn take_errors(&mut self) -> Vec<StoreError> {
        std::mem::take(&mut self.errors)
    }

    /// Hands over the kept rows of `wanted` keys, each with the place that belongs to its key.
    pub(super) fn read(
        &mut self,
        channels: usize,
        wanted: &HashMap<[u8; 32], usize>,
        take: &mut dyn FnMut(usize, &[f32]),
    ) {
        for path in kept_files(&self.folder) {
            match read_file(&path, channels, wanted, take) {
                Ok(0) => {}
                // The time of last use is what decides about removal; a file system that keeps none
                // removes by age.
                Ok(_) => {
                    drop(File::open(&path).and_then(|file| file.set_modified(SystemTime::now())))
                }
                // Another run has removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                    ) =>
                {
                    drop(fs::remove_file(&path));
                    self.errors.push(StoreError::Damaged { path, reason: error.to_string() });
                }
                Err(source) => self.errors.push(FileError { action: "read", path, source }.into()),
            }
        }
    }

    /// Keeps rows under their keys.
    pub(super) fn add(&mut self, channels: usize, rows: &[([u8; 32], &[f32])]) {
        if rows.is_empty() {
            return;
        }
        if let Err(error) = self.write(channels, rows) {
            self.errors.push(error);
        }
    }

    fn write(&self, channels: usize, rows: &[([u8; 32], &[f32])]) -> Result<(), StoreError> {
        let size = header_length(rows.len()) + rows.len() as u64 * row_length(channels);
        if size > self.limit {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)
            .map_err(FileError::when("create the folder", &self.folder))?;
        self.make_room(size);
        // Runs that compute the same rows write the same file.
        let mut hash = crc32fast::Hasher::new();
        rows.iter().for_each(|(key, _)| hash.update(key));
        let path = self.folder.join(format!("{:08x}-{}.{EXTENSION}", hash.finalize(), rows.len()));
        atomic_file::write_with(&path, |file| write_rows(file, channels, rows))?;
        Ok(())
    }

    /// Removes the files used longest ago until `size` more bytes fit.
    fn make_room(&self, size: u64) {
        let folders =
            fs::read_dir(&self.root).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut files: Vec<(SystemTime, u64, PathBuf)> = folders
            .flat_map(|folder| kept_files(&folder))
            .filter_map(|path| {
                let data = fs::metadata(&path).ok()?;
                Some((data.modified().unwrap_or(SystemTime::UNIX_EPOCH), data.len(), path))
            })
            .collect();
        files.sort();
        let mut total: u64 = files.iter().map(|(_, length, _)| length).sum();
        for (_, length, path) in files {
            if total + size <= self.limit {
                break;
            }
            // One that cannot be removed is another run's affair, or next time's.
            if fs::remove_file(&path).is_ok() {
                total -= length;
                // Fails unless the backbone's folder is empty now.
                path.parent().map(fs::remove_dir);
            }
        }
    }
}

/// Files with features in a backbone's folder, in the order of their names; none if there is no
/// folder.
fn kept_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION))
        .collect();
    files.sort();
    files
}

fn header_length(rows: usize) -> u64 {
    // Magic, channels, rows, keys, checksum.
    (MAGIC.len() + 4 + 4 + rows * KEY_LENGTH + 4) as u64
}

fn row_length(channels: usize) -> u64 {
    // Values and their checksum.
    channels as u64 * 4 + 4
}

fn write_rows(
    file: &mut impl Write,
    channels: usize,
    rows: &[([u8; 32], &[f32])],
) -> io::Result<()> {
    let too_many =
        |_| io::Error::new(io::ErrorKind::InvalidInput, "too many features for one file");
    let mut header = MAGIC.to_vec();
    header.extend(u32::try_from(channels).map_err(too_many)?.to_le_bytes());
    header.extend(u32::try_from(rows.len()).map_err(too_many)?.to_le_bytes());
    rows.iter().for_each(|(key, _)| header.extend(key));
    file.write_all(&header)?;
    file.write_all(&crc32fast::hash(&header).to_le_bytes())?;
    for (_, row) in rows {
        let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
        file.write_all(&bytes)?;
        file.write_all(&crc32fast::hash(&bytes).to_le_bytes())?;
    }
    Ok(())
}

/// Reads the wanted rows of a file and returns how many there were. A damaged file gives
/// `InvalidData` or `UnexpectedEof`; rows handed over before that were whole.
fn read_file(
    path: &Path,
    channels: usize,
    wanted: &HashMap<[u8; 32], usize>,
    take: &mut dyn FnMut(usize, &[f32]),
) -> io::Result<usize> {
    let damaged = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    let mut file = BufReader::new(File::open(path)?);
    let length = file.get_ref().metadata()?.len();
    let mut start = [0; MAGIC.len() + 8];
    file.read_exact(&mut start)?;
    let number = |at: usize| {
        u32::from_le_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]) as usize
    };
    let (found_channels, rows) = (number(MAGIC.len()), number(MAGIC.len() + 4));
    if !start.starts_with(MAGIC) {
        return Err(damaged("it does not begin as such a file does"));
    }
    if length != header_length(rows) + rows as u64 * row_length(found_channels) {
        return Err(damaged("it is not as long as its header says"));
    }
    if found_channels != channels {
        return Err(damaged("it has another number of features"));
    }
    let mut keys = vec![0; rows * KEY_LENGTH];
    file.read_exact(&mut keys)?;
    let mut hash = crc32fast::Hasher::new();
    hash.update(&start);
    hash.update(&keys);
    let mut checksum = [0; 4];
    file.read_exact(&mut checksum)?;
    if hash.finalize().to_le_bytes() != checksum {
        return Err(damaged("the checksum of its header does not fit"));
    }
    let (keys, _) = keys.as_chunks::<KEY_LENGTH>();
    let mut bytes = vec![0; row_length(channels) as usize];
    let (mut position, mut found) = (0, 0);
    for (row, key) in keys.iter().enumerate() {
        let Some(&place) = wanted.get(key) else { continue };
        if row != position {
            file.seek(SeekFrom::Start(header_length(rows) + row as u64 * row_length(channels)))?;
        }
        file.read_exact(&mut bytes)?;
        position = row + 1;
        let (content, checksum) = bytes.split_at(channels * 4);
        if crc32fast::hash(content).to_le_bytes() != checksum {
            return Err(damaged(&format!("the checksum of its row {row} does not fit")));
        }
        let (values, _) = content.as_chunks::<4>();
        let values: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
        take(place, &values);
        found += 1;
    }
    Ok(found)
}
