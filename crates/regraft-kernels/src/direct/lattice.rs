//! A feature map laid out for tiles: padded, at line-aligned positions, so that the rows of any
//! tile are a constant distance apart.
//!
//! A convolution's padded input is cut into `stride x stride` planes: value `(j, i)` of the padded
//! map lies in plane `(j % stride, i % stride)` at `(j / stride, i / stride)`. Then the input of
//! each tap lies in one plane at a constant distance from the output's position, whatever the
//! stride. Rows share their padding: the zeros right of a row are those left of the next one, and
//! the zeros below an image are those above the next one. So neighbouring positions, also across
//! rows and images, form tiles; the few between rows give sums that nobody reads.

use super::place::{place, place_normalized};
use crate::element::Bf16;
use crate::input::Input;
use crate::memory::CacheLine;
use crate::scratch::with_scratch;
use crate::shape::ConvolutionShape;
use std::ops::Range;

/// Values of a tile's row.
pub(super) const RUN: usize = 32;
/// Positions of two tiles.
pub(super) const GROUP: usize = 32;

/// The layout of a feature map; see the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lattice {
    batch: usize,
    height: usize,
    width: usize,
    /// Channels of the feature map, of which positions hold `channels` from `first` on.
    map_channels: usize,
    first: usize,
    channels: usize,
    stride: usize,
    top: usize,
    left: usize,
    /// Planes down and across: those that any tap reads.
    planes: [usize; 2],
    /// If there are few channels, a position holds those of this many neighbouring columns.
    folded: Option<usize>,
    /// Values of a position, a multiple of [`RUN`]: the rest is zero.
    depth: usize,
    /// Rows and columns of positions that have an output.
    outputs: [usize; 2],
    /// Rows of positions from one image to the next, and positions from one row to the next.
    pitch: [usize; 2],
    /// Rows and positions beyond its own that an output reads.
    reach: [usize; 2],
}

/// The positions of an output row, and the memory that holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Rows of positions.
    pub(super) rows: Range<usize>,
    /// Positions in a plane.
    pub(super) plane: usize,
}

/// The values of positions, plane by plane.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) values: &'a [Bf16],
    /// Values from one position to the next.
    pub(super) stride: usize,
    /// Values of a position.
    pub(super) channels: usize,
}

impl Lattice {
    /// The layout in which a convolution reads its input.
    pub(super) fn of_input(shape: &ConvolutionShape) -> Self {
        let &ConvolutionShape { kernel_width, in_channels, .. } = shape;
        let runs = |values: usize| values.div_ceil(RUN);
        let folds = runs(kernel_width * in_channels) < kernel_width * runs(in_channels);
        Self::new(shape, folds)
    }

    /// Like [`Self::of_input`], with the channels of one column in a position.
    pub(super) fn unfolded(shape: &ConvolutionShape) -> Self {
        Self::new(shape, false)
    }

    fn new(shape: &ConvolutionShape, folds: bool) -> Self {
        let &ConvolutionShape { stride, kernel_height, kernel_width, in_channels, .. } = shape;
        let folded = folds.then_some(kernel_width);
        let taps = if folds { 1 } else { kernel_width };
        let axis = |length: usize, before: usize, outputs: usize, kernel: usize| {
            let after = ((outputs - 1) * stride + kernel).saturating_sub(length + before);
            (length + before.max(after)).div_ceil(stride).max(outputs)
        };
        let across = if folds {
            shape.out_width
        } else {
            axis(shape.in_width, shape.padding_left, shape.out_width, kernel_width)
        };
        let down = axis(shape.in_height, shape.padding_top, shape.out_height, kernel_height);
        Self {
            batch: shape.batch,
            height: shape.in_height,
            width: shape.in_width,
            map_channels: in_channels,
            first: 0,
            channels: in_channels,
            stride,
            top: shape.padding_top,
            left: shape.padding_left,
            planes: [stride.min(kernel_height), stride.min(taps)],
            folded,
            depth: (folded.unwrap_or(1) * in_channels).next_multiple_of(RUN),
            outputs: [shape.out_height, shape.out_width],
            pitch: [down, across],
            reach: [(kernel_height - 1) / stride, (taps - 1) / stride],
        }
    }

    /// Rows of positions that have an output, of the whole batch.
    pub(super) fn output_rows(&self) -> usize {
        self.batch * self.outputs[0]
    }

    /// The same layout of some neighbouring channels, which may be fewer only if positions hold
    /// single columns.
    pub(super) fn with_channels(self, channels: Range<usize>) -> Self {
        if self.folded.is_some() {
            assert_eq!(channels, 0..self.map_channels, "all channels are folded");
            return self;
        }
        let depth = channels.len().next_multiple_of(RUN);
        Self { first: channels.start, channels: channels.len(), depth, ..self }
    }

    /// The layout of the convolution's output with an output at the position that has its input
    /// here, and zeros elsewhere.
    pub(super) fn of_output(self, shape: &ConvolutionShape) -> Self {
        Self {
            height: shape.out_height,
            width: shape.out_width,
            map_channels: shape.out_channels,
            first: 0,
            channels: shape.out_channels,
            stride: 1,
            top: 0,
            left: 0,
            planes: [1, 1],
            folded: None,
            depth: shape.out_channels.next_multiple_of(RUN),
            reach: [0, 0],
            ..self
        }
    }

