//! Layer normalisation of feature maps `[pixels, C]` over their channels, as in PyTorch's
//! `LayerNorm` (Ba, Kiros and Hinton 2016).

use crate::element::{Element, with_sums, with_values};
use crate::isa::{for_each_isa, multiply_add};
use crate::rows::row_sum;
use rayon::prelude::*;

/// Number of values in a task, rounded up to whole pixels.
const PER_TASK: usize = 1 << 13;
fn pixels_per_block(channels: usize) -> usize {
    PER_TASK.div_ceil(channels)
}

/// `output = weight * (input - mean) / sqrt(variance + epsilon) + bias`, with mean and variance
/// over a pixel's channels. Each pixel's mean and `1 / sqrt(variance + epsilon)` are stored in
/// `saved` for [`backward`].
pub fn forward<E: Element, O: Element>(
    input: &[E],
    weight: &[f32],
    bias: &[f32],
    epsilon: f32,
    output: &mut [O],
    saved: &mut Vec<[f32; 2]>,
) {
    assert_eq!(input.len(), output.len());
    let channels = weight.len();
    let pixels = pixels_per_block(channels);
    saved.resize(input.len() / channels, [0.0; 2]);
    let tasks = output.par_chunks_mut(pixels * channels).zip(input.par_chunks(pixels * channels));
    tasks.zip(saved.par_chunks_mut(pixels)).for_each(|((output, input), saved)| {
        with_values(input, |input| {
            with_sums(output, false, |output| {
                normalize_block(input, weight, bias, epsilon, output, saved)
            });
        });
    });
}

/// The gradients of weight and bias and, unless `input_gradient` is `None`, that of the input; if
/// its flag is set, that gradient is added to the memory.
pub fn backward<E: Element, O: Element>(
    input: &[E],
    output_gradient: &[O],
    weight: &[f32],
    saved: &[[f32; 2]],
    weight_gradient: &mut [f32],
    bias_gradient: &mut [f32],
    input_gradient: Option<(&mut [E], bool)>,
    partial: &mut Vec<f32>,
) {
    assert_eq!(input.len(), output_gradient.len());
    let channels = weight.len();
    let pixels = pixels_per_block(channels);
    let block = pixels * channels;
    partial.resize(input.len().div_ceil(block) * 2 * channels, 0.0);
    let tasks = partial.par_chunks_exact_mut(2 * channels).zip(input.par_chunks(block));
    tasks.zip(output_gradient.par_chunks(block)).zip(saved.par_chunks(pixels)).for_each(
        |(((sums, input), gradient), saved)| {
            with_values(input, |input| {
                with_values(gradient, |gradient| parameter_block(input, gradient, saved, sums))
            });
        },
    );
    let mut totals = vec![0.0f64; 2 * channels];
    for sums in partial.chunks_exact(2 * channels) {
        totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += f64::from(*sum));
    }
    let parts =
        weight_gradient.iter_mut().zip(bias_gradient).zip(totals.iter().zip(&totals[channels..]));
    for ((weight, bias), (product, sum)) in parts {
        (*weight, *bias) = (*product as f32, *sum as f32);
    }
    let Some((target, accumulate)) = input_gradient else { return };
    let tasks = target.par_chunks_mut(block).zip(input.par_chunks(block));
    tasks.zip(output_gradient.par_chunks(block)).zip(saved.par_chunks(pixels)).for_each(
        |(((target, input), gradient), saved)| {
            with_values(input, |input| {
                with_values(gradient, |gradient| {
                    with_sums(target, accumulate, |target| {
                        input_block(input, gradient, weight, saved, accumulate, target)
                    });
                });
            });
        },
    );
}

for_each_isa! {
    fn normalize_block(
        input: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, output: &mut [f32],
            saved: &mut [[f32; 2]])
        => normalize_block_body
}
#[inline(always)]
fn normalize_block_body<const FUSED: bool>(
    input: &[f32],
    weight: &[f32],
    bias: &[f32],
    epsilon: f32,
    output: &mut [f32],
    saved: &mut [[f32; 2]],
) {
    let channels = weight.len();
    let share = 1.0 / channels as f32;
    for ((output, input), saved) in
        output.chunks_exact_mut(channels).zip(input.chunks_exact(channels)).zip(saved)
    {
        let mean = share * row_sum(channels, |channel| input[channel]);
        let variance = share
            * row_sum(channels, |channel| {
                let deviation = input[channel] - mean;
                deviation * deviation
            });
        let inverse = 1.0 / (variance + epsilon).sqrt();
        *saved = [mean, inverse];
        for (((output, input), weight), bias) in output.iter_mut().zip(input).zip(weight).zip(bias)
        {
            *output = multiply_add::<FUSED>((input - mean) * inverse, *weight, *bias);
        }
    }
}

for_each_isa! {
    fn parameter_block(input: &[f32], gradient: &[f32], saved: &[[f32; 2]], sums: &mut [f32])
        => parameter_block_body
}
/// The sums of gradient x normalised and of gradient.
#[inline(always)]
fn parameter_block_body<const FUSED: bool>(
    input: &[f32],
    gradient: &[f32],
    saved: &[[f32; 2]],
    sums: &mut [f32],
) {
    let channels = sums.len() / 2;
    sums.fill(0.0);
    let (products, plain) = sums.split_at_mut(channels);
    let pixels = input.chunks_exact(channels).zip(gradient.chunks_exact(channels)).zip(saved);
    for ((input, gradient), [mean, inverse]) in pixels {
        let sums = products.iter_mut().zip(plain.iter_mut());
        for (((product, sum), input), gradient) in sums.zip(input).zip(gradient) {
            *product = multiply_add::<FUSED>(*gradient, (input - mean) * inverse, *product);
            *sum += gradient;
        }
    }
}

for_each_isa! {
    fn input_block(
        input: &[f32], gradient: &[f32], weight: &[f32], saved: &[[f32; 2]], accumulate: bool,
            target: &mut [f32]
    ) => input_block_body
}
#[inline(always)]
fn input_block_body<const FUSED: bool>(
    input: &[f32],
    gradient: &[f32],
    weight: &[f32],
    saved: &[[f32; 2]],
    accumulate: bool,
    target: &mut [f32],
) {
    let channels = weight.len();
    let share = 1.0 / channels as f32;
    let pixels = target
        .chunks_exact_mut(channels)
        .zip(input.chunks_exact(channels))
        .zip(gradient.chunks_exact(channels));
    for (((target, input), gradient), &[mean, inverse]) in pixels.zip(saved) {
        let average = share * row_sum(channels, |channel| gradient[channel] * weight[channel]);
        let product = share
            * row_sum(channels, |channel| {
                gradient[channel] * weight[channel] * ((input[channel] - mean) * inverse)
            });
        for (((target, input), gradient), weight) in
            target.iter_mut().zip(input).zip(gradient).zip(weight)
        {
            let normalized = (input - mean) * inverse;
            let value = inverse * (gradient * weight - average - normalized * product);
            *target = if accumulate { *target + value } else { value };
        }
    }
}
