//! `summary.json`: the outcome of a run in one small file.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic_file::{self, AtomicFileError};
use crate::metrics::{Temperature, wilson_interval_95};
use crate::transfer::fit::HeadFit;
use crate::transfer::frozen::FrozenProof;
use crate::transfer::labels::LabelMatch;
use regraft_data::named_file::{self, MAX_TABLE_BYTES};

/// The outcome of a training run. The JSON names are the field names; what a run does not have is
/// null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Mean cross entropy of the training images in the last epoch, in nats; null if it was not
    /// a finite number.
    pub train_loss: Option<f64>,
    /// Share of training images that were right in the last epoch.
    pub train_accuracy: Option<f64>,
    /// Share of validation images that the saved model gets right; null without a validation set.
    pub val_accuracy: Option<f64>,
    /// Share of test images that the saved model gets right; null without a test set.
    pub test_accuracy: Option<f64>,
    /// Mean cross entropy of the test images, in nats; null without a test set.
    pub test_loss: Option<f64>,
    /// The epoch that the saved model is from, counted from 1.
    pub best_epoch: u32,
    /// Training images for each second of training wall time, waiting for data included.
    pub images_per_second: f64,
    /// Wall time of the whole run, evaluation included.
    pub wall_seconds: f64,
    /// The device, in words.
    pub device: String,
    /// The instruction set of the kernels. The same run with another one rounds differently; with
    /// the same one, and the same `precision`, it gives the same weights to the bit.
    pub instruction_set: String,
    /// Number format of feature maps: f32 or bf16.
    pub precision: String,
    /// The seed of every random draw.
    pub seed: u64,
    /// Class names, in the order of the model's outputs.
    pub classes: Vec<String>,
    /// Name of the architecture.
    pub architecture: String,
    /// Side of the network's square input, in pixels.
    pub image_size: u32,
    /// Epochs trained.
    pub epochs: u32,
    /// Updates of the parameters that the optimizer made.
    pub optimizer_steps: u64,
    /// Images trained on in each epoch.
    pub train_images: u64,
    /// Images of the validation set; 0 without one.
    pub val_images: u64,
    /// Images of the test set; 0 without one.
    pub test_images: u64,
    /// Parameters that were trained.
    pub trained_parameters: u64,
    /// Parameters of the whole network.
    pub total_parameters: u64,
    /// How the head was fitted; null if it was not.
    pub head_fit: Option<HeadFit>,
    /// The temperature that calibrates the model's probabilities; null if no images were left to
    /// fit it to.
    #[serde(default)]
    pub temperature: Option<Temperature>,
    /// The source rows that each class's row of the head started from, if rows were reused.
    pub head_reuse: Vec<LabelMatch>,
    /// The frozen tensors that were proved equal to the source's; null if none were frozen.
    pub frozen: Option<FrozenProof>,
    /// Files left out because they could not be read.
    pub skipped_images: Vec<String>,
    /// Version of Regraft that trained it.
    pub regraft_version: String,
    /// The notes of the run.
    pub notes: Vec<String>,
}

/// The images that an accuracy was estimated on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Estimate {
    /// The test images.
    Test,
    /// The training images, each predicted by a head that did not see it.
    OutOfFold,
    /// The validation images, which may have chosen the epoch.
    Validation,
}

impl Estimate {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::OutOfFold => "out of fold",
            Self::Validation => "validation",
        }
    }
}

/// A run's best estimate of its accuracy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Headline {
    /// The images that it is from.
    pub scored_on: Estimate,
    /// How many these are.
    pub images: u64,
    /// How many of them are right.
    pub correct: u64,
    /// The accuracy, from 0 to 1.
    pub accuracy: f64,
    /// Its 95 % Wilson interval, `[low, high]`.
    pub accuracy_interval_95: [f64; 2],
}

impl Headline {
    /// That of a complete run: on the test images; without any, out of fold; otherwise on the
    /// validation images.
    #[must_use]
    pub fn of(summary: &Summary) -> Option<Self> {
        let scored = |scored_on, images: u64, accuracy: Option<f64>| {
            let accuracy = accuracy.filter(|_| images > 0)?;
            let right = (accuracy * images as f64).round() as u64;
            let accuracy_interval_95 = wilson_interval_95(right, images);
            Some(Self { scored_on, images, correct: right, accuracy, accuracy_interval_95 })
        };
        let out_of_fold = || {
            let found = summary.head_fit.as_ref()?.out_of_fold.as_ref()?;
            scored(Estimate::OutOfFold, found.images, Some(found.accuracy))
        };
        scored(Estimate::Test, summary.test_images, summary.test_accuracy)
            .or_else(out_of_fold)
            .or_else(|| scored(Estimate::Validation, summary.val_images, summary.val_accuracy))
    }
}

