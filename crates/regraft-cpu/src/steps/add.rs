//! An addition that is not part of a convolution's step.

use super::drop::branch_factors;
use crate::slot::{disjoint, with_element};
use crate::step::{Backward, Compute, Facts, Forward};
use regraft_kernels::elementwise::{give, scaled_sum, sum};
use regraft_nn::ops::Add;
use regraft_nn::plan::Place;

/// `branch + residual`.
pub(crate) struct AddStep {
    operation: Add,
    /// The factor of each image's branch; empty without drops.
    keep: Vec<f32>,
}

impl AddStep {
    pub fn new(operation: Add) -> Self {
        Self { operation, keep: Vec::new() }
    }

    pub fn facts(&self) -> Facts {
        Facts::default()
    }
}

impl Compute for AddStep {
    fn forward(&mut self, run: Forward<'_>) {
        let Add { drop_rate, stream } = self.operation;
        self.keep.clear();
        if let Some(training) = run.training {
            branch_factors(drop_rate, stream, run.batch, training, &mut self.keep);
        }
        // If both inputs are the same feature map, it is borrowed once.
        let shared = run.inputs[0] == run.inputs[1];
        let residual = if shared { Place::NOWHERE } else { run.inputs[1].clone() };
        with_element!(run.precision, E => {
            let places = [run.inputs[0].clone(), residual, run.output];
            let [branch, residual, output] = disjoint(run.memory,
                places).map(|slot| slot.of::<E>());
            let residual: &[E] = if shared { branch } else { residual };
            if self.keep.is_empty() {
                sum(residual, branch, output);
            } else {
                scaled_sum(branch, &self.keep, residual, run.output_shape.length(), output);
            }
        });
    }

    fn backward(&mut self, run: Backward<'_>) {
        let length = run.output_shape.length();
        with_element!(run.precision, E => {
            if let Some((place, accumulate)) = run.targets[1].clone() {
                let [gradient, target] = disjoint(run.memory,
                    [run.gradient.clone(), place]).map(|slot| slot.of::<E>());
                give(gradient, 1.0, target, accumulate);
            }
            if let Some((place, accumulate)) = run.targets[0].clone() {
                let [gradient, target] = disjoint(run.memory,
                    [run.gradient, place]).map(|slot| slot.of::<E>());
                if self.keep.is_empty() {
                    give(gradient, 1.0, target, accumulate);
                }
                let images = gradient.chunks_exact(length).zip(target.chunks_exact_mut(length));
                for ((gradient, target), keep) in images.zip(&self.keep) {
                    give(gradient, *keep, target, accumulate);
                }
            }
        });
    }
}
