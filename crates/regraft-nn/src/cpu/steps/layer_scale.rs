//! Layer scale.

use super::super::parameter::Parameter;
use super::super::slot::{disjoint, with_element};
use super::super::step::{Backward, Compute, Facts, Forward};
use crate::ops::LayerScale;
use crate::parameters::Role;
use regraft_kernels::channelwise;

pub(in super::super) struct LayerScaleStep {
    scale: Parameter,
}

impl LayerScaleStep {
    pub fn new(operation: &LayerScale) -> Self {
        Self { scale: Parameter::of_length(operation.channels) }
    }

    pub fn facts(&self) -> Facts {
        Facts::default()
    }
}

impl Compute for LayerScaleStep {
    fn forward(&mut self, run: Forward<'_>) {
        with_element!(run.precision, E => {
            let [input, output] = disjoint(run.memory, [run.inputs[0].clone(), run.output]).map(|slot| slot.of::<E>());
            channelwise::scale(input, &self.scale.value, output, false);
        });
    }

    fn backward(&mut self, run: Backward<'_>) {
        let (value, scale_gradient) = self.scale.value_and_gradient();
        with_element!(run.precision, E => {
            let places = [run.inputs[0].clone(), run.gradient.clone()];
            let [input, gradient] = disjoint(run.memory, places).map(|slot| slot.of::<E>());
            channelwise::scale_backward(input, gradient, scale_gradient, run.partial);
            if let Some((place, accumulate)) = run.targets[0].clone() {
                let [gradient, target] = disjoint(run.memory, [run.gradient, place]).map(|slot| slot.of::<E>());
                channelwise::scale(gradient, value, target, accumulate);
            }
        });
    }

    fn parameter(&self, role: Role) -> Option<&Parameter> {
        (role == Role::Scale).then_some(&self.scale)
    }

    fn parameter_mut(&mut self, role: Role) -> Option<&mut Parameter> {
        (role == Role::Scale).then_some(&mut self.scale)
    }
}
