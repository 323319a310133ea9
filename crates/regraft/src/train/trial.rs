//! A trial of training all layers, on a part of the training images: do the features get better?

use super::data_list::DataList;
use super::epoch::Trainer;
use super::feed::Feed;
use super::fit::put_head;
use super::observer::{Halt, Observer};
use super::setup::{CheckedPictures, Setup, set_up};
use super::state::TrainState;
use super::steps::Record;
use super::{Event, Silent, TrainError};
use crate::algebra::linear;
use crate::config::{Freeze, HeadStart, Keep, OnNan, TrainConfig};
use crate::evaluate::{Scored, Scorer};
use crate::features::Features;
use crate::logistic_regression::LinearClassifier;
use crate::pictures::Pictures;
use crate::progress::{Part, Progress, Stage};
use regraft_base::random::{Draws, Purpose};
use regraft_data::cache::DecodedCache;
use regraft_data::catalogue::Sample;
use std::sync::Arc;
use std::time::Instant;

/// Most held-out images.
const HELD_OUT: usize = 300;
/// One image in this many is held out if the run has no validation set.
const HELD_OUT_OF: usize = 4;
/// Fewest images of a trial, if there are as many: eight steps.
const FEWEST: usize = 256;
/// Fewest images of each class, if it has as many.
const FEWEST_OF_CLASS: usize = 2;
/// The share of the training images that a trial takes for each share that the fitted head gets
/// wrong. The more there is to gain, the longer a trial may take: on the hot dogs of
/// docs/recipes.md about as long as the fitted head itself.
const SHARE_OF_ERRORS: f64 = 2.5;
/// With fewer errors among the held-out images, no trial can show a gain.
const FEWEST_ERRORS: f64 = 5.0;
/// Standard errors by which the held-out loss has to fall. No more, because a run that trains in
/// vain only loses its time: it keeps the fitted head if no epoch is better.
const DECISIVE: f64 = 1.0;

/// The result of a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TrialResult {
    /// Images that it trained on.
    pub trained: usize,
    /// Held-out images.
    pub held_out: usize,
    /// Their mean cross-entropy in nats: with a head fitted to the source's features, and after the
    /// trial.
    pub loss: [f64; 2],
    /// Their accuracy, likewise.
    pub accuracy: [f64; 2],
    /// The standard error of the difference of the losses.
    pub standard_error: f64,
    /// Seconds that a training image took.
    pub step_seconds: f64,
    /// Seconds that an image took once through the network, with its share of the regression.
    pub forward_seconds: f64,
}

impl TrialResult {
    /// Whether training deeper pays.
    pub fn pays(&self) -> bool {
        self.loss[0] - self.loss[1] > DECISIVE * self.standard_error
    }

    fn new([before, after]: [&Scored; 2], trained: usize) -> Option<Self> {
        let count = before.predictions.len() as f64;
        let differences =
            || losses(before).zip(losses(after)).map(|(before, after)| before - after);
        let mean = differences().sum::<f64>() / count;
        let variance = differences().map(|difference| (difference - mean).powi(2)).sum::<f64>()
            / (count - 1.0);
        let loss = [before, after].map(|scored| losses(scored).sum::<f64>() / count);
        let is_finite = loss.iter().all(|loss| loss.is_finite()) && variance.is_finite();
        is_finite.then(|| Self {
            trained,
            held_out: before.predictions.len(),
            loss,
            accuracy: [before, after].map(|scored| scored.evaluation.accuracy),
            standard_error: (variance / count).sqrt(),
            step_seconds: 0.0,
            forward_seconds: 0.0,
        })
    }
}

