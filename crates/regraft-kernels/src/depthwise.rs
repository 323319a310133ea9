//! Depthwise convolution (one filter a channel) on maps of `[N, H, W, C]`: forward and both gradients, square kernels of 3 and 5.
//!
//! Weights are `[kernel row, kernel column, channel]`, so that a vector holds neighbouring channels. A task takes a band of rows, whose
//! input it normalises, and widens to f32, once where that is to be done; sixteen channels at a time it copies what the taps read into a frame with
//! the padding around it, keeps all the filter's taps in registers and walks along a row.

use crate::activation::Epilogue;
use crate::batch_norm::{Statistics, block_statistics, even_blocks};
use crate::convolution::ConvolutionShape;
use crate::element::Element;
use crate::input::Input;
use crate::isa::{for_each_isa, multiply_add};
use crate::scratch::with_scratch;
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

    /// Picture `image` of the maps that are read.
    fn picture<'a, E>(&self, maps: Input<'a, E>, image: usize) -> Input<'a, E> {
        let length = self.height * self.width * self.channels;
        Input { values: &maps.values[image * length..(image + 1) * length], ..maps }
    }

    /// Lends the rows of the picture that the output rows `rows` read.
    fn with_band<E: Element>(&self, picture: Input<'_, E>, kernel: usize, rows: &Range<usize>, work: impl FnOnce(Band<'_>)) {
        let row_length = self.width * self.channels;
        let end = ((rows.end - 1) * self.stride + kernel).saturating_sub(self.padding_top).min(self.height);
        let first_row = (rows.start * self.stride).saturating_sub(self.padding_top).min(end);
        let values = &picture.values[first_row * row_length..end * row_length];
        match picture.normalization {
            None => E::with_values(values, |values| work(Band { values, first_row })),
            Some(normalization) => with_scratch(values.len(), |band: &mut [f32]| {
                normalization.apply(0..self.channels, values, self.channels, band);
                work(Band { values: band, first_row });
            }),
        }
    }

    /// The output rows `rows` of the picture.
    fn rows<E: Element>(
        &self,
        picture: Input<'_, E>,
        weights: &[f32],
        kernel: usize,
        rows: Range<usize>,
        sums: &mut [f32],
        accumulate: bool,
    ) {
        let columns = sums.len() / (rows.len() * self.channels);
        let frame = Frame::of(self, kernel, &rows, columns);
        with_scratch(frame.length(), |framed: &mut [f32]| {
            self.with_band(picture, kernel, &rows, |band| match kernel {
                3 => forward_band_3(self, frame, band, weights, framed, sums, accumulate),
                _ => forward_band_5(self, frame, band, weights, framed, sums, accumulate),
            });
        });
    }
}

/// What the taps of some output pixels read, with the padding around the map.
#[derive(Clone, Copy)]
struct Frame {
    /// The first output row, and how many rows and columns of the output there are.
    first_row: usize,
    out_rows: usize,
    out_columns: usize,
    rows: usize,
    columns: usize,
}

impl Frame {
    fn of(walk: &Walk, kernel: usize, out_rows: &Range<usize>, out_columns: usize) -> Self {
        let under = |places: usize| (places - 1) * walk.stride + kernel;
        let (first_row, out_rows) = (out_rows.start, out_rows.len());
        Self { first_row, out_rows, out_columns, rows: under(out_rows), columns: under(out_columns) }
    }

    /// Elements of a block of channels.
    fn length(&self) -> usize {
        self.rows * self.columns * LANES
    }
}

/// Some rows of a picture.
#[derive(Clone, Copy)]
struct Band<'a> {
    values: &'a [f32],
    /// The picture's row that comes first.
    first_row: usize,
}

/// Elements of a band's rows: half a mebibyte with their borders, so that they stay in the second-level cache.
const BAND_ELEMENTS: usize = 1 << 16;

