//! The fitted head: logistic regression on the backbone's features in place of training.

use crate::algebra::linear;
use crate::config::cores_or;
use crate::features::Features;
use crate::logistic_regression;
use crate::logistic_regression::{
    CrossValidationOptions, Examples, LinearClassifier, OutOfFold, RegressionError, Trial,
    cross_validate_and_solve,
};
use crate::metrics::{FittedOn, Temperature, count_right};
use crate::transfer::head::HeadPrior;
use crate::transfer::labels::LabelMatch;
use crate::transfer::out_of_fold::OutOfFoldReport;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::time::Instant;

/// How a head was fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadFit {
    /// The chosen strength: scikit-learn's `C` (with two classes, twice this).
    pub strength: f64,
    /// Views of each training image that it was fitted to: the plain one, and augmented ones.
    #[serde(default = "plain_view")]
    pub views: usize,
    /// Parts of the training images that were held out in turn to choose it.
    pub folds: usize,
    /// Each strength that was tried on all folds, with its score on held-out images. Those that
    /// some of the folds ruled out are missing.
    pub trials: Vec<Trial>,
    /// Mean cross-entropy of the training images under the fitted head, in nats, weighted as in
    /// [`Examples::class_weights`].
    pub train_loss: f64,
    /// Share of the training images that it gets right.
    pub train_accuracy: f64,
    /// How well the training images are predicted by heads that did not see them, for a run that
    /// holds nothing out.
    #[serde(default)]
    pub out_of_fold: Option<OutOfFoldReport>,
    /// The temperature that calibrates the head, fitted to the predictions of cross-validation's
    /// heads for the training images that they did not see.
    #[serde(default)]
    pub temperature: Option<Temperature>,
    /// The classes whose weights are penalised for their distance from rows of the source's head,
    /// because that predicts held-out images better.
    #[serde(default)]
    pub prior: Vec<LabelMatch>,
}

fn plain_view() -> usize {
    1
}

impl HeadFit {
    /// The trial of the chosen strength.
    #[must_use]
    pub fn chosen(&self) -> Option<&Trial> {
        self.trials.iter().find(|trial| trial.strength == self.strength)
    }
}

/// A head that cannot be fitted.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The regression makes no sense.
    #[error("the head cannot be fitted: {0}")]
    Regression(#[from] RegressionError),
    /// Too few images to hold any out.
    #[error(
        "fitting the head holds out parts of the training images in turn and needs at least 2 of \
         them, but there is {0}"
    )]
    TooFew(usize),
    /// The operating system gave no threads.
    #[error("cannot start the threads that fit the head: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// Options of fitting a head.
#[derive(Clone, Copy, Debug)]
pub struct FitOptions<'a> {
    /// Number of classes.
    pub classes: usize,
    /// The weight of each class's images, if they do not weigh the same.
    pub class_weights: Option<&'a [f32]>,
    /// The source's knowledge of the classes. Cross-validation tries it and decides whether it is
    /// used.
    pub prior: Option<&'a HeadPrior>,
    /// Seed of the folds.
    pub seed: u64,
    /// As in [`TrainConfig`](crate::config::TrainConfig); it changes no number.
    pub threads: usize,
}

/// A fitted head.
#[derive(Debug)]
pub struct Fitted {
    /// The head.
    pub classifier: LinearClassifier,
    /// How it was fitted.
    pub fit: HeadFit,
    /// The predictions of cross-validation's heads for the images that they did not see; `None` in
    /// a rank that did not fit the head itself.
    pub out_of_fold: Option<OutOfFold>,
    /// Wall time in seconds, with that of the features if the caller counts it.
    pub seconds: f64,
}

/// Seconds that [`fit_head`] is expected to take on this machine.
///
/// # Errors
/// If the operating system gives no threads.
pub fn expected_seconds(
    images: usize,
    channels: usize,
    classes: usize,
    threads: usize,
) -> Result<f64, FitError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(cores_or(threads)).build()?;
    Ok(pool.install(|| logistic_regression::expected_seconds(images, channels, classes)))
}

/// Fits a head to features of the training images, of one view after the other, whose `labels` are
/// places among the classes: the strength by five-fold cross-validation, weighted as the head is,
/// by the first view (fewer folds if there are fewer images), then the head on all of them.
/// `progress` as in [`cross_validate`](crate::logistic_regression::cross_validate).
///
/// # Errors
/// If there are fewer than two images, or features that are not finite, or `progress` ends it.
pub fn fit_head(
    features: &[&Features],
    labels: &[u32],
    options: FitOptions<'_>,
    progress: &mut (dyn FnMut(usize, usize) -> ControlFlow<()> + Send),
) -> Result<Fitted, FitError> {
    let FitOptions { classes, class_weights, prior, seed, threads } = options;
    let prior_weights = prior.map(|prior| &prior.weights[..]);
    let Some(first) = features.first() else { return Err(FitError::TooFew(0)) };
    let (values, all_labels);
    let examples = if let [only] = features {
        Examples {
            features: &only.values,
            channels: only.channels,
            labels,
            classes,
            class_weights,
            prior: prior_weights,
        }
    } else {
        values = features.iter().flat_map(|view| view.values.iter().copied()).collect::<Vec<f32>>();
        all_labels = labels.repeat(features.len());
        Examples {
            features: &values,
            channels: first.channels,
            labels: &all_labels,
            classes,
            class_weights,
            prior: prior_weights,
        }
    };
    if labels.len() < 2 {
        return Err(FitError::TooFew(labels.len()));
    }
    let options = CrossValidationOptions {
        views: features.len(),
        ..CrossValidationOptions::new(seed).for_examples(labels.len())
    };
    let started = Instant::now();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(cores_or(threads)).build()?;
    pool.install(|| {
        let (found, solution) = cross_validate_and_solve(examples, &options, progress)?;
        let classifier = solution.classifier;
        let right = count_right_by(&classifier, first, labels);
        let fit = HeadFit {
            strength: found.strength,
            views: features.len(),
            folds: options.folds,
            trials: found.trials,
            train_loss: solution.loss,
            train_accuracy: right as f64 / labels.len() as f64,
            out_of_fold: None,
            temperature: Temperature::fit(found.out_of_fold.logits(), FittedOn::OutOfFold),
            prior: prior
                .filter(|_| found.uses_prior)
                .map_or_else(Vec::new, |prior| prior.matches.clone()),
        };
        Ok(Fitted {
            classifier,
            fit,
            out_of_fold: Some(found.out_of_fold),
            seconds: started.elapsed().as_secs_f64(),
        })
    })
}

/// Images whose logits are held at a time.
const BLOCK: usize = 512;

fn count_right_by(classifier: &LinearClassifier, features: &Features, labels: &[u32]) -> usize {
    let mut logits = vec![0.0; BLOCK.min(labels.len()) * classifier.bias.len()];
    let blocks = features.values.chunks(BLOCK * features.channels).zip(labels.chunks(BLOCK));
    let right_of = |(features_of, labels): (&[f32], &[u32])| {
        let logits = &mut logits[..labels.len() * classifier.bias.len()];
        linear::forward(
            features_of,
            &classifier.weight,
            &classifier.bias,
            features.channels,
            logits,
        );
        count_right(logits, labels)
    };
    blocks.map(right_of).sum()
}
