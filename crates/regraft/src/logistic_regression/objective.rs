//! The objective and its gradient, and the coordinates in which it is minimised.

use super::basis::Basis;
use super::{Examples, LinearClassifier};
use crate::algebra::softmax_regression::{
    Classifier, Rows, Watch, loss_and_gradient, probabilities,
};
use crate::algebra::vectors::{add_scaled, dot};
use std::borrow::Cow;
use std::ops::Range;

/// The examples minus their mean, along their principal axes where that pays. The bias is not
/// penalised and the penalty does not depend on the axes, so this changes only how fast the minimum
/// is found; [`Centred::classifier`] turns it back.
pub(super) struct Centred {
    features: Vec<f32>,
    labels: Vec<u32>,
    mean: Vec<f64>,
    basis: Option<Basis>,
    /// `[channels]`: the mean square of each coordinate.
    variance: Vec<f32>,
    class_weights: Vec<f32>,
    prior: Option<Prior>,
}

/// The weights whose neighbourhood is searched. The parameters of a regression are deviations from
/// them, so that everything about the penalty is as without.
struct Prior {
    /// `[classes, channels]`, as given.
    given: Vec<f32>,
    /// `[classes, coordinates]`.
    rotated: Vec<f32>,
}

impl Centred {
    /// The examples at the places in `order`.
    pub fn new(examples: &Examples<'_>, order: impl Iterator<Item = usize> + Clone) -> Self {
        let Examples { channels, classes, class_weights, prior, .. } = *examples;
        let mut mean = vec![0.0; channels];
        for row in examples.features.chunks_exact(channels) {
            mean.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        let count = examples.labels.len() as f64;
        mean.iter_mut().for_each(|sum| *sum /= count);
        let basis = Basis::of(examples, &mean);
        let features = coordinates(examples, order.clone(), &mean, basis.as_ref());
        let axes = basis.as_ref().map_or(channels, Basis::axes);
        let mut squares = vec![0.0; axes];
        for row in features.chunks_exact(axes) {
            squares
                .iter_mut()
                .zip(row)
                .for_each(|(square, &value)| *square += f64::from(value).powi(2));
        }
        let variance = squares.into_iter().map(|square| (square / count) as f32).collect();
        let labels = order.map(|place| examples.labels[place]).collect();
        let class_weights = class_weights.map_or_else(|| vec![1.0; classes], <[f32]>::to_vec);
        let mut centred =
            Self { features, labels, mean, basis, variance, class_weights, prior: None };
        centred.set_prior(prior);
        centred
    }

    /// Penalises deviations from these weights `[classes, channels]`, or from 0.
    pub fn set_prior(&mut self, prior: Option<&[f32]>) {
        self.prior = prior.map(|prior| {
            let mut rotated = vec![0.0; self.classes() * self.channels()];
            match &self.basis {
                Some(basis) => basis.coordinates()(prior, &mut rotated),
                None => rotated.copy_from_slice(prior),
            }
            Prior { given: prior.to_vec(), rotated }
        });
    }

    pub fn has_prior(&self) -> bool {
        self.prior.is_some()
    }

    pub fn rows(&self) -> Rows<'_> {
        let Self { features, labels, class_weights, .. } = self;
        Rows { features, channels: self.channels(), labels, class_weights }
    }

    /// How many coordinates an example has.
    pub fn channels(&self) -> usize {
        self.variance.len()
    }

    pub fn classes(&self) -> usize {
        self.class_weights.len()
    }

    pub fn variance(&self) -> &[f32] {
        &self.variance
    }

    /// Weights `[classes, channels]` less the prior's, then biases `[classes]`.
    pub fn parameters(&self) -> usize {
        self.classes() * (self.channels() + 1)
    }

