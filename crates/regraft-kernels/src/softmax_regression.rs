//! Softmax regression: the cross-entropy of linear logits and its gradient, in one pass over the
//! examples.
//!
//! Logits are computed, used and discarded for a block of examples at a time, so that memory does
//! not grow with examples times classes: 50,000 examples of 10,000 classes would need 2 GB for
//! them.

use crate::gemm::{Left, Matrix, Packed, multiply};
use crate::isa::{for_each_isa, multiply_add};
use rayon::prelude::*;
use std::ops::Range;

/// Examples of a block. The backward product sums over them, and reads their features from the
/// second-level cache.
const BLOCK: usize = 512;
/// Examples in one task of the forward product.
const ROWS_PER_TASK: usize = 56;
/// Classes in one task of the backward product: a multiple of every tile kernel's rows except those
/// of AVX2's half panels.
const CLASSES_PER_TASK: usize = 84;
/// Rows of the gradient that are enough for its tasks to keep all threads busy. If there are fewer,
/// blocks of examples are tasks too.
const ENOUGH_CLASSES: usize = 8 * CLASSES_PER_TASK;
/// The most partial gradients that are summed. The number is fixed, so that the sum does not depend
/// on the number of threads.
const MOST_PARTS: usize = 8;

/// A linear classifier.
#[derive(Clone, Copy, Debug)]
pub struct Classifier<'a> {
    /// `[classes, channels]`.
    pub weight: &'a [f32],
    /// `[classes]`.
    pub bias: &'a [f32],
}

/// Examples with their weights.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// `[N, channels]`.
    pub features: &'a [f32],
    /// Features of an example.
    pub channels: usize,
    /// `[N]`, each below the number of classes.
    pub labels: &'a [u32],
    /// `[classes]`: the weight of each class's examples.
    pub class_weights: &'a [f32],
}

impl<'a> Rows<'a> {
    /// The features of some of the examples.
    fn of(&self, rows: &Range<usize>) -> &'a [f32] {
        &self.features[rows.start * self.channels..rows.end * self.channels]
    }
}

/// Receives blocks of rows `[n, classes]`, each with the index of its first example.
pub type Watch<'a> = &'a mut dyn FnMut(usize, &[f32]);

/// Whether [`loss_and_gradient`] processes the blocks of examples one after the other, so that they
/// can be watched.
#[must_use]
pub fn can_be_watched(classes: usize) -> bool {
    parts(classes) == 1
}

fn parts(classes: usize) -> usize {
    (ENOUGH_CLASSES / classes).clamp(1, MOST_PARTS)
}

