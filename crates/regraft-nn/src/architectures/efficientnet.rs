//! EfficientNet-B0 (Tan and Le 2019) with timm's names, as torchvision and as TensorFlow trained
//! it, and EfficientNet-Lite0 (the variant of 2020 with ReLU6 and without squeeze-and-excitation).

use super::builder::{Builder, Geometry};
use super::inverted_residual::{InvertedResidual, Squeeze};
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
/// The drop rate of branches grows from zero at the first block to this at the end.
const DROP_RATE: f32 = 0.2;

/// The origin of a network's padding and batch-norm constants.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// torchvision, and timm's own trainings.
    PyTorch,
    /// TensorFlow: `SAME` padding; timm's `tf_` networks.
    TensorFlow,
}

impl Origin {
    fn padding(self) -> fn(usize) -> Padding {
        match self {
            Self::PyTorch => |kernel| Padding::Each(kernel / 2),
            Self::TensorFlow => |_| Padding::Same,
        }
    }
}

/// EfficientNet-B0 with 1000 classes.
#[must_use]
pub fn efficientnet_b0(architecture: &str, origin: Origin) -> Graph {
    let squeeze = |ins: usize| Squeeze {
        channels: ins / 4,
        activation: Function::Silu,
        gate: Function::Sigmoid,
    };
    network(architecture, origin, Function::Silu, Some(squeeze))
}

/// EfficientNet-Lite0 with 1000 classes, timm's `tf_efficientnet_lite0`.
#[must_use]
pub fn efficientnet_lite0(architecture: &str) -> Graph {
    network(architecture, Origin::TensorFlow, Function::Relu6, None)
}

/// `squeeze` returns the squeeze-and-excitation of a block with that many input channels.
fn network(
    architecture: &str,
    origin: Origin,
    activation: Function,
    squeeze: Option<fn(usize) -> Squeeze>,
) -> Graph {
    let (epsilon, momentum) = match origin {
        Origin::PyTorch => (1e-5, 0.1),
        Origin::TensorFlow => (1e-3, 0.01),
    };
    let padding = origin.padding();
    let whole = |channels, kernel, stride| Geometry {
        channels,
        kernel,
        stride,
        padding: padding(kernel),
        groups: 1,
    };
    let mut builder = Builder::new(architecture, epsilon, momentum);
    builder.convolution_norm("conv_stem", "bn1", Source::Image, whole([3, 32], 3, 2));
    builder.activation("act1", activation);
    let total: usize = STAGES.iter().map(|stage| stage.0).sum();
    let mut channels = 32;
    let mut index = 0;
    for (stage, (blocks, kernel, stride, expansion, outs)) in STAGES.into_iter().enumerate() {
        for block in 0..blocks {
            let block_of_stage = InvertedResidual {
                channels: [channels, channels * expansion, outs],
                kernel,
                stride: if block == 0 { stride } else { 1 },
                padding,
                activation,
                squeeze: squeeze.map(|squeeze| squeeze(channels)),
                drop_rate: DROP_RATE * index as f32 / total as f32,
            };
            block_of_stage.add_to(&mut builder, &format!("blocks.{stage}.{block}"));
            (channels, index) = (outs, index + 1);
        }
    }
    let last = builder.last();
    builder.convolution_norm("conv_head", "bn2", last, whole([channels, 1280], 1, 1));
    builder.activation("act2", activation);
    builder.global_average_pool("global_pool");
    builder.with_head("classifier", 1280, 0.2)
}
