//! Learned tensors as the CPU engine keeps them.

use crate::engine::{Optimizer, Update};
use crate::parameters::Role;
use regraft_kernels::optimizer;

/// A learned tensor, in the kernels' order of elements.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameter {
    pub value: Vec<f32>,
    /// As long as `value` once a step has been made.
    pub gradient: Vec<f32>,
    /// Momentum, or AdamW's first moment; empty before the first step.
    pub first: Vec<f32>,
    /// AdamW's second moment; empty before the first step.
    pub second: Vec<f32>,
}

impl Parameter {
    pub fn of_length(length: usize) -> Self {
        Self { value: vec![0.0; length], ..Self::default() }
    }

    /// The value to read and the gradient to write, made as long as the value.
    pub fn value_and_gradient(&mut self) -> (&[f32], &mut [f32]) {
        self.gradient.resize(self.value.len(), 0.0);
        (&self.value, &mut self.gradient)
    }

    /// Moves the value by its gradient. Biases and all that belongs to a normalisation decay only
    /// if the update says so.
    pub fn update(&mut self, update: &Update<'_>, role: Role, rate: f32) {
        let length = self.value.len();
        let weight_decay = if role == Role::Weight || update.decay_bias_norm { update.weight_decay } else { 0.0 };
        if update.gradient_scale != 1.0 {
            optimizer::scale(&mut self.gradient, update.gradient_scale);
        }
        match update.optimizer {
            Optimizer::Sgd { momentum } => {
                if momentum != 0.0 {
                    self.first.resize(length, 0.0);
                }
                optimizer::sgd(&mut self.value, &self.gradient, &mut self.first, rate, momentum, weight_decay);
            }
            Optimizer::AdamW(settings) => {
                self.first.resize(length, 0.0);
                self.second.resize(length, 0.0);
                let (first, second) = (&mut self.first, &mut self.second);
                optimizer::adamw(&mut self.value, &self.gradient, first, second, update.step, rate, weight_decay, settings);
            }
        }
    }
}

/// The order in which the kernels keep a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// PyTorch's own.
    AsIs,
    /// `[out, height, width, in]` for PyTorch's `[out, in, height, width]`.
    ChannelsLast,
    /// `[height, width, channel]` for PyTorch's `[channel, 1, height, width]`.
    Depthwise,
}

impl Layout {
    /// PyTorch's order of the elements of a tensor of PyTorch's `shape` to the kernels'.
    pub fn to_kernel_order(self, shape: &[usize], values: &[f32]) -> Vec<f32> {
        self.reorder(shape, values, |pytorch, kernel, source, target| target[kernel] = source[pytorch])
    }

    /// The kernels' order of elements to PyTorch's.
    pub fn to_pytorch_order(self, shape: &[usize], values: &[f32]) -> Vec<f32> {
        self.reorder(shape, values, |pytorch, kernel, source, target| target[pytorch] = source[kernel])
    }

    fn reorder(self, shape: &[usize], values: &[f32], put: impl Fn(usize, usize, &[f32], &mut [f32])) -> Vec<f32> {
        let (&[outs, ins, height, width], false) = (shape, self == Self::AsIs) else { return values.to_vec() };
        let mut target = vec![0.0; values.len()];
        let taps = height * width;
        for out in 0..outs {
            for channel in 0..ins {
                for tap in 0..taps {
                    let kernel = match self {
                        Self::Depthwise => tap * outs + out,
                        _ => (out * taps + tap) * ins + channel,
                    };
                    put((out * ins + channel) * taps + tap, kernel, values, &mut target);
                }
            }
        }
        target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_each_others_inverse() {
        for (shape, layout) in [
            (vec![2, 3, 2, 2], Layout::ChannelsLast),
            (vec![4, 1, 3, 3], Layout::ChannelsLast),
            (vec![4, 1, 3, 3], Layout::Depthwise),
            (vec![5, 7], Layout::AsIs),
        ] {
            let values: Vec<f32> = (0..shape.iter().product()).map(|value: usize| value as f32).collect();
            assert_eq!(layout.to_pytorch_order(&shape, &layout.to_kernel_order(&shape, &values)), values);
        }
        assert_eq!(Layout::ChannelsLast.to_kernel_order(&[1, 2, 1, 2], &[0.0, 1.0, 10.0, 11.0]), [0.0, 10.0, 1.0, 11.0]);
        assert_eq!(Layout::Depthwise.to_kernel_order(&[2, 1, 1, 2], &[0.0, 1.0, 10.0, 11.0]), [0.0, 10.0, 1.0, 11.0]);
    }
}
