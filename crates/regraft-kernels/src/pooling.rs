//! Max pooling, average pooling and global average pooling of feature maps `[N, H, W, C]`.

use crate::element::{Element, with_sums};
use crate::isa::for_each_isa;
use crate::shape::ConvolutionShape;
use rayon::prelude::*;

/// Max pooling; `shape`'s channel counts are equal and its weights unused. Pixels outside the image
/// do not count.
///
/// If `places` is given, it receives for each output the position of its maximum in the image (row
/// x width + column), and the first in reading order if several are equal, as in PyTorch.
pub fn max_forward<E: Element>(
    shape: &ConvolutionShape,
    input: &[E],
    output: &mut [E],
    places: Option<&mut [u32]>,
) {
    assert_eq!(input.len(), shape.input_length());
    assert_eq!(output.len(), shape.output_length());
    let row_length = shape.out_width * shape.out_channels;
    match places {
        Some(places) => {
            assert_eq!(places.len(), output.len());
            places.fill(0);
            let tasks = output
                .par_chunks_exact_mut(row_length)
                .zip(places.par_chunks_exact_mut(row_length))
                .enumerate();
            tasks
                .for_each(|(index, (row, places))| max_row(shape, input, index, row, Some(places)));
        }
        None => {
            output
                .par_chunks_exact_mut(row_length)
                .enumerate()
                .for_each(|(index, row)| max_row(shape, input, index, row, None));
        }
    }
}

for_each_isa! {
    fn max_row<E: Element>(
        shape: &ConvolutionShape, input: &[E], index: usize, row: &mut [E],
            places: Option<&mut [u32]>)
        => max_row_body
}
#[inline(always)]
fn max_row_body<const FUSED: bool, E: Element>(
    shape: &ConvolutionShape,
    input: &[E],
    index: usize,
    row: &mut [E],
    mut places: Option<&mut [u32]>,
) {
    let channels = shape.out_channels;
    let (image, out_row) = (index / shape.out_height, index % shape.out_height);
    let input = &input[image * shape.in_height * shape.in_width * channels..];
    row.fill(E::from_f32(f32::NEG_INFINITY));
    for (column, pixel) in row.chunks_exact_mut(channels).enumerate() {
        for kernel_row in 0..shape.kernel_height {
            let in_row = (out_row * shape.stride + kernel_row).wrapping_sub(shape.padding_top);
            if in_row >= shape.in_height {
                continue;
            }
            for kernel_column in 0..shape.kernel_width {
                let in_column =
                    (column * shape.stride + kernel_column).wrapping_sub(shape.padding_left);
                if in_column >= shape.in_width {
                    continue;
                }
                let place = in_row * shape.in_width + in_column;
                let values = &input[place * channels..(place + 1) * channels];
                // Both values are always written, so that the loops have no branches. A NaN wins,
                // as in PyTorch, so that a diverged training is noticed.
                if let Some(places) = &mut places {
                    let places = &mut places[column * channels..(column + 1) * channels];
                    for ((best, value), chosen) in pixel.iter_mut().zip(values).zip(places) {
                        let wins = value.to_f32() > best.to_f32() || value.to_f32().is_nan();
                        *chosen = if wins { place as u32 } else { *chosen };
                        *best = if wins { *value } else { *best };
                    }
                } else {
                    for (best, value) in pixel.iter_mut().zip(values) {
                        let wins = value.to_f32() > best.to_f32() || value.to_f32().is_nan();
                        *best = if wins { *value } else { *best };
                    }
                }
            }
        }
    }
}

/// The gradient of max pooling's input: each output's gradient goes to the position of its maximum.
pub fn max_backward<E: Element>(
    shape: &ConvolutionShape,
    output_gradient: &[E],
    places: &[u32],
    input_gradient: &mut [E],
    accumulate: bool,
) {
    let channels = shape.in_channels;
    let input_length = shape.in_height * shape.in_width * channels;
    let output_length = shape.out_height * shape.out_width * channels;
    let tasks = input_gradient
        .par_chunks_exact_mut(input_length)
        .zip(output_gradient.par_chunks_exact(output_length));
    tasks.zip(places.par_chunks_exact(output_length)).for_each(|((target, gradient), places)| {
        with_sums(target, accumulate, |sums| {
            if !accumulate {
                sums.fill(0.0);
            }
            for (gradient, places) in
                gradient.chunks_exact(channels).zip(places.chunks_exact(channels))
            {
                for (channel, (gradient, place)) in gradient.iter().zip(places).enumerate() {
                    sums[*place as usize * channels + channel] += gradient.to_f32();
                }
            }
        });
    });
}

/// The range of a window's side that lies within the feature map.
fn inside(
    out: usize,
    stride: usize,
    padding: usize,
    kernel: usize,
    length: usize,
) -> std::ops::Range<usize> {
    let start = out * stride;
    start.saturating_sub(padding)..(start + kernel).saturating_sub(padding).min(length)
}

