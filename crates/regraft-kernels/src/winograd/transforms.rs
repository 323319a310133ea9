//! The transforms between pixels, or filters, and the sixteen frequencies of a tile.
//!
//! All of this is compiled for each instruction set by being inlined into its entry points.
//! Closures and `array::from_fn` would not be inlined and would fall back to the baseline set;
//! hence plain functions and arrays that are written out.

use super::tiling::Tiling;
use crate::element::Element;
use crate::isa::for_each_isa;
use crate::shape::ConvolutionShape;

/// Values of a tile for each channel: a 4x4 square.
pub const FREQUENCIES: usize = 16;
/// Channels that are transformed side by side.
pub const LANES: usize = 16;

/// One value for each of [`LANES`] channels.
type Lanes = [f32; LANES];

#[inline(always)]
fn plus(first: &Lanes, second: &Lanes) -> Lanes {
    let mut sum = *first;
    for (sum, second) in sum.iter_mut().zip(second) {
        *sum += second;
    }
    sum
}
#[inline(always)]
fn minus(first: &Lanes, second: &Lanes) -> Lanes {
    let mut difference = *first;
    for (difference, second) in difference.iter_mut().zip(second) {
        *difference -= second;
    }
    difference
}
#[inline(always)]
fn half(values: &Lanes) -> Lanes {
    let mut half = *values;
    for value in &mut half {
        *value *= 0.5;
    }
    half
}
#[inline(always)]
fn read<E: Element>(values: &[E], at: usize) -> Lanes {
    let mut lanes = [0.0; LANES];
    for (lane, value) in lanes.iter_mut().zip(&values[at..at + LANES]) {
        *lane = value.to_f32();
    }
    lanes
}

/// Images of which single pixels are read, with zeros outside.
#[derive(Clone, Copy)]
struct Map<'a, E> {
    /// One image, `[height, width, channels]`.
    values: &'a [E],
    height: usize,
    width: usize,
    channels: usize,
}

impl<E: Element> Map<'_, E> {
    /// Sixteen channels of a pixel. A position before the first one has wrapped around and is
    /// outside too.
    #[inline(always)]
    fn pixel(&self, row: usize, column: usize, channel: usize) -> Lanes {
        if row < self.height && column < self.width {
            read(self.values, (row * self.width + column) * self.channels + channel)
        } else {
            [0.0; LANES]
        }
    }

    /// Four neighbouring pixels of a row.
    #[inline(always)]
    fn four(&self, row: usize, column: usize, channel: usize) -> [Lanes; 4] {
        [
            self.pixel(row, column, channel),
            self.pixel(row, column.wrapping_add(1), channel),
            self.pixel(row, column.wrapping_add(2), channel),
            self.pixel(row, column.wrapping_add(3), channel),
        ]
    }
}

/// Writes four frequencies of sixteen channels.
#[inline(always)]
fn write_four<O: Element>(
    target: &mut [O],
    frequency: usize,
    stride: usize,
    at: usize,
    values: [Lanes; 4],
) {
    for (across, values) in values.iter().enumerate() {
        let start = (frequency + across) * stride + at;
        for (target, value) in target[start..start + LANES].iter_mut().zip(values) {
            *target = O::from_f32(*value);
        }
    }
}

/// Evaluates `work(first, second)` column by column.
macro_rules! columns {
    ($work:ident, $first:expr, $second:expr) => {
        [
            $work(&$first[0], &$second[0]),
            $work(&$first[1], &$second[1]),
            $work(&$first[2], &$second[2]),
            $work(&$first[3], &$second[3]),
        ]
    };
}

/// The input transform along one side: `[d0 - d2, d1 + d2, d2 - d1, d1 - d3]`.
#[inline(always)]
fn spread_input(values: &[Lanes; 4]) -> [Lanes; 4] {
    let [first, second, third, fourth] = values;
    [minus(first, third), plus(second, third), minus(third, second), minus(second, fourth)]
}

