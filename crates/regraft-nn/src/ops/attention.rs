//! Self-attention.

use super::{Needs, Part, Rules};
use crate::shape::MapShape;

/// Scaled dot-product attention with several heads (Vaswani et al. 2017): each token's output is
/// the mean of all tokens' values, weighted by the softmax of `query . key / sqrt(head channels)`.
/// Reads a feature map whose channels are those of queries, keys and values, each head by head, and
/// gives a third as many channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// Number of heads, which divides the output's channels.
    pub heads: usize,
}

impl Rules for Attention {
    fn kind(&self) -> &'static str {
        "attention"
    }

    fn part(&self) -> Part {
        Part::Follows
    }

    fn output_shape(&self, inputs: &[MapShape]) -> Option<MapShape> {
        Some(MapShape { channels: inputs[0].channels / 3, ..inputs[0] })
    }

    /// torchvision counts the products of queries with keys, and of weights with values.
    fn multiply_adds(&self, inputs: &[MapShape], output: MapShape) -> u64 {
        2 * (inputs[0].pixels() * output.length()) as u64
    }

    fn backward_needs(&self) -> Needs {
        Needs { inputs: true, ..Needs::default() }
    }
}
