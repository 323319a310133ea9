//! The folder that a training run leaves its files in.

mod checkpoints;
mod create;
mod error;
#[cfg(test)]
mod tests;
mod unfinished;

pub use checkpoints::{checkpoint_files, checkpoint_name, checkpoint_place};
pub use create::{NewFolder, run_name};
pub use error::RunFolderError;
pub(crate) use unfinished::remove_unfinished;

use crate::atomic_file;
use crate::file_error::FileError;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The best epoch's weights, with everything needed to use them in the metadata.
pub const MODEL: &str = "model.safetensors";
/// Every resolved option of the run.
pub const CONFIG: &str = "config.toml";
/// One row for each epoch.
pub const METRICS: &str = "metrics.csv";
/// Loss and accuracies by epoch, as a drawing.
pub const CURVES: &str = "curves.svg";
/// The outcome of the run.
pub const SUMMARY: &str = "summary.json";
/// Every image that the run was given, with a hash of its content.
pub const DATA: &str = "data.csv";
/// The finished model's prediction for each test image, or each validation image if there is no
/// test set.
pub const PREDICTIONS: &str = "predictions.csv";
/// For each training image, the prediction of a head that did not see it. Written for a fitted head
/// of a run that holds nothing out.
pub const OUT_OF_FOLD: &str = "predictions_out_of_fold.csv";
/// The run for TensorBoard.
pub const EVENTS: &str = "events.out.tfevents.regraft";
/// The page about a complete run, which `regraft report` writes.
pub const REPORT: &str = "report.html";
/// Every file that a run writes, and so every file that `--force` may replace.
pub const WRITTEN_FILES: [&str; 10] =
    [MODEL, CONFIG, METRICS, CURVES, SUMMARY, DATA, PREDICTIONS, OUT_OF_FOLD, EVENTS, REPORT];
/// The folder of checkpoints, from which an interrupted run is resumed.
pub const CHECKPOINTS: &str = "checkpoints";
/// The file that a run locks while it trains. It stays, empty, so that no other process can lock a
/// file of the same name in between.
pub const LOCK: &str = ".lock";

/// A folder that exists and belongs to one training run.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
    /// Held, and so locked, until the last copy is dropped or the process ends, however it ends.
    _lock: Option<Arc<File>>,
}

impl RunFolder {
    /// The folder of an earlier run, to read. Nothing is checked or created.
    pub fn existing(path: &Path) -> Self {
        Self { path: path.to_owned(), _lock: None }
    }

    /// The folder of an earlier run, to resume it. It is locked like that of a new run, and files
    /// that interrupted writes left behind are removed.
    ///
    /// # Errors
    /// If it is not a run's folder, or a run is writing to it.
    pub fn resume(path: &Path) -> Result<Self, RunFolderError> {
        Self::check_run(path)?;
        let folder = Self::locked(path)?;
        folder.remove_unfinished()?;
        Ok(folder)
    }

    /// Removes files that interrupted writes left behind. The folder must be locked, because then
    /// nothing is being written.
    fn remove_unfinished(&self) -> Result<(), RunFolderError> {
        [self.path.clone(), self.checkpoints()]
            .iter()
            .try_for_each(|folder| remove_unfinished(folder))
    }

    /// Whether a folder holds a run that could be resumed. Changes nothing.
    ///
    /// # Errors
    /// If it is not a run's folder.
    pub fn check_run(path: &Path) -> Result<(), RunFolderError> {
        match folder_or_nothing(path)? && path.join(CONFIG).is_file() {
            true => Ok(()),
            false => Err(RunFolderError::NoRun { path: path.to_owned() }),
        }
    }

    /// The folder, locked by this process.
    pub(crate) fn locked(folder: &Path) -> Result<Self, RunFolderError> {
        let path = folder.join(LOCK);
        let options =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = options.map_err(FileError::when("create the file", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(RunFolderError::Busy { path: folder.to_owned() });
            }
            // Some network file systems have no locks; a run there is better than none.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => {
                return Err(FileError::when("lock", &path)(error).into());
            }
        }
        // A power cut must not take the folder away from the files in it.
        for made in folder.ancestors().take(2) {
            atomic_file::sync_folder_of(made)
                .map_err(FileError::when("sync the folder of", made))?;
        }
        Ok(Self { path: folder.to_owned(), _lock: Some(Arc::new(file)) })
    }

    /// Makes the folder [`CHECKPOINTS`] if it is missing.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create_checkpoints(&self) -> Result<(), RunFolderError> {
        let folder = self.checkpoints();
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {
                return Ok(());
            }
            made => made.map_err(FileError::when("create the folder", &folder))?,
        }
        atomic_file::sync_folder_of(&folder)
            .map_err(FileError::when("sync the folder of", &folder))?;
        Ok(())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of [`MODEL`].
    pub fn model(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// The path of [`CONFIG`].
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// The path of [`METRICS`].
    pub fn metrics(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// The path of [`CURVES`].
    pub fn curves(&self) -> PathBuf {
        self.path.join(CURVES)
    }

    /// The path of [`PREDICTIONS`].
    pub fn predictions(&self) -> PathBuf {
        self.path.join(PREDICTIONS)
    }

    /// The path of [`OUT_OF_FOLD`].
    pub fn out_of_fold(&self) -> PathBuf {
        self.path.join(OUT_OF_FOLD)
    }

    /// The path of [`SUMMARY`].
    pub fn summary(&self) -> PathBuf {
        self.path.join(SUMMARY)
    }

    /// The path of [`DATA`].
    pub fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// The path of [`CHECKPOINTS`].
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }
}

/// The files of a folder that are `wanted`; none if the folder is missing.
fn files_of(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, RunFolderError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(FileError::when("read the folder", folder))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(FileError::when("read the folder", folder))?.path();
        if wanted(&path) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Whether a folder exists. Anything else of that name is an error.
fn folder_or_nothing(path: &Path) -> Result<bool, RunFolderError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(true),
        Ok(_) => Err(RunFolderError::NotAFolder { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FileError::when("look at", path)(error).into()),
    }
}
