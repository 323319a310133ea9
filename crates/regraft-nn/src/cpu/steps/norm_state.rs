//! What a batch norm keeps: its tensors, and what a training pass makes of its statistics.

use super::super::parameter::Parameter;
use crate::ops::{BatchNorm, NormStatistics};
use crate::parameters::Role;
use regraft_kernels::batch_norm::{self, Statistics, inverse_deviation};
use regraft_kernels::element::Element;

pub(super) struct NormState {
    pub operation: BatchNorm,
    pub weight: Parameter,
    pub bias: Parameter,
    running_mean: Vec<f32>,
    running_variance: Vec<f32>,
    /// Statistics that the training pass normalises with.
    pub statistics: Statistics,
    /// Whether they are the batch's own, so that gradients flow through them.
    pub normalizes_batch: bool,
    pub inverse_deviation: Vec<f32>,
    /// Weight x inverse deviation.
    pub scale: Vec<f32>,
    /// Bias - mean x scale.
    pub shift: Vec<f32>,
}

impl NormState {
    pub fn new(operation: BatchNorm) -> Self {
        let channels = operation.channels;
        Self {
            operation,
            weight: Parameter::of_length(channels),
            bias: Parameter::of_length(channels),
            running_mean: vec![0.0; channels],
            running_variance: vec![1.0; channels],
            statistics: Statistics::default(),
            normalizes_batch: false,
            inverse_deviation: Vec::new(),
            scale: Vec::new(),
            shift: Vec::new(),
        }
    }

    /// Scale and shift with running statistics.
    pub fn folded(&self) -> (Vec<f32>, Vec<f32>) {
        let inverse = inverse_deviation(&self.running_variance, self.operation.epsilon);
        self.scale_and_shift(&inverse, &self.running_mean)
    }

    fn scale_and_shift(&self, inverse: &[f32], mean: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let scale: Vec<f32> = self.weight.value.iter().zip(inverse).map(|(weight, inverse)| weight * inverse).collect();
        let biases = self.bias.value.iter().zip(mean).zip(&scale);
        let shift = biases.map(|((bias, mean), scale)| bias - mean * scale).collect();
        (scale, shift)
    }

    /// Decides what a training pass over this many pixels normalises with; to be called before
    /// statistics are taken.
    ///
    /// One value has no variance: PyTorch stops there. A last batch of one image must not end a
    /// training, so the layer then normalises with its running statistics, as in evaluation, and
    /// leaves them as they are.
    pub fn begin(&mut self, pixels: usize) {
        self.normalizes_batch = pixels > 1 && self.operation.statistics == NormStatistics::Batch;
    }

    /// Moves the running statistics and computes scale and shift, once [`Self::statistics`] are
    /// those of the batch if they are to be.
    pub fn finish(&mut self, pixels: usize) {
        if self.normalizes_batch {
            let momentum = self.operation.momentum;
            self.statistics.update_running(pixels, momentum, &mut self.running_mean, &mut self.running_variance);
        } else {
            self.statistics.mean.clone_from(&self.running_mean);
            self.statistics.variance.clone_from(&self.running_variance);
        }
        self.inverse_deviation = inverse_deviation(&self.statistics.variance, self.operation.epsilon);
        (self.scale, self.shift) = self.scale_and_shift(&self.inverse_deviation, &self.statistics.mean);
    }

    /// Turns the gradient of the normalised values into that of the values, in place, given the
    /// parameters' gradients.
    pub fn backward_input<E: Element>(&self, input: &[E], gradient: &mut [E]) {
        let Self { statistics, inverse_deviation, scale, weight, bias, .. } = self;
        if self.normalizes_batch {
            let (weight, bias) = (&weight.gradient, &bias.gradient);
            batch_norm::backward_input(input, gradient, &statistics.mean, inverse_deviation, scale, weight, bias);
        } else {
            batch_norm::backward_input_of_constants(gradient, scale);
        }
    }

    pub fn parameter(&self, role: Role) -> Option<&Parameter> {
        match role {
            Role::NormWeight => Some(&self.weight),
            Role::NormBias => Some(&self.bias),
            _ => None,
        }
    }

    pub fn parameter_mut(&mut self, role: Role) -> Option<&mut Parameter> {
        match role {
            Role::NormWeight => Some(&mut self.weight),
            Role::NormBias => Some(&mut self.bias),
            _ => None,
        }
    }

    pub fn running(&self, role: Role) -> Option<&Vec<f32>> {
        match role {
            Role::RunningMean => Some(&self.running_mean),
            Role::RunningVariance => Some(&self.running_variance),
            _ => None,
        }
    }

    pub fn running_mut(&mut self, role: Role) -> Option<&mut Vec<f32>> {
        match role {
            Role::RunningMean => Some(&mut self.running_mean),
            Role::RunningVariance => Some(&mut self.running_variance),
            _ => None,
        }
    }
}
