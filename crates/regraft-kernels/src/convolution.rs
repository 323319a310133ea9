//! Dense and grouped convolution on maps of `[N, H, W, C]`: forward, gradient of the input, gradient of the weights.
//!
//! Weights are `[out channel, kernel row, kernel column, in channel of the group]`. Patches of a block of pixels are gathered into
//! the cache and multiplied there ([`crate::gemm`]); a 1x1 convolution of stride 1 reads its input in place. Every block is cut
//! by the shape alone.

use crate::activation::Epilogue;
use crate::batch_norm::{Statistics, block_statistics, even_blocks};
use crate::columns::{gather, scatter_add, with_scratch};
use crate::gemm::{Packed, Strided, multiply, multiply_in_place};
use crate::winograd::{self, TransformedWeights};
use rayon::prelude::*;

/// The sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ConvolutionShape {
    pub batch: usize,
    pub in_height: usize,
    pub in_width: usize,
    pub in_channels: usize,
    pub out_height: usize,
    pub out_width: usize,
    pub out_channels: usize,
    pub kernel_height: usize,
    pub kernel_width: usize,
    pub stride: usize,
    /// Rows of zeros above the picture; those below follow from `out_height`.
    pub padding_top: usize,
    /// Columns of zeros left of the picture; those on the right follow from `out_width`.
    pub padding_left: usize,
    pub groups: usize,
}

impl ConvolutionShape {
    /// Elements of the input map.
    #[must_use]
    pub fn input_length(&self) -> usize {
        self.batch * self.in_height * self.in_width * self.in_channels
    }

    /// Elements of the output map.
    #[must_use]
    pub fn output_length(&self) -> usize {
        self.output_pixels() * self.out_channels
    }

    /// Elements of the weights.
    #[must_use]
    pub fn weight_length(&self) -> usize {
        self.out_channels * self.patch_length()
    }

    fn output_pixels(&self) -> usize {
        self.batch * self.out_height * self.out_width
    }

    /// Elements of one group's patch, which is the depth of the matrix product.
    pub(crate) fn patch_length(&self) -> usize {
        self.kernel_height * self.kernel_width * self.in_channels / self.groups
    }

    /// Whether the input map is its own matrix of patches.
    fn reads_in_place(&self) -> bool {
        // Equal sizes leave no room for padding below or on the right.
        let same_size = self.out_height == self.in_height && self.out_width == self.in_width;
        let no_padding = self.padding_top == 0 && self.padding_left == 0;
        self.kernel_height == 1 && self.kernel_width == 1 && self.stride == 1 && no_padding && same_size
    }

    /// Output pixels in a block: their patches take about half a mebibyte, so that they stay in the second-level cache.
    fn pixels_per_block(&self) -> usize {
        (131_072 / self.patch_length().max(1)).clamp(56, 448)
    }

    /// Panics where a slice's length is not the shape's, or the groups do not divide the channels.
    pub(crate) fn check(&self, input: usize, weights: usize, output: usize) {
        assert_eq!(input, self.input_length(), "input of {self:?}");
        assert_eq!(weights, self.weight_length(), "weights of {self:?}");
        assert_eq!(output, self.output_length(), "output of {self:?}");
        assert!(self.in_channels.is_multiple_of(self.groups) && self.out_channels.is_multiple_of(self.groups), "{self:?}");
    }
}

/// A layer's weights as [`forward`] reads them, packed once for many calls.
#[derive(Clone, Debug, Default)]
pub struct PackedWeights {
    groups: Vec<Packed>,
    /// Instead of `groups`, where [`winograd`] handles the shape.
    transformed: TransformedWeights,
}

impl PackedWeights {
    /// Packs `weights` for convolutions like `shape` on any batch and map, reusing memory.
    pub fn pack(&mut self, shape: &ConvolutionShape, weights: &[f32]) {
        let (depth, columns) = (shape.patch_length(), shape.out_channels / shape.groups);
        if winograd::handles(shape) {
            self.groups.clear();
            return self.transformed.pack(weights, shape.in_channels, shape.out_channels);
        }
        self.transformed.clear();
        self.groups.resize_with(shape.groups, Packed::default);
        for (packed, weights) in self.groups.iter_mut().zip(weights.chunks_exact(depth * columns)) {
            packed.pack(Strided { data: weights, row_stride: 1, column_stride: depth }, depth, columns);
        }
    }
}

/// `output = epilogue(convolution(input))`; where `accumulate`, the convolution is added to what `output` held.
pub fn forward(
    shape: &ConvolutionShape,
    input: &[f32],
    weights: &PackedWeights,
    output: &mut [f32],
    accumulate: bool,
    epilogue: Epilogue<'_>,
) {
    shape.check(input.len(), shape.weight_length(), output.len());
    if winograd::handles(shape) {
        assert!(!weights.transformed.is_empty(), "weights packed for another shape");
        return winograd::forward(shape, input, &weights.transformed, output, accumulate, epilogue);
    }
    let block = shape.pixels_per_block();
    output.par_chunks_mut(block * shape.out_channels).enumerate().for_each(|(index, output)| {
        forward_block(shape, input, weights, output, index * block, accumulate);
        epilogue.apply(output, index * block * shape.out_channels, shape.out_channels);
    });
}