/// Trains all layers for an epoch on a part of the images, as a run would, and compares held-out
/// losses before and after. `None` if they are not finite.
pub(super) fn try_all_layers(
    config: &TrainConfig,
    part: Pictures,
    cache: Option<&Arc<DecodedCache>>,
    observer: &mut Observer<'_>,
) -> Result<Option<TrialResult>, Halt> {
    let Observer { report, stop, ranks } = observer;
    let mut report = |event: Event| match event {
        Event::Step(step) => {
            let (done, total) = step.images;
            report(Event::Progress(Progress::of(Stage::Trial, done, total)));
        }
        // These are about a run.
        Event::Note(_) | Event::Epoch { .. } => {}
        other => report(other),
    };
    let mut observer = Observer { report: &mut report, stop, ranks };
    let config = TrainConfig {
        freeze: Some(Freeze::None),
        head: Some(HeadStart::Fit),
        epochs: Some(1),
        warmup: config.warmup.min(0.5),
        keep: Keep::Best,
        patience: None,
        on_nan: OnNan::Stop,
        refit: false,
        test_each_epoch: false,
        ..config.clone()
    };
    let data_list = observer.agree(DataList::of(&part, observer.ranks.threads(config.workers)))?;
    let checked = CheckedPictures { pictures: part, data_list };
    let Setup { config, pictures, loading, engine, prior, .. } =
        set_up(&config, cache, Some(checked), &mut observer)?;
    let feed = Feed::new(&config, engine, &pictures, &loading, observer.ranks);
    let (feed, engine) = observer.agree(feed)?;
    // A second batch for the rate would take as long as a fifth of the trial.
    let rate_batches = 1;
    let mut trainer =
        Trainer { prior, rate_batches, ..Trainer::new(&config, engine, &pictures, feed) };
    let mut state = TrainState::new(Vec::new());
    let classifier = trainer.solve_head(&mut observer)?.classifier;
    // By features, which the run's own head was fitted to a moment ago and which are kept.
    let features =
        trainer.feed.evaluated(Some(&mut *trainer.engine), Part::Validation, &mut observer)?;
    let before = scores(&classifier, features, &pictures)?;
    put_head(&mut *trainer.engine, &classifier)?;
    trainer.prepare_steps(&mut state, &mut observer)?;
    let started = Instant::now();
    trainer.run_epoch(&mut state, &mut Record(&mut Silent), &mut observer)?;
    let seconds = started.elapsed().as_secs_f64();
    let steps = state.rows.last().map_or(0.0, |row| row.seconds);
    let trained = pictures.train.len();
    let scored = trained + pictures.validation.len();
    let Some(after) = state.last_scores.validation else { return Ok(None) };
    Ok(TrialResult::new([&before, &after], trained).map(|found| TrialResult {
        step_seconds: steps / trained as f64,
        forward_seconds: (seconds - steps).max(0.0) / scored as f64,
        ..found
    }))
}

/// Each image's cross-entropy; NaN if it is not finite.
fn losses(scored: &Scored) -> impl Iterator<Item = f64> {
    scored.predictions.iter().map(|prediction| prediction.loss.unwrap_or(f64::NAN))
}

/// How a classifier of features does on the held-out images.
fn scores(
    classifier: &LinearClassifier,
    features: &Features,
    pictures: &Pictures,
) -> Result<Scored, TrainError> {
    let mut logits = vec![0.0; pictures.validation.len() * pictures.classes.len()];
    linear::forward(
        &features.values,
        &classifier.weight,
        &classifier.bias,
        features.channels,
        &mut logits,
    );
    let mut scorer = Scorer::new(&pictures.classes, pictures.validation.len());
    scorer.add(&logits, pictures.validation.iter());
    Ok(scorer.finish()?)
}

/// The images of a trial: some to train on, and some that are held out, of each class its share.
/// `errors` is the share of the images that the fitted head gets wrong; `None` if these are too few
/// for a trial to show anything.
pub(super) fn part_for_trial(pictures: &Pictures, errors: f64, seed: u64) -> Option<Pictures> {
    let images = pictures.train.len();
    let own = !pictures.validation.is_empty();
    let held_out = HELD_OUT.min(if own { pictures.validation.len() } else { images / HELD_OUT_OF });
    if errors * (held_out as f64) < FEWEST_ERRORS {
        return None;
    }
    let left = if own { images } else { images - held_out };
    let trained = left.min(FEWEST.max((SHARE_OF_ERRORS * errors * images as f64) as usize));
    let classes = pictures.classes.len();
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for class in 0..classes {
        let members = shuffled(&pictures.train, class, seed);
        let share = |of: usize, all: usize, count: usize| {
            (of as f64 / all as f64 * count as f64).round() as usize
        };
        let chosen = share(trained, images, members.len()).max(FEWEST_OF_CLASS).min(members.len());
        train.extend_from_slice(&members[..chosen]);
        let others =
            if own { &shuffled(&pictures.validation, class, seed)[..] } else { &members[chosen..] };
        let all = if own { pictures.validation.len() } else { images };
        let count = if own { others.len() } else { members.len() };
        validation.extend_from_slice(&others[..share(held_out, all, count).min(others.len())]);
    }
    Some(Pictures {
        classes: pictures.classes.clone(),
        train: train.into(),
        validation: validation.into(),
        test: Arc::new([]),
        skipped: Vec::new(),
        notes: Vec::new(),
    })
}

