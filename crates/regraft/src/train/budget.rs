//! A time budget in place of epochs: measures the speed of this machine on the run's own images,
//! and plans the best sequence that fits.
//!
//! The plan is a configuration like any other. Nothing in the training looks at a clock, so that
//! the run can be repeated to the bit.

use super::automatic::{Decision, decide};
use super::curvature::{BATCHES, ITERATIONS};
use super::observer::{Halt, Observer};
use super::plan::Plan;
use super::setup::{CheckedPictures, Setup, set_up};
use super::{Event, TrainError};
use crate::config::{Freeze, HeadStart, Interval, TrainConfig};
use crate::evaluate::agreed;
use crate::features::features;
use crate::note::{Note, NoteKind};
use crate::pictures::Pictures;
use crate::progress::{Progress, Stage};
use crate::transfer::fit::expected_seconds;
use crate::transfer::{frozen_nodes, lower_half};
use regraft_data::cache::DecodedCache;
use regraft_data::catalogue::Sample;
use regraft_data::loader::{Loader, LoaderOptions, Transform};
use regraft_nn::engine::{
    Engine, Input, Loss, LossSettings, Optimizer, Reduction, Target, TrainBatch, Update,
};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Share of the budget that is planned with. The rest makes up for the unforeseeable: a
/// machine that grows warm, a slow disk.
const PLANNED_SHARE: f64 = 0.85;
/// Seconds for the parts that no measurement covers: making the network, writing the run's files,
/// and proving that frozen layers are the source's.
const OVERHEAD: f64 = 1.5;
/// Images that each measurement takes.
const MEASURED: usize = 128;
/// Batches that measuring the learning rate takes through the network, forward and backward and
/// forward again.
const MEASURED_BATCHES: usize = BATCHES * ITERATIONS;
/// Epochs after a fitted head gain little (docs/recipes.md), so that more of them are not worth the
/// wait.
const MOST_EPOCHS: u32 = 3;

/// How fast this machine works on a run's images. All times are in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// For an image through the whole network, forward.
    pub forward: f64,
    /// For a training image's share of the fitted head's regression.
    pub fit: f64,
    /// For an image in a training step of the upper layers; `None` if there is no time for any.
    pub step: Option<f64>,
}

/// How many images there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// To train on.
    pub train: usize,
    /// To pick the epoch.
    pub validation: usize,
    /// To test.
    pub test: usize,
    /// In a step.
    pub batch: usize,
}

impl Counts {
    fn of(pictures: &Pictures, batch: usize) -> Self {
        let [train, validation, test] =
            [&pictures.train, &pictures.validation, &pictures.test].map(|samples| samples.len());
        Self { train, validation, test, batch: batch.min(train) }
    }
}

impl Speed {
    /// Until the fitted head stands, with all that any run needs.
    fn fitted(&self, counts: Counts) -> f64 {
        let scored = (counts.train + counts.validation + counts.test) as f64;
        scored * self.forward + counts.train as f64 * self.fit + OVERHEAD
    }

    /// An epoch with the head that is fitted after it and its scoring; `None` if steps were not
    /// measured.
    fn epoch(&self, counts: Counts) -> Option<f64> {
        let fitted = self.forward + self.fit;
        Some(counts.train as f64 * (self.step? + fitted) + counts.validation as f64 * self.forward)
    }

    /// Measuring the learning rate; `None` if steps were not measured.
    fn rate(&self, counts: Counts) -> Option<f64> {
        Some((MEASURED_BATCHES * counts.batch) as f64 * (self.step? + self.forward))
    }

    /// How many epochs there is time for after the fitted head in this many seconds.
    #[must_use]
    pub fn epochs_within(&self, seconds: f64, counts: Counts) -> u32 {
        let (Some(epoch), Some(rate)) = (self.epoch(counts), self.rate(counts)) else { return 0 };
        let rest = seconds - self.fitted(counts) - rate;
        ((rest / epoch).floor().max(0.0) as u32).min(MOST_EPOCHS)
    }
}

