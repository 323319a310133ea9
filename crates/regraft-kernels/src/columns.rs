//! The patches that a convolution reads, laid out as rows of a matrix ("im2col"), and the way back ("col2im").

use crate::convolution::ConvolutionShape;
use crate::element::{CopyFrom, Element};
use std::ops::Range;

/// Where one output pixel's patch lies: for kernel row `row`, the part of the patch inside the picture.
struct PatchRow {
    /// First kernel column inside the picture, and the one after the last.
    columns: Range<usize>,
    /// Input pixel (counted over the whole batch) under the first of those columns.
    pixel: usize,
}

fn patch_row(shape: &ConvolutionShape, output_pixel: usize, kernel_row: usize) -> Option<PatchRow> {
    let (column, rest) = (output_pixel % shape.out_width, output_pixel / shape.out_width);
    let (row, image) = (rest % shape.out_height, rest / shape.out_height);
    let input_row = (row * shape.stride + kernel_row).checked_sub(shape.padding_top).filter(|&row| row < shape.in_height)?;
    let left = column * shape.stride;
    let start = shape.padding_left.saturating_sub(left).min(shape.kernel_width);
    let end = (shape.in_width + shape.padding_left).saturating_sub(left).clamp(start, shape.kernel_width);
    if start == end {
        return None;
    }
    let pixel = (image * shape.in_height + input_row) * shape.in_width + left + start - shape.padding_left;
    Some(PatchRow { columns: start..end, pixel })
}

/// Writes the patches of the output pixels in `pixels` as rows of `[kernel row, kernel column, channel]`, of which only the
/// columns in `part` are kept. Outside the picture they are zero. `group` says which group's channels are read.
pub(crate) fn gather<E: Element, O: CopyFrom<E>>(
    shape: &ConvolutionShape,
    input: &[E],
    group: usize,
    pixels: Range<usize>,
    part: Range<usize>,
    columns: &mut [O],
) {
    let channels = shape.in_channels / shape.groups;
    let row_length = shape.kernel_width * channels;
    for (pixel, target) in pixels.zip(columns.chunks_exact_mut(part.len())) {
        for kernel_row in part.start / row_length..part.end.div_ceil(row_length) {
            let row_start = kernel_row * row_length;
            let wanted = part.start.max(row_start)..part.end.min(row_start + row_length);
            let target = &mut target[wanted.start - part.start..wanted.end - part.start];
            let Some(patch) = patch_row(shape, pixel, kernel_row) else {
                target.fill(O::default());
                continue;
            };
            let inside_start = (row_start + patch.columns.start * channels).clamp(wanted.start, wanted.end);
            let inside_end = (row_start + patch.columns.end * channels).clamp(inside_start, wanted.end);
            target[..inside_start - wanted.start].fill(O::default());
            target[inside_end - wanted.start..].fill(O::default());
            if inside_start == inside_end {
                continue;
            }
            let target = &mut target[inside_start - wanted.start..inside_end - wanted.start];
            let offset = inside_start - row_start - patch.columns.start * channels;
            if shape.groups == 1 {
                let start = patch.pixel * channels + offset;
                O::copy_run(&input[start..start + target.len()], target);
            } else {
                for (at, value) in target.iter_mut().enumerate() {
                    let (pixel, channel) = ((offset + at) / channels, (offset + at) % channels);
                    *value = O::from_f32(input[(patch.pixel + pixel) * shape.in_channels + group * channels + channel].to_f32());
                }
            }
        }
    }
}

/// Adds rows of patches, as [`gather`] lays out whole ones, to the gradient of the input picture `image` that they were read from.
pub(crate) fn scatter_add(
    shape: &ConvolutionShape,
    columns: &[f32],
    group: usize,
    image: usize,
    pixels: Range<usize>,
    image_gradient: &mut [f32],
) {
    let channels = shape.in_channels / shape.groups;
    let row_length = shape.kernel_width * channels;
    let image_start = image * shape.in_height * shape.in_width;
    for (pixel, source) in pixels.zip(columns.chunks_exact(shape.kernel_height * row_length)) {
        for kernel_row in 0..shape.kernel_height {
            let Some(patch) = patch_row(shape, pixel, kernel_row) else { continue };
            let source = &source[kernel_row * row_length..][patch.columns.start * channels..patch.columns.end * channels];
            for (place, source) in source.chunks_exact(channels).enumerate() {
                let start = (patch.pixel - image_start + place) * shape.in_channels + group * channels;
                for (target, value) in image_gradient[start..start + channels].iter_mut().zip(source) {
                    *target += value;
                }
            }
        }
    }
}
