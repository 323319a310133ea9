//! Dense and grouped convolution on feature maps of `[N, H, W, C]`: forward, gradient of the input,
//! gradient of the weights.
//!
//! Weights are `[out channel, kernel row, kernel column, in channel of the group]`. Patches of a
//! block of pixels are gathered into the cache and multiplied there ([`crate::gemm`]); a 1x1
//! convolution of stride 1 reads its input in place. Only the shape determines the blocks.
//!
//! A function that is generic over feature maps of `E` chooses the operands `O` of its products:
//! `E` itself if the processor multiplies it, otherwise f32. Weights are rounded to `E` either way,
//! so that a network in bf16 is the same on every machine.

use crate::columns::{gather, scatter_add};
#[cfg(target_arch = "x86_64")]
use crate::direct;
use crate::element::{Bf16, CopyFrom, Element, with_sums};
use crate::finish::Finish;
use crate::gemm::{Left, Matrix, Operand, Packed, Rows, Sums, multiply};
use crate::input::Input;
use crate::isa::{InstructionSet, active};
use crate::packing::{MapElement, PackedOperand, PackedWeights, Packing, rounded};
use crate::scratch::with_scratch;
pub use crate::shape::ConvolutionShape;
use crate::winograd;
use rayon::prelude::*;
use std::ops::Range;

/// `output = convolution(input)`, finished as `finish` says.
///
/// If the input is to be normalised as it is read, there must be one group, and the input must [be
/// read in place](ConvolutionShape::reads_in_place) unless the function
/// [normalises any input](normalizes_any_input).
pub fn forward<'a, E: MapElement>(
    shape: &ConvolutionShape,
    input: impl Into<Input<'a, E>>,
    weights: &PackedWeights,
    output: &mut [E],
    finish: Finish<'_, E>,
) {
    let input = input.into();
    check_input(shape, &input);
    shape.check(input.values.len(), shape.weight_length(), output.len());
    #[cfg(target_arch = "x86_64")]
    if let Some(amx) = direct::amx_for::<E>(shape) {
        return direct::forward(amx, shape, input, &weights.panels, output, finish);
    }
    if E::multiplies_natively() {
        forward_with::<E, E::Native>(shape, input, weights, output, finish);
    } else {
        forward_with::<E, f32>(shape, input, weights, output, finish);
    }
}

/// Whether every dense convolution on maps of `E` can normalise its input as it reads, whatever
/// its kernel.
#[must_use]
pub fn normalizes_any_input<E: Element>() -> bool {
    E::NAME == Bf16::NAME && active() == InstructionSet::Amx
}

/// Panics if the input cannot be normalised as it is read.
fn check_input<E: Element>(shape: &ConvolutionShape, input: &Input<'_, E>) {
    let as_is = input.normalization.is_none();
    assert!(
        as_is || (shape.groups == 1 && (shape.reads_in_place() || normalizes_any_input::<E>())),
        "{shape:?} does not normalise what it reads"
    );
}

fn forward_with<E: MapElement, O: PackedOperand + CopyFrom<E>>(
    shape: &ConvolutionShape,
    input: Input<'_, E>,
    weights: &PackedWeights,
    output: &mut [E],
    finish: Finish<'_, E>,
) {
    match O::packing(weights) {
        Packing::Winograd(weights) => {
            winograd::forward(shape, input.values, weights, output, finish)
        }
        Packing::Groups(weights) => {
            let pixels = shape.pixels_per_block::<E, O>();
            let blocks = output.chunks_mut(pixels * shape.out_channels).enumerate();
            let blocks = blocks.map(|(block, output)| (block * pixels, output)).collect();
            finish.run(shape.out_channels, blocks, |first, sums, accumulate| {
                forward_block(shape, input, weights, sums, first, accumulate);
            });
        }
    }
}

