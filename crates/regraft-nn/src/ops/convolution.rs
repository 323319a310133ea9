//! Convolution of feature maps.

use super::{InitialWeights, Needs, Padding, Rules, Window};
use crate::shape::MapShape;
use crate::tensor::{Role, Tensor};

/// A convolution with a square kernel. Reads one feature map.
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Side of the square kernel.
    pub kernel: usize,
    /// Pixels between neighbouring positions of the kernel.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: Padding,
    /// Groups of channels that do not mix; if there are as many groups as channels, the convolution
    /// is depthwise.
    pub groups: usize,
    /// Whether it adds a value for each channel.
    pub bias: bool,
    /// How its weights are initialised.
    pub initial: InitialWeights,
    /// Number of the random stream of its initial weights.
    pub stream: u32,
}

impl Convolution {
    /// Whether each channel has a filter of its own.
    #[must_use]
    pub fn is_depthwise(&self) -> bool {
        self.groups == self.in_channels && self.in_channels == self.out_channels && self.groups > 1
    }

    /// PyTorch's shape of the weights: `[out, in / groups, kernel, kernel]`.
    #[must_use]
    pub fn weight_shape(&self) -> Vec<usize> {
        vec![self.out_channels, self.in_channels / self.groups, self.kernel, self.kernel]
    }
}

impl Rules for Convolution {
    fn kind(&self) -> &'static str {
        if self.is_depthwise() { "depthwise convolution" } else { "convolution" }
    }

    fn output_shape(&self, inputs: &[MapShape]) -> Option<MapShape> {
        let (height, _) = self.padding.resolve(inputs[0].height, self.kernel, self.stride)?;
        let (width, _) = self.padding.resolve(inputs[0].width, self.kernel, self.stride)?;
        Some(MapShape { height, width, channels: self.out_channels })
    }

    fn tensors(&self, node: &str, _image_size: usize) -> Vec<Tensor> {
        let weight = Tensor::new(format!("{node}.weight"), Role::Weight, self.weight_shape());
        let bias = self
            .bias
            .then(|| Tensor::new(format!("{node}.bias"), Role::Bias, vec![self.out_channels]));
        std::iter::once(weight).chain(bias).collect()
    }

    fn initial(&self, tensor: &Tensor, seed: u64) -> Vec<f32> {
        match tensor.role {
            Role::Weight => self.initial.draw(&tensor.shape, seed, self.stream),
            _ => vec![0.0; tensor.length()],
        }
    }

    fn multiply_adds(&self, _inputs: &[MapShape], output: MapShape) -> u64 {
        (output.length() * self.kernel * self.kernel * self.in_channels / self.groups) as u64
    }

    fn backward_needs(&self) -> Needs {
        Needs { inputs: true, ..Needs::default() }
    }

    fn window(&self) -> Option<Window> {
        Some(Window { kernel: self.kernel, stride: self.stride, groups: Some(self.groups) })
    }
}
