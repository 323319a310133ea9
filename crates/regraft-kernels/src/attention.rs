//! Scaled dot-product attention with several heads, `softmax(Q K^T / sqrt(d)) V`, as in PyTorch's
//! `scaled_dot_product_attention`.
//!
//! A head works on a block of queries at a time, so memory grows with the number of tokens, not
//! with its square. The backward pass computes the weights again instead of keeping them (as
//! FlashAttention does; Dao et al. 2022). Queries, keys and values are widened to f32.

use crate::element::{Element, copy};
use crate::functions::exp;
use crate::gemm::{Left, Matrix, Operand, Packed, Rows, Sums, multiply};
use crate::isa::for_each_isa;
use crate::rows::row_sum;
use crate::scratch::with_scratch;
use rayon::prelude::*;

/// Queries of a block.
const QUERIES: usize = 64;
/// Images whose heads are computed before their outputs are written.
const IMAGES: usize = 8;
/// The sizes of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Tokens of an image.
    pub tokens: usize,
    /// Heads.
    pub heads: usize,
    /// Channels of a head.
    pub channels: usize,
}

impl AttentionShape {
    /// Channels of a token's output.
    fn width(&self) -> usize {
        self.heads * self.channels
    }

    /// Values of one head of an image.
    fn head(&self) -> usize {
        self.tokens * self.channels
    }

    fn factor(&self) -> f32 {
        1.0 / (self.channels as f32).sqrt()
    }
}

/// `input` is `[N, tokens, 3, heads, channels]`, queries, keys and values; `output` is `[N, tokens,
/// heads, channels]`. `partial` is memory that the function may use.
///
/// # Panics
/// If a slice's length is not the shape's.
pub fn forward<E: Element>(
    shape: AttentionShape,
    input: &[E],
    output: &mut [E],
    partial: &mut Vec<f32>,
) {
    let (heads, width, head) = (shape.heads, shape.width(), shape.head());
    let image = heads * head;
    assert!(output.len().is_multiple_of(image) && input.len() == 3 * output.len());
    partial.resize(IMAGES.min(output.len() / image) * image, 0.0);
    for (input, output) in input.chunks(IMAGES * 3 * image).zip(output.chunks_mut(IMAGES * image)) {
        let partial = &mut partial[..output.len()];
        partial.par_chunks_exact_mut(head).enumerate().for_each(|(task, result)| {
            let input = &input[task / heads * 3 * image..][..3 * image];
            forward_head(shape, input, task % heads, result);
        });
        output.par_chunks_exact_mut(width).enumerate().for_each(|(row, output)| {
            let (image, token) = (row / shape.tokens, row % shape.tokens);
            for (place, output) in output.chunks_exact_mut(shape.channels).enumerate() {
                let from = (image * heads + place) * head + token * shape.channels;
                copy(&partial[from..][..shape.channels], output);
            }
        });
    }
}

/// The gradient of the input. If `accumulate`, it is added to `input_gradient`.
///
/// # Panics
/// If a slice's length is not the shape's.
pub fn backward<E: Element>(
    shape: AttentionShape,
    input: &[E],
    output_gradient: &[E],
    input_gradient: &mut [E],
    accumulate: bool,
    partial: &mut Vec<f32>,
) {
    let (heads, width, head) = (shape.heads, shape.width(), shape.head());
    let image = heads * head;
    assert!(output_gradient.len().is_multiple_of(image));
    assert!(input.len() == 3 * output_gradient.len() && input.len() == input_gradient.len());
    partial.resize(IMAGES.min(output_gradient.len() / image) * 3 * image, 0.0);
    let images = input.chunks(IMAGES * 3 * image).zip(output_gradient.chunks(IMAGES * image));
    for ((input, gradient), target) in images.zip(input_gradient.chunks_mut(IMAGES * 3 * image)) {
        let partial = &mut partial[..target.len()];
        partial.par_chunks_exact_mut(3 * head).enumerate().for_each(|(task, result)| {
            let at = task / heads;
            let input = &input[at * 3 * image..][..3 * image];
            let gradient = &gradient[at * image..][..image];
            backward_head(shape, input, gradient, task % heads, result);
        });
        target.par_chunks_exact_mut(3 * width).enumerate().for_each(|(row, target)| {
            let (image, token) = (row / shape.tokens, row % shape.tokens);
            for (place, target) in target.chunks_exact_mut(shape.channels).enumerate() {
                let (part, place) = (place / heads, place % heads);
                let from = ((image * heads + place) * 3 + part) * head + token * shape.channels;
                let values = &partial[from..][..shape.channels];
                if accumulate {
                    for (target, value) in target.iter_mut().zip(values) {
                        *target = E::from_f32(target.to_f32() + value);
                    }
                } else {
                    copy(values, target);
                }
            }
        });
    }
}

/// Copies a head's part of an image, `[tokens, stride]` from its `first` channel on, to `[tokens,
/// channels]`.
fn gather<E: Element>(
    values: &[E],
    stride: usize,
    first: usize,
    channels: usize,
    head: &mut [f32],
) {
    let rows = values.chunks_exact(stride).zip(head.chunks_exact_mut(channels));
    rows.for_each(|(row, head)| copy(&row[first..][..channels], head));
}

