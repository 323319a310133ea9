//! What goes into a run besides its configuration, what it tells while it goes on, and what it
//! leaves.

use crate::config::Interval;
use crate::metrics::Evaluation;
use crate::report::{epochs, summary};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Where a run's files go.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// The folder in which run folders are made: `runs`.
    pub parent: PathBuf,
    /// The run folder, where the user named it.
    pub folder: Option<PathBuf>,
    /// Whether a named folder that is not empty may be written to.
    pub force: bool,
    /// Whether the run in `folder`, which must be named, goes on.
    pub resume: bool,
    /// The time in which a new run is to end: how deep and how long it trains is planned to fit,
    /// and the configuration's own `epochs` do not count. The plan stands in the run's
    /// `config.toml` as ordinary options, which repeat it without looking at a clock.
    pub budget: Option<Interval>,
    /// Set, by a signal's handler or another thread, to end the run after the step that is being
    /// made; everything is saved then.
    pub stop: Arc<AtomicBool>,
}

/// What happens in a run, for whoever shows it.
#[derive(Debug)]
pub enum Event<'a> {
    /// Something the user should know.
    Note(&'a str),
    /// Folders are being listed.
    Listing {
        /// Files found so far.
        found: usize,
    },
    /// Files are being checked.
    Checking {
        /// Files done.
        done: usize,
        /// Files in all.
        total: usize,
    },
    /// Training begins.
    Started(&'a Start),
    /// A step was made.
    Step(&'a StepReport),
    /// The trunk's features are being computed, or found.
    Features {
        /// `training`, `validation` or `test`.
        part: &'static str,
        /// Pictures done.
        done: usize,
        /// Pictures in all.
        total: usize,
    },
    /// The head is being fitted.
    Fitting {
        /// Regressions solved.
        done: usize,
        /// Regressions in all, at most.
        total: usize,
    },
    /// A trial trains all layers on some of the images.
    Trial {
        /// Images done.
        done: usize,
        /// Images in all.
        total: usize,
    },
    /// Pictures are being scored.
    Scoring {
        /// `validation` or `test`.
        part: &'static str,
        /// Pictures done.
        done: usize,
        /// Pictures in all.
        total: usize,
    },
    /// An epoch ended.
    Epoch {
        /// Its row of `metrics.csv`.
        row: &'a epochs::EpochRow,
        /// Epochs of the run.
        epochs: u32,
        /// Whether the model file now holds this epoch's weights.
        kept: bool,
    },
}

/// What is about to be trained.
#[derive(Clone, Debug)]
pub struct Start {
    /// The run folder.
    pub folder: PathBuf,
    /// The source model in words.
    pub source: String,
    /// Class names.
    pub classes: Vec<String>,
    /// Pictures of train, validation and test.
    pub images: [usize; 3],
    /// Parameters that learn, and all.
    pub parameters: (usize, usize),
    /// The device in words.
    pub device: String,
}

/// How far an epoch is.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// The epoch, counted from 1, and epochs in all.
    pub epoch: (u32, u32),
    /// Pictures of the epoch done, and in all.
    pub images: (usize, usize),
    /// Mean loss of the epoch so far.
    pub loss: f64,
    /// Accuracy of the epoch so far.
    pub accuracy: f64,
    /// Training pictures a second in this epoch so far.
    pub images_per_second: f64,
}

/// What a run leaves.
#[derive(Debug)]
pub struct Outcome {
    /// The run folder.
    pub folder: PathBuf,
    /// What `summary.json` says.
    pub summary: summary::Summary,
    /// The test pictures' scores, where there are any and this sitting took them.
    pub test: Option<Evaluation>,
    /// Whether there was nothing left to do: the run that was to go on had ended before.
    pub had_ended: bool,
}
