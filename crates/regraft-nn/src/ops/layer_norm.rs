//! Layer normalisation.

use super::{Needs, Rules};
use crate::shape::MapShape;
use crate::tensor::{Role, Tensor};

/// Normalisation of each pixel over its channels (Ba, Kiros and Hinton 2016). Reads one feature
/// map.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// Channels of the feature map.
    pub channels: usize,
    /// Added to the variance.
    pub epsilon: f32,
}

impl Rules for LayerNorm {
    fn kind(&self) -> &'static str {
        "layer norm"
    }

    fn output_shape(&self, inputs: &[MapShape]) -> Option<MapShape> {
        Some(inputs[0])
    }

    fn tensors(&self, node: &str, _image_size: usize) -> Vec<Tensor> {
        let tensors = [("weight", Role::NormWeight), ("bias", Role::NormBias)];
        tensors
            .map(|(suffix, role)| {
                Tensor::new(format!("{node}.{suffix}"), role, vec![self.channels])
            })
            .into()
    }

    fn backward_needs(&self) -> Needs {
        Needs { inputs: true, saved: true, ..Needs::default() }
    }
}
