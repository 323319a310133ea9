//! Everything that changes while a run goes on. With the engine's tensors it is all that a resumed
//! run needs to go on as though nothing had happened.

use crate::evaluate::Scored;
use crate::metrics::count_right;
use crate::report::epochs::EpochRow;
use crate::transfer::fit::HeadFit;
use regraft_nn::engine::State;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Name of the group of [`TrainState::tensors`] that holds the best epoch's network.
pub const BEST: &str = "best";

/// Where a run is, beside its engine, which holds the network's tensors and the optimiser's.
///
/// Random draws need no place here: each is a pure function of (seed, purpose, epoch, sample).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainState {
    /// Updates of the parameters made so far.
    pub steps_done: u64,
    /// The epoch in progress, counted from 0; as many as the run has when it is over.
    pub epoch: u32,
    /// How far that epoch is.
    pub progress: EpochProgress,
    /// The epochs that are over.
    pub rows: Vec<EpochRow>,
    /// The epoch whose weights the run would leave.
    pub best: Option<Best>,
    /// Training pictures of all epochs, those of the epoch in progress left out.
    pub images: usize,
    /// Wall time of their training, in seconds.
    pub seconds: f64,
    /// Wall time of the run's earlier sittings, in seconds.
    pub earlier_seconds: f64,
    /// What every learning rate is multiplied by: 1, or less after a divergence.
    pub rate_factor: f32,
    /// The learning rate that was measured, if none was given.
    #[serde(default)]
    pub measured_rate: Option<f32>,
    /// Divergences after which the run went back to an epoch's start.
    pub retries: u32,
    /// How the head was fitted, where it was.
    #[serde(default)]
    pub head_fit: Option<HeadFit>,
    /// What the run has had to say so far.
    pub notes: Vec<String>,
    /// The scores after the last epoch, so that no picture is scored twice for the run's end. A
    /// resumed run scores anew, which gives the same.
    #[serde(skip)]
    pub last_scores: Scores,
    /// The head that was fitted to the backbone after the last epoch, by the names of its tensors.
    /// It is part of the network that is scored and kept; steps go on with the engine's own.
    #[serde(skip)]
    pub fitted_head: Option<State>,
    /// Whole networks beside the one that the engine holds, by what they are: [`BEST`]. A
    /// checkpoint keeps each as a group of tensors of that name.
    #[serde(skip)]
    pub tensors: BTreeMap<String, State>,
}

impl TrainState {
    /// A run that has not begun, with what is to be said of it.
    #[must_use]
    pub fn new(notes: Vec<String>) -> Self {
        Self {
            steps_done: 0,
            epoch: 0,
            progress: EpochProgress::default(),
            rows: Vec::new(),
            best: None,
            images: 0,
            seconds: 0.0,
            earlier_seconds: 0.0,
            rate_factor: 1.0,
            measured_rate: None,
            retries: 0,
            head_fit: None,
            notes,
            last_scores: Scores::default(),
            fitted_head: None,
            tensors: BTreeMap::new(),
        }
    }
}

/// How a network did on pictures that it does not learn from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// On the validation pictures, where there are any.
    pub validation: Option<Scored>,
    /// On the test pictures, where there are any and each epoch shows them.
    pub test: Option<Scored>,
}

impl Scores {
    /// Mean cross entropy of the validation pictures.
    #[must_use]
    pub fn validation_loss(&self) -> Option<f64> {
        self.validation.as_ref()?.evaluation.loss
    }

    /// Share of the validation pictures that are right.
    #[must_use]
    pub fn validation_accuracy(&self) -> Option<f64> {
        Some(self.validation.as_ref()?.evaluation.accuracy)
    }

    /// Share of the test pictures that are right.
    #[must_use]
    pub fn test_accuracy(&self) -> Option<f64> {
        Some(self.test.as_ref()?.evaluation.accuracy)
    }
}

/// Sums over the steps of an epoch in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochProgress {
    /// Pictures of the epoch's order that steps have been made with.
    pub images: usize,
    /// How many of them were right.
    pub right: usize,
    /// Sum of their losses.
    pub loss_sum: f64,
    /// The trunk's learning rate at the last step.
    pub learning_rate: f64,
    /// Wall time of the epoch's training so far, in seconds, waiting for pictures included.
    pub seconds: f64,
    /// How much of it was waiting for pictures, in seconds.
    pub waited: f64,
}

impl EpochProgress {
    /// Counts a step: each picture's loss `[N]`, the logits `[N, classes]` and the labels `[N]`.
    pub fn count(&mut self, losses: &[f32], logits: &[f32], labels: &[u32]) {
        self.right += count_right(logits, labels);
        self.loss_sum += losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
        self.images += labels.len();
    }

    /// Mean loss of the pictures so far.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.images as f64
    }

    /// Share of the pictures so far that were right.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.images as f64
    }
}

/// The epoch whose weights the model file holds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Counted from 1.
    pub epoch: u32,
    /// Accuracy on the validation pictures, where there are any.
    pub accuracy: Option<f64>,
    /// Their mean loss.
    pub loss: Option<f64>,
}

impl Best {
    /// The row's epoch.
    #[must_use]
    pub fn of(row: &EpochRow) -> Self {
        Self { epoch: row.epoch, accuracy: row.validation_accuracy, loss: row.validation_loss }
    }

    /// A higher accuracy wins; among equals, a lower loss.
    #[must_use]
    pub fn is_beaten_by(&self, row: &EpochRow) -> bool {
        match (self.accuracy, row.validation_accuracy) {
            (Some(best), Some(new)) if new == best => {
                row.validation_loss.unwrap_or(f64::MAX) < self.loss.unwrap_or(f64::MAX)
            }
            (Some(best), Some(new)) => new > best,
            // Without validation pictures the last epoch is as good as any.
            _ => true,
        }
    }
}
