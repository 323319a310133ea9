//! Everything that changes during a run. Together with the engine's tensors, it is all that a
//! resumed run needs to continue as if it had never been interrupted.

use crate::config::TrainConfig;
use crate::evaluate::Scored;
use crate::metrics::{FittedOn, Temperature, count_right};
use crate::note::Note;
use crate::report::epochs::EpochRow;
use crate::tensorboard::StepValues;
use crate::transfer::fit::HeadFit;
use regraft_nn::engine::State;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Name of the group of [`TrainState::tensors`] that holds the best epoch's network.
pub const BEST: &str = "best";

/// Where a run is, apart from its engine, which holds the tensors of the network and the optimiser.
///
/// Random draws have no state: each is a pure function of (seed, purpose, epoch, sample).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainState {
    /// Updates of the parameters made so far.
    pub steps_done: u64,
    /// The epoch in progress, counted from 0; the number of epochs when the run is over.
    pub epoch: u32,
    /// How far that epoch is.
    pub progress: EpochProgress,
    /// The epochs that are over.
    pub rows: Vec<EpochRow>,
    /// The epoch whose weights the run would leave.
    pub best: Option<Best>,
    /// Training images of all finished epochs.
    pub images: usize,
    /// Wall time of their training, in seconds.
    pub seconds: f64,
    /// Wall time of the run's earlier sittings, in seconds.
    pub earlier_seconds: f64,
    /// The factor of every learning rate: 1, or less after a divergence.
    pub rate_factor: f32,
    /// The learning rate that was measured, if none was given.
    #[serde(default)]
    pub measured_rate: Option<f32>,
    /// Divergences after which the run went back to an epoch's start.
    pub retries: u32,
    /// How the head was fitted, if it was.
    #[serde(default)]
    pub head_fit: Option<HeadFit>,
    /// The temperature of the network that the run would leave, if images that it has not learned
    /// from could determine one.
    #[serde(default)]
    pub temperature: Option<Temperature>,
    /// Notes to the user so far.
    pub notes: Vec<Note>,
    /// The scores after the last epoch, so that the end of the run need not score these images
    /// again. A resumed run does, with the same result.
    #[serde(skip)]
    pub last_scores: Scores,
    /// The head that was fitted to the backbone after the last epoch, by the names of its tensors.
    /// It is part of the network that is scored and kept; the next steps use the engine's own.
    #[serde(skip)]
    pub fitted_head: Option<State>,
    /// The steps of the epoch in progress that this process has made.
    #[serde(skip)]
    pub steps: Vec<StepValues>,
    /// Whole networks beside the one that the engine holds, by name: [`BEST`]. A
    /// checkpoint keeps each as a group of tensors of that name.
    #[serde(skip)]
    pub tensors: BTreeMap<String, State>,
}

impl TrainState {
    /// A run that has not begun, with the notes so far.
    #[must_use]
    pub fn new(notes: Vec<Note>) -> Self {
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
            temperature: None,
            notes,
            last_scores: Scores::default(),
            fitted_head: None,
            steps: Vec::new(),
            tensors: BTreeMap::new(),
        }
    }

    /// Whether nothing has been trained yet, not even the head.
    #[must_use]
    pub fn is_at_start(&self) -> bool {
        self.steps_done == 0 && self.rows.is_empty()
    }

    /// Whether all epochs were trained, or the last ones, as many as `patience` says, were not
    /// better than the best.
    #[must_use]
    pub fn is_over(&self, config: &TrainConfig) -> bool {
        let without_gain = self.best.map_or(0, |best| self.epoch.saturating_sub(best.epoch));
        let is_out_of_patience =
            config.patience.is_some_and(|patience| without_gain >= patience.get());
        self.epoch >= config.epoch_count() || is_out_of_patience
    }

    /// Counts the step that was just made: the epoch is as far as `progress`.
    pub fn advance(&mut self, progress: EpochProgress) {
        let before = std::mem::replace(&mut self.progress, progress);
        let images = (progress.images - before.images) as f64;
        self.steps.push(StepValues {
            step: self.steps_done,
            loss: (progress.loss_sum - before.loss_sum) / images,
            accuracy: (progress.right - before.right) as f64 / images,
            learning_rate: progress.learning_rate,
        });
    }

    /// The temperature of the network as it is after an epoch. The images of the cross-validation
    /// determine that of a fitted head on the source's backbone. If the backbone or the head has
    /// learned in steps, only the validation images are left for it.
    #[must_use]
    pub fn fitted_temperature(&self, epoch: u32) -> Option<Temperature> {
        if epoch == 0 {
            return self.head_fit.as_ref()?.temperature;
        }
        Temperature::fit(&self.last_scores.validation.as_ref()?.logits, FittedOn::Validation)
    }

    /// The row of the epoch whose weights the run would leave.
    #[must_use]
    pub fn best_row(&self) -> Option<&EpochRow> {
        self.rows.iter().find(|row| self.best.is_some_and(|best| best.epoch == row.epoch))
    }
}

/// How a network did on images that it does not learn from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// On the validation images, if there are any.
    pub validation: Option<Scored>,
    /// On the test images, if there are any and each epoch scores them.
    pub test: Option<Scored>,
}

impl Scores {
    /// Mean cross-entropy of the validation images, in nats.
    #[must_use]
    pub fn validation_loss(&self) -> Option<f64> {
        self.validation.as_ref()?.evaluation.loss
    }

    /// Accuracy on the validation images, from 0 to 1.
    #[must_use]
    pub fn validation_accuracy(&self) -> Option<f64> {
        Some(self.validation.as_ref()?.evaluation.accuracy)
    }

    /// Accuracy on the test images, from 0 to 1.
    #[must_use]
    pub fn test_accuracy(&self) -> Option<f64> {
        Some(self.test.as_ref()?.evaluation.accuracy)
    }
}

/// Sums over the steps of an epoch in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochProgress {
    /// Images of the epoch's order that steps have used.
    pub images: usize,
    /// How many of them were predicted correctly.
    pub right: usize,
    /// Sum of their losses.
    pub loss_sum: f64,
    /// The backbone's learning rate at the last step.
    pub learning_rate: f64,
    /// Wall time of the epoch's training so far, in seconds, including waiting for images.
    pub seconds: f64,
    /// How much of it was waiting for images, in seconds.
    pub waited: f64,
}

impl EpochProgress {
    /// Counts a step: the losses `[N]`, the logits `[N, classes]` and the labels `[N]`.
    pub fn count(&mut self, losses: &[f32], logits: &[f32], labels: &[u32]) {
        self.right += count_right(logits, labels);
        self.loss_sum += losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
        self.images += labels.len();
    }

    /// Mean loss of the images so far.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.images as f64
    }

    /// Accuracy on the images so far, from 0 to 1.
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
    /// Accuracy on the validation images, if there are any.
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
            // Without a validation set, the last epoch is as good as any.
            _ => true,
        }
    }
}
