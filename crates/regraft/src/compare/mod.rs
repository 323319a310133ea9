//! A comparison of ways to fine-tune: several arms, each trained with the same seeds on the same
//! images.
//!
//! Two runs with the same seed draw the same split, the same order of batches and the same crops
//! and flips, because every random draw is a function of the seed, the epoch and the image alone;
//! so arms differ in nothing but their options.

pub mod arms;
mod document;
mod paired;
mod picture;
mod result;

pub use document::comparison_document;
pub use paired::{PairedTest, RightAnswers, SIGNIFICANCE, compare_all};
pub use result::{ArmResult, Comparison, FinishedRun, Run, RunResult, ScoredOn};

use crate::atomic_file::{self, AtomicFileError};
use crate::config::{ConfigError, Difference, Effect, TrainConfig, differences, options};
use crate::error_kind::{Classified, ErrorKind};
use crate::file_error::FileError;
use crate::predictions::{PredictionsError, read_predictions};
use crate::report::curves::CurvesError;
use crate::report::epochs::{EpochsError, read_epochs};
use crate::report::summary::{SummaryError, read_summary};
use crate::run_folder::{NewFolder, RunFolder, RunFolderError, remove_unfinished};
use crate::train::{Destination, Event, Outcome, Settings, train};
use arms::Arm;
use result::ArmRuns;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The outcome, for machines.
pub const RESULT: &str = "compare.json";
/// All arms' curves.
pub const PICTURE: &str = "compare.svg";
/// The outcome as a page to read.
pub const PAGE: &str = "compare.html";
/// The folder of the runs, in a folder for each arm.
pub const ARMS: &str = "arms";

/// The arms and seeds to compare.
#[derive(Clone, Debug)]
pub struct CompareConfig {
    /// The folder of images.
    pub data: PathBuf,
    /// The arms.
    pub arms: Vec<Arm>,
    /// The seeds of each arm's runs.
    pub seeds: Vec<u64>,
    /// The accuracy whose time is taken.
    pub target_accuracy: f64,
    /// Set, by a signal's handler or another thread, to end the comparison after the step that is
    /// being made.
    pub stop: Arc<AtomicBool>,
}

/// The events of a comparison.
#[derive(Debug)]
pub enum CompareEvent<'a> {
    /// A run begins.
    Run {
        /// The arm.
        arm: &'a str,
        /// The seed.
        seed: u64,
        /// Which run it is, counted from 1, and how many there are.
        number: (usize, usize),
    },
    /// Something happens in it.
    Training(Event),
    /// A run finished now, or had before.
    Finished {
        /// The arm.
        arm: &'a str,
        /// The seed.
        seed: u64,
        /// Its results.
        run: &'a FinishedRun,
        /// Whether it was there already.
        earlier: bool,
    },
    /// A run failed. The others continue.
    Failed {
        /// The arm.
        arm: &'a str,
        /// The seed.
        seed: u64,
        /// Why.
        error: &'a str,
    },
}