/// Lends a head's queries, multiplied by the attention's factor, keys and values, `[tokens,
/// channels]` each.
fn with_head<E: Element, R>(
    shape: AttentionShape,
    input: &[E],
    head: usize,
    work: impl FnOnce(&[f32], &[f32], &[f32]) -> R,
) -> R {
    let (width, channels) = (shape.width(), shape.channels);
    with_scratch(3 * shape.head(), |values: &mut [f32]| {
        for (part, values) in values.chunks_exact_mut(shape.head()).enumerate() {
            gather(input, 3 * width, part * width + head * channels, channels, values);
        }
        let (queries, rest) = values.split_at_mut(shape.head());
        queries.iter_mut().for_each(|query| *query *= shape.factor());
        let (keys, values) = rest.split_at(shape.head());
        work(queries, keys, values)
    })
}

fn packed(matrix: Matrix<'_>, depth: usize, columns: usize) -> Packed<f32> {
    let mut packed = Packed::default();
    packed.pack(matrix, depth, columns);
    packed
}

fn forward_head<E: Element>(shape: AttentionShape, input: &[E], head: usize, output: &mut [f32]) {
    let AttentionShape { tokens, channels, .. } = shape;
    with_head(shape, input, head, |queries, keys, values| {
        let keys = packed(Matrix::Columns { data: keys, stride: channels }, channels, tokens);
        let values = packed(Matrix::Rows { data: values, stride: channels }, tokens, channels);
        with_scratch(QUERIES.min(tokens) * tokens, |weights: &mut [f32]| {
            let block = QUERIES * channels;
            for (queries, output) in queries.chunks(block).zip(output.chunks_mut(block)) {
                let rows = queries.len() / channels;
                let weights = &mut weights[..rows * tokens];
                multiply(Left::rows(queries, channels), rows, &keys, weights, tokens, false);
                softmax(weights, tokens);
                multiply(Left::rows(weights, tokens), rows, &values, output, channels, false);
            }
        });
    });
}

/// Writes the gradients of a head's queries, keys and values, `[3, tokens, channels]`.
fn backward_head<E: Element>(
    shape: AttentionShape,
    input: &[E],
    gradient: &[E],
    head: usize,
    result: &mut [f32],
) {
    let AttentionShape { tokens, channels, .. } = shape;
    let (query_gradient, rest) = result.split_at_mut(shape.head());
    let (key_gradient, value_gradient) = rest.split_at_mut(shape.head());
    with_head(shape, input, head, |queries, keys, values| {
        let across = packed(Matrix::Columns { data: keys, stride: channels }, channels, tokens);
        let down = packed(Matrix::Rows { data: keys, stride: channels }, tokens, channels);
        let values = packed(Matrix::Columns { data: values, stride: channels }, channels, tokens);
        let most = QUERIES.min(tokens) * tokens;
        with_scratch(2 * most + shape.head(), |scratch: &mut [f32]| {
            let (weights, rest) = scratch.split_at_mut(most);
            let (slopes, gradients) = rest.split_at_mut(most);
            gather(gradient, shape.width(), head * channels, channels, gradients);
            let mut scratch = Packed::default();
            let block = QUERIES * channels;
            let blocks = queries.chunks(block).zip(gradients.chunks(block));
            for (number, ((queries, gradients), query_gradient)) in
                blocks.zip(query_gradient.chunks_mut(block)).enumerate()
            {
                let rows = queries.len() / channels;
                let weights = &mut weights[..rows * tokens];
                let slopes = &mut slopes[..rows * tokens];
                multiply(Left::rows(queries, channels), rows, &across, weights, tokens, false);
                softmax(weights, tokens);
                multiply(Left::rows(gradients, channels), rows, &values, slopes, tokens, false);
                let accumulate = number > 0;
                let left = Rows { data: &*weights, stride: tokens, columns: tokens };
                let right = Rows { data: gradients, stride: channels, columns: channels };
                let sums = Sums { data: &mut *value_gradient, stride: channels, accumulate };
                f32::multiply_transposed(left, right, rows, sums, &mut scratch);
                softmax_backward(weights, slopes, tokens);
                multiply(Left::rows(slopes, tokens), rows, &down, query_gradient, channels, false);
                let left = Rows { data: &*slopes, stride: tokens, columns: tokens };
                let right = Rows { data: queries, stride: channels, columns: channels };
                let sums = Sums { data: &mut *key_gradient, stride: channels, accumulate };
                f32::multiply_transposed(left, right, rows, sums, &mut scratch);
            }
        });
    });
    // The queries were multiplied before.
    query_gradient.iter_mut().for_each(|slope| *slope *= shape.factor());
}

for_each_isa! {
    /// Replaces each row of `columns` values by its softmax.
    fn softmax(rows: &mut [f32], columns: usize) => softmax_body
}
#[inline(always)]
fn softmax_body<const FUSED: bool>(rows: &mut [f32], columns: usize) {
    for row in rows.chunks_exact_mut(columns) {
        let largest = row.iter().fold(f32::NEG_INFINITY, |largest, value| largest.max(*value));
        row.iter_mut().for_each(|value| *value = exp::<FUSED>(*value - largest));
        let factor = 1.0 / row_sum(columns, |place| row[place]);
        row.iter_mut().for_each(|value| *value *= factor);
    }
}

for_each_isa! {
    /// Replaces the gradients of weights by those of the values before the softmax.
    fn softmax_backward(weights: &[f32], slopes: &mut [f32], columns: usize)
        => softmax_backward_body
}
#[inline(always)]
fn softmax_backward_body<const FUSED: bool>(weights: &[f32], slopes: &mut [f32], columns: usize) {
    for (weights, slopes) in weights.chunks_exact(columns).zip(slopes.chunks_exact_mut(columns)) {
        let mean = row_sum(columns, |place| weights[place] * slopes[place]);
        slopes
            .iter_mut()
            .zip(weights)
            .for_each(|(slope, weight)| *slope = weight * (*slope - mean));
    }
}
