//! Activation functions, and the operations that follow a layer's output directly.

use crate::element::Element;
use crate::isa::for_each_isa;
use crate::memory::prefetch_ahead;

/// Elements between two times that an elementwise kernel asks for elements ahead.
const PIECE: usize = 128;

/// An elementwise activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The value itself.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
}

impl Activation {
    /// The least and greatest value that passes; beyond them the function is constant and its
    /// gradient zero.
    #[must_use]
    pub fn bounds(self) -> (f32, f32) {
        match self {
            Self::Identity => (f32::NEG_INFINITY, f32::INFINITY),
            Self::Relu => (0.0, f32::INFINITY),
            Self::Relu6 => (0.0, 6.0),
        }
    }

    /// The function's value. NaN stays NaN, so that a diverged training is noticed.
    #[inline(always)]
    #[must_use]
    pub fn apply(self, value: f32) -> f32 {
        let (low, high) = self.bounds();
        clamp(value, low, high)
    }
}

/// `value` limited to `low..=high`; NaN passes.
#[inline(always)]
pub(crate) fn clamp(value: f32, low: f32, high: f32) -> f32 {
    let value = if value < low { low } else { value };
    if value > high { high } else { value }
}

/// Operations on a linear operation's output while it is still in the cache: `activation(output +
/// bias + residual)`.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a, E = f32> {
    /// One value for each channel.
    pub bias: Option<&'a [f32]>,
    /// A feature map with the output's shape.
    pub residual: Option<&'a [E]>,
    /// Applied last.
    pub activation: Activation,
}

impl<E: Element> Epilogue<'_, E> {
    /// No operation.
    pub const NONE: Self = Self { bias: None, residual: None, activation: Activation::Identity };

    /// Applies the operations to the sums `rows`, whole pixels of `channels` that begin `offset`
    /// elements into the output.
    pub(crate) fn apply(&self, rows: &mut [f32], offset: usize, channels: usize) {
        let residual = self.residual.map(|residual| &residual[offset..offset + rows.len()]);
        let (low, high) = self.activation.bounds();
        match (self.bias, residual) {
            (None, None) if self.activation == Activation::Identity => {}
            (None, None) => limit(rows, low, high),
            (Some(bias), None) => add_bias(rows, &bias[..channels], low, high),
            (None, Some(residual)) => add_residual(rows, residual, low, high),
            (Some(bias), Some(residual)) => add_both(rows, &bias[..channels], residual, low, high),
        }
    }
}

for_each_isa! { fn limit(rows: &mut [f32], low: f32, high: f32) => limit_body }
#[inline(always)]
fn limit_body<const FUSED: bool>(rows: &mut [f32], low: f32, high: f32) {
    rows.iter_mut().for_each(|value| *value = clamp(*value, low, high));
}

for_each_isa! { fn add_bias(rows: &mut [f32], bias: &[f32], low: f32, high: f32) => add_bias_body }
#[inline(always)]
fn add_bias_body<const FUSED: bool>(rows: &mut [f32], bias: &[f32], low: f32, high: f32) {
    for row in rows.chunks_exact_mut(bias.len()) {
        for (value, bias) in row.iter_mut().zip(bias) {
            *value = clamp(*value + bias, low, high);
        }
    }
}

for_each_isa! { fn add_residual<E: Element>(rows: &mut [f32], residual: &[E], low: f32, high: f32)
=> add_residual_body }
#[inline(always)]
fn add_residual_body<const FUSED: bool, E: Element>(
    rows: &mut [f32],
    residual: &[E],
    low: f32,
    high: f32,
) {
    for (value, residual) in rows.iter_mut().zip(residual) {
        *value = clamp(*value + residual.to_f32(), low, high);
    }
}

for_each_isa! { fn add_both<E: Element>(
rows: &mut [f32], bias: &[f32], residual: &[E], low: f32, high: f32) => add_both_body }
#[inline(always)]
fn add_both_body<const FUSED: bool, E: Element>(
    rows: &mut [f32],
    bias: &[f32],
    residual: &[E],
    low: f32,
    high: f32,
) {
    for (row, residual) in rows.chunks_exact_mut(bias.len()).zip(residual.chunks_exact(bias.len()))
    {
        for ((value, bias), residual) in row.iter_mut().zip(bias).zip(residual) {
            *value = clamp(*value + bias + residual.to_f32(), low, high);
        }
    }
}

for_each_isa! { pub(crate) fn pass_between<E: Element>(
gradient: &mut [E], output: &[E], low: f32, high: f32) => pass_between_body }
#[inline(always)]
fn pass_between_body<const FUSED: bool, E: Element>(
    gradient: &mut [E],
    output: &[E],
    low: f32,
    high: f32,
) {
    for (gradient, output) in gradient.chunks_mut(PIECE).zip(output.chunks(PIECE)) {
        prefetch_ahead(gradient);
        prefetch_ahead(output);
        for (gradient, output) in gradient.iter_mut().zip(output) {
            let output = output.to_f32();
            *gradient = if output > low && output < high { *gradient } else { E::default() };
        }
    }
}

for_each_isa! {
    pub(crate) fn add_slices<E: Element>(target: &mut [E], source: &[E]) => add_slices_body
}
#[inline(always)]
fn add_slices_body<const FUSED: bool, E: Element>(target: &mut [E], source: &[E]) {
    for (target, source) in target.chunks_mut(PIECE).zip(source.chunks(PIECE)) {
        prefetch_ahead(target);
        prefetch_ahead(source);
        for (target, source) in target.iter_mut().zip(source) {
            *target = E::from_f32(target.to_f32() + source.to_f32());
        }
    }
}
