//! Batch normalisation of feature maps `[pixels, C]` over their pixels, as in PyTorch's
//! `BatchNorm2d` in training.

use crate::activation::{Activation, add_slices, clamp, pass_between};
use crate::element::{Element, with_values};
use crate::input::normalize_rows;
use crate::isa::{for_each_isa, multiply_add};
use crate::memory::prefetch_ahead;
use rayon::prelude::*;

/// Number of pixels in a task of an elementwise kernel.
const PIXELS_PER_BLOCK: usize = 128;

/// The statistics of a batch, one value for each channel.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// Mean over the pixels.
    pub mean: Vec<f32>,
    /// Variance over the pixels (divided by their number).
    pub variance: Vec<f32>,
    partial: Vec<f32>,
}

impl Statistics {
    /// Memory for the [`block_statistics`] of `blocks` blocks, `[blocks, 2 x channels]`.
    pub(crate) fn partial(&mut self, blocks: usize, channels: usize) -> &mut [f32] {
        self.partial.resize(blocks * 2 * channels, 0.0);
        &mut self.partial
    }

    /// Combines the blocks' statistics, given the number of pixels of each. A block's mean and
    /// squared deviations are exact to f32 rounding; blocks are combined in f64 and in order (Chan,
    /// Golub and LeVeque 1979), so neither a large mean nor the number of threads matters.
    pub(crate) fn combine(&mut self, blocks: &[usize], channels: usize) {
        let mut sums = Sums::new(channels);
        for (&here, partial) in blocks.iter().zip(self.partial.chunks_exact(2 * channels)) {
            let (means, deviations) = partial.split_at(channels);
            sums.add(here, means, deviations.iter().map(|&deviation| f64::from(deviation)));
        }
        sums.write(self);
    }

    /// Combines the statistics of several parts of a batch, given the pixels, means and variances
    /// of each. Returns the number of pixels of all parts.
    pub fn combine_parts<'a>(
        &mut self,
        channels: usize,
        parts: impl IntoIterator<Item = (usize, &'a [f32], &'a [f32])>,
    ) -> usize {
        let mut sums = Sums::new(channels);
        for (pixels, means, variances) in parts.into_iter().filter(|(pixels, ..)| *pixels > 0) {
            let squares = variances.iter().map(|&variance| f64::from(variance) * pixels as f64);
            sums.add(pixels, means, squares);
        }
        sums.write(self);
        sums.pixels
    }

    /// Moves running statistics towards these by `momentum` (in PyTorch's sense). The running
    /// variance moves towards the unbiased variance.
    pub fn update_running(
        &self,
        pixels: usize,
        momentum: f32,
        running_mean: &mut [f32],
        running_variance: &mut [f32],
    ) {
        let unbiased = pixels as f64 / (pixels as f64 - 1.0).max(1.0);
        for (running, mean) in running_mean.iter_mut().zip(&self.mean) {
            *running += momentum * (mean - *running);
        }
        for (running, variance) in running_variance.iter_mut().zip(&self.variance) {
            *running += momentum * ((f64::from(*variance) * unbiased) as f32 - *running);
        }
    }
}

/// Means and squared deviations of several blocks of pixels, combined one by one (Chan, Golub
/// and LeVeque 1979).
struct Sums {
    mean: Vec<f64>,
    squares: Vec<f64>,
    pixels: usize,
}

impl Sums {
    fn new(channels: usize) -> Self {
        Self { mean: vec![0.0; channels], squares: vec![0.0; channels], pixels: 0 }
    }

    /// Adds a block of at least one pixel.
    fn add(&mut self, pixels: usize, means: &[f32], squares: impl Iterator<Item = f64>) {
        let before = self.pixels as f64;
        self.pixels += pixels;
        let share = pixels as f64 / (before + pixels as f64);
        let sums = self.mean.iter_mut().zip(&mut self.squares);
        for ((&block_mean, block_squares), (mean, squares)) in means.iter().zip(squares).zip(sums) {
            let difference = f64::from(block_mean) - *mean;
            *mean += difference * share;
            *squares += block_squares + difference * difference * before * share;
        }
    }

