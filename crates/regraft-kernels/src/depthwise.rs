//! Depthwise convolution (one filter a channel) on maps of `[N, H, W, C]`: forward and both gradients, square kernels of 3 and 5.
//!
//! Weights are `[kernel row, kernel column, channel]`, so that a vector holds neighbouring channels. A task takes one row of
//! pixels; for sixteen channels at a time it keeps all the filter's taps in registers and walks along the row.

use crate::activation::Epilogue;
use crate::batch_norm::{Statistics, block_statistics};
use crate::convolution::ConvolutionShape;
use crate::isa::{for_each_isa, multiply_add};
use rayon::prelude::*;
use std::ops::Range;

/// Channels in a block: one AVX-512 vector, two of AVX2, four of SSE or NEON.
const LANES: usize = 16;

/// The sides of the square kernels that are handled here.
pub const KERNELS: [usize; 2] = [3, 5];

/// Whether [`forward`] and its gradients handle this shape; others are grouped convolutions.
#[must_use]
pub fn handles(shape: &ConvolutionShape) -> bool {
    shape.groups == shape.in_channels
        && shape.in_channels == shape.out_channels
        && shape.kernel_height == shape.kernel_width
        && KERNELS.contains(&shape.kernel_height)
}

/// One row of the walk: which map rows and columns lie under which taps. `from` is the map that is read.
struct Walk {
    /// Height, width and channels of the map that is read.
    height: usize,
    width: usize,
    channels: usize,
    stride: usize,
    padding_top: usize,
    padding_left: usize,
}

impl Walk {
    fn over_input(shape: &ConvolutionShape) -> Self {
        Self {
            height: shape.in_height,
            width: shape.in_width,
            channels: shape.in_channels,
            stride: shape.stride,
            padding_top: shape.padding_top,
            padding_left: shape.padding_left,
        }
    }

    fn taps<const KERNEL: usize>(start: usize, padding: usize, limit: usize) -> Range<usize> {
        padding.saturating_sub(start).min(KERNEL)..(limit + padding).saturating_sub(start).min(KERNEL)
    }

    /// The output columns, of so many, whose taps all lie inside the map.
    fn inner_columns<const KERNEL: usize>(&self, columns: usize) -> Range<usize> {
        let first = self.padding_left.div_ceil(self.stride);
        let end = (self.width + self.padding_left).checked_sub(KERNEL).map_or(0, |last| last / self.stride + 1);
        first..end.min(columns)
    }
}

/// `output = epilogue(convolution(input))`.
pub fn forward(shape: &ConvolutionShape, input: &[f32], weights: &[f32], output: &mut [f32], epilogue: Epilogue<'_>) {
    check(shape, input.len(), weights.len(), output.len());
    let row_length = shape.out_width * shape.out_channels;
    output.par_chunks_exact_mut(row_length).enumerate().for_each(|(index, row)| {
        forward_row(shape, input, weights, index, row);
        epilogue.apply(row, index * row_length, shape.out_channels);
    });
}

/// `output = convolution(input)`, and the statistics of each of its channels, taken while a row is in the cache.
pub fn forward_with_statistics(
    shape: &ConvolutionShape,
    input: &[f32],
    weights: &[f32],
    output: &mut [f32],
    statistics: &mut Statistics,
) {
    check(shape, input.len(), weights.len(), output.len());
    let (rows, channels) = (shape.batch * shape.out_height, shape.out_channels);
    let partial = statistics.partial(rows, channels).par_chunks_exact_mut(2 * channels);
    output.par_chunks_exact_mut(shape.out_width * channels).zip(partial).enumerate().for_each(|(index, (row, partial))| {
        forward_row(shape, input, weights, index, row);
        block_statistics(row, partial);
    });
    statistics.combine(std::iter::repeat_n(shape.out_width, rows), channels);
}

/// Row `index` of the output, counted over the whole batch.
fn forward_row(shape: &ConvolutionShape, input: &[f32], weights: &[f32], index: usize, row: &mut [f32]) {
    let walk = Walk::over_input(shape);
    let (image, out_row) = (index / shape.out_height, index % shape.out_height);
    let length = walk.height * walk.width * walk.channels;
    let image = &input[image * length..][..length];
    match shape.kernel_height {
        3 => forward_row_3(&walk, image, weights, out_row, row, false),
        _ => forward_row_5(&walk, image, weights, out_row, row, false),
    }
}

