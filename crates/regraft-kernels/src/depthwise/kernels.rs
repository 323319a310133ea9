//! The inner loops of depthwise convolution, compiled for each instruction set.

use super::frame::{Band, Frame, LANES, Walk};
use crate::isa::{for_each_isa, multiply_add};
use crate::shape::ConvolutionShape;

for_each_isa! {
    pub fn forward_band_3(
        walk: &Walk, frame: Frame, band: Band<'_>, weights: &[f32], framed: &mut [f32],
            sums: &mut [f32], accumulate: bool
    )
        => forward_band_body, 3
}
for_each_isa! {
    pub fn forward_band_5(
        walk: &Walk, frame: Frame, band: Band<'_>, weights: &[f32], framed: &mut [f32],
            sums: &mut [f32], accumulate: bool
    )
        => forward_band_body, 5
}
for_each_isa! {
    pub fn forward_band_7(
        walk: &Walk, frame: Frame, band: Band<'_>, weights: &[f32], framed: &mut [f32],
            sums: &mut [f32], accumulate: bool
    )
        => forward_band_body, 7
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
        forward_block::<FUSED, KERNEL, LANES>(
            walk, frame, framed, weights, sums, accumulate, channel,
        );
    }
    for channel in whole..walk.channels {
        frame_block::<1>(walk, frame, band, framed, channel);
        forward_block::<FUSED, KERNEL, 1>(walk, frame, framed, weights, sums, accumulate, channel);
    }
}

/// Copies `WIDTH` channels of a band into a frame of zeros, `[row, column, WIDTH]`. Pixels are
/// adjacent there, while in the feature map they are far apart and share few sets of the cache, and
/// no tap needs to check whether it lies inside.
#[inline(always)]
fn frame_block<const WIDTH: usize>(
    walk: &Walk,
    frame: Frame,
    band: Band<'_>,
    framed: &mut [f32],
    channel: usize,
) {
    let channels = walk.channels;
    let left = walk.padding_left.min(frame.columns);
    let width = walk.width.min(frame.columns - left);
    for (row, target) in framed.chunks_exact_mut(frame.columns * WIDTH).take(frame.rows).enumerate()
    {
        let inside = (frame.first_row * walk.stride + row)
            .checked_sub(walk.padding_top)
            .filter(|&row| row < walk.height);
        let Some(row) = inside else {
            target.fill(0.0);
            continue;
        };
        let (before, rest) = target.split_at_mut(left * WIDTH);
        let (within, behind) = rest.split_at_mut(width * WIDTH);
        before.fill(0.0);
        behind.fill(0.0);
        let source =
            &band.values[(row - band.first_row) * walk.width * channels..][..walk.width * channels];
        for (target, pixel) in within.chunks_exact_mut(WIDTH).zip(source.chunks_exact(channels)) {
            target.copy_from_slice(&pixel[channel..channel + WIDTH]);
        }
    }
}

/// `WIDTH` channels of a band's output rows, whose input is `framed`: four pixels side by side, so
/// that no sum waits for the previous one, and then the rest of the row.
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
            let values =
                &framed[out_row * walk.stride * row_length + column * walk.stride * WIDTH..];
            let target = &mut row[column * walk.channels + channel..];
            column += match frame.out_columns - column {
                4.. => pixels::<FUSED, KERNEL, WIDTH, 4>(
                    walk, &taps, values, row_length, target, accumulate,
                ),
                2.. => pixels::<FUSED, KERNEL, WIDTH, 2>(
                    walk, &taps, values, row_length, target, accumulate,
                ),
                _ => pixels::<FUSED, KERNEL, WIDTH, 1>(
                    walk, &taps, values, row_length, target, accumulate,
                ),
            };
        }
    }
}

