//! Feature maps as layers read them: unchanged, or normalised as they are read.

use crate::activation::{Activation, clamp};
use crate::element::Element;
use crate::isa::{for_each_isa, multiply_add};
use crate::memory::prefetch_ahead;
use std::ops::Range;

/// The batch norm and activation of the layer that computed a feature map, applied as the map is
/// read, so that the normalised map need not be in memory.
#[derive(Clone, Copy, Debug)]
pub struct Normalization<'a> {
    /// See [`crate::batch_norm::normalize`].
    pub scale: &'a [f32],
    /// See [`crate::batch_norm::normalize`].
    pub shift: &'a [f32],
    /// Applied last.
    pub activation: Activation,
}

impl Normalization<'_> {
    /// The result of [`crate::batch_norm::normalize`], without residual and branch, for some
    /// neighbouring channels of pixels that are `stride` elements apart. `output` has a row of
    /// these channels for each pixel.
    pub(crate) fn apply<E: Element, O: Element>(
        &self,
        channels: Range<usize>,
        input: &[E],
        stride: usize,
        output: &mut [O],
    ) {
        let (low, high) = self.activation.bounds();
        normalize_rows(
            input,
            stride,
            &self.scale[channels.clone()],
            &self.shift[channels],
            1.0,
            low,
            high,
            output,
        );
    }
}

/// A feature map that a layer reads.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a, E> {
    /// Its elements, `[N, H, W, C]`.
    pub values: &'a [E],
    /// The normalisation that is applied first.
    pub normalization: Option<Normalization<'a>>,
}

impl<'a, E> From<&'a [E]> for Input<'a, E> {
    fn from(values: &'a [E]) -> Self {
        Self { values, normalization: None }
    }
}

impl<'a, E> From<&'a Vec<E>> for Input<'a, E> {
    fn from(values: &'a Vec<E>) -> Self {
        values.as_slice().into()
    }
}

for_each_isa! {
    pub(crate) fn normalize_rows<E: Element, O: Element>(
        input: &[E], stride: usize, scale: &[f32], shift: &[f32], keep: f32, low: f32, high: f32,
            output: &mut [O]
    ) => normalize_rows_body
}
/// Normalises the channels of `scale` of pixels that are `stride` elements apart, and rounds to the
/// input's type whatever the output's is.
#[inline(always)]
fn normalize_rows_body<const FUSED: bool, E: Element, O: Element>(
    input: &[E],
    stride: usize,
    scale: &[f32],
    shift: &[f32],
    keep: f32,
    low: f32,
    high: f32,
    output: &mut [O],
) {
    for (row, output) in output.chunks_exact_mut(scale.len()).enumerate() {
        let input = &input[row * stride..][..scale.len()];
        prefetch_ahead(input);
        prefetch_ahead(output);
        for (((output, input), scale), shift) in output.iter_mut().zip(input).zip(scale).zip(shift)
        {
            let normalized =
                clamp(keep * multiply_add::<FUSED>(input.to_f32(), *scale, *shift), low, high);
            *output = O::from_f32(E::from_f32(normalized).to_f32());
        }
    }
}