/// The weighted sum of the cross-entropies of the examples in `ranges`. Writes its gradient: that
/// of the weights `[classes, channels]`, then that of the biases. `watch` receives the derivatives
/// by the logits, from which the probabilities follow: a label's is its probability minus 1, and
/// any other's is its probability, both times the weight of the label.
///
/// # Panics
/// If lengths do not match or a label is not a class, or if `watch` is given although
/// [`can_be_watched`] is false.
pub fn loss_and_gradient(
    rows: &Rows<'_>,
    ranges: &[Range<usize>],
    classifier: &Classifier<'_>,
    gradient: &mut [f32],
    watch: Option<Watch<'_>>,
) -> f64 {
    let (classes, channels) = (classifier.bias.len(), rows.channels);
    assert_eq!(classifier.weight.len(), classes * channels);
    assert_eq!(gradient.len(), classes * (channels + 1));
    assert_eq!(rows.class_weights.len(), classes);
    let packed = pack(classifier, channels);
    let blocks = blocks(ranges);
    let parts = parts(classes).min(blocks.len().max(1));
    assert!(watch.is_none() || can_be_watched(classes));
    let share = blocks.len().div_ceil(parts).max(1);
    let of_part =
        |blocks: &[Range<usize>], gradient: &mut [f32], mut watch: Option<Watch<'_>>| -> f64 {
            gradient.fill(0.0);
            let mut logits = vec![0.0; BLOCK * classes];
            let mut losses = vec![0.0; BLOCK];
            let mut packed_features = Packed::default();
            let mut sum = 0.0;
            for block in blocks {
                let (logits, losses) =
                    (&mut logits[..block.len() * classes], &mut losses[..block.len()]);
                let features = rows.of(block);
                let labels = &rows.labels[block.clone()];
                let tasks = logits
                    .par_chunks_mut(ROWS_PER_TASK * classes)
                    .zip(features.par_chunks(ROWS_PER_TASK * channels));
                let tasks = tasks
                    .zip(labels.par_chunks(ROWS_PER_TASK))
                    .zip(losses.par_chunks_mut(ROWS_PER_TASK));
                tasks.for_each(|(((logits, features), labels), losses)| {
                    linear(features, channels, &packed, classifier.bias, logits);
                    losses_and_slopes(logits, labels, rows.class_weights, losses);
                });
                sum += losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
                if let Some(watch) = &mut watch {
                    watch(block.start, logits);
                }
                packed_features.pack(
                    Matrix::Rows { data: features, stride: channels },
                    block.len(),
                    channels,
                );
                add_gradient(&packed_features, logits, classes, gradient);
            }
            sum
        };
    if parts == 1 {
        return of_part(&blocks, gradient, watch);
    }
    let length = gradient.len();
    let mut partial = vec![0.0; length * blocks.len().div_ceil(share)];
    let sums: Vec<f64> = blocks
        .par_chunks(share)
        .zip(partial.par_chunks_mut(length))
        .map(|(blocks, gradient)| of_part(blocks, gradient, None))
        .collect();
    gradient.copy_from_slice(&partial[..length]);
    for part in partial.chunks_exact(length).skip(1) {
        gradient.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
    }
    sums.into_iter().sum()
}

/// Passes the probabilities of the examples in `ranges` to `take`, a block at a time: the index of
/// the block's first example, and its rows `[n, classes]`.
///
/// # Panics
/// If lengths do not match.
pub fn probabilities(
    rows: &Rows<'_>,
    ranges: &[Range<usize>],
    classifier: &Classifier<'_>,
    take: Watch<'_>,
) {
    let (classes, channels) = (classifier.bias.len(), rows.channels);
    assert_eq!(classifier.weight.len(), classes * channels);
    let packed = pack(classifier, channels);
    let mut values = vec![0.0; BLOCK * classes];
    for block in blocks(ranges) {
        let values = &mut values[..block.len() * classes];
        let tasks = values.par_chunks_mut(ROWS_PER_TASK * classes);
        tasks.zip(rows.of(&block).par_chunks(ROWS_PER_TASK * channels)).for_each(
            |(values, features)| {
                linear(features, channels, &packed, classifier.bias, values);
                softmax_rows(values, classes);
            },
        );
        take(block.start, values);
    }
}

fn pack(classifier: &Classifier<'_>, channels: usize) -> Packed<f32> {
    let mut packed = Packed::default();
    packed.pack(
        Matrix::Columns { data: classifier.weight, stride: channels },
        channels,
        classifier.bias.len(),
    );
    packed
}

fn blocks(ranges: &[Range<usize>]) -> Vec<Range<usize>> {
    let of_range = |range: &Range<usize>| {
        let range = range.clone();
        range.clone().step_by(BLOCK).map(move |start| start..range.end.min(start + BLOCK))
    };
    ranges.iter().flat_map(of_range).collect()
}

fn linear(
    features: &[f32],
    channels: usize,
    packed: &Packed<f32>,
    bias: &[f32],
    logits: &mut [f32],
) {
    logits.chunks_exact_mut(bias.len()).for_each(|row| row.copy_from_slice(bias));
    let rows = logits.len() / bias.len();
    multiply(Left::rows(features, channels), rows, packed, logits, bias.len(), true);
}