    fn write(&self, statistics: &mut Statistics) {
        let pixels = self.pixels as f64;
        statistics.mean = self.mean.iter().map(|&mean| mean as f32).collect();
        statistics.variance = self.squares.iter().map(|&square| (square / pixels) as f32).collect();
    }
}

for_each_isa! { pub(crate) fn block_statistics(map: &[f32], partial: &mut [f32])
=> block_statistics_body }
/// The mean and the sum of squared deviations of each channel.
#[inline(always)]
fn block_statistics_body<const FUSED: bool>(map: &[f32], partial: &mut [f32]) {
    let channels = partial.len() / 2;
    let (mean, squares) = partial.split_at_mut(channels);
    mean.fill(0.0);
    squares.fill(0.0);
    for pixel in map.chunks_exact(channels) {
        mean.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
    }
    let scale = channels as f32 / map.len() as f32;
    mean.iter_mut().for_each(|sum| *sum *= scale);
    for pixel in map.chunks_exact(channels) {
        for ((square, mean), value) in squares.iter_mut().zip(mean.iter()).zip(pixel) {
            let deviation = value - mean;
            *square = multiply_add::<FUSED>(deviation, deviation, *square);
        }
    }
}

/// The statistics of a feature map of whole pixels, if no convolution has computed them along with
/// it.
pub fn map_statistics<E: Element>(map: &[E], channels: usize, statistics: &mut Statistics) {
    let block = PIXELS_PER_BLOCK * channels;
    let pixels: Vec<usize> = map.chunks(block).map(|block| block.len() / channels).collect();
    let partial = statistics.partial(pixels.len(), channels).par_chunks_exact_mut(2 * channels);
    map.par_chunks(block)
        .zip(partial)
        .for_each(|(map, partial)| with_values(map, |map| block_statistics(map, partial)));
    statistics.combine(&pixels, channels);
}

/// `1 / sqrt(variance + epsilon)` of each channel.
pub fn inverse_deviation(variance: &[f32], epsilon: f32) -> Vec<f32> {
    variance
        .iter()
        .map(|&variance| (1.0 / (f64::from(variance) + f64::from(epsilon)).sqrt()) as f32)
        .collect()
}

/// `output = activation(scale * input + shift + residual)`, channel by channel.
///
/// `scale` is weight x inverse standard deviation, and `shift` is bias - mean x scale. `keep` has a
/// factor for each image, by which the normalised value is multiplied before the residual is added
/// (stochastic depth); an image has `pixels_per_image` pixels.
pub fn normalize<E: Element>(
    input: &[E],
    scale: &[f32],
    shift: &[f32],
    residual: Option<&[E]>,
    keep: Option<&[f32]>,
    activation: Activation,
    pixels_per_image: usize,
    output: &mut [E],
) {
    assert_eq!(input.len(), output.len());
    let image_length = pixels_per_image * scale.len();
    let (low, high) = activation.bounds();
    let tasks = output.par_chunks_mut(image_length).enumerate().zip(input.par_chunks(image_length));
    tasks.for_each(|((image, output), input)| {
        let keep = keep.map_or(1.0, |keep| keep[image]);
        match residual {
            Some(residual) => {
                let residual = &residual[image * image_length..][..output.len()];
                normalize_image_with(input, scale, shift, residual, keep, low, high, output);
            }
            None => normalize_rows(input, scale.len(), scale, shift, keep, low, high, output),
        }
    });
}

