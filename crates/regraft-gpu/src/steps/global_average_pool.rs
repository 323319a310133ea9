//! Global average pooling.

use crate::kernels::channels;
use crate::step::{Compute, Context};
use regraft_nn::plan::Facts;

pub(crate) struct GlobalAveragePoolStep;

impl Compute for GlobalAveragePoolStep {
    fn facts(&self) -> Facts {
        Facts { gives_vector: true, ..Facts::default() }
    }

    fn forward(&self, context: &mut Context<'_>) {
        let (size, input) = (context.sizes.input(), context.input(0));
        if let Some(output) = context.output() {
            channels::mean(context.recorder, size, input, output);
        }
    }

    fn backward(&self, context: &mut Context<'_>) {
        let (size, gradient) = (context.sizes.input(), context.gradient());
        if let Some(target) = context.target(0) {
            channels::mean_backward(context.recorder, size, gradient, target);
        }
    }
}
