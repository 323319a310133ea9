//! One epoch: steps over the training pictures, and scoring between epochs.

use super::feed::{Feed, Part};
use super::state::{EpochProgress, TrainState};
use super::{Divergence, Event, StepReport, TrainError};
use crate::config::{LossReduction, OptimizerName, TrainConfig};
use crate::evaluate::EvaluateError;
use crate::metrics::Evaluation;
use crate::pictures::Pictures;
use crate::report::epochs::EpochRow;
use crate::{schedule, transfer};
use regraft_data::loader::Batch;
use regraft_kernels::optimizer::AdamSettings;
use regraft_kernels::random::{Draws, Purpose};
use regraft_nn::engine::{Engine, LossSettings, Optimizer, Reduction, StepPart, TrainBatch, Update};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What makes the steps: the engine, and all that stays the same from epoch to epoch. What changes is the [`TrainState`].
pub(super) struct Trainer<'a> {
    pub config: &'a TrainConfig,
    pub engine: &'a mut dyn Engine,
    pub pictures: &'a Pictures,
    pub feed: Feed<'a>,
    multipliers: Vec<f32>,
    optimizer: Optimizer,
    loss: LossSettings,
    pub stop: &'a AtomicBool,
}

/// What is called after each step that another one of its epoch follows.
pub(super) type AfterStep<'a> = dyn FnMut(&dyn Engine, &TrainState) -> Result<(), TrainError> + 'a;

impl<'a> Trainer<'a> {
    pub fn new(
        config: &'a TrainConfig,
        engine: &'a mut dyn Engine,
        pictures: &'a Pictures,
        feed: Feed<'a>,
        stop: &'a AtomicBool,
    ) -> Self {
        Self {
            multipliers: transfer::rate_multipliers(engine.graph(), config.head_lr_mult, config.layer_decay),
            optimizer: match config.optimizer {
                OptimizerName::Sgd => Optimizer::Sgd { momentum: config.momentum },
                OptimizerName::AdamW => Optimizer::AdamW(AdamSettings::default()),
            },
            loss: LossSettings {
                reduction: match config.loss {
                    LossReduction::Mean => Reduction::Mean,
                    LossReduction::Sum => Reduction::Sum,
                },
                label_smoothing: config.label_smoothing,
            },
            config,
            engine,
            pictures,
            feed,
            stop,
        }
    }