/// The gradient of the input from that of the output; where `accumulate`, it is added to what `input_gradient` held.
pub fn backward_input(
    shape: &ConvolutionShape,
    output_gradient: &[f32],
    weights: &[f32],
    input_gradient: &mut [f32],
    accumulate: bool,
) {
    check(shape, input_gradient.len(), weights.len(), output_gradient.len());
    let (channels, kernel) = (shape.in_channels, shape.kernel_height);
    let taps = kernel * kernel;
    let image_length = shape.out_height * shape.out_width * channels;
    let row_length = shape.in_width * channels;
    let flipped: Vec<f32> =
        (0..taps).rev().flat_map(|tap| weights[tap * channels..(tap + 1) * channels].iter().copied()).collect();
    let walk = Walk {
        height: shape.out_height,
        width: shape.out_width,
        channels,
        stride: 1,
        padding_top: kernel - 1 - shape.padding_top,
        padding_left: kernel - 1 - shape.padding_left,
    };
    input_gradient.par_chunks_exact_mut(row_length).enumerate().for_each(|(index, row)| {
        let (image, in_row) = (index / shape.in_height, index % shape.in_height);
        let image = &output_gradient[image * image_length..][..image_length];
        match (shape.stride, kernel) {
            (1, 3) => forward_row_3(&walk, image, &flipped, in_row, row, accumulate),
            (1, _) => forward_row_5(&walk, image, &flipped, in_row, row, accumulate),
            _ => strided_input_row(shape, image, weights, in_row, row, accumulate),
        }
    });
}

/// The gradient of the weights, in the weights' layout.
pub fn backward_weights(
    shape: &ConvolutionShape,
    input: &[f32],
    output_gradient: &[f32],
    weight_gradient: &mut [f32],
    partial: &mut Vec<f32>,
) {
    check(shape, input.len(), weight_gradient.len(), output_gradient.len());
    let length = weight_gradient.len();
    partial.resize(shape.batch * length, 0.0);
    let input_length = shape.in_height * shape.in_width * shape.in_channels;
    let output_length = shape.out_height * shape.out_width * shape.out_channels;
    let tasks = partial.par_chunks_exact_mut(length);
    tasks.zip(input.par_chunks_exact(input_length)).zip(output_gradient.par_chunks_exact(output_length)).for_each(
        |((partial, input), gradient)| match shape.kernel_height {
            3 => weights_of_image_3(shape, input, gradient, partial),
            _ => weights_of_image_5(shape, input, gradient, partial),
        },
    );
    // Pictures are added in their order, whatever thread computed them.
    weight_gradient.copy_from_slice(&partial[..length]);
    for partial in partial.chunks_exact(length).skip(1) {
        weight_gradient.iter_mut().zip(partial).for_each(|(sum, value)| *sum += value);
    }
}

fn check(shape: &ConvolutionShape, input: usize, weights: usize, output: usize) {
    assert!(handles(shape), "not a depthwise convolution of 3x3 or 5x5: {shape:?}");
    assert!(shape.padding_top < shape.kernel_height && shape.padding_left < shape.kernel_width, "{shape:?}");
    shape.check(input, weights, output);
}

for_each_isa! {
    fn forward_row_3(walk: &Walk, image: &[f32], weights: &[f32], out_row: usize, row: &mut [f32], accumulate: bool) => forward_row_body, 3
}
for_each_isa! {
    fn forward_row_5(walk: &Walk, image: &[f32], weights: &[f32], out_row: usize, row: &mut [f32], accumulate: bool) => forward_row_body, 5
}

#[inline(always)]
fn forward_row_body<const FUSED: bool, const KERNEL: usize>(
    walk: &Walk,
    image: &[f32],
    weights: &[f32],
    out_row: usize,
    row: &mut [f32],
    accumulate: bool,
) {
    let whole = walk.channels / LANES * LANES;
    for channel in (0..whole).step_by(LANES) {
        forward_block::<FUSED, KERNEL, LANES>(walk, image, weights, out_row, row, accumulate, channel);
    }
    for channel in whole..walk.channels {
        forward_block::<FUSED, KERNEL, 1>(walk, image, weights, out_row, row, accumulate, channel);
    }
}

/// Output pixels that are computed side by side: enough sums that none waits for the one before.
const COLUMNS: usize = 4;

