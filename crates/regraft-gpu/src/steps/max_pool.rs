//! Max pooling.

use crate::kernels::pooling;
use crate::kernels::window::Window;
use crate::step::{Compute, Context, Sizes};
use regraft_nn::ops::MaxPool;
use regraft_nn::plan::{Extra, Facts};

pub(crate) struct MaxPoolStep(pub MaxPool);

impl MaxPoolStep {
    fn window(&self, sizes: &Sizes) -> Window {
        let MaxPool { kernel, stride, padding } = self.0;
        sizes.window(kernel, stride, padding, 1)
    }
}

impl Compute for MaxPoolStep {
    fn facts(&self) -> Facts {
        Facts::default()
    }

    fn extra(&self, sizes: &Sizes) -> Extra {
        Extra { saved: pooling::places(&self.window(sizes)), ..Extra::default() }
    }

    fn forward(&self, context: &mut Context<'_>) {
        let (window, input) = (self.window(&context.sizes), context.input(0));
        let places = context.is_training.then(|| context.saved());
        if let Some(output) = context.output() {
            pooling::max_forward(context.recorder, &window, input, output, places);
        }
    }

    fn backward(&self, context: &mut Context<'_>) {
        let (window, gradient) = (self.window(&context.sizes), context.gradient());
        if let Some(target) = context.target(0) {
            let places = context.saved();
            pooling::max_backward(context.recorder, &window, gradient, places, target);
        }
    }
}
