//! TensorBoard's event file of a run: what `metrics.csv` holds, each step's loss, accuracy and
//! learning rate, and the options.
//!
//! Events are appended as they happen, so TensorBoard shows a run that is under way. If a run is
//! resumed or goes back, the file is replaced by one without the events after that place.

mod crc32c;
mod event;
mod record;

use crate::atomic_file::{self, AtomicFileError};
use crate::file_error::FileError;
use crate::report::epochs::EpochRow;
use crate::run_folder::EVENTS;
use event::{Content, event, values, version};
use record::{framed, records};
use regraft_data::named_file;
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The start of the tags whose step is an epoch.
const EPOCH: &str = "epoch/";
/// The start of the tags whose step is an update of the parameters.
const STEP: &str = "step/";

/// Files of more bytes are not read back when a run resumes.
const MOST_BYTES: u64 = 1 << 30;

/// An event file that cannot be written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each is the error of the part that it is named after.
pub enum EventsError {
    #[error(transparent)]
    Replace(#[from] AtomicFileError),
    #[error(transparent)]
    Append(#[from] FileError),
}

/// The values of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepValues {
    /// Updates of the parameters so far.
    pub step: u64,
    /// Mean loss of the step's images.
    pub loss: f64,
    /// Share of them that were right.
    pub accuracy: f64,
    /// The backbone's learning rate.
    pub learning_rate: f64,
}

/// Writes a run's event file.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
    /// Epochs that the file has.
    epochs: usize,
    /// The last update of the parameters that the file has.
    last_step: u64,
}

impl EventWriter {
    /// The file [`EVENTS`] in a run's folder: that of an earlier sitting up to the first event
    /// after the last of `rows` or after `steps` updates, or a new one with the options.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn open(
        folder: &Path,
        options: impl IntoIterator<Item = (String, Value)>,
        rows: &[EpochRow],
        steps: u64,
    ) -> Result<Self, EventsError> {
        let path = folder.join(EVENTS);
        let earlier = named_file::read(&path, MOST_BYTES).unwrap_or_default();
        let kept = kept(&earlier, rows.last().map(|row| row.epoch), steps);
        let (bytes, epochs) = match kept {
            Some(kept) => kept,
            None => {
                let given = options.into_iter().filter(|(_, value)| !value.is_null());
                let options: Vec<(String, Value)> = given.collect();
                let now = now();
                let first = framed(&version(now));
                let start = framed(&event(now, 0, &Content::Start(&options)));
                ([first, start].concat(), 0)
            }
        };
        atomic_file::write(&path, &bytes)?;
        let file = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(FileError::when("open the file", &path))?;
        let mut writer = Self { path, file, epochs, last_step: steps };
        writer.epochs(rows)?;
        Ok(writer)
    }

    /// Adds the epochs that the file does not have yet.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn epochs(&mut self, rows: &[EpochRow]) -> Result<(), EventsError> {
        for row in rows.iter().skip(self.epochs) {
            let values = epoch_values(row);
            let values: Vec<(&str, f32)> =
                values.iter().map(|(tag, value)| (tag.as_str(), *value)).collect();
            self.add(u64::from(row.epoch), &Content::Scalars(&values))?;
        }
        self.epochs = self.epochs.max(rows.len());
        Ok(())
    }

    /// Adds the steps that the file does not have yet.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn steps(&mut self, steps: &[StepValues]) -> Result<(), EventsError> {
        let first = steps.partition_point(|made| made.step <= self.last_step);
        for &StepValues { step, loss, accuracy, learning_rate } in &steps[first..] {
            let [loss, accuracy, rate] = [loss, accuracy, learning_rate].map(|value| value as f32);
            let values =
                [("step/loss", loss), ("step/accuracy", accuracy), ("step/learning_rate", rate)];
            self.add(step, &Content::Scalars(&values))?;
            self.last_step = step;
        }
        Ok(())
    }

    /// Says that the run is complete.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn end(&mut self) -> Result<(), EventsError> {
        self.add(0, &Content::End)
    }

    fn add(&mut self, step: u64, content: &Content<'_>) -> Result<(), EventsError> {
        let record = framed(&event(now(), step, content));
        // In one call, so that a reader rarely meets half a record.
        Ok(self.file.write_all(&record).map_err(FileError::when("write", &self.path))?)
    }
}

/// A number in an event file.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// Its name, such as `epoch/train_loss` or `step/loss`.
    pub tag: String,
    /// The epoch or the update of the parameters that it belongs to.
    pub step: u64,
    /// The number.
    pub value: f32,
}

/// The numbers in the content of an event file, in its order, up to the first damaged record.
#[must_use]
pub fn scalars(file: &[u8]) -> Vec<Scalar> {
    let events = records(file).map_while(values);
    let scalars = events.flat_map(|(step, values)| {
        values.into_iter().filter_map(move |(tag, value)| Some(Scalar { tag, step, value: value? }))
    });
    scalars.collect()
}

