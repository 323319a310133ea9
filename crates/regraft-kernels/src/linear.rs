//! Fully connected layers: `output [N, O] = input [N, I] x weights [O, I] transposed + bias [O]`.

use crate::gemm::{Left, Matrix, Operand, Packed, Rows, Sums, multiply};
use rayon::prelude::*;

/// Rows of the batch in one task.
const ROWS_PER_TASK: usize = 56;

/// The layer's output, `[N, outputs]`.
pub fn forward(input: &[f32], weights: &[f32], bias: &[f32], inputs: usize, output: &mut [f32]) {
    let outputs = bias.len();
    assert_eq!(weights.len(), inputs * outputs);
    assert_eq!(input.len() * outputs, output.len() * inputs);
    let mut packed = Packed::default();
    packed.pack(Matrix::Columns { data: weights, stride: inputs }, inputs, outputs);
    let tasks = output
        .par_chunks_mut(ROWS_PER_TASK * outputs)
        .zip(input.par_chunks(ROWS_PER_TASK * inputs));
    tasks.for_each(|(output, input)| {
        output.chunks_exact_mut(outputs).for_each(|row| row.copy_from_slice(bias));
        let rows = output.len() / outputs;
        multiply(Left::rows(input, inputs), rows, &packed, output, outputs, true);
    });
}

/// The gradients of weights `[O, I]` and bias `[O]` from that of the output `[N, O]`.
pub fn backward_parameters(
    input: &[f32],
    output_gradient: &[f32],
    inputs: usize,
    weight_gradient: &mut [f32],
    bias_gradient: &mut [f32],
) {
    let outputs = bias_gradient.len();
    let rows = output_gradient.len() / outputs;
    assert_eq!(weight_gradient.len(), inputs * outputs);
    let mut packed = Packed::default();
    let left = Rows { data: output_gradient, stride: outputs, columns: outputs };
    let right = Rows { data: input, stride: inputs, columns: inputs };
    let sums = Sums { data: weight_gradient, stride: inputs, accumulate: false };
    f32::multiply_transposed(left, right, rows, sums, &mut packed);
    bias_gradient.fill(0.0);
    for row in output_gradient.chunks_exact(outputs) {
        bias_gradient.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
}

/// The gradient of the input `[N, I]`.
pub fn backward_input(
    output_gradient: &[f32],
    weights: &[f32],
    inputs: usize,
    input_gradient: &mut [f32],
    accumulate: bool,
) {
    let outputs = weights.len() / inputs;
    let mut packed = Packed::default();
    packed.pack(Matrix::Rows { data: weights, stride: inputs }, outputs, inputs);
    let tasks = input_gradient
        .par_chunks_mut(ROWS_PER_TASK * inputs)
        .zip(output_gradient.par_chunks(ROWS_PER_TASK * outputs));
    tasks.for_each(|(target, gradient)| {
        let left = Left::rows(gradient, outputs);
        multiply(left, target.len() / inputs, &packed, target, inputs, accumulate);
    });
}
