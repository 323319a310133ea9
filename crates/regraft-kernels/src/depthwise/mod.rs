//! Depthwise convolution (one filter for each channel) on feature maps of `[N, H, W, C]`: forward
//! and both gradients, square kernels of 3, 5 and 7.
//!
//! Weights are `[kernel row, kernel column, channel]`, so that a vector holds neighbouring
//! channels. A task takes a band of rows and, if necessary, normalises its input and widens it to
//! f32 once. For sixteen channels at a time it copies the taps' input into a frame with the padding
//! around it, keeps all taps of the filter in registers, and walks along a row. (The 49 taps of a
//! kernel of 7 do not fit into registers; they stay in the first-level cache.)

mod frame;
mod kernels;

use crate::element::{Element, with_values};
use crate::finish::Finish;
use crate::input::Input;
use crate::scratch::with_scratch;
use crate::shape::ConvolutionShape;
pub(crate) use frame::{Band, Place, Walk, bands};
use frame::{Frame, rows_per_band};
use kernels::{
    forward_band_3, forward_band_5, forward_band_7, strided_input_row, weights_of_band_3,
    weights_of_band_5, weights_of_band_7,
};
use rayon::prelude::*;
use std::ops::Range;

/// The sides of the square kernels that are supported here.
pub const KERNELS: [usize; 3] = [3, 5, 7];

/// Whether [`forward`] and its gradients support this shape; other shapes are grouped convolutions.
#[must_use]
pub fn handles(shape: &ConvolutionShape) -> bool {
    shape.groups == shape.in_channels
        && shape.in_channels == shape.out_channels
        && shape.kernel_height == shape.kernel_width
        && KERNELS.contains(&shape.kernel_height)
}

/// `output = convolution(input)`, finished as `finish` says.
pub fn forward<'a, E: Element>(
    shape: &ConvolutionShape,
    input: impl Into<Input<'a, E>>,
    weights: &[f32],
    output: &mut [E],
    finish: Finish<'_, E>,
) {
    let input = input.into();
    check(shape, input.values.len(), weights.len(), output.len());
    let (walk, row_length) = (Walk::over_input(shape), shape.out_width * shape.out_channels);
    let per_band =
        rows_per_band(shape.batch, shape.out_height, walk.width * walk.channels * walk.stride);
    let bands = bands(output, shape.out_height, row_length, per_band);
    finish.run(shape.out_channels, bands, |Place { image, rows }, sums, accumulate| {
        forward_rows(
            &walk,
            walk.picture(input, image),
            weights,
            shape.kernel_height,
            rows,
            sums,
            accumulate,
        );
    });
}

/// The gradient of the input from that of the output; if `accumulate`, it is added to
/// `input_gradient`.
pub fn backward_input<E: Element>(
    shape: &ConvolutionShape,
    output_gradient: &[E],
    weights: &[f32],
    input_gradient: &mut [E],
    accumulate: bool,
) {
    check(shape, input_gradient.len(), weights.len(), output_gradient.len());
    let (channels, kernel) = (shape.in_channels, shape.kernel_height);
    let taps = kernel * kernel;
    let row_length = shape.in_width * channels;
    let flipped: Vec<f32> = (0..taps)
        .rev()
        .flat_map(|tap| weights[tap * channels..(tap + 1) * channels].iter().copied())
        .collect();
    let walk = Walk {
        height: shape.out_height,
        width: shape.out_width,
        channels,
        stride: 1,
        padding_top: kernel - 1 - shape.padding_top,
        padding_left: kernel - 1 - shape.padding_left,
    };
    let per_band = rows_per_band(shape.batch, shape.in_height, row_length);
    let bands = bands(input_gradient, shape.in_height, row_length, per_band);
    Finish::added_where(accumulate).run(
        channels,
        bands,
        |Place { image, rows }, sums, accumulate| {
            let gradient = walk.picture(output_gradient.into(), image);
            if shape.stride == 1 {
                return forward_rows(&walk, gradient, &flipped, kernel, rows, sums, accumulate);
            }
            // The output rows that read any of these.
            let first = (rows.start + shape.padding_top).saturating_sub(kernel - 1) / shape.stride;
            let end = ((rows.end - 1 + shape.padding_top) / shape.stride + 1)
                .min(shape.out_height)
                .max(first);
            let length = shape.out_width * channels;
            with_values(&gradient.values[first.min(end) * length..end * length], |values| {
                let band = Band { values, first_row: first };
                for (row, sums) in rows.zip(sums.chunks_exact_mut(row_length)) {
                    strided_input_row(shape, band, weights, row, sums, accumulate);
                }
            });
        },
    );
}

