//! The report on a run: how its model does on images that it has not learned from, as one page.

mod activation_map;
mod answers;
mod document;

pub use activation_map::{ActivationMaps, shaded};
pub use answers::ShownAnswer;

use crate::atomic_file::{self, AtomicFileError};
use crate::config::{ConfigError, TrainConfig, options};
use crate::engines::DeviceChoice;
use crate::error_kind::{Classified, ErrorKind};
use crate::evaluate_folder::evaluate_folder;
use crate::hashing::hexadecimal;
use crate::inference::{InferenceError, InferenceOptions};
use crate::metrics::{Bin, Evaluation, Evaluator, ImageScore, Temperature, reliability};
use crate::model::{Model, ModelError};
use crate::predictions::{Prediction, PredictionsError, read_predictions};
use crate::progress::Progress;
use crate::report::curves::CurvesError;
use crate::report::document::Document;
use crate::report::epochs::{EpochRow, EpochsError, read_epochs};
use crate::report::summary::{Estimate, Summary, SummaryError, read_summary};
use crate::run_folder::{PREDICTIONS, RunFolder};
use crate::train::data_list::{DataList, DataListError};
use regraft_data::named_file;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

/// Above this many classes the numbers have no confusion matrix, which would take megabytes.
const MOST_CLASSES_IN_MATRIX: usize = 1000;

/// A report that cannot be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Most are the errors of the parts that they are named after.
pub enum ReportError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Summary(#[from] SummaryError),
    #[error(transparent)]
    Epochs(#[from] EpochsError),
    #[error(transparent)]
    Predictions(#[from] PredictionsError),
    #[error(transparent)]
    DataList(#[from] DataListError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Inference(#[from] InferenceError),
    #[error(transparent)]
    Curves(#[from] CurvesError),
    #[error(transparent)]
    Write(#[from] AtomicFileError),
    /// A file of the run cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The run is not complete.
    #[error("{} is not a complete run: it has no summary.json", path.display())]
    Unfinished {
        /// Its folder.
        path: PathBuf,
    },
    /// The run scored no images.
    #[error("{} has no predictions: name labelled images that the report is about", path.display())]
    NoPredictions {
        /// Its folder.
        path: PathBuf,
    },
    /// The predictions cannot be used.
    #[error("{}: {reason}; name labelled images that the report is about", path.display())]
    OtherPredictions {
        /// Their file.
        path: PathBuf,
        /// The problem with them.
        reason: String,
    },
}

impl Classified for ReportError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Inference(error) => error.kind(),
            other => ErrorKind::failure_if(matches!(other, Self::Write(_) | Self::Curves(_))),
        }
    }
}

/// How a report is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportOptions {
    /// Whether it contains images.
    pub images: bool,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self { images: true }
    }
}

/// The images that a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The run's test images.
    Test,
    /// Its training images, each predicted by a head that did not see it.
    OutOfFold,
    /// Its validation images.
    Validation,
    /// Images that were named for the report.
    Given,
}

impl From<Estimate> for Subject {
    fn from(estimate: Estimate) -> Self {
        match estimate {
            Estimate::Test => Self::Test,
            Estimate::OutOfFold => Self::OutOfFold,
            Estimate::Validation => Self::Validation,
        }
    }
}

/// The numbers of a report. The JSON names are the field names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Numbers {
    /// The name of the run's folder.
    pub run: String,
    /// The images that it is about.
    pub scored_on: Subject,
    /// Their folder, table or archive, if they were named for the report.
    pub data: Option<String>,
    /// The scores, as in `regraft evaluate --json`; without `confusion` for more than 1,000
    /// classes.
    #[serde(flatten)]
    pub evaluation: Evaluation,
    /// The predictions by their probability, in 15 bins.
    pub reliability: Vec<Bin>,
    /// The temperature that calibrates the model's probabilities.
    pub temperature: Option<Temperature>,
    /// The most probable of the wrong predictions, the most probable first.
    pub mistakes: Vec<ShownAnswer>,
    /// The least probable of the right predictions, the least probable first.
    pub uncertain: Vec<ShownAnswer>,
    /// The content of the run's `summary.json`.
    pub summary: Summary,
    /// The options of the run.
    pub options: Map<String, Value>,
    /// SHA-256 of the model file, in hexadecimal digits.
    pub model_sha256: String,
    /// SHA-256 of the list of images in `data.csv`, which holds a hash of each.
    pub data_sha256: Option<String>,
    /// Version of Regraft that made the report.
    pub regraft_version: String,
}

/// A report.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The report to read.
    pub document: Document,
    /// Its numbers.
    pub numbers: Numbers,
    /// Remarks for the user.
    pub notes: Vec<String>,
}

/// The files of a complete run.
struct Run {
    folder: RunFolder,
    config: TrainConfig,
    summary: Summary,
    rows: Vec<EpochRow>,
}

impl Run {
    fn read(path: &Path) -> Result<Self, ReportError> {
        RunFolder::check_run(path)
            .map_err(|_| ReportError::Unfinished { path: path.to_owned() })?;
        let folder = RunFolder::existing(path);
        if !folder.summary().exists() {
            return Err(ReportError::Unfinished { path: path.to_owned() });
        }
        Ok(Self {
            config: TrainConfig::read(&folder.config())?,
            summary: read_summary(&folder.summary())?,
            rows: read_epochs(&folder.metrics())?,
            folder,
        })
    }

