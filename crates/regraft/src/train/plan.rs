//! How deep and how long to train, if the configuration leaves that open.

use super::automatic::{Decision, decide};
use super::budget;
use super::observer::{Halt, Observer};
use super::setup::CheckedPictures;
use crate::config::{Interval, TrainConfig};
use crate::note::{Note, NoteKind};
use crate::transfer::fit::Fitted;
use regraft_data::cache::DecodedCache;
use std::sync::Arc;
use std::time::Instant;

/// The configuration that a run will train.
pub(super) struct Plan {
    /// A configuration of ordinary options.
    pub config: TrainConfig,
    /// The plan in words, if there was something to decide.
    pub note: Option<Note>,
    /// The run's images, if they have been checked for the plan.
    pub checked: Option<CheckedPictures>,
    /// The head that fits them, if it is known already.
    pub fitted: Option<Fitted>,
}

impl Plan {
    /// The configuration as it is.
    pub fn as_given(config: &TrainConfig) -> Self {
        Self { config: config.clone(), note: None, checked: None, fitted: None }
    }

    /// The configuration that was decided on, and why.
    pub fn decided(config: TrainConfig, text: String) -> Self {
        let note = Some(Note::new(NoteKind::Plan, text));
        Self { config, note, checked: None, fitted: None }
    }
}

/// Decides the depth that the configuration leaves open, within a budget if there is one, which
/// counts from the time beside it.
pub(super) fn plan(
    config: &TrainConfig,
    budget: Option<(Interval, Instant)>,
    cache: Option<&Arc<DecodedCache>>,
    observer: &mut Observer<'_>,
) -> Result<Plan, Halt> {
    match budget {
        Some((budget, started)) => budget::plan(config, budget, started, cache, observer),
        None if config.decides_depth() => {
            let decision = decide(config, None, &|_, _| true, cache, observer)?;
            let Decision { config, note, fitted } = decision;
            let (checked, fitted) = fitted.unzip();
            Ok(Plan { checked, fitted, ..Plan::decided(config, note) })
        }
        None => Ok(Plan::as_given(config)),
    }
}