/// The sums of the output pixels from `first` on, as many as fit into `sums`.
fn forward_block<E: MapElement, O: Operand + CopyFrom<E>>(
    shape: &ConvolutionShape,
    input: Input<'_, E>,
    weights: &[Packed<O>],
    sums: &mut [f32],
    first: usize,
    accumulate: bool,
) {
    let (channels, depth) = (shape.out_channels, shape.patch_length());
    let group_channels = channels / shape.groups;
    let pixels = first..first + sums.len() / channels;
    assert_eq!(weights.len(), shape.groups, "weights packed for another shape");
    for (group, weights) in weights.iter().enumerate() {
        assert_eq!(weights.shape(), (depth, group_channels), "weights packed for another shape");
        let result = &mut sums[group * group_channels..];
        if let Some(values) = in_place(shape, &input) {
            let left = Left::rows(
                &values[pixels.start * shape.in_channels + group * depth..],
                shape.in_channels,
            );
            multiply(left, pixels.len(), weights, result, channels, accumulate);
        } else {
            with_scratch(pixels.len() * depth, |patches| {
                patches_of(shape, &input, group, pixels.clone(), 0..depth, patches);
                multiply(
                    Left::<O>::rows(patches, depth),
                    pixels.len(),
                    weights,
                    result,
                    channels,
                    accumulate,
                );
            });
        }
    }
}

/// The input as operands, if it is its own matrix of patches and needs no conversion.
fn in_place<'a, E: MapElement, O: Operand + CopyFrom<E>>(
    shape: &ConvolutionShape,
    input: &Input<'a, E>,
) -> Option<&'a [O]> {
    let as_is = input.normalization.is_none() && shape.reads_in_place();
    O::in_place(input.values).filter(|_| as_is)
}

/// Copies the columns `part` of the patches of some output pixels.
fn patches_of<E: MapElement, O: Operand + CopyFrom<E>>(
    shape: &ConvolutionShape,
    input: &Input<'_, E>,
    group: usize,
    pixels: Range<usize>,
    part: Range<usize>,
    patches: &mut [O],
) {
    match &input.normalization {
        None => gather(shape, input.values, group, pixels, part, patches),
        // A patch is a single pixel.
        Some(normalization) => {
            let values = &input.values[pixels.start * shape.in_channels + part.start..];
            normalization.apply(part, values, shape.in_channels, patches);
        }
    }
}

/// Memory that the gradient kernels reuse from call to call.
#[derive(Clone, Debug, Default)]
pub struct GradientScratch {
    packed: PackedWeights,
    partial: Vec<f32>,
    #[cfg(target_arch = "x86_64")]
    tiles: direct::WeightScratch,
}

/// The gradient of the input from that of the output; if `accumulate`, it is added to
/// `input_gradient`.
///
/// At stride 1 this is itself a convolution, with the kernel rotated by 180 degrees; at other
/// strides the patches' gradients are computed and added to the image.
pub fn backward_input<E: MapElement>(
    shape: &ConvolutionShape,
    output_gradient: &[E],
    weights: &[f32],
    input_gradient: &mut [E],
    accumulate: bool,
    scratch: &mut GradientScratch,
) {
    shape.check(input_gradient.len(), weights.len(), output_gradient.len());
    #[cfg(target_arch = "x86_64")]
    if let Some(amx) = direct::amx_for::<E>(shape) {
        scratch.packed.pack_transposed::<E>(shape, weights);
        let packed = &scratch.packed.panels;
        return direct::backward_input(
            amx,
            shape,
            output_gradient,
            packed,
            input_gradient,
            accumulate,
        );
    }
    if shape.stride == 1
        && shape.padding_top < shape.kernel_height
        && shape.padding_left < shape.kernel_width
    {
        scratch.packed.pack_transposed::<E>(shape, weights);
        let finish = Finish::added_where(accumulate);
        forward(&shape.transposed(), output_gradient, &scratch.packed, input_gradient, finish);
    } else if E::multiplies_natively() {
        scatter_input::<E, E::Native>(shape, output_gradient, weights, input_gradient, accumulate);
    } else {
        scatter_input::<E, f32>(shape, output_gradient, weights, input_gradient, accumulate);
    }
}

