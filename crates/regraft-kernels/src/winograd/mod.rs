//! Winograd's convolution F(2x2, 3x3) (Lavin and Gray 2015): a 3x3 convolution of stride 1 with 16
//! instead of 36 multiplications for four output pixels, forward and for the gradient of the
//! weights.
//!
//! The output is divided into tiles of 2x2 pixels. A tile's 4x4 input pixels are transformed into
//! 16 values for each channel, each of which takes part in one matrix product over the channels,
//! and the 16 sums are transformed back into 2x2 pixels. All coefficients are 0, 1 and 1/2, so the
//! result differs from the direct sum only as another order of addition would.

mod tiling;
mod transforms;

use crate::element::{CopyFrom, Element};
use crate::finish::Finish;
use crate::gemm::{Left, Matrix, Operand, Packed, Rows, Sums, multiply};
use crate::scratch::with_scratch;
use crate::shape::ConvolutionShape;
use rayon::prelude::*;
use tiling::{TileRows, Tiling};
use transforms::{
    FREQUENCIES, LANES, gather_filter, transform_filter, transform_gradient, transform_input,
    transform_output,
};

/// Least number of tiles in a block: four times the rows of the widest tile kernel, so that a panel
/// of weights is used often.
const TILES_PER_BLOCK: usize = 56;

/// Whether the functions here support this shape.
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

/// Transforms `[out, 3, 3, in]` weights and packs them: a matrix `[in channels, out channels]` for
/// each frequency.
pub(crate) fn pack<O: Operand>(
    matrices: &mut Vec<Packed<O>>,
    weights: &[f32],
    ins: usize,
    outs: usize,
) {
    with_transformed(weights, ins, outs, |transformed, stride| {
        pack_frequencies(matrices, ins, outs, |frequency| Matrix::Columns {
            data: &transformed[frequency * ins..],
            stride,
        });
    });
}

/// Like [`pack`], for the weights of the convolution that turns the output's gradient into the
/// input's: input and output channels are swapped, and the kernel is rotated by 180 degrees, which
/// swaps the first and last of the four frequencies along each side.
pub(crate) fn pack_transposed<O: Operand>(
    matrices: &mut Vec<Packed<O>>,
    weights: &[f32],
    ins: usize,
    outs: usize,
) {
    with_transformed(weights, ins, outs, |transformed, stride| {
        pack_frequencies(matrices, outs, ins, |frequency| {
            let turned = |frequency: usize| [3, 1, 2, 0][frequency];
            let frequency = 4 * turned(frequency / 4) + turned(frequency % 4);
            Matrix::Rows { data: &transformed[frequency * ins..], stride }
        });
    });
}

/// Lends the weights' transforms, `[out, frequency, in]`, and the distance from one output channel
/// to the next.
fn with_transformed(weights: &[f32], ins: usize, outs: usize, work: impl FnOnce(&[f32], usize)) {
    let stride = FREQUENCIES * ins;
    with_scratch(outs * stride, |transformed: &mut [f32]| {
        let filters =
            weights.par_chunks_exact(9 * ins).zip(transformed.par_chunks_exact_mut(stride));
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

/// `output = convolution(input)`, finished as `finish` says.
pub(crate) fn forward<E: Element, O: Operand + CopyFrom<E>>(
    shape: &ConvolutionShape,
    input: &[E],
    weights: &[Packed<O>],
    output: &mut [E],
    finish: Finish<'_, E>,
) {
    let tiling = Tiling::new(shape, TILES_PER_BLOCK);
    finish.run(shape.out_channels, tiling.blocks(shape, output), |rows, sums, accumulate| {
        forward_block(shape, tiling, input, weights, &rows, sums, accumulate);
    });
}

/// The sums of some rows of tiles.
fn forward_block<E: Element, O: Operand + CopyFrom<E>>(
    shape: &ConvolutionShape,
    tiling: Tiling,
    input: &[E],
    weights: &[Packed<O>],
    rows: &TileRows,
    mut sums: &mut [f32],
    accumulate: bool,
) {
    let (ins, outs) = (shape.in_channels, shape.out_channels);
    assert!(
        weights.first().is_some_and(|matrix| matrix.shape() == (ins, outs)),
        "weights packed for another shape"
    );
    let TileRows { first, pixels } = rows;
    let tiles = pixels.len() * tiling.across;
    with_scratch(FREQUENCIES * tiles * ins, |inputs: &mut [O]| {
        with_scratch(FREQUENCIES * tiles * outs, |products: &mut [f32]| {
            for row in 0..pixels.len() {
                transform_input(
                    shape,
                    tiling,
                    input,
                    *first + row,
                    &mut inputs[row * tiling.across * ins..],
                    tiles * ins,
                    0,
                    4,
                );
            }
            let matrices =
                inputs.chunks_exact(tiles * ins).zip(products.chunks_exact_mut(tiles * outs));
            for ((inputs, products), weights) in matrices.zip(weights) {
                multiply(Left::rows(inputs, ins), tiles, weights, products, outs, false);
            }
            for (row, pixels) in pixels.iter().enumerate() {
                let (row_sums, rest) = std::mem::take(&mut sums).split_at_mut(pixels * outs);
                transform_output(
                    shape,
                    &products[row * tiling.across * outs..],
                    tiles * outs,
                    row_sums,
                    accumulate,
                );
                sums = rest;
            }
        });
    });
}

/// Number of parts of the batch for the gradient of the weights; their sums are added in order. If
/// there are many weights, there are few parts, because each part has sums of its own, which should
/// not fill the caches.
fn weight_slabs(shape: &ConvolutionShape, rows: usize) -> usize {
    let sums = FREQUENCIES * shape.in_channels * shape.out_channels * size_of::<f32>();
    ((8 << 20) / sums).clamp(2, 8).min(rows)
}

/// Tiles in a block of the weights' gradient. If there are few, the sums, which are as many as the
/// weights, pass through the cache often; if there are many, the transforms of the block do not
/// stay in the cache.
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
                    transform_input(
                        shape,
                        tiling,
                        input,
                        start + row,
                        &mut inputs[place * ins..],
                        tiles * ins,
                        group,
                        1,
                    );
                    let target = &mut gradients[place * outs..];
                    transform_gradient(
                        shape,
                        tiling,
                        output_gradient,
                        start + row,
                        target,
                        tiles * outs,
                        group,
                    );
                }
                let maps =
                    inputs.chunks_exact(tiles * ins).zip(gradients.chunks_exact(tiles * outs));
                for ((inputs, gradients), sums) in maps.zip(sums.chunks_exact_mut(length)) {
                    let gradients = Rows { data: gradients, stride: outs, columns: outs };
                    let inputs = Rows { data: inputs, stride: ins, columns: ins };
                    let sums = Sums { data: sums, stride: ins, accumulate: start > first };
                    O::multiply_transposed(gradients, inputs, tiles, sums, &mut packed);
                }
            });
        }
    });
    let partial = &partial[..];
    weight_gradient.par_chunks_exact_mut(9 * ins).enumerate().for_each(|(out, filter)| {
        gather_filter(partial, slabs, length, out * ins, ins, filter);
    });
}