/// Rows of the output in a band. With few pictures there are bands enough for several threads.
fn rows_per_band(batch: usize, rows: usize, elements_per_row: usize) -> usize {
    let bands = 8usize.div_ceil(batch);
    (BAND_ELEMENTS / elements_per_row.max(1)).clamp(1, rows.div_ceil(bands).max(1))
}

/// The bands of rows of a map: for each, its picture, its rows and their elements.
fn bands<E: Element>(
    map: &mut [E],
    rows_per_image: usize,
    row_length: usize,
    rows_per_band: usize,
) -> impl IndexedParallelIterator<Item = (usize, Range<usize>, &mut [E])> {
    let mut bands = Vec::new();
    for (image, mut rest) in map.chunks_exact_mut(rows_per_image * row_length).enumerate() {
        for start in (0..rows_per_image).step_by(rows_per_band) {
            let end = rows_per_image.min(start + rows_per_band);
            let (band, behind) = rest.split_at_mut((end - start) * row_length);
            bands.push((image, start..end, band));
            rest = behind;
        }
    }
    bands.into_par_iter()
}

/// `output = epilogue(convolution(input))`.
pub fn forward<'a, E: Element>(
    shape: &ConvolutionShape,
    input: impl Into<Input<'a, E>>,
    weights: &[f32],
    output: &mut [E],
    epilogue: Epilogue<'_, E>,
) {
    let input = input.into();
    check(shape, input.values.len(), weights.len(), output.len());
    let (walk, row_length) = (Walk::over_input(shape), shape.out_width * shape.out_channels);
    let per_band = rows_per_band(shape.batch, shape.out_height, walk.width * walk.channels * walk.stride);
    bands(output, shape.out_height, row_length, per_band).for_each(|(image, rows, output)| {
        let offset = (image * shape.out_height + rows.start) * row_length;
        E::with_sums(output, false, |sums| {
            walk.rows(walk.picture(input, image), weights, shape.kernel_height, rows, sums, false);
            epilogue.apply(sums, offset, shape.out_channels);
        });
    });
}

/// `output = convolution(input)`, and the statistics of each of its channels, taken while a band is in the cache.
pub fn forward_with_statistics<'a, E: Element>(
    shape: &ConvolutionShape,
    input: impl Into<Input<'a, E>>,
    weights: &[f32],
    output: &mut [E],
    statistics: &mut Statistics,
) {
    let input = input.into();
    check(shape, input.values.len(), weights.len(), output.len());
    let (walk, channels) = (Walk::over_input(shape), shape.out_channels);
    let row_length = shape.out_width * channels;
    let per_band = rows_per_band(shape.batch, shape.out_height, walk.width * walk.channels * walk.stride);
    let count = shape.batch * shape.out_height.div_ceil(per_band);
    let partial = statistics.partial(count, channels).par_chunks_exact_mut(2 * channels);
    bands(output, shape.out_height, row_length, per_band).zip(partial).for_each(|((image, rows, output), partial)| {
        E::with_sums(output, false, |sums| {
            walk.rows(walk.picture(input, image), weights, shape.kernel_height, rows, sums, false);
            block_statistics(sums, partial);
        });
    });
    let rows = (0..shape.batch).flat_map(|_| even_blocks(shape.out_height, per_band));
    statistics.combine(rows.map(|rows| rows * shape.out_width), channels);
}

