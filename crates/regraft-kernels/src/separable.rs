//! Blocks of a depthwise convolution between two of 1x1, in evaluation: the inverted residuals of
//! MobileNetV2 (Sandler et al. 2018) and EfficientNet, and the separable convolutions of
//! MobileNetV1, which begin with the depthwise one.
//!
//! A task takes some rows of an image. It expands a few rows of the input, convolves them, and
//! projects the result, so the maps between the convolutions, which are several times as wide as
//! the block's input and output, stay in the cache. Every value is summed, and rounded to the
//! maps' type, as the three convolutions would do it one after the other.

use crate::activation::{Activation, Epilogue};
use crate::depthwise::{self, Band, Place, Walk, bands, convolve_rows};
use crate::element::{CopyFrom, Element, with_sums, with_values};
use crate::gemm::{Left, multiply};
use crate::isa::for_each_isa;
use crate::packing::{MapElement, PackedOperand, PackedWeights, Packing};
use crate::scratch::with_scratch;
use crate::shape::ConvolutionShape;
use rayon::prelude::*;
use std::ops::Range;

/// Elements of the expanded rows that a task holds: half a mebibyte.
const BAND_ELEMENTS: usize = 1 << 17;
/// Least number of tasks, if there are enough rows.
const TASKS: usize = 64;
/// Least number of rows of a task: at its ends, rows are expanded that its neighbour needs too.
const LEAST_ROWS: usize = 8;

/// A convolution of 1x1 pixels, packed, with its bias and activation.
#[derive(Clone, Debug)]
pub struct Pointwise {
    packed: PackedWeights,
    ins: usize,
    bias: Vec<f32>,
    activation: Activation,
}

impl Pointwise {
    /// From weights `[out, in]`, for feature maps of `E`. There are as many output channels as
    /// values in `bias`.
    ///
    /// # Panics
    /// If the weights are not a multiple of the output channels.
    #[must_use]
    pub fn new<E: MapElement>(weights: &[f32], bias: Vec<f32>, activation: Activation) -> Self {
        let outs = bias.len();
        assert!(
            weights.len().is_multiple_of(outs),
            "{} weights for {outs} channels",
            weights.len()
        );
        let shape = ConvolutionShape {
            batch: 1,
            in_height: 1,
            in_width: 1,
            in_channels: weights.len() / outs,
            out_height: 1,
            out_width: 1,
            out_channels: outs,
            kernel_height: 1,
            kernel_width: 1,
            stride: 1,
            padding_top: 0,
            padding_left: 0,
            groups: 1,
        };
        let mut packed = PackedWeights::default();
        packed.pack_for_products::<E>(&shape, weights);
        Self { packed, ins: shape.in_channels, bias, activation }
    }

    fn outs(&self) -> usize {
        self.bias.len()
    }

    fn ins(&self) -> usize {
        self.ins
    }

    /// Convolves whole pixels. `residual` has the output's shape.
    fn apply<E: MapElement>(&self, input: &[E], residual: Option<&[E]>, output: &mut [f32]) {
        if E::multiplies_natively() {
            self.multiply::<E, E::Native>(input, output);
        } else {
            self.multiply::<E, f32>(input, output);
        }
        let Self { bias, activation, .. } = self;
        Epilogue { bias: Some(bias), residual, activation: *activation }.apply(
            output,
            0,
            bias.len(),
        );
    }

    fn multiply<E: Element, O: PackedOperand + CopyFrom<E>>(
        &self,
        input: &[E],
        output: &mut [f32],
    ) {
        let (ins, outs) = (self.ins, self.outs());
        let matrix = match O::packing(&self.packed) {
            Packing::Groups(matrices) if matrices.len() == 1 => &matrices[0],
            _ => panic!("weights packed for maps of another type"),
        };
        let pixels = output.len() / outs;
        if let Some(input) = O::in_place(input) {
            return multiply(Left::rows(input, ins), pixels, matrix, output, outs, false);
        }
        with_scratch(input.len(), |copy: &mut [O]| {
            O::copy_run(input, copy);
            multiply(Left::rows(copy, ins), pixels, matrix, output, outs, false);
        });
    }
}

/// A depthwise convolution, with its bias and activation.
#[derive(Clone, Copy, Debug)]
pub struct Depthwise<'a> {
    /// Its shape.
    pub shape: ConvolutionShape,
    /// Its weights, as [`depthwise::forward`] takes them.
    pub weights: &'a [f32],
    /// One value for each channel.
    pub bias: &'a [f32],
    /// Applied last.
    pub activation: Activation,
}

/// A depthwise convolution and those around it.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// The convolution before; without, the input is the depthwise convolution's.
    pub expand: Option<&'a Pointwise>,
    /// The depthwise convolution.
    pub depthwise: Depthwise<'a>,
    /// The convolution after; without, the output is the depthwise convolution's.
    pub project: Option<&'a Pointwise>,
}

