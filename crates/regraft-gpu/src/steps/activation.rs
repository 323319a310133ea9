//! An activation function that no other step applies.

use crate::kernels::activation;
use crate::step::{Compute, Context};
use regraft_nn::ops::Function;
use regraft_nn::plan::{Facts, Reading};

pub(crate) struct ActivationStep(pub Function);

impl Compute for ActivationStep {
    fn facts(&self) -> Facts {
        Facts { reading: Reading::Normalizes, inputs_read_again: 1, ..Facts::default() }
    }

    fn forward(&self, context: &mut Context<'_>) {
        let (input, pixels) = (context.reading(), context.sizes.output_pixels());
        if let Some(output) = context.output() {
            activation::forward(context.recorder, self.0, &input, pixels, output);
        }
    }

    fn backward(&self, context: &mut Context<'_>) {
        let (input, pixels) = (context.reading(), context.sizes.output_pixels());
        if let Some(target) = context.target(0) {
            let gradient = context.gradient();
            activation::backward(context.recorder, self.0, &input, pixels, gradient, target);
        }
    }
}