/// Adds each output pixel's gradient to the patch that it was computed from.
fn scatter_input<E: MapElement, O: PackedOperand + CopyFrom<E>>(
    shape: &ConvolutionShape,
    output_gradient: &[E],
    weights: &[f32],
    input_gradient: &mut [E],
    accumulate: bool,
) {
    let (depth, group_channels) = (shape.patch_length(), shape.out_channels / shape.groups);
    let rounded = rounded::<E>(weights);
    let groups = rounded.par_chunks_exact(depth * group_channels).map(|weights| {
        let mut packed = Packed::<O>::default();
        packed.pack(Matrix::Rows { data: weights, stride: depth }, group_channels, depth);
        packed
    });
    let packed: Vec<Packed<O>> = groups.collect();
    let image_pixels = shape.out_height * shape.out_width;
    let block = shape.pixels_per_block::<f32, f32>();
    let image_length = shape.in_height * shape.in_width * shape.in_channels;
    input_gradient.par_chunks_exact_mut(image_length).enumerate().for_each(
        |(image, image_gradient)| {
            with_sums(image_gradient, accumulate, |image_gradient| {
                if !accumulate {
                    image_gradient.fill(0.0);
                }
                for start in (0..image_pixels).step_by(block) {
                    let count = block.min(image_pixels - start);
                    let pixels = image * image_pixels + start..image * image_pixels + start + count;
                    let gradient = &output_gradient
                        [pixels.start * shape.out_channels..pixels.end * shape.out_channels];
                    with_operands(gradient, |gradient: &[O]| {
                        for (group, weights) in packed.iter().enumerate() {
                            let left =
                                Left::rows(&gradient[group * group_channels..], shape.out_channels);
                            with_scratch(count * depth, |patches| {
                                multiply(left, count, weights, patches, depth, false);
                                scatter_add(
                                    shape,
                                    patches,
                                    group,
                                    image,
                                    pixels.clone(),
                                    image_gradient,
                                );
                            });
                        }
                    });
                }
            });
        },
    );
}

/// Lends values as operands: the values themselves if they have that type, otherwise a copy.
fn with_operands<E: MapElement, O: Operand + CopyFrom<E>, R>(
    values: &[E],
    work: impl FnOnce(&[O]) -> R,
) -> R {
    match O::in_place(values) {
        Some(values) => work(values),
        None => with_scratch(values.len(), |operands| {
            O::copy_run(values, operands);
            work(operands)
        }),
    }
}

/// Columns of the weights' gradient in one task.
const WEIGHT_COLUMNS_PER_TASK: usize = 160;
/// Output pixels whose patches a task of [`backward_weights`] holds at a time.
const WEIGHT_PIXELS_PER_BLOCK: usize = 224;
/// If the columns give fewer tasks than this, the batch is divided too, and the parts' sums are
/// added in order.
const WEIGHT_TASKS: usize = 8;

/// The gradient of the weights, in the weights' layout: `weight_gradient = sum over pixels of
/// output gradient x patch`. For the input, see [`forward`].
pub fn backward_weights<'a, E: MapElement>(
    shape: &ConvolutionShape,
    input: impl Into<Input<'a, E>>,
    output_gradient: &[E],
    weight_gradient: &mut [f32],
    scratch: &mut GradientScratch,
) {
    let input = input.into();
    check_input(shape, &input);
    shape.check(input.values.len(), weight_gradient.len(), output_gradient.len());
    #[cfg(target_arch = "x86_64")]
    if let Some(amx) = direct::amx_for::<E>(shape) {
        let scratch = &mut scratch.tiles;
        return direct::backward_weights(
            amx,
            shape,
            input,
            output_gradient,
            weight_gradient,
            scratch,
        );
    }
    if E::multiplies_natively() {
        backward_weights_with::<E, E::Native>(
            shape,
            input,
            output_gradient,
            weight_gradient,
            &mut scratch.partial,
        );
    } else {
        backward_weights_with::<E, f32>(
            shape,
            input,
            output_gradient,
            weight_gradient,
            &mut scratch.partial,
        );
    }
}