/// The gradient of the input from that of the output; where `accumulate`, it is added to what `input_gradient` held.
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
    let per_band = rows_per_band(shape.batch, shape.in_height, row_length);
    bands(input_gradient, shape.in_height, row_length, per_band).for_each(|(image, rows, target)| {
        let gradient = walk.picture(output_gradient.into(), image);
        E::with_sums(target, accumulate, |sums| {
            if shape.stride == 1 {
                return walk.rows(gradient, &flipped, kernel, rows, sums, accumulate);
            }
            // The output rows that read any of these.
            let first = (rows.start + shape.padding_top).saturating_sub(kernel - 1) / shape.stride;
            let end = ((rows.end - 1 + shape.padding_top) / shape.stride + 1).min(shape.out_height).max(first);
            let length = shape.out_width * channels;
            E::with_values(&gradient.values[first.min(end) * length..end * length], |values| {
                let band = Band { values, first_row: first };
                for (row, sums) in rows.zip(sums.chunks_exact_mut(row_length)) {
                    strided_input_row(shape, band, weights, row, sums, accumulate);
                }
            });
        });
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
    let per_band = rows_per_band(shape.batch, shape.out_height, walk.width * walk.channels * walk.stride + row_length);
    let gradients = output_gradient.par_chunks_exact(shape.out_height * row_length);
    partial.par_chunks_exact_mut(length).zip(gradients).enumerate().for_each(|(image, (sums, gradient))| {
        sums.fill(0.0);
        let input = walk.picture(input, image);
        for start in (0..shape.out_height).step_by(per_band) {
            let rows = start..shape.out_height.min(start + per_band);
            let gradient = &gradient[rows.start * row_length..rows.end * row_length];
            let frame = Frame::of(&walk, shape.kernel_height, &rows, shape.out_width);
            with_scratch(frame.length(), |framed: &mut [f32]| {
                walk.with_band(input, shape.kernel_height, &rows, |band| {
                    E::with_values(gradient, |gradient| match shape.kernel_height {
                        3 => weights_of_band_3(&walk, frame, band, gradient, framed, sums),
                        _ => weights_of_band_5(&walk, frame, band, gradient, framed, sums),
                    });
                });
            });
        }
    });
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
    fn forward_band_3(
        walk: &Walk, frame: Frame, band: Band<'_>, weights: &[f32], framed: &mut [f32], sums: &mut [f32], accumulate: bool
    )
        => forward_band_body, 3
}
for_each_isa! {
    fn forward_band_5(
        walk: &Walk, frame: Frame, band: Band<'_>, weights: &[f32], framed: &mut [f32], sums: &mut [f32], accumulate: bool
    )
        => forward_band_body, 5
}

#[inline(always)]
fn forward_band_body<const FUSED: bool, const KERNEL: usize>(
    walk: &Walk,
    frame: Frame,
    band: Band<'_>,
    weights: &[f32],
    framed: &mut [f32],
    sums: &mut [f32],
    accumulate: bool,
) {
    let whole = walk.channels / LANES * LANES;
    for channel in (0..whole).step_by(LANES) {
        frame_block::<LANES>(walk, frame, band, framed, channel);
        forward_block::<FUSED, KERNEL, LANES>(walk, frame, framed, weights, sums, accumulate, channel);
    }
    for channel in whole..walk.channels {
        frame_block::<1>(walk, frame, band, framed, channel);
        forward_block::<FUSED, KERNEL, 1>(walk, frame, framed, weights, sums, accumulate, channel);
    }
}

/// Copies `WIDTH` channels of a band's map into a frame of zeros, `[row, column, WIDTH]`: its pixels lie side by side, where in the map they are far apart and
/// fall into few sets of the cache, and no tap needs to ask whether it lies inside.
#[inline(always)]
fn frame_block<const WIDTH: usize>(walk: &Walk, frame: Frame, band: Band<'_>, framed: &mut [f32], channel: usize) {
    let channels = walk.channels;
    let left = walk.padding_left.min(frame.columns);
    let width = walk.width.min(frame.columns - left);
    for (row, target) in framed.chunks_exact_mut(frame.columns * WIDTH).take(frame.rows).enumerate() {
        let inside = (frame.first_row * walk.stride + row).checked_sub(walk.padding_top).filter(|&row| row < walk.height);
        let Some(row) = inside else {
            target.fill(0.0);
            continue;
        };
        let (before, rest) = target.split_at_mut(left * WIDTH);
        let (within, behind) = rest.split_at_mut(width * WIDTH);
        before.fill(0.0);
        behind.fill(0.0);
        let source = &band.values[(row - band.first_row) * walk.width * channels..][..walk.width * channels];
        for (target, pixel) in within.chunks_exact_mut(WIDTH).zip(source.chunks_exact(channels)) {
            target.copy_from_slice(&pixel[channel..channel + WIDTH]);
        }
    }
}

/// `WIDTH` channels of a band's output rows, whose input is `framed`: four pixels side by side, so that there are enough sums that none waits for the one
/// before, and then what is left of a row.
#[inline(always)]
fn forward_block<const FUSED: bool, const KERNEL: usize, const WIDTH: usize>(
    walk: &Walk,
    frame: Frame,
    framed: &[f32],
    weights: &[f32],
    sums: &mut [f32],
    accumulate: bool,
    channel: usize,
) {
    let taps: [[[f32; WIDTH]; KERNEL]; KERNEL] = read_taps(weights, walk.channels, channel);
    let row_length = frame.columns * WIDTH;
    for (out_row, row) in sums.chunks_exact_mut(frame.out_columns * walk.channels).enumerate() {
        let mut column = 0;
        while column < frame.out_columns {
            let values = &framed[out_row * walk.stride * row_length + column * walk.stride * WIDTH..];
            let target = &mut row[column * walk.channels + channel..];
            column += match frame.out_columns - column {
                4.. => pixels::<FUSED, KERNEL, WIDTH, 4>(walk, &taps, values, row_length, target, accumulate),
                2.. => pixels::<FUSED, KERNEL, WIDTH, 2>(walk, &taps, values, row_length, target, accumulate),
                _ => pixels::<FUSED, KERNEL, WIDTH, 1>(walk, &taps, values, row_length, target, accumulate),
            };
        }
    }
}

/// `WIDTH` channels of `COUNT` output pixels side by side; `values` begins with what the first one's taps read. Returns `COUNT`.
#[inline(always)]
fn pixels<const FUSED: bool, const KERNEL: usize, const WIDTH: usize, const COUNT: usize>(
    walk: &Walk,
    taps: &[[[f32; WIDTH]; KERNEL]; KERNEL],
    values: &[f32],
    row_length: usize,
    target: &mut [f32],
    accumulate: bool,
) -> usize {
    let mut sums = [[0.0f32; WIDTH]; COUNT];
    let columns = (COUNT - 1) * walk.stride + KERNEL;
    // The check here covers every read below.
    let values = &values[..(KERNEL - 1) * row_length + columns * WIDTH];
    for (tap_row, taps) in taps.iter().enumerate() {
        for (tap_column, tap) in taps.iter().enumerate() {
            for (place, sums) in sums.iter_mut().enumerate() {
                let at = tap_row * row_length + (place * walk.stride + tap_column) * WIDTH;
                debug_assert!(at + WIDTH <= values.len());
                // SAFETY: tap_row and tap_column are at most KERNEL - 1 and place at most COUNT - 1, so `at` is at most
                // (KERNEL - 1) * row_length + (columns - 1) * WIDTH, and `values` has WIDTH elements from there on.
                let values: [f32; WIDTH] = unsafe { values.as_ptr().add(at).cast::<[f32; WIDTH]>().read() };
                for ((sum, value), tap) in sums.iter_mut().zip(values).zip(tap) {
                    *sum = multiply_add::<FUSED>(value, *tap, *sum);
                }
            }
        }
    }
    for (place, sums) in sums.iter().enumerate() {
        store(&mut target[place * walk.channels..][..WIDTH], sums, accumulate);
    }
    COUNT
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
    fn strided_input_row(
        shape: &ConvolutionShape, gradient: Band<'_>, weights: &[f32], in_row: usize, row: &mut [f32], accumulate: bool
    )
        => strided_input_row_body
}
/// One row of the input's gradient at a stride above one: each tap gives to every `stride`-th pixel.
#[inline(always)]
fn strided_input_row_body<const FUSED: bool>(
    shape: &ConvolutionShape,
    gradient: Band<'_>,
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
                let place = (out_row - gradient.first_row) * shape.out_width + out_column;
                let values = &gradient.values[place * channels..][..channels];
                let taps = &weights[(tap_row * shape.kernel_width + tap_column) * channels..][..channels];
                for ((target, value), tap) in target.iter_mut().zip(values).zip(taps) {
                    *target = multiply_add::<FUSED>(*value, *tap, *target);
                }
            }
        }
    }
}