for_each_isa! {
    fn normalize_image_with<E: Element>(
        input: &[E], scale: &[f32], shift: &[f32], residual: &[E], keep: f32, low: f32, high: f32,
            output: &mut [E]
    ) => normalize_image_with_body
}
#[inline(always)]
fn normalize_image_with_body<const FUSED: bool, E: Element>(
    input: &[E],
    scale: &[f32],
    shift: &[f32],
    residual: &[E],
    keep: f32,
    low: f32,
    high: f32,
    output: &mut [E],
) {
    let channels = scale.len();
    let pixels = output
        .chunks_exact_mut(channels)
        .zip(input.chunks_exact(channels))
        .zip(residual.chunks_exact(channels));
    for ((output, input), residual) in pixels {
        prefetch_ahead(input);
        prefetch_ahead(residual);
        prefetch_ahead(output);
        for ((((output, input), residual), scale), shift) in
            output.iter_mut().zip(input).zip(residual).zip(scale).zip(shift)
        {
            let normalized = keep * multiply_add::<FUSED>(input.to_f32(), *scale, *shift);
            *output = E::from_f32(clamp(normalized + residual.to_f32(), low, high));
        }
    }
}

/// The source from which it is known where a layer's activation was constant, so that no gradient
/// passes.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a, E = f32> {
    /// There is no activation: the whole gradient passes.
    None,
    /// The layer's output, and its activation.
    Output(&'a [E], Activation),
    /// The batch norm's input, from which [`normalize`] without residual and branch gives the
    /// output, which therefore need not be kept.
    Input {
        /// The same as for [`normalize`].
        scale: &'a [f32],
        /// The same as for [`normalize`].
        shift: &'a [f32],
        /// The layer's activation.
        activation: Activation,
    },
}

/// The operations between the gradient of a layer's output and that of its batch norm's output.
#[derive(Debug)]
pub struct BackwardPrologue<'a, E = f32> {
    /// The backward pass of the activation.
    pub mask: Mask<'a, E>,
    /// The residual input's gradient, and whether the layer's is added to it (or replaces it).
    pub residual: Option<(&'a mut [E], bool)>,
    /// For each image, the factor of its branch (stochastic depth).
    pub keep: Option<&'a [f32]>,
}

/// Pixels of a block of the backward pass: its three feature maps together take less than half of a
/// second-level cache.
fn backward_pixels(channels: usize) -> usize {
    (32_768 / channels).clamp(8, 256)
}

/// Goes back through activation, residual and stochastic depth, in place, and computes the batch
/// norm's parameter gradients of the result, each `[C]`, while a block is in the cache.
///
/// `weight_gradient = sum gradient x normalised`, `bias_gradient = sum gradient`, over the pixels,
/// in blocks that are added in order.
pub fn backward<E: Element>(
    prologue: BackwardPrologue<'_, E>,
    input: &[E],
    gradient: &mut [E],
    mean: &[f32],
    inverse_deviation: &[f32],
    weight_gradient: &mut [f32],
    bias_gradient: &mut [f32],
    partial: &mut Vec<f32>,
) {
    let BackwardPrologue { mask, residual, keep } = prologue;
    assert_eq!(input.len(), gradient.len());
    assert!(!matches!(mask, Mask::Output(output, _) if output.len() != gradient.len()));
    assert!(
        !matches!(mask, Mask::Input { .. }) || (residual.is_none() && keep.is_none()),
        "the input alone does not tell the output"
    );
    let channels = mean.len();
    let image_length = keep.map_or(gradient.len(), |keep| gradient.len() / keep.len());
    let block = backward_pixels(channels) * channels;
    let blocks = input.len().div_ceil(block);
    partial.resize(blocks * 2 * channels, 0.0);
    let work = |index: usize,
                gradient: &mut [E],
                residual: Option<(&mut [E], bool)>,
                sums: &mut [f32]| {
        let place = index * block..index * block + gradient.len();
        match mask {
            Mask::None => {}
            Mask::Output(output, activation) => {
                let (low, high) = activation.bounds();
                pass_between(gradient, &output[place.clone()], low, high);
            }
            Mask::Input { scale, shift, activation } => {
                let (low, high) = activation.bounds();
                return block_sums_between(
                    &input[place],
                    gradient,
                    mean,
                    scale,
                    shift,
                    low,
                    high,
                    sums,
                );
            }
        }
        match residual {
            Some((residual, true)) => add_slices(residual, gradient),
            Some((residual, false)) => residual.copy_from_slice(gradient),
            None => {}
        }
        if let Some(keep) = keep {
            for (pixel, gradient) in gradient.chunks_exact_mut(channels).enumerate() {
                let keep = keep[(place.start + pixel * channels) / image_length];
                gradient.iter_mut().for_each(|value| *value = E::from_f32(value.to_f32() * keep));
            }
        }
        block_sums(&input[place], gradient, mean, sums);
    };
    let tasks =
        gradient.par_chunks_mut(block).zip(partial.par_chunks_exact_mut(2 * channels)).enumerate();
    match residual {
        Some((residual, accumulate)) => {
            assert_eq!(residual.len(), input.len());
            tasks.zip(residual.par_chunks_mut(block)).for_each(
                |((index, (gradient, sums)), residual)| {
                    work(index, gradient, Some((residual, accumulate)), sums)
                },
            );
        }
        None => tasks.for_each(|(index, (gradient, sums))| work(index, gradient, None, sums)),
    }
    add_up(partial, inverse_deviation, weight_gradient, bias_gradient);
}