    /// The last part of the folder's path.
    fn name(&self) -> String {
        let path = self.folder.path();
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        path.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned())
    }

    /// The predictions that the run left, and the images that they are for.
    fn predictions(&self) -> Result<(Vec<Prediction>, Subject), ReportError> {
        let read = |path: PathBuf| -> Result<Vec<Prediction>, ReportError> {
            if path.exists() { Ok(read_predictions(&path)?) } else { Ok(Vec::new()) }
        };
        let held_out = read(self.folder.predictions())?;
        if !held_out.is_empty() {
            let is_test = self.summary.test_images > 0;
            return Ok((held_out, if is_test { Subject::Test } else { Subject::Validation }));
        }
        let out_of_fold = read(self.folder.out_of_fold())?;
        if out_of_fold.is_empty() {
            return Err(ReportError::NoPredictions { path: self.folder.path().to_owned() });
        }
        Ok((out_of_fold, Subject::OutOfFold))
    }
}

/// The report on a run: on the images in `data`, or else on the test images, or the training images
/// out of fold, or the validation images, as far as the run has them. The same run gives the same
/// report.
///
/// # Errors
/// If the run is not complete, or its files or the images cannot be used.
pub fn report(
    run: &Path,
    data: Option<&Path>,
    report_options: &ReportOptions,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<RunReport, ReportError> {
    let run = Run::read(run)?;
    let model = Model::load(&run.folder.model(), None)?.into_classifier()?;
    let mut inference = InferenceOptions::of(&run.config);
    inference.threads = 0;
    let mut notes = Vec::new();
    if let Err(error) = inference.device.resolve() {
        // The run was made on another machine.
        notes.push(format!("{error}; the report is made on the best device of this machine"));
        inference.device = DeviceChoice::Auto;
    }
    let (predictions, subject, evaluation) = match data {
        Some(data) => {
            let found = evaluate_folder(&model, data, &inference, progress)?;
            notes.extend(found.notes);
            (found.scored.predictions, Subject::Given, found.scored.evaluation)
        }
        None => {
            let (predictions, subject) = run.predictions()?;
            let evaluation = evaluation_of(&predictions, &model.classes, &run.folder)?;
            (predictions, subject, evaluation)
        }
    };
    let (mistakes, uncertain) = answers::extremes(&predictions);
    let guesses = predictions.iter().filter_map(|row| Some((row.probability?, row.is_right())));
    let model_file = run.folder.model();
    let bytes = named_file::read(&model_file, u64::MAX)
        .map_err(|source| ReportError::Read { path: model_file, source })?;
    let list = run.folder.data();
    let data_sha256 = if list.exists() { Some(DataList::read(&list)?.hash()) } else { None };
    let mut numbers = Numbers {
        run: run.name(),
        scored_on: subject,
        data: data.map(|data| data.display().to_string()),
        reliability: reliability(guesses),
        temperature: model.temperature()?,
        mistakes,
        uncertain,
        summary: run.summary.clone(),
        options: options(&run.config),
        model_sha256: hexadecimal(&Sha256::digest(bytes)),
        data_sha256,
        regraft_version: env!("CARGO_PKG_VERSION").into(),
        evaluation,
    };
    let images = if report_options.images {
        answers::draw(&run, &model, &inference, &numbers, &mut notes)?
    } else {
        answers::Drawn::default()
    };
    let mut document = document::document(&run, &numbers, &images)?;
    if numbers.evaluation.classes.len() > MOST_CLASSES_IN_MATRIX {
        numbers.evaluation.confusion.clear();
    }
    document.data(&numbers);
    Ok(RunReport { document, numbers, notes })
}

/// Writes the page of a report, replacing one that is there.
///
/// # Errors
/// If it cannot be written.
pub fn write(path: &Path, report: &RunReport) -> Result<(), ReportError> {
    Ok(atomic_file::write(path, report.document.html().as_bytes())?)
}

/// The scores of predictions that a run left.
fn evaluation_of(
    predictions: &[Prediction],
    classes: &[String],
    folder: &RunFolder,
) -> Result<Evaluation, ReportError> {
    let other = |reason: String| ReportError::OtherPredictions {
        path: folder.path().join(PREDICTIONS),
        reason,
    };
    let places: HashMap<&str, usize> =
        classes.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
    let place = |name: &str| {
        let found = places.get(name).copied();
        found.ok_or_else(|| other(format!("{name:?} is not a class of the model")))
    };
    let mut evaluator = Evaluator::new(classes.to_vec());
    for row in predictions {
        let predicted = match (&row.predicted, row.probability) {
            (Some(class), Some(probability)) => Some((place(class)?, probability)),
            _ => None,
        };
        let brier = match (row.brier, predicted) {
            (Some(brier), _) => brier,
            (None, None) => 0.0,
            (None, Some(_)) => {
                return Err(other("an earlier version wrote it, with fewer columns".to_owned()));
            }
        };
        let score = ImageScore { predicted, rank: row.rank, loss: row.loss, brier };
        evaluator.count(place(&row.class)?, &score);
    }
    evaluator.finish().map_err(|_| ReportError::NoPredictions { path: folder.path().to_owned() })
}
