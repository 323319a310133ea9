//! Layer scale.

use super::{Needs, Part, Rules};
use crate::shape::MapShape;
use crate::tensor::{Role, Tensor};

/// Multiplication by a learned factor for each channel at the end of a branch (Touvron et al.
/// 2021). Reads one feature map. Its tensor has the node's own name, such as
/// `stages.0.blocks.0.gamma`.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerScale {
    /// Channels of the feature map.
    pub channels: usize,
    /// Initial value of the factors.
    pub initial: f32,
}

impl Rules for LayerScale {
    fn kind(&self) -> &'static str {
        "layer scale"
    }

    fn part(&self) -> Part {
        Part::Follows
    }

    fn output_shape(&self, inputs: &[MapShape]) -> Option<MapShape> {
        Some(inputs[0])
    }

    fn tensors(&self, node: &str, _image_size: usize) -> Vec<Tensor> {
        vec![Tensor::new(node.to_owned(), Role::Scale, vec![self.channels])]
    }

    fn initial(&self, tensor: &Tensor, _seed: u64) -> Vec<f32> {
        vec![self.initial; tensor.length()]
    }

    fn backward_needs(&self) -> Needs {
        Needs { inputs: true, ..Needs::default() }
    }
}
