//! A linear layer of vectors, with the dropout before it. On maps it is a 1x1 convolution.

use super::super::parameter::Parameter;
use super::super::slot::disjoint;
use super::super::step::{Backward, Compute, Facts, Forward};
use super::drop::value_factors;
use crate::ops::{Dropout, Linear};
use crate::parameters::Role;
use regraft_kernels::linear;

pub(in super::super) struct LinearStep {
    inputs: usize,
    dropout: Option<Dropout>,
    weight: Parameter,
    /// Zeros that nothing changes if the layer has none.
    bias: Parameter,
    has_bias: bool,
    /// What the step multiplied each input with, `[N, inputs]`; empty without dropout.
    mask: Vec<f32>,
    /// The step's input after dropout.
    dropped: Vec<f32>,
}

impl LinearStep {
    pub fn new(linear: Linear, dropout: Option<Dropout>) -> Self {
        Self {
            inputs: linear.inputs,
            dropout,
            weight: Parameter::of_length(linear.inputs * linear.outputs),
            bias: Parameter::of_length(linear.outputs),
            has_bias: linear.bias,
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
        let Self { inputs, dropout, weight, bias, mask, dropped, .. } = self;
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
            output.write(false, |output| linear::forward(input, &weight.value, &bias.value, *inputs, output));
        });
    }

    fn backward(&mut self, run: Backward<'_>) {
        let Self { inputs, weight, bias, mask, dropped, .. } = self;
        let [slot, input] = disjoint(run.memory, [run.gradient.clone(), run.inputs[0].clone()]);
        let (_, weight_gradient) = weight.value_and_gradient();
        let (_, bias_gradient) = bias.value_and_gradient();
        slot.read(|gradient| {
            input.read(|input| {
                let input = if mask.is_empty() { input } else { dropped };
                linear::backward_parameters(input, gradient, *inputs, weight_gradient, bias_gradient);
            });
        });
        let Some((place, accumulate)) = run.targets[0].clone() else { return };
        let [slot, target] = disjoint(run.memory, [run.gradient, place]);
        slot.read(|gradient| {
            target.write(accumulate, |target| {
                if mask.is_empty() {
                    return linear::backward_input(gradient, &weight.value, *inputs, target, accumulate);
                }
                // Only the gradient that comes through here is masked, not what is there already.
                let earlier = accumulate.then(|| target.to_vec());
                linear::backward_input(gradient, &weight.value, *inputs, target, false);
                target.iter_mut().zip(&*mask).for_each(|(value, factor)| *value *= factor);
                if let Some(earlier) = earlier {
                    target.iter_mut().zip(&earlier).for_each(|(value, earlier)| *value += earlier);
                }
            });
        });
    }

    fn parameter(&self, role: Role) -> Option<&Parameter> {
        match role {
            Role::Weight => Some(&self.weight),
            Role::Bias if self.has_bias => Some(&self.bias),
            _ => None,
        }
    }

    fn parameter_mut(&mut self, role: Role) -> Option<&mut Parameter> {
        match role {
            Role::Weight => Some(&mut self.weight),
            Role::Bias if self.has_bias => Some(&mut self.bias),
            _ => None,
        }
    }
}
