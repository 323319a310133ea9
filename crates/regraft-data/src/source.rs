//! Finds out whether a user's path to images is a folder, a table, or either of them inside an
//! archive.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use crate::archive::{ArchiveError, ArchiveKind, UnpackLimits, unpack};
use crate::error::CatalogueError;
use crate::file_kind::{self, FileKind};
use crate::folder::{Walk, list_all, lossy_name};
use crate::named_file;
use crate::shown::{is_unpacked, shown};
use crate::split_name::Split;
use crate::table::{self, TableKind, is_metadata};

/// The location of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a folder.
    Folder(PathBuf),
    /// In the paths of a table.
    Table(PathBuf),
    /// In a single file.
    File(PathBuf),
}

impl Source {
    /// The path itself.
    pub fn path(&self) -> &Path {
        let (Self::Folder(path) | Self::Table(path) | Self::File(path)) = self;
        path
    }
}

/// The folder for data that are kept between runs: `REGRAFT_CACHE`, or `regraft` in the system's
/// cache folder. `None` if the system has no such folder.
#[must_use]
pub fn cache_folder() -> Option<PathBuf> {
    let named =
        |variable| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = named("REGRAFT_CACHE") {
        return Some(folder);
    }
    let system = if cfg!(windows) {
        named("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        std::env::home_dir().map(|home| home.join("Library/Caches"))
    } else {
        // A relative path must be ignored (XDG Base Directory Specification).
        named("XDG_CACHE_HOME")
            .filter(|folder| folder.is_absolute())
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
    };
    system.map(|folder| folder.join("regraft"))
}

/// The default folder for unpacked archives: [`cache_folder`] or, failing that, the system's
/// temporary folder.
#[must_use]
pub fn unpack_folder() -> PathBuf {
    cache_folder().unwrap_or_else(|| std::env::temp_dir().join("regraft"))
}

/// Finds out the kind of source at `path`. An archive is unpacked into a folder of its own below
/// `cache`, and again only if it changes. A path may lead into an archive (`photos.zip/test`).
/// Notes for the user are added to `notes`.
///
/// # Errors
///
/// If the path does not exist, an archive cannot be unpacked, or the file is of an unsupported
/// kind.
pub fn open(path: &Path, cache: &Path, notes: &mut Vec<String>) -> Result<Source, CatalogueError> {
    let file = path.ancestors().find(|part| part.is_file());
    // If a file cannot be read, the error is reported at its use.
    let start = file.and_then(|file| file_kind::start_of(file).ok()).unwrap_or_default();
    let Some(archive) = file.filter(|_| ArchiveKind::of_start(&start).is_some()) else {
        return plain(path, &start);
    };
    if let Some(kind) = file_kind::of_zip(archive) {
        return Err(CatalogueError::NotData { path: archive.to_path_buf(), kind });
    }
    let mut unpacked = unpacked(archive, cache, notes)?;
    match path.strip_prefix(archive) {
        Ok(inner) if inner.as_os_str().is_empty() => {
            // Most archives contain one folder, with the class folders or a table in it. A folder
            // that holds only images is a class.
            while let (folders, files) = listed(&unpacked)?
                && let ([only], []) = (&folders[..], &files[..])
                && Split::of(&lossy_name(only)).is_none()
                && let (folders, files) = listed(only)?
                && (!folders.is_empty() || files.iter().any(|file| is_table(file)))
            {
                unpacked = only.clone();
            }
        }
        Ok(inner) => return plain(&unpacked.join(inner), &[]),
        Err(_) => {}
    }
    content(unpacked, archive, notes)
}

/// The content of an unpacked archive: its table, if it has one with labels, otherwise its folders.
fn content(
    unpacked: PathBuf,
    archive: &Path,
    notes: &mut Vec<String>,
) -> Result<Source, CatalogueError> {
    let (_, files) = listed(&unpacked)?;
    // If a folder has a metadata.csv, it is read with the folder.
    let tables: Vec<PathBuf> =
        files.into_iter().filter(|file| is_table(file) && !is_metadata(file)).collect();
    match &tables[..] {
        [] => {}
        [table] => match table::read(table) {
            Ok(read)
                if !read.rows.is_empty() && read.rows.iter().all(|row| row.label.is_some()) =>
            {
                notes.push(format!(
                    "{} labels the images of the archive; its folders' names do not count.",
                    shown(table)
                ));
                return Ok(Source::Table(table.clone()));
            }
            // A table of something else may lie beside class folders.
            Ok(_) | Err(CatalogueError::NoColumn { .. } | CatalogueError::NotData { .. }) => {
                notes.push(format!(
                    "{} is ignored: it does not list images with labels.",
                    shown(table)
                ));
            }
            Err(error) => return Err(error),
        },
        [first, ..] => notes.push(format!(
            "{} has {} tables, which are ignored; to use one, name it, such as {}.",
            archive.display(),
            tables.len(),
            shown(first)
        )),
    }
    Ok(Source::Folder(unpacked))
}

/// Whether a file is a table with columns, judging by its name.
fn is_table(file: &Path) -> bool {
    TableKind::of(file).is_some_and(|kind| kind != TableKind::List)
}

/// `start` is the beginning of the file at `path`, if it was read.
fn plain(path: &Path, start: &[u8]) -> Result<Source, CatalogueError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(Source::Folder(path.to_path_buf())),
        Ok(_) if TableKind::of(path).is_some() => Ok(Source::Table(path.to_path_buf())),
        Ok(metadata) if !metadata.is_file() => match named_file::open(path) {
            Ok(_) => Ok(Source::File(path.to_path_buf())),
            Err(error) => Err(CatalogueError::Unreadable {
                path: path.to_path_buf(),
                message: error.to_string(),
            }),
        },
        Ok(_) => match FileKind::of_data(path, start) {
            Some(kind) => Err(CatalogueError::NotData { path: path.to_path_buf(), kind }),
            None => Ok(Source::File(path.to_path_buf())),
        },
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            Err(CatalogueError::Missing { path: path.to_path_buf() })
        }
        Err(error) => {
            Err(CatalogueError::Unreadable { path: path.to_path_buf(), message: error.to_string() })
        }
    }
}

