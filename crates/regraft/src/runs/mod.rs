//! Finished and unfinished runs in a folder, and how two of them differ.

mod diff;
mod document;

pub use diff::{Answers, ChangedAnswer, ChangedOption, RunDiff, diff};
pub use document::{diff_document, runs_document};

use crate::config::{ConfigError, TrainConfig};
use crate::error_kind::{Classified, ErrorKind};
use crate::file_error::FileError;
use crate::predictions::PredictionsError;
use crate::report::summary::{Estimate, Headline, SummaryError, read_summary};
use crate::run_folder::{CONFIG, RunFolder};
use crate::train::data_list::DataListError;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Folders below the one that is named in which runs are looked for: a comparison's runs lie three
/// levels deep.
const DEPTH: usize = 4;

/// A run in a list. The JSON names are the field names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunEntry {
    /// Its folder.
    pub folder: String,
    /// The images that it was given.
    pub data: String,
    /// Name of the architecture; `None` if neither file says it.
    pub model: Option<String>,
    /// The layers that were frozen: the option `freeze`.
    pub freeze: Option<String>,
    /// Whether it is complete.
    pub finished: bool,
    /// The best estimate of its accuracy, from 0 to 1.
    pub accuracy: Option<f64>,
    /// The 95 % Wilson interval of the accuracy, `[low, high]`.
    pub accuracy_interval_95: Option<[f64; 2]>,
    /// The images that the accuracy is from.
    pub scored_on: Option<Estimate>,
    /// How many these are.
    pub scored_images: Option<u64>,
    /// Epochs trained.
    pub epochs: Option<u32>,
    /// Training images.
    pub train_images: Option<u64>,
    /// Wall time in seconds.
    pub wall_seconds: Option<f64>,
    /// The seed of every random draw.
    pub seed: u64,
    /// Version of Regraft that trained it.
    pub regraft_version: Option<String>,
    /// When its last file was written, in seconds since 1970.
    pub written: Option<u64>,
}

/// Runs that cannot be listed or compared.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each is the error of the part that it is named after.
pub enum RunsError {
    #[error(transparent)]
    Folder(#[from] FileError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Summary(#[from] SummaryError),
    #[error(transparent)]
    Predictions(#[from] PredictionsError),
    #[error(transparent)]
    Data(#[from] DataListError),
    /// A folder is not a run.
    #[error("{} holds no {CONFIG}: name a run folder", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
}

impl Classified for RunsError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Input
    }
}

/// The runs in a folder and the folders below it, by folder, and remarks on those that cannot be
/// read.
///
/// # Errors
/// If the folder cannot be read.
pub fn list(folder: &Path) -> Result<(Vec<RunEntry>, Vec<String>), RunsError> {
    let mut folders = Vec::new();
    find(folder, DEPTH, &mut folders)?;
    folders.sort();
    let (mut runs, mut problems) = (Vec::new(), Vec::new());
    for folder in folders {
        match RunEntry::read(&folder) {
            Ok(run) => runs.push(run),
            Err(error) => problems.push(format!("left out: {error}")),
        }
    }
    Ok((runs, problems))
}

/// Collects the run folders at and below a folder. Links to folders are not followed, and nothing
/// is looked for inside a run.
fn find(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), FileError> {
    if folder.join(CONFIG).is_file() {
        found.push(folder.to_owned());
        return Ok(());
    }
    let read = || FileError::when("read the folder", folder);
    for entry in fs::read_dir(folder).map_err(read())? {
        let entry = entry.map_err(read())?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && depth > 0 {
            // A folder below that is closed to us holds none of our runs.
            let _ = find(&entry.path(), depth - 1, found);
        }
    }
    Ok(())
}

impl RunEntry {
    /// Reads a run's files.
    ///
    /// # Errors
    /// If its configuration or summary is damaged.
    pub fn read(path: &Path) -> Result<Self, RunsError> {
        let folder = RunFolder::existing(path);
        let config = TrainConfig::read(&folder.config())?;
        let summary = match folder.summary().exists() {
            true => Some(read_summary(&folder.summary())?),
            false => None,
        };
        let headline = summary.as_ref().and_then(Headline::of);
        let of_summary = summary.as_ref();
        Ok(Self {
            folder: path.display().to_string(),
            data: config.data.display().to_string(),
            model: of_summary.map(|found| found.architecture.clone()).or(config.model),
            freeze: config.freeze.map(String::from),
            finished: summary.is_some(),
            accuracy: headline.map(|found| found.accuracy),
            accuracy_interval_95: headline.map(|found| found.accuracy_interval_95),
            scored_on: headline.map(|found| found.scored_on),
            scored_images: headline.map(|found| found.images),
            epochs: of_summary.map(|found| found.epochs),
            train_images: of_summary.map(|found| found.train_images),
            wall_seconds: of_summary.map(|found| found.wall_seconds),
            seed: config.seed,
            regraft_version: of_summary.map(|found| found.regraft_version.clone()),
            written: written(&folder),
        })
    }
}

/// When the last of a run's small files was written.
fn written(folder: &RunFolder) -> Option<u64> {
    let time = |path: PathBuf| -> Option<SystemTime> { fs::metadata(path).ok()?.modified().ok() };
    let last = [folder.summary(), folder.metrics(), folder.config()].into_iter().filter_map(time);
    Some(last.max()?.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SortBy {
    /// The most accurate first.
    Accuracy,
    /// The fastest first.
    Time,
    /// By the images' folder, and the most accurate first.
    Data,
    /// By architecture, and the most accurate first.
    Model,
    /// By folder.
    Folder,
    /// The last written first.
    Date,
}

/// Sorts runs. Those without the number that is sorted by come last.
pub fn sort(runs: &mut [RunEntry], by: SortBy) {
    let accuracy = |run: &RunEntry| -run.accuracy.unwrap_or(-1.0);
    let seconds = |run: &RunEntry| run.wall_seconds.unwrap_or(f64::INFINITY);
    runs.sort_by(|a, b| {
        let most_accurate = accuracy(a).total_cmp(&accuracy(b));
        match by {
            SortBy::Accuracy => most_accurate,
            SortBy::Time => seconds(a).total_cmp(&seconds(b)),
            SortBy::Data => a.data.cmp(&b.data).then(most_accurate),
            SortBy::Model => a.model.cmp(&b.model).then(most_accurate),
            SortBy::Folder => a.folder.cmp(&b.folder),
            SortBy::Date => b.written.cmp(&a.written),
        }
    });
}
