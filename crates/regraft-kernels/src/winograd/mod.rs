//! Winograd's convolution (Lavin and Gray 2015): a 3x3 convolution of stride 1 with fewer
//! multiplications, forward and for the gradient of the weights. F(2x2, 3x3) needs 16 instead of 36
//! for four output pixels, F(4x4, 3x3) 36 instead of 144 for sixteen.
//!
//! The output is divided into tiles of 2x2 or 4x4 pixels. A tile's 4x4 or 6x6 input pixels are
//! transformed into as many frequencies for each channel, each of which takes part in one matrix
//! product over the channels, and the sums are transformed back into pixels.
//!
//! Tiles of 4x4 are for products of f32 on maps of at least 25 tiles. The root mean square of their
//! error, relative to the output's, is 7e-7 for 64 channels and 1.4e-6 for 512, three to five times
//! that of a direct sum in f32 (`bench/winograd_points.py`). Rounding their frequencies to bf16
//! would be too coarse, so products of bf16 use tiles of 2x2.

mod lanes;
mod tile;
mod tiling;
mod transforms;

use crate::element::{CopyFrom, Element};
use crate::finish::Finish;
use crate::gemm::{Left, Matrix, Operand, Packed, Rows, Sums, multiply};
use crate::scratch::with_scratch;
use crate::shape::ConvolutionShape;
use lanes::LANES;
use rayon::prelude::*;
use tile::{Four, Tile, Two};
use tiling::{TileRows, Tiling};
use transforms::{
    gather_filter, transform_filter, transform_gradient, transform_input, transform_output,
};

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

/// Whether products of `O` use tiles of 4x4 pixels for this shape instead of 2x2. An image needs at
/// least 25 of them, whatever the batch, so that it gets the same result in any.
#[must_use]
pub fn has_large_tiles<O: Operand>(shape: &ConvolutionShape) -> bool {
    let tiles = shape.out_height.div_ceil(4) * shape.out_width.div_ceil(4);
    O::NAME == f32::NAME && tiles >= LEAST_LARGE_TILES
}

/// With fewer tiles, more than twice as many transformed weights cost more memory and time than the
/// multiplications that large tiles save, and more of these are for pixels outside the map.
const LEAST_LARGE_TILES: usize = 25;

/// Weights packed for one size of tiles: a matrix `[in channels, out channels]` for each frequency.
#[derive(Clone, Debug, Default)]
pub struct Weights<O> {
    matrices: Vec<Packed<O>>,
}

impl<O: Operand> Weights<O> {
    /// Uses the memory of other matrices.
    pub(crate) fn reusing(matrices: Vec<Packed<O>>) -> Self {
        Self { matrices }
    }

    pub(crate) fn into_matrices(self) -> Vec<Packed<O>> {
        self.matrices
    }

    /// Transforms and packs `[out, 3, 3, in]` weights for convolutions like `shape`.
    pub(crate) fn pack(&mut self, shape: &ConvolutionShape, weights: &[f32]) {
        self.pack_either(shape, weights, false);
    }

    /// Like [`Self::pack`], from the weights `[in, 3, 3, out]` of the convolution whose
    /// [transposed](ConvolutionShape::transposed) one `shape` is: the channels are swapped, and the
    /// kernel is rotated by 180 degrees.
    pub(crate) fn pack_transposed(&mut self, shape: &ConvolutionShape, weights: &[f32]) {
        self.pack_either(shape, weights, true);
    }

    fn pack_either(&mut self, shape: &ConvolutionShape, weights: &[f32], is_transposed: bool) {
        if has_large_tiles::<O>(shape) {
            self.pack_for::<Four>(shape, weights, is_transposed);
        } else {
            self.pack_for::<Two>(shape, weights, is_transposed);
        }
    }

    fn pack_for<T: Tile>(
        &mut self,
        shape: &ConvolutionShape,
        weights: &[f32],
        is_transposed: bool,
    ) {
        let (ins, outs) = (shape.in_channels, shape.out_channels);
        let (filters, channels) = if is_transposed { (ins, outs) } else { (outs, ins) };
        with_transformed::<T>(weights, channels, filters, is_transposed, |transformed, stride| {
            self.pack_frequencies::<T>(ins, outs, |frequency| {
                let data = &transformed[frequency * channels..];
                if is_transposed {
                    Matrix::Rows { data, stride }
                } else {
                    Matrix::Columns { data, stride }
                }
            });
        });
    }

    fn pack_frequencies<'a, T: Tile>(
        &mut self,
        depth: usize,
        columns: usize,
        matrix: impl Fn(usize) -> Matrix<'a> + Sync,
    ) {
        self.matrices.resize_with(T::FREQUENCIES, Packed::default);
        let tasks = self.matrices.par_iter_mut().enumerate();
        tasks.for_each(|(frequency, packed)| packed.pack(matrix(frequency), depth, columns));
    }
}

/// Lends the transforms, `[filter, frequency, channel]`, of filters `[filter, 3, 3, channel]`, and
/// the distance from one filter to the next.
fn with_transformed<T: Tile>(
    weights: &[f32],
    channels: usize,
    filters: usize,
    rotated: bool,
    work: impl FnOnce(&[f32], usize),
) {
    let stride = T::FREQUENCIES * channels;
    with_scratch(filters * stride, |transformed: &mut [f32]| {
        let filters =
            weights.par_chunks_exact(9 * channels).zip(transformed.par_chunks_exact_mut(stride));
        filters.for_each(|(filter, transformed)| {
            transform_filter::<T>(filter, channels, rotated, transformed);
        });
        work(transformed, stride);
    });
}

