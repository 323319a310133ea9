//! The state of a batch norm: its tensors, and the statistics of a training pass.

use crate::parameter::Parameter;
use crate::tensors::{Memory, Tensors};
use regraft_kernels::batch_norm::{self, Statistics, inverse_deviation};
use regraft_kernels::element::Element;
use regraft_nn::ops::{BatchNorm, NormStatistics};
use regraft_nn::parameters::Role;

pub(super) struct NormState {
    pub operation: BatchNorm,
    pub weight: Parameter,
    pub bias: Parameter,
    running_mean: Parameter,
    running_variance: Parameter,
    /// Statistics that the training pass uses.
    pub statistics: Statistics,
    /// Whether they are the batch's own, so that gradients flow through them.
    pub normalizes_batch: bool,
    pub inverse_deviation: Vec<f32>,
    /// Weight x inverse standard deviation.
    pub scale: Vec<f32>,
    /// Bias - mean x scale.
    pub shift: Vec<f32>,
}

impl NormState {
    pub fn new(operation: BatchNorm) -> Self {
        let [weight, bias, running_mean, running_variance] =
            std::array::from_fn(|_| Parameter::default());
        Self {
            operation,
            weight,
            bias,
            running_mean,
            running_variance,
            statistics: Statistics::default(),
            normalizes_batch: false,
            inverse_deviation: Vec::new(),
            scale: Vec::new(),
            shift: Vec::new(),
        }
    }

    /// Scale and shift with running statistics.
    pub fn folded(&self, tensors: &Tensors) -> (Vec<f32>, Vec<f32>) {
        let inverse =
            inverse_deviation(self.running_variance.running(tensors), self.operation.epsilon);
        self.scale_and_shift(tensors, &inverse, self.running_mean.running(tensors))
    }

    fn scale_and_shift(
        &self,
        tensors: &Tensors,
        inverse: &[f32],
        mean: &[f32],
    ) -> (Vec<f32>, Vec<f32>) {
        let weights = self.weight.value(tensors).iter();
        let scale: Vec<f32> =
            weights.zip(inverse).map(|(weight, inverse)| weight * inverse).collect();
        let biases = self.bias.value(tensors).iter().zip(mean).zip(&scale);
        let shift = biases.map(|((bias, mean), scale)| bias - mean * scale).collect();
        (scale, shift)
    }

    /// Decides which statistics a training pass over this many pixels uses; must be called before
    /// the statistics are computed.
    ///
    /// A single value has no variance, and PyTorch stops there. But a last batch of one image must
    /// not end a training, so in that case the layer uses its running statistics, as in evaluation,
    /// and does not change them.
    pub fn begin(&mut self, pixels: usize) {
        self.normalizes_batch = pixels > 1 && self.operation.statistics == NormStatistics::Batch;
    }

    /// Moves the running statistics and computes scale and shift. If the batch's statistics are
    /// used, [`Self::statistics`] must have been set.
    pub fn finish(&mut self, pixels: usize, tensors: &mut Tensors) {
        if self.normalizes_batch {
            let momentum = self.operation.momentum;
            let (mean, variance) =
                tensors.running.of_two(&self.running_mean.place, &self.running_variance.place);
            self.statistics.update_running(pixels, momentum, mean, variance);
        } else {
            let Statistics { mean, variance, .. } = &mut self.statistics;
            for (statistic, running) in
                [(mean, &self.running_mean), (variance, &self.running_variance)]
            {
                statistic.clear();
                statistic.extend_from_slice(running.running(tensors));
            }
        }
        self.inverse_deviation =
            inverse_deviation(&self.statistics.variance, self.operation.epsilon);
        (self.scale, self.shift) =
            self.scale_and_shift(tensors, &self.inverse_deviation, &self.statistics.mean);
    }

    /// Turns the gradient of the normalised values into that of the original values, in place,
    /// given the parameters' gradients.
    pub fn backward_input<E: Element>(&self, gradients: &Memory, input: &[E], gradient: &mut [E]) {
        let Self { statistics, inverse_deviation, scale, weight, bias, .. } = self;
        if self.normalizes_batch {
            let (weight, bias) = (gradients.of(&weight.place), gradients.of(&bias.place));
            batch_norm::backward_input(
                input,
                gradient,
                &statistics.mean,
                inverse_deviation,
                scale,
                weight,
                bias,
            );
        } else {
            batch_norm::backward_input_of_constants(gradient, scale);
        }
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
