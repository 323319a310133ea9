//! ResNet (He et al. 2015) as torchvision builds it ("v1.5": the stride of a bottleneck is in its
//! 3x3 convolution), ResNeXt (Xie et al. 2017), Wide ResNet (Zagoruyko and Komodakis 2016), and
//! timm's variant "d" (He et al. 2018) with three convolutions at the start and average pooling
//! before the projections.

use super::architecture::Architecture;
use super::builder::{Builder, Geometry};
use crate::graph::{Graph, Source};
use crate::ops::{Function, Padding};

/// The blocks of a stage.
#[derive(Clone, Copy)]
enum Block {
    /// Two 3x3 convolutions.
    Basic,
    /// Convolutions of 1x1, 3x3 and 1x1. The one in the middle has `groups` groups of `width`
    /// channels in the first stage, and more in the others in proportion.
    Bottleneck { groups: usize, width: usize },
}

const BOTTLENECK: Block = Block::Bottleneck { groups: 1, width: 64 };

pub(super) const MEMBERS: &[Architecture] = &[
    Architecture::new(
        "resnet18",
        "69.758",
        "--weights resnet18-f37072fd.pth (torchvision) or timm/resnet18.tv_in1k",
        |name| resnet(name, [2, 2, 2, 2], Block::Basic, false),
    ),
    Architecture::new(
        "resnet34",
        "73.314",
        "--weights resnet34-b627a593.pth (torchvision) or timm/resnet34.tv_in1k",
        |name| resnet(name, [3, 4, 6, 3], Block::Basic, false),
    ),
    Architecture::new(
        "resnet50",
        "76.130",
        "--weights resnet50-0676ba61.pth (torchvision) or timm/resnet50.tv_in1k",
        |name| resnet(name, [3, 4, 6, 3], BOTTLENECK, false),
    ),
    Architecture::new("resnet50d", "80.546", "--weights timm/resnet50d.ra2_in1k", |name| {
        resnet(name, [3, 4, 6, 3], BOTTLENECK, true)
    })
    .bicubic(),
    Architecture::new(
        "resnet101",
        "77.374",
        "--weights resnet101-63fe2227.pth (torchvision) or timm/resnet101.tv_in1k",
        |name| resnet(name, [3, 4, 23, 3], BOTTLENECK, false),
    ),
    Architecture::new(
        "resnet152",
        "78.312",
        "--weights resnet152-394f9c45.pth (torchvision) or timm/resnet152.tv_in1k",
        |name| resnet(name, [3, 8, 36, 3], BOTTLENECK, false),
    ),
    Architecture::new(
        "resnext50_32x4d",
        "77.618",
        "--weights resnext50_32x4d-7cdf4587.pth (torchvision) or timm/resnext50_32x4d.tv_in1k",
        |name| resnet(name, [3, 4, 6, 3], Block::Bottleneck { groups: 32, width: 4 }, false),
    ),
    Architecture::new(
        "resnext101_32x8d",
        "79.312",
        "--weights resnext101_32x8d-8ba56ff5.pth (torchvision) or timm/resnext101_32x8d.tv_in1k",
        |name| resnet(name, [3, 4, 23, 3], Block::Bottleneck { groups: 32, width: 8 }, false),
    ),
    Architecture::new(
        "resnext101_64x4d",
        "83.246",
        "--weights resnext101_64x4d-173b62eb.pth (torchvision) or timm/resnext101_64x4d.tv_in1k",
        |name| resnet(name, [3, 4, 23, 3], Block::Bottleneck { groups: 64, width: 4 }, false),
    )
    .sized(224, 232),
    Architecture::new(
        "wide_resnet50_2",
        "78.468",
        "--weights wide_resnet50_2-95faca4d.pth (torchvision) or timm/wide_resnet50_2.tv_in1k",
        |name| resnet(name, [3, 4, 6, 3], Block::Bottleneck { groups: 1, width: 128 }, false),
    ),
];