/// `WIDTH` channels of one output row.
#[inline(always)]
fn forward_block<const FUSED: bool, const KERNEL: usize, const WIDTH: usize>(
    walk: &Walk,
    image: &[f32],
    weights: &[f32],
    out_row: usize,
    row: &mut [f32],
    accumulate: bool,
    channel: usize,
) {
    let taps: [[[f32; WIDTH]; KERNEL]; KERNEL] = read_taps(weights, walk.channels, channel);
    let top = out_row * walk.stride;
    let tap_rows = Walk::taps::<KERNEL>(top, walk.padding_top, walk.height);
    let columns = row.len() / walk.channels;
    let inner = walk.inner_columns::<KERNEL>(columns);
    let mut column = 0;
    while column < columns {
        let start = column * walk.channels + channel;
        if inner.contains(&column) && inner.contains(&(column + COLUMNS - 1)) {
            let mut sums = [[0.0f32; WIDTH]; COLUMNS];
            let left = column * walk.stride - walk.padding_left;
            for tap_row in tap_rows.clone() {
                let first = ((top + tap_row - walk.padding_top) * walk.width + left) * walk.channels + channel;
                // All pixels under these taps; the check here covers every read below.
                let pixels = (COLUMNS - 1) * walk.stride + KERNEL;
                let values = &image[first..first + (pixels - 1) * walk.channels + WIDTH];
                for (tap_column, tap) in taps[tap_row].iter().enumerate() {
                    for (place, sums) in sums.iter_mut().enumerate() {
                        let at = (place * walk.stride + tap_column) * walk.channels;
                        debug_assert!(at + WIDTH <= values.len());
                        // SAFETY: place <= COLUMNS - 1 and tap_column <= KERNEL - 1, so `at` is at most
                        // (pixels - 1) * channels, and `values` has WIDTH elements from there on.
                        let values: [f32; WIDTH] = unsafe { values.as_ptr().add(at).cast::<[f32; WIDTH]>().read() };
                        for ((sum, value), tap) in sums.iter_mut().zip(values).zip(tap) {
                            *sum = multiply_add::<FUSED>(value, *tap, *sum);
                        }
                    }
                }
            }
            for (place, sums) in sums.iter().enumerate() {
                store(&mut row[start + place * walk.channels..][..WIDTH], sums, accumulate);
            }
            column += COLUMNS;
        } else {
            let mut sums = [0.0f32; WIDTH];
            let left = column * walk.stride;
            for tap_row in tap_rows.clone() {
                let map_row = (top + tap_row - walk.padding_top) * walk.width;
                for tap_column in Walk::taps::<KERNEL>(left, walk.padding_left, walk.width) {
                    let start = (map_row + left + tap_column - walk.padding_left) * walk.channels + channel;
                    let values = &image[start..start + WIDTH];
                    for ((sum, value), tap) in sums.iter_mut().zip(values).zip(&taps[tap_row][tap_column]) {
                        *sum = multiply_add::<FUSED>(*value, *tap, *sum);
                    }
                }
            }
            store(&mut row[start..start + WIDTH], &sums, accumulate);
            column += 1;
        }
    }
}

#[inline(always)]
fn store<const WIDTH: usize>(target: &mut [f32], sums: &[f32; WIDTH], accumulate: bool) {
    for (target, sum) in target.iter_mut().zip(sums) {
        *target = if accumulate { *target + sum } else { *sum };
    }
}

/// The filters of `WIDTH` channels, to be held in registers.
#[inline(always)]
fn read_taps<const KERNEL: usize, const WIDTH: usize>(
    weights: &[f32],
    channels: usize,
    channel: usize,
) -> [[[f32; WIDTH]; KERNEL]; KERNEL] {
    let mut taps = [[[0.0f32; WIDTH]; KERNEL]; KERNEL];
    for (tap, values) in taps.as_flattened_mut().iter_mut().enumerate() {
        values.copy_from_slice(&weights[tap * channels + channel..][..WIDTH]);
    }
    taps
}

for_each_isa! {
    fn strided_input_row(shape: &ConvolutionShape, gradient: &[f32], weights: &[f32], in_row: usize, row: &mut [f32], accumulate: bool)
        => strided_input_row_body
}
/// One row of the input's gradient at a stride above one: each tap gives to every `stride`-th pixel.
#[inline(always)]
fn strided_input_row_body<const FUSED: bool>(
    shape: &ConvolutionShape,
    gradient: &[f32],
    weights: &[f32],
    in_row: usize,
    row: &mut [f32],
    accumulate: bool,
) {
    let channels = shape.in_channels;
    if !accumulate {
        row.fill(0.0);
    }
    // The output pixel that reads place `at` through tap `tap`.
    let reader = |at: usize, padding: usize, tap: usize, limit: usize| {
        let distance = (at + padding).checked_sub(tap)?;
        let place = distance / shape.stride;
        (distance.is_multiple_of(shape.stride) && place < limit).then_some(place)
    };
    for tap_row in 0..shape.kernel_height {
        let Some(out_row) = reader(in_row, shape.padding_top, tap_row, shape.out_height) else { continue };
        for (column, target) in row.chunks_exact_mut(channels).enumerate() {
            for tap_column in 0..shape.kernel_width {
                let Some(out_column) = reader(column, shape.padding_left, tap_column, shape.out_width) else { continue };
                let values = &gradient[(out_row * shape.out_width + out_column) * channels..][..channels];
                let taps = &weights[(tap_row * shape.kernel_width + tap_column) * channels..][..channels];
                for ((target, value), tap) in target.iter_mut().zip(values).zip(taps) {
                    *target = multiply_add::<FUSED>(*value, *tap, *target);
                }
            }
        }
    }
}

