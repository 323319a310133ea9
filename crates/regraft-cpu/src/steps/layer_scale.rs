//! Layer scale.

use crate::parameter::Parameter;
use crate::slot::{disjoint, with_element};
use crate::step::{Backward, Compute, Facts, Forward};
use regraft_kernels::channelwise;
use regraft_nn::parameters::Role;

pub(crate) struct LayerScaleStep {
    scale: Parameter,
}

impl LayerScaleStep {
    pub fn new() -> Self {
        Self { scale: Parameter::default() }
    }

    pub fn facts(&self) -> Facts {
        Facts::default()
    }
}

impl Compute for LayerScaleStep {
    fn forward(&mut self, run: Forward<'_>) {
        with_element!(run.precision, E => {
            let [input, output] = disjoint(run.memory,
                [run.inputs[0].clone(), run.output]).map(|slot| slot.of::<E>());
            channelwise::scale(input, self.scale.value(run.tensors), output, false);
        });
    }

    fn backward(&mut self, run: Backward<'_>) {
        let (value, scale_gradient) =
            (self.scale.value(run.tensors), self.scale.gradient(run.gradients));
        with_element!(run.precision, E => {
            let places = [run.inputs[0].clone(), run.gradient.clone()];
            let [input, gradient] = disjoint(run.memory, places).map(|slot| slot.of::<E>());
            channelwise::scale_backward(input, gradient, scale_gradient, run.partial);
            if let Some((place, accumulate)) = run.targets[0].clone() {
                let [gradient, target] = disjoint(run.memory,
                    [run.gradient, place]).map(|slot| slot.of::<E>());
                channelwise::scale(gradient, value, target, accumulate);
            }
        });
    }

    fn parameter(&mut self, role: Role) -> Option<&mut Parameter> {
        (role == Role::Scale).then_some(&mut self.scale)
    }
}
