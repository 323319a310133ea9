//! Multiplication of a feature map by a vector for each image.

use crate::slot::{disjoint, with_element};
use crate::step::{Backward, Compute, Facts, Forward};
use regraft_kernels::channelwise;

/// `map * vector`.
pub(crate) struct MultiplyStep;

impl MultiplyStep {
    pub fn facts(&self) -> Facts {
        Facts::default()
    }
}

impl Compute for MultiplyStep {
    fn forward(&mut self, run: Forward<'_>) {
        let channels = run.output_shape.channels;
        with_element!(run.precision, E => {
            let places = [run.inputs[0].clone(), run.inputs[1].clone(), run.output];
            let [map, vectors, output] = disjoint(run.memory, places).map(|slot| slot.of::<E>());
            channelwise::multiply(map, vectors, channels, output, false);
        });
    }

    fn backward(&mut self, run: Backward<'_>) {
        let channels = run.output_shape.channels;
        with_element!(run.precision, E => {
            if let Some((place, accumulate)) = run.targets[1].clone() {
                let places = [run.inputs[0].clone(), run.gradient.clone(), place];
                let [map, gradient, target] = disjoint(run.memory,
                    places).map(|slot| slot.of::<E>());
                channelwise::multiply_backward_vectors(map, gradient, channels, target, accumulate);
            }
            if let Some((place, accumulate)) = run.targets[0].clone() {
                let places = [run.inputs[1].clone(), run.gradient, place];
                let [vectors, gradient, target] = disjoint(run.memory,
                    places).map(|slot| slot.of::<E>());
                channelwise::multiply(gradient, vectors, channels, target, accumulate);
            }
        });
    }
}
