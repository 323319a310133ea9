//! The weights of a convolution, and the choice of kernels.

use crate::parameter::{Layout, Parameter};
use crate::slot::with_element;
use crate::step::{BlockPart, Reading};
use crate::tensors::{Memory, Tensors};
use regraft_kernels::convolution::{self, ConvolutionShape, GradientScratch};
use regraft_kernels::depthwise;
use regraft_kernels::finish::Finish;
use regraft_kernels::input::Input;
use regraft_kernels::packing::{MapElement, PackedWeights};
use regraft_nn::graph::MapShape;
use regraft_nn::ops::{Convolution, Padding};
use regraft_nn::precision::Precision;

/// The sizes of a window that slides over a feature map.
pub(super) fn window_shape(
    batch: usize,
    input: MapShape,
    output: MapShape,
    kernel: usize,
    stride: usize,
    padding: Padding,
) -> ConvolutionShape {
    let before = |length| padding.resolve(length, kernel, stride).map_or(0, |(_, before)| before);
    ConvolutionShape {
        batch,
        in_height: input.height,
        in_width: input.width,
        in_channels: input.channels,
        out_height: output.height,
        out_width: output.width,
        out_channels: output.channels,
        kernel_height: kernel,
        kernel_width: kernel,
        stride,
        padding_top: before(input.height),
        padding_left: before(input.width),
        groups: 1,
    }
}

/// A convolution's weights.
pub(super) struct Filter {
    pub operation: Convolution,
    pub weight: Parameter,
    /// Weights packed for the training forward pass.
    packed: PackedWeights,
}

/// Weights in the forward kernels' form.
#[derive(Default)]
pub(super) struct Prepared {
    /// For [`depthwise::forward`]; empty if `packed` is used.
    depthwise: Vec<f32>,
    packed: PackedWeights,
}

impl Prepared {
    /// The weights of a depthwise convolution.
    pub fn depthwise(&self) -> &[f32] {
        &self.depthwise
    }
}

impl Filter {
    pub fn new(operation: Convolution) -> Self {
        Self { operation, weight: Parameter::default(), packed: PackedWeights::default() }
    }

    /// The order of the weights' elements. Depthwise convolutions with other kernel sizes run as
    /// grouped convolutions, and use their order.
    pub fn layout(&self) -> Layout {
        let handled =
            self.operation.is_depthwise() && depthwise::KERNELS.contains(&self.operation.kernel);
        if handled { Layout::Depthwise } else { Layout::ChannelsLast }
    }

    /// How the convolution reads values that the batch norm of its input has not normalised.
    pub fn reading(&self, precision: Precision) -> Reading {
        let Convolution { kernel, groups, .. } = self.operation;
        let normalizes_any =
            with_element!(precision, E => convolution::normalizes_any_input::<E>());
        if self.block_part().is_some() || groups == 1 && normalizes_any {
            Reading::Normalizes
        } else if groups == 1 && kernel > 1 {
            Reading::Recomputed
        } else {
            Reading::Plain
        }
    }

    pub fn shape(&self, batch: usize, input: MapShape, output: MapShape) -> ConvolutionShape {
        let Convolution { kernel, stride, padding, groups, .. } = self.operation;
        ConvolutionShape { groups, ..window_shape(batch, input, output, kernel, stride, padding) }
    }

    /// Its kind as a part of a block.
    pub fn block_part(&self) -> Option<BlockPart> {
        let Convolution { kernel, stride, padding, groups, .. } = self.operation;
        let has_border = !matches!(padding, Padding::Each(0) | Padding::Same);
        if kernel == 1 && stride == 1 && groups == 1 && !has_border {
            Some(BlockPart::Pointwise)
        } else if self.layout() == Layout::Depthwise {
            Some(BlockPart::Depthwise)
        } else {
            None
        }
    }

    /// The weights, with those of each output channel multiplied by its `scale`.
    pub fn scaled(&self, tensors: &Tensors, scale: &[f32]) -> Vec<f32> {
        let mut weights = self.weight.value(tensors).to_vec();
        if self.layout() == Layout::Depthwise {
            for tap in weights.chunks_exact_mut(scale.len()) {
                tap.iter_mut().zip(scale).for_each(|(weight, scale)| *weight *= scale);
            }
        } else {
            let length = weights.len() / scale.len();
            for (filter, scale) in weights.chunks_exact_mut(length).zip(scale) {
                filter.iter_mut().for_each(|weight| *weight *= scale);
            }
        }
        weights
    }

    /// The weights in the forward kernels' form, with those of each output channel multiplied by
    /// its `scale`.
    pub fn prepare<E: MapElement>(
        &self,
        tensors: &Tensors,
        shape: &ConvolutionShape,
        scale: Option<&[f32]>,
    ) -> Prepared {
        let mut prepared = Prepared::default();
        let weights = match scale {
            Some(scale) => self.scaled(tensors, scale),
            None => self.weight.value(tensors).to_vec(),
        };
        if depthwise::handles(shape) {
            prepared.depthwise = weights;
        } else {
            prepared.packed.pack::<E>(shape, &weights);
        }
        prepared
    }

    /// Convolves with prepared weights.
    pub fn infer<E: MapElement>(
        shape: &ConvolutionShape,
        prepared: &Prepared,
        input: &[E],
        output: &mut [E],
        finish: Finish<'_, E>,
    ) {
        if depthwise::handles(shape) {
            depthwise::forward(shape, input, &prepared.depthwise, output, finish);
        } else {
            convolution::forward(shape, input, &prepared.packed, output, finish);
        }
    }

    /// Convolves with weights that may have changed since the last call.
    pub fn train<E: MapElement>(
        &mut self,
        tensors: &Tensors,
        shape: &ConvolutionShape,
        input: Input<'_, E>,
        output: &mut [E],
        finish: Finish<'_, E>,
    ) {
        let weights = self.weight.value(tensors);
        if depthwise::handles(shape) {
            depthwise::forward(shape, input, weights, output, finish);
        } else {
            self.packed.pack::<E>(shape, weights);
            convolution::forward(shape, input, &self.packed, output, finish);
        }
    }

    pub fn backward_weights<E: MapElement>(
        &self,
        gradients: &mut Memory,
        shape: &ConvolutionShape,
        input: Input<'_, E>,
        gradient: &[E],
        scratch: &mut GradientScratch,
        partial: &mut Vec<f32>,
    ) {
        let weight_gradient = self.weight.gradient(gradients);
        if depthwise::handles(shape) {
            depthwise::backward_weights(shape, input, gradient, weight_gradient, partial);
        } else {
            convolution::backward_weights(shape, input, gradient, weight_gradient, scratch);
        }
    }

    pub fn backward_input<E: MapElement>(
        &self,
        tensors: &Tensors,
        shape: &ConvolutionShape,
        gradient: &[E],
        target: &mut [E],
        accumulate: bool,
        scratch: &mut GradientScratch,
    ) {
        let weights = self.weight.value(tensors);
        if depthwise::handles(shape) {
            depthwise::backward_input(shape, gradient, weights, target, accumulate);
        } else {
            convolution::backward_input(shape, gradient, weights, target, accumulate, scratch);
        }
    }
}
