//! How far a long piece of work is.

use serde::Serialize;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// How far a long piece of work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// The work.
    pub stage: Stage,
    /// Units done: files, images, regressions or bytes, depending on the stage.
    pub done: u64,
    /// All units, if their number is known.
    pub total: Option<u64>,
}

impl Progress {
    /// `done` of a known number.
    #[must_use]
    pub fn of(stage: Stage, done: usize, total: usize) -> Self {
        Self { stage, done: done as u64, total: Some(total as u64) }
    }

    /// `done` of a number that is not known yet.
    #[must_use]
    pub fn so_far(stage: Stage, done: usize) -> Self {
        Self { stage, done: done as u64, total: None }
    }
}

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The images to learn from.
    Training,
    /// The held-out images that choose the epoch.
    Validation,
    /// The images that are scored at the end.
    Test,
}

impl Part {
    /// Its name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// The kinds of work that report their progress. Displays as the title of a progress bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Listing folders; counts files.
    Listing,
    /// Decoding every file once to find those that cannot be read.
    Checking,
    /// Reading files for an audit.
    Reading,
    /// Looking up candidates for copies among an audit's images.
    LookingUp,
    /// Comparing those candidates; counts pairs.
    Comparing,
    /// Timing the backbone on some images.
    MeasuringSpeed,
    /// Computing the features of a part's images.
    Features(Part),
    /// Computing the features of all images for an audit.
    AllFeatures,
    /// Solving regressions for the head; the total is an upper bound.
    FittingHead,
    /// Training all layers on some images for a trial.
    Trial,
    /// Scoring a part's images.
    Scoring(Part),
    /// Running a finished model over images.
    Running,
    /// Downloading; counts bytes.
    Downloading,
    /// Unpacking an archive; counts entries.
    Unpacking,
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listing => "listing files".fmt(formatter),
            Self::Checking => "checking files".fmt(formatter),
            Self::Reading => "reading files".fmt(formatter),
            Self::LookingUp => "finding copies".fmt(formatter),
            Self::Comparing => "comparing".fmt(formatter),
            Self::MeasuringSpeed => "measuring speed".fmt(formatter),
            Self::Features(part) => write!(formatter, "{} features", part.name()),
            Self::AllFeatures => "features".fmt(formatter),
            Self::FittingHead => "fitting the head".fmt(formatter),
            Self::Trial => "trial".fmt(formatter),
            Self::Scoring(part) => write!(formatter, "scoring {}", part.name()),
            Self::Running => "running".fmt(formatter),
            Self::Downloading => "downloading".fmt(formatter),
            Self::Unpacking => "unpacking".fmt(formatter),
        }
    }
}

/// Makes a callback that any thread may call of one that only its owner may.
pub fn from_any_thread<'a, T>(report: &'a mut (dyn FnMut(T) + Send)) -> impl Fn(T) + Sync + 'a {
    let report = Mutex::new(report);
    move |value| report.lock().unwrap_or_else(PoisonError::into_inner)(value)
}
