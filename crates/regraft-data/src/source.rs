//! What a user's path to pictures stands for: a folder, a table, or either of them inside a ZIP archive.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use crate::archive::{ArchiveError, UnpackLimits, unpack};
use crate::catalogue::{CatalogueError, is_metadata};
use crate::folder::{Walk, list_all, lossy_name};
use crate::split_name::Split;
use crate::table::{self, TableKind};

/// Where the pictures are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a folder.
    Folder(PathBuf),
    /// Where a table says.
    Table(PathBuf),
    /// In a file of their own.
    File(PathBuf),
}

impl Source {
    /// The path itself.
    pub fn path(&self) -> &Path {
        let (Self::Folder(path) | Self::Table(path) | Self::File(path)) = self;
        path
    }
}

/// The folder for what is kept between runs: `REGRAFT_CACHE`, or `regraft` in the system's folder for caches. `None` where the
/// system names no such folder.
#[must_use]
pub fn cache_folder() -> Option<PathBuf> {
    let named = |variable| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = named("REGRAFT_CACHE") {
        return Some(folder);
    }
    let system = if cfg!(windows) {
        named("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        std::env::home_dir().map(|home| home.join("Library/Caches"))
    } else {
        // A relative one is to be ignored (XDG Base Directory Specification).
        named("XDG_CACHE_HOME")
            .filter(|folder| folder.is_absolute())
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
    };
    system.map(|folder| folder.join("regraft"))
}

/// Where archives are unpacked unless the caller says otherwise: [`cache_folder`], or else the system's folder for temporary files.
#[must_use]
pub fn unpack_folder() -> PathBuf {
    cache_folder().unwrap_or_else(|| std::env::temp_dir().join("regraft"))
}

/// Says what `path` stands for. An archive is unpacked into a folder of its own below `cache`, once for each state of the
/// archive; a path may go on inside of it (`photos.zip/test`). What is to be said of it goes to `notes`.
///
/// # Errors
///
/// When there is nothing, or an archive cannot be unpacked.
pub fn open(path: &Path, cache: &Path, notes: &mut Vec<String>) -> Result<Source, CatalogueError> {
    let archive = path.ancestors().find(|part| part.is_file()).filter(|part| is_archive(part));
    let Some(archive) = archive else { return plain(path) };
    let mut unpacked = unpacked(archive, cache)?;
    notes.push(format!("{} is unpacked in {}", archive.display(), unpacked.display()));
    match path.strip_prefix(archive) {
        Ok(inner) if inner.as_os_str().is_empty() => {
            // Most archives hold one folder, and the pictures' folders in it.
            while let (folders, files) = listed(&unpacked)?
                && let ([only], []) = (&folders[..], &files[..])
                && Split::of(&lossy_name(only)).is_none()
            {
                unpacked = only.clone();
            }
        }
        Ok(inner) => return plain(&unpacked.join(inner)),
        Err(_) => {}
    }
    let (_, files) = listed(&unpacked)?;
    // A folder's own metadata.csv is read with the folder.
    let is_table = |file: &PathBuf| matches!(TableKind::of(file), Some(kind) if kind != TableKind::List) && !is_metadata(file);
    let mut tables = files.into_iter().filter(is_table);
    match (tables.next(), tables.next()) {
        // A table of something else may lie beside class folders.
        (Some(table), None) if table::read(&table).is_ok_and(|rows| rows.iter().all(|row| row.label.is_some())) => {
            notes.push(format!("{} labels the images of the archive; its folders' names do not count.", table.display()));
            Ok(Source::Table(table))
        }
        _ => Ok(Source::Folder(unpacked)),
    }
}

fn plain(path: &Path) -> Result<Source, CatalogueError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(Source::Folder(path.to_path_buf())),
        Ok(_) if TableKind::of(path).is_some() => Ok(Source::Table(path.to_path_buf())),
        Ok(_) => Ok(Source::File(path.to_path_buf())),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Err(CatalogueError::Missing { path: path.to_path_buf() })
        }
        Err(error) => Err(CatalogueError::Unreadable { path: path.to_path_buf(), message: error.to_string() }),
    }
}

/// By its first bytes: those of an entry, or of an archive without any.
fn is_archive(path: &Path) -> bool {
    let mut start = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && matches!(&start, b"PK\x03\x04" | b"PK\x05\x06")
}

/// The folder that holds an archive's content. It is made aside and then renamed, so that it is whole or not there.
fn unpacked(archive: &Path, cache: &Path) -> Result<PathBuf, CatalogueError> {
    let failed = |path: &Path, error: std::io::Error| ArchiveError::File { path: path.to_path_buf(), message: error.to_string() };
    let real = archive.canonicalize().map_err(|error| failed(archive, error))?;
    let metadata = real.metadata().map_err(|error| failed(archive, error))?;
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let mut state = Sha256::new();
    state.update(real.as_os_str().as_encoded_bytes());
    state.update(metadata.len().to_le_bytes());
    state.update(changed.as_nanos().to_le_bytes());
    let digits: String = state.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let name = real.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let parent = cache.join("unpacked");
    let folder = parent.join(format!("{name}-{digits}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    let aside = parent.join(format!("{name}-{digits}.part-{}", std::process::id()));
    let outcome = unpack(&real, &aside, &UnpackLimits::of_archive(metadata.len()), &mut |_, _| {});
    let outcome = outcome.and_then(|()| match std::fs::rename(&aside, &folder) {
        // Another process was faster.
        Err(_) if folder.is_dir() => Ok(()),
        renamed => renamed.map_err(|error| failed(&folder, error)),
    });
    // What is left aside is of no use to anyone; that it cannot be removed harms nobody.
    let _ = std::fs::remove_dir_all(&aside);
    outcome?;
    Ok(folder)
}

fn listed(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), CatalogueError> {
    let (entries, files) = list_all(folder, &mut Walk::new(&mut |_| {}))?;
    Ok((entries.folders, files))
}