/// Adds the contribution of a block's derivatives `[n, classes]` to the gradient. Each task has its
/// own classes. The features are packed once for all tasks: in place, each would be on a page of
/// its own.
fn add_gradient(features: &Packed<f32>, slopes: &[f32], classes: usize, gradient: &mut [f32]) {
    let (_, channels) = features.shape();
    let count = slopes.len() / classes;
    let (weight, bias) = gradient.split_at_mut(classes * channels);
    let tasks = weight
        .par_chunks_mut(CLASSES_PER_TASK * channels)
        .zip(bias.par_chunks_mut(CLASSES_PER_TASK));
    tasks.enumerate().for_each(|(task, (weight, bias))| {
        let (first, width) = (task * CLASSES_PER_TASK, bias.len());
        // Copied side by side: in place, the derivatives of one class are so far apart that each
        // would be on a page of its own.
        let mut own = vec![0.0; count * width];
        for (own, slopes) in own.chunks_exact_mut(width).zip(slopes.chunks_exact(classes)) {
            own.copy_from_slice(&slopes[first..first + width]);
            bias.iter_mut().zip(&*own).for_each(|(sum, slope)| *sum += slope);
        }
        let own = Left { data: &own, row_stride: 1, step_stride: width };
        multiply(own, width, features, weight, channels, true);
    });
}

for_each_isa! {
    /// Turns logits into each row's weighted cross-entropy and its derivatives by the logits.
    fn losses_and_slopes(
        logits: &mut [f32], labels: &[u32], class_weights: &[f32], losses: &mut [f32])
            => losses_and_slopes_body
}
#[inline(always)]
fn losses_and_slopes_body<const FUSED: bool>(
    logits: &mut [f32],
    labels: &[u32],
    class_weights: &[f32],
    losses: &mut [f32],
) {
    let rows = logits.chunks_exact_mut(class_weights.len());
    for ((row, &label), loss) in rows.zip(labels).zip(losses) {
        let (label, weight) = (label as usize, class_weights[label as usize]);
        let greatest = largest(row);
        let own = row[label] - greatest;
        // The label's own term is added last: 1 minus the other probabilities keeps the digits that
        // `p - 1` would lose.
        row[label] = f32::NEG_INFINITY;
        let others = exponentials::<FUSED>(row, greatest);
        let sum = others + f64::from(exponential::<FUSED>(own));
        *loss = ((sum.ln() - f64::from(own)) * f64::from(weight)) as f32;
        let factor = (f64::from(weight) / sum) as f32;
        row.iter_mut().for_each(|value| *value *= factor);
        row[label] = -(f64::from(weight) * others / sum) as f32;
    }
}

for_each_isa! {
    /// Turns each row of logits into probabilities.
    fn softmax_rows(logits: &mut [f32], classes: usize) => softmax_rows_body
}
#[inline(always)]
fn softmax_rows_body<const FUSED: bool>(logits: &mut [f32], classes: usize) {
    for row in logits.chunks_exact_mut(classes) {
        let greatest = largest(row);
        let factor = (1.0 / exponentials::<FUSED>(row, greatest)) as f32;
        row.iter_mut().for_each(|value| *value *= factor);
    }
}

const LANES: usize = 16;

#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |greatest, &value| greatest.max(value))
}

/// Replaces each value by `e` to the power of its difference from `greatest`, and returns their
/// sum.
#[inline(always)]
fn exponentials<const FUSED: bool>(row: &mut [f32], greatest: f32) -> f64 {
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *value = exponential::<FUSED>(*value - greatest);
            *lane += *value;
        }
    }
    let mut sum: f64 = lanes.iter().map(|&lane| f64::from(lane)).sum();
    for value in rest {
        *value = exponential::<FUSED>(*value - greatest);
        sum += f64::from(*value);
    }
    sum
}

