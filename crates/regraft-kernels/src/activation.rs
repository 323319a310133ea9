//! Activation functions, and what is done to a layer's output right after it is computed.

use crate::isa::for_each_isa;
use rayon::prelude::*;

/// An elementwise activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The value as it is.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
}

impl Activation {
    /// The least and greatest value that passes; outside, the function is constant and its gradient zero.
    #[must_use]
    pub fn bounds(self) -> (f32, f32) {
        match self {
            Self::Identity => (f32::NEG_INFINITY, f32::INFINITY),
            Self::Relu => (0.0, f32::INFINITY),
            Self::Relu6 => (0.0, 6.0),
        }
    }

    /// The function's value. NaN stays NaN, so that a diverged training shows.
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

/// What is done to a linear operation's output while it is still in the cache: `activation(output + bias + residual)`.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// One value a channel.
    pub bias: Option<&'a [f32]>,
    /// A map of the output's shape.
    pub residual: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
}

impl Epilogue<'_> {
    /// Nothing is done.
    pub const NONE: Self = Self { bias: None, residual: None, activation: Activation::Identity };

    /// Applies to `rows`, whole pixels of `channels` that begin `offset` elements into the output.
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

for_each_isa! { fn add_residual(rows: &mut [f32], residual: &[f32], low: f32, high: f32) => add_residual_body }
#[inline(always)]
fn add_residual_body<const FUSED: bool>(rows: &mut [f32], residual: &[f32], low: f32, high: f32) {
    for (value, residual) in rows.iter_mut().zip(residual) {
        *value = clamp(*value + residual, low, high);
    }
}

for_each_isa! { fn add_both(rows: &mut [f32], bias: &[f32], residual: &[f32], low: f32, high: f32) => add_both_body }
#[inline(always)]
fn add_both_body<const FUSED: bool>(rows: &mut [f32], bias: &[f32], residual: &[f32], low: f32, high: f32) {
    for (row, residual) in rows.chunks_exact_mut(bias.len()).zip(residual.chunks_exact(bias.len())) {
        for ((value, bias), residual) in row.iter_mut().zip(bias).zip(residual) {
            *value = clamp(*value + bias + residual, low, high);
        }
    }
}

for_each_isa! { pub(crate) fn mask(gradient: &mut [f32], output: &[f32], low: f32, high: f32) => mask_body }
#[inline(always)]
fn mask_body<const FUSED: bool>(gradient: &mut [f32], output: &[f32], low: f32, high: f32) {
    for (gradient, output) in gradient.iter_mut().zip(output) {
        *gradient = if *output > low && *output < high { *gradient } else { 0.0 };
    }
}

for_each_isa! {
    pub(crate) fn add_slices(target: &mut [f32], source: &[f32]) => add_slices_body
}
#[inline(always)]
fn add_slices_body<const FUSED: bool>(target: &mut [f32], source: &[f32]) {
    target.iter_mut().zip(source).for_each(|(target, source)| *target += source);
}

/// Elements that one parallel task of an elementwise kernel takes.
pub(crate) const ELEMENTS_PER_TASK: usize = 1 << 16;

/// The gradient before an activation from that after it, in place: zero where the output met one of the bounds.
pub fn backward(activation: Activation, gradient: &mut [f32], output: &[f32]) {
    assert_eq!(gradient.len(), output.len());
    if activation == Activation::Identity {
        return;
    }
    let (low, high) = activation.bounds();
    let tasks = gradient.par_chunks_mut(ELEMENTS_PER_TASK).zip(output.par_chunks(ELEMENTS_PER_TASK));
    tasks.for_each(|(gradient, output)| mask(gradient, output, low, high));
}
