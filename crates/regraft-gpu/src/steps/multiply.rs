//! Multiplication of a map by a vector for each image.

use crate::kernels::channels;
use crate::step::{Compute, Context};
use regraft_nn::plan::Facts;

/// `map * vector`.
pub(crate) struct MultiplyStep;

impl Compute for MultiplyStep {
    fn facts(&self) -> Facts {
        Facts { inputs_read_again: 2, ..Facts::default() }
    }

    fn forward(&self, context: &mut Context<'_>) {
        let (size, map, vectors) = (context.sizes.input(), context.input(0), context.input(1));
        if let Some(output) = context.output() {
            channels::multiply(context.recorder, size, map, vectors, (output, false));
        }
    }

    fn backward(&self, context: &mut Context<'_>) {
        let (size, gradient) = (context.sizes.input(), context.gradient());
        if let Some(target) = context.target(1) {
            let map = context.input(0);
            channels::multiply_vectors(context.recorder, size, map, gradient, target);
        }
        if let Some(target) = context.target(0) {
            let vectors = context.input(1);
            channels::multiply(context.recorder, size, gradient, vectors, target);
        }
    }
}
