//! Layer normalisation of feature maps and of vectors.

use crate::parameter::Parameter;
use crate::slot::{disjoint, with_element};
use crate::step::{Backward, Compute, Facts, Forward};
use regraft_kernels::layer_norm;
use regraft_nn::ops::LayerNorm;
use regraft_nn::parameters::Role;
use regraft_nn::plan::Place;

pub(crate) struct LayerNormStep {
    epsilon: f32,
    weight: Parameter,
    bias: Parameter,
    /// Mean and inverse standard deviation of each pixel of the step's input.
    saved: Vec<[f32; 2]>,
}

impl LayerNormStep {
    pub fn new(norm: LayerNorm) -> Self {
        Self {
            epsilon: norm.epsilon,
            weight: Parameter::default(),
            bias: Parameter::default(),
            saved: Vec::new(),
        }
    }

    pub fn facts(gives_vector: bool) -> Facts {
        Facts { reads_f32: true, gives_vector, ..Facts::default() }
    }
}

impl Compute for LayerNormStep {
    fn forward(&mut self, run: Forward<'_>) {
        let (from, to) = (run.inputs[0].precision, run.output.precision);
        let [input, output] = disjoint(run.memory, [run.inputs[0].clone(), run.output]);
        let Self { epsilon, weight, bias, saved } = self;
        let (weight, bias) = (weight.value(run.tensors), bias.value(run.tensors));
        with_element!(from, E => with_element!(to, O => {
            layer_norm::forward(input.of::<E>(), weight, bias, *epsilon, output.of::<O>(), saved);
        }));
    }

    fn backward(&mut self, run: Backward<'_>) {
        let (from, to) = (run.inputs[0].precision, run.gradient.precision);
        let target = run.targets[0].clone();
        let (place, accumulate) = target.clone().unwrap_or((Place::NOWHERE, false));
        let [input, gradient, slot] =
            disjoint(run.memory, [run.inputs[0].clone(), run.gradient, place]);
        let Self { weight, bias, saved, .. } = self;
        let values = weight.value(run.tensors);
        let (weight_gradient, bias_gradient) = run.gradients.of_two(&weight.place, &bias.place);
        with_element!(from, E => with_element!(to, O => {
            let target = target.is_some().then_some((slot.of::<E>(), accumulate));
            let (input, gradient) = (input.of::<E>(), gradient.of::<O>());
            layer_norm::backward(input, gradient, values, saved, weight_gradient, bias_gradient,
                target, run.partial);
        }));
    }

    fn parameter(&mut self, role: Role) -> Option<&mut Parameter> {
        match role {
            Role::NormWeight => Some(&mut self.weight),
            Role::NormBias => Some(&mut self.bias),
            _ => None,
        }
    }
}
