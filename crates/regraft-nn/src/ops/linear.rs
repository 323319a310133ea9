//! Fully connected layers.

use super::{InitialWeights, Needs, Rules};
use crate::shape::MapShape;
use crate::tensor::{Role, Tensor};

/// A fully connected layer over the channels of each pixel. Reads one feature map.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// Input channels.
    pub inputs: usize,
    /// Output channels; in the last node, logits.
    pub outputs: usize,
    /// Whether it adds a value for each channel.
    pub bias: bool,
    /// How its weights are initialised. For the head, [`crate::initialize::HeadInitialization`]
    /// decides.
    pub initial: InitialWeights,
    /// Number of the random stream of its initial weights.
    pub stream: u32,
}

impl Rules for Linear {
    fn kind(&self) -> &'static str {
        "linear"
    }

    fn output_shape(&self, inputs: &[MapShape]) -> Option<MapShape> {
        Some(MapShape { channels: self.outputs, ..inputs[0] })
    }

    fn tensors(&self, node: &str, _image_size: usize) -> Vec<Tensor> {
        let weight =
            Tensor::new(format!("{node}.weight"), Role::Weight, vec![self.outputs, self.inputs]);
        let bias =
            self.bias.then(|| Tensor::new(format!("{node}.bias"), Role::Bias, vec![self.outputs]));
        std::iter::once(weight).chain(bias).collect()
    }

    fn initial(&self, tensor: &Tensor, seed: u64) -> Vec<f32> {
        match tensor.role {
            Role::Weight => self.initial.draw(&tensor.shape, seed, self.stream),
            _ => vec![0.0; tensor.length()],
        }
    }

    fn multiply_adds(&self, _inputs: &[MapShape], output: MapShape) -> u64 {
        (output.length() * self.inputs) as u64
    }

    fn backward_needs(&self) -> Needs {
        Needs { inputs: true, ..Needs::default() }
    }
}