/// Adds the blocks' sums in order.
fn add_up(
    partial: &[f32],
    inverse_deviation: &[f32],
    weight_gradient: &mut [f32],
    bias_gradient: &mut [f32],
) {
    let channels = inverse_deviation.len();
    let mut totals = vec![0.0f64; 2 * channels];
    for sums in partial.chunks_exact(2 * channels) {
        totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += f64::from(*sum));
    }
    for channel in 0..channels {
        weight_gradient[channel] = (totals[channel] * f64::from(inverse_deviation[channel])) as f32;
        bias_gradient[channel] = totals[channels + channel] as f32;
    }
}

for_each_isa! { fn block_sums<E: Element>(
input: &[E], gradient: &[E], mean: &[f32], sums: &mut [f32]) => block_sums_body }
/// The sums of gradient x (input - mean) and of gradient.
#[inline(always)]
fn block_sums_body<const FUSED: bool, E: Element>(
    input: &[E],
    gradient: &[E],
    mean: &[f32],
    sums: &mut [f32],
) {
    let channels = mean.len();
    sums.fill(0.0);
    let (products, plain) = sums.split_at_mut(channels);
    for (input, gradient) in input.chunks_exact(channels).zip(gradient.chunks_exact(channels)) {
        prefetch_ahead(input);
        prefetch_ahead(gradient);
        let sums = products.iter_mut().zip(plain.iter_mut());
        for ((((product, sum), input), gradient), mean) in sums.zip(input).zip(gradient).zip(mean) {
            let gradient = gradient.to_f32();
            *product = multiply_add::<FUSED>(gradient, input.to_f32() - mean, *product);
            *sum += gradient;
        }
    }
}

for_each_isa! {
    fn block_sums_between<E: Element>(
        input: &[E], gradient: &mut [E], mean: &[f32], scale: &[f32], shift: &[f32], low: f32,
            high: f32, sums: &mut [f32]
    ) => block_sums_between_body
}
/// [`block_sums`] of the gradient that passes if the normalised input, rounded like the layer's
/// output, lies between the bounds.
#[inline(always)]
fn block_sums_between_body<const FUSED: bool, E: Element>(
    input: &[E],
    gradient: &mut [E],
    mean: &[f32],
    scale: &[f32],
    shift: &[f32],
    low: f32,
    high: f32,
    sums: &mut [f32],
) {
    let channels = mean.len();
    sums.fill(0.0);
    let (products, plain) = sums.split_at_mut(channels);
    for (input, gradient) in input.chunks_exact(channels).zip(gradient.chunks_exact_mut(channels)) {
        prefetch_ahead(input);
        prefetch_ahead(gradient);
        let parameters = mean.iter().zip(scale).zip(shift);
        let sums = products.iter_mut().zip(plain.iter_mut());
        for ((((product, sum), input), gradient), ((mean, scale), shift)) in
            sums.zip(input).zip(gradient).zip(parameters)
        {
            let input = input.to_f32();
            let output = E::from_f32(multiply_add::<FUSED>(input, *scale, *shift)).to_f32();
            let passed = if output > low && output < high { gradient.to_f32() } else { 0.0 };
            *gradient = E::from_f32(passed);
            *product = multiply_add::<FUSED>(passed, input - mean, *product);
            *sum += passed;
        }
    }
}