    /// Weights, less the prior's, and biases.
    pub fn split<'a>(&self, parameters: &'a [f32]) -> Classifier<'a> {
        let (weight, bias) = parameters.split_at(self.classes() * self.channels());
        Classifier { weight, bias }
    }

    /// The weights `[classes, channels]` of centred features.
    fn weights<'a>(&self, deviation: &'a [f32]) -> Cow<'a, [f32]> {
        let Some(prior) = &self.prior else { return Cow::Borrowed(deviation) };
        Cow::Owned(
            prior
                .rotated
                .iter()
                .zip(deviation)
                .map(|(prior, deviation)| prior + deviation)
                .collect(),
        )
    }

    /// The classifier of features that are not centred.
    pub fn classifier(&self, parameters: &[f32]) -> LinearClassifier {
        let Classifier { weight, bias } = self.split(parameters);
        let mut weight =
            self.basis.as_ref().map_or_else(|| weight.to_vec(), |basis| basis.weights(weight));
        if let Some(prior) = &self.prior {
            add_scaled(&mut weight, 1.0, &prior.given);
        }
        let offset = |row: &[f32]| {
            row.iter().zip(&self.mean).map(|(&weight, mean)| f64::from(weight) * mean).sum::<f64>()
        };
        let moved = weight
            .chunks_exact(self.mean.len())
            .zip(bias)
            .map(|(row, &bias)| (f64::from(bias) - offset(row)) as f32);
        LinearClassifier { bias: moved.collect(), weight }
    }
}

/// The examples at the places in `order` minus their mean, a block at a time: in the basis, if
/// there is one.
fn coordinates(
    examples: &Examples<'_>,
    order: impl Iterator<Item = usize>,
    mean: &[f64],
    basis: Option<&Basis>,
) -> Vec<f32> {
    const BLOCK: usize = 4096;
    let channels = examples.channels;
    let row = |place: usize| &examples.features[place * channels..(place + 1) * channels];
    let centred = order.flat_map(|place| {
        row(place).iter().zip(mean).map(|(&value, mean)| (f64::from(value) - mean) as f32)
    });
    let Some(basis) = basis else { return centred.collect() };
    let rotate = basis.coordinates();
    let mut centred = centred.peekable();
    let mut block = Vec::with_capacity(BLOCK * channels);
    let mut features = Vec::with_capacity(examples.labels.len() * basis.axes());
    while centred.peek().is_some() {
        block.clear();
        block.extend(centred.by_ref().take(BLOCK * channels));
        let done = features.len();
        features.resize(done + block.len() / channels * basis.axes(), 0.0);
        rotate(&block, &mut features[done..]);
    }
    features
}

/// The mean cross-entropy of some of the examples plus the penalty, as a function of the
/// parameters.
pub(super) struct Objective<'a> {
    pub examples: &'a Centred,
    /// The examples that count.
    pub rows: &'a [Range<usize>],
    /// How many those are.
    pub count: usize,
    /// Weight of half the squared weights against the mean cross-entropy.
    pub penalty: f32,
}

/// The objective somewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    /// The mean cross-entropy plus the penalty.
    pub objective: f64,
    /// The mean cross-entropy alone, weighted.
    pub loss: f64,
}

impl<'a> Objective<'a> {
    pub fn new(examples: &'a Centred, rows: &'a [Range<usize>], strength: f64) -> Self {
        let count = rows.iter().map(ExactSizeIterator::len).sum();
        Self { examples, rows, count, penalty: (1.0 / (strength * count as f64)) as f32 }
    }

    /// The value at `parameters`, and its gradient. `watch` as in [`loss_and_gradient`].
    pub fn evaluate(
        &self,
        parameters: &[f32],
        gradient: &mut [f32],
        watch: Option<Watch<'_>>,
    ) -> Value {
        let Classifier { weight, bias } = self.examples.split(parameters);
        let weights = self.examples.weights(weight);
        let classifier = Classifier { weight: &weights, bias };
        let sum = loss_and_gradient(&self.examples.rows(), self.rows, &classifier, gradient, watch);
        let mean = 1.0 / self.count as f32;
        gradient.iter_mut().for_each(|slope| *slope *= mean);
        add_scaled(&mut gradient[..weight.len()], self.penalty, weight);
        let loss = sum / self.count as f64;
        Value { objective: loss + 0.5 * f64::from(self.penalty) * dot(weight, weight), loss }
    }

    /// Hands over the probabilities of the examples that count, a block at a time, with the place
    /// of the block's first.
    pub fn probabilities(&self, parameters: &[f32], take: &mut dyn FnMut(usize, &[f32])) {
        let Classifier { weight, bias } = self.examples.split(parameters);
        let weights = self.examples.weights(weight);
        probabilities(
            &self.examples.rows(),
            self.rows,
            &Classifier { weight: &weights, bias },
            take,
        );
    }
}
