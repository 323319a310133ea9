//! `predictions.csv`: a model's prediction for each scored image.

use crate::atomic_file::{self, AtomicFileError};
use crate::metrics::{brier, cross_entropy, predicted_class, rank, softmax};
use regraft_data::named_file;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A row of `predictions.csv`; the columns are the field names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The image's file.
    pub path: String,
    /// Its true class.
    pub class: String,
    /// The class that the model names; empty where the network gave no finite numbers.
    pub predicted: Option<String>,
    /// The probability that the model gives to it; empty likewise.
    pub probability: Option<f32>,
    /// The probability that the model gives to the true class; empty likewise, and in files of
    /// version 0.1.0, as are the next columns.
    #[serde(default)]
    pub class_probability: Option<f32>,
    /// The place of the true class among all classes, by probability: 1 for the predicted class.
    /// Out of fold it is empty after the sixteenth.
    #[serde(default)]
    pub rank: Option<u32>,
    /// The image's cross-entropy in nats; empty if it is not finite.
    #[serde(default)]
    pub loss: Option<f64>,
    /// The image's Brier score, from 0 to 2.
    #[serde(default)]
    pub brier: Option<f64>,
}

impl Prediction {
    /// The prediction of a row of logits `[C]` for an image.
    #[must_use]
    pub fn new(path: &Path, label: usize, logits: &[f32], classes: &[String]) -> Self {
        let found = predicted_class(logits).map(|class| (class, softmax(logits)));
        Self {
            path: path.display().to_string(),
            class: classes[label].clone(),
            predicted: found.as_ref().map(|(class, _)| classes[*class].clone()),
            probability: found.as_ref().map(|(class, row)| row[*class]),
            class_probability: found.as_ref().map(|(_, row)| row[label]),
            rank: found.as_ref().map(|_| rank(logits, label) as u32 + 1),
            loss: cross_entropy(logits, label),
            brier: found.as_ref().map(|(_, row)| brier(row, label)),
        }
    }

    /// Whether the model names the true class.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.predicted.as_ref() == Some(&self.class)
    }
}

/// A `predictions.csv` that could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum PredictionsError {
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] AtomicFileError),
    /// The rows have no form as CSV.
    #[error("cannot write {path}: {source}", path = path.display())]
    Serialize {
        /// The file.
        path: PathBuf,
        /// The problem.
        source: csv::Error,
    },
    /// Reading failed, or the file holds something else.
    #[error("{path} is not a file of predictions: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The problem, and its place.
        source: csv::Error,
    },
}

/// Writes the rows, replacing a file that is there.
///
/// # Errors
/// [`PredictionsError`].
pub fn write_predictions(path: &Path, predictions: &[Prediction]) -> Result<(), PredictionsError> {
    let failed = |source| PredictionsError::Serialize { path: path.to_owned(), source };
    let mut writer = csv::Writer::from_writer(Vec::new());
    for prediction in predictions {
        writer.serialize(prediction).map_err(failed)?;
    }
    let text = writer.into_inner().map_err(|error| failed(error.into_error().into()))?;
    Ok(atomic_file::write(path, &text)?)
}

/// Reads the rows.
///
/// # Errors
/// [`PredictionsError::Read`].
pub fn read_predictions(path: &Path) -> Result<Vec<Prediction>, PredictionsError> {
    let failed = |source| PredictionsError::Read { path: path.to_owned(), source };
    let mut reader =
        csv::Reader::from_reader(named_file::open(path).map_err(|error| failed(error.into()))?);
    reader.deserialize().collect::<Result<_, _>>().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were_written() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("predictions.csv");
        let classes = ["hot, \"dog\"".to_owned(), "犬".to_owned()];
        let rows = [
            Prediction::new(Path::new("test/a,b.jpg"), 0, &[3.0, 1.0], &classes),
            Prediction::new(Path::new("test/\"c\".jpg"), 0, &[1.0, 1.0 + f32::EPSILON], &classes),
            Prediction::new(Path::new("test/d\ne.jpg"), 1, &[f32::NAN, 1.0], &classes),
        ];
        assert_eq!(rows.each_ref().map(Prediction::is_right), [true, false, false]);
        write_predictions(&path, &rows).expect("written");
        let text = std::fs::read_to_string(&path).expect("read");
        assert!(
            text.starts_with(
                "path,class,predicted,probability,class_probability,rank,loss,brier\n\
                 \"test/a,b.jpg\",\"hot, \"\"dog\"\"\","
            ),
            "{text}"
        );
        assert_eq!(read_predictions(&path).expect("read"), rows);
        // Version 0.1.0 wrote four columns.
        std::fs::write(&path, "path,class,predicted,probability\na.jpg,cat,dog,0.75\n")
            .expect("written");
        let old = read_predictions(&path).expect("read");
        assert_eq!((old[0].probability, old[0].loss, old[0].rank), (Some(0.75), None, None));
        std::fs::write(&path, "a,b\n1,2\n").expect("written");
        let error = read_predictions(&path).expect_err("other columns").to_string();
        assert!(
            error.starts_with(&format!("{} is not a file of predictions: ", path.display())),
            "{error}"
        );
    }
}
