//! Why a configuration cannot be used.

use crate::engines::OpenError;
use std::path::PathBuf;

/// An option that makes no sense, or a configuration file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value out of range.
    #[error("{option} is {value}; it has to be {allowed}")]
    Value {
        /// The option's key in `config.toml`.
        option: &'static str,
        /// Its value.
        value: String,
        /// The values that are allowed, in words.
        allowed: String,
    },
    /// Not a length of time.
    #[error("\"{text}\" is not a length of time; write one such as 5m, 90s, 1h30m or 500ms")]
    Interval {
        /// The text that was given.
        text: String,
    },
    /// Options that contradict each other.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// A head map that is not such a file.
    #[error(
        "{} is not a head map: {source}; write lines such as \"hot dog\" = [\"hotdog\", \"bun\"]",
        path.display()
    )]
    HeadMap {
        /// The file.
        path: PathBuf,
        /// The problem, and its place.
        source: Box<toml::de::Error>,
    },
    /// Options of steps for a run that makes none.
    #[error(
        "{} would change nothing: a head that is fitted to a frozen backbone takes no steps",
        options.join(", ")
    )]
    WithoutSteps {
        /// The options' keys in `config.toml`.
        options: Vec<String>,
    },
    /// A device that cannot be used.
    #[error(transparent)]
    Device(Box<OpenError>),
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The file is not a configuration.
    #[error("{} is not a configuration of a run: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The problem, and its place.
        source: Box<toml::de::Error>,
    },
    /// The configuration has no form in TOML.
    #[error("the configuration cannot be written as TOML: {0}")]
    Write(Box<toml::ser::Error>),
}

/// Options that contradict each other.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Contradiction {
    /// Nothing to learn from.
    #[error("no images are named")]
    NoData,
    /// No epochs and no fitted head.
    #[error("without epochs and without a fitted head there is nothing to train")]
    NothingToTrain,
    /// A head map that is not used.
    #[error("a head map is given, but the head does not start from the source's")]
    HeadMapWithoutReuse,
    /// A trial without a head to begin with.
    #[error("freeze = auto begins with a fitted head, but another start of the head is asked for")]
    AutoWithoutFit,
    /// Refitting a head that is not fitted.
    #[error("refit fits a fitted head again, but another start of the head is asked for")]
    RefitWithoutFit,
    /// Refitting to augmented views.
    #[error("refit is not possible with augmented views")]
    RefitOfViews,
    /// A warm-up that never ends.
    #[error("a warm-up of {warmup} epochs does not end within the {epochs} epochs of the run")]
    LongWarmup {
        /// Epochs of warm-up.
        warmup: f32,
        /// Epochs of the run.
        epochs: u32,
    },
    /// Early stopping if the best epoch does not count.
    #[error("patience counts epochs since the best one, but the run keeps its last epoch")]
    PatienceWithoutBest,
    /// Shared statistics of batch norms that use none of a batch.
    #[error("sync_batch_norm shares a batch's statistics, but batch norms use running statistics")]
    SyncOfRunning,
}

impl From<OpenError> for ConfigError {
    fn from(error: OpenError) -> Self {
        Self::Device(Box::new(error))
    }
}