/// Plans with `budget`, counted from `started`.
pub(super) fn plan(
    config: &TrainConfig,
    budget: Interval,
    started: Instant,
    cache: Option<&Arc<DecodedCache>>,
    observer: &mut Observer<'_>,
) -> Result<Plan, Halt> {
    if config.is_from_scratch() {
        return Err(TrainError::BudgetFromScratch.into());
    }
    let asked = config;
    let config = &with_all_pictures(asked);
    let measured =
        TrainConfig { head: Some(HeadStart::Fit), epochs: Some(1), warmup: 0.0, ..config.clone() };
    let Setup { config: resolved, pictures, data_list, loading, mut engine, .. } =
        set_up(&measured, cache, None, observer)?;
    let counts = Counts::of(&pictures, resolved.batch_size);
    let seconds = budget.0.as_secs_f64();
    observer.note(Note::new(NoteKind::Plan, "measuring the speed of this machine"));
    let measured = measure_fit(&mut *engine, &pictures, &loading, &resolved, observer);
    let ranks = observer.ranks;
    // All ranks plan by the first one's clock.
    let (forward, fit) = ranks.of_first(&observer.agree(measured)?);
    let elapsed = || ranks.of_first(&started.elapsed().as_secs_f64());
    let mut speed = Speed { forward, fit, step: None };
    // The planned time that is left once the head is fitted.
    let left = |speed: &Speed| seconds * PLANNED_SHARE - elapsed() - speed.fitted(counts);
    if left(&speed) < 0.0 {
        let needed = (elapsed() + speed.fitted(counts)) / PLANNED_SHARE;
        let needed = Interval(Duration::from_secs(needed.ceil() as u64));
        return Err(TrainError::SmallBudget { budget, needed, images: counts.train }.into());
    }
    let decides = config.decides_depth();
    let lowest = if decides {
        Freeze::None
    } else {
        config.freeze.clone().unwrap_or_else(|| lower_half(engine.graph()))
    };
    // A step of anything takes longer than a pass forward.
    if lowest != Freeze::Backbone
        && left(&speed) > 2.0 * MEASURED as f64 * forward + counts.train as f64 * forward
    {
        let measured = measure_steps(&mut *engine, &pictures, &loading, &resolved, &lowest);
        speed.step = Some(ranks.of_first(&observer.agree(measured)?));
    }
    if decides {
        drop(engine);
        let planned = (budget, started + Duration::from_secs_f64(seconds * PLANNED_SHARE));
        let checked = CheckedPictures { pictures, data_list };
        return plan_by_trial(asked, planned, (speed, counts), checked, cache, observer);
    }
    let epochs = speed.epochs_within(seconds * PLANNED_SHARE - elapsed(), counts);
    let mut planned =
        TrainConfig { head: Some(HeadStart::Fit), epochs: Some(epochs), ..config.clone() };
    let through = format!("fit the head ({:.0} images/s through the backbone)", 1.0 / forward);
    let (then, run) = if epochs == 0 {
        planned.freeze = Some(Freeze::Backbone);
        (", and no more".to_owned(), 0.0)
    } else {
        planned.freeze = Some(lowest.clone());
        let epoch = speed.epoch(counts).unwrap_or(0.0);
        let rate = 1.0 / speed.step.unwrap_or(f64::INFINITY);
        let name = String::from(lowest);
        let s = if epochs == 1 { "" } else { "s" };
        let then = format!(
            ", then {epochs} epoch{s} of {epoch:.0} s with --freeze {name} ({rate:.0} images/s in \
             training)"
        );
        (then, epoch * f64::from(epochs))
    };
    let all = elapsed() + speed.fitted(counts) + run;
    let note =
        format!("plan for {}: {through}{then}; about {all:.0} s in all", String::from(budget));
    let checked = Some(CheckedPictures { pictures, data_list });
    Ok(Plan { checked, ..Plan::decided(planned, note) })
}

/// A plan whose depth a trial decides, if there is time for one: all layers for as many epochs as
/// there is time for until `end`, or the fitted head.
fn plan_by_trial(
    config: &TrainConfig,
    (budget, end): (Interval, Instant),
    (speed, counts): (Speed, Counts),
    checked: CheckedPictures,
    cache: Option<&Arc<DecodedCache>>,
    observer: &mut Observer<'_>,
) -> Result<Plan, Halt> {
    let ranks = observer.ranks;
    let left = || ranks.of_first(&end.saturating_duration_since(Instant::now()).as_secs_f64());
    // The trial measures a rate as the run does; after it there has to be time for an epoch.
    let is_time = |trained: usize, held_out: usize| {
        let trial = Counts { train: trained, validation: held_out, ..counts };
        let after = |seconds: f64| speed.epochs_within(seconds, counts) > 0;
        speed
            .epoch(trial)
            .is_some_and(|trial| after(left() - trial - speed.rate(counts).unwrap_or(0.0)))
    };
    let Decision { config, note, fitted } =
        decide(config, Some(checked), &is_time, cache, observer)?;
    let (checked, fitted) = fitted.unzip();
    let budget = String::from(budget);
    if checked.is_some() {
        let note = format!("plan for {budget}: {note}");
        return Ok(Plan { checked, fitted, ..Plan::decided(config, note) });
    }
    let epochs = speed.epochs_within(left(), counts);
    let s = if epochs == 1 { "" } else { "s" };
    let note = format!(
        "{note}; plan for {budget}: {epochs} epoch{s} of {:.0} s",
        speed.epoch(counts).unwrap_or(0.0)
    );
    let config = match epochs {
        0 => TrainConfig {
            freeze: Some(Freeze::Backbone),
            epochs: Some(0),
            refit: false,
            val_fraction: Some(0.0),
            ..config
        },
        epochs => TrainConfig { epochs: Some(epochs), ..config },
    };
    Ok(Plan::decided(config, note))
}