/// A class's images in an order that the seed decides.
fn shuffled(samples: &[Sample], class: usize, seed: u64) -> Vec<Sample> {
    let mut members: Vec<Sample> =
        samples.iter().filter(|sample| sample.label as usize == class).cloned().collect();
    Draws::new(seed, Purpose::Trial, 0, class as u32).shuffle(&mut members);
    members
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Evaluator;
    use crate::metrics::LogitSample;
    use crate::predictions::Prediction;

    fn pictures(train: [usize; 3], validation: usize) -> Pictures {
        let sample = |part: &str, label: usize, place: usize| Sample {
            path: format!("{part}/{label}/{place}.jpg").into(),
            label: label as u32,
        };
        let of = |part: &'static str, sizes: [usize; 3]| -> Arc<[Sample]> {
            (0..3)
                .flat_map(|label| (0..sizes[label]).map(move |place| sample(part, label, place)))
                .collect()
        };
        Pictures {
            classes: ["a", "b", "c"].map(str::to_owned).to_vec(),
            train: of("train", train),
            validation: of("val", [validation; 3]),
            test: Arc::new([]),
            skipped: Vec::new(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_trial_takes_more_images_if_there_is_more_to_gain() {
        let sizes = |train, validation, errors| {
            part_for_trial(&pictures(train, validation), errors, 1)
                .map(|part| (part.train.len(), part.validation.len()))
        };
        assert_eq!(sizes([1000, 900, 100], 0, 0.06), Some((300, 300)));
        assert_eq!(sizes([1000, 900, 100], 0, 0.2), Some((1000, 300)));
        assert_eq!(sizes([1000, 900, 100], 0, 0.9), Some((1700, 300)));
        assert_eq!(sizes([1000, 900, 100], 0, 0.01), None, "three errors show nothing");
        assert_eq!(sizes([1000, 900, 100], 50, 0.06), Some((300, 150)));
        assert_eq!(sizes([100, 90, 10], 0, 0.5), Some((151, 49)));
        let part = part_for_trial(&pictures([1000, 900, 3], 0), 0.06, 1).expect("enough errors");
        assert_eq!(part.train.iter().filter(|sample| sample.label == 2).count(), FEWEST_OF_CLASS);
        assert!(part.validation.iter().all(|sample| !part.train.contains(sample)));
    }

    #[test]
    fn only_a_gain_beyond_noise_pays() {
        let scored = |losses: Vec<f64>| {
            let mut evaluator = Evaluator::new(vec!["a".into(), "b".into()]);
            evaluator.add(&[1.0, 0.0], &[0]);
            let row = |loss: f64| Prediction {
                loss: Some(loss).filter(|loss| loss.is_finite()),
                ..Prediction::default()
            };
            Scored {
                evaluation: evaluator.finish().expect("an image"),
                predictions: losses.into_iter().map(row).collect(),
                logits: LogitSample::new(0, 2),
            }
        };
        let noise = |place: i32| if place % 2 == 0 { 0.5 } else { -0.5 };
        let before = scored(vec![1.0; 100]);
        let found = |gain: f64| {
            let after = scored((0..100).map(|place| 1.0 - gain + noise(place)).collect());
            TrialResult::new([&before, &after], 256).expect("finite")
        };
        assert!((found(0.06).standard_error - 0.0503).abs() < 1e-4);
        assert!(found(0.06).pays() && !found(0.04).pays() && !found(-0.1).pays());
        assert!(TrialResult::new([&before, &scored(vec![f64::NAN; 100])], 256).is_none());
    }
}
