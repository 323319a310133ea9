//! How deep to train, decided by the images: the head is fitted, then a trial shows whether
//! training all layers pays.
//!
//! The decision is a configuration like any other. It depends on the images and the seed alone,
//! never on a clock, so `config.toml` repeats the run without another trial.

use super::TrainError;
use super::epoch::Trainer;
use super::feed::Feed;
use super::observer::{Halt, Observer};
use super::setup::{CheckedPictures, Setup, set_up};
use super::trial::{TrialResult, part_for_trial, try_all_layers};
use crate::config::{EPOCHS, Freeze, HeadStart, Interval, TrainConfig};
use crate::transfer::fit::Fitted;
use regraft_data::cache::DecodedCache;
use std::sync::Arc;
use std::time::Duration;

/// The share of the training images that is held out to choose the epoch, if there is no validation
/// set. The head is fitted to them as well in the end.
const HELD_OUT: f64 = 0.15;

/// The layers and epochs to train.
pub(super) struct Decision {
    /// The configuration without `auto`.
    pub config: TrainConfig,
    /// Why, in words.
    pub note: String,
    /// The run's images and the head that fits them, if only the head is fitted.
    pub fitted: Option<(CheckedPictures, Fitted)>,
}

/// Whether there is time for a trial on this many images, with this many held out.
pub(super) type IsTime<'a> = dyn Fn(usize, usize) -> bool + 'a;

/// Fits the head, and decides whether the backbone learns too. Images that are `checked` are not
/// listed and decoded again.
pub(super) fn decide(
    config: &TrainConfig,
    checked: Option<CheckedPictures>,
    is_time: &IsTime<'_>,
    cache: Option<&Arc<DecodedCache>>,
    observer: &mut Observer<'_>,
) -> Result<Decision, Halt> {
    let head_alone =
        TrainConfig { freeze: Some(Freeze::Backbone), epochs: Some(0), ..config.clone() };
    let Setup { config: resolved, pictures, data_list, loading, engine, prior, .. } =
        set_up(&head_alone, cache, checked, observer)?;
    let feed = Feed::new(&resolved, engine, &pictures, &loading, observer.ranks);
    let (feed, engine) = observer.agree(feed)?;
    let mut trainer = Trainer { prior, ..Trainer::new(&resolved, engine, &pictures, feed) };
    let fitted = trainer.solve_head(observer)?;
    drop(trainer);
    let accuracy = fitted.fit.chosen().map_or(1.0, |trial| trial.accuracy);
    let epochs = config.epochs.unwrap_or(EPOCHS);
    const HEAD_ALONE: &str = "only the head is fitted (--freeze none trains all layers)";
    let found = match part_for_trial(&pictures, 1.0 - accuracy, config.seed) {
        _ if epochs == 0 => Err(format!("without epochs {HEAD_ALONE}")),
        None => Err(format!(
            "cross-validation leaves too few errors for a trial of training all layers ({:.1} % \
             of the images are right): {HEAD_ALONE}",
            100.0 * accuracy
        )),
        Some(part) if !is_time(part.train.len(), part.validation.len()) => {
            Err(format!("no time is left to try training all layers: {HEAD_ALONE}"))
        }
        Some(part) => match try_all_layers(config, part, cache, observer) {
            // Where two machines round differently, the first one decides.
            Ok(Some(trial)) if observer.ranks.of_first(&trial.pays()) => Ok(trial),
            Ok(Some(trial)) => Err(format!("{}: {HEAD_ALONE}", in_words(&trial))),
            Ok(None) | Err(Halt::Failed(TrainError::Diverged(_))) => {
                Err(format!("a trial of training all layers diverged: {HEAD_ALONE}"))
            }
            Err(halt) => return Err(halt),
        },
    };
    let trial = match found {
        Ok(trial) => trial,
        Err(note) => {
            let fitted = Some((CheckedPictures { pictures, data_list }, fitted));
            return Ok(Decision { config: head_alone, note, fitted });
        }
    };
    let note = format!(
        "{}: all layers learn, for {epochs} epochs, in about {} (--freeze backbone fits the head \
         alone)",
        in_words(&trial),
        String::from(expected(&trial, pictures.train.len(), epochs))
    );
    let own = !pictures.validation.is_empty();
    let config = TrainConfig {
        freeze: Some(Freeze::None),
        head: Some(HeadStart::Fit),
        epochs: Some(epochs),
        val_fraction: if own { config.val_fraction } else { Some(HELD_OUT) },
        refit: !own && config.views.is_none(),
        ..config.clone()
    };
    Ok(Decision { config, note, fitted: None })
}

fn in_words(trial: &TrialResult) -> String {
    let TrialResult { trained, held_out, loss, accuracy, .. } = trial;
    format!(
        "training all layers on {trained} images for an epoch changes the loss on {held_out} \
         held-out images from {:.3} to {:.3}, \
         their accuracy from {:.3} to {:.3}",
        loss[0], loss[1], accuracy[0], accuracy[1]
    )
}

/// How long the epochs will take, in whole seconds.
fn expected(trial: &TrialResult, images: usize, epochs: u32) -> Interval {
    let epoch = images as f64 * (trial.step_seconds + trial.forward_seconds);
    Interval(Duration::from_secs((epoch * f64::from(epochs)).ceil() as u64))
}
