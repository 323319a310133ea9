//! MobileNetV3-Large (Howard et al. 2019) with timm's names.

use super::builder::{Builder, Geometry};
use super::squeeze_excite::squeeze_excite;
use crate::graph::{Graph, Source};
use crate::ops::{Function, Padding};

/// A block: kernel, stride, channels inside and out, whether channels are weighed, and the
/// activation.
struct Block(usize, usize, usize, usize, bool, Function);

use Function::{HardSwish, Relu};

/// The blocks of each stage, as timm groups them.
const STAGES: [&[Block]; 6] = [
    &[Block(3, 1, 16, 16, false, Relu)],
    &[Block(3, 2, 64, 24, false, Relu), Block(3, 1, 72, 24, false, Relu)],
    &[Block(5, 2, 72, 40, true, Relu), Block(5, 1, 120, 40, true, Relu), Block(5, 1, 120, 40, true, Relu)],
    &[
        Block(3, 2, 240, 80, false, HardSwish),
        Block(3, 1, 200, 80, false, HardSwish),
        Block(3, 1, 184, 80, false, HardSwish),
        Block(3, 1, 184, 80, false, HardSwish),
    ],
    &[Block(3, 1, 480, 112, true, HardSwish), Block(3, 1, 672, 112, true, HardSwish)],
    &[Block(5, 2, 672, 160, true, HardSwish), Block(5, 1, 960, 160, true, HardSwish), Block(5, 1, 960, 160, true, HardSwish)],
];

/// MobileNetV3-Large with 1000 classes and these constants of batch norm.
#[must_use]
pub fn mobilenet_v3_large(architecture: &str, norm_epsilon: f32, norm_momentum: f32) -> Graph {
    let mut builder = Builder::new(architecture, norm_epsilon, norm_momentum);
    convolution(&mut builder, "conv_stem", "bn1", Source::Image, [3, 16], 3, 2, 1);
    builder.activation("act1", HardSwish);
    let mut channels = 16;
    for (stage, blocks) in STAGES.into_iter().enumerate() {
        for (place, block) in blocks.iter().enumerate() {
            add_block(&mut builder, &format!("blocks.{stage}.{place}"), channels, block);
            channels = block.3;
        }
    }
    // timm's last stage is a convolution alone.
    let last = builder.last();
    convolution(&mut builder, "blocks.6.0.conv", "blocks.6.0.bn1", last, [channels, 960], 1, 1, 1);
    builder.activation("blocks.6.0.act1", HardSwish);
    let pooled = builder.global_average_pool("global_pool");
    builder.biased_convolution("conv_head", pooled, geometry([960, 1280], 1, 1, 1));
    builder.activation("act2", HardSwish);
    builder.with_head("classifier", 1280, 0.2)
}

/// Expand, filter each channel, weigh the channels, project. If nothing is expanded, that step is
/// left out.
fn add_block(builder: &mut Builder, name: &str, ins: usize, &Block(kernel, stride, width, outs, weighs, activation): &Block) {
    let start = builder.last();
    let mut input = start;
    let mut number = 1;
    let mut projection = "conv_pw";
    if width != ins {
        convolution(builder, &format!("{name}.conv_pw"), &format!("{name}.bn1"), input, [ins, width], 1, 1, 1);
        input = builder.activation(format!("{name}.act1"), activation);
        (number, projection) = (2, "conv_pwl");
    }
    let [filter_norm, last_norm] = [number, number + 1].map(|number| format!("{name}.bn{number}"));
    convolution(builder, &format!("{name}.conv_dw"), &filter_norm, input, [width, width], kernel, stride, width);
    let mut filtered = builder.activation(format!("{name}.act{number}"), activation);
    if weighs {
        let reduced = multiple_of_eight(width / 4);
        filtered = squeeze_excite(builder, &format!("{name}.se"), width, reduced, Relu, Function::HardSigmoid);
    }
    convolution(builder, &format!("{name}.{projection}"), &last_norm, filtered, [width, outs], 1, 1, 1);
    if stride == 1 && ins == outs {
        builder.add(format!("{name}.add"), start, 0.0);
    }
}

/// The nearest multiple of eight, one more if it would lose a tenth (the paper's rule).
fn multiple_of_eight(channels: usize) -> usize {
    let nearest = ((channels + 4) / 8 * 8).max(8);
    if nearest * 10 < channels * 9 { nearest + 8 } else { nearest }
}

fn geometry(channels: [usize; 2], kernel: usize, stride: usize, groups: usize) -> Geometry {
    Geometry { channels, kernel, stride, padding: Padding::Each(kernel / 2), groups }
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
) {
    builder.convolution(name, input, geometry(channels, kernel, stride, groups));
    builder.batch_norm(norm, channels[1]);
}