/// `e` to the power of a number that is not positive, to about one unit in the last place: `x = n
/// ln 2 + r`, a Taylor polynomial for the small `r`, and `n` in the exponent's bits. Below -86,
/// near the end of f32's range, the result is that for -86.
#[inline(always)]
fn exponential<const FUSED: bool>(x: f32) -> f32 {
    /// ln 2 in two parts; the first has so few bits that `n` times it is exact (Cody and Waite).
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    /// Adding 1.5 x 2^23 leaves no bits for a fraction, so it rounds.
    const ROUND: f32 = 12_582_912.0;
    let x = if x > -86.0 { x } else { -86.0 };
    let n = multiply_add::<FUSED>(x, std::f32::consts::LOG2_E, ROUND) - ROUND;
    let r = multiply_add::<FUSED>(n, -LN_2.1, multiply_add::<FUSED>(n, -LN_2.0, x));
    let mut power = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        power = multiply_add::<FUSED>(power, r, coefficient);
    }
    f32::from_bits((power.to_bits() as i32 + ((n as i32) << 23)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_base::random::{Draws, Purpose};

    #[test]
    fn exponentials_are_exact_to_the_last_places() {
        for step in 0..=20_000 {
            let x = -86.0 * step as f32 / 20_000.0;
            let expected = f64::from(x).exp();
            for found in [exponential::<true>(x), exponential::<false>(x)] {
                assert!(
                    (f64::from(found) - expected).abs() < 3e-7 * expected,
                    "{x}: {found} {expected}"
                );
            }
        }
        assert!(exponential::<true>(f32::NEG_INFINITY) < 1e-37);
        assert_eq!(exponential::<true>(0.0), 1.0);
    }

    /// Shapes around the sizes of blocks and tasks.
    const SHAPES: [(usize, usize, usize); 6] =
        [(1, 1, 2), (57, 33, 3), (513, 40, 17), (1100, 5, 90), (600, 20, 700), (3, 64, 1)];

    #[test]
    fn loss_gradient_and_probabilities_are_those_of_plain_loops() {
        for (count, channels, classes) in SHAPES {
            let mut draws = Draws::new(count as u64, Purpose::Fixture, 0, 0);
            let mut normal =
                |length: usize| -> Vec<f32> { (0..length).map(|_| draws.normal()).collect() };
            let (features, weight, bias) =
                (normal(count * channels), normal(classes * channels), normal(classes));
            let labels: Vec<u32> = (0..count as u32).map(|row| row * 7 % classes as u32).collect();
            let class_weights: Vec<f32> =
                (0..classes).map(|class| 0.5 + class as f32 / classes as f32).collect();
            let rows = Rows {
                features: &features,
                channels,
                labels: &labels,
                class_weights: &class_weights,
            };
            let ranges = [0..count / 3, count / 2..count];
            let classifier = Classifier { weight: &weight, bias: &bias };
            let mut gradient = vec![f32::NAN; classes * (channels + 1)];
            let loss = loss_and_gradient(&rows, &ranges, &classifier, &mut gradient, None);
            let mut found = vec![f32::NAN; count * classes];
            probabilities(&rows, &ranges, &classifier, &mut |first, block| {
                found[first * classes..][..block.len()].copy_from_slice(block);
            });
            let (mut expected_loss, mut expected) = (0.0, vec![0.0f64; gradient.len()]);
            for row in ranges.iter().cloned().flatten() {
                let x = &features[row * channels..(row + 1) * channels];
                let logit = |class: usize| -> f64 {
                    let row = weight[class * channels..].iter().zip(x);
                    row.map(|(&weight, &value)| f64::from(weight) * f64::from(value)).sum::<f64>()
                        + f64::from(bias[class])
                };
                let logits: Vec<f64> = (0..classes).map(logit).collect();
                let greatest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = logits.iter().map(|logit| (logit - greatest).exp()).sum();
                let (label, counts) =
                    (labels[row] as usize, f64::from(class_weights[labels[row] as usize]));
                expected_loss += counts * (sum.ln() + greatest - logits[label]);
                for class in 0..classes {
                    let probability = (logits[class] - greatest).exp() / sum;
                    assert!((f64::from(found[row * classes + class]) - probability).abs() < 1e-5);
                    let slope = counts * (probability - f64::from(u8::from(class == label)));
                    for (channel, &value) in x.iter().enumerate() {
                        expected[class * channels + channel] += slope * f64::from(value);
                    }
                    expected[classes * channels + class] += slope;
                }
            }
            assert!(
                (loss - expected_loss).abs() < 1e-5 * expected_loss.max(1.0),
                "{loss} {expected_loss}"
            );
            let largest = expected.iter().fold(1.0f64, |largest, value| largest.max(value.abs()));
            for (found, expected) in gradient.iter().zip(&expected) {
                assert!(
                    (f64::from(*found) - expected).abs() < 1e-5 * largest,
                    "{found} {expected}, {count} {channels} {classes}"
                );
            }
        }
    }
}
