//! An addition that no convolution makes.

use crate::kernels::elementwise::{self, Keep};
use crate::step::{Compute, Context};
use regraft_nn::ops::Add;
use regraft_nn::plan::Facts;

/// `branch + residual`.
pub(crate) struct AddStep(pub Add);

/// The factors of a branch in training.
pub(super) fn keep(context: &Context<'_>) -> Option<Keep> {
    let factors = context.keep.filter(|_| context.is_training)?;
    Some(Keep { factors, length: context.sizes.output.length() })
}

impl Compute for AddStep {
    fn facts(&self) -> Facts {
        Facts::default()
    }

    fn forward(&self, context: &mut Context<'_>) {
        let (branch, residual) = (context.input(0), context.input(1));
        let (keep, elements) = (keep(context), context.sizes.output_elements());
        if let Some(output) = context.output() {
            elementwise::sum(context.recorder, branch, residual, keep, elements, output);
        }
    }

    fn backward(&self, context: &mut Context<'_>) {
        let (gradient, elements) = (context.gradient(), context.sizes.output_elements());
        if let Some(target) = context.target(1) {
            elementwise::give(context.recorder, gradient, None, elements, target);
        }
        if let Some(target) = context.target(0) {
            let keep = keep(context);
            elementwise::give(context.recorder, gradient, keep, elements, target);
        }
    }

    fn branch(&self) -> Option<(u32, f32)> {
        (self.0.drop_rate > 0.0).then_some((self.0.stream, self.0.drop_rate))
    }
}
