//! The patches that a convolution reads, as rows of a matrix ("im2col"), and the reverse
//! ("col2im").

use crate::activation::add_slices;
use crate::element::{CopyFrom, Element};
use crate::shape::ConvolutionShape;
use std::ops::Range;

/// The position of an output pixel, which determines that of its patch in the input.
struct Window<'a> {
    shape: &'a ConvolutionShape,
    image: usize,
    row: usize,
    column: usize,
}

impl<'a> Window<'a> {
    /// The position of an output pixel with this index in the batch.
    fn at(shape: &'a ConvolutionShape, output_pixel: usize) -> Self {
        let rows = output_pixel / shape.out_width;
        Self {
            shape,
            image: rows / shape.out_height,
            row: rows % shape.out_height,
            column: output_pixel % shape.out_width,
        }
    }

    /// Moves to the next output pixel. (Dividing for each pixel would take longer than copying a
    /// small patch.)
    #[inline(always)]
    fn advance(&mut self) {
        self.column += 1;
        if self.column == self.shape.out_width {
            (self.column, self.row) = (0, self.row + 1);
        }
        if self.row == self.shape.out_height {
            (self.row, self.image) = (0, self.image + 1);
        }
    }

    /// The kernel's columns that are inside the image.
    #[inline(always)]
    fn columns(&self) -> Range<usize> {
        let shape = self.shape;
        let left = self.column * shape.stride;
        let start = shape.padding_left.saturating_sub(left).min(shape.kernel_width);
        let end = (shape.in_width + shape.padding_left)
            .saturating_sub(left)
            .clamp(start, shape.kernel_width);
        start..end
    }

    /// The index in the batch of the first pixel of the input row under a kernel row; `None` if the
    /// row is outside the image.
    #[inline(always)]
    fn input_row(&self, kernel_row: usize) -> Option<usize> {
        let shape = self.shape;
        let row = (self.row * shape.stride + kernel_row)
            .checked_sub(shape.padding_top)
            .filter(|&row| row < shape.in_height)?;
        Some((self.image * shape.in_height + row) * shape.in_width)
    }

    /// The input's column under a column of the kernel that is inside the image.
    #[inline(always)]
    fn input_column(&self, kernel_column: usize) -> usize {
        self.column * self.shape.stride + kernel_column - self.shape.padding_left
    }
}

/// Writes the patches of the output pixels in `pixels` as rows of `[kernel row, kernel column,
/// channel]`, of which only the columns in `part` are kept. Pixels outside the image are zero.
/// `group` selects the group whose channels are read.
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
    let kernel_rows = part.start / row_length..part.end.div_ceil(row_length);
    let mut window = Window::at(shape, pixels.start);
    for target in columns.chunks_exact_mut(part.len()).take(pixels.len()) {
        let inside = window.columns();
        for kernel_row in kernel_rows.clone() {
            let row_start = kernel_row * row_length;
            let wanted = part.start.max(row_start)..part.end.min(row_start + row_length);
            let target = &mut target[wanted.start - part.start..wanted.end - part.start];
            let Some(input_row) = window.input_row(kernel_row).filter(|_| !inside.is_empty())
            else {
                target.fill(O::default());
                continue;
            };
            let start = (row_start + inside.start * channels).clamp(wanted.start, wanted.end);
            let end = (row_start + inside.end * channels).clamp(start, wanted.end);
            let (outside, rest) = target.split_at_mut(start - wanted.start);
            outside.fill(O::default());
            let (target, outside) = rest.split_at_mut(end - start);
            outside.fill(O::default());
            if target.is_empty() {
                continue;
            }
            let pixel = input_row + window.input_column(inside.start);
            let offset = start - row_start - inside.start * channels;
            if shape.groups == 1 {
                O::copy_run(&input[pixel * channels + offset..][..target.len()], target);
            } else {
                for (at, value) in target.iter_mut().enumerate() {
                    let (place, channel) = ((offset + at) / channels, (offset + at) % channels);
                    *value = O::from_f32(
                        input[(pixel + place) * shape.in_channels + group * channels + channel]
                            .to_f32(),
                    );
                }
            }
        }
        window.advance();
    }
}

/// Adds rows of patches, laid out as by [`gather`] for whole patches, to the gradient of the input
/// image `image`.
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
    let mut window = Window::at(shape, pixels.start);
    for source in columns.chunks_exact(shape.kernel_height * row_length).take(pixels.len()) {
        let inside = window.columns();
        for kernel_row in 0..shape.kernel_height {
            let Some(input_row) = window.input_row(kernel_row).filter(|_| !inside.is_empty())
            else {
                continue;
            };
            let source =
                &source[kernel_row * row_length..][inside.start * channels..inside.end * channels];
            let pixel = input_row + window.input_column(inside.start) - image_start;
            if shape.groups == 1 {
                add_slices(&mut image_gradient[pixel * channels..][..source.len()], source);
                continue;
            }
            for (place, source) in source.chunks_exact(channels).enumerate() {
                let start = (pixel + place) * shape.in_channels + group * channels;
                add_slices(&mut image_gradient[start..start + channels], source);
            }
        }
        window.advance();
    }
}
