//! An activation function that no other step applies.

use crate::slot::{disjoint, with_element};
use crate::step::{Backward, Compute, Facts, Forward, Reading};
use regraft_kernels::functions::{self, Function};
use regraft_kernels::input::Input;

pub(crate) struct ActivationStep {
    function: Function,
}

impl ActivationStep {
    pub fn new(function: Function) -> Self {
        Self { function }
    }

    pub fn facts(&self) -> Facts {
        Facts { reading: Reading::Normalizes, ..Facts::default() }
    }
}

impl Compute for ActivationStep {
    fn forward(&mut self, run: Forward<'_>) {
        with_element!(run.precision, E => {
            let [input, output] = disjoint(run.memory,
                [run.inputs[0].clone(), run.output]).map(|slot| slot.of::<E>());
            let input = Input { values: &*input, normalization: run.normalization };
            functions::forward(self.function, input, run.output_shape.channels, output);
        });
    }

    fn backward(&mut self, run: Backward<'_>) {
        let Some((place, accumulate)) = run.targets[0].clone() else { return };
        with_element!(run.precision, E => {
            let places = [run.inputs[0].clone(), run.gradient, place];
            let [input, gradient, target] = disjoint(run.memory, places).map(|slot| slot.of::<E>());
            let input = Input { values: &*input, normalization: run.normalization };
            functions::backward(self.function, input, run.output_shape.channels, gradient, target,
                accumulate);
        });
    }
}
