//! The state of a batch norm: its tensors, and the statistics of a training pass.

use crate::parameter::Parameter;
use crate::tensors::{Memory, Tensors};
use regraft_kernels::batch_norm::{self, Statistics, inverse_deviation};
use regraft_kernels::element::Element;
use regraft_nn::collective::Collective;
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
    /// Whether a training pass computes statistics of this engine's share of the batch.
    pub takes_statistics: bool,
    /// Whether it normalises with statistics of the batch, so that gradients flow through them.
    normalizes_batch: bool,
    /// Number of pixels of those statistics.
    pixels: usize,
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
            takes_statistics: false,
            normalizes_batch: false,
            pixels: 0,
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

    /// Decides whether a training pass over this many pixels computes statistics; must be called
    /// first.
    pub fn begin(&mut self, pixels: usize) {
        self.takes_statistics = match self.operation.statistics {
            NormStatistics::Running => false,
            NormStatistics::Batch => pixels > 1,
            NormStatistics::WholeBatch => pixels > 0,
        };
    }

    /// Moves the running statistics and computes scale and shift for this engine's share of a
    /// batch. If the pass computes statistics, [`Self::statistics`] must have been set.
    ///
    /// A single value has no variance, and PyTorch stops there. But a last batch of one image must
    /// not end a training, so in that case the layer uses its running statistics, as in evaluation,
    /// and does not change them.
    pub fn finish(
        &mut self,
        images: usize,
        pixels_per_image: usize,
        tensors: &mut Tensors,
        ranks: &mut dyn Collective,
    ) {
        self.pixels = images * pixels_per_image;
        if self.is_shared(ranks) {
            self.share_statistics(images, pixels_per_image, ranks);
        }
        self.normalizes_batch =
            self.operation.statistics != NormStatistics::Running && self.pixels > 1;
        if self.normalizes_batch {
            let momentum = self.operation.momentum;
            let (mean, variance) =
                tensors.running.of_two(&self.running_mean.place, &self.running_variance.place);
            self.statistics.update_running(self.pixels, momentum, mean, variance);
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

    /// Whether several ranks normalise with the same statistics.
    fn is_shared(&self, ranks: &dyn Collective) -> bool {
        self.operation.statistics == NormStatistics::WholeBatch && ranks.size() > 1
    }

    /// Combines the statistics of all ranks' shares.
    fn share_statistics(
        &mut self,
        images: usize,
        pixels_per_image: usize,
        ranks: &mut dyn Collective,
    ) {
        let channels = self.operation.channels;
        let mut own = vec![0.0; 1 + 2 * channels];
        // Images, not pixels, because f32 holds integers exactly only up to 2^24.
        own[0] = images as f32;
        if images > 0 {
            own[1..=channels].copy_from_slice(&self.statistics.mean);
            own[1 + channels..].copy_from_slice(&self.statistics.variance);
        }
        let all = ranks.gather(&own);
        let parts = all.chunks_exact(own.len()).map(|part| {
            let (means, variances) = part[1..].split_at(channels);
            (part[0] as usize * pixels_per_image, means, variances)
        });
        self.pixels = self.statistics.combine_parts(channels, parts);
    }

    /// Takes part in the exchanges of the other ranks' forward passes, as a rank without images.
    pub fn attend(
        &mut self,
        pixels_per_image: usize,
        tensors: &mut Tensors,
        ranks: &mut dyn Collective,
    ) {
        if self.is_shared(ranks) {
            self.finish(0, pixels_per_image, tensors, ranks);
        }
    }

    /// Like [`Self::attend`], in the backward pass.
    pub fn attend_backward(&self, ranks: &mut dyn Collective) {
        if self.is_shared(ranks) {
            ranks.sum(&mut vec![0.0; 2 * self.operation.channels]);
        }
    }

    /// Turns the gradient of the normalised values into that of the original values, in place,
    /// given the parameters' gradients of this engine's share.
    pub fn backward_input<E: Element>(
        &self,
        gradients: &Memory,
        input: &[E],
        gradient: &mut [E],
        ranks: &mut dyn Collective,
    ) {
        let Self { statistics, inverse_deviation, scale, weight, bias, .. } = self;
        let mut sums = [gradients.of(&weight.place), gradients.of(&bias.place)].concat();
        if self.is_shared(ranks) {
            ranks.sum(&mut sums);
        }
        if self.normalizes_batch {
            let (weight, bias) = sums.split_at(self.operation.channels);
            batch_norm::backward_input(
                self.pixels,
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
