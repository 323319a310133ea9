//! Self-attention.

use crate::slot::{disjoint, with_element};
use crate::step::{Backward, Compute, Facts, Forward};
use regraft_kernels::attention::{self, AttentionShape};
use regraft_nn::graph::MapShape;
use regraft_nn::ops::Attention;

pub(crate) struct AttentionStep {
    operation: Attention,
    /// Memory of the kernels.
    partial: Vec<f32>,
}

impl AttentionStep {
    pub fn new(operation: Attention) -> Self {
        Self { operation, partial: Vec::new() }
    }

    pub fn facts(&self) -> Facts {
        Facts::default()
    }

    fn shape(&self, output: MapShape) -> AttentionShape {
        let heads = self.operation.heads;
        AttentionShape { tokens: output.pixels(), heads, channels: output.channels / heads }
    }
}

impl Compute for AttentionStep {
    fn forward(&mut self, run: Forward<'_>) {
        let shape = self.shape(run.output_shape);
        with_element!(run.precision, E => {
            let [input, output] = disjoint(run.memory,
                [run.inputs[0].clone(), run.output]).map(|slot| slot.of::<E>());
            attention::forward(shape, input, output, &mut self.partial);
        });
    }

    fn backward(&mut self, run: Backward<'_>) {
        let shape = self.shape(run.output_shape);
        let Some((place, accumulate)) = run.targets[0].clone() else { return };
        with_element!(run.precision, E => {
            let places = [run.inputs[0].clone(), run.gradient, place];
            let [input, gradient, target] = disjoint(run.memory, places).map(|slot| slot.of::<E>());
            attention::backward(shape, input, gradient, target, accumulate, run.partial);
        });
    }
}