/// `output = convolution(input)`, and the statistics of each of its channels, taken while a block is in the cache.
pub fn forward_with_statistics(
    shape: &ConvolutionShape,
    input: &[f32],
    weights: &PackedWeights,
    output: &mut [f32],
    statistics: &mut Statistics,
) {
    shape.check(input.len(), shape.weight_length(), output.len());
    if winograd::handles(shape) {
        assert!(!weights.transformed.is_empty(), "weights packed for another shape");
        return winograd::forward_with_statistics(shape, input, &weights.transformed, output, statistics);
    }
    let (block, channels, pixels) = (shape.pixels_per_block(), shape.out_channels, shape.output_pixels());
    let partial = statistics.partial(pixels.div_ceil(block), channels).par_chunks_exact_mut(2 * channels);
    output.par_chunks_mut(block * channels).zip(partial).enumerate().for_each(|(index, (output, partial))| {
        forward_block(shape, input, weights, output, index * block, false);
        block_statistics(output, partial);
    });
    statistics.combine(even_blocks(pixels, block), channels);
}

/// The output pixels from `first` on, as many as `output` holds.
fn forward_block(
    shape: &ConvolutionShape,
    input: &[f32],
    weights: &PackedWeights,
    output: &mut [f32],
    first: usize,
    accumulate: bool,
) {
    let (channels, depth) = (shape.out_channels, shape.patch_length());
    let group_channels = channels / shape.groups;
    let pixels = first..first + output.len() / channels;
    for (group, weights) in weights.groups.iter().enumerate() {
        assert_eq!(weights.shape(), (depth, group_channels), "weights packed for another shape");
        let result = &mut output[group * group_channels..];
        if shape.reads_in_place() {
            let data = &input[pixels.start * shape.in_channels + group * depth..];
            let left = Strided { data, row_stride: shape.in_channels, column_stride: 1 };
            multiply(left, pixels.len(), weights, result, channels, accumulate);
        } else {
            with_scratch(pixels.len() * depth, |patches| {
                gather(shape, input, group, pixels.clone(), 0..depth, patches);
                let left = Strided { data: patches, row_stride: depth, column_stride: 1 };
                multiply(left, pixels.len(), weights, result, channels, accumulate);
            });
        }
    }
}

/// Memory that the gradient kernels reuse from call to call.
#[derive(Clone, Debug, Default)]
pub struct GradientScratch {
    rotated: Vec<f32>,
    packed: PackedWeights,
    partial: Vec<f32>,
}

/// The gradient of the input from that of the output; where `accumulate`, it is added to what `input_gradient` held.
///
/// At stride 1 this is itself a convolution, with the kernel turned by 180 degrees; at other strides the patches' gradients are
/// multiplied out and added to the picture.
pub fn backward_input(
    shape: &ConvolutionShape,
    output_gradient: &[f32],
    weights: &[f32],
    input_gradient: &mut [f32],
    accumulate: bool,
    scratch: &mut GradientScratch,
) {
    shape.check(input_gradient.len(), weights.len(), output_gradient.len());
    if shape.stride == 1 && shape.padding_top < shape.kernel_height && shape.padding_left < shape.kernel_width {
        let transposed = rotate(shape, weights, &mut scratch.rotated);
        scratch.packed.pack(&transposed, &scratch.rotated);
        return forward(&transposed, output_gradient, &scratch.packed, input_gradient, accumulate, Epilogue::NONE);
    }
    let (depth, group_channels) = (shape.patch_length(), shape.out_channels / shape.groups);
    let packed = &mut scratch.packed.groups;
    packed.resize_with(shape.groups, Packed::default);
    for (packed, weights) in packed.iter_mut().zip(weights.chunks_exact(depth * group_channels)) {
        packed.pack(Strided { data: weights, row_stride: depth, column_stride: 1 }, group_channels, depth);
    }
    let packed = &scratch.packed.groups;
    let image_pixels = shape.out_height * shape.out_width;
    let block = shape.pixels_per_block();
    let image_length = shape.in_height * shape.in_width * shape.in_channels;
    input_gradient.par_chunks_exact_mut(image_length).enumerate().for_each(|(image, image_gradient)| {
        if !accumulate {
            image_gradient.fill(0.0);
        }
        for start in (0..image_pixels).step_by(block) {
            let count = block.min(image_pixels - start);
            let pixels = image * image_pixels + start..image * image_pixels + start + count;
            for (group, weights) in packed.iter().enumerate() {
                let data = &output_gradient[pixels.start * shape.out_channels + group * group_channels..];
                let left = Strided { data, row_stride: shape.out_channels, column_stride: 1 };
                with_scratch(count * depth, |patches| {
                    multiply(left, count, weights, patches, depth, false);
                    scatter_add(shape, patches, group, image, pixels.clone(), image_gradient);
                });
            }
        }
    });
}

