//! One epoch: steps over the training images, and the scoring after them.

use super::average;
use super::balance::{balanced_order, class_weights};
use super::curvature::BATCHES;
use super::feed::Feed;
use super::observer::{Halt, Observer};
use super::rate_test::RateTest;
use super::state::{EpochProgress, Scores, TrainState};
use super::steps::AfterStep;
use super::{Divergence, TrainError};
use crate::config::{Balance, LossReduction, OptimizerName, TrainConfig};
use crate::evaluate::Scored;
use crate::pictures::Pictures;
use crate::progress::Part;
use crate::report::epochs::EpochRow;
use crate::transfer::fit::Fitted;
use crate::transfer::head::HeadPrior;
use crate::{schedule, transfer};
use regraft_base::adam::AdamSettings;
use regraft_base::random::{Draws, Purpose};
use regraft_nn::engine::{Engine, Loss, LossSettings, Optimizer, Reduction};

/// Makes the steps: the engine, and everything that stays the same from epoch to epoch. The
/// [`TrainState`] changes.
pub(super) struct Trainer<'a> {
    pub config: &'a TrainConfig,
    pub engine: Box<dyn Engine>,
    pub pictures: &'a Pictures,
    pub feed: Feed<'a>,
    pub(super) multipliers: Vec<f32>,
    pub(super) optimizer: Optimizer,
    pub(super) loss: LossSettings,
    /// With [`Balance::Weights`].
    pub(super) class_weights: Option<Vec<f32>>,
    /// Side of the input images in pixels.
    pub(super) side: usize,
    /// The rates of a range test, in place of the configuration's.
    pub rate_test: Option<RateTest>,
    /// The prior that the source's head gives a fitted head.
    pub prior: Option<HeadPrior>,
    /// The head that fits the training images, if the plan has found it already.
    pub fitted: Option<Fitted>,
    /// Batches whose curvature decides the learning rate.
    pub rate_batches: usize,
}

impl<'a> Trainer<'a> {
    pub fn new(
        config: &'a TrainConfig,
        engine: Box<dyn Engine>,
        pictures: &'a Pictures,
        feed: Feed<'a>,
    ) -> Self {
        Self {
            multipliers: transfer::rate_multipliers(
                engine.graph(),
                config.head_rate_multiplier(),
                config.layer_decay,
            ),
            optimizer: match config.optimizer {
                OptimizerName::Sgd => Optimizer::Sgd { momentum: config.momentum },
                OptimizerName::AdamW => Optimizer::AdamW(AdamSettings::default()),
            },
            loss: LossSettings {
                reduction: match config.loss {
                    LossReduction::Mean => Reduction::Mean,
                    LossReduction::Sum => Reduction::Sum,
                },
                loss: Loss::SoftmaxCrossEntropy { label_smoothing: config.label_smoothing },
            },
            config,
            engine,
            pictures,
            feed,
            class_weights: (config.balance == Balance::Weights)
                .then(|| class_weights(&pictures.train, pictures.classes.len())),
            side: config.image_size.unwrap_or(0) as usize,
            rate_test: None,
            prior: None,
            fitted: None,
            rate_batches: BATCHES,
        }
    }

    /// The order in which an epoch goes through the training images.
    pub(super) fn order(&self, epoch: u32) -> Vec<u32> {
        let Self { config, pictures, .. } = self;
        let mut order: Vec<u32> = match config.balance {
            Balance::Sampling => {
                balanced_order(&pictures.train, pictures.classes.len(), config.seed, epoch)
            }
            Balance::None | Balance::Weights => (0..pictures.train.len() as u32).collect(),
        };
        Draws::new(self.config.seed, Purpose::Shuffle, epoch, 0).shuffle(&mut order);
        order
    }

    /// The rest of the epoch in progress, and its scoring. The state is consistent after each step,
    /// also if the epoch is halted.
    pub fn run_epoch(
        &mut self,
        state: &mut TrainState,
        after_step: &mut dyn AfterStep,
        observer: &mut Observer<'_>,
    ) -> Result<(), Halt> {
        if state.progress.images < self.pictures.train.len() {
            self.run_steps(state, after_step, observer)?;
        }
        self.finish_epoch(state, observer)
    }

