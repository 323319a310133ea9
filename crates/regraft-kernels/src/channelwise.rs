//! Products of a feature map `[N, pixels, C]` with a vector of its channels: one for each image, as
//! in squeeze-and-excitation, or one for all, as in layer scale.

use crate::element::{Element, with_sums, with_values};
use crate::isa::{for_each_isa, multiply_add};
use rayon::prelude::*;

/// Number of values in a task, rounded up to whole pixels.
const PER_TASK: usize = 1 << 13;

fn block_length(channels: usize) -> usize {
    PER_TASK.div_ceil(channels) * channels
}

/// `output = map * vectors[image]`, where `vectors` is `[N, C]`. If `accumulate`, the product is
/// added to `output`, which computes the gradient of a feature map.
pub fn multiply<E: Element>(
    map: &[E],
    vectors: &[E],
    channels: usize,
    output: &mut [E],
    accumulate: bool,
) {
    assert_eq!(map.len(), output.len());
    let images = vectors.len() / channels;
    let length = map.len() / images;
    output
        .par_chunks_mut(length)
        .zip(map.par_chunks(length))
        .zip(vectors.par_chunks_exact(channels))
        .for_each(|((output, map), vector)| {
            with_values(vector, |vector| {
                let block = block_length(channels);
                let tasks = output.par_chunks_mut(block).zip(map.par_chunks(block));
                tasks.for_each(|(output, map)| multiply_block(map, vector, accumulate, output));
            });
        });
}

/// The gradient of [`multiply`]'s vectors: `sum over pixels of map * gradient`.
pub fn multiply_backward_vectors<E: Element>(
    map: &[E],
    gradient: &[E],
    channels: usize,
    vector_gradients: &mut [E],
    accumulate: bool,
) {
    assert_eq!(map.len(), gradient.len());
    let images = vector_gradients.len() / channels;
    let length = map.len() / images;
    let tasks = vector_gradients
        .par_chunks_exact_mut(channels)
        .zip(map.par_chunks(length))
        .zip(gradient.par_chunks(length));
    tasks.for_each(|((target, map), gradient)| {
        with_sums(target, accumulate, |sums| {
            if !accumulate {
                sums.fill(0.0);
            }
            add_products(map, gradient, sums);
        });
    });
}

/// `output = map * scale`, one scale for all images.
pub fn scale<E: Element>(map: &[E], scale: &[f32], output: &mut [E], accumulate: bool) {
    assert_eq!(map.len(), output.len());
    let block = block_length(scale.len());
    let tasks = output.par_chunks_mut(block).zip(map.par_chunks(block));
    tasks.for_each(|(output, map)| multiply_block(map, scale, accumulate, output));
}

/// The gradient of [`scale`]'s scale: `sum over images and pixels of map * gradient`, in blocks
/// that are added in order.
pub fn scale_backward<E: Element>(
    map: &[E],
    gradient: &[E],
    scale_gradient: &mut [f32],
    partial: &mut Vec<f32>,
) {
    assert_eq!(map.len(), gradient.len());
    let channels = scale_gradient.len();
    let block = block_length(channels);
    partial.clear();
    partial.resize(map.len().div_ceil(block) * channels, 0.0);
    let tasks = partial
        .par_chunks_exact_mut(channels)
        .zip(map.par_chunks(block))
        .zip(gradient.par_chunks(block));
    tasks.for_each(|((sums, map), gradient)| add_products(map, gradient, sums));
    let mut totals = vec![0.0f64; channels];
    for sums in partial.chunks_exact(channels) {
        totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += f64::from(*sum));
    }
    scale_gradient.iter_mut().zip(totals).for_each(|(gradient, total)| *gradient = total as f32);
}

for_each_isa! {
    fn multiply_block<E: Element>(map: &[E], vector: &[f32], accumulate: bool, output: &mut [E])
        => multiply_block_body
}
#[inline(always)]
fn multiply_block_body<const FUSED: bool, E: Element>(
    map: &[E],
    vector: &[f32],
    accumulate: bool,
    output: &mut [E],
) {
    for (output, map) in output.chunks_exact_mut(vector.len()).zip(map.chunks_exact(vector.len())) {
        for ((output, value), factor) in output.iter_mut().zip(map).zip(vector) {
            let before = if accumulate { output.to_f32() } else { 0.0 };
            *output = E::from_f32(multiply_add::<FUSED>(value.to_f32(), *factor, before));
        }
    }
}

for_each_isa! {
    fn add_products<E: Element>(map: &[E], gradient: &[E], sums: &mut [f32]) => add_products_body
}
#[inline(always)]
fn add_products_body<const FUSED: bool, E: Element>(map: &[E], gradient: &[E], sums: &mut [f32]) {
    for (map, gradient) in map.chunks_exact(sums.len()).zip(gradient.chunks_exact(sums.len())) {
        for ((sum, value), gradient) in sums.iter_mut().zip(map).zip(gradient) {
            *sum = multiply_add::<FUSED>(value.to_f32(), gradient.to_f32(), *sum);
        }
    }
}
