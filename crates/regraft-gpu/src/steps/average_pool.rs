//! Average pooling.

use crate::kernels::pooling;
use crate::kernels::window::Window;
use crate::step::{Compute, Context, Sizes};
use regraft_nn::ops::AveragePool;
use regraft_nn::plan::Facts;

pub(crate) struct AveragePoolStep(pub AveragePool);

impl AveragePoolStep {
    fn window(&self, sizes: &Sizes) -> Window {
        let AveragePool { kernel, stride, padding } = self.0;
        sizes.window(kernel, stride, padding, 1)
    }
}

impl Compute for AveragePoolStep {
    fn facts(&self) -> Facts {
        Facts::default()
    }

    fn forward(&self, context: &mut Context<'_>) {
        let (window, input) = (self.window(&context.sizes), context.input(0));
        if let Some(output) = context.output() {
            pooling::average_forward(context.recorder, &window, input, output);
        }
    }

    fn backward(&self, context: &mut Context<'_>) {
        let (window, gradient) = (self.window(&context.sizes), context.gradient());
        if let Some(target) = context.target(0) {
            pooling::average_backward(context.recorder, &window, gradient, target);
        }
    }
}
