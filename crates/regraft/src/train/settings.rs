//! How a run is carried out, as opposed to its configuration.

use crate::config::Interval;
use crate::ranks::Ranks;
use crate::run_folder::NewFolder;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// How a run is carried out: where its files go, how long it may take, and how it is stopped.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where its files go.
    pub destination: Destination,
    /// The time in which a new run has to end. How deep and how long it trains is planned to fit
    /// this machine, and the configuration's own `epochs` does not count. The run's `config.toml`
    /// holds the plan as ordinary options, which repeat it without looking at a clock.
    pub budget: Option<Interval>,
    /// Set by another thread or a signal handler to stop the run after the step in progress. It is
    /// saved then and can be resumed.
    pub stop: Arc<AtomicBool>,
    /// The ranks that train together. Only the first one writes files. All of them stop if one is
    /// asked to.
    pub ranks: Ranks,
}

/// Where the files of a run go.
#[derive(Clone, Debug)]
pub enum Destination {
    /// Into a new folder.
    New(NewFolder),
    /// Into the folder of an interrupted run, which is resumed.
    Resume(PathBuf),
    /// Nowhere: [`Finished`](super::Finished) holds the model.
    Nowhere,
}

impl Default for Destination {
    /// A new folder in `runs`, named after the data.
    fn default() -> Self {
        Self::New(NewFolder::In("runs".into()))
    }
}