    /// Scores the network after the last step of an epoch, and adds the epoch's row to the state.
    fn finish_epoch(
        &mut self,
        state: &mut TrainState,
        observer: &mut Observer<'_>,
    ) -> Result<(), Halt> {
        self.check_weights(state)?;
        state.fitted_head = self.fit_again(state, observer)?;
        self.score_epoch(state, observer)?;
        self.check_scores(state)?;
        let progress @ EpochProgress { images, .. } = std::mem::take(&mut state.progress);
        // A clock may be too coarse for an epoch of a few images.
        let seconds = progress.seconds.max(1e-9);
        state.rows.push(EpochRow {
            epoch: state.epoch + 1,
            train_loss: progress.loss(),
            train_accuracy: progress.accuracy(),
            validation_loss: state.last_scores.validation_loss(),
            validation_accuracy: state.last_scores.validation_accuracy(),
            test_accuracy: state.last_scores.test_accuracy(),
            learning_rate: progress.learning_rate,
            seconds,
            images_per_second: images as f64 / seconds,
            data_wait_fraction: progress.waited / seconds,
        });
        state.images += images;
        state.seconds += seconds;
        state.epoch += 1;
        Ok(())
    }

    /// Refuses an epoch that leaves weights that are not finite. The check of each step sees the
    /// weights only through the next step's losses, so it misses the effect of the last step.
    fn check_weights(&self, state: &TrainState) -> Result<(), TrainError> {
        let found = self.engine.first_not_finite();
        found.map_or(Ok(()), |(name, value)| {
            Err(self.diverged(state, format!("after its last step, {name} holds {value}")))
        })
    }

    /// Refuses an epoch whose network gives images no finite loss.
    fn check_scores(&self, state: &TrainState) -> Result<(), TrainError> {
        let Scores { validation, test } = &state.last_scores;
        for (part, scored) in [("validation", validation), ("test", test)] {
            if scored.as_ref().is_some_and(|scored| scored.evaluation.loss.is_none()) {
                return Err(self.diverged(
                    state,
                    format!("after its last step, the {part} loss is not finite"),
                ));
            }
        }
        Ok(())
    }

    /// The error of an epoch that cannot be kept.
    fn diverged(&self, state: &TrainState, what: String) -> TrainError {
        TrainError::Diverged(Box::new(Divergence {
            epoch: state.epoch + 1,
            step: None,
            what,
            learning_rate: peak_rate(self.config, state),
            kept: None,
        }))
    }

    /// Scores the network as it would be kept, for the row of an epoch.
    pub(super) fn score_epoch(
        &mut self,
        state: &mut TrainState,
        observer: &mut Observer<'_>,
    ) -> Result<(), Halt> {
        let Self { feed, config, engine, .. } = self;
        state.last_scores =
            average::with_kept(state, &mut **engine, |engine| -> Result<_, Halt> {
                let validation = feed.score(engine, Part::Validation, observer)?;
                let test = if config.test_each_epoch {
                    feed.score(engine, Part::Test, observer)?
                } else {
                    None
                };
                Ok(Scores { validation, test })
            })?;
        Ok(())
    }

    /// Scores a part's images with the weights as they are; `None` if there are none.
    pub fn score(
        &mut self,
        part: Part,
        observer: &mut Observer<'_>,
    ) -> Result<Option<Scored>, Halt> {
        self.feed.score(&mut *self.engine, part, observer)
    }
}

/// The backbone's learning rate at the maximum of the schedule.
pub(super) fn peak_rate(config: &TrainConfig, state: &TrainState) -> f32 {
    state.measured_rate.unwrap_or_else(|| config.learning_rate()) * state.rate_factor
}

/// The factor that the schedule applies to it at a step, counted from 0.
pub(super) fn schedule_factor(config: &TrainConfig, pictures: &Pictures, step: u64) -> f32 {
    let steps_per_epoch =
        pictures.train.len().div_ceil(config.batch_size.saturating_mul(config.accumulate as usize))
            as u64;
    let steps = steps_per_epoch * u64::from(config.epoch_count());
    let warmup = (f64::from(config.warmup) * steps_per_epoch as f64).round() as u64;
    schedule::factor(config.schedule, step, steps, warmup)
}
