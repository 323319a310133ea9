//! Winograd's convolution F(2x2, 3x3) (Lavin and Gray 2015): a 3x3 convolution of stride 1 with 16 instead of 36 multiplications for four
//! output pixels, forward and for the gradient of the weights.
//!
//! The output is cut into tiles of 2x2 pixels. A tile's 4x4 input pixels are turned into 16 values a channel, each of which takes part in
//! one matrix product over the channels, and 16 sums are turned back into 2x2 pixels. All coefficients are 0, 1 and 1/2, so the
//! result differs from the direct sum only as another order of addition would.

use crate::activation::Epilogue;
use crate::batch_norm::{Statistics, block_statistics};
use crate::convolution::ConvolutionShape;
use crate::element::{CopyFrom, Element};
use crate::gemm::{Left, Matrix, Operand, Packed, multiply};
use crate::isa::for_each_isa;
use crate::scratch::with_scratch;
use rayon::prelude::*;

/// Values a tile has for each channel: a 4x4 square of them.
const FREQUENCIES: usize = 16;
/// Channels that are transformed side by side.
const LANES: usize = 16;
/// Tiles in a block, at least: four times the rows of the widest tile kernel, so that a panel of weights is used often.
const TILES_PER_BLOCK: usize = 56;

/// One value for each of [`LANES`] channels.
type Lanes = [f32; LANES];

/// Whether the functions here handle this shape.
#[must_use]
pub fn handles(shape: &ConvolutionShape) -> bool {
    shape.kernel_height == 3
        && shape.kernel_width == 3
        && shape.stride == 1
        && shape.groups == 1
        && shape.in_channels.is_multiple_of(LANES)
        && shape.out_channels.is_multiple_of(LANES)
        && shape.padding_top <= 2
        && shape.padding_left <= 2
}

/// How a convolution's output is cut into tiles.
#[derive(Clone, Copy)]
struct Tiling {
    /// Tiles in a row of tiles.
    across: usize,
    /// Rows of tiles in a picture.
    down: usize,
    /// Rows of tiles in a block.
    rows_per_block: usize,
}

impl Tiling {
    fn new(shape: &ConvolutionShape, tiles_per_block: usize) -> Self {
        let across = shape.out_width.div_ceil(2);
        Self { across, down: shape.out_height.div_ceil(2), rows_per_block: tiles_per_block.div_ceil(across) }
    }

    /// Rows of tiles in the whole batch.
    fn rows(&self, shape: &ConvolutionShape) -> usize {
        shape.batch * self.down
    }

    /// Output pixels of row `row` of tiles, counted over the batch: two rows of the picture, or one at an odd end.
    fn pixels(&self, shape: &ConvolutionShape, row: usize) -> usize {
        let first = row % self.down * 2;
        (shape.out_height - first).min(2) * shape.out_width
    }
}

/// Transforms `[out, 3, 3, in]` weights and packs them: a matrix `[in channels, out channels]` for each frequency.
pub(crate) fn pack<O: Operand>(matrices: &mut Vec<Packed<O>>, weights: &[f32], ins: usize, outs: usize) {
    with_transformed(weights, ins, outs, |transformed, stride| {
        pack_frequencies(matrices, ins, outs, |frequency| Matrix::Columns { data: &transformed[frequency * ins..], stride });
    });
}

/// As [`pack`], for the weights of the convolution that turns the output's gradient into the input's: input and output channels are
/// exchanged, and the kernel is turned by 180 degrees, which exchanges the first and last of the four frequencies along each side.
pub(crate) fn pack_transposed<O: Operand>(matrices: &mut Vec<Packed<O>>, weights: &[f32], ins: usize, outs: usize) {
    with_transformed(weights, ins, outs, |transformed, stride| {
        pack_frequencies(matrices, outs, ins, |frequency| {
            let turned = |frequency: usize| [3, 1, 2, 0][frequency];
            let frequency = 4 * turned(frequency / 4) + turned(frequency % 4);
            Matrix::Rows { data: &transformed[frequency * ins..], stride }
        });
    });
}

/// Lends the weights' transforms, `[out, frequency, in]`, and the distance from one output channel to the next.
fn with_transformed(weights: &[f32], ins: usize, outs: usize, work: impl FnOnce(&[f32], usize)) {
    let stride = FREQUENCIES * ins;
    with_scratch(outs * stride, |transformed: &mut [f32]| {
        let filters = weights.par_chunks_exact(9 * ins).zip(transformed.par_chunks_exact_mut(stride));
        filters.for_each(|(filter, transformed)| transform_filter(filter, ins, transformed));
        work(transformed, stride);
    });
}

