//! The objective and its gradient, and the coordinates in which it is minimised.

use super::{Examples, LinearClassifier};
use argmin::core::{CostFunction, Error, Gradient};
use rayon::prelude::*;
use regraft_kernels::{linear, loss};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rows that one task takes.
const ROWS_PER_TASK: usize = 64;

/// The examples with their mean taken off. The bias is not penalised, so that this changes nothing but how fast the minimum is
/// found; the bias found is that of the centred features until [`Centred::classifier`] moves it back.
pub(super) struct Centred<'a> {
    features: Vec<f32>,
    labels: Vec<u32>,
    mean: Vec<f64>,
    classes: usize,
    class_weights: Option<&'a [f32]>,
}

impl<'a> Centred<'a> {
    /// The examples at the places in `order`, one after the other.
    pub fn new(examples: &Examples<'a>, order: impl Iterator<Item = usize> + Clone) -> Self {
        let Examples { channels, classes, class_weights, .. } = *examples;
        let mut mean = vec![0.0; examples.channels];
        for row in examples.features.chunks_exact(examples.channels) {
            mean.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        mean.iter_mut().for_each(|sum| *sum /= examples.labels.len() as f64);
        let mut features = Vec::with_capacity(examples.features.len());
        for place in order.clone() {
            let row = examples.features[place * channels..(place + 1) * channels].iter().zip(&mean);
            features.extend(row.map(|(&value, mean)| (f64::from(value) - mean) as f32));
        }
        let labels = order.map(|place| examples.labels[place]).collect();
        Self { features, labels, mean, classes, class_weights }
    }

    fn channels(&self) -> usize {
        self.mean.len()
    }

    /// Weights `[classes, channels]`, then biases `[classes]`.
    pub fn parameters(&self) -> usize {
        self.classes * (self.channels() + 1)
    }

    /// The classifier of features that are not centred.
    pub fn classifier(&self, parameters: &[f64]) -> LinearClassifier {
        let (weight, bias) = parameters.split_at(self.classes * self.channels());
        let offset = |row: &[f64]| row.iter().zip(&self.mean).map(|(weight, mean)| weight * mean).sum::<f64>();
        LinearClassifier {
            weight: weight.iter().map(|&value| value as f32).collect(),
            bias: weight.chunks_exact(self.channels()).zip(bias).map(|(row, bias)| (bias - offset(row)) as f32).collect(),
        }
    }
}

/// The mean cross-entropy of some of the examples with its penalty, as a function of the parameters.
pub(super) struct Objective<'a> {
    examples: &'a Centred<'a>,
    /// The examples that count.
    rows: &'a [Range<usize>],
    /// How many those are.
    count: usize,
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
    pub fn new(examples: &'a Centred<'a>, rows: &'a [Range<usize>], strength: f64) -> Self {
        let count = rows.iter().map(ExactSizeIterator::len).sum();
        Self { examples, rows, count, penalty: 1.0 / (strength * count as f64), met: Mutex::default() }
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
        let (classes, channels) = (self.examples.classes, self.examples.channels());
        let (weight, bias) = parameters.split_at(classes * channels);
        let single = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<f32>>();
        let (single_weight, single_bias) = (single(weight), single(bias));
        let squares: f64 = weight.iter().map(|value| value * value).sum();
        let mut loss = 0.0;
        let penalised = weight.iter().map(|weight| self.penalty * weight);
        let mut gradient: Vec<f64> = penalised.chain(bias.iter().map(|_| 0.0)).collect();
        let (mut weight_gradient, mut bias_gradient) = (vec![0.0; weight.len()], vec![0.0; classes]);
        for rows in self.rows.iter().filter(|rows| !rows.is_empty()) {
            let features = &self.examples.features[rows.start * channels..rows.end * channels];
            let mut logits = vec![0.0; rows.len() * classes];
            linear::forward(features, &single_weight, &single_bias, channels, &mut logits);
            let (losses, logit_gradient) = self.losses(&logits, &self.examples.labels[rows.clone()]);
            loss += losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
            linear::backward_parameters(features, &logit_gradient, channels, &mut weight_gradient, &mut bias_gradient);
            let slopes = weight_gradient.iter().chain(&bias_gradient);
            gradient.iter_mut().zip(slopes).for_each(|(sum, &slope)| *sum += f64::from(slope));
        }
        loss /= self.count as f64;
        Point { parameters: parameters.to_vec(), value: loss + 0.5 * self.penalty * squares, loss, gradient }
    }

    /// Each example's cross-entropy, and what its part of the mean changes with its logits.
    fn losses(&self, logits: &[f32], labels: &[u32]) -> (Vec<f32>, Vec<f32>) {
        let classes = self.examples.classes;
        let mut losses = vec![0.0; labels.len()];
        let mut logit_gradient = vec![0.0; logits.len()];
        let mean = 1.0 / self.count as f32;
        let rows = (logits.par_chunks(ROWS_PER_TASK * classes), labels.par_chunks(ROWS_PER_TASK));
        let outputs = (losses.par_chunks_mut(ROWS_PER_TASK), logit_gradient.par_chunks_mut(ROWS_PER_TASK * classes));
        (rows, outputs).into_par_iter().for_each(|((logits, labels), (losses, gradient))| {
            loss::cross_entropy(logits, labels, classes, 0.0, mean, losses, gradient);
            let Some(weights) = self.examples.class_weights else { return };
            for ((loss, gradient), &label) in losses.iter_mut().zip(gradient.chunks_exact_mut(classes)).zip(labels) {
                let weight = weights[label as usize];
                *loss *= weight;
                gradient.iter_mut().for_each(|slope| *slope *= weight);
            }
        });
        (losses, logit_gradient)
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