    /// Rows of positions of an image that have an output.
    pub(super) fn rows_per_image(&self) -> usize {
        self.outputs[0]
    }

    /// Positions from one row to the next.
    pub(super) fn positions_per_row(&self) -> usize {
        self.pitch[1]
    }

    /// Bytes of a position in all planes.
    pub(super) fn bytes(&self) -> usize {
        self.planes() * self.depth * size_of::<Bf16>()
    }

    /// Values of a position.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Values of a position without the zeros that fill it up.
    pub(super) fn channels_of_position(&self) -> usize {
        self.folded.unwrap_or(1) * self.channels
    }

    /// Columns of the kernel that a position holds.
    pub(super) fn folded(&self) -> Option<usize> {
        self.folded
    }

    /// Rows and columns of a kernel that positions are read at.
    pub(super) fn taps(&self, shape: &ConvolutionShape) -> Vec<[usize; 2]> {
        let across = self.folded.map_or(shape.kernel_width, |_| 1);
        let rows = 0..shape.kernel_height;
        rows.flat_map(|row| (0..across).map(move |column| [row, column])).collect()
    }

    /// The memory for some rows among [`Self::output_rows`].
    pub(super) fn extent(&self, outputs: &Range<usize>) -> Extent {
        let row =
            |output: usize| output / self.outputs[0] * self.pitch[0] + output % self.outputs[0];
        let rows = row(outputs.start)..row(outputs.end - 1) + 1;
        let positions = (rows.len() * self.pitch[1]).next_multiple_of(GROUP);
        Extent { plane: positions + self.reach[0] * self.pitch[1] + self.reach[1], rows }
    }

    /// Values in memory for an extent.
    pub(super) fn length(&self, extent: &Extent) -> usize {
        self.planes() * extent.plane * self.depth
    }

    /// Values from a position to the input of the tap in a row and a column of the kernel.
    pub(super) fn offset(&self, extent: &Extent, row: usize, column: usize) -> usize {
        let (plane, place) = self.place(row, column);
        (plane * extent.plane + place) * self.depth
    }

    /// The same in planes and positions.
    pub(super) fn place(&self, row: usize, column: usize) -> (usize, usize) {
        (
            row % self.stride * self.planes[1] + column % self.stride,
            row / self.stride * self.pitch[1] + column / self.stride,
        )
    }

    /// Number of planes.
    pub(super) fn planes(&self) -> usize {
        self.planes[0] * self.planes[1]
    }

    /// Groups of positions in an extent.
    pub(super) fn groups(&self, extent: &Extent) -> usize {
        (extent.rows.len() * self.pitch[1]).div_ceil(GROUP)
    }

    /// Calls `visit` with each position of an extent that has an output, in order, and with the
    /// output's image, row and column.
    pub(super) fn each_output(&self, extent: &Extent, mut visit: impl FnMut(usize, [usize; 3])) {
        for (at, row) in extent.rows.clone().enumerate() {
            let (image, row) = (row / self.pitch[0], row % self.pitch[0]);
            if row < self.outputs[0] {
                for column in 0..self.outputs[1] {
                    visit(at * self.pitch[1] + column, [image, row, column]);
                }
            }
        }
    }

    /// Lends the values of an extent at line-aligned positions: the input itself if it has this
    /// layout, otherwise a copy.
    pub(super) fn with_values<R>(
        &self,
        extent: &Extent,
        input: &Input<'_, Bf16>,
        work: impl FnOnce(&[Bf16]) -> R,
    ) -> R {
        // At the end of such a part of the input, positions without an output are those of the
        // next extent.
        let start = extent.rows.start * self.pitch[1] * self.depth;
        let whole = start..start + self.length(extent);
        match input.values.get(whole) {
            Some(values)
                if self.is_input(input)
                    && self.depth == self.map_channels
                    && values.as_ptr().addr().is_multiple_of(size_of::<CacheLine>()) =>
            {
                work(values)
            }
            _ => self.with_copy(extent, input, work),
        }
    }