    /// The order in which an epoch goes through the training pictures.
    fn order(&self, epoch: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.pictures.train.len() as u32).collect();
        Draws::new(self.config.seed, Purpose::Shuffle, epoch, 0).shuffle(&mut order);
        order
    }

    /// The rest of the epoch in progress, and its scoring. The state is whole after each step, also where an error ends the epoch; one that
    /// [is a stop](TrainError::is_stop) says that the run was asked to end there.
    pub fn run_epoch(
        &mut self,
        state: &mut TrainState,
        after_step: &mut AfterStep<'_>,
        report: &mut (dyn FnMut(Event<'_>) + Send),
    ) -> Result<(), TrainError> {
        if state.progress.images < self.pictures.train.len() {
            self.run_steps(state, after_step, report)?;
        }
        self.finish_epoch(state, report)
    }

    fn run_steps(
        &mut self,
        state: &mut TrainState,
        after_step: &mut AfterStep<'_>,
        report: &mut (dyn FnMut(Event<'_>) + Send),
    ) -> Result<(), TrainError> {
        let seed = self.config.seed;
        let freeze = self.config.freeze.as_ref();
        let frozen = freeze.map_or(Ok(0), |freeze| transfer::frozen_nodes(self.engine.graph(), freeze, state.epoch))?;
        self.engine.freeze(frozen);
        let rest = self.order(state.epoch).split_off(state.progress.images);
        let Self { config, engine, pictures, feed, .. } = self;
        let mut batches = feed.batches(state.epoch, rest, self.stop, report)?;
        let before = state.progress;
        let started = Instant::now();
        while let Some(batch) = batches.next() {
            let batch = batch?;
            let TrainState { steps_done, epoch, progress, .. } = *state;
            let position = progress.images as u32;
            let step = TrainBatch { images: &batch.images, labels: &batch.labels, seed, epoch, position };
            let output = engine.gradients(&step, self.loss, StepPart::whole(batch.labels.len()))?;
            check_finite(*engine, pictures, config, &output.losses, &batch, state)?;
            let learning_rate = learning_rate(config, pictures, steps_done) * state.rate_factor;
            let rates: Vec<f32> = self.multipliers.iter().map(|multiplier| learning_rate * multiplier).collect();
            engine.update(&Update {
                optimizer: self.optimizer,
                learning_rates: &rates,
                weight_decay: config.weight_decay,
                decay_bias_norm: config.decay_bias_norm,
                step: steps_done + 1,
                gradient_scale: 1.0,
            })?;
            state.steps_done += 1;
            state.progress.count(&output.losses, &output.logits, &batch.labels);
            state.progress.learning_rate = f64::from(learning_rate);
            state.progress.seconds = before.seconds + started.elapsed().as_secs_f64();
            state.progress.waited = before.waited + batches.waited().as_secs_f64();
            batches.recycle(batch);
            report(Event::Step(&StepReport {
                epoch: (epoch + 1, config.epochs),
                images: (state.progress.images, pictures.train.len()),
                loss: state.progress.loss(),
                accuracy: state.progress.accuracy(),
                images_per_second: state.progress.images as f64 / state.progress.seconds,
            }));
            if self.stop.load(Ordering::Relaxed) {
                return Err(EvaluateError::Stopped.into());
            }
            if state.progress.images < pictures.train.len() {
                after_step(*engine, state)?;
            }
        }
        Ok(())
    }

    /// Scores the network after the last step of an epoch, and goes on to the next one. The epoch's row is the last of the state's.
    fn finish_epoch(&mut self, state: &mut TrainState, report: &mut (dyn FnMut(Event<'_>) + Send)) -> Result<(), TrainError> {
        let validation = self.score(Part::Validation, report)?;
        state.last_test = if self.config.test_each_epoch { self.score(Part::Test, report)? } else { None };
        let progress @ EpochProgress { images, .. } = std::mem::take(&mut state.progress);
        // A clock may be too coarse for an epoch of a few pictures.
        let seconds = progress.seconds.max(1e-9);
        state.rows.push(EpochRow {
            epoch: state.epoch + 1,
            train_loss: progress.loss(),
            train_accuracy: progress.accuracy(),
            validation_loss: validation.as_ref().and_then(|validation| validation.loss),
            validation_accuracy: validation.as_ref().map(|validation| validation.accuracy),
            test_accuracy: state.last_test.as_ref().map(|test| test.accuracy),
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

    /// Scores a part's pictures with the weights as they are; `None` where there are none.
    pub fn score(&mut self, part: Part, report: &mut (dyn FnMut(Event<'_>) + Send)) -> Result<Option<Evaluation>, TrainError> {
        self.feed.score(self.engine, part, self.stop, report)
    }
}

/// The trunk's learning rate at a step, counted from 0.
fn learning_rate(config: &TrainConfig, pictures: &Pictures, step: u64) -> f32 {
    let steps_per_epoch = pictures.train.len().div_ceil(config.batch_size) as u64;
    let steps = steps_per_epoch * u64::from(config.epochs);
    let warmup = (f64::from(config.warmup) * steps_per_epoch as f64).round() as u64;
    config.lr * schedule::factor(config.schedule, step, steps, warmup)
}

/// Stops a step whose losses or gradient are not finite, before it is applied.
fn check_finite(
    engine: &mut dyn Engine,
    pictures: &Pictures,
    config: &TrainConfig,
    losses: &[f32],
    batch: &Batch,
    state: &TrainState,
) -> Result<(), TrainError> {
    let path = |&index: &u32| pictures.train[index as usize].path.clone();
    let what = match losses.iter().position(|loss| !loss.is_finite()) {
        Some(place) => format!("the loss of {} is {}", path(&batch.indices[place]).display(), losses[place]),
        None => match engine.gradient_norm() {
            norm if norm.is_finite() => return Ok(()),
            norm => format!("the norm of the gradient is {norm}"),
        },
    };
    Err(TrainError::Diverged(Box::new(Divergence {
        epoch: state.epoch + 1,
        step: state.steps_done + 1,
        what,
        pictures: batch.indices.iter().map(path).collect(),
        learning_rate: config.lr * state.rate_factor,
        kept: None,
    })))
}
