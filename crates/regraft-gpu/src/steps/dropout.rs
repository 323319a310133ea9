//! Dropout that no linear layer makes.

use crate::kernels::{elementwise, random};
use crate::step::{Compute, Context};
use regraft_nn::ops::Dropout;
use regraft_nn::plan::Facts;

pub(crate) struct DropoutStep(pub Dropout);

impl Compute for DropoutStep {
    fn facts(&self) -> Facts {
        Facts::default()
    }

    fn forward(&self, context: &mut Context<'_>) {
        let (input, elements) = (context.input(0), context.sizes.output_elements());
        let Some(output) = context.output() else { return };
        if context.is_training && self.0.rate > 0.0 {
            let size = [context.sizes.batch, context.sizes.output.length()];
            let target = (output, false);
            let arguments = context.arguments;
            random::dropout(context.recorder, &self.0, input, size, arguments, target);
        } else {
            elementwise::give(context.recorder, input, None, elements, (output, false));
        }
    }

    fn backward(&self, context: &mut Context<'_>) {
        let (gradient, elements) = (context.gradient(), context.sizes.output_elements());
        let Some(target) = context.target(0) else { return };
        if self.0.rate > 0.0 {
            let size = [context.sizes.batch, context.sizes.output.length()];
            let arguments = context.arguments;
            random::dropout(context.recorder, &self.0, gradient, size, arguments, target);
        } else {
            elementwise::give(context.recorder, gradient, None, elements, target);
        }
    }
}
