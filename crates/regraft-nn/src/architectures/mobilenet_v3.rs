//! MobileNetV3 (Howard et al. 2019) with timm's names.

use super::architecture::Architecture;
use super::builder::{Builder, Geometry};
use super::inverted_residual::{InvertedResidual, Squeeze, multiple_of_eight};
use crate::graph::{Graph, Source};
use crate::ops::{Function, Padding};

pub(super) const MEMBERS: &[Architecture] = &[
    Architecture::new(
        "mobilenet_v3_small",
        "67.668",
        "--weights mobilenet_v3_small-047dcff4.pth (torchvision)",
        |name| mobilenet_v3(name, &SMALL, TORCHVISION),
    ),
    Architecture::new(
        "mobilenetv3_small_100",
        "67.636",
        "--weights timm/mobilenetv3_small_100.lamb_in1k",
        |name| mobilenet_v3(name, &SMALL, TIMM),
    )
    .bicubic(),
    Architecture::new(
        "mobilenet_v3_large",
        "74.042",
        "--weights mobilenet_v3_large-8738ca79.pth (torchvision)",
        |name| mobilenet_v3(name, &LARGE, TORCHVISION),
    ),
    Architecture::new(
        "mobilenetv3_large_100",
        "75.8",
        "--weights timm/mobilenetv3_large_100.ra_in1k",
        |name| mobilenet_v3(name, &LARGE, TIMM),
    )
    .bicubic(),
];

/// Epsilon and momentum of torchvision's batch norms.
const TORCHVISION: [f32; 2] = [1e-3, 0.01];
/// Epsilon and momentum of timm's.
const TIMM: [f32; 2] = [1e-5, 0.1];

/// A network's blocks, grouped in stages as in timm, and the channels of its last two layers.
struct Variant {
    stages: &'static [&'static [Block]],
    top: [usize; 2],
}

/// A block: kernel, stride, channels inside and out, whether it has squeeze-and-excitation, and the
/// activation.
struct Block(usize, usize, usize, usize, bool, Function);

use Function::{HardSwish, Relu};

const LARGE: Variant = Variant { stages: &LARGE_STAGES, top: [960, 1280] };
const SMALL: Variant = Variant { stages: &SMALL_STAGES, top: [576, 1024] };

const LARGE_STAGES: [&[Block]; 6] = [
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

const SMALL_STAGES: [&[Block]; 5] = [
    &[Block(3, 2, 16, 16, true, Relu)],
    &[Block(3, 2, 72, 24, false, Relu), Block(3, 1, 88, 24, false, Relu)],
    &[
        Block(5, 2, 96, 40, true, HardSwish),
        Block(5, 1, 240, 40, true, HardSwish),
        Block(5, 1, 240, 40, true, HardSwish),
    ],
    &[Block(5, 1, 120, 48, true, HardSwish), Block(5, 1, 144, 48, true, HardSwish)],
    &[
        Block(5, 2, 288, 96, true, HardSwish),
        Block(5, 1, 576, 96, true, HardSwish),
        Block(5, 1, 576, 96, true, HardSwish),
    ],
];

/// A MobileNetV3 with 1000 classes and these batch-norm constants.
fn mobilenet_v3(architecture: &str, variant: &Variant, [epsilon, momentum]: [f32; 2]) -> Graph {
    let [last_width, features] = variant.top;
    let mut builder = Builder::new(architecture, epsilon, momentum);
    builder.convolution_norm("conv_stem", "bn1", Source::Image, geometry([3, 16], 3, 2));
    builder.activation("act1", HardSwish);
    let mut channels = 16;
    for (stage, blocks) in variant.stages.iter().enumerate() {
        for (place, &Block(kernel, stride, width, outs, weighs, activation)) in
            blocks.iter().enumerate()
        {
            let reduced = multiple_of_eight(width * 10 / 4);
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
    let (last, name) = (builder.last(), format!("blocks.{}.0", variant.stages.len()));
    let widen = geometry([channels, last_width], 1, 1);
    builder.convolution_norm(format!("{name}.conv"), format!("{name}.bn1"), last, widen);
    builder.activation(format!("{name}.act1"), HardSwish);
    let pooled = builder.global_average_pool("global_pool");
    builder.biased_convolution("conv_head", pooled, geometry([last_width, features], 1, 1));
    builder.activation("act2", HardSwish);
    builder.with_head("classifier", features, 0.2)
}

fn padding(kernel: usize) -> Padding {
    Padding::Each(kernel / 2)
}

fn geometry(channels: [usize; 2], kernel: usize, stride: usize) -> Geometry {
    Geometry { channels, kernel, stride, padding: padding(kernel), groups: 1 }
}
