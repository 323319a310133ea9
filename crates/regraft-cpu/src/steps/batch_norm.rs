//! A batch norm that does not follow a convolution, or follows a convolution with bias.

use super::norm_state::NormState;
use crate::parameter::Parameter;
use crate::slot::{disjoint, with_element};
use crate::step::{Backward, Compute, Facts, Forward};
use crate::tensors::Tensors;
use regraft_kernels::activation::Activation;
use regraft_kernels::batch_norm::{self, BackwardPrologue, Mask, map_statistics, normalize};
use regraft_kernels::elementwise::give;
use regraft_nn::collective::Collective;
use regraft_nn::graph::MapShape;
use regraft_nn::ops::BatchNorm;
use regraft_nn::parameters::Role;

pub(crate) struct BatchNormStep {
    norm: NormState,
}

impl BatchNormStep {
    pub fn new(norm: BatchNorm) -> Self {
        Self { norm: NormState::new(norm) }
    }

    pub fn facts(&self) -> Facts {
        Facts::default()
    }
}

impl Compute for BatchNormStep {
    fn forward(&mut self, run: Forward<'_>) {
        let norm = &mut self.norm;
        let pixels_per_image = run.output_shape.pixels();
        with_element!(run.precision, E => {
            let [input, output] = disjoint(run.memory,
                [run.inputs[0].clone(), run.output]).map(|slot| slot.of::<E>());
            let (scale, shift) = if run.training.is_some() {
                norm.begin(run.batch * pixels_per_image);
                if norm.takes_statistics {
                    map_statistics(input, run.output_shape.channels, &mut norm.statistics);
                }
                norm.finish(run.batch, pixels_per_image, run.tensors, run.ranks);
                (norm.scale.clone(), norm.shift.clone())
            } else {
                norm.folded(run.tensors)
            };
            normalize(input, &scale, &shift, None, None, Activation::Identity, pixels_per_image,
                output);
        });
    }

    fn backward(&mut self, run: Backward<'_>) {
        let Backward { gradients, memory, gradient, targets, inputs, partial, ranks, .. } = run;
        with_element!(run.precision, E => {
            let [slot, input] = disjoint(memory,
                [gradient.clone(), inputs[0].clone()]).map(|slot| slot.of::<E>());
            let NormState { weight, bias, statistics, inverse_deviation, .. } = &self.norm;
            let (weight, bias) = gradients.of_two(&weight.place, &bias.place);
            let prologue = BackwardPrologue { mask: Mask::None, residual: None, keep: None };
            batch_norm::backward(prologue, input, slot, &statistics.mean, inverse_deviation, weight,
                bias, partial);
            if let Some((place, accumulate)) = targets[0].clone() {
                self.norm.backward_input(gradients, input, slot, ranks);
                let [slot, target] = disjoint(memory, [gradient, place]).map(|slot| slot.of::<E>());
                give(slot, 1.0, target, accumulate);
            } else {
                self.norm.attend_backward(ranks);
            }
        });
    }

    fn attend(&mut self, tensors: &mut Tensors, output: MapShape, ranks: &mut dyn Collective) {
        self.norm.attend(output.pixels(), tensors, ranks);
    }

    fn attend_backward(&self, ranks: &mut dyn Collective) {
        self.norm.attend_backward(ranks);
    }

    fn parameter(&mut self, role: Role) -> Option<&mut Parameter> {
        self.norm.parameter(role)
    }
}
