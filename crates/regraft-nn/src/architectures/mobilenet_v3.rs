//! MobileNetV3-Large (Howard et al. 2019) with timm's names.

use super::builder::{Builder, Geometry};
use super::inverted_residual::{InvertedResidual, Squeeze};
use crate::graph::{Graph, Source};
use crate::ops::{Function, Padding};

/// A block: kernel, stride, channels inside and out, whether it has squeeze-and-excitation, and the
/// activation.
struct Block(usize, usize, usize, usize, bool, Function);

use Function::{HardSwish, Relu};

/// The blocks of each stage, grouped as in timm.
const STAGES: [&[Block]; 6] = [
    &[Block(3, 1, 16, 16, false, Relu)],
    &[Block(3, 2, 64, 24, false, Relu), Block(3, 1, 72, 24, false, Relu)],
    &[
        Block(5, 2, 72, 40, true, Relu),
        Block(5, 1, 120, 40, true, Relu),
        Block(5, 1, 120, 40, true, Relu),
    ],
    &[
        Block(3, 2, 240, 80, false, HardSwish),
        Block(3, 1, 200, 80, false, HardSwish),
        Block(3, 1, 184, 80, false, HardSwish),
        Block(3, 1, 184, 80, false, HardSwish),
    ],
    &[Block(3, 1, 480, 112, true, HardSwish), Block(3, 1, 672, 112, true, HardSwish)],
    &[
        Block(5, 2, 672, 160, true, HardSwish),
        Block(5, 1, 960, 160, true, HardSwish),
        Block(5, 1, 960, 160, true, HardSwish),
    ],
];

/// MobileNetV3-Large with 1000 classes and these batch-norm constants.
#[must_use]
pub fn mobilenet_v3_large(architecture: &str, norm_epsilon: f32, norm_momentum: f32) -> Graph {
    let mut builder = Builder::new(architecture, norm_epsilon, norm_momentum);
    builder.convolution_norm("conv_stem", "bn1", Source::Image, geometry([3, 16], 3, 2));
    builder.activation("act1", HardSwish);
    let mut channels = 16;
    for (stage, blocks) in STAGES.into_iter().enumerate() {
        for (place, &Block(kernel, stride, width, outs, weighs, activation)) in
            blocks.iter().enumerate()
        {
            let reduced = multiple_of_eight(width / 4);
            let block = InvertedResidual {
                channels: [channels, width, outs],
                kernel,
                stride,
                padding,
                activation,
                squeeze: weighs.then_some(Squeeze {
                    channels: reduced,
                    activation: Relu,
                    gate: Function::HardSigmoid,
                }),
                drop_rate: 0.0,
            };
            block.add_to(&mut builder, &format!("blocks.{stage}.{place}"));
            channels = outs;
        }
    }
    // timm's last stage is only a convolution.
    let last = builder.last();
    builder.convolution_norm(
        "blocks.6.0.conv",
        "blocks.6.0.bn1",
        last,
        geometry([channels, 960], 1, 1),
    );
    builder.activation("blocks.6.0.act1", HardSwish);
    let pooled = builder.global_average_pool("global_pool");
    builder.biased_convolution("conv_head", pooled, geometry([960, 1280], 1, 1));
    builder.activation("act2", HardSwish);
    builder.with_head("classifier", 1280, 0.2)
}

/// The nearest multiple of eight, or the next one if rounding down would lose more than a tenth
/// (the paper's rule).
fn multiple_of_eight(channels: usize) -> usize {
    let nearest = ((channels + 4) / 8 * 8).max(8);
    if nearest * 10 < channels * 9 { nearest + 8 } else { nearest }
}

fn padding(kernel: usize) -> Padding {
    Padding::Each(kernel / 2)
}

fn geometry(channels: [usize; 2], kernel: usize, stride: usize) -> Geometry {
    Geometry { channels, kernel, stride, padding: padding(kernel), groups: 1 }
}
