//! Tensors of steps: where they lie.

use crate::tensors::{Memory, Tensors};
pub(crate) use regraft_nn::layout::Layout;
use std::ops::Range;

/// A tensor of a step, by its place in the arena of learned tensors or of running statistics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parameter {
    /// Empty until the engine lays out the arenas.
    pub place: Range<usize>,
}

impl Parameter {
    /// The values of a learned tensor.
    pub fn value<'a>(&self, tensors: &'a Tensors) -> &'a [f32] {
        tensors.learned.of(&self.place)
    }

    /// The values of a running statistic.
    pub fn running<'a>(&self, tensors: &'a Tensors) -> &'a [f32] {
        tensors.running.of(&self.place)
    }

    /// The gradient of a learned tensor, for writing.
    pub fn gradient<'a>(&self, gradients: &'a mut Memory) -> &'a mut [f32] {
        gradients.of_mut(&self.place)
    }
}
