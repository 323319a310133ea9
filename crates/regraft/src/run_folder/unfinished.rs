//! Files that interrupted writes left behind.

use super::{LOCK, RunFolderError, files_of};
use crate::atomic_file;
use crate::file_error::FileError;
use regraft_nn::weights;
use std::fs;
use std::path::Path;

/// Whether a folder holds at most the files of a run that was killed before it had written one.
pub(super) fn is_empty(folder: &Path) -> Result<bool, RunFolderError> {
    for entry in fs::read_dir(folder).map_err(FileError::when("read the folder", folder))? {
        let name = entry.map_err(FileError::when("read the folder", folder))?.file_name();
        if name != LOCK && !is_unfinished(&name.to_string_lossy()) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_unfinished(name: &str) -> bool {
    atomic_file::is_unfinished(name) || weights::is_unfinished(name)
}

/// Removes the files that interrupted writes left in a folder in which nothing is being written.
/// The folder may be missing.
pub(crate) fn remove_unfinished(folder: &Path) -> Result<(), RunFolderError> {
    let unfinished = files_of(folder, |path| {
        is_unfinished(&path.file_name().unwrap_or_default().to_string_lossy())
    })?;
    for path in unfinished {
        fs::remove_file(&path).map_err(FileError::when("remove the left-over", &path))?;
    }
    Ok(())
}
