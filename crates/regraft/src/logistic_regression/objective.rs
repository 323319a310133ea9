//! The objective and its gradient, and the coordinates in which it is minimised.

use super::{Examples, LinearClassifier};
use argmin::core::{CostFunction, Error, Gradient};
use rayon::prelude::*;
use regraft_kernels::{linear, loss};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rows that one task takes.
const ROWS_PER_TASK: usize = 64;

/// The examples with their mean taken off. The bias is not penalised, so that this changes nothing but how fast the minimum is
/// found; the bias found is that of the centred features until [`Centred::classifier`] moves it back.
pub(super) struct Centred<'a> {
    features: Vec<f32>,
    mean: Vec<f64>,
    examples: Examples<'a>,
}

impl<'a> Centred<'a> {
    pub fn new(examples: &Examples<'a>) -> Self {
        let mut mean = vec![0.0; examples.channels];
        for row in examples.features.chunks_exact(examples.channels) {
            mean.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        mean.iter_mut().for_each(|sum| *sum /= examples.labels.len() as f64);
        let mut features = examples.features.to_vec();
        features.par_chunks_mut(examples.channels).for_each(|row| {
            row.iter_mut().zip(&mean).for_each(|(value, mean)| *value = (f64::from(*value) - mean) as f32);
        });
        Self { features, mean, examples: *examples }
    }

    fn channels(&self) -> usize {
        self.mean.len()
    }

    /// Weights `[classes, channels]`, then biases `[classes]`.
    pub fn parameters(&self) -> usize {
        self.examples.classes * (self.channels() + 1)
    }

    /// The classifier of features that are not centred.
    pub fn classifier(&self, parameters: &[f64]) -> LinearClassifier {
        let (weight, bias) = parameters.split_at(self.examples.classes * self.channels());
        let offset = |row: &[f64]| row.iter().zip(&self.mean).map(|(weight, mean)| weight * mean).sum::<f64>();
        LinearClassifier {
            weight: weight.iter().map(|&value| value as f32).collect(),
            bias: weight.chunks_exact(self.channels()).zip(bias).map(|(row, bias)| (bias - offset(row)) as f32).collect(),
        }
    }
}

/// The mean cross-entropy with its penalty, as a function of the parameters.
pub(super) struct Objective<'a> {
    examples: &'a Centred<'a>,
    /// Weight of half the squared weights against the mean cross-entropy.
    penalty: f64,
    met: Mutex<Met>,
}

/// What was computed so far. Value and gradient come of one pass, but the solver asks for them one after the other.
#[derive(Default)]
struct Met {
    last: Option<Point>,
    best: Option<(f64, Vec<f64>)>,
    evaluations: usize,
}

struct Point {
    parameters: Vec<f64>,
    value: f64,
    loss: f64,
    gradient: Vec<f64>,
}

impl<'a> Objective<'a> {
    pub fn new(examples: &'a Centred<'a>, strength: f64) -> Self {
        Self { examples, penalty: 1.0 / (strength * examples.examples.labels.len() as f64), met: Mutex::default() }
    }

    /// The parameters with the smallest value met.
    pub fn best(&self) -> Option<Vec<f64>> {
        self.lock().best.as_ref().map(|(_, parameters)| parameters.clone())
    }

    pub fn evaluations(&self) -> usize {
        self.lock().evaluations
    }

    /// The mean cross-entropy alone, weighted.
    pub fn loss_at(&self, parameters: &[f64]) -> f64 {
        self.at(parameters, |point| point.loss)
    }

    fn lock(&self) -> MutexGuard<'_, Met> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at<T>(&self, parameters: &[f64], read: impl FnOnce(&Point) -> T) -> T {
        let mut met = self.lock();
        let point = match met.last.take().filter(|point| point.parameters == parameters) {
            Some(point) => point,
            None => {
                let point = self.compute(parameters);
                met.evaluations += 1;
                if point.value.is_finite() && met.best.as_ref().is_none_or(|&(best, _)| point.value < best) {
                    met.best = Some((point.value, parameters.to_vec()));
                }
                point
            }
        };
        let answer = read(&point);
        met.last = Some(point);
        answer
    }

    fn compute(&self, parameters: &[f64]) -> Point {
        let Centred { features, examples, .. } = self.examples;
        let (labels, classes, channels) = (examples.labels, examples.classes, examples.channels);
        let (weight, bias) = parameters.split_at(classes * channels);
        let single = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<f32>>();
        let mut logits = vec![0.0; labels.len() * classes];
        linear::forward(features, &single(weight), &single(bias), channels, &mut logits);
        let mut losses = vec![0.0; labels.len()];
        let mut logit_gradient = vec![0.0; logits.len()];
        let mean = 1.0 / labels.len() as f32;
        let rows = (logits.par_chunks(ROWS_PER_TASK * classes), labels.par_chunks(ROWS_PER_TASK));
        let outputs = (losses.par_chunks_mut(ROWS_PER_TASK), logit_gradient.par_chunks_mut(ROWS_PER_TASK * classes));
        (rows, outputs).into_par_iter().for_each(|((logits, labels), (losses, gradient))| {
            loss::cross_entropy(logits, labels, classes, 0.0, mean, losses, gradient);
            if examples.class_weights.is_some() {
                for ((loss, gradient), &label) in losses.iter_mut().zip(gradient.chunks_exact_mut(classes)).zip(labels) {
                    let weight = examples.weight(label);
                    *loss *= weight;
                    gradient.iter_mut().for_each(|slope| *slope *= weight);
                }
            }
        });
        let (mut weight_gradient, mut bias_gradient) = (vec![0.0; weight.len()], vec![0.0; classes]);
        linear::backward_parameters(features, &logit_gradient, channels, &mut weight_gradient, &mut bias_gradient);
        let loss = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / labels.len() as f64;
        let squares: f64 = weight.iter().map(|value| value * value).sum();
        let penalised = weight_gradient.iter().zip(weight).map(|(&slope, weight)| f64::from(slope) + self.penalty * weight);
        let gradient = penalised.chain(bias_gradient.iter().map(|&slope| f64::from(slope))).collect();
        Point { parameters: parameters.to_vec(), value: loss + 0.5 * self.penalty * squares, loss, gradient }
    }
}

impl CostFunction for &Objective<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, parameters: &Vec<f64>) -> Result<f64, Error> {
        Ok(self.at(parameters, |point| point.value))
    }
}

impl Gradient for &Objective<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, parameters: &Vec<f64>) -> Result<Vec<f64>, Error> {
        Ok(self.at(parameters, |point| point.gradient.clone()))
    }
}
