//! Layer normalisation, of maps and of vectors.

use crate::kernels::layer_norm::{self, Norm};
use crate::step::{Compute, Context, Parameter, Sizes};
use regraft_nn::ops::LayerNorm;
use regraft_nn::parameters::Role;
use regraft_nn::plan::{Extra, Facts};

pub(crate) struct LayerNormStep {
    epsilon: f32,
    gives_vector: bool,
    weight: Parameter,
    bias: Parameter,
}

impl LayerNormStep {
    pub fn new(norm: &LayerNorm, gives_vector: bool) -> Self {
        let (weight, bias) = (Parameter::default(), Parameter::default());
        Self { epsilon: norm.epsilon, gives_vector, weight, bias }
    }

    fn norm(&self, context: &Context<'_>) -> Norm {
        Norm {
            size: context.sizes.input(),
            epsilon: self.epsilon,
            weight: self.weight.value(),
            bias: self.bias.value(),
            saved: context.saved(),
        }
    }
}

impl Compute for LayerNormStep {
    fn facts(&self) -> Facts {
        Facts {
            reads_f32: true,
            gives_vector: self.gives_vector,
            inputs_read_again: 1,
            ..Facts::default()
        }
    }

    fn extra(&self, sizes: &Sizes) -> Extra {
        let size = sizes.input();
        Extra {
            saved: 2 * size.images * size.pixels,
            backward_scratch: layer_norm::scratch(size),
            ..Extra::default()
        }
    }

    fn forward(&self, context: &mut Context<'_>) {
        let (norm, input) = (self.norm(context), context.input(0));
        if let Some(output) = context.output() {
            layer_norm::forward(context.recorder, &norm, input, output);
        }
    }

    fn backward(&self, context: &mut Context<'_>) {
        let (norm, input, gradient) = (self.norm(context), context.input(0), context.gradient());
        let tensors = [&self.weight, &self.bias].map(|tensor| context.gradient_of(tensor));
        let (scratch, arguments) = (context.backward_scratch(), context.arguments);
        let recorder = &mut *context.recorder;
        layer_norm::backward_tensors(recorder, &norm, input, gradient, scratch, arguments, tensors);
        if let Some(target) = context.target(0) {
            layer_norm::backward_input(context.recorder, &norm, input, gradient, target);
        }
    }

    fn parameter(&mut self, role: Role) -> Option<&mut Parameter> {
        match role {
            Role::NormWeight => Some(&mut self.weight),
            Role::NormBias => Some(&mut self.bias),
            _ => None,
        }
    }
}