for_each_isa! {
    fn weights_of_band_3(
        walk: &Walk, frame: Frame, band: Band<'_>, gradient: &[f32], framed: &mut [f32], sums: &mut [f32]
    )
        => weights_of_band_body, 3
}
for_each_isa! {
    fn weights_of_band_5(
        walk: &Walk, frame: Frame, band: Band<'_>, gradient: &[f32], framed: &mut [f32], sums: &mut [f32]
    )
        => weights_of_band_body, 5
}

#[inline(always)]
fn weights_of_band_body<const FUSED: bool, const KERNEL: usize>(
    walk: &Walk,
    frame: Frame,
    band: Band<'_>,
    gradient: &[f32],
    framed: &mut [f32],
    sums: &mut [f32],
) {
    let whole = walk.channels / LANES * LANES;
    for channel in (0..whole).step_by(LANES) {
        frame_block::<LANES>(walk, frame, band, framed, channel);
        weights_block::<FUSED, KERNEL, LANES>(walk, frame, framed, gradient, sums, channel);
    }
    for channel in whole..walk.channels {
        frame_block::<1>(walk, frame, band, framed, channel);
        weights_block::<FUSED, KERNEL, 1>(walk, frame, framed, gradient, sums, channel);
    }
}

/// Adds what a band of output rows gives to the taps' gradients of `WIDTH` channels, whose input is `framed`.
#[inline(always)]
fn weights_block<const FUSED: bool, const KERNEL: usize, const WIDTH: usize>(
    walk: &Walk,
    frame: Frame,
    framed: &[f32],
    gradient: &[f32],
    sums: &mut [f32],
    channel: usize,
) {
    let channels = walk.channels;
    let mut taps: [[[f32; WIDTH]; KERNEL]; KERNEL] = read_taps(sums, channels, channel);
    let row_length = frame.columns * WIDTH;
    for out_row in 0..frame.out_rows {
        for out_column in 0..frame.out_columns {
            let start = (out_row * frame.out_columns + out_column) * channels + channel;
            let mut gradients = [0.0f32; WIDTH];
            gradients.copy_from_slice(&gradient[start..start + WIDTH]);
            let first = (out_row * row_length + out_column * WIDTH) * walk.stride;
            // The check here covers every read below.
            let values = &framed[first..first + (KERNEL - 1) * row_length + KERNEL * WIDTH];
            for (tap_row, taps) in taps.iter_mut().enumerate() {
                for (tap_column, sums) in taps.iter_mut().enumerate() {
                    let at = tap_row * row_length + tap_column * WIDTH;
                    debug_assert!(at + WIDTH <= values.len());
                    // SAFETY: both taps are at most KERNEL - 1, so `values` has WIDTH elements from `at` on.
                    let values: [f32; WIDTH] = unsafe { values.as_ptr().add(at).cast::<[f32; WIDTH]>().read() };
                    for ((sum, value), gradient) in sums.iter_mut().zip(values).zip(gradients) {
                        *sum = multiply_add::<FUSED>(value, gradient, *sum);
                    }
                }
            }
        }
    }
    for (tap, values) in taps.as_flattened().iter().enumerate() {
        sums[tap * channels + channel..][..WIDTH].copy_from_slice(values);
    }
}