/// `output = convolution(input)`, finished as `finish` says.
pub(crate) fn forward<E: Element, O: Operand + CopyFrom<E>>(
    shape: &ConvolutionShape,
    input: &[E],
    weights: &Weights<O>,
    output: &mut [E],
    finish: Finish<'_, E>,
) {
    if weights.matrices.len() == Four::FREQUENCIES {
        forward_by::<Four, E, O>(shape, input, &weights.matrices, output, finish);
    } else {
        forward_by::<Two, E, O>(shape, input, &weights.matrices, output, finish);
    }
}

fn forward_by<T: Tile, E: Element, O: Operand + CopyFrom<E>>(
    shape: &ConvolutionShape,
    input: &[E],
    weights: &[Packed<O>],
    output: &mut [E],
    finish: Finish<'_, E>,
) {
    let tiling = Tiling::new(shape, T::PIXELS, T::TILES_PER_BLOCK);
    finish.run(shape.out_channels, tiling.blocks(shape, output), |rows, sums, accumulate| {
        forward_block::<T, E, O>(shape, tiling, input, weights, &rows, sums, accumulate);
    });
}

/// The sums of some rows of tiles.
fn forward_block<T: Tile, E: Element, O: Operand + CopyFrom<E>>(
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
    with_scratch(T::FREQUENCIES * tiles * ins, |inputs: &mut [O]| {
        with_scratch(T::FREQUENCIES * tiles * outs, |products: &mut [f32]| {
            for row in 0..pixels.len() {
                transform_input::<T, E, O>(
                    shape,
                    tiling,
                    input,
                    *first + row,
                    &mut inputs[row * tiling.across * ins..],
                    tiles * ins,
                    None,
                );
            }
            let matrices =
                inputs.chunks_exact(tiles * ins).zip(products.chunks_exact_mut(tiles * outs));
            for ((inputs, products), weights) in matrices.zip(weights) {
                multiply(Left::rows(inputs, ins), tiles, weights, products, outs, false);
            }
            for (row, pixels) in pixels.iter().enumerate() {
                let (row_sums, rest) = std::mem::take(&mut sums).split_at_mut(pixels * outs);
                transform_output::<T>(
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
fn weight_slabs<T: Tile>(shape: &ConvolutionShape, rows: usize) -> usize {
    let sums = T::FREQUENCIES * shape.in_channels * shape.out_channels * size_of::<f32>();
    ((8 << 20) / sums).clamp(2, 8).min(rows)
}

/// Tiles in a block of the weights' gradient. If there are few, the sums, which are as many as the
/// weights, pass through the cache often; if there are many, the transforms of the block do not
/// stay in the cache.
fn gradient_tiles_per_block<T: Tile, O>(channels: usize) -> usize {
    let fitting = (2 << 20) / (T::SIDE * channels * size_of::<O>());
    fitting.clamp(T::TILES_PER_BLOCK, 4 * T::TILES_PER_BLOCK)
}

/// The gradient of the weights, `[out, 3, 3, in]`.
///
/// A task has a part of the batch and a row of the frequencies.
pub(crate) fn backward_weights<E: Element, O: Operand + CopyFrom<E>>(
    shape: &ConvolutionShape,
    input: &[E],
    output_gradient: &[E],
    weight_gradient: &mut [f32],
    partial: &mut Vec<f32>,
) {
    let backward = if has_large_tiles::<O>(shape) {
        backward_weights_by::<Four, E, O>
    } else {
        backward_weights_by::<Two, E, O>
    };
    backward(shape, input, output_gradient, weight_gradient, partial);
}

fn backward_weights_by<T: Tile, E: Element, O: Operand + CopyFrom<E>>(
    shape: &ConvolutionShape,
    input: &[E],
    output_gradient: &[E],
    weight_gradient: &mut [f32],
    partial: &mut Vec<f32>,
) {
    let (ins, outs) = (shape.in_channels, shape.out_channels);
    let tiling = Tiling::new(shape, T::PIXELS, gradient_tiles_per_block::<T, O>(ins + outs));
    let rows = tiling.rows(shape);
    let slabs = weight_slabs::<T>(shape, rows);
    let slab_rows = rows.div_ceil(slabs);
    let length = outs * ins;
    partial.resize(slabs * T::FREQUENCIES * length, 0.0);
    partial.par_chunks_exact_mut(T::SIDE * length).enumerate().for_each(|(task, sums)| {
        let (slab, group) = (task / T::SIDE, task % T::SIDE);
        let end = rows.min((slab + 1) * slab_rows);
        let mut packed = Packed::default();
        let first = slab * slab_rows;
        if first >= end {
            sums.fill(0.0);
        }
        for start in (first..end).step_by(tiling.rows_per_block) {
            let count = tiling.rows_per_block.min(end - start);
            let tiles = count * tiling.across;
            with_scratch(T::SIDE * tiles * (ins + outs), |scratch: &mut [O]| {
                let (inputs, gradients) = scratch.split_at_mut(T::SIDE * tiles * ins);
                for row in 0..count {
                    let place = row * tiling.across;
                    transform_input::<T, E, O>(
                        shape,
                        tiling,
                        input,
                        start + row,
                        &mut inputs[place * ins..],
                        tiles * ins,
                        Some(group),
                    );
                    let target = &mut gradients[place * outs..];
                    transform_gradient::<T, E, O>(
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
        gather_filter::<T>(partial, slabs, length, out * ins, ins, filter);
    });
}
