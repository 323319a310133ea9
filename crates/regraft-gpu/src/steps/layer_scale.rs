//! Layer scale.

use crate::kernels::channels;
use crate::step::{Compute, Context, Parameter, Sizes};
use regraft_nn::parameters::Role;
use regraft_nn::plan::{Extra, Facts};

#[derive(Default)]
pub(crate) struct LayerScaleStep {
    scale: Parameter,
}

impl Compute for LayerScaleStep {
    fn facts(&self) -> Facts {
        Facts { inputs_read_again: 1, ..Facts::default() }
    }

    fn extra(&self, sizes: &Sizes) -> Extra {
        Extra { backward_scratch: channels::scratch(sizes.input()), ..Extra::default() }
    }

    fn forward(&self, context: &mut Context<'_>) {
        let (size, input, scale) = (context.sizes.input(), context.input(0), self.scale.value());
        if let Some(output) = context.output() {
            channels::scale(context.recorder, size, input, scale, (output, false));
        }
    }

    fn backward(&self, context: &mut Context<'_>) {
        let (size, input, gradient) = (context.sizes.input(), context.input(0), context.gradient());
        let (scratch, arguments) = (context.backward_scratch(), context.arguments);
        let own = context.gradient_of(&self.scale);
        let recorder = &mut *context.recorder;
        channels::scale_gradient(recorder, size, input, gradient, scratch, arguments, own);
        if let Some(target) = context.target(0) {
            channels::scale(context.recorder, size, gradient, self.scale.value(), target);
        }
    }

    fn parameter(&mut self, role: Role) -> Option<&mut Parameter> {
        (role == Role::Scale).then_some(&mut self.scale)
    }
}
