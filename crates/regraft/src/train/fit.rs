//! The fitted head as a run's start, and fitted again after each epoch that changed the backbone.

use super::average;
use super::balance::class_weights;
use super::epoch::Trainer;
use super::observer::{Halt, Observer};
use super::state::{BEST, TrainState};
use crate::config::{Balance, HeadStart, TrainConfig};
use crate::features::Features;
use crate::logistic_regression::LinearClassifier;
use crate::note::NoteKind;
use crate::predictions::Prediction;
use crate::progress::{Part, Stage};
use crate::ranks::Ranks;
use crate::report::epochs::EpochRow;
use crate::transfer::fit::{FitOptions, Fitted, fit_head};
use crate::transfer::head::HeadPrior;
use crate::transfer::labels::LabelMatch;
use crate::transfer::out_of_fold::{OutOfFoldReport, predictions};
use regraft_data::catalogue::Sample;
use regraft_nn::engine::{Engine, EngineError, State};
use regraft_nn::parameters::Role;
use std::time::Instant;

impl Trainer<'_> {
    /// Fits the head to the features of the training images and puts it into the engine. The
    /// state's rows get one of epoch 0. Returns the predictions of heads that did not see the
    /// images, if the run holds nothing out.
    pub fn fit_head(
        &mut self,
        state: &mut TrainState,
        observer: &mut Observer<'_>,
    ) -> Result<Option<Vec<Prediction>>, Halt> {
        let fitted = match self.fitted.take() {
            Some(fitted) => fitted,
            None => self.solve_head(observer)?,
        };
        let Fitted { classifier, mut fit, out_of_fold, seconds } = fitted;
        let Self { engine, pictures, .. } = self;
        let images = pictures.train.len();
        let predictions = pictures.validation.is_empty().then(|| {
            // Of several ranks, only the first has them, which records them.
            let Some(out_of_fold) = &out_of_fold else { return Vec::new() };
            fit.out_of_fold =
                Some(OutOfFoldReport::new(out_of_fold, &pictures.train, &pictures.classes));
            predictions(out_of_fold, &pictures.train, &pictures.classes)
        });
        put_head(&mut **engine, &classifier)?;
        if let Some(chosen) = fit.chosen() {
            let views =
                if fit.views > 1 { format!(" in {} views each", fit.views) } else { String::new() };
            let text = format!(
                "the head is fitted to {images} images{views}: strength {:.4}, cross-validation \
                 accuracy {:.1} % in {} folds",
                fit.strength,
                chosen.accuracy * 100.0,
                fit.folds
            );
            observer.note_in(state, NoteKind::Head, text);
        }
        if !fit.prior.is_empty() {
            let text = format!("the head stays near the source's rows for {}", listed(&fit.prior));
            observer.note_in(state, NoteKind::Head, text);
        }
        for note in fit.out_of_fold.iter().flat_map(OutOfFoldReport::notes) {
            observer.note_in(state, NoteKind::Head, note);
        }
        self.score_epoch(state, observer)?;
        state.rows.push(EpochRow {
            epoch: 0,
            train_loss: fit.train_loss,
            train_accuracy: fit.train_accuracy,
            validation_loss: state.last_scores.validation_loss(),
            validation_accuracy: state.last_scores.validation_accuracy(),
            test_accuracy: state.last_scores.test_accuracy(),
            learning_rate: 0.0,
            seconds,
            images_per_second: images as f64 / seconds,
            data_wait_fraction: 0.0,
        });
        state.images += images;
        state.seconds += seconds;
        state.head_fit = Some(fit);
        Ok(predictions)
    }

    /// The head that fits the features of the training images. The engine stays as it is.
    pub(super) fn solve_head(&mut self, observer: &mut Observer<'_>) -> Result<Fitted, Halt> {
        let started = Instant::now();
        let Self { config, engine, pictures, feed, prior, .. } = self;
        let augmented = feed.augmented(Some(&mut **engine), observer)?;
        let plain = feed.evaluated(Some(&mut **engine), Part::Training, observer)?;
        let views: Vec<&Features> = std::iter::once(plain).chain(&augmented).collect();
        let fitted = solve(
            config,
            &pictures.train,
            pictures.classes.len(),
            prior.as_ref(),
            &views,
            observer,
        )?;
        Ok(Fitted { seconds: started.elapsed().as_secs_f64(), ..fitted })
    }

    /// Whether the head is fitted again after each epoch: a head fitted to the source's features
    /// does not fit those of a backbone that has learned.
    fn fits_again(&self) -> bool {
        self.config.head_start() == HeadStart::Fit
            && self.engine.frozen() < self.engine.graph().backbone()
    }

    /// The head's tensors that fit the backbone as it is after an epoch, or its running average if
    /// there is one. None of the engine's tensors change.
    pub(super) fn fit_again(
        &mut self,
        state: &TrainState,
        observer: &mut Observer<'_>,
    ) -> Result<Option<State>, Halt> {
        if !self.fits_again() {
            return Ok(None);
        }
        let Self { config, engine, pictures, feed, prior, .. } = self;
        let views =
            average::with_kept(state, &mut **engine, |engine| feed.fresh(engine, observer))?;
        let views: Vec<&Features> = views.iter().collect();
        let fitted = solve(
            config,
            &pictures.train,
            pictures.classes.len(),
            prior.as_ref(),
            &views,
            observer,
        )?;
        Ok(Some(head_tensors(&**engine, &fitted.classifier)))
    }
}