    /// Lends the values of an extent at positions that need not be aligned. Zeros follow the last
    /// row of positions.
    pub(super) fn with_view<R>(
        &self,
        extent: &Extent,
        input: &Input<'_, Bf16>,
        work: impl FnOnce(View<'_>) -> R,
    ) -> R {
        let count = extent.rows.len() * self.pitch[1];
        if self.is_input(input) && extent.plane == count {
            let start = extent.rows.start * self.pitch[1] * self.map_channels;
            let values = &input.values[start..][..count * self.map_channels];
            let (stride, channels) = (self.map_channels, self.channels);
            return work(View { values: &values[self.first..], stride, channels });
        }
        self.with_copy(extent, input, |values| {
            work(View { values, stride: self.depth, channels: self.depth })
        })
    }

    /// Whether positions are the input's pixels.
    fn is_input(&self, input: &Input<'_, Bf16>) -> bool {
        self.folded.is_none()
            && self.stride == 1
            && self.reach == [0, 0]
            && self.pitch == [self.height, self.width]
            && input.normalization.is_none()
    }

    fn with_copy<R>(
        &self,
        extent: &Extent,
        input: &Input<'_, Bf16>,
        work: impl FnOnce(&[Bf16]) -> R,
    ) -> R {
        with_scratch(self.length(extent), |values: &mut [Bf16]| {
            self.fill(extent, input, values);
            work(values)
        })
    }

    /// Copies the values of an extent.
    fn fill(&self, extent: &Extent, input: &Input<'_, Bf16>, target: &mut [Bf16]) {
        let planes = (0..self.planes[0])
            .flat_map(|down| (0..self.planes[1]).map(move |across| [down, across]));
        let row_length = self.pitch[1] * self.depth;
        for (plane, target) in planes.zip(target.chunks_exact_mut(extent.plane * self.depth)) {
            let rows = extent.rows.start..extent.rows.end + self.reach[0];
            let (filled, rest) = target.split_at_mut(rows.len() * row_length);
            for (row, target) in rows.zip(filled.chunks_exact_mut(row_length)) {
                match self.source(input, row, plane[0]) {
                    Some(source) if self.folded.is_some() => self.fold_row(input, source, target),
                    Some(source) => self.fill_row(input, source, plane[1], target),
                    None => target.fill(Bf16::default()),
                }
            }
            rest.fill(Bf16::default());
        }
    }

    /// The row of the input in a row of positions; `None` if it is padding.
    fn source<'a>(&self, input: &Input<'a, Bf16>, row: usize, plane: usize) -> Option<&'a [Bf16]> {
        let (image, row) = (row / self.pitch[0], row % self.pitch[0]);
        let row = (row * self.stride + plane).checked_sub(self.top)?;
        if image >= self.batch || row >= self.height {
            return None;
        }
        let length = self.width * self.map_channels;
        Some(&input.values[(image * self.height + row) * length..][..length])
    }

    fn fill_row(
        &self,
        input: &Input<'_, Bf16>,
        source: &[Bf16],
        plane: usize,
        target: &mut [Bf16],
    ) {
        let position = self.depth;
        // Columns of positions that lie in the image.
        let column = |end: usize| {
            let column = (end + self.left).saturating_sub(plane).div_ceil(self.stride);
            column.min(target.len() / position)
        };
        let (first, end) = (column(0), column(self.width));
        target[..first * position].fill(Bf16::default());
        target[end * position..].fill(Bf16::default());
        if first >= end {
            return;
        }
        let target = &mut target[first * position..end * position];
        let column = first * self.stride + plane - self.left;
        let source = &source[column * self.map_channels + self.first..];
        let step = self.stride * self.map_channels;
        let channels = self.first..self.first + self.channels;
        match input.normalization {
            Some(normalization) => {
                let (low, high) = normalization.activation.bounds();
                let (scale, shift) =
                    (&normalization.scale[channels.clone()], &normalization.shift[channels]);
                place_normalized(source, step, self.depth, scale, shift, low, high, target);
            }
            None => place(source, step, self.channels, self.depth, target),
        }
    }

    /// Copies the values under the columns of the kernel for each position of a row.
    fn fold_row(&self, input: &Input<'_, Bf16>, source: &[Bf16], target: &mut [Bf16]) {
        let Some(normalization) = input.normalization else {
            return self.fold(source, target);
        };
        with_scratch(source.len(), |normalized: &mut [Bf16]| {
            normalization.apply(0..self.channels, source, self.channels, normalized);
            self.fold(normalized, target);
        });
    }

    fn fold(&self, source: &[Bf16], target: &mut [Bf16]) {
        let columns = self.folded.unwrap_or(1);
        let count = columns * self.channels;
        // Between the borders, positions differ only in where their columns begin.
        let positions = target.len() / self.depth;
        let inner = self.left.div_ceil(self.stride).min(positions);
        let end = (self.width + self.left + self.stride).saturating_sub(columns) / self.stride;
        let end = end.clamp(inner, positions);
        let (before, rest) = target.split_at_mut(inner * self.depth);
        let (middle, after) = rest.split_at_mut((end - inner) * self.depth);
        if end > inner {
            let first = (inner * self.stride - self.left) * self.channels;
            let step = self.stride * self.channels;
            place(&source[first..], step, count, self.depth, middle);
        }
        with_scratch(count, |values: &mut [Bf16]| {
            for (start, target) in [(0, before), (end, after)] {
                for (at, target) in target.chunks_exact_mut(self.depth).enumerate() {
                    let start = (start + at) * self.stride;
                    let before = self.left.saturating_sub(start).min(columns);
                    let end = (self.width + self.left).saturating_sub(start).clamp(before, columns);
                    let (inside, end) = (before * self.channels, end * self.channels);
                    values[..inside].fill(Bf16::default());
                    values[end..].fill(Bf16::default());
                    if end > inside {
                        let from = (start + before - self.left) * self.channels;
                        values[inside..end].copy_from_slice(&source[from..][..end - inside]);
                    }
                    place(values, count, count, self.depth, target);
                }
            }
        });
    }
}
