//! The folder of a new run.

use super::checkpoint_files;
use super::unfinished::is_empty;
use super::{CHECKPOINTS, RunFolder, RunFolderError, WRITTEN_FILES, folder_or_nothing};
use crate::file_error::FileError;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the folder of a new run goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewFolder {
    /// Into this folder, named after the data: `photos`, or the first free one of `photos-2`,
    /// `photos-3` and so on.
    In(PathBuf),
    /// Here. The folder must be empty or missing.
    At(PathBuf),
    /// Here. The files of an earlier run, [`WRITTEN_FILES`] and its checkpoints, are removed, so
    /// that files of two runs never lie side by side; everything else is kept.
    Replacing(PathBuf),
}

impl NewFolder {
    /// Finds problems with the place early, before anything is read or trained. Creates
    /// nothing.
    ///
    /// # Errors
    /// Those that [`NewFolder::create`] would return as things stand now.
    pub fn check(&self) -> Result<(), RunFolderError> {
        match self {
            Self::In(parent) => folder_or_nothing(parent).map(|_| ()),
            Self::Replacing(folder) if folder_or_nothing(folder)? => {
                earlier_files(folder).map(|_| ())
            }
            Self::At(folder) if folder_or_nothing(folder)? && !is_empty(folder)? => {
                Err(RunFolderError::NotEmpty { path: folder.to_owned() })
            }
            Self::At(_) | Self::Replacing(_) => Ok(()),
        }
    }

    /// Makes the folder of a run called `name`. Call it right before training, after every input
    /// has been checked, so that a refused run leaves no empty folder behind.
    ///
    /// Two runs that start together get two folders, because creating one decides. The folder is
    /// locked until the run ends, so that no other run writes to it. If [`NewFolder::In`] had to
    /// number the folder, a note for the user says so.
    ///
    /// # Errors
    /// [`RunFolderError`]; nothing has been removed then unless a removal itself failed.
    pub fn create(&self, name: &str) -> Result<(RunFolder, Option<String>), RunFolderError> {
        self.check()?;
        let folder = match self {
            Self::In(parent) => return create_numbered(parent, name),
            Self::At(folder) | Self::Replacing(folder) => folder,
        };
        fs::create_dir_all(folder).map_err(FileError::when("create the folder", folder))?;
        let locked = RunFolder::locked(folder)?;
        // Another run may have come and gone since the check.
        self.check()?;
        locked.remove_unfinished()?;
        if matches!(self, Self::Replacing(_)) {
            for file in earlier_files(folder)? {
                fs::remove_file(&file).map_err(FileError::when("replace", &file))?;
            }
        }
        Ok((locked, None))
    }
}

/// The name of a run on this data folder: the folder's own name, also if it is given as `.` or
/// `photos/..`. For a table or an archive, its name without the extension. Bytes that are not
/// Unicode are replaced.
///
/// # Errors
/// [`RunFolderError`] if the folder cannot be found or is the root.
pub fn run_name(data: &Path) -> Result<String, RunFolderError> {
    let canonical = match fs::canonicalize(data) {
        // A folder inside of an archive.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => data.to_owned(),
        found => found.map_err(FileError::when("find the data folder", data))?,
    };
    let name = if canonical.is_file() { canonical.file_stem() } else { canonical.file_name() };
    let name = name.ok_or_else(|| RunFolderError::NoName { path: data.to_owned() })?;
    Ok(name.to_string_lossy().into_owned())
}

fn create_numbered(
    parent: &Path,
    name: &str,
) -> Result<(RunFolder, Option<String>), RunFolderError> {
    fs::create_dir_all(parent).map_err(FileError::when("create the folder", parent))?;
    let wanted = parent.join(name);
    let mut folder = wanted.clone();
    let mut number = 1_u64;
    loop {
        match fs::create_dir(&folder) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                number += 1;
                folder = parent.join(format!("{name}-{number}"));
            }
            Err(error) => return Err(FileError::when("create the folder", &folder)(error).into()),
        }
    }
    let note = (number > 1).then(|| {
        format!(
            "{} already exists, so this run is written to {}",
            wanted.display(),
            folder.display()
        )
    });
    Ok((RunFolder::locked(&folder)?, note))
}

/// The files of an earlier run in a folder.
///
/// # Errors
/// If something that is not a file has the name of one.
fn earlier_files(folder: &Path) -> Result<Vec<PathBuf>, RunFolderError> {
    let mut found = Vec::new();
    for name in WRITTEN_FILES {
        let path = folder.join(name);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() || metadata.is_symlink() => found.push(path),
            Ok(_) => return Err(RunFolderError::NotAFile { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(FileError::when("look at", &path)(error).into()),
        }
    }
    found.extend(checkpoint_files(&folder.join(CHECKPOINTS))?);
    Ok(found)
}