/// A `summary.json` that could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SummaryError {
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] AtomicFileError),
    /// JSON cannot hold a value.
    #[error("cannot write {path}: {source}", path = path.display())]
    Serialize {
        /// The file.
        path: PathBuf,
        /// Which value.
        source: serde_json::Error,
    },
    /// Reading failed.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The file is not a summary.
    #[error("{path} is not a run's summary: {source}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The problem with it.
        source: serde_json::Error,
    },
}

/// Writes the summary as indented JSON, replacing one that is there.
///
/// # Errors
/// [`SummaryError`].
pub fn write_summary(path: &Path, summary: &Summary) -> Result<(), SummaryError> {
    let mut json = serde_json::to_string_pretty(summary)
        .map_err(|source| SummaryError::Serialize { path: path.to_owned(), source })?;
    json.push('\n');
    Ok(atomic_file::write(path, json.as_bytes())?)
}

/// Reads a summary.
///
/// # Errors
/// [`SummaryError`].
pub fn read_summary(path: &Path) -> Result<Summary, SummaryError> {
    let json = named_file::read(path, MAX_TABLE_BYTES)
        .map_err(|source| SummaryError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&json)
        .map_err(|source| SummaryError::Parse { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn summary() -> Summary {
        Summary {
            train_loss: Some(0.125),
            train_accuracy: Some(0.96),
            val_accuracy: Some(0.95),
            test_accuracy: None,
            test_loss: None,
            best_epoch: 3,
            images_per_second: 14.5,
            wall_seconds: 120.0,
            device: "CPU, 2 threads".to_owned(),
            instruction_set: "avx512".to_owned(),
            precision: "f32".to_owned(),
            seed: u64::MAX,
            classes: vec!["hot \"dog\"".to_owned(), "犬".to_owned()],
            architecture: "resnet18".to_owned(),
            image_size: 224,
            epochs: 5,
            optimizer_steps: 80,
            train_images: 2000,
            val_images: 200,
            test_images: 0,
            trained_parameters: 1026,
            total_parameters: 11_177_538,
            head_fit: None,
            temperature: None,
            head_reuse: vec![],
            frozen: Some(FrozenProof { tensors: 100, values: 11_176_512 }),
            skipped_images: vec!["train/dog/broken.jpg".to_owned()],
            regraft_version: "0.1.0".to_owned(),
            notes: vec![],
        }
    }

    #[test]
    fn a_summary_is_indented_json_and_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        write_summary(&path, &summary()).unwrap();
        let expected = r#"{
  "train_loss": 0.125,
  "train_accuracy": 0.96,
  "val_accuracy": 0.95,
  "test_accuracy": null,
  "test_loss": null,
  "best_epoch": 3,
  "images_per_second": 14.5,
  "wall_seconds": 120.0,
  "device": "CPU, 2 threads",
  "instruction_set": "avx512",
  "precision": "f32",
  "seed": 18446744073709551615,
  "classes": [
    "hot \"dog\"",
    "犬"
  ],
  "architecture": "resnet18",
  "image_size": 224,
  "epochs": 5,
  "optimizer_steps": 80,
  "train_images": 2000,
  "val_images": 200,
  "test_images": 0,
  "trained_parameters": 1026,
  "total_parameters": 11177538,
  "head_fit": null,
  "temperature": null,
  "head_reuse": [],
  "frozen": {
    "tensors": 100,
    "values": 11176512
  },
  "skipped_images": [
    "train/dog/broken.jpg"
  ],
  "regraft_version": "0.1.0",
  "notes": []
}
"#;
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(read_summary(&path).unwrap(), summary());
    }

    #[test]
    fn a_loss_that_is_not_finite_becomes_null() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        write_summary(&path, &Summary { train_loss: Some(f64::NAN), ..summary() }).unwrap();
        assert_eq!(read_summary(&path).unwrap(), Summary { train_loss: None, ..summary() });
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        assert!(matches!(read_summary(&path), Err(SummaryError::Read { .. })));
        fs::write(&path, "{\"seed\": 1}").unwrap();
        let message = read_summary(&path).unwrap_err().to_string();
        assert!(
            message
                .starts_with(&format!("{} is not a run's summary: missing field", path.display())),
            "{message}"
        );
    }
}