/// `WIDTH` channels of `COUNT` output pixels side by side; `values` begins with the input of the
/// first pixel's taps. Returns `COUNT`.
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
    // This check covers every read below.
    let values = &values[..(KERNEL - 1) * row_length + columns * WIDTH];
    for (tap_row, taps) in taps.iter().enumerate() {
        for (tap_column, tap) in taps.iter().enumerate() {
            for (place, sums) in sums.iter_mut().enumerate() {
                let at = tap_row * row_length + (place * walk.stride + tap_column) * WIDTH;
                debug_assert!(at + WIDTH <= values.len());
                // SAFETY: tap_row and tap_column are at most KERNEL - 1 and place at most COUNT -
                // 1, so `at` is at most (KERNEL - 1) * row_length + (columns - 1) * WIDTH, and
                // `values` has WIDTH elements from there on.
                let values: [f32; WIDTH] =
                    unsafe { values.as_ptr().add(at).cast::<[f32; WIDTH]>().read() };
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
    pub fn strided_input_row(
        shape: &ConvolutionShape, gradient: Band<'_>, weights: &[f32], in_row: usize,
            row: &mut [f32], accumulate: bool
    )
        => strided_input_row_body
}
/// One row of the input's gradient at a stride above one: each tap contributes to every `stride`-th
/// pixel.
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
    // The output pixel that reads position `at` through tap `tap`.
    let reader = |at: usize, padding: usize, tap: usize, limit: usize| {
        let distance = (at + padding).checked_sub(tap)?;
        let place = distance / shape.stride;
        (distance.is_multiple_of(shape.stride) && place < limit).then_some(place)
    };
    for tap_row in 0..shape.kernel_height {
        let Some(out_row) = reader(in_row, shape.padding_top, tap_row, shape.out_height) else {
            continue;
        };
        for (column, target) in row.chunks_exact_mut(channels).enumerate() {
            for tap_column in 0..shape.kernel_width {
                let Some(out_column) =
                    reader(column, shape.padding_left, tap_column, shape.out_width)
                else {
                    continue;
                };
                let place = (out_row - gradient.first_row) * shape.out_width + out_column;
                let values = &gradient.values[place * channels..][..channels];
                let taps =
                    &weights[(tap_row * shape.kernel_width + tap_column) * channels..][..channels];
                for ((target, value), tap) in target.iter_mut().zip(values).zip(taps) {
                    *target = multiply_add::<FUSED>(*value, *tap, *target);
                }
            }
        }
    }
}

for_each_isa! {
    pub fn weights_of_band_3(
        walk: &Walk, frame: Frame, band: Band<'_>, gradient: &[f32], framed: &mut [f32],
            sums: &mut [f32]
    )
        => weights_of_band_body, 3
}
for_each_isa! {
    pub fn weights_of_band_5(
        walk: &Walk, frame: Frame, band: Band<'_>, gradient: &[f32], framed: &mut [f32],
            sums: &mut [f32]
    )
        => weights_of_band_body, 5
}
for_each_isa! {
    pub fn weights_of_band_7(
        walk: &Walk, frame: Frame, band: Band<'_>, gradient: &[f32], framed: &mut [f32],
            sums: &mut [f32]
    )
        => weights_of_band_body, 7
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

/// Adds the contribution of a band of output rows, whose input is `framed`, to the taps' gradients
/// of `WIDTH` channels.
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
            // This check covers every read below.
            let values = &framed[first..first + (KERNEL - 1) * row_length + KERNEL * WIDTH];
            for (tap_row, taps) in taps.iter_mut().enumerate() {
                for (tap_column, sums) in taps.iter_mut().enumerate() {
                    let at = tap_row * row_length + tap_column * WIDTH;
                    debug_assert!(at + WIDTH <= values.len());
                    // SAFETY: both taps are at most KERNEL - 1, so `values` has WIDTH elements from
                    // `at` on.
                    let values: [f32; WIDTH] =
                        unsafe { values.as_ptr().add(at).cast::<[f32; WIDTH]>().read() };
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