for_each_isa! {
    fn weights_of_image_3(shape: &ConvolutionShape, input: &[f32], gradient: &[f32], sums: &mut [f32]) => weights_of_image_body, 3
}
for_each_isa! {
    fn weights_of_image_5(shape: &ConvolutionShape, input: &[f32], gradient: &[f32], sums: &mut [f32]) => weights_of_image_body, 5
}

#[inline(always)]
fn weights_of_image_body<const FUSED: bool, const KERNEL: usize>(
    shape: &ConvolutionShape,
    input: &[f32],
    gradient: &[f32],
    sums: &mut [f32],
) {
    let whole = shape.in_channels / LANES * LANES;
    for channel in (0..whole).step_by(LANES) {
        weights_block::<FUSED, KERNEL, LANES>(shape, input, gradient, sums, channel);
    }
    for channel in whole..shape.in_channels {
        weights_block::<FUSED, KERNEL, 1>(shape, input, gradient, sums, channel);
    }
}

/// The taps' gradients of `WIDTH` channels of one picture.
#[inline(always)]
fn weights_block<const FUSED: bool, const KERNEL: usize, const WIDTH: usize>(
    shape: &ConvolutionShape,
    input: &[f32],
    gradient: &[f32],
    sums: &mut [f32],
    channel: usize,
) {
    let channels = shape.in_channels;
    let mut taps = [[[0.0f32; WIDTH]; KERNEL]; KERNEL];
    let walk = Walk::over_input(shape);
    let inner = walk.inner_columns::<KERNEL>(shape.out_width);
    for out_row in 0..shape.out_height {
        let top = out_row * shape.stride;
        let tap_rows = Walk::taps::<KERNEL>(top, shape.padding_top, shape.in_height);
        for out_column in 0..shape.out_width {
            let left = out_column * shape.stride;
            let start = (out_row * shape.out_width + out_column) * channels + channel;
            let mut gradients = [0.0f32; WIDTH];
            gradients.copy_from_slice(&gradient[start..start + WIDTH]);
            if tap_rows.len() == KERNEL && inner.contains(&out_column) {
                let first = ((top - shape.padding_top) * shape.in_width + left - shape.padding_left) * channels + channel;
                let row_stride = shape.in_width * channels;
                // The check here covers every read below.
                let values = &input[first..first + (KERNEL - 1) * (row_stride + channels) + WIDTH];
                for (tap_row, taps) in taps.iter_mut().enumerate() {
                    for (tap_column, sums) in taps.iter_mut().enumerate() {
                        let at = tap_row * row_stride + tap_column * channels;
                        debug_assert!(at + WIDTH <= values.len());
                        // SAFETY: both taps are at most KERNEL - 1, so `values` has WIDTH elements from `at` on.
                        let values: [f32; WIDTH] = unsafe { values.as_ptr().add(at).cast::<[f32; WIDTH]>().read() };
                        for ((sum, value), gradient) in sums.iter_mut().zip(values).zip(gradients) {
                            *sum = multiply_add::<FUSED>(value, gradient, *sum);
                        }
                    }
                }
                continue;
            }
            for tap_row in tap_rows.clone() {
                let row = top + tap_row - shape.padding_top;
                for tap_column in Walk::taps::<KERNEL>(left, shape.padding_left, shape.in_width) {
                    let start = (row * shape.in_width + left + tap_column - shape.padding_left) * channels + channel;
                    let values = &input[start..start + WIDTH];
                    for ((sum, value), gradient) in taps[tap_row][tap_column].iter_mut().zip(values).zip(&gradients) {
                        *sum = multiply_add::<FUSED>(*value, *gradient, *sum);
                    }
                }
            }
        }
    }
    for (tap, values) in taps.as_flattened().iter().enumerate() {
        sums[tap * channels + channel..][..WIDTH].copy_from_slice(values);
    }
}
