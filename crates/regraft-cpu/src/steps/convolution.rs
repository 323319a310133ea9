//! A convolution alone, with or without bias.

use super::filter::{Filter, Prepared};
use crate::parameter::{Layout, Parameter};
use crate::slot::{disjoint, with_element};
use crate::step::{Backward, Compute, Facts, Forward};
use regraft_kernels::activation::{Activation, Epilogue};
use regraft_kernels::elementwise::channel_sums;
use regraft_kernels::finish::Finish;
use regraft_kernels::input::Input;
use regraft_nn::ops::Convolution;
use regraft_nn::parameters::Role;
use regraft_nn::precision::Precision;

/// `convolution(input) + bias`.
pub(crate) struct ConvolutionStep {
    filter: Filter,
    bias: Option<Parameter>,
    /// `None` after the parameters have changed.
    prepared: Option<Prepared>,
}

impl ConvolutionStep {
    pub fn new(convolution: Convolution) -> Self {
        let bias = convolution.bias.then(Parameter::default);
        Self { filter: Filter::new(convolution), bias, prepared: None }
    }

    pub fn facts(&self, precision: Precision) -> Facts {
        Facts { reading: self.filter.reading(precision), ..Facts::default() }
    }
}

impl Compute for ConvolutionStep {
    fn forward(&mut self, run: Forward<'_>) {
        let shape = self.filter.shape(run.batch, run.input_shapes[0], run.output_shape);
        let Self { filter, bias, prepared } = self;
        let tensors = &*run.tensors;
        let bias = bias.as_ref().map(|bias| bias.value(tensors));
        let places = [run.inputs[0].clone(), run.output];
        with_element!(run.precision, E => {
            let [input, output] = disjoint(run.memory, places).map(|slot| slot.of::<E>());
            let finish = Finish::Epilogue(Epilogue { bias, residual: None,
                activation: Activation::Identity });
            match run.training {
                None => {
                    let prepared = prepared.get_or_insert_with(|| filter.prepare::<E>(tensors,
                        &shape, None));
                    Filter::infer(&shape, prepared, input, output, finish);
                }
                Some(_) => {
                    let input = Input { values: input, normalization: run.normalization };
                    filter.train(tensors, &shape, input, output, finish);
                }
            }
        });
    }

    fn backward(&mut self, run: Backward<'_>) {
        let Backward {
            tensors,
            gradients,
            memory,
            gradient,
            targets,
            inputs,
            scratch,
            partial,
            ..
        } = run;
        let shape = self.filter.shape(run.batch, run.input_shapes[0], run.output_shape);
        with_element!(run.precision, E => {
            let [slot, input] = disjoint(memory,
                [gradient.clone(), inputs[0].clone()]).map(|slot| slot.of::<E>());
            if let Some(bias) = &self.bias {
                channel_sums(slot, bias.gradient(gradients), partial);
            }
            let input = Input { values: input, normalization: run.normalization };
            self.filter.backward_weights(gradients, &shape, input, slot, scratch, partial);
            if let Some((place, accumulate)) = targets[0].clone() {
                let [slot, target] = disjoint(memory, [gradient, place]).map(|slot| slot.of::<E>());
                self.filter.backward_input(tensors, &shape, slot, target, accumulate, scratch);
            }
        });
    }

    fn parameter(&mut self, role: Role) -> Option<&mut Parameter> {
        match role {
            Role::Weight => Some(&mut self.filter.weight),
            Role::Bias => self.bias.as_mut(),
            _ => None,
        }
    }

    fn layout(&self, role: Role) -> Layout {
        if role == Role::Weight { self.filter.layout() } else { Layout::AsIs }
    }

    fn invalidate(&mut self) {
        self.prepared = None;
    }
}