/// A comparison that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// An arm's finished run had other options.
    #[error(
        "{folder} holds a run of arm \"{arm}\" with other options ({differences})",
        folder = folder.display()
    )]
    Changed {
        /// The arm.
        arm: String,
        /// Its run folder.
        folder: PathBuf,
        /// Which options differ.
        differences: String,
    },
    /// It was asked to stop.
    #[error("the comparison was stopped in run {number} of {total}; the same command resumes it")]
    Stopped {
        /// The run.
        number: usize,
        /// How many there are.
        total: usize,
    },
    /// All runs failed.
    #[error("no run of the comparison finished; the first failed with: {first}")]
    NothingFinished {
        /// The first run's error.
        first: String,
    },
    /// Another comparison writes to the folder, or files of an earlier one cannot be removed.
    #[error(transparent)]
    Folder(#[from] RunFolderError),
    /// A folder cannot be made or a file not be read.
    #[error(transparent)]
    Io(#[from] FileError),
    /// The arms' options have no form in TOML.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] AtomicFileError),
    /// A finished run's file cannot be read.
    #[error(transparent)]
    Summary(#[from] SummaryError),
    /// A finished run's file cannot be read.
    #[error(transparent)]
    Epochs(#[from] EpochsError),
    /// A finished run's file cannot be read.
    #[error(transparent)]
    Predictions(#[from] PredictionsError),
    /// The image cannot be drawn.
    #[error(transparent)]
    Picture(#[from] CurvesError),
    /// The outcome has no form in JSON.
    #[error("cannot write the outcome as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Classified for CompareError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::failure_if(!matches!(self, Self::Changed { .. } | Self::Folder(_)))
    }
}

/// Trains every arm with every seed, in `folder`, and compares them. A run that is there from an
/// earlier call is not run again, so that a comparison resumes where it was stopped and includes
/// new arms. The outcome so far is written after each run.
///
/// # Errors
/// If a file cannot be read or written, an arm was changed, or no run finished. A run that fails
/// is part of the outcome.
pub fn compare(
    config: &CompareConfig,
    folder: &Path,
    report: &mut (dyn FnMut(CompareEvent<'_>) + Send),
) -> Result<Comparison, CompareError> {
    for arm in &config.arms {
        for &seed in &config.seeds {
            check_unchanged(arm, seed, folder)?;
        }
    }
    // Held to the end, so that no other comparison writes there.
    fs::create_dir_all(folder).map_err(FileError::when("create", folder))?;
    let _lock = RunFolder::locked(folder)?;
    remove_unfinished(folder)?;
    config
        .arms
        .iter()
        .try_for_each(|arm| remove_unfinished(&folder.join(ARMS).join(&arm.folder)))?;
    let mut arms: Vec<ArmRuns<'_>> =
        config.arms.iter().map(|arm| ArmRuns { arm, runs: Vec::new() }).collect();
    let total = config.arms.len() * config.seeds.len();
    let mut number = 0;
    // Seed by seed, so that a comparison that is stopped has something of every arm.
    for &seed in &config.seeds {
        for place in 0..arms.len() {
            number += 1;
            let (run, is_new) =
                run_arm(config, arms[place].arm, seed, folder, (number, total), report)?;
            let finished = run.outcome.is_ok();
            arms[place].runs.push(run);
            if is_new && finished {
                write_outcome(config, folder, &arms)?;
            }
        }
    }
    let mut runs = arms.iter().flat_map(|arm| &arm.runs);
    if runs.clone().all(|run| run.outcome.is_err()) {
        let first = runs.find_map(|run| run.outcome.as_ref().err().cloned()).unwrap_or_default();
        return Err(CompareError::NothingFinished { first });
    }
    write_outcome(config, folder, &arms)
}

/// The folder of a run, and the file beside it with the options that it was asked for.
fn places(arm: &Arm, seed: u64, folder: &Path) -> (PathBuf, PathBuf) {
    let arm = folder.join(ARMS).join(&arm.folder);
    (arm.join(format!("seed-{seed}")), arm.join(format!("seed-{seed}.toml")))
}

fn with_seed(arm: &Arm, seed: u64) -> TrainConfig {
    // The arms' curves are of the images that they are compared on. For show only: they choose
    // nothing.
    TrainConfig { seed, test_each_epoch: true, ..arm.config.clone() }
}

/// An error where a run of the arm is there that was asked for other options.
fn check_unchanged(arm: &Arm, seed: u64, folder: &Path) -> Result<(), CompareError> {
    let (run_folder, asked) = places(arm, seed, folder);
    if !asked.exists() {
        return Ok(());
    }
    let differences = changes(&TrainConfig::read(&asked)?, &with_seed(arm, seed));
    if differences.is_empty() {
        return Ok(());
    }
    Err(CompareError::Changed {
        arm: arm.name.clone(),
        folder: run_folder,
        differences: differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    })
}

/// The options that may change a result and that two configurations have different values of.
fn changes(before: &TrainConfig, after: &TrainConfig) -> Vec<Difference> {
    let mut found = differences(&options(before), &options(after));
    found.retain(|difference| difference.effect() != Effect::Speed);
    found
}

/// The run of an arm, and whether it was made now.
fn run_arm(
    comparison: &CompareConfig,
    arm: &Arm,
    seed: u64,
    folder: &Path,
    number: (usize, usize),
    report: &mut (dyn FnMut(CompareEvent<'_>) + Send),
) -> Result<(Run, bool), CompareError> {
    let (run_folder, asked) = places(arm, seed, folder);
    let earlier = RunFolder::existing(&run_folder).summary().exists();
    let mut trained = Ok(true);
    if !earlier {
        report(CompareEvent::Run { arm: &arm.name, seed, number });
        let mut config = with_seed(arm, seed);
        fs::create_dir_all(&run_folder).map_err(FileError::when("create", &run_folder))?;
        atomic_file::write(&asked, config.to_toml()?.as_bytes())?;
        let begun = RunFolder::existing(&run_folder).config();
        let resume = begun.exists();
        if resume {
            let begun = TrainConfig::read(&begun)?;
            config = config.with_source_of(&begun);
            if config.decides_depth() {
                config = config.with_depth_of(&begun);
            }
        }
        let destination = if resume {
            Destination::Resume(run_folder.clone())
        } else {
            Destination::New(NewFolder::Replacing(run_folder.clone()))
        };
        let stop = Arc::clone(&comparison.stop);
        let settings = Settings { destination, stop, ..Settings::default() };
        let outcome = train(&config, &settings, &mut |event| report(CompareEvent::Training(event)));
        trained = outcome.map(|outcome| matches!(outcome, Outcome::Finished(_)));
    }
    let outcome = match trained {
        Ok(true) => {
            let run = Box::new(read_run(&run_folder)?);
            report(CompareEvent::Finished { arm: &arm.name, seed, run: &run, earlier });
            Ok(run)
        }
        Ok(false) => {
            return Err(CompareError::Stopped { number: number.0, total: number.1 });
        }
        Err(error) => {
            let error = error.to_string();
            report(CompareEvent::Failed { arm: &arm.name, seed, error: &error });
            Err(error)
        }
    };
    Ok((Run { seed, folder: run_folder, outcome }, !earlier))
}

fn read_run(folder: &Path) -> Result<FinishedRun, CompareError> {
    let folder = RunFolder::existing(folder);
    Ok(FinishedRun {
        summary: read_summary(&folder.summary())?,
        rows: read_epochs(&folder.metrics())?,
        predictions: read_predictions(&folder.predictions())?,
    })
}

/// Puts the runs so far together and writes them as JSON, image and page.
fn write_outcome(
    config: &CompareConfig,
    folder: &Path,
    arms: &[ArmRuns<'_>],
) -> Result<Comparison, CompareError> {
    let comparison = result::put_together(config, arms);
    let mut json = serde_json::to_string_pretty(&comparison)?;
    json.push('\n');
    let title = format!(
        "{}, {} seed{}",
        config.data.display(),
        config.seeds.len(),
        if config.seeds.len() == 1 { "" } else { "s" }
    );
    let svg = picture::comparison_svg(&title, &comparison, arms)?;
    atomic_file::write(&folder.join(RESULT), json.as_bytes())?;
    atomic_file::write(&folder.join(PICTURE), svg.as_bytes())?;
    let page = document::with_options(comparison_document(&comparison, &svg), config);
    atomic_file::write(&folder.join(PAGE), page.html().as_bytes())?;
    Ok(comparison)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Recipe;

    #[test]
    fn options_that_change_no_result_are_no_changes() {
        let before = TrainConfig::recipe(Recipe::D2l, Path::new("photos"));
        let after = TrainConfig { lr: Some(4e-5), threads: 3, workers: 2, ..before.clone() };
        assert_eq!(
            changes(&before, &after).iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["lr 4e-5 instead of 5e-5"]
        );
    }
}