/// The values of a row of `metrics.csv`, by tag.
fn epoch_values(row: &EpochRow) -> Vec<(String, f32)> {
    let columns = [
        ("train_loss", Some(row.train_loss)),
        ("train_accuracy", Some(row.train_accuracy)),
        ("validation_loss", row.validation_loss),
        ("validation_accuracy", row.validation_accuracy),
        ("test_accuracy", row.test_accuracy),
        ("learning_rate", Some(row.learning_rate)),
        ("seconds", Some(row.seconds)),
        ("images_per_second", Some(row.images_per_second)),
        ("data_wait_fraction", Some(row.data_wait_fraction)),
    ];
    let given = columns.into_iter().filter_map(|(name, value)| Some((name, value?)));
    given.map(|(name, value)| (format!("{EPOCH}{name}"), value as f32)).collect()
}

/// The records of a file that are not after an epoch or a step, and how many epochs are among them;
/// `None` if it is not such a file.
fn kept(file: &[u8], last_epoch: Option<u32>, steps: u64) -> Option<(Vec<u8>, usize)> {
    let (mut kept, mut epochs) = (Vec::new(), 0);
    for record in records(file) {
        let (step, values) = values(record)?;
        let tag = values.first().map_or("", |(tag, _)| tag);
        let is_kept = if tag.starts_with(EPOCH) {
            last_epoch.is_some_and(|last| step <= u64::from(last))
        } else if tag.starts_with(STEP) {
            step <= steps
        } else {
            // Results of the end belong to a run that was complete.
            tag.is_empty() || tag == "_hparams_/session_start_info"
        };
        if is_kept {
            epochs += usize::from(tag.starts_with(EPOCH));
            kept.extend(framed(record));
        }
    }
    (!kept.is_empty()).then_some((kept, epochs))
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(epoch: u32) -> EpochRow {
        EpochRow {
            epoch,
            train_loss: 0.5,
            train_accuracy: 0.75,
            validation_loss: None,
            validation_accuracy: Some(0.5),
            test_accuracy: None,
            learning_rate: 1e-3,
            seconds: 1.0,
            images_per_second: 10.0,
            data_wait_fraction: 0.0,
        }
    }

    fn step(step: u64) -> StepValues {
        StepValues { step, loss: 0.25, accuracy: 0.5, learning_rate: 1e-3 }
    }

    fn events(folder: &Path) -> Vec<(u64, String)> {
        let file = std::fs::read(folder.join(EVENTS)).expect("a file");
        let first = |record| {
            let (step, values) = values(record).expect("an event");
            (step, values.into_iter().next().unwrap_or_default().0)
        };
        records(&file).map(first).collect()
    }

    #[test]
    fn a_resumed_run_repeats_no_event_and_loses_none() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let open = |rows: &[EpochRow], steps| {
            let options = [("lr".to_owned(), 0.5.into()), ("budget".to_owned(), Value::Null)];
            EventWriter::open(folder.path(), options, rows, steps).expect("opened")
        };
        let mut writer = open(&[], 0);
        writer.steps(&[step(1), step(2)]).expect("written");
        writer.steps(&[step(1), step(2)]).expect("written");
        writer.epochs(&[row(1)]).expect("written");
        writer.steps(&[step(3), step(4)]).expect("written");
        writer.epochs(&[row(1), row(2)]).expect("written");
        writer.end().expect("written");
        let tag = |name: &str| name.to_owned();
        let before = [
            (0, tag("")),
            (0, tag("_hparams_/session_start_info")),
            (1, tag("step/loss")),
            (2, tag("step/loss")),
            (1, tag("epoch/train_loss")),
            (3, tag("step/loss")),
        ];
        assert_eq!(events(folder.path())[..6], before);
        assert_eq!(events(folder.path()).len(), 9);
        // Half a record at the end, as a killed process leaves it.
        let path = folder.path().join(EVENTS);
        let mut bytes = std::fs::read(&path).expect("read");
        bytes.extend([7; 20]);
        std::fs::write(&path, bytes).expect("written");
        assert_eq!(events(folder.path()).len(), 9);
        let mut writer = open(&[row(1)], 3);
        assert_eq!(events(folder.path()), before);
        writer.epochs(&[row(1), row(2)]).expect("written");
        assert_eq!(events(folder.path())[6..], [(2, tag("epoch/train_loss"))]);
        // Without the file, the epochs are in it all the same.
        std::fs::remove_file(&path).expect("removed");
        drop(open(&[row(1), row(2)], 4));
        assert_eq!(events(folder.path()).len(), 4);
        // A file of somebody else is replaced.
        std::fs::write(&path, "text").expect("written");
        drop(open(&[], 0));
        assert_eq!(events(folder.path()).len(), 2);
    }
}
