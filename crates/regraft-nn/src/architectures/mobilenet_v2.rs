//! MobileNetV2 (Sandler et al. 2018) with timm's names.

use super::architecture::Architecture;
use super::builder::{Builder, Geometry};
use super::inverted_residual::InvertedResidual;
use crate::graph::{Graph, Source};
use crate::ops::{Function, Padding};

pub(super) const MEMBERS: &[Architecture] = &[Architecture::new(
    "mobilenetv2_100",
    "71.878",
    "--weights mobilenet_v2-b0353104.pth (torchvision) or timm/mobilenetv2_100.ra_in1k",
    mobilenet_v2,
)];

/// `(blocks, stride, expansion, output channels)` of each stage.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 1, 1, 16),
    (2, 2, 6, 24),
    (3, 2, 6, 32),
    (4, 2, 6, 64),
    (3, 1, 6, 96),
    (3, 2, 6, 160),
    (1, 1, 6, 320),
];

/// MobileNetV2 of width 1.0 with 1000 classes.
fn mobilenet_v2(architecture: &str) -> Graph {
    let activation = Function::Relu6;
    let mut builder = Builder::new(architecture, 1e-5, 0.1);
    builder.convolution_norm("conv_stem", "bn1", Source::Image, geometry([3, 32], 3, 2));
    builder.activation("act1", activation);
    let mut channels = 32;
    for (stage, (blocks, stride, expansion, outs)) in STAGES.into_iter().enumerate() {
        for block in 0..blocks {
            let block_of_stage = InvertedResidual {
                channels: [channels, channels * expansion, outs],
                kernel: 3,
                stride: if block == 0 { stride } else { 1 },
                padding,
                activation,
                squeeze: None,
                drop_rate: 0.0,
            };
            block_of_stage.add_to(&mut builder, &format!("blocks.{stage}.{block}"));
            channels = outs;
        }
    }
    let last = builder.last();
    builder.convolution_norm("conv_head", "bn2", last, geometry([channels, 1280], 1, 1));
    builder.activation("act2", activation);
    builder.global_average_pool("global_pool");
    builder.with_head("classifier", 1280, 0.2)
}

fn padding(kernel: usize) -> Padding {
    Padding::Each(kernel / 2)
}

fn geometry(channels: [usize; 2], kernel: usize, stride: usize) -> Geometry {
    Geometry { channels, kernel, stride, padding: padding(kernel), groups: 1 }
}
