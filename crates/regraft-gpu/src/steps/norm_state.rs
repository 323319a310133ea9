//! A batch norm's tensors, and which statistics it normalises with.

use crate::kernels::batch_norm::{self, Map, Norm};
use crate::kernels::batch_norm_backward::{self, Backward};
use crate::record::{Slice, Values};
use crate::step::{Context, Parameter, Sizes};
use regraft_nn::ops::{BatchNorm, Function, NormStatistics};
use regraft_nn::parameters::Role;
use regraft_nn::plan::Extra;

pub(super) struct NormState {
    operation: BatchNorm,
    weight: Parameter,
    bias: Parameter,
    running_mean: Parameter,
    running_variance: Parameter,
}

/// The operations between a batch norm and its step's output.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct After {
    pub clamp: Option<Function>,
    /// The output, if it tells where the clamp was constant.
    pub output: Option<Values>,
    pub keep: Option<Slice>,
    /// The gradient of the residual, and whether it is added to the buffer.
    pub residual: Option<(Values, bool)>,
}

impl NormState {
    pub fn new(operation: BatchNorm) -> Self {
        let [weight, bias, running_mean, running_variance] =
            std::array::from_fn(|_| Parameter::default());
        Self { operation, weight, bias, running_mean, running_variance }
    }

    pub fn extra(&self, sizes: &Sizes) -> Extra {
        let channels = self.operation.channels;
        let scratch = Norm::scratch(channels, sizes.output_pixels());
        Extra { saved: Norm::saved(channels), forward_scratch: scratch, backward_scratch: scratch }
    }

    fn norm(&self, context: &Context<'_>) -> Norm {
        Norm {
            channels: self.operation.channels,
            epsilon: self.operation.epsilon,
            weight: self.weight.value(),
            bias: self.bias.value(),
            running_mean: self.running_mean.running(),
            running_variance: self.running_variance.running(),
            statistics: context.saved(),
        }
    }

    /// Whether a training pass normalises with the batch's statistics, so that gradients flow
    /// through them. One value has no variance: a last batch of one image must not end a training,
    /// so the layer then normalises with its running statistics, as in evaluation.
    fn is_batch(&self, sizes: &Sizes) -> bool {
        self.operation.statistics != NormStatistics::Running && sizes.output_pixels() > 1
    }

    /// Saves the statistics that normalise `map`.
    pub fn prepare(&self, context: &mut Context<'_>, map: Values) {
        let (norm, pixels) = (self.norm(context), context.sizes.output_pixels());
        if context.is_training && self.is_batch(&context.sizes) {
            let (momentum, scratch) = (self.operation.momentum, context.forward_scratch());
            batch_norm::statistics(context.recorder, map, pixels, &norm, momentum, scratch);
        } else {
            batch_norm::fold(context.recorder, &norm);
        }
    }

    pub fn map(&self, sizes: &Sizes) -> Map {
        Map {
            images: sizes.batch,
            pixels: sizes.output.pixels(),
            channels: self.operation.channels,
        }
    }

    /// Goes back to the gradient of the norm's input, in place, and gives the residual's.
    pub fn backward(&self, context: &mut Context<'_>, input: Values, after: After) {
        let norm = self.norm(context);
        let After { clamp, output, keep, residual } = after;
        let work = Backward {
            map: self.map(&context.sizes),
            input,
            gradient: context.gradient(),
            output,
            clamp,
            keep,
            residual,
            is_batch: self.is_batch(&context.sizes),
            weight_gradient: context.gradient_of(&self.weight),
            bias_gradient: context.gradient_of(&self.bias),
            scratch: context.backward_scratch(),
            arguments: context.arguments,
        };
        batch_norm_backward::backward(context.recorder, &norm, &work);
    }

    pub fn parameter(&mut self, role: Role) -> Option<&mut Parameter> {
        match role {
            Role::NormWeight => Some(&mut self.weight),
            Role::NormBias => Some(&mut self.bias),
            Role::RunningMean => Some(&mut self.running_mean),
            Role::RunningVariance => Some(&mut self.running_variance),
            _ => None,
        }
    }
}
