//! Sums and products of feature maps, value by value or channel by channel.

use crate::element::Element;
use crate::isa::{for_each_isa, multiply_add};
use rayon::prelude::*;

/// Number of values in a task.
const PER_TASK: usize = 1 << 14;

/// `output = left + right`.
pub fn sum<E: Element>(left: &[E], right: &[E], output: &mut [E]) {
    assert!(left.len() == output.len() && right.len() == output.len());
    let tasks = output
        .par_chunks_mut(PER_TASK)
        .zip(left.par_chunks(PER_TASK))
        .zip(right.par_chunks(PER_TASK));
    tasks.for_each(|((output, left), right)| sum_block(left, right, 1.0, output));
}

/// `output = factors[image] * branch + residual`, where each image has `length` values.
pub fn scaled_sum<E: Element>(
    branch: &[E],
    factors: &[f32],
    residual: &[E],
    length: usize,
    output: &mut [E],
) {
    assert!(
        branch.len() == output.len()
            && residual.len() == output.len()
            && factors.len() * length == output.len()
    );
    let tasks = output
        .par_chunks_mut(length)
        .zip(branch.par_chunks(length))
        .zip(residual.par_chunks(length))
        .zip(factors);
    tasks.for_each(|(((output, branch), residual), factor)| {
        sum_block(residual, branch, *factor, output)
    });
}

/// Passes a gradient on: `target = factor * source`, added to `target` if `accumulate`.
pub fn give<E: Element>(source: &[E], factor: f32, target: &mut [E], accumulate: bool) {
    assert_eq!(source.len(), target.len());
    let tasks = target.par_chunks_mut(PER_TASK).zip(source.par_chunks(PER_TASK));
    tasks.for_each(|(target, source)| {
        if accumulate {
            add_block(source, factor, target);
        } else {
            set_block(source, factor, target);
        }
    });
}

/// `target = factors * source`, with one factor for each value, added to `target` if `accumulate`.
pub fn multiply_values<E: Element>(
    source: &[E],
    factors: &[f32],
    target: &mut [E],
    accumulate: bool,
) {
    assert!(source.len() == target.len() && factors.len() == target.len());
    let tasks = target
        .par_chunks_mut(PER_TASK)
        .zip(source.par_chunks(PER_TASK))
        .zip(factors.par_chunks(PER_TASK));
    tasks.for_each(|((target, source), factors)| {
        multiply_block(source, factors, accumulate, target)
    });
}

/// The sum of each channel over all pixels, in blocks that are added in order: the gradient of a
/// bias.
pub fn channel_sums<E: Element>(map: &[E], sums: &mut [f32], partial: &mut Vec<f32>) {
    let channels = sums.len();
    let block = PER_TASK.div_ceil(channels) * channels;
    let blocks = map.len().div_ceil(block);
    partial.resize(blocks * channels, 0.0);
    map.par_chunks(block)
        .zip(partial.par_chunks_exact_mut(channels))
        .for_each(|(map, partial)| sum_channels(map, partial));
    let mut totals = vec![0.0f64; channels];
    for partial in partial.chunks_exact(channels) {
        totals.iter_mut().zip(partial).for_each(|(total, sum)| *total += f64::from(*sum));
    }
    sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum = total as f32);
}

for_each_isa! {
    fn sum_block<E: Element>(left: &[E], right: &[E], factor: f32, output: &mut [E])
        => sum_block_body
}
#[inline(always)]
fn sum_block_body<const FUSED: bool, E: Element>(
    left: &[E],
    right: &[E],
    factor: f32,
    output: &mut [E],
) {
    for ((output, left), right) in output.iter_mut().zip(left).zip(right) {
        *output = E::from_f32(multiply_add::<FUSED>(factor, right.to_f32(), left.to_f32()));
    }
}

for_each_isa! { fn set_block<E: Element>(source: &[E], factor: f32, target: &mut [E])
=> set_block_body }
#[inline(always)]
fn set_block_body<const FUSED: bool, E: Element>(source: &[E], factor: f32, target: &mut [E]) {
    target
        .iter_mut()
        .zip(source)
        .for_each(|(target, source)| *target = E::from_f32(factor * source.to_f32()));
}

for_each_isa! { fn add_block<E: Element>(source: &[E], factor: f32, target: &mut [E])
=> add_block_body }
#[inline(always)]
fn add_block_body<const FUSED: bool, E: Element>(source: &[E], factor: f32, target: &mut [E]) {
    for (target, source) in target.iter_mut().zip(source) {
        *target = E::from_f32(multiply_add::<FUSED>(factor, source.to_f32(), target.to_f32()));
    }
}

for_each_isa! {
    fn multiply_block<E: Element>(
        source: &[E], factors: &[f32], accumulate: bool, target: &mut [E]) => multiply_block_body
}
#[inline(always)]
fn multiply_block_body<const FUSED: bool, E: Element>(
    source: &[E],
    factors: &[f32],
    accumulate: bool,
    target: &mut [E],
) {
    for ((target, source), factor) in target.iter_mut().zip(source).zip(factors) {
        let before = if accumulate { target.to_f32() } else { 0.0 };
        *target = E::from_f32(multiply_add::<FUSED>(*factor, source.to_f32(), before));
    }
}

for_each_isa! { fn sum_channels<E: Element>(map: &[E], sums: &mut [f32]) => sum_channels_body }
#[inline(always)]
fn sum_channels_body<const FUSED: bool, E: Element>(map: &[E], sums: &mut [f32]) {
    sums.fill(0.0);
    for pixel in map.chunks_exact(sums.len()) {
        sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value.to_f32());
    }
}
