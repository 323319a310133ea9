//! MobileNetV4 without attention (Qin et al. 2024) with timm's names.

use super::architecture::Architecture;
use super::builder::{Builder, Geometry};
use super::inverted_residual::multiple_of_eight;
use crate::graph::{Graph, Source};
use crate::ops::{Function, Padding};

pub(super) const MEMBERS: &[Architecture] = &[
    Architecture::new(
        "mobilenetv4_conv_small",
        "73.756",
        "--weights timm/mobilenetv4_conv_small.e2400_r224_in1k",
        |name| mobilenet_v4(name, &SMALL),
    )
    .bicubic(),
    Architecture::new(
        "mobilenetv4_conv_medium",
        "79.916",
        "--weights timm/mobilenetv4_conv_medium.e500_r256_in1k",
        |name| mobilenet_v4(name, &MEDIUM),
    )
    .bicubic()
    .sized(256, 269),
];

/// A block of a stage.
enum Block {
    /// A convolution: kernel, stride, output channels.
    Convolution(usize, usize, usize),
    /// A convolution of 3x3 and stride 2 that expands its input, and a projection: expansion and
    /// output channels.
    Fused(usize, usize),
    /// A universal inverted bottleneck: the sides of the depthwise kernels before and after the
    /// expansion (0 for none), stride, expansion, output channels.
    Universal([usize; 2], usize, usize, usize),
}

use Block::{Convolution, Fused, Universal};

const SMALL: [&[Block]; 5] = [
    &[Convolution(3, 2, 32), Convolution(1, 1, 32)],
    &[Convolution(3, 2, 96), Convolution(1, 1, 64)],
    &[
        Universal([5, 5], 2, 3, 96),
        Universal([0, 3], 1, 2, 96),
        Universal([0, 3], 1, 2, 96),
        Universal([0, 3], 1, 2, 96),
        Universal([0, 3], 1, 2, 96),
        Universal([3, 0], 1, 4, 96),
    ],
    &[
        Universal([3, 3], 2, 6, 128),
        Universal([5, 5], 1, 4, 128),
        Universal([0, 5], 1, 4, 128),
        Universal([0, 5], 1, 3, 128),
        Universal([0, 3], 1, 4, 128),
        Universal([0, 3], 1, 4, 128),
    ],
    &[Convolution(1, 1, 960)],
];

const MEDIUM: [&[Block]; 5] = [
    &[Fused(4, 48)],
    &[Universal([3, 5], 2, 4, 80), Universal([3, 3], 1, 2, 80)],
    &[
        Universal([3, 5], 2, 6, 160),
        Universal([3, 3], 1, 4, 160),
        Universal([3, 3], 1, 4, 160),
        Universal([3, 5], 1, 4, 160),
        Universal([3, 3], 1, 4, 160),
        Universal([3, 0], 1, 4, 160),
        Universal([0, 0], 1, 2, 160),
        Universal([3, 0], 1, 4, 160),
    ],
    &[
        Universal([5, 5], 2, 6, 256),
        Universal([5, 5], 1, 4, 256),
        Universal([3, 5], 1, 4, 256),
        Universal([3, 5], 1, 4, 256),
        Universal([0, 0], 1, 4, 256),
        Universal([3, 0], 1, 4, 256),
        Universal([3, 5], 1, 2, 256),
        Universal([5, 5], 1, 4, 256),
        Universal([0, 0], 1, 4, 256),
        Universal([0, 0], 1, 4, 256),
        Universal([5, 0], 1, 2, 256),
    ],
    &[Convolution(1, 1, 960)],
];

/// A MobileNetV4 with 1000 classes.
fn mobilenet_v4(architecture: &str, stages: &[&[Block]]) -> Graph {
    let mut builder = Builder::new(architecture, 1e-5, 0.1);
    builder.convolution_norm("conv_stem", "bn1", Source::Image, geometry([3, 32], 3, 2));
    builder.activation("act1", Function::Relu);
    let mut channels = 32;
    for (stage, blocks) in stages.iter().enumerate() {
        for (place, block) in blocks.iter().enumerate() {
            channels = add_block(&mut builder, &format!("blocks.{stage}.{place}"), channels, block);
        }
    }
    let pooled = builder.global_average_pool("global_pool");
    builder.convolution_norm("conv_head", "norm_head", pooled, geometry([channels, 1280], 1, 1));
    builder.activation("act2", Function::Relu);
    builder.with_head("classifier", 1280, 0.2)
}

/// Adds a block; returns the channels of its output.
fn add_block(builder: &mut Builder, name: &str, ins: usize, block: &Block) -> usize {
    let start = builder.last();
    match *block {
        Convolution(kernel, stride, outs) => {
            let (conv, norm) = (format!("{name}.conv"), format!("{name}.bn1"));
            builder.convolution_norm(conv, norm, start, geometry([ins, outs], kernel, stride));
            builder.activation(format!("{name}.act1"), Function::Relu);
            outs
        }
        Fused(expansion, outs) => {
            let inner = ins * expansion;
            let (conv, norm) = (format!("{name}.conv_exp"), format!("{name}.bn1"));
            builder.convolution_norm(conv, norm, start, geometry([ins, inner], 3, 2));
            let input = builder.activation(format!("{name}.act1"), Function::Relu);
            let (conv, norm) = (format!("{name}.conv_pwl"), format!("{name}.bn2"));
            builder.convolution_norm(conv, norm, input, geometry([inner, outs], 1, 1));
            outs
        }
        Universal([first, second], stride, expansion, outs) => {
            let inner = multiple_of_eight(ins * expansion * 10);
            if first > 0 {
                let stride = if second > 0 { 1 } else { stride };
                add_part(builder, name, "dw_start", depthwise(ins, first, stride));
            }
            add_part(builder, name, "pw_exp", geometry([ins, inner], 1, 1));
            builder.activation(format!("{name}.pw_exp.act"), Function::Relu);
            if second > 0 {
                add_part(builder, name, "dw_mid", depthwise(inner, second, stride));
                builder.activation(format!("{name}.dw_mid.act"), Function::Relu);
            }
            add_part(builder, name, "pw_proj", geometry([inner, outs], 1, 1));
            if stride == 1 && ins == outs {
                builder.add(format!("{name}.add"), start, 0.0);
            }
            outs
        }
    }
}

/// A convolution with its batch norm, of the last node's output: `NAME.PART.conv` and
/// `NAME.PART.bn`.
fn add_part(builder: &mut Builder, name: &str, part: &str, geometry: Geometry) {
    let input = builder.last();
    let [conv, norm] = ["conv", "bn"].map(|kind| format!("{name}.{part}.{kind}"));
    builder.convolution_norm(conv, norm, input, geometry);
}

fn depthwise(channels: usize, kernel: usize, stride: usize) -> Geometry {
    Geometry { groups: channels, ..geometry([channels, channels], kernel, stride) }
}

fn geometry(channels: [usize; 2], kernel: usize, stride: usize) -> Geometry {
    Geometry { channels, kernel, stride, padding: Padding::Each(kernel / 2), groups: 1 }
}
