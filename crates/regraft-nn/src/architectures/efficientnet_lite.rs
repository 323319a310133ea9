//! EfficientNet-Lite0 (Tan and Le 2019; the Lite variant of 2020 has ReLU6 and no squeeze-and-excitation), with timm's names
//! (`tf_efficientnet_lite0`) and TensorFlow's padding and batch-norm constants.

use super::builder::{Builder, Geometry};
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
const DROP_CONNECT: f32 = 0.2;

/// EfficientNet-Lite0 with 1000 classes.
#[must_use]
pub fn efficientnet_lite0() -> Graph {
    let mut builder = Builder::new("efficientnet_lite0", 1e-3, 0.01);
    convolution(&mut builder, "conv_stem", "bn1", Source::Image, [3, 32], 3, 2, 1);
    builder.activation("act1", Function::Relu6);
    let total: usize = STAGES.iter().map(|stage| stage.0).sum();
    let mut channels = 32;
    let mut index = 0;
    for (stage, (blocks, kernel, stride, expansion, outs)) in STAGES.into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if block == 0 { stride } else { 1 };
            let drop_rate = DROP_CONNECT * index as f32 / total as f32;
            add_block(&mut builder, &format!("blocks.{stage}.{block}"), [channels, outs], kernel, stride, expansion, drop_rate);
            (channels, index) = (outs, index + 1);
        }
    }
    let last = builder.last();
    convolution(&mut builder, "conv_head", "bn2", last, [channels, 1280], 1, 1, 1);
    builder.activation("act2", Function::Relu6);
    builder.global_average_pool("global_pool");
    builder.with_head("classifier", 1280, 0.2)
}

/// An inverted residual block: expand, filter each channel, project. Without expansion it is a depthwise-separable convolution.
fn add_block(
    builder: &mut Builder,
    name: &str,
    [ins, outs]: [usize; 2],
    kernel: usize,
    stride: usize,
    expansion: usize,
    drop_rate: f32,
) {
    let start = builder.last();
    let width = ins * expansion;
    let mut input = start;
    let mut number = 1;
    let mut projection = "conv_pw";
    if expansion > 1 {
        convolution(builder, &format!("{name}.conv_pw"), &format!("{name}.bn1"), input, [ins, width], 1, 1, 1);
        input = builder.activation(format!("{name}.act1"), Function::Relu6);
        (number, projection) = (2, "conv_pwl");
    }
    let [filter_norm, last_norm] = [number, number + 1].map(|number| format!("{name}.bn{number}"));
    convolution(builder, &format!("{name}.conv_dw"), &filter_norm, input, [width, width], kernel, stride, width);
    let input = builder.activation(format!("{name}.act{number}"), Function::Relu6);
    convolution(builder, &format!("{name}.{projection}"), &last_norm, input, [width, outs], 1, 1, 1);
    if stride == 1 && ins == outs {
        builder.add(format!("{name}.add"), start, drop_rate);
    }
}

/// A convolution with its batch norm.
#[allow(clippy::too_many_arguments)]
fn convolution(
    builder: &mut Builder,
    name: &str,
    norm: &str,
    input: Source,
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    groups: usize,
) -> Source {
    builder.convolution(name, input, Geometry { channels, kernel, stride, padding: Padding::Same, groups });
    builder.batch_norm(norm, channels[1])
}
