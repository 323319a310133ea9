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

    /// Whether [`Self::step`] is to be called with the engine as the step leaves it: the next step
    /// is then requested afterwards. Asked after a step was requested.
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
        Ok(self.0.checkpoint(engine, state)?)
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

/// The steps of an epoch that have been requested, and the account of those that were made.
struct Queue<'a, 'o> {
    engine: &'a mut dyn Engine,
    batches: Batches<'a>,
    requests: Requests<'a>,
    ahead: Ahead,
    /// A requested step whose result was not fetched yet.
    waiting: Option<Requested>,
    state: &'a mut TrainState,
    observer: &'a mut Observer<'o>,
    started: Instant,
    /// The epoch's progress before the first of these steps.
    before: EpochProgress,
    /// The images of a step count only once it is made: a run cannot resume between two parts of a
    /// step.
    progress: EpochProgress,
}

impl Queue<'_, '_> {
    /// Makes all steps. If one fails, another one may still wait.
    fn run(&mut self, after_step: &mut dyn AfterStep) -> Result<(), Halt> {
        let Requests { config, pictures, rate_test, .. } = self.requests;
        // The running average follows each step before the next one, and a test of rates ends after
        // any step.
        let is_alone = self.observer.ranks.is_alone();
        // Several ranks decide together after each step.
        let is_in_turn = config.ema.is_some() || rate_test.is_some() || !is_alone;
        while let Some(batch) = self.batches.next() {
            let batch = self.observer.agree(batch)?;
            let requested =
                self.requests.request(self.engine, batch, self.state, &mut self.ahead)?;
            let completes = requested.completes.is_some();
            let is_ready = requested.pending.is_ready();
            if let Some(earlier) = self.waiting.replace(requested) {
                self.settle(earlier)?;
                after_step.counted(self.state)?;
            }
            let waits = is_in_turn || self.observer.wants_stop() || after_step.needs_engine();
            let settles = is_ready || !is_alone || completes && waits;
            if !settles {
                continue;
            }
            if let Some(last) = self.waiting.take() {
                self.settle(last)?;
                after_step.counted(self.state)?;
            }
            if !completes {
                continue;
            }
            let signs = [self.observer.wants_stop(), after_step.needs_engine()];
            let [stops, needs_engine] = self.observer.ranks.any_of(signs);
            if stops {
                return Err(Halt::Stop);
            }
            if needs_engine && self.state.progress.images < pictures.train.len() {
                after_step.step(self.engine, self.state)?;
            }
        }
        Ok(())
    }

    /// Fetches the last result, also after a step that failed: the engine has made the step behind
    /// it, except behind one that is not finite.
    fn end(mut self, ended: Result<(), Halt>) -> Result<(), Halt> {
        let settled = match (self.waiting.take(), &ended) {
            (None, _) => Ok(()),
            (Some(last), Err(Halt::Failed(TrainError::Diverged(_)))) => {
                self.engine.outcome(last.pending).map(drop).map_err(Halt::from)
            }
            (Some(last), _) => self.settle(last),
        };
        ended.and(settled)
    }

    /// Waits for a result and counts it.
    fn settle(&mut self, requested: Requested) -> Result<(), Halt> {
        let Self { engine, batches, requests, state, observer, progress, .. } = self;
        let Requests { config, pictures, .. } = *requests;
        let Requested { pending, batch, completes } = requested;
        let output = engine.outcome(pending)?;
        check_finite(pictures, config, &output, &batch, state)?;
        progress.count(&output.losses, &output.logits, &batch.labels);
        batches.recycle(batch);
        let Some(learning_rate) = completes else { return Ok(()) };
        state.steps_done += 1;
        progress.learning_rate = f64::from(learning_rate);
        progress.seconds = self.before.seconds + self.started.elapsed().as_secs_f64();
        progress.waited = self.before.waited + batches.waited().as_secs_f64();
        state.advance(*progress);
        if let Some(decay) = config.ema {
            average::follow(state, *engine, decay);
        }
        observer.tell(Event::Step(StepReport {
            epoch: (state.epoch + 1, config.epoch_count()),
            images: (state.progress.images, pictures.train.len()),
            loss: state.progress.loss(),
            accuracy: state.progress.accuracy(),
            images_per_second: state.progress.images as f64 / state.progress.seconds,
        }));
        Ok(())
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
        let mut queue = Queue {
            batches: self.feed.batches(state.epoch, rest, observer)?,
            engine: &mut *self.engine,
            requests,
            ahead: Ahead { images: state.progress.images, parts: 0, steps: state.steps_done },
            waiting: None,
            before: state.progress,
            started: Instant::now(),
            progress: state.progress,
            state,
            observer,
        };
        let ended = queue.run(after_step);
        queue.end(ended)?;
        let stops = if observer.wants_stop() { Err(Halt::Stop) } else { Ok(()) };
        observer.agree(stops)
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
