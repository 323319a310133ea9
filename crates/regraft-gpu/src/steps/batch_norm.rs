//! A batch norm that follows no convolution, or a convolution with bias.

use super::norm_state::{After, NormState};
use crate::kernels::batch_norm;
use crate::kernels::elementwise;
use crate::kernels::input::Normalization;
use crate::step::{Compute, Context, Parameter, Sizes};
use regraft_nn::ops::BatchNorm;
use regraft_nn::parameters::Role;
use regraft_nn::plan::{Extra, Facts};

pub(crate) struct BatchNormStep {
    norm: NormState,
}

impl BatchNormStep {
    pub fn new(norm: BatchNorm) -> Self {
        Self { norm: NormState::new(norm) }
    }
}

impl Compute for BatchNormStep {
    fn facts(&self) -> Facts {
        Facts { inputs_read_again: 1, ..Facts::default() }
    }

    fn extra(&self, sizes: &Sizes) -> Extra {
        self.norm.extra(sizes)
    }

    fn forward(&self, context: &mut Context<'_>) {
        let (input, map) = (context.input(0), self.norm.map(&context.sizes));
        self.norm.prepare(context, input);
        let normalization = Normalization { statistics: context.saved(), clamp: None };
        if let Some(output) = context.output() {
            let recorder = &mut *context.recorder;
            batch_norm::normalize(recorder, map, input, normalization, None, None, output);
        }
    }

    fn backward(&self, context: &mut Context<'_>) {
        let input = context.input(0);
        self.norm.backward(context, input, After::default());
        if let Some(target) = context.target(0) {
            let (gradient, elements) = (context.gradient(), context.sizes.output_elements());
            elementwise::give(context.recorder, gradient, None, elements, target);
        }
    }

    fn parameter(&mut self, role: Role) -> Option<&mut Parameter> {
        self.norm.parameter(role)
    }
}
