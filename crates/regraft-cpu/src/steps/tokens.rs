//! The tokens that a transformer reads.

use crate::parameter::Parameter;
use crate::slot::{disjoint, with_element};
use crate::step::{Backward, Compute, Facts, Forward};
use regraft_kernels::tokens::{self, TokenShape};
use regraft_nn::graph::MapShape;
use regraft_nn::ops::Tokens;
use regraft_nn::parameters::Role;

pub(crate) struct TokensStep {
    operation: Tokens,
    class: Parameter,
    /// If there are registers.
    registers: Option<Parameter>,
    positions: Parameter,
}

impl TokensStep {
    pub fn new(operation: Tokens) -> Self {
        let registers = (operation.registers > 0).then(Parameter::default);
        Self { operation, class: Parameter::default(), registers, positions: Parameter::default() }
    }

    pub fn facts(&self) -> Facts {
        Facts::default()
    }

    fn shape(&self, patches: MapShape) -> TokenShape {
        TokenShape {
            patches: patches.pixels(),
            before: self.operation.before(),
            first_embedded: self.operation.first_embedded(),
            channels: patches.channels,
        }
    }
}

impl Compute for TokensStep {
    fn forward(&mut self, run: Forward<'_>) {
        let shape = self.shape(run.input_shapes[0]);
        let registers = self.registers.as_ref().map(|registers| registers.value(run.tensors));
        let learned: Vec<&[f32]> =
            std::iter::once(self.class.value(run.tensors)).chain(registers).collect();
        let positions = self.positions.value(run.tensors);
        with_element!(run.precision, E => {
            let [patches, output] = disjoint(run.memory,
                [run.inputs[0].clone(), run.output]).map(|slot| slot.of::<E>());
            tokens::forward(shape, &learned, positions, patches, output);
        });
    }

    fn backward(&mut self, run: Backward<'_>) {
        let shape = self.shape(run.input_shapes[0]);
        with_element!(run.precision, E => {
            let [gradient] =
                disjoint(run.memory, [run.gradient.clone()]).map(|slot| slot.of::<E>());
            let class = self.class.gradient(run.gradients);
            tokens::sum_over_images(shape, gradient, 0, class);
            if let Some(registers) = &self.registers {
                tokens::sum_over_images(shape, gradient, 1, registers.gradient(run.gradients));
            }
            let first = self.operation.first_embedded();
            let positions = self.positions.gradient(run.gradients);
            tokens::sum_over_images(shape, gradient, first, positions);
            if let Some((place, accumulate)) = run.targets[0].clone() {
                let [gradient, target] = disjoint(run.memory,
                    [run.gradient, place]).map(|slot| slot.of::<E>());
                tokens::backward_patches(shape, gradient, target, accumulate);
            }
        });
    }

    fn parameter(&mut self, role: Role) -> Option<&mut Parameter> {
        match role {
            Role::ClassToken => Some(&mut self.class),
            Role::Registers => self.registers.as_mut(),
            Role::Positions => Some(&mut self.positions),
            _ => None,
        }
    }
}