impl Trainer<'_> {
    /// Fits the head of the kept network again, to the training images and the held-out ones. The
    /// state's best network gets it.
    pub fn refit(
        &mut self,
        state: &mut TrainState,
        observer: &mut Observer<'_>,
    ) -> Result<(), Halt> {
        let Some(best) = state.tensors.get(BEST) else { return Ok(()) };
        self.engine.load_state(best)?;
        let Self { config, engine, pictures, feed, prior, .. } = self;
        let mut features = feed.plain(&mut **engine, Part::Training, observer)?;
        let held_out = feed.plain(&mut **engine, Part::Validation, observer)?;
        features.values.extend(held_out.values);
        let samples: Vec<Sample> =
            pictures.train.iter().chain(&*pictures.validation).cloned().collect();
        let Fitted { classifier, fit, .. } = solve(
            config,
            &samples,
            pictures.classes.len(),
            prior.as_ref(),
            &[&features],
            observer,
        )?;
        let head = head_tensors(&**engine, &classifier);
        state.tensors.entry(BEST.into()).or_default().extend(head);
        if state.best.is_some_and(|best| best.epoch == 0) {
            // The backbone has not learned from these images either.
            state.temperature = fit.temperature;
        }
        state.head_fit = Some(fit);
        let text = format!(
            "the head is fitted again to all {} images, including the {} held-out ones",
            samples.len(),
            pictures.validation.len()
        );
        observer.note_in(state, NoteKind::Head, text);
        Ok(())
    }
}

/// The head that fits these views of some images. Of several ranks, the first one solves the
/// regression.
fn solve(
    config: &TrainConfig,
    samples: &[Sample],
    classes: usize,
    prior: Option<&HeadPrior>,
    views: &[&Features],
    observer: &mut Observer<'_>,
) -> Result<Fitted, Halt> {
    let labels: Vec<u32> = samples.iter().map(|sample| sample.label).collect();
    // Weights stand in for sampling: either makes each class count the same.
    let weights = (config.balance != Balance::None).then(|| class_weights(samples, classes));
    let options = FitOptions {
        classes,
        class_weights: weights.as_deref(),
        prior,
        seed: config.seed,
        threads: config.threads,
    };
    let ranks = observer.ranks;
    let fitted = if ranks.is_first() {
        let mut progress = |done, total| observer.progress(Stage::FittingHead, done, total);
        fit_head(views, &labels, options, &mut progress).map(Some)
    } else {
        Ok(None)
    };
    let fitted = observer.agree(fitted)?;
    if ranks.is_alone()
        && let Some(fitted) = fitted
    {
        return Ok(fitted);
    }
    let channels = views.first().map_or(0, |view| view.channels);
    Ok(follow(ranks, fitted, [classes, channels]))
}

/// The head that rank 0 has fitted.
fn follow(ranks: &Ranks, fitted: Option<Fitted>, [classes, channels]: [usize; 2]) -> Fitted {
    let facts = fitted.as_ref().map(|fitted| (fitted.fit.clone(), fitted.seconds));
    let facts = ranks.of_first(&facts);
    let mut weight = vec![0.0; classes * channels];
    let mut bias = vec![0.0; classes];
    if let Some(fitted) = &fitted {
        weight.clone_from(&fitted.classifier.weight);
        bias.clone_from(&fitted.classifier.bias);
    }
    ranks.follow_first(&mut weight);
    ranks.follow_first(&mut bias);
    match (fitted, facts) {
        (Some(fitted), _) => fitted,
        (None, Some((fit, seconds))) => {
            let classifier = LinearClassifier { weight, bias };
            Fitted { classifier, fit, out_of_fold: None, seconds }
        }
        (None, None) => unreachable!("rank 0 has fitted it, or all ranks have ended"),
    }
}

/// Classes that match classes of the source, in words, at most five.
fn listed(matches: &[LabelMatch]) -> String {
    const LISTED: usize = 5;
    let named = matches.iter().take(LISTED).map(|found| match &found.source_names[..] {
        [only] => format!("{:?} ({only:?})", found.class),
        several => format!("{:?} ({} classes)", found.class, several.len()),
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let rest = matches.len().saturating_sub(LISTED);
    if rest == 0 { named } else { format!("{named} and {rest} more") }
}

/// Makes a classifier the engine's head.
pub(super) fn put_head(
    engine: &mut dyn Engine,
    classifier: &LinearClassifier,
) -> Result<(), EngineError> {
    let mut tensors = engine.state();
    tensors.extend(head_tensors(engine, classifier));
    engine.load_state(&tensors)
}

/// The tensors of an engine's head that are a classifier's.
fn head_tensors(engine: &dyn Engine, classifier: &LinearClassifier) -> State {
    let head = engine.graph().backbone();
    let of_head = engine.parameters().iter().filter(|parameter| parameter.node >= head);
    let tensors = of_head.map(|parameter| {
        let values =
            if parameter.role == Role::Weight { &classifier.weight } else { &classifier.bias };
        (parameter.name.clone(), values.clone())
    });
    tensors.collect()
}