/// Average pooling; `shape`'s channel counts are equal and its weights unused. Pixels outside the
/// image count neither in the sum nor in the number. If a window is entirely outside, the result is
/// zero.
pub fn window_average_forward<E: Element>(shape: &ConvolutionShape, input: &[E], output: &mut [E]) {
    assert_eq!(input.len(), shape.input_length());
    assert_eq!(output.len(), shape.output_length());
    let channels = shape.out_channels;
    output.par_chunks_exact_mut(shape.out_width * channels).enumerate().for_each(|(index, row)| {
        let (image, out_row) = (index / shape.out_height, index % shape.out_height);
        let input = &input[image * shape.in_height * shape.in_width * channels..];
        let rows =
            inside(out_row, shape.stride, shape.padding_top, shape.kernel_height, shape.in_height);
        with_sums(row, false, |sums| {
            sums.fill(0.0);
            for (column, sums) in sums.chunks_exact_mut(channels).enumerate() {
                let columns = inside(
                    column,
                    shape.stride,
                    shape.padding_left,
                    shape.kernel_width,
                    shape.in_width,
                );
                for in_row in rows.clone() {
                    for in_column in columns.clone() {
                        let pixel =
                            &input[(in_row * shape.in_width + in_column) * channels..][..channels];
                        sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value.to_f32());
                    }
                }
                let scale = 1.0 / (rows.len() * columns.len()).max(1) as f32;
                sums.iter_mut().for_each(|sum| *sum *= scale);
            }
        });
    });
}

/// The gradient of [`window_average_forward`]'s input.
pub fn window_average_backward<E: Element>(
    shape: &ConvolutionShape,
    output_gradient: &[E],
    input_gradient: &mut [E],
    accumulate: bool,
) {
    assert_eq!(input_gradient.len(), shape.input_length());
    assert_eq!(output_gradient.len(), shape.output_length());
    let channels = shape.in_channels;
    let input_length = shape.in_height * shape.in_width * channels;
    let output_length = shape.out_height * shape.out_width * channels;
    let tasks = input_gradient
        .par_chunks_exact_mut(input_length)
        .zip(output_gradient.par_chunks_exact(output_length));
    tasks.for_each(|(target, gradient)| {
        with_sums(target, accumulate, |sums| {
            if !accumulate {
                sums.fill(0.0);
            }
            for (place, gradient) in gradient.chunks_exact(channels).enumerate() {
                let (out_row, out_column) = (place / shape.out_width, place % shape.out_width);
                let rows = inside(
                    out_row,
                    shape.stride,
                    shape.padding_top,
                    shape.kernel_height,
                    shape.in_height,
                );
                let columns = inside(
                    out_column,
                    shape.stride,
                    shape.padding_left,
                    shape.kernel_width,
                    shape.in_width,
                );
                let scale = 1.0 / (rows.len() * columns.len()).max(1) as f32;
                for in_row in rows {
                    for in_column in columns.clone() {
                        let target = &mut sums[(in_row * shape.in_width + in_column) * channels..]
                            [..channels];
                        target
                            .iter_mut()
                            .zip(gradient)
                            .for_each(|(sum, gradient)| *sum += scale * gradient.to_f32());
                    }
                }
            }
        });
    });
}

/// Each channel's mean over an image's pixels: `[N, H, W, C]` to `[N, C]`.
pub fn average_forward<E: Element, F: Element>(
    input: &[E],
    pixels: usize,
    channels: usize,
    output: &mut [F],
) {
    assert_eq!(input.len(), output.len() * pixels);
    let scale = 1.0 / pixels as f32;
    output.par_chunks_exact_mut(channels).zip(input.par_chunks_exact(pixels * channels)).for_each(
        |(output, input)| {
            with_sums(output, false, |sums| {
                sums.fill(0.0);
                for pixel in input.chunks_exact(channels) {
                    sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value.to_f32());
                }
                sums.iter_mut().for_each(|sum| *sum *= scale);
            });
        },
    );
}

/// The gradient of [`average_forward`]'s input.
pub fn average_backward<E: Element, F: Element>(
    output_gradient: &[F],
    pixels: usize,
    channels: usize,
    input_gradient: &mut [E],
    accumulate: bool,
) {
    let scale = 1.0 / pixels as f32;
    let tasks = input_gradient
        .par_chunks_exact_mut(pixels * channels)
        .zip(output_gradient.par_chunks_exact(channels));
    tasks.for_each(|(target, gradient)| {
        for pixel in target.chunks_exact_mut(channels) {
            for (target, gradient) in pixel.iter_mut().zip(gradient) {
                let gradient = gradient.to_f32() * scale;
                *target =
                    E::from_f32(if accumulate { target.to_f32() + gradient } else { gradient });
            }
        }
    });
}