/// A ResNet with `blocks` blocks in its four stages, of variant "d" if `is_d`.
fn resnet(architecture: &str, blocks: [usize; 4], kind: Block, is_d: bool) -> Graph {
    let mut builder = Builder::new(architecture, 1e-5, 0.1);
    if is_d {
        convolution(&mut builder, "conv1.0", "conv1.1", Source::Image, [3, 32], 3, 2);
        let input = builder.activation("conv1.2", Function::Relu);
        convolution(&mut builder, "conv1.3", "conv1.4", input, [32, 32], 3, 1);
        let input = builder.activation("conv1.5", Function::Relu);
        convolution(&mut builder, "conv1.6", "bn1", input, [32, 64], 3, 1);
    } else {
        convolution(&mut builder, "conv1", "bn1", Source::Image, [3, 64], 7, 2);
    }
    builder.activation("act1", Function::Relu);
    builder.max_pool("maxpool", 3, 2, Padding::Each(1));
    let mut channels = 64;
    for (stage, blocks) in blocks.into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let name = format!("layer{}.{block}", stage + 1);
            channels = add_block(&mut builder, &name, channels, kind, stage, stride, is_d);
        }
    }
    builder.global_average_pool("avgpool");
    builder.with_head("fc", channels, 0.0)
}

/// Adds a block of a stage, counted from 0; returns the channels of its output.
fn add_block(
    builder: &mut Builder,
    name: &str,
    ins: usize,
    kind: Block,
    stage: usize,
    stride: usize,
    is_d: bool,
) -> usize {
    let planes = 64 << stage;
    // Input and output channels, kernel, stride, groups.
    let (outs, layers) = match kind {
        Block::Basic => (planes, vec![([ins, planes], 3, stride, 1), ([planes, planes], 3, 1, 1)]),
        Block::Bottleneck { groups, width } => {
            let (inner, outs) = ((groups * width) << stage, 4 * planes);
            let middle = ([inner, inner], 3, stride, groups);
            (outs, vec![([ins, inner], 1, 1, 1), middle, ([inner, outs], 1, 1, 1)])
        }
    };
    let start = builder.last();
    let residual = if stride != 1 || ins != outs {
        add_projection(builder, &format!("{name}.downsample"), [ins, outs], stride, is_d)
    } else {
        start
    };
    let count = layers.len();
    let mut input = start;
    for (number, (channels, kernel, stride, groups)) in (1..).zip(layers) {
        let geometry =
            Geometry { channels, kernel, stride, padding: Padding::Each(kernel / 2), groups };
        let (conv, norm) = (format!("{name}.conv{number}"), format!("{name}.bn{number}"));
        builder.convolution_norm(conv, norm, input, geometry);
        if number == count {
            builder.add(format!("{name}.add"), residual, 0.0);
        }
        input = builder.activation(format!("{name}.act{number}"), Function::Relu);
    }
    outs
}

/// The residual of a block that changes the shape: a 1x1 convolution, which in variant "d" sees
/// the means of 2x2 pixels instead of every other one.
fn add_projection(
    builder: &mut Builder,
    name: &str,
    channels: [usize; 2],
    stride: usize,
    is_d: bool,
) -> Source {
    let [pool, first, second] = [0, 1, 2].map(|place| format!("{name}.{place}"));
    let start = builder.last();
    match (is_d, stride) {
        (false, _) => convolution(builder, &pool, &first, start, channels, 1, stride),
        // timm keeps an empty module in the pooling's place.
        (true, 1) => convolution(builder, &first, &second, start, channels, 1, 1),
        (true, _) => {
            let pooled = builder.average_pool(pool, 2, stride, Padding::Same);
            convolution(builder, &first, &second, pooled, channels, 1, 1)
        }
    }
}

/// A dense convolution with its batch norm.
fn convolution(
    builder: &mut Builder,
    name: &str,
    norm: &str,
    input: Source,
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
) -> Source {
    let geometry =
        Geometry { channels, kernel, stride, padding: Padding::Each(kernel / 2), groups: 1 };
    builder.convolution_norm(name, norm, input, geometry)
}