for_each_isa! {
    pub fn transform_input<E: Element, O: Element>(
        shape: &ConvolutionShape, tiling: Tiling, input: &[E], row: usize, target: &mut [O],
            frequency_stride: usize, group: usize,
        groups: usize
    ) => transform_input_body
}
/// Transforms row `row` of tiles: frequencies from `4 * group` on, four for each of `groups`, to
/// `target[frequency][tile][channel]`.
#[inline(always)]
fn transform_input_body<const FUSED: bool, E: Element, O: Element>(
    shape: &ConvolutionShape,
    tiling: Tiling,
    input: &[E],
    row: usize,
    target: &mut [O],
    frequency_stride: usize,
    group: usize,
    groups: usize,
) {
    let channels = shape.in_channels;
    let (image, tile_row) = (row / tiling.down, row % tiling.down);
    let length = shape.in_height * shape.in_width * channels;
    let map = Map {
        values: &input[image * length..][..length],
        height: shape.in_height,
        width: shape.in_width,
        channels,
    };
    let top = (2 * tile_row).wrapping_sub(shape.padding_top);
    for tile in 0..tiling.across {
        let left = (2 * tile).wrapping_sub(shape.padding_left);
        for channel in (0..channels).step_by(LANES) {
            let at = tile * channels + channel;
            if groups == 4 {
                let first = map.four(top, left, channel);
                let second = map.four(top.wrapping_add(1), left, channel);
                let third = map.four(top.wrapping_add(2), left, channel);
                let fourth = map.four(top.wrapping_add(3), left, channel);
                write_four(
                    target,
                    0,
                    frequency_stride,
                    at,
                    spread_input(&columns!(minus, first, third)),
                );
                write_four(
                    target,
                    4,
                    frequency_stride,
                    at,
                    spread_input(&columns!(plus, second, third)),
                );
                write_four(
                    target,
                    8,
                    frequency_stride,
                    at,
                    spread_input(&columns!(minus, third, second)),
                );
                write_four(
                    target,
                    12,
                    frequency_stride,
                    at,
                    spread_input(&columns!(minus, second, fourth)),
                );
            } else {
                let (first, second) = [(0, 2), (1, 2), (2, 1), (1, 3)][group];
                let first = map.four(top.wrapping_add(first), left, channel);
                let second = map.four(top.wrapping_add(second), left, channel);
                let columns = if group == 1 {
                    columns!(plus, first, second)
                } else {
                    columns!(minus, first, second)
                };
                write_four(target, 0, frequency_stride, at, spread_input(&columns));
            }
        }
    }
}

for_each_isa! {
    pub fn transform_output(
        shape: &ConvolutionShape, products: &[f32], frequency_stride: usize, pixels: &mut [f32],
            accumulate: bool)
        => transform_output_body
}
/// Transforms one row of tiles back to pixels: along each side `[m0 + m1 + m2, m1 - m2 - m3]`.
#[inline(always)]
fn transform_output_body<const FUSED: bool>(
    shape: &ConvolutionShape,
    products: &[f32],
    frequency_stride: usize,
    pixels: &mut [f32],
    accumulate: bool,
) {
    let channels = shape.out_channels;
    let high = pixels.len() / (shape.out_width * channels);
    for tile in 0..shape.out_width.div_ceil(2) {
        let wide = (shape.out_width - 2 * tile).min(2);
        for channel in (0..channels).step_by(LANES) {
            let at = tile * channels + channel;
            let first = read_four(products, 0, frequency_stride, at);
            let second = read_four(products, 4, frequency_stride, at);
            let third = read_four(products, 8, frequency_stride, at);
            let fourth = read_four(products, 12, frequency_stride, at);
            let upper = columns!(plus, columns!(plus, first, second), third);
            let lower = columns!(minus, columns!(minus, second, third), fourth);
            for (down, [first, second, third, fourth]) in
                [upper, lower].iter().enumerate().take(high)
            {
                let pair =
                    [plus(&plus(first, second), third), minus(&minus(second, third), fourth)];
                for (across, values) in pair.iter().enumerate().take(wide) {
                    let start = (down * shape.out_width + 2 * tile + across) * channels + channel;
                    let target = &mut pixels[start..start + LANES];
                    for (target, value) in target.iter_mut().zip(values) {
                        *target = if accumulate { *target + value } else { *value };
                    }
                }
            }
        }
    }
}

/// Reads four frequencies of sixteen channels.
#[inline(always)]
fn read_four(values: &[f32], frequency: usize, stride: usize, at: usize) -> [Lanes; 4] {
    [
        read(values, frequency * stride + at),
        read(values, (frequency + 1) * stride + at),
        read(values, (frequency + 2) * stride + at),
        read(values, (frequency + 3) * stride + at),
    ]
}

for_each_isa! {
    pub fn transform_gradient<E: Element, O: Element>(
        shape: &ConvolutionShape, tiling: Tiling, gradient: &[E], row: usize, target: &mut [O],
            frequency_stride: usize, group: usize
    ) => transform_gradient_body
}
/// Transforms the output's gradient of one row of tiles with the transposed output transform: along
/// each side `[g0, g0 + g1, g0 - g1, -g1]`. Of the first side, only row `group`.
#[inline(always)]
fn transform_gradient_body<const FUSED: bool, E: Element, O: Element>(
    shape: &ConvolutionShape,
    tiling: Tiling,
    gradient: &[E],
    row: usize,
    target: &mut [O],
    frequency_stride: usize,
    group: usize,
) {
    let channels = shape.out_channels;
    let (image, first_row) = (row / tiling.down, row % tiling.down * 2);
    let length = shape.out_height * shape.out_width * channels;
    let map = Map {
        values: &gradient[image * length..][..length],
        height: shape.out_height,
        width: shape.out_width,
        channels,
    };
    for tile in 0..tiling.across {
        for channel in (0..channels).step_by(LANES) {
            let left = spread_pair(
                group,
                &map.pixel(first_row, 2 * tile, channel),
                &map.pixel(first_row + 1, 2 * tile, channel),
            );
            let right = spread_pair(
                group,
                &map.pixel(first_row, 2 * tile + 1, channel),
                &map.pixel(first_row + 1, 2 * tile + 1, channel),
            );
            let row = [
                spread_pair(0, &left, &right),
                spread_pair(1, &left, &right),
                spread_pair(2, &left, &right),
                spread_pair(3, &left, &right),
            ];
            write_four(target, 0, frequency_stride, tile * channels + channel, row);
        }
    }
}

