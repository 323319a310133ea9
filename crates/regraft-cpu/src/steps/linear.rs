//! A linear layer on vectors, with the dropout before it. On feature maps it is a 1x1 convolution.

use super::drop::value_factors;
use crate::parameter::Parameter;
use crate::slot::disjoint;
use crate::step::{Backward, Compute, Facts, Forward};
use regraft_kernels::linear;
use regraft_nn::ops::{Dropout, Linear};
use regraft_nn::parameters::Role;

pub(crate) struct LinearStep {
    inputs: usize,
    dropout: Option<Dropout>,
    weight: Parameter,
    bias: Option<Parameter>,
    /// Instead of a bias and its gradient if the layer has none: zeros, and values that are not
    /// read.
    no_bias: [Vec<f32>; 2],
    /// The factor of each input, `[N, inputs]`; empty without dropout.
    mask: Vec<f32>,
    /// The step's input after dropout.
    dropped: Vec<f32>,
}

impl LinearStep {
    pub fn new(linear: Linear, dropout: Option<Dropout>) -> Self {
        Self {
            inputs: linear.inputs,
            dropout,
            weight: Parameter::default(),
            bias: linear.bias.then(Parameter::default),
            no_bias: [(); 2].map(|()| vec![0.0; if linear.bias { 0 } else { linear.outputs }]),
            mask: Vec::new(),
            dropped: Vec::new(),
        }
    }

    pub fn facts(&self) -> Facts {
        Facts { inputs_read_again: 1, reads_f32: true, gives_vector: true, ..Facts::default() }
    }
}

impl Compute for LinearStep {
    fn forward(&mut self, run: Forward<'_>) {
        let Self { inputs, dropout, weight, bias, no_bias, mask, dropped } = self;
        let weight = weight.value(run.tensors);
        let bias = bias.as_ref().map_or(&*no_bias[0], |bias| bias.value(run.tensors));
        mask.clear();
        if let (Some(training), Some(Dropout { rate, stream })) = (run.training, dropout) {
            value_factors(*rate, *stream, run.batch, *inputs, training, mask);
        }
        let [input, output] = disjoint(run.memory, [run.inputs[0].clone(), run.output]);
        input.read(|input| {
            let input = if mask.is_empty() {
                input
            } else {
                dropped.clear();
                dropped.extend(input.iter().zip(&*mask).map(|(value, factor)| value * factor));
                dropped
            };
            output.write(false, |output| linear::forward(input, weight, bias, *inputs, output));
        });
    }

    fn backward(&mut self, run: Backward<'_>) {
        let Self { inputs, weight, bias, no_bias, mask, dropped, .. } = self;
        let [slot, input] = disjoint(run.memory, [run.gradient.clone(), run.inputs[0].clone()]);
        let (weight_gradient, bias_gradient) = match bias {
            Some(bias) => run.gradients.of_two(&weight.place, &bias.place),
            None => (weight.gradient(run.gradients), &mut *no_bias[1]),
        };
        let weight = weight.value(run.tensors);
        slot.read(|gradient| {
            input.read(|input| {
                let input = if mask.is_empty() { input } else { dropped };
                linear::backward_parameters(
                    input,
                    gradient,
                    *inputs,
                    weight_gradient,
                    bias_gradient,
                );
            });
        });
        let Some((place, accumulate)) = run.targets[0].clone() else { return };
        let [slot, target] = disjoint(run.memory, [run.gradient, place]);
        slot.read(|gradient| {
            target.write(accumulate, |target| {
                if mask.is_empty() {
                    return linear::backward_input(gradient, weight, *inputs, target, accumulate);
                }
                // Only the gradient from this layer is masked, not the existing one.
                let earlier = accumulate.then(|| target.to_vec());
                linear::backward_input(gradient, weight, *inputs, target, false);
                target.iter_mut().zip(&*mask).for_each(|(value, factor)| *value *= factor);
                if let Some(earlier) = earlier {
                    target.iter_mut().zip(&earlier).for_each(|(value, earlier)| *value += earlier);
                }
            });
        });
    }

    fn parameter(&mut self, role: Role) -> Option<&mut Parameter> {
        match role {
            Role::Weight => Some(&mut self.weight),
            Role::Bias => self.bias.as_mut(),
            _ => None,
        }
    }
}