fn pack_frequencies<'a, O: Operand>(
    matrices: &mut Vec<Packed<O>>,
    depth: usize,
    columns: usize,
    matrix: impl Fn(usize) -> Matrix<'a> + Sync,
) {
    matrices.resize_with(FREQUENCIES, Packed::default);
    let tasks = matrices.par_iter_mut().enumerate();
    tasks.for_each(|(frequency, packed)| packed.pack(matrix(frequency), depth, columns));
}

/// `output = epilogue(convolution(input))`; where `accumulate`, the convolution is added to what `output` held.
pub(crate) fn forward<E: Element, O: Operand + CopyFrom<E>>(
    shape: &ConvolutionShape,
    input: &[E],
    weights: &[Packed<O>],
    output: &mut [E],
    accumulate: bool,
    epilogue: Epilogue<'_, E>,
) {
    let tiling = Tiling::new(shape, TILES_PER_BLOCK);
    let blocks = blocks(shape, tiling, output);
    blocks.into_par_iter().for_each(|Block { first, pixels, output }| {
        E::with_sums(output, accumulate, |sums| {
            forward_block(shape, tiling, input, weights, first, &pixels, sums, accumulate);
            let image = first / tiling.down;
            let pixel = (image * shape.out_height + first % tiling.down * 2) * shape.out_width;
            epilogue.apply(sums, pixel * shape.out_channels, shape.out_channels);
        });
    });
}

/// `output = convolution(input)`, and the statistics of each of its channels.
pub(crate) fn forward_with_statistics<E: Element, O: Operand + CopyFrom<E>>(
    shape: &ConvolutionShape,
    input: &[E],
    weights: &[Packed<O>],
    output: &mut [E],
    statistics: &mut Statistics,
) {
    let tiling = Tiling::new(shape, TILES_PER_BLOCK);
    let channels = shape.out_channels;
    let blocks = blocks(shape, tiling, output);
    let partial = statistics.partial(blocks.len(), channels).par_chunks_exact_mut(2 * channels);
    let counts: Vec<usize> = blocks.iter().map(|block| block.output.len() / channels).collect();
    blocks.into_par_iter().zip(partial).for_each(|(Block { first, pixels, output }, partial)| {
        E::with_sums(output, false, |sums| {
            forward_block(shape, tiling, input, weights, first, &pixels, sums, false);
            block_statistics(sums, partial);
        });
    });
    statistics.combine(counts.into_iter(), channels);
}

/// Neighbouring rows of tiles, which one task computes.
struct Block<'a, E> {
    /// The first row, counted over the batch.
    first: usize,
    /// Output pixels of each row.
    pixels: Vec<usize>,
    output: &'a mut [E],
}

/// The output in blocks of rows of tiles.
fn blocks<'a, E>(shape: &ConvolutionShape, tiling: Tiling, mut output: &'a mut [E]) -> Vec<Block<'a, E>> {
    let rows = tiling.rows(shape);
    let mut blocks = Vec::with_capacity(rows.div_ceil(tiling.rows_per_block));
    for first in (0..rows).step_by(tiling.rows_per_block) {
        let end = rows.min(first + tiling.rows_per_block);
        let pixels: Vec<usize> = (first..end).map(|row| tiling.pixels(shape, row)).collect();
        let (block, rest) = output.split_at_mut(pixels.iter().sum::<usize>() * shape.out_channels);
        blocks.push(Block { first, pixels, output: block });
        output = rest;
    }
    blocks
}

