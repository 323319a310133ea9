//! EfficientNet-B0 (Tan and Le 2019) with timm's names: as torchvision trained it, and as
//! TensorFlow did.

use super::builder::{Builder, Geometry};
use super::squeeze_excite::squeeze_excite;
use crate::graph::{Graph, Source};
use crate::ops::{Function, Padding};

/// `(blocks, kernel, stride, expansion, output channels)` of each stage.
const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
];
/// The share of dropped branches grows from zero at the first block to this at the end.
const DROP_RATE: f32 = 0.2;

/// Whose padding and batch-norm constants a network has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// torchvision's, and timm's own trainings.
    PyTorch,
    /// TensorFlow's: `SAME` padding; timm's `tf_` networks.
    TensorFlow,
}

impl Origin {
    fn padding(self, kernel: usize) -> Padding {
        match self {
            Self::PyTorch => Padding::Each(kernel / 2),
            Self::TensorFlow => Padding::Same,
        }
    }
}

/// EfficientNet-B0 with 1000 classes.
#[must_use]
pub fn efficientnet_b0(architecture: &str, origin: Origin) -> Graph {
    let (epsilon, momentum) = match origin {
        Origin::PyTorch => (1e-5, 0.1),
        Origin::TensorFlow => (1e-3, 0.01),
    };
    let mut network = Network { builder: Builder::new(architecture, epsilon, momentum), origin };
    network.convolution("conv_stem", "bn1", Source::Image, [3, 32], 3, 2, 1);
    network.builder.activation("act1", Function::Silu);
    let total: usize = STAGES.iter().map(|stage| stage.0).sum();
    let mut channels = 32;
    let mut index = 0;
    for (stage, (blocks, kernel, stride, expansion, outs)) in STAGES.into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if block == 0 { stride } else { 1 };
            let drop_rate = DROP_RATE * index as f32 / total as f32;
            network.block(&format!("blocks.{stage}.{block}"), [channels, outs], kernel, stride, expansion, drop_rate);
            (channels, index) = (outs, index + 1);
        }
    }
    let last = network.builder.last();
    network.convolution("conv_head", "bn2", last, [channels, 1280], 1, 1, 1);
    network.builder.activation("act2", Function::Silu);
    network.builder.global_average_pool("global_pool");
    network.builder.with_head("classifier", 1280, 0.2)
}

struct Network {
    builder: Builder,
    origin: Origin,
}

impl Network {
    /// Expand, filter each channel, weigh the channels, project. Without expansion it is a
    /// depthwise-separable convolution.
    fn block(&mut self, name: &str, [ins, outs]: [usize; 2], kernel: usize, stride: usize, expansion: usize, drop_rate: f32) {
        let start = self.builder.last();
        let width = ins * expansion;
        let mut input = start;
        let mut number = 1;
        let mut projection = "conv_pw";
        if expansion > 1 {
            self.convolution(&format!("{name}.conv_pw"), &format!("{name}.bn1"), input, [ins, width], 1, 1, 1);
            input = self.builder.activation(format!("{name}.act1"), Function::Silu);
            (number, projection) = (2, "conv_pwl");
        }
        let [filter_norm, last_norm] = [number, number + 1].map(|number| format!("{name}.bn{number}"));
        self.convolution(&format!("{name}.conv_dw"), &filter_norm, input, [width, width], kernel, stride, width);
        self.builder.activation(format!("{name}.act{number}"), Function::Silu);
        let weighed = squeeze_excite(&mut self.builder, &format!("{name}.se"), width, ins / 4, Function::Silu, Function::Sigmoid);
        self.convolution(&format!("{name}.{projection}"), &last_norm, weighed, [width, outs], 1, 1, 1);
        if stride == 1 && ins == outs {
            self.builder.add(format!("{name}.add"), start, drop_rate);
        }
    }

    /// A convolution with its batch norm.
    #[allow(clippy::too_many_arguments)]
    fn convolution(
        &mut self,
        name: &str,
        norm: &str,
        input: Source,
        channels: [usize; 2],
        kernel: usize,
        stride: usize,
        groups: usize,
    ) {
        let padding = self.origin.padding(kernel);
        self.builder.convolution(name, input, Geometry { channels, kernel, stride, padding, groups });
        self.builder.batch_norm(norm, channels[1]);
    }
}
