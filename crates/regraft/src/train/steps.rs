//! The steps of an epoch. While a device runs one, the processor prepares the next.

use super::average;
use super::balance::image_weights;
use super::epoch::{Trainer, peak_rate, schedule_factor};
use super::feed::{Batch, Batches};
use super::mix;
use super::observer::{Halt, Observer};
use super::rate_test::RateTest;
use super::state::{EpochProgress, TrainState};
use super::{Divergence, Event, Recorder, RefusedStep, StepReport, TrainError};
use crate::config::TrainConfig;
use crate::pictures::Pictures;
use crate::transfer;
use regraft_base::random::{Draws, Purpose};
use regraft_data::shown::shown;
use regraft_nn::engine::{
    Engine, Input, LossSettings, Optimizer, Pending, StepOutput, StepPart, Target, TrainBatch,
    Update,
};
use std::time::Instant;

/// Called after each step but the last one of an epoch.
pub(super) trait AfterStep {
    /// The state has counted another step. The engine may have begun the next one.
    fn counted(&mut self, _state: &TrainState) -> Result<(), Halt> {
        Ok(())
    }

    /// Whether [`Self::step`] needs the engine as the step leaves it: the next step is then
    /// requested afterwards. Asked after a step was requested.
    fn needs_engine(&mut self) -> bool;

    /// A step was made.
    fn step(&mut self, engine: &dyn Engine, state: &TrainState) -> Result<(), Halt>;
}

/// A function that is always called before the next step.
impl<F: FnMut(&dyn Engine, &TrainState) -> Result<(), Halt>> AfterStep for F {
    fn needs_engine(&mut self) -> bool {
        true
    }

    fn step(&mut self, engine: &dyn Engine, state: &TrainState) -> Result<(), Halt> {
        self(engine, state)
    }
}

/// The recorder of a run.
pub(super) struct Record<'a>(pub &'a mut dyn Recorder);

impl AfterStep for Record<'_> {
    fn counted(&mut self, state: &TrainState) -> Result<(), Halt> {
        Ok(self.0.made(state)?)
    }

    fn needs_engine(&mut self) -> bool {
        self.0.is_checkpoint_due()
    }

    fn step(&mut self, engine: &dyn Engine, state: &TrainState) -> Result<(), Halt> {
        Ok(self.0.step(engine, state)?)
    }
}

/// A requested step, or a part of one, whose result was not fetched yet.
struct Requested {
    pending: Pending,
    batch: Batch,
    /// The step that it completes: its learning rate.
    completes: Option<f32>,
}

/// How far steps have been requested, ahead of the state, which counts those whose results are
/// known.
struct Ahead {
    /// Images of whole steps.
    images: usize,
    /// Images of the parts of the step in progress.
    parts: usize,
    steps: u64,
}

/// The account of an epoch's steps.
struct Account<'a> {
    config: &'a TrainConfig,
    pictures: &'a Pictures,
    /// The epoch's progress before the first of these steps.
    before: EpochProgress,
    started: Instant,
    /// The images of a step count only once it is made: a run cannot resume between two parts of a
    /// step.
    progress: EpochProgress,
}

impl Account<'_> {
    /// Waits for a result and counts it.
    fn settle(
        &mut self,
        requested: Requested,
        engine: &mut dyn Engine,
        batches: &Batches<'_>,
        state: &mut TrainState,
        observer: &mut Observer<'_>,
    ) -> Result<(), Halt> {
        let Requested { pending, batch, completes } = requested;
        let output = engine.outcome(pending)?;
        check_finite(self.pictures, self.config, &output, &batch, state)?;
        let progress = &mut self.progress;
        progress.count(&output.losses, &output.logits, &batch.labels);
        batches.recycle(batch);
        let Some(learning_rate) = completes else { return Ok(()) };
        state.steps_done += 1;
        progress.learning_rate = f64::from(learning_rate);
        progress.seconds = self.before.seconds + self.started.elapsed().as_secs_f64();
        progress.waited = self.before.waited + batches.waited().as_secs_f64();
        state.advance(*progress);
        if let Some(decay) = self.config.ema {
            average::follow(state, engine, decay);
        }
        observer.tell(Event::Step(StepReport {
            epoch: (state.epoch + 1, self.config.epoch_count()),
            images: (state.progress.images, self.pictures.train.len()),
            loss: state.progress.loss(),
            accuracy: state.progress.accuracy(),
            images_per_second: state.progress.images as f64 / state.progress.seconds,
        }));
        Ok(())
    }
}

/// The parts of a trainer that decide how steps are made.
struct Requests<'a> {
    config: &'a TrainConfig,
    pictures: &'a Pictures,
    multipliers: &'a [f32],
    optimizer: Optimizer,
    loss: LossSettings,
    class_weights: Option<&'a [f32]>,
    side: usize,
    rate_test: Option<&'a RateTest>,
}