/// The sums of the rows of tiles from `first` on, counted over the batch.
fn forward_block<E: Element, O: Operand + CopyFrom<E>>(
    shape: &ConvolutionShape,
    tiling: Tiling,
    input: &[E],
    weights: &[Packed<O>],
    first: usize,
    pixels: &[usize],
    mut sums: &mut [f32],
    accumulate: bool,
) {
    let (ins, outs) = (shape.in_channels, shape.out_channels);
    assert!(weights.first().is_some_and(|matrix| matrix.shape() == (ins, outs)), "weights packed for another shape");
    let tiles = pixels.len() * tiling.across;
    with_scratch(FREQUENCIES * tiles * ins, |inputs: &mut [O]| {
        with_scratch(FREQUENCIES * tiles * outs, |products: &mut [f32]| {
            for row in 0..pixels.len() {
                transform_input(shape, tiling, input, first + row, &mut inputs[row * tiling.across * ins..], tiles * ins, 0, 4);
            }
            let matrices = inputs.chunks_exact(tiles * ins).zip(products.chunks_exact_mut(tiles * outs));
            for ((inputs, products), weights) in matrices.zip(weights) {
                multiply(Left::rows(inputs, ins), tiles, weights, products, outs, false);
            }
            for (row, pixels) in pixels.iter().enumerate() {
                let (row_sums, rest) = std::mem::take(&mut sums).split_at_mut(pixels * outs);
                transform_output(shape, &products[row * tiling.across * outs..], tiles * outs, row_sums, accumulate);
                sums = rest;
            }
        });
    });
}

/// Parts into which the batch is cut for the gradient of the weights; their sums are added in order. Few where the weights are many,
/// because each part has sums of its own, which should not fill the caches.
fn weight_slabs(shape: &ConvolutionShape, rows: usize) -> usize {
    let sums = FREQUENCIES * shape.in_channels * shape.out_channels * size_of::<f32>();
    ((8 << 20) / sums).clamp(2, 8).min(rows)
}

/// Tiles in a block of the weights' gradient. With few, the sums, which are as many as the weights, pass through the cache often; with many,
/// the transforms of the block do not stay there.
fn gradient_tiles_per_block<O>(channels: usize) -> usize {
    ((2 << 20) / (4 * channels * size_of::<O>())).clamp(TILES_PER_BLOCK, 4 * TILES_PER_BLOCK)
}

/// The gradient of the weights, `[out, 3, 3, in]`.
///
/// A task has a part of the batch and four of the sixteen frequencies.
pub(crate) fn backward_weights<E: Element, O: Operand + CopyFrom<E>>(
    shape: &ConvolutionShape,
    input: &[E],
    output_gradient: &[E],
    weight_gradient: &mut [f32],
    partial: &mut Vec<f32>,
) {
    let (ins, outs) = (shape.in_channels, shape.out_channels);
    let tiling = Tiling::new(shape, gradient_tiles_per_block::<O>(ins + outs));
    let rows = tiling.rows(shape);
    let slabs = weight_slabs(shape, rows);
    let slab_rows = rows.div_ceil(slabs);
    let length = outs * ins;
    partial.resize(slabs * FREQUENCIES * length, 0.0);
    partial.par_chunks_exact_mut(4 * length).enumerate().for_each(|(task, sums)| {
        let (slab, group) = (task / 4, task % 4);
        let end = rows.min((slab + 1) * slab_rows);
        let mut packed = Packed::default();
        let first = slab * slab_rows;
        if first >= end {
            sums.fill(0.0);
        }
        for start in (first..end).step_by(tiling.rows_per_block) {
            let count = tiling.rows_per_block.min(end - start);
            let tiles = count * tiling.across;
            with_scratch(4 * tiles * (ins + outs), |scratch: &mut [O]| {
                let (inputs, gradients) = scratch.split_at_mut(4 * tiles * ins);
                for row in 0..count {
                    let place = row * tiling.across;
                    transform_input(shape, tiling, input, start + row, &mut inputs[place * ins..], tiles * ins, group, 1);
                    let target = &mut gradients[place * outs..];
                    transform_gradient(shape, tiling, output_gradient, start + row, target, tiles * outs, group);
                }
                let maps = inputs.chunks_exact(tiles * ins).zip(gradients.chunks_exact(tiles * outs));
                for ((inputs, gradients), sums) in maps.zip(sums.chunks_exact_mut(length)) {
                    let accumulate = start > first;
                    O::multiply_transposed(gradients, outs, outs, inputs, ins, ins, tiles, sums, ins, accumulate, &mut packed);
                }
            });
        }
    });
    let partial = &partial[..];
    weight_gradient.par_chunks_exact_mut(9 * ins).enumerate().for_each(|(out, filter)| {
        gather_filter(partial, slabs, length, out * ins, ins, filter);
    });
}

// What follows is compiled anew for each instruction set by being inlined into its entry points. Closures and `array::from_fn` would
// not be, and fall back to the least set; hence plain functions and arrays written out.

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