impl Block<'_> {
    /// Computes the block's output. `residual`, of the same shape, is added before the last
    /// activation.
    ///
    /// # Panics
    /// If the depthwise convolution [is not handled](depthwise::handles), or if a slice's length is
    /// not the shape's.
    pub fn forward<E: MapElement>(&self, input: &[E], residual: Option<&[E]>, output: &mut [E]) {
        let shape = &self.depthwise.shape;
        let outs = self.project.map_or(shape.out_channels, Pointwise::outs);
        let row_length = shape.out_width * outs;
        depthwise::check_weights(shape, self.depthwise.weights.len());
        assert_eq!(self.depthwise.bias.len(), shape.out_channels, "{shape:?}");
        assert_eq!(output.len(), shape.batch * shape.out_height * row_length, "{shape:?}");
        assert!(residual.is_none_or(|residual| residual.len() == output.len()), "{shape:?}");
        let ins = self.expand.map_or(shape.in_channels, Pointwise::ins);
        let pixels = shape.batch * shape.in_height * shape.in_width;
        assert_eq!(input.len(), pixels * ins, "{shape:?}");
        assert!(
            self.expand.is_none_or(|expand| expand.outs() == shape.in_channels)
                && self.project.is_none_or(|project| project.ins() == shape.out_channels),
            "{shape:?}"
        );
        let parts = TASKS.div_ceil(shape.batch);
        let rows = shape.out_height.div_ceil(parts).max(LEAST_ROWS);
        let tasks = bands(output, shape.out_height, row_length, rows);
        tasks.into_par_iter().for_each(|(place, output)| {
            let start = (place.image * shape.out_height + place.rows.start) * row_length;
            let residual = residual.map(|residual| &residual[start..start + output.len()]);
            let length = input.len() / shape.batch;
            let picture = &input[place.image * length..(place.image + 1) * length];
            self.rows(&place, picture, residual, output);
        });
    }

    /// Computes rows of an image, some at a time.
    fn rows<E: MapElement>(
        &self,
        place: &Place,
        picture: &[E],
        residual: Option<&[E]>,
        output: &mut [E],
    ) {
        let shape = &self.depthwise.shape;
        let (walk, row) = (Walk::over_input(shape), shape.in_width * shape.in_channels);
        let step = (BAND_ELEMENTS / (row * shape.stride)).clamp(1, place.rows.len());
        let most = ((step - 1) * shape.stride + shape.kernel_height).min(shape.in_height);
        let row_length = output.len() / place.rows.len();
        let length = if self.expand.is_some() { most * row } else { 0 };
        with_scratch(length, |memory: &mut [f32]| {
            let mut expanded = Expanded { memory, rows: 0..0, row };
            for (part, output) in output.chunks_mut(step * row_length).enumerate() {
                let start = place.rows.start + part * step;
                let rows = start..start + output.len() / row_length;
                let place = part * step * row_length;
                let residual = residual.map(|residual| &residual[place..place + output.len()]);
                let under = walk.rows_under(shape.kernel_height, &rows);
                if let Some(expand) = self.expand {
                    let band = expanded.advance(under, expand, picture, shape.in_width);
                    self.convolve(&walk, band, rows, residual, output);
                } else {
                    with_values(&picture[under.start * row..under.end * row], |values| {
                        let band = Band { values, first_row: under.start };
                        self.convolve(&walk, band, rows, residual, output);
                    });
                }
            }
        });
    }

    /// The depthwise convolution and the projection of some rows.
    fn convolve<E: MapElement>(
        &self,
        walk: &Walk,
        band: Band<'_>,
        rows: Range<usize>,
        residual: Option<&[E]>,
        output: &mut [E],
    ) {
        let Depthwise { shape, weights, bias, activation } = self.depthwise;
        let channels = shape.out_channels;
        let length = rows.len() * shape.out_width * channels;
        let convolve = |sums: &mut [f32], residual: Option<&[E]>| {
            convolve_rows(walk, band, weights, shape.kernel_height, rows, sums, false);
            Epilogue { bias: Some(bias), residual, activation }.apply(sums, 0, channels);
        };
        match self.project {
            None => with_sums(output, false, |sums| convolve(sums, residual)),
            Some(project) => with_scratch(length, |map: &mut [E]| {
                with_sums(map, false, |sums| convolve(sums, None));
                with_sums(output, false, |sums| project.apply(map, residual, sums));
            }),
        }
    }
}

/// Neighbouring rows of an expanded image.
struct Expanded<'a> {
    memory: &'a mut [f32],
    /// The rows in memory.
    rows: Range<usize>,
    /// Elements of a row.
    row: usize,
}

impl Expanded<'_> {
    /// Moves to rows that do not begin before those in memory, and expands those that are new.
    fn advance<E: MapElement>(
        &mut self,
        rows: Range<usize>,
        expand: &Pointwise,
        picture: &[E],
        width: usize,
    ) -> Band<'_> {
        let Self { memory, row, .. } = self;
        let mut fresh = rows.clone();
        if self.rows.contains(&rows.start) {
            fresh.start = self.rows.end.min(rows.end);
            let from = (rows.start - self.rows.start) * *row;
            memory.copy_within(from..from + (fresh.start - rows.start) * *row, 0);
        }
        let place = (fresh.start - rows.start) * *row;
        let target = &mut memory[place..place + fresh.len() * *row];
        let input = width * expand.ins();
        expand.apply(&picture[fresh.start * input..fresh.end * input], None, target);
        round::<E>(target);
        self.rows = rows.clone();
        Band { values: &self.memory[..rows.len() * self.row], first_row: rows.start }
    }
}

for_each_isa! {
    /// Rounds values to those of `E`.
    fn round<E: Element>(values: &mut [f32]) => round_body
}
#[inline(always)]
fn round_body<const FUSED: bool, E: Element>(values: &mut [f32]) {
    for value in values {
        *value = E::from_f32(*value).to_f32();
    }
}