/// Writes the kernel turned by 180 degrees with input and output channels exchanged, and returns the convolution that uses it.
fn rotate(shape: &ConvolutionShape, weights: &[f32], rotated: &mut Vec<f32>) -> ConvolutionShape {
    let (ins, outs) = (shape.in_channels / shape.groups, shape.out_channels / shape.groups);
    let taps = shape.kernel_height * shape.kernel_width;
    rotated.resize(weights.len(), 0.0);
    for (weights, rotated) in weights.chunks_exact(outs * taps * ins).zip(rotated.chunks_exact_mut(outs * taps * ins)) {
        for (tap, channel) in (0..taps).flat_map(|tap| (0..ins).map(move |channel| (tap, channel))) {
            let row = &mut rotated[(channel * taps + taps - 1 - tap) * outs..][..outs];
            for (out, value) in row.iter_mut().enumerate() {
                *value = weights[(out * taps + tap) * ins + channel];
            }
        }
    }
    ConvolutionShape {
        in_height: shape.out_height,
        in_width: shape.out_width,
        in_channels: shape.out_channels,
        out_height: shape.in_height,
        out_width: shape.in_width,
        out_channels: shape.in_channels,
        padding_top: shape.kernel_height - 1 - shape.padding_top,
        padding_left: shape.kernel_width - 1 - shape.padding_left,
        ..*shape
    }
}

/// Columns of the weights' gradient that one task computes.
const WEIGHT_COLUMNS_PER_TASK: usize = 160;
/// Output pixels whose patches a task of [`backward_weights`] holds at a time.
const WEIGHT_PIXELS_PER_BLOCK: usize = 224;
/// Where the columns make fewer tasks than this, the batch is cut too, and the parts' sums are added in order.
const WEIGHT_TASKS: usize = 8;

/// The gradient of the weights, in the weights' layout: `weight_gradient = sum over pixels of output gradient x patch`.
pub fn backward_weights(
    shape: &ConvolutionShape,
    input: &[f32],
    output_gradient: &[f32],
    weight_gradient: &mut [f32],
    scratch: &mut GradientScratch,
) {
    shape.check(input.len(), weight_gradient.len(), output_gradient.len());
    if winograd::handles(shape) {
        return winograd::backward_weights(shape, input, output_gradient, weight_gradient, &mut scratch.partial);
    }
    let depth = shape.patch_length();
    let group_channels = shape.out_channels / shape.groups;
    let pixels = shape.output_pixels();
    let column_tasks = depth.div_ceil(WEIGHT_COLUMNS_PER_TASK);
    let slabs = WEIGHT_TASKS.div_ceil(column_tasks * shape.groups).min(pixels.div_ceil(WEIGHT_PIXELS_PER_BLOCK)).max(1);
    let slab_pixels = pixels.div_ceil(slabs);
    // A task's result is a matrix of its own [group, columns, slab]; they are put together below in a fixed order.
    let task_length = group_channels * WEIGHT_COLUMNS_PER_TASK.min(depth);
    scratch.partial.resize(shape.groups * column_tasks * slabs * task_length, 0.0);
    let columns_of = |task: usize| {
        let start = task * WEIGHT_COLUMNS_PER_TASK;
        start..depth.min(start + WEIGHT_COLUMNS_PER_TASK)
    };
    scratch.partial.par_chunks_exact_mut(task_length).enumerate().for_each(|(task, result)| {
        let (slab, rest) = (task % slabs, task / slabs);
        let (columns, group) = (columns_of(rest % column_tasks), rest / column_tasks);
        let end = pixels.min((slab + 1) * slab_pixels);
        result.fill(0.0);
        let mut packed = Packed::default();
        for start in (slab * slab_pixels..end).step_by(WEIGHT_PIXELS_PER_BLOCK) {
            let count = WEIGHT_PIXELS_PER_BLOCK.min(end - start);
            let data = &output_gradient[start * shape.out_channels + group * group_channels..];
            let left = Strided { data, row_stride: 1, column_stride: shape.out_channels };
            let width = columns.len();
            let mut product = |right: &[f32], right_stride: usize| {
                multiply_in_place(left, group_channels, right, right_stride, count, width, result, width, true, &mut packed);
            };
            if shape.reads_in_place() {
                product(&input[start * shape.in_channels + group * depth + columns.start..], shape.in_channels);
            } else {
                with_scratch(count * width, |patches| {
                    gather(shape, input, group, start..start + count, columns.clone(), patches);
                    product(patches, width);
                });
            }
        }
    });
    let partial = &scratch.partial;
    weight_gradient.par_chunks_exact_mut(depth).enumerate().for_each(|(channel, row)| {
        let (group, channel) = (channel / group_channels, channel % group_channels);
        for task in 0..column_tasks {
            let columns = columns_of(task);
            let target = &mut row[columns.clone()];
            for slab in 0..slabs {
                let start = ((group * column_tasks + task) * slabs + slab) * task_length + channel * columns.len();
                let source = &partial[start..start + columns.len()];
                if slab == 0 {
                    target.copy_from_slice(source);
                } else {
                    target.iter_mut().zip(source).for_each(|(target, source)| *target += source);
                }
            }
        }
    });
}