/// The folder with an archive's content. It is written under another name and then renamed, so it
/// is either complete or absent. The notes from unpacking lie beside it for later calls.
fn unpacked(
    archive: &Path,
    cache: &Path,
    notes: &mut Vec<String>,
) -> Result<PathBuf, CatalogueError> {
    let failed = |path: &Path, error: std::io::Error| ArchiveError::File {
        path: path.to_path_buf(),
        message: error.to_string(),
    };
    let real = archive.canonicalize().map_err(|error| failed(archive, error))?;
    let metadata = real.metadata().map_err(|error| failed(archive, error))?;
    let changed = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default();
    let mut state = Sha256::new();
    state.update(real.as_os_str().as_encoded_bytes());
    state.update(metadata.len().to_le_bytes());
    state.update(changed.as_nanos().to_le_bytes());
    let digits: String =
        state.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let name = real.file_name().unwrap_or_default().to_string_lossy();
    let name = ArchiveKind::stem(&name);
    let parent = cache.join("unpacked");
    let folder = parent.join(format!("{name}-{digits}"));
    let noted = parent.join(format!("{name}-{digits}.notes"));
    if !folder.is_dir() {
        let aside = parent.join(format!("{name}-{digits}.part-{}", std::process::id()));
        // A process with the same number may have been killed while unpacking.
        match std::fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(&aside, error).into());
            }
            _ => {}
        }
        let outcome =
            unpack(&real, &aside, &UnpackLimits::of_archive(metadata.len()), &mut |_, _| {});
        let outcome = outcome.and_then(|found| {
            if !found.is_empty() {
                std::fs::write(&noted, found.join("\n")).map_err(|error| failed(&noted, error))?;
            }
            match std::fs::rename(&aside, &folder) {
                // Another process was faster.
                Err(_) if folder.is_dir() => Ok(()),
                renamed => renamed.map_err(|error| failed(&folder, error)),
            }
        });
        // The leftover folder is useless but harmless if it cannot be removed.
        let _ = std::fs::remove_dir_all(&aside);
        outcome?;
    }
    is_unpacked(&folder, archive);
    notes.push(format!("{} is unpacked in {}", archive.display(), folder.display()));
    if noted.is_file() {
        let found = std::fs::read_to_string(&noted).map_err(|error| failed(&noted, error))?;
        notes.extend(found.lines().map(str::to_owned));
    }
    Ok(folder)
}

fn listed(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), CatalogueError> {
    let (entries, files) = list_all(folder, &mut Walk::new(&mut |_| {}))?;
    Ok((entries.folders, files))
}
