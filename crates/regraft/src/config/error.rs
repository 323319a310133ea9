//! Why a configuration cannot be used.

use crate::engines::OpenError;
use std::path::PathBuf;

/// What to choose where a run without steps is not what is wanted.
pub(crate) const TO_MAKE_STEPS: &str = "choose --epochs 5 to train on from it, --freeze none to \
    train all layers, or --head new to train a new head";

/// An option that makes no sense, or a configuration file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value out of range.
    #[error("--{option} {value} is not possible; use {allowed}")]
    Value {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// No length of time.
    #[error("\"{text}\" is no length of time; write one such as 5m, 90s, 1h30m or 500ms")]
    Interval {
        /// What was given.
        text: String,
    },
    /// A map of the head that is not used.
    #[error("a head map says what --head reuse starts from; leave it out, or choose --head reuse")]
    HeadMapWithoutReuse,
    /// A head map that is no such file.
    #[error("{} is no head map: {source}; write lines such as \"hot dog\" = [\"hotdog\", \"bun\"]",
        path.display())]
    HeadMap {
        /// The file.
        path: PathBuf,
        /// Where and what is wrong.
        source: Box<toml::de::Error>,
    },
    /// Early stopping where the best epoch does not count.
    #[error(
        "--patience ends a run some epochs after its best, but this recipe keeps its last epoch; \
         leave it out, or choose --recipe default"
    )]
    PatienceWithoutBest,
    /// Options of steps for a run that makes none.
    #[error(
        "{options} would change nothing: a head that is fitted to a frozen trunk needs no steps; \
         {TO_MAKE_STEPS}"
    )]
    WithoutSteps {
        /// The options, as flags.
        options: String,
    },
    /// A device that cannot be used.
    #[error(transparent)]
    Device(Box<OpenError>),
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is no configuration.
    #[error("{} is no configuration of a run: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what is wrong.
        source: Box<toml::de::Error>,
    },
    /// The configuration has no form in TOML.
    #[error("the configuration cannot be written as TOML: {0}")]
    Write(Box<toml::ser::Error>),
}

impl From<OpenError> for ConfigError {
    fn from(error: OpenError) -> Self {
        Self::Device(Box::new(error))
    }
}