/// The configuration with nothing held out, so that the last epoch is kept, unless it asks for
/// held-out images: what a tenth of the images teaches is worth more than what it tells about
/// so few epochs (docs/recipes.md). A folder with images of its own for that picks the epoch by
/// them.
fn with_all_pictures(config: &TrainConfig) -> TrainConfig {
    TrainConfig { val_fraction: config.val_fraction.or(Some(0.0)), ..config.clone() }
}

/// Seconds for an image through the network, and for its share of the regression.
fn measure_fit(
    engine: &mut dyn Engine,
    pictures: &Pictures,
    loading: &LoaderOptions,
    config: &TrainConfig,
    observer: &mut Observer<'_>,
) -> Result<(f64, f64), TrainError> {
    // Of all classes, whatever their order in the list.
    let stride = pictures.train.len().div_ceil(MEASURED).max(1);
    let samples: Arc<[Sample]> = pictures.train.iter().step_by(stride).cloned().collect();
    let warm: Arc<[Sample]> = samples.iter().take(loading.batch_size).cloned().collect();
    let mut progress = |_| ControlFlow::Continue(());
    features(engine, &warm, loading, None, &mut progress)?;
    let started = Instant::now();
    let total = samples.len();
    let found = features(engine, &samples, loading, None, &mut |done| {
        observer.tell(Event::Progress(Progress::of(Stage::MeasuringSpeed, done, total)));
        ControlFlow::Continue(())
    })?;
    let forward = started.elapsed().as_secs_f64() / total as f64;
    let images = pictures.train.len();
    let fit = expected_seconds(images, found.channels, pictures.classes.len(), config.threads)?;
    Ok((forward, fit / images as f64))
}

/// Seconds for an image in steps that train the layers that `freeze` leaves. The network stays as
/// it is, for its rate is 0.
fn measure_steps(
    engine: &mut dyn Engine,
    pictures: &Pictures,
    loading: &LoaderOptions,
    config: &TrainConfig,
    freeze: &Freeze,
) -> Result<f64, TrainError> {
    // A batch has no more images than there are.
    let batch_size = config.batch_size.min(pictures.train.len());
    // Where stages are unfrozen by and by, an epoch takes no longer than the last one.
    engine.freeze(frozen_nodes(engine.graph(), freeze, MOST_EPOCHS - 1)?);
    let steps = MEASURED.div_ceil(batch_size).max(2);
    // The first step finds nothing ready, and the last ones have nobody who reads ahead: neither is
    // measured.
    let prepared = 1 + steps + loading.prefetch_batches;
    let order: Vec<u32> =
        (0..pictures.train.len() as u32).cycle().take(prepared * batch_size).collect();
    let transform = Transform::Train { seed: config.seed, epoch: 0 };
    let share = engine.share();
    let mut loader = Loader::start(
        Arc::clone(&pictures.train),
        order,
        LoaderOptions { batch_size, transform, share, ..loading.clone() },
    );
    let rates = vec![0.0; engine.graph().nodes.len()];
    let mut started = Instant::now();
    for step in 0..=steps {
        let Some(batch) = loader.next() else { break };
        let batch = agreed(engine, batch)?;
        let pixels = Input::pixels(&batch.pixels, loading.preprocessing.normalisation());
        let train = TrainBatch {
            input: Input { part: batch.part, ..pixels },
            target: Target::Labels(&batch.labels),
            weights: None,
            seed: config.seed,
            epoch: 0,
            position: 0,
        };
        let update = Update {
            optimizer: Optimizer::Sgd { momentum: config.momentum },
            learning_rates: &rates,
            weight_decay: 0.0,
            decay_bias_norm: true,
            step: step as u64 + 1,
            clip: None,
        };
        let loss = Loss::SoftmaxCrossEntropy { label_smoothing: 0.0 };
        engine.train_step(&train, LossSettings { loss, reduction: Reduction::Mean }, &update)?;
        loader.recycle(batch);
        if step == 0 {
            started = Instant::now();
        }
    }
    Ok(started.elapsed().as_secs_f64() / (steps * batch_size) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: Counts = Counts { train: 1000, validation: 100, test: 200, batch: 25 };

    #[test]
    fn epochs_fill_the_time_that_the_fitted_head_leaves() {
        // 13 s forward, 1 s of regression and the overhead; 6 s to measure the rate; 32 s an epoch.
        let speed = Speed { forward: 0.01, fit: 0.001, step: Some(0.02) };
        assert_eq!(speed.fitted(COUNTS), 14.0 + OVERHEAD);
        assert_eq!(
            [10.0, 53.0, 54.0, 86.0, 1e6].map(|seconds| speed.epochs_within(seconds, COUNTS)),
            [0, 0, 1, 2, MOST_EPOCHS]
        );
        assert_eq!(Speed { step: None, ..speed }.epochs_within(1e6, COUNTS), 0);
    }
}
