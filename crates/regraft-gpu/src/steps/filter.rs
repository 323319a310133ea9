//! The weights of a convolution, and which kernels run it.

use crate::kernels::depthwise::Depthwise;
use crate::kernels::finish::Finish;
use crate::kernels::matrix::Convolution as Matrix;
use crate::kernels::window::Window;
use crate::record::Values;
use crate::step::{Context, Parameter, Sizes};
use regraft_nn::layout::Layout;
use regraft_nn::ops::Convolution;

/// A convolution's weights.
pub(super) struct Filter {
    pub operation: Convolution,
    pub weight: Parameter,
}

impl Filter {
    pub fn new(operation: Convolution) -> Self {
        Self { operation, weight: Parameter::default() }
    }

    /// The order of the weights' elements.
    pub fn layout(&self) -> Layout {
        if self.operation.is_depthwise() { Layout::Depthwise } else { Layout::ChannelsLast }
    }

    fn window(&self, sizes: &Sizes) -> Window {
        let Convolution { kernel, stride, padding, groups, .. } = self.operation;
        sizes.window(kernel, stride, padding, groups)
    }

    fn depthwise(context: &Context<'_>, window: Window) -> Depthwise {
        Depthwise { window, has_constants: context.products.has_constants }
    }

    /// Elements of f32 that the gradient of the weights takes meanwhile.
    pub fn scratch(&self, sizes: &Sizes) -> usize {
        let window = self.window(sizes);
        if self.operation.is_depthwise() {
            Depthwise::scratch(window)
        } else {
            Matrix::scratch(window)
        }
    }

    pub fn forward(&self, context: &mut Context<'_>, output: Values, finish: &Finish) {
        let (window, input) = (self.window(&context.sizes), context.reading());
        let weight = self.weight.value();
        if self.operation.is_depthwise() {
            let depthwise = Self::depthwise(context, window);
            depthwise.forward(context.recorder, &input, weight, output, finish);
        } else {
            let matrix = Matrix { window, products: context.products };
            matrix.forward(context.recorder, &input, weight, output, finish);
        }
    }

    /// The gradients of weights and input, given that of the output.
    pub fn backward(&self, context: &mut Context<'_>) {
        let (window, input) = (self.window(&context.sizes), context.reading());
        let (gradient, scratch) = (context.gradient(), context.backward_scratch());
        let (arguments, own) = (context.arguments, context.gradient_of(&self.weight));
        let (weight, target) = (self.weight.value(), context.target(0));
        let matrix = Matrix { window, products: context.products };
        let depthwise = Self::depthwise(context, window);
        let recorder = &mut *context.recorder;
        if self.operation.is_depthwise() {
            depthwise.backward_weight(recorder, &input, gradient, scratch, arguments, own);
        } else {
            matrix.backward_weight(recorder, &input, gradient, scratch, arguments, own);
        }
        let Some((target, accumulate)) = target else { return };
        if self.operation.is_depthwise() {
            depthwise.backward_input(recorder, gradient, weight, target, accumulate);
        } else {
            matrix.backward_input(recorder, gradient, weight, target, accumulate);
        }
    }
}
