//! Dropout that is not part of a linear layer's step.

use super::drop::value_factors;
use crate::slot::{disjoint, with_element};
use crate::step::{Backward, Compute, Facts, Forward};
use regraft_kernels::elementwise::{give, multiply_values};
use regraft_nn::ops::Dropout;

pub(crate) struct DropoutStep {
    operation: Dropout,
    /// The factor of each value; empty without drops.
    factors: Vec<f32>,
}

impl DropoutStep {
    pub fn new(operation: Dropout) -> Self {
        Self { operation, factors: Vec::new() }
    }

    pub fn facts(&self) -> Facts {
        Facts::default()
    }
}

impl Compute for DropoutStep {
    fn forward(&mut self, run: Forward<'_>) {
        let Dropout { rate, stream } = self.operation;
        self.factors.clear();
        if let Some(training) = run.training {
            value_factors(
                rate,
                stream,
                run.batch,
                run.output_shape.length(),
                training,
                &mut self.factors,
            );
        }
        with_element!(run.precision, E => {
            let [input, output] = disjoint(run.memory,
                [run.inputs[0].clone(), run.output]).map(|slot| slot.of::<E>());
            if self.factors.is_empty() {
                output.copy_from_slice(input);
            } else {
                multiply_values(input, &self.factors, output, false);
            }
        });
    }

    fn backward(&mut self, run: Backward<'_>) {
        let Some((place, accumulate)) = run.targets[0].clone() else { return };
        with_element!(run.precision, E => {
            let [gradient, target] = disjoint(run.memory,
                [run.gradient, place]).map(|slot| slot.of::<E>());
            if self.factors.is_empty() {
                give(gradient, 1.0, target, accumulate);
            } else {
                multiply_values(gradient, &self.factors, target, accumulate);
            }
        });
    }
}
