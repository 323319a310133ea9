//! Copies of a row of a feature map at positions of a [lattice](super::lattice).

use crate::activation::clamp;
use crate::element::{Bf16, Element};
use crate::isa::{for_each_isa, multiply_add};
use crate::memory::prefetch_ahead;

for_each_isa! {
    /// Writes `channels` values of each of several positions at distances of `depth`, zeros
    /// in between. The positions' values are `step` values apart.
    pub(super) fn place(
        source: &[Bf16], step: usize, channels: usize, depth: usize, target: &mut [Bf16]
    ) => place_body
}
#[inline(always)]
fn place_body<const FUSED: bool>(
    source: &[Bf16],
    step: usize,
    channels: usize,
    depth: usize,
    target: &mut [Bf16],
) {
    const LINE: usize = 32;
    for (at, target) in target.chunks_exact_mut(depth).enumerate() {
        let values = &source[at * step..][..channels];
        prefetch_ahead(values);
        let (whole, rest) = values.as_chunks::<LINE>();
        let (lines, _) = target.as_chunks_mut::<LINE>();
        for (line, values) in lines.iter_mut().zip(whole) {
            *line = *values;
        }
        if let Some(line) = lines.get_mut(whole.len()) {
            for (column, value) in line.iter_mut().enumerate() {
                *value = rest.get(column).copied().unwrap_or_default();
            }
        }
    }
}

for_each_isa! {
    /// [`place`] for values that are normalised first.
    pub(super) fn place_normalized(
        source: &[Bf16], step: usize, depth: usize, scale: &[f32], shift: &[f32], low: f32,
            high: f32, target: &mut [Bf16]
    ) => place_normalized_body
}
#[inline(always)]
fn place_normalized_body<const FUSED: bool>(
    source: &[Bf16],
    step: usize,
    depth: usize,
    scale: &[f32],
    shift: &[f32],
    low: f32,
    high: f32,
    target: &mut [Bf16],
) {
    let channels = scale.len();
    for (at, target) in target.chunks_exact_mut(depth).enumerate() {
        let values = &source[at * step..][..channels];
        prefetch_ahead(values);
        let (target, rest) = target.split_at_mut(channels);
        for (((target, value), scale), shift) in target.iter_mut().zip(values).zip(scale).zip(shift)
        {
            let normalized = multiply_add::<FUSED>(value.to_f32(), *scale, *shift);
            *target = Bf16::from_f32(clamp(normalized, low, high));
        }
        rest.fill(Bf16::default());
    }
}