/// The output rows `rows` of the image.
fn forward_rows<E: Element>(
    walk: &Walk,
    picture: Input<'_, E>,
    weights: &[f32],
    kernel: usize,
    rows: Range<usize>,
    sums: &mut [f32],
    accumulate: bool,
) {
    let under = walk.rows_under(kernel, &rows);
    walk.with_band(picture, under, |band| {
        convolve_rows(walk, band, weights, kernel, rows, sums, accumulate);
    });
}

/// The output rows `rows` of the image whose rows under them are `band`.
pub(crate) fn convolve_rows(
    walk: &Walk,
    band: Band<'_>,
    weights: &[f32],
    kernel: usize,
    rows: Range<usize>,
    sums: &mut [f32],
    accumulate: bool,
) {
    let columns = sums.len() / (rows.len() * walk.channels);
    let frame = Frame::of(walk, kernel, &rows, columns);
    with_scratch(frame.length(), |framed: &mut [f32]| match kernel {
        3 => forward_band_3(walk, frame, band, weights, framed, sums, accumulate),
        5 => forward_band_5(walk, frame, band, weights, framed, sums, accumulate),
        _ => forward_band_7(walk, frame, band, weights, framed, sums, accumulate),
    });
}

/// The gradient of the weights, in the weights' layout.
pub fn backward_weights<'a, E: Element>(
    shape: &ConvolutionShape,
    input: impl Into<Input<'a, E>>,
    output_gradient: &[E],
    weight_gradient: &mut [f32],
    partial: &mut Vec<f32>,
) {
    let input = input.into();
    check(shape, input.values.len(), weight_gradient.len(), output_gradient.len());
    let length = weight_gradient.len();
    partial.resize(shape.batch * length, 0.0);
    let walk = Walk::over_input(shape);
    let row_length = shape.out_width * shape.out_channels;
    let per_band = rows_per_band(
        shape.batch,
        shape.out_height,
        walk.width * walk.channels * walk.stride + row_length,
    );
    let gradients = output_gradient.par_chunks_exact(shape.out_height * row_length);
    partial.par_chunks_exact_mut(length).zip(gradients).enumerate().for_each(
        |(image, (sums, gradient))| {
            sums.fill(0.0);
            let input = walk.picture(input, image);
            for start in (0..shape.out_height).step_by(per_band) {
                let rows = start..shape.out_height.min(start + per_band);
                let gradient = &gradient[rows.start * row_length..rows.end * row_length];
                let frame = Frame::of(&walk, shape.kernel_height, &rows, shape.out_width);
                with_scratch(frame.length(), |framed: &mut [f32]| {
                    let under = walk.rows_under(shape.kernel_height, &rows);
                    walk.with_band(input, under, |band| {
                        with_values(gradient, |gradient| match shape.kernel_height {
                            3 => weights_of_band_3(&walk, frame, band, gradient, framed, sums),
                            5 => weights_of_band_5(&walk, frame, band, gradient, framed, sums),
                            _ => weights_of_band_7(&walk, frame, band, gradient, framed, sums),
                        });
                    });
                });
            }
        },
    );
    // Images are added in order, whichever thread computed them.
    weight_gradient.copy_from_slice(&partial[..length]);
    for partial in partial.chunks_exact(length).skip(1) {
        weight_gradient.iter_mut().zip(partial).for_each(|(sum, value)| *sum += value);
    }
}

fn check(shape: &ConvolutionShape, input: usize, weights: usize, output: usize) {
    check_weights(shape, weights);
    shape.check(input, weights, output);
}

/// Panics if the shape is not supported or the weights are not its.
pub(crate) fn check_weights(shape: &ConvolutionShape, weights: usize) {
    assert!(handles(shape), "not a depthwise convolution of 3x3, 5x5 or 7x7: {shape:?}");
    assert!(
        shape.padding_top < shape.kernel_height && shape.padding_left < shape.kernel_width,
        "{shape:?}"
    );
    assert_eq!(weights, shape.weight_length(), "weights of {shape:?}");
}
