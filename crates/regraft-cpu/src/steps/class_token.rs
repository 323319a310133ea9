//! The class token.

use crate::slot::{disjoint, with_element};
use crate::step::{Backward, Compute, Facts, Forward};
use regraft_kernels::tokens;

pub(crate) struct ClassTokenStep;

impl ClassTokenStep {
    pub fn facts(&self) -> Facts {
        Facts { gives_vector: true, ..Facts::default() }
    }
}

impl Compute for ClassTokenStep {
    fn forward(&mut self, run: Forward<'_>) {
        let shape = run.input_shapes[0];
        let (from, to) = (run.inputs[0].precision, run.output.precision);
        let [input, output] = disjoint(run.memory, [run.inputs[0].clone(), run.output]);
        with_element!(from, E => with_element!(to, O => {
            tokens::first_forward(input.of::<E>(), shape.pixels(), shape.channels,
                output.of::<O>());
        }));
    }

    fn backward(&mut self, run: Backward<'_>) {
        let shape = run.input_shapes[0];
        let Some((place, accumulate)) = run.targets[0].clone() else { return };
        let (from, to) = (run.gradient.precision, place.precision);
        let [gradient, target] = disjoint(run.memory, [run.gradient, place]);
        with_element!(from, O => with_element!(to, E => {
            tokens::first_backward(gradient.of::<O>(), shape.pixels(), shape.channels,
                target.of::<E>(), accumulate);
        }));
    }
}