impl Requests<'_> {
    /// Requests a step, or a part of one, of a batch.
    fn request(
        &self,
        engine: &mut dyn Engine,
        mut batch: Batch,
        state: &TrainState,
        ahead: &mut Ahead,
    ) -> Result<Requested, Halt> {
        let Self { config, pictures, side, .. } = *self;
        let seed = config.seed;
        let epoch = state.epoch;
        let position = (ahead.images + ahead.parts) as u32;
        let rest = pictures.train.len() - ahead.images;
        let step_images = rest.min(config.batch_size.saturating_mul(config.accumulate as usize));
        let is_last = ahead.parts + batch.labels.len() >= step_images;
        let part = StepPart { step_images, accumulate: ahead.parts > 0, is_last };
        let classes = pictures.classes.len();
        let mix = mix::draw(config, side, &mut Draws::new(seed, Purpose::Mix, epoch, position));
        let targets = mix.map(|mix| mix::targets(mix, &mut batch.labels, side, classes));
        let weights = self
            .class_weights
            .map(|weights| image_weights(weights, &batch.labels, targets.as_deref()));
        let step = TrainBatch {
            input: Input { mix, ..batch.input() },
            target: targets.as_deref().map_or(Target::Labels(&batch.labels), Target::Values),
            weights: weights.as_deref(),
            seed,
            epoch,
            position,
        };
        let learning_rate = match self.rate_test {
            Some(test) => test.rate(ahead.steps),
            None => peak_rate(config, state) * schedule_factor(config, pictures, ahead.steps),
        };
        let rates: Vec<f32> =
            self.multipliers.iter().map(|multiplier| learning_rate * multiplier).collect();
        let update = Update {
            optimizer: self.optimizer,
            learning_rates: &rates,
            weight_decay: config.weight_decay,
            decay_bias_norm: config.decay_bias_norm,
            step: ahead.steps + 1,
            clip: config.clip_gradient,
        };
        let pending = engine.step(&step, self.loss, part, is_last.then_some(&update))?;
        ahead.parts += batch.labels.len();
        if is_last {
            ahead.images += ahead.parts;
            ahead.parts = 0;
            ahead.steps += 1;
        }
        Ok(Requested { pending, batch, completes: is_last.then_some(learning_rate) })
    }
}

impl Trainer<'_> {
    /// The steps of the epoch in progress that have not been made yet. The state counts all steps
    /// that the engine has made, also if they end early.
    pub fn run_steps(
        &mut self,
        state: &mut TrainState,
        after_step: &mut dyn AfterStep,
        observer: &mut Observer<'_>,
    ) -> Result<(), Halt> {
        let freeze = self.config.freeze.as_ref();
        let frozen = freeze.map_or(Ok(0), |freeze| {
            transfer::frozen_nodes(self.engine.graph(), freeze, state.epoch)
        })?;
        self.engine.freeze(frozen);
        let rest = self.order(state.epoch).split_off(state.progress.images);
        let Self { config, pictures, .. } = *self;
        let requests = Requests {
            config,
            pictures,
            multipliers: &self.multipliers,
            optimizer: self.optimizer,
            loss: self.loss,
            class_weights: self.class_weights.as_deref(),
            side: self.side,
            rate_test: self.rate_test.as_ref(),
        };
        let engine = &mut *self.engine;
        let mut batches = self.feed.batches(state.epoch, rest, observer)?;
        let mut account = Account {
            config,
            pictures,
            before: state.progress,
            started: Instant::now(),
            progress: state.progress,
        };
        let mut ahead = Ahead { images: state.progress.images, parts: 0, steps: state.steps_done };
        // The running average follows each step before the next one, and a test of rates ends after
        // any step.
        let is_in_turn = config.ema.is_some() || requests.rate_test.is_some();
        let mut waiting: Option<Requested> = None;
        let mut run = |waiting: &mut Option<Requested>,
                       state: &mut TrainState,
                       observer: &mut Observer<'_>,
                       account: &mut Account<'_>,
                       batches: &mut Batches<'_>,
                       engine: &mut dyn Engine|
         -> Result<(), Halt> {
            while let Some(batch) = batches.next() {
                let requested = requests.request(engine, batch?, state, &mut ahead)?;
                let completes = requested.completes.is_some();
                let is_ready = requested.pending.is_ready();
                if let Some(earlier) = waiting.replace(requested) {
                    account.settle(earlier, engine, batches, state, observer)?;
                    after_step.counted(state)?;
                }
                let waits = is_in_turn || observer.wants_stop() || after_step.needs_engine();
                let settles = is_ready || completes && waits;
                if !settles {
                    continue;
                }
                if let Some(last) = waiting.take() {
                    account.settle(last, engine, batches, state, observer)?;
                    after_step.counted(state)?;
                }
                if !completes {
                    continue;
                }
                if observer.wants_stop() {
                    return Err(Halt::Stop);
                }
                if state.progress.images < pictures.train.len() {
                    after_step.step(engine, state)?;
                }
            }
            Ok(())
        };
        let ended = run(&mut waiting, state, observer, &mut account, &mut batches, engine);
        let settled = match (waiting, &ended) {
            (None, _) => Ok(()),
            // The engine skipped the update of a step behind one that is not finite.
            (Some(last), Err(Halt::Failed(TrainError::Diverged(_)))) => {
                engine.outcome(last.pending).map(drop).map_err(Halt::from)
            }
            (Some(last), _) => account.settle(last, engine, &batches, state, observer),
        };
        ended.and(settled)?;
        if observer.wants_stop() { Err(Halt::Stop) } else { Ok(()) }
    }
}

/// Refuses a step whose losses or gradient are not finite, before it is applied.
fn check_finite(
    pictures: &Pictures,
    config: &TrainConfig,
    output: &StepOutput,
    batch: &Batch,
    state: &TrainState,
) -> Result<(), TrainError> {
    let path = |&index: &u32| pictures.train[index as usize].path.clone();
    let StepOutput { losses, gradient_norm, .. } = output;
    let what = match losses.iter().position(|loss| !loss.is_finite()) {
        Some(place) => {
            format!("the loss of {} is {}", shown(&path(&batch.indices[place])), losses[place])
        }
        None => match gradient_norm {
            Some(norm) if !norm.is_finite() => format!("the norm of the gradient is {norm}"),
            _ => return Ok(()),
        },
    };
    Err(TrainError::Diverged(Box::new(Divergence {
        epoch: state.epoch + 1,
        step: Some(RefusedStep {
            number: state.steps_done + 1,
            images: batch.indices.iter().map(path).collect(),
        }),
        what,
        learning_rate: peak_rate(config, state),
        kept: None,
    })))
}
