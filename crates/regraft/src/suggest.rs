//! Which source model suits images: a head is fitted to each one's features of some of them.

use crate::config::{OnBadImage, PrecisionChoice, TrainConfig, Weights, cores_or};
use crate::error_kind::{Classified, ErrorKind};
use crate::evaluate::EVALUATION_BATCH;
use crate::features::{FeaturesError, features};
use crate::hub::{self, HubSettings, HubSource};
use crate::inference::{self, InferenceError};
use crate::metrics::wilson_interval_95;
use crate::model::{DEFAULT_ARCHITECTURE, HAS_EMBEDDED, Model, ModelError, source_preprocessing};
use crate::pictures::{self, PicturesError, UnreadableFiles};
use crate::progress::{Part, Progress, Stage};
use crate::ranks::Ranks;
use crate::transfer::fit::{FitError, FitOptions, expected_seconds, fit_head};
use regraft_base::random::{Draws, Purpose};
use regraft_data::catalogue::Sample;
use regraft_data::loader::LoaderOptions;
use regraft_data::preprocessing::Preprocessing;
use regraft_nn::architectures;
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A source model as a candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Suggestion {
    /// The name that `--model` takes.
    pub model: &'static str,
    /// Share of the sample's images that heads get right which did not see them.
    pub accuracy: f64,
    /// The 95 % Wilson score interval of the accuracy.
    pub accuracy_interval_95: [f64; 2],
    /// Images a second whose features were computed, decoding included.
    pub images_per_second: f64,
    /// Seconds that fitting a head to all training images is expected to take.
    pub expected_seconds: f64,
    /// Whether that fits into the budget; `true` without one.
    pub within_budget: bool,
}

/// The candidates, the best first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Suggestions {
    /// Training images that there are.
    pub images: usize,
    /// Images of the sample.
    pub sample: usize,
    /// Those within the budget first, and among those the most accurate first.
    pub models: Vec<Suggestion>,
    /// Candidates that could not be tried, and why, in one sentence each.
    pub notes: Vec<String>,
}