/// Value `index` of `[g0, g0 + g1, g0 - g1, -g1]`.
#[inline(always)]
fn spread_pair(index: usize, first: &Lanes, second: &Lanes) -> Lanes {
    match index {
        0 => *first,
        1 => plus(first, second),
        2 => minus(first, second),
        _ => minus(&[0.0; LANES], second),
    }
}

/// The filter transform along one side: `[w0, (w0 + w1 + w2) / 2, (w0 - w1 + w2) / 2, w2]`.
#[inline(always)]
fn spread_filter(first: &Lanes, second: &Lanes, third: &Lanes) -> [Lanes; 4] {
    let ends = plus(first, third);
    [*first, half(&plus(&ends, second)), half(&minus(&ends, second)), *third]
}

for_each_isa! { pub fn transform_filter(filter: &[f32], channels: usize, target: &mut [f32])
=> transform_filter_body }
/// Transforms one output channel's filter `[3, 3, channels]` to `target[frequency][channel]`.
#[inline(always)]
fn transform_filter_body<const FUSED: bool>(filter: &[f32], channels: usize, target: &mut [f32]) {
    for channel in (0..channels).step_by(LANES) {
        let first = read_column(filter, channels, channel);
        let second = read_column(filter, channels, channels + channel);
        let third = read_column(filter, channels, 2 * channels + channel);
        for (down, ((first, second), third)) in first.iter().zip(&second).zip(&third).enumerate() {
            write_four(target, down * 4, channels, channel, spread_filter(first, second, third));
        }
    }
}

/// The three taps of a column that begins at `at`, transformed.
#[inline(always)]
fn read_column(filter: &[f32], channels: usize, at: usize) -> [Lanes; 4] {
    spread_filter(
        &read(filter, at),
        &read(filter, 3 * channels + at),
        &read(filter, 6 * channels + at),
    )
}

for_each_isa! {
    pub fn gather_filter(
        partial: &[f32], slabs: usize, length: usize, start: usize, channels: usize,
            filter: &mut [f32])
        => gather_filter_body
}
/// One output channel's gradient: the parts' sums added in order, then the transposed filter
/// transform, along each side `[s0 + (s1 + s2) / 2, (s1 - s2) / 2, (s1 + s2) / 2 + s3]`.
#[inline(always)]
fn gather_filter_body<const FUSED: bool>(
    partial: &[f32],
    slabs: usize,
    length: usize,
    start: usize,
    channels: usize,
    filter: &mut [f32],
) {
    for channel in (0..channels).step_by(LANES) {
        let place = (slabs, length, start + channel);
        let columns = [
            gather_column(partial, place, 0),
            gather_column(partial, place, 1),
            gather_column(partial, place, 2),
            gather_column(partial, place, 3),
        ];
        for (down, (((first, second), third), fourth)) in
            columns[0].iter().zip(&columns[1]).zip(&columns[2]).zip(&columns[3]).enumerate()
        {
            for (across, values) in gather_four(first, second, third, fourth).iter().enumerate() {
                filter[(down * 3 + across) * channels + channel..][..LANES].copy_from_slice(values);
            }
        }
    }
}

/// The three values along the first side of column `across`.
#[inline(always)]
fn gather_column(partial: &[f32], place: (usize, usize, usize), across: usize) -> [Lanes; 3] {
    gather_four(
        &sum_slabs(partial, place, across),
        &sum_slabs(partial, place, 4 + across),
        &sum_slabs(partial, place, 8 + across),
        &sum_slabs(partial, place, 12 + across),
    )
}

/// A frequency's sums of all parts, added in order.
#[inline(always)]
fn sum_slabs(
    partial: &[f32],
    (slabs, length, at): (usize, usize, usize),
    frequency: usize,
) -> Lanes {
    let mut sum = read(partial, frequency * length + at);
    for slab in 1..slabs {
        sum = plus(&sum, &read(partial, (slab * FREQUENCIES + frequency) * length + at));
    }
    sum
}

#[inline(always)]
fn gather_four(first: &Lanes, second: &Lanes, third: &Lanes, fourth: &Lanes) -> [Lanes; 3] {
    let (sum, difference) = (half(&plus(second, third)), half(&minus(second, third)));
    [plus(first, &sum), difference, plus(&sum, fourth)]
}
