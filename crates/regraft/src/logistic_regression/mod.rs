//! Multinomial logistic regression with an L2 penalty, solved to convergence: the head that fits
//! given features best.
//!
//! The objective is scikit-learn's `LogisticRegression`: `strength x sum of cross-entropies + half
//! the squared weights`; the bias is not penalised. With a prior, what is penalised is the weights'
//! distance from it. Only with two classes do the two differ: there scikit-learn has one row of
//! weights where this one has two opposite rows, so that its `C` is twice the strength here.

mod basis;
mod cost;
mod cross_validation;
mod curvature;
mod folds;
mod minimise;
mod objective;
mod out_of_fold;
mod path;

pub use cost::expected_seconds;
pub use cross_validation::{
    CrossValidation, CrossValidationOptions, Trial, cross_validate, cross_validate_and_solve,
};
pub use out_of_fold::OutOfFold;

use objective::Centred;
use path::Path;
use std::ops::ControlFlow;

/// Rows of features, each with its class.
#[derive(Clone, Copy, Debug)]
pub struct Examples<'a> {
    /// `[N, channels]`.
    pub features: &'a [f32],
    /// Features of a row.
    pub channels: usize,
    /// `[N]`, each below `classes`.
    pub labels: &'a [u32],
    /// Number of classes.
    pub classes: usize,
    /// `[classes]`: what the cross-entropy of a class's examples counts, as scikit-learn's
    /// `class_weight`; 1 if there are none.
    pub class_weights: Option<&'a [f32]>,
    /// `[classes, channels]`: the weights from which deviations are penalised; 0 if there are none.
    pub prior: Option<&'a [f32]>,
}

/// A linear classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearClassifier {
    /// `[classes, channels]`.
    pub weight: Vec<f32>,
    /// `[classes]`.
    pub bias: Vec<f32>,
}

/// A solved regression.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// The result.
    pub classifier: LinearClassifier,
    /// Mean cross-entropy of the examples, weighted where classes have weights, without the
    /// penalty.
    pub loss: f64,
    /// How often the objective was computed.
    pub evaluations: usize,
}

/// A regression that cannot be solved.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RegressionError {
    /// Lengths that do not fit together.
    #[error(
        "{features} features of {channels} channels are not one row for each of {labels} labels"
    )]
    Shape {
        /// Features in all.
        features: usize,
        /// Features of a row.
        channels: usize,
        /// Labels.
        labels: usize,
    },
    /// A label that is not a class.
    #[error("label {label} is none of the {classes} classes")]
    Label {
        /// The label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// A row that is not finite.
    #[error("the features of example {example} are not all finite")]
    NotFinite {
        /// The row's place.
        example: usize,
    },
    /// Weights of classes that make no sense.
    #[error(
        "the weights of the classes are not possible; give each of the {classes} classes a finite \
         number from 0, and one of them more"
    )]
    ClassWeights {
        /// Number of classes.
        classes: usize,
    },
    /// Weights to start from that do not fit the examples, or are not finite.
    #[error("the prior has to be {classes} rows of {channels} finite weights")]
    Prior {
        /// Number of classes.
        classes: usize,
        /// Features of a row.
        channels: usize,
    },
    /// No strength, or one that makes no sense.
    #[error("the strength {0} is not possible; choose a finite number above 0, such as 1")]
    Strength(f64),
    /// Not as many examples of each view.
    #[error("{examples} examples are not {views} views of each image")]
    Views {
        /// Views asked for.
        views: usize,
        /// Examples.
        examples: usize,
    },
    /// Whoever asked wants it no more.
    #[error("the regression was stopped")]
    Stopped,
    /// Too few parts to hold out.
    #[error(
        "{folds} folds cannot be made of {examples} examples; choose from 2 to as many folds as \
         there are examples"
    )]
    Folds {
        /// Folds asked for.
        folds: usize,
        /// Examples.
        examples: usize,
    },
}

impl Examples<'_> {
    /// The weight of an example of each class.
    fn weight(&self, label: u32) -> f32 {
        self.class_weights.map_or(1.0, |weights| weights[label as usize])
    }

    /// Checks that the slices fit together and hold usable values.
    ///
    /// # Errors
    /// Says which do not.
    pub fn check(&self) -> Result<(), RegressionError> {
        let Self { features, channels, labels, classes, class_weights, prior } = *self;
        if labels.is_empty() || channels == 0 || features.len() != labels.len() * channels {
            return Err(RegressionError::Shape {
                features: features.len(),
                channels,
                labels: labels.len(),
            });
        }
        if let Some(&label) = labels.iter().find(|&&label| label as usize >= classes) {
            return Err(RegressionError::Label { label, classes });
        }
        let is_weight = |weight: &f32| *weight >= 0.0 && weight.is_finite();
        if class_weights
            .is_some_and(|weights| weights.len() != classes || !weights.iter().all(is_weight))
            || labels.iter().all(|&label| self.weight(label) == 0.0)
        {
            return Err(RegressionError::ClassWeights { classes });
        }
        if prior.is_some_and(|prior| {
            prior.len() != classes * channels || !prior.iter().all(|value| value.is_finite())
        }) {
            return Err(RegressionError::Prior { classes, channels });
        }
        match features.iter().position(|value| !value.is_finite()) {
            Some(place) => Err(RegressionError::NotFinite { example: place / channels }),
            None => Ok(()),
        }
    }
}

/// The minimum counts as reached once the decrease still to be expected is less than this share of
/// the objective.
const CONVERGED: f64 = 1e-10;
/// Weaker strengths than this need no other one to lead to them.
const WEAKEST: f64 = 1e-4;
/// The same share for regressions that only lead to the next one.
const FAR: f64 = 1e-3;

/// The classifier that minimises the objective for the examples. `strength` is scikit-learn's `C`:
/// a larger one trusts the examples more. Computes on the current rayon thread pool; the numbers do
/// not depend on its size.
///
/// # Errors
/// If the examples or the strength make no sense.
pub fn solve(examples: Examples<'_>, strength: f64) -> Result<Solution, RegressionError> {
    examples.check()?;
    check_strength(strength)?;
    let centred = Centred::new(&examples, 0..examples.labels.len());
    // By way of weaker ones, in steps of ten: far from the minimum the curvature says little of it.
    let weaker =
        (1..=12).rev().map(|step| strength / 10f64.powi(step)).filter(|&weaker| weaker >= WEAKEST);
    let strengths: Vec<f64> = weaker.chain([strength]).collect();
    solve_from(Path::default(), &centred, &strengths, &mut || ControlFlow::Continue(()))
}

/// Solves for the last of some strengths by way of the others.
fn solve_from(
    mut path: Path,
    examples: &Centred,
    strengths: &[f64],
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Solution, RegressionError> {
    let all = 0..examples.rows().labels.len();
    let (mut loss, mut evaluations) = (0.0, 0);
    for (place, &strength) in strengths.iter().enumerate() {
        let tolerance = if place + 1 == strengths.len() { CONVERGED } else { FAR };
        let (value, more) =
            path.go_to(examples, std::slice::from_ref(&all), strength, tolerance, go_on)?;
        (loss, evaluations) = (value.loss, evaluations + more);
    }
    Ok(Solution { classifier: examples.classifier(path.parameters()), loss, evaluations })
}

fn check_strength(strength: f64) -> Result<(), RegressionError> {
    if strength > 0.0 && strength.is_finite() {
        Ok(())
    } else {
        Err(RegressionError::Strength(strength))
    }
}