/// A sample that no model can be tried on.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each is the error of the part that it is named after.
pub enum SuggestError {
    #[error(transparent)]
    Pictures(#[from] PicturesError),
    #[error(transparent)]
    Unreadable(#[from] UnreadableFiles),
    #[error(transparent)]
    Fit(#[from] FitError),
    /// No model is at hand.
    #[error("no model is inside the program or in the cache")]
    NoModel,
}

impl Classified for SuggestError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::failure_if(matches!(self, Self::Fit(FitError::Threads(_))))
    }
}

/// Something happens.
#[derive(Clone, Debug)]
pub enum SuggestEvent {
    /// A model is tried.
    Model(&'static str),
    /// Work has advanced.
    Progress(Progress),
}

/// A model that could not be tried.
#[derive(Debug, thiserror::Error)]
enum TryError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Inference(#[from] InferenceError),
    #[error(transparent)]
    Features(#[from] FeaturesError),
    #[error(transparent)]
    Fit(#[from] FitError),
}

/// Tries the model inside the program and those whose usual weights are in the cache on at most
/// `sample` of the training images, equally many of each class as far as there are. A model whose
/// head would take longer than `budget` on all images comes after those that fit into it.
///
/// # Errors
/// If the images cannot be listed or read, or there is no model to try. A model that fails is left
/// out, with a note.
pub fn suggest(
    config: &TrainConfig,
    sample: usize,
    budget: Option<Duration>,
    settings: &HubSettings,
    report: &mut (dyn FnMut(SuggestEvent) + Send),
) -> Result<Suggestions, SuggestError> {
    let listed = pictures::list(config, &|_| {}).map_err(PicturesError::from)?;
    let images = listed.train.len();
    let samples: Arc<[Sample]> = spread(listed.train, listed.classes.len(), sample, config).into();
    let part = SampleOf { samples, classes: listed.classes.len(), images, config };
    part.check()?;
    let mut found =
        Suggestions { images, sample: part.samples.len(), models: Vec::new(), notes: Vec::new() };
    for (name, weights) in at_hand(settings) {
        report(SuggestEvent::Model(name));
        let mut progress = |progress| report(SuggestEvent::Progress(progress));
        match part.try_model(name, weights.as_ref(), &mut progress) {
            Ok(suggestion) => found.models.push(Suggestion {
                within_budget: budget
                    .is_none_or(|budget| suggestion.expected_seconds <= budget.as_secs_f64()),
                ..suggestion
            }),
            // Images that no head can be fitted to are the same for all models.
            Err(TryError::Fit(error)) => return Err(error.into()),
            Err(error) => found.notes.push(format!("{name} could not be tried: {error}")),
        }
    }
    if found.models.is_empty() && found.notes.is_empty() {
        return Err(SuggestError::NoModel);
    }
    found.models.sort_by(|one, other| {
        (other.within_budget.cmp(&one.within_budget))
            .then(other.accuracy.total_cmp(&one.accuracy))
            .then(one.expected_seconds.total_cmp(&other.expected_seconds))
    });
    Ok(found)
}

/// The models inside the program or in the cache, with their weights.
fn at_hand(settings: &HubSettings) -> impl Iterator<Item = (&'static str, Option<Weights>)> {
    architectures::all().filter_map(|architecture| {
        if architecture.name == DEFAULT_ARCHITECTURE {
            return HAS_EMBEDDED.then_some((architecture.name, None));
        }
        let source = HubSource::newest(architecture.hub_repository()?).ok()?;
        hub::cached_bytes(&source, settings)?;
        Some((architecture.name, Some(Weights::Hub(source))))
    })
}

/// At most `most` images, of each class the same share and at least two.
fn spread(samples: Vec<Sample>, classes: usize, most: usize, config: &TrainConfig) -> Vec<Sample> {
    let share = most as f64 / samples.len().max(1) as f64;
    if share >= 1.0 {
        return samples;
    }
    let mut of_class: Vec<Vec<Sample>> = vec![Vec::new(); classes];
    for sample in samples {
        of_class[sample.label as usize].push(sample);
    }
    let chosen = of_class.into_iter().enumerate().flat_map(|(class, mut samples)| {
        Draws::new(config.seed, Purpose::Trial, 0, class as u32).shuffle(&mut samples);
        samples.truncate(((samples.len() as f64 * share).round() as usize).max(2));
        samples
    });
    chosen.collect()
}

/// The images that models are tried on.
struct SampleOf<'a> {
    samples: Arc<[Sample]>,
    classes: usize,
    /// Training images that there are in all.
    images: usize,
    config: &'a TrainConfig,
}

impl SampleOf<'_> {
    fn loading(&self, preprocessing: Preprocessing) -> LoaderOptions {
        LoaderOptions {
            workers: cores_or(self.config.workers),
            decode: self.config.decode_options(),
            full_decode: self.config.full_decode,
            ..LoaderOptions::new(preprocessing, EVALUATION_BATCH)
        }
    }

    /// Refuses images that cannot be read before any model is tried.
    fn check(&self) -> Result<(), SuggestError> {
        let paths: Vec<&Path> = self.samples.iter().map(|sample| sample.path.as_path()).collect();
        let Some(usual) = architectures::find(DEFAULT_ARCHITECTURE) else { return Ok(()) };
        let loading = self.loading(source_preprocessing(usual));
        pictures::check(&paths, &loading, OnBadImage::Stop, &Ranks::default(), &|_, _| {})?;
        Ok(())
    }

    fn try_model(
        &self,
        name: &'static str,
        weights: Option<&Weights>,
        report: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Suggestion, TryError> {
        let config = self.config;
        let model = Model::source(Some(name), weights, 0)?;
        let precision = PrecisionChoice::F32;
        // Several ranks would each try all models.
        let alone = Ranks::default();
        let (device, threads) = (&config.device, config.threads);
        let mut engine = inference::engine(&model, device, threads, precision, &alone)?;
        let loading = self.loading(model.preprocessing);
        let total = self.samples.len();
        let started = Instant::now();
        let found = features(&mut *engine, &self.samples, &loading, None, &mut |done| {
            report(Progress::of(Stage::Features(Part::Training), done, total));
            ControlFlow::Continue(())
        })?;
        let images_per_second = total as f64 / started.elapsed().as_secs_f64();
        let labels: Vec<u32> = self.samples.iter().map(|sample| sample.label).collect();
        let options = FitOptions {
            classes: self.classes,
            class_weights: None,
            prior: None,
            seed: config.seed,
            threads: config.threads,
        };
        let fitted = fit_head(&[&found], &labels, options, &mut |done, total| {
            report(Progress::of(Stage::FittingHead, done, total));
            ControlFlow::Continue(())
        })?;
        let accuracy = fitted.fit.chosen().map_or(0.0, |trial| trial.accuracy);
        let right = (accuracy * total as f64).round() as u64;
        let head = expected_seconds(self.images, found.channels, self.classes, config.threads)?;
        Ok(Suggestion {
            model: name,
            accuracy,
            accuracy_interval_95: wilson_interval_95(right, total as u64),
            images_per_second,
            expected_seconds: self.images as f64 / images_per_second + head,
            within_budget: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Recipe;

    #[test]
    fn a_sample_has_the_same_share_of_each_class_and_two_at_least() {
        let config = TrainConfig::recipe(Recipe::Default, Path::new(""));
        let images = |label, count: usize| {
            (0..count).map(move |number| Sample { path: format!("{label}/{number}").into(), label })
        };
        let all: Vec<Sample> = images(0, 300).chain(images(1, 100)).chain(images(2, 3)).collect();
        let chosen = spread(all.clone(), 3, 40, &config);
        let count = |label| chosen.iter().filter(|sample| sample.label == label).count();
        assert_eq!([count(0), count(1), count(2)], [30, 10, 2]);
        assert_eq!(spread(all.clone(), 3, 40, &config), chosen, "the same draws");
        assert_eq!(spread(all.clone(), 3, 403, &config), all);
    }
}