/// Pictures of which single pixels are read, zero outside.
#[derive(Clone, Copy)]
struct Map<'a, E> {
    /// One picture, `[height, width, channels]`.
    values: &'a [E],
    height: usize,
    width: usize,
    channels: usize,
}

impl<E: Element> Map<'_, E> {
    /// Sixteen channels of a pixel. A place before the first one has wrapped around and is outside too.
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
fn write_four<O: Element>(target: &mut [O], frequency: usize, stride: usize, at: usize, values: [Lanes; 4]) {
    for (across, values) in values.iter().enumerate() {
        let start = (frequency + across) * stride + at;
        for (target, value) in target[start..start + LANES].iter_mut().zip(values) {
            *target = O::from_f32(*value);
        }
    }
}

/// Column by column `work(first, second)`.
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
    fn transform_input<E: Element, O: Element>(
        shape: &ConvolutionShape, tiling: Tiling, input: &[E], row: usize, target: &mut [O], frequency_stride: usize, group: usize,
        groups: usize
    ) => transform_input_body
}
/// Row `row` of tiles: frequencies `4 * group` on, four for each of `groups`, to `target[frequency][tile][channel]`.
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
    let map = Map { values: &input[image * length..][..length], height: shape.in_height, width: shape.in_width, channels };
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
                write_four(target, 0, frequency_stride, at, spread_input(&columns!(minus, first, third)));
                write_four(target, 4, frequency_stride, at, spread_input(&columns!(plus, second, third)));
                write_four(target, 8, frequency_stride, at, spread_input(&columns!(minus, third, second)));
                write_four(target, 12, frequency_stride, at, spread_input(&columns!(minus, second, fourth)));
            } else {
                let (first, second) = [(0, 2), (1, 2), (2, 1), (1, 3)][group];
                let first = map.four(top.wrapping_add(first), left, channel);
                let second = map.four(top.wrapping_add(second), left, channel);
                let columns = if group == 1 { columns!(plus, first, second) } else { columns!(minus, first, second) };
                write_four(target, 0, frequency_stride, at, spread_input(&columns));
            }
        }
    }
}

for_each_isa! {
    fn transform_output(shape: &ConvolutionShape, products: &[f32], frequency_stride: usize, pixels: &mut [f32], accumulate: bool)
        => transform_output_body
}
/// One row of tiles back to pixels: along each side `[m0 + m1 + m2, m1 - m2 - m3]`.
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
            for (down, [first, second, third, fourth]) in [upper, lower].iter().enumerate().take(high) {
                let pair = [plus(&plus(first, second), third), minus(&minus(second, third), fourth)];
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
    fn transform_gradient<E: Element, O: Element>(
        shape: &ConvolutionShape, tiling: Tiling, gradient: &[E], row: usize, target: &mut [O], frequency_stride: usize, group: usize
    ) => transform_gradient_body
}
/// The output's gradient of one row of tiles, as the transposed output transform spreads it: along each side
/// `[g0, g0 + g1, g0 - g1, -g1]`. Of the first side only row `group`.
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
    let map = Map { values: &gradient[image * length..][..length], height: shape.out_height, width: shape.out_width, channels };
    for tile in 0..tiling.across {
        for channel in (0..channels).step_by(LANES) {
            let left = spread_pair(group, &map.pixel(first_row, 2 * tile, channel), &map.pixel(first_row + 1, 2 * tile, channel));
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

for_each_isa! { fn transform_filter(filter: &[f32], channels: usize, target: &mut [f32]) => transform_filter_body }
/// One output channel's filter `[3, 3, channels]` to `target[frequency][channel]`.
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

/// The three taps of a column that begins at `at`, spread.
#[inline(always)]
fn read_column(filter: &[f32], channels: usize, at: usize) -> [Lanes; 4] {
    spread_filter(&read(filter, at), &read(filter, 3 * channels + at), &read(filter, 6 * channels + at))
}

for_each_isa! {
    fn gather_filter(partial: &[f32], slabs: usize, length: usize, start: usize, channels: usize, filter: &mut [f32])
        => gather_filter_body
}
/// One output channel's gradient: the parts' sums added in order, then the transposed filter transform: along each side
/// `[s0 + (s1 + s2) / 2, (s1 - s2) / 2, (s1 + s2) / 2 + s3]`.
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
fn sum_slabs(partial: &[f32], (slabs, length, at): (usize, usize, usize), frequency: usize) -> Lanes {
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
