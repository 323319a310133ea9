//! The learning-rate range test (Smith 2017): steps at a rate that rises from far too small to far
//! too large, on a network of its own.

use super::epoch::Trainer;
use super::feed::Feed;
use super::observer::{Halt, Observer};
pub use super::rate_test::RateTest;
use super::setup::{Setup, set_up};
use super::state::TrainState;
use super::{Report, TrainError, source};
use crate::config::{HeadStart, TrainConfig};
use crate::ranks::Ranks;
use regraft_nn::engine::Engine;
use serde::Serialize;
use std::sync::atomic::AtomicBool;

/// A step of the test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RatePoint {
    /// Learning rate of the backbone.
    pub learning_rate: f64,
    /// Mean loss of the step's images.
    pub loss: f64,
    /// Running average of the losses, in which older ones count less.
    pub smoothed_loss: f64,
}

/// The result of the test.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LrFind {
    /// The steps, up to the one where the loss diverged.
    pub points: Vec<RatePoint>,
    /// The rate at which the smoothed loss falls fastest; `None` if it never falls.
    pub suggestion: Option<f64>,
    /// The rate at the smallest smoothed loss: training there is about to fail.
    pub minimum: Option<f64>,
    /// Whether the loss rose beyond four times its smallest value, or was not a number, before the
    /// last step.
    pub ended_early: bool,
    /// The device in words.
    pub device: String,
}

/// Share of itself that the average of the losses keeps in a step.
const SMOOTHING: f64 = 0.9;
/// The test ends when the smoothed loss exceeds its smallest value this many times.
const LOST: f64 = 4.0;

/// Makes the steps of `test` with the data, options and source of a run with this configuration.
/// Nothing is written, and later runs are not affected.
///
/// # Errors
/// As [`super::train`] before its first step.
pub fn lr_find(
    config: &TrainConfig,
    test: RateTest,
    report: &mut Report<'_>,
) -> Result<LrFind, TrainError> {
    if config.epoch_count() == 0 {
        return Err(TrainError::NoRate);
    }
    let stop = AtomicBool::new(false);
    match rise(config, test, &mut Observer { report, stop: &stop, ranks: &Ranks::default() }) {
        Ok(found) => Ok(found),
        Err(Halt::Failed(error)) => Err(error),
        Err(Halt::Stop) => unreachable!("nobody else has the flag"),
    }
}

fn rise(config: &TrainConfig, test: RateTest, observer: &mut Observer<'_>) -> Result<LrFind, Halt> {
    let config = &source::located(config, observer)?;
    let Setup { config, pictures, notes, loading, engine, prior, .. } =
        set_up(config, config.cache_images.cache().as_ref(), None, observer)?;
    notes.into_iter().for_each(|note| observer.note(note));
    let (feed, engine) = Feed::new(&config, engine, &pictures, &loading, observer.ranks)?;
    let mut trainer = Trainer { prior, ..Trainer::new(&config, engine, &pictures, feed) };
    let mut state = TrainState::new(Vec::new());
    if config.head_start() == HeadStart::Fit {
        trainer.fit_head(&mut state, observer)?;
        trainer.prepare_steps(&mut state, observer)?;
    }
    trainer.rate_test = Some(test);
    let mut found = LrFind {
        points: Vec::new(),
        suggestion: None,
        minimum: None,
        ended_early: false,
        device: trainer.engine.device(),
    };
    while (found.points.len() as u64) < test.steps && !found.ended_early {
        // The epoch's sums up to the step before.
        let mut last = (0.0, 0);
        let mut after_step = |_: &dyn Engine, state: &TrainState| {
            found.add(state, &mut last);
            let ends = found.ended_early || found.points.len() as u64 == test.steps;
            if ends { Err(Halt::Stop) } else { Ok(()) }
        };
        match trainer.run_steps(&mut state, &mut after_step, observer) {
            Ok(()) => {}
            Err(Halt::Stop) => break,
            Err(Halt::Failed(TrainError::Diverged(_))) => {
                found.ended_early = true;
                break;
            }
            Err(halt) => return Err(halt),
        }
        // No callback follows an epoch's last step.
        found.add(&state, &mut last);
        state.progress = Default::default();
        state.epoch += 1;
    }
    found.judge();
    Ok(found)
}

impl LrFind {
    /// Adds the step that was just made. `last` is the sum of the epoch's losses and the number of
    /// its images before it.
    fn add(&mut self, state: &TrainState, last: &mut (f64, usize)) {
        let (sum, images) = (state.progress.loss_sum, state.progress.images);
        let loss = (sum - last.0) / (images - last.1) as f64;
        *last = (sum, images);
        let step = self.points.len() as i32;
        // The average is corrected for its start at zero, as Adam's is.
        let before = self
            .points
            .last()
            .map_or(0.0, |point| point.smoothed_loss * (1.0 - SMOOTHING.powi(step)));
        let smoothed_loss =
            (SMOOTHING * before + (1.0 - SMOOTHING) * loss) / (1.0 - SMOOTHING.powi(step + 1));
        let smallest =
            self.points.iter().map(|point| point.smoothed_loss).fold(f64::INFINITY, f64::min);
        self.ended_early = smoothed_loss > LOST * smallest;
        self.points.push(RatePoint {
            learning_rate: state.progress.learning_rate,
            loss,
            smoothed_loss,
        });
    }

    /// Finds the steepest fall and the minimum. Steps are equally far apart in the rate's
    /// logarithm.
    fn judge(&mut self) {
        let minimum = self
            .points
            .iter()
            .min_by(|one, other| one.smoothed_loss.total_cmp(&other.smoothed_loss));
        self.minimum = minimum.map(|point| point.learning_rate);
        // Over five steps, because single ones are noisy.
        let falls = self.points.windows(5).map(|window| {
            (window[4].smoothed_loss - window[0].smoothed_loss, window[2].learning_rate)
        });
        let steepest = falls.min_by(|(one, _), (other, _)| one.total_cmp(other));
        self.suggestion = steepest.filter(|(fall, _)| *fall < 0.0).map(|(_, rate)| rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suggestion_lies_where_the_loss_falls_fastest() {
        let loss = |exponent: f64| {
            if exponent < -3.0 {
                1.0
            } else if exponent < -1.0 {
                1.0 - 0.4 * (exponent + 3.0)
            } else {
                0.2 + (exponent + 1.0)
            }
        };
        let points = (0..61).map(|step| {
            let exponent = -6.0 + f64::from(step) * 0.1;
            RatePoint {
                learning_rate: 10f64.powf(exponent),
                loss: loss(exponent),
                smoothed_loss: loss(exponent),
            }
        });
        let mut found = LrFind {
            points: points.collect(),
            suggestion: None,
            minimum: None,
            ended_early: false,
            device: String::new(),
        };
        found.judge();
        let (suggestion, minimum) = (
            found.suggestion.expect("it falls").log10(),
            found.minimum.expect("there are points").log10(),
        );
        assert!(
            (-2.9..=-1.1).contains(&suggestion) && (minimum + 1.0).abs() < 0.01,
            "{suggestion} {minimum}"
        );
        found.points.iter_mut().for_each(|point| point.smoothed_loss = 1.0);
        found.judge();
        assert_eq!(found.suggestion, None);
        #[cfg(feature = "report")]
        {
            let plot = crate::report::rates::rates_svg("a run", &found).expect("a plot");
            assert!(plot.starts_with("<svg") && plot.contains("no rate to suggest"));
        }
    }
}
