//! `metrics.csv`: one row for each epoch.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic_file::{self, AtomicFileError};
use regraft_data::named_file::{MAX_TABLE_BYTES, read_text};

/// The columns, in order; the names of [`EpochRow`]'s fields.
const COLUMNS: [&str; 10] = [
    "epoch",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "test_accuracy",
    "learning_rate",
    "seconds",
    "images_per_second",
    "data_wait_fraction",
];

/// The results of an epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRow {
    /// Counted from 1.
    pub epoch: u32,
    /// Mean cross entropy of the training images as they were trained on, in nats.
    pub train_loss: f64,
    /// Share of training images that were right as they were trained on.
    pub train_accuracy: f64,
    /// Mean cross entropy of the validation images after the epoch, if there are any.
    pub validation_loss: Option<f64>,
    /// Share of validation images that were right after the epoch, if there are any.
    pub validation_accuracy: Option<f64>,
    /// Share of test images that were right after the epoch, where the recipe shows it each epoch.
    pub test_accuracy: Option<f64>,
    /// The backbone's learning rate at the end of the epoch.
    pub learning_rate: f64,
    /// Wall time of the epoch's training, waiting for data included.
    pub seconds: f64,
    /// Training images for each second of `seconds`.
    pub images_per_second: f64,
    /// The share of `seconds` in which training waited for data.
    pub data_wait_fraction: f64,
}

/// A `metrics.csv` that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum EpochsError {
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] AtomicFileError),
    /// Reading failed.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The first line names other columns.
    #[error(
        "{path} does not begin with the columns of a metrics file ({columns}): move it away or \
         name another folder",
        path = path.display(),
        columns = COLUMNS.join(",")
    )]
    Columns {
        /// The file.
        path: PathBuf,
    },
    /// A row does not fit its columns.
    #[error("{path}, line {line}: {problem}; mend or remove the line", path = path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The problem with it.
        problem: String,
    },
}

/// Writes a file of these rows, replacing one that is there: with no rows at the start of a run,
/// with those up to the checkpoint when it is resumed.
///
/// # Errors
/// [`EpochsError::Write`].
pub fn write_epochs(path: &Path, rows: &[EpochRow]) -> Result<(), EpochsError> {
    let mut text = format!("{}\n", COLUMNS.join(","));
    for row in rows {
        text.push_str(&line_of(row));
    }
    Ok(atomic_file::write(path, text.as_bytes())?)
}

/// Reads the rows of a file. Numbers come back to the bit.
///
/// # Errors
/// [`EpochsError`], naming the line that is wrong.
pub fn read_epochs(path: &Path) -> Result<Vec<EpochRow>, EpochsError> {
    let text = read_text(path, MAX_TABLE_BYTES)
        .map_err(|source| EpochsError::Read { path: path.to_owned(), source })?;
    let mut lines = text.lines();
    if lines.next() != Some(COLUMNS.join(",").as_str()) {
        return Err(EpochsError::Columns { path: path.to_owned() });
    }
    let row = |(index, line)| {
        parse_line(line).map_err(|problem| EpochsError::Row {
            path: path.to_owned(),
            line: index + 2,
            problem,
        })
    };
    lines.enumerate().map(row).collect()
}

/// A row as a line of CSV. No field is ever quoted: each is a number or empty.
fn line_of(row: &EpochRow) -> String {
    let optional = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let fields: [String; COLUMNS.len()] = [
        row.epoch.to_string(),
        row.train_loss.to_string(),
        row.train_accuracy.to_string(),
        optional(row.validation_loss),
        optional(row.validation_accuracy),
        optional(row.test_accuracy),
        row.learning_rate.to_string(),
        row.seconds.to_string(),
        row.images_per_second.to_string(),
        row.data_wait_fraction.to_string(),
    ];
    format!("{}\n", fields.join(","))
}

fn parse_line(line: &str) -> Result<EpochRow, String> {
    let fields: Vec<&str> = line.split(',').collect();
    if fields.len() != COLUMNS.len() {
        return Err(format!("{} fields where {} are due", fields.len(), COLUMNS.len()));
    }
    let problem = |column: usize| format!("\"{}\" is no {}", fields[column], COLUMNS[column]);
    let number = |column: usize| fields[column].parse::<f64>().map_err(|_| problem(column));
    let optional =
        |column: usize| if fields[column].is_empty() { Ok(None) } else { number(column).map(Some) };
    Ok(EpochRow {
        epoch: fields[0].parse().map_err(|_| problem(0))?,
        train_loss: number(1)?,
        train_accuracy: number(2)?,
        validation_loss: optional(3)?,
        validation_accuracy: optional(4)?,
        test_accuracy: optional(5)?,
        learning_rate: number(6)?,
        seconds: number(7)?,
        images_per_second: number(8)?,
        data_wait_fraction: number(9)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const HEADER: &str = "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,\
        test_accuracy,\
                          learning_rate,seconds,images_per_second,data_wait_fraction";

    fn row(epoch: u32) -> EpochRow {
        EpochRow {
            epoch,
            train_loss: 0.1 + 0.2,
            train_accuracy: 0.875,
            validation_loss: Some(1e-7),
            validation_accuracy: Some(0.9),
            test_accuracy: None,
            learning_rate: 5e-5,
            seconds: 12.5,
            images_per_second: 160.0,
            data_wait_fraction: 0.0,
        }
    }

    #[test]
    fn rows_stand_under_a_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        write_epochs(&path, &[row(1), row(2)]).unwrap();
        let expected = format!(
            "{HEADER}\n\
             1,0.30000000000000004,0.875,0.0000001,0.9,,0.00005,12.5,160,0\n\
             2,0.30000000000000004,0.875,0.0000001,0.9,,0.00005,12.5,160,0\n"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(read_epochs(&path).unwrap(), [row(1), row(2)]);
    }

    #[test]
    fn an_empty_start_and_a_resume_replace_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        write_epochs(&path, &[row(1), row(2), row(3)]).unwrap();
        write_epochs(&path, &[row(1)]).unwrap();
        assert_eq!(read_epochs(&path).unwrap(), [row(1)]);
        write_epochs(&path, &[]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{HEADER}\n"));
    }

    #[test]
    fn numbers_that_are_not_finite_survive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        let diverged =
            EpochRow { train_loss: f64::NAN, validation_loss: Some(f64::INFINITY), ..row(1) };
        write_epochs(&path, &[diverged]).unwrap();
        let read = &read_epochs(&path).unwrap()[0];
        assert!(read.train_loss.is_nan());
        assert_eq!(read.validation_loss, Some(f64::INFINITY));
    }

    #[test]
    fn a_line_that_is_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        let message = |text: &str| {
            fs::write(&path, text).unwrap();
            read_epochs(&path).unwrap_err().to_string()
        };
        let name = path.display();
        assert_eq!(
            message(&format!("{HEADER}\n1,0,0,,,,0,0,0,0\n2,0.5,high,,,,0,0,0,0\n")),
            format!("{name}, line 3: \"high\" is no train_accuracy; mend or remove the line")
        );
        assert_eq!(
            message(&format!("{HEADER}\n1,0.5\n")),
            format!("{name}, line 2: 2 fields where 10 are due; mend or remove the line")
        );
        assert!(
            message("epoch;loss\n").contains("does not begin with the columns of a metrics file")
        );
        assert!(message("").contains("does not begin with the columns of a metrics file"));
        assert!(
            read_epochs(&folder.path().join("missing.csv"))
                .unwrap_err()
                .to_string()
                .contains("missing.csv")
        );
    }
}
