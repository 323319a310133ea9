//! The events of a run, and the ways in which it ends.

use crate::metrics::Evaluation;
use crate::model::Model;
use crate::note::Note;
use crate::progress::Progress;
use crate::report::{epochs, summary};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// Something that happens in a run. It serialises as an object with the field `event`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Something the user should know.
    Note(Note),
    /// A long piece of work has advanced.
    Progress(Progress),
    /// Everything has been checked, and training begins.
    Started(Start),
    /// A step was made.
    Step(StepReport),
    /// An epoch ended.
    Epoch {
        /// Its row of `metrics.csv`.
        row: epochs::EpochRow,
        /// Epochs of the run.
        epochs: u32,
        /// Whether it is the best epoch so far, whose weights the model file now holds.
        kept: bool,
    },
}

/// A callback that takes events. It is called from one thread at a time.
pub type Report<'a> = dyn FnMut(Event) + Send + 'a;

/// The training that is about to begin.
#[derive(Clone, Debug, Serialize)]
pub struct Start {
    /// The run folder, if the run writes one.
    pub folder: Option<PathBuf>,
    /// The source model in words.
    pub source: String,
    /// Class names.
    pub classes: Vec<String>,
    /// Images to train on, to choose the epoch and to test.
    pub images: [usize; 3],
    /// Parameters that learn, and all.
    pub parameters: (usize, usize),
    /// The device in words.
    pub device: String,
}

/// How far an epoch is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StepReport {
    /// The epoch, counted from 1, and the number of epochs.
    pub epoch: (u32, u32),
    /// Images of the epoch done, and all of them.
    pub images: (usize, usize),
    /// Mean loss of the epoch so far.
    pub loss: f64,
    /// Accuracy of the epoch so far.
    pub accuracy: f64,
    /// Training images per second in this epoch so far.
    pub images_per_second: f64,
}

/// How a run ends.
#[derive(Debug)]
pub enum Outcome {
    /// It is complete.
    Finished(Box<Finished>),
    /// It was asked to stop, and can be resumed.
    Stopped(Stop),
}

/// The results of a complete run.
#[derive(Debug)]
pub struct Finished {
    /// The run folder; `None` if the run wrote nothing.
    pub folder: Option<PathBuf>,
    /// The content of `summary.json`.
    pub summary: summary::Summary,
    /// The scores of the test images, if there are any and they were scored just now.
    pub test: Option<Evaluation>,
    /// The model, if the run wrote nothing.
    pub model: Option<Model>,
    /// Whether the run was complete before, so that there was nothing to resume.
    pub had_ended: bool,
}

/// A run that was asked to stop.
#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    /// The run folder, with everything that it takes to resume; `None` if there is none yet.
    pub folder: Option<PathBuf>,
    /// Where it stopped.
    pub place: Place,
}

/// Where a run stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Before anything was trained or written.
    Planning,
    /// Before the head was fitted.
    Head,
    /// In an epoch.
    Epoch {
        /// The epoch, counted from 1.
        epoch: u32,
        /// Epochs of the run.
        epochs: u32,
        /// Images of the epoch done.
        images: usize,
        /// Images of an epoch.
        of: usize,
    },
    /// After the last epoch.
    End {
        /// Epochs of the run.
        epochs: u32,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Planning => write!(formatter, "before the training began"),
            Self::Head => write!(formatter, "before the head was fitted"),
            Self::Epoch { epoch, epochs, images, of } => {
                write!(formatter, "in epoch {epoch}/{epochs}, after {images} of {of} images")
            }
            Self::End { epochs } => {
                write!(formatter, "after {epochs} epochs, before the final scoring")
            }
        }
    }
}