/// Turns the gradient of the normalised output into that of the input, in place.
///
/// `scale` is weight x inverse standard deviation; the parameters' gradients are those of
/// [`backward`], over all the `pixels` that the statistics come from.
pub fn backward_input<E: Element>(
    pixels: usize,
    input: &[E],
    gradient: &mut [E],
    mean: &[f32],
    inverse_deviation: &[f32],
    scale: &[f32],
    weight_gradient: &[f32],
    bias_gradient: &[f32],
) {
    let channels = mean.len();
    let pixels = pixels as f64;
    // scale * (g - mean(g) - normalised * mean(g * normalised)) = scale * g + slope * input +
    // constant
    let mut slope = vec![0.0f32; channels];
    let mut constant = vec![0.0f32; channels];
    for channel in 0..channels {
        let scale = f64::from(scale[channel]);
        let change = -scale * f64::from(weight_gradient[channel]) / pixels
            * f64::from(inverse_deviation[channel]);
        slope[channel] = change as f32;
        constant[channel] = (-scale * f64::from(bias_gradient[channel]) / pixels) as f32;
    }
    let block = PIXELS_PER_BLOCK * channels;
    gradient.par_chunks_mut(block).zip(input.par_chunks(block)).for_each(|(gradient, input)| {
        combine(gradient, input, scale, mean, &slope, &constant);
    });
}

for_each_isa! {
    fn combine<E: Element>(
        gradient: &mut [E], input: &[E], scale: &[f32], mean: &[f32], slope: &[f32],
            constant: &[f32])
        => combine_body
}
#[inline(always)]
fn combine_body<const FUSED: bool, E: Element>(
    gradient: &mut [E],
    input: &[E],
    scale: &[f32],
    mean: &[f32],
    slope: &[f32],
    constant: &[f32],
) {
    let channels = scale.len();
    for (gradient, input) in gradient.chunks_exact_mut(channels).zip(input.chunks_exact(channels)) {
        prefetch_ahead(input);
        prefetch_ahead(gradient);
        let parameters = scale.iter().zip(mean).zip(slope).zip(constant);
        for ((gradient, input), (((scale, mean), slope), constant)) in
            gradient.iter_mut().zip(input).zip(parameters)
        {
            let rest = multiply_add::<FUSED>(input.to_f32() - mean, *slope, *constant);
            *gradient = E::from_f32(multiply_add::<FUSED>(gradient.to_f32(), *scale, rest));
        }
    }
}

/// Like [`backward_input`], for statistics that do not depend on the input: the gradient is only
/// scaled.
pub fn backward_input_of_constants<E: Element>(gradient: &mut [E], scale: &[f32]) {
    gradient
        .par_chunks_mut(PIXELS_PER_BLOCK * scale.len())
        .for_each(|gradient| scale_pixels(gradient, scale));
}

for_each_isa! { fn scale_pixels<E: Element>(gradient: &mut [E], scale: &[f32])
=> scale_pixels_body }
#[inline(always)]
fn scale_pixels_body<const FUSED: bool, E: Element>(gradient: &mut [E], scale: &[f32]) {
    for pixel in gradient.chunks_exact_mut(scale.len()) {
        for (gradient, scale) in pixel.iter_mut().zip(scale) {
            *gradient = E::from_f32(gradient.to_f32() * scale);
        }
    }
}