fn backward_weights_with<E: MapElement, O: Operand + CopyFrom<E>>(
    shape: &ConvolutionShape,
    input: Input<'_, E>,
    output_gradient: &[E],
    weight_gradient: &mut [f32],
    partial: &mut Vec<f32>,
) {
    if winograd::handles(shape) {
        return winograd::backward_weights::<E, O>(
            shape,
            input.values,
            output_gradient,
            weight_gradient,
            partial,
        );
    }
    let depth = shape.patch_length();
    let group_channels = shape.out_channels / shape.groups;
    let pixels = shape.output_pixels();
    let column_tasks = depth.div_ceil(WEIGHT_COLUMNS_PER_TASK);
    let slabs = WEIGHT_TASKS
        .div_ceil(column_tasks * shape.groups)
        .min(pixels.div_ceil(WEIGHT_PIXELS_PER_BLOCK))
        .max(1);
    let slab_pixels = pixels.div_ceil(slabs);
    // A task's result is a separate matrix [group, columns, slab]; the results are combined below
    // in a fixed order.
    let task_length = group_channels * WEIGHT_COLUMNS_PER_TASK.min(depth);
    partial.resize(shape.groups * column_tasks * slabs * task_length, 0.0);
    let columns_of = |task: usize| {
        let start = task * WEIGHT_COLUMNS_PER_TASK;
        start..depth.min(start + WEIGHT_COLUMNS_PER_TASK)
    };
    partial.par_chunks_exact_mut(task_length).enumerate().for_each(|(task, result)| {
        let (slab, rest) = (task % slabs, task / slabs);
        let (columns, group) = (columns_of(rest % column_tasks), rest / column_tasks);
        let end = pixels.min((slab + 1) * slab_pixels);
        let mut packed = Packed::default();
        let first = slab * slab_pixels;
        if first >= end {
            result.fill(0.0);
        }
        for start in (first..end).step_by(WEIGHT_PIXELS_PER_BLOCK) {
            let count = WEIGHT_PIXELS_PER_BLOCK.min(end - start);
            let gradient =
                &output_gradient[start * shape.out_channels..(start + count) * shape.out_channels];
            with_operands(gradient, |gradient: &[O]| {
                let left = &gradient[group * group_channels..];
                let width = columns.len();
                let mut product = |right: &[O], right_stride: usize| {
                    let left =
                        Rows { data: left, stride: shape.out_channels, columns: group_channels };
                    let right = Rows { data: right, stride: right_stride, columns: width };
                    let sums = Sums { data: result, stride: width, accumulate: start > first };
                    O::multiply_transposed(left, right, count, sums, &mut packed);
                };
                if let Some(values) = in_place(shape, &input) {
                    product(
                        &values[start * shape.in_channels + group * depth + columns.start..],
                        shape.in_channels,
                    );
                } else {
                    with_scratch(count * width, |patches| {
                        patches_of(
                            shape,
                            &input,
                            group,
                            start..start + count,
                            columns.clone(),
                            patches,
                        );
                        product(patches, width);
                    });
                }
            });
        }
    });
    let partial = &partial[..];
    weight_gradient.par_chunks_exact_mut(depth).enumerate().for_each(|(channel, row)| {
        let (group, channel) = (channel / group_channels, channel % group_channels);
        for task in 0..column_tasks {
            let columns = columns_of(task);
            let target = &mut row[columns.clone()];
            for slab in 0..slabs {
                let start = ((group * column_tasks + task) * slabs + slab) * task_length
                    + channel * columns.len();
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
