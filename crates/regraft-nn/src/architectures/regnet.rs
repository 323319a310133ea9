//! RegNetY (Radosavovic et al. 2020) with timm's names. The sizes that end in `_tv` are those that
//! torchvision rounds to other widths than the authors.

use super::architecture::Architecture;
use super::builder::{Builder, Geometry};
use super::squeeze_excite::{Names, squeeze_excite};
use crate::graph::{Graph, Source};
use crate::ops::{Function, Padding};

/// A RegNet whose weights are the authors'.
const fn authors(
    name: &'static str,
    accuracy: &'static str,
    weights: &'static str,
    build: fn(&str) -> Graph,
) -> Architecture {
    Architecture::new(name, accuracy, weights, build).bicubic()
}

pub(super) const MEMBERS: &[Architecture] = &[
    Architecture::new(
        "regnety_004",
        "74.046",
        "--weights regnet_y_400mf-c65dace8.pth (torchvision) or timm/regnety_004.tv2_in1k",
        |name| regnet(name, 8, [(1, 48), (3, 104), (6, 208), (6, 440)]),
    ),
    authors("regnety_006", "75.274", "--weights timm/regnety_006.pycls_in1k", |name| {
        regnet(name, 16, [(1, 48), (3, 112), (7, 256), (4, 608)])
    }),
    authors("regnety_008", "76.334", "--weights timm/regnety_008.pycls_in1k", |name| {
        regnet(name, 16, [(1, 64), (3, 128), (8, 320), (2, 768)])
    }),
    Architecture::new(
        "regnety_008_tv",
        "76.420",
        "--weights regnet_y_800mf-1b27b58c.pth (torchvision) or timm/regnety_008_tv.tv2_in1k",
        |name| regnet(name, 16, [(1, 64), (3, 144), (8, 320), (2, 784)]),
    ),
    Architecture::new(
        "regnety_016",
        "77.950",
        "--weights regnet_y_1_6gf-b11a554e.pth (torchvision) or timm/regnety_016.tv2_in1k",
        |name| regnet(name, 24, [(2, 48), (6, 120), (17, 336), (2, 888)]),
    ),
    Architecture::new(
        "regnety_032",
        "78.948",
        "--weights regnet_y_3_2gf-b5a9779c.pth (torchvision) or timm/regnety_032.tv2_in1k",
        |name| regnet(name, 24, [(2, 72), (5, 216), (13, 576), (1, 1512)]),
    ),
    authors("regnety_040", "79.246", "--weights timm/regnety_040.pycls_in1k", |name| {
        regnet(name, 64, [(2, 128), (6, 192), (12, 512), (2, 1088)])
    }),
    authors("regnety_064", "79.734", "--weights timm/regnety_064.pycls_in1k", |name| {
        regnet(name, 72, [(2, 144), (7, 288), (14, 576), (2, 1296)])
    }),
    authors("regnety_080", "79.874", "--weights timm/regnety_080.pycls_in1k", |name| {
        regnet(name, 56, [(2, 168), (4, 448), (10, 896), (1, 2016)])
    }),
    Architecture::new(
        "regnety_080_tv",
        "80.032",
        "--weights regnet_y_8gf-d0d0e4a8.pth (torchvision) or timm/regnety_080_tv.tv2_in1k",
        |name| regnet(name, 56, [(2, 224), (4, 448), (10, 896), (1, 2016)]),
    ),
    authors("regnety_120", "80.382", "--weights timm/regnety_120.pycls_in1k", |name| {
        regnet(name, 112, [(2, 224), (5, 448), (11, 896), (1, 2240)])
    }),
    Architecture::new(
        "regnety_160",
        "80.424",
        "--weights regnet_y_16gf-9e6ed7dd.pth (torchvision) or timm/regnety_160.tv2_in1k",
        |name| regnet(name, 112, [(2, 224), (4, 448), (11, 1232), (1, 3024)]),
    ),
];

/// A RegNetY with 1000 classes, whose convolutions have groups of `group_width` channels. `stages`
/// are the blocks and channels of each stage.
fn regnet(architecture: &str, group_width: usize, stages: [(usize, usize); 4]) -> Graph {
    let mut builder = Builder::new(architecture, 1e-5, 0.1);
    convolution(&mut builder, "stem", Source::Image, [3, 32], 3, 2, 1);
    builder.activation("stem.act", Function::Relu);
    let mut ins = 32;
    for (stage, (blocks, outs)) in (1..).zip(stages) {
        for block in 1..=blocks {
            let stride = if block == 1 { 2 } else { 1 };
            let name = format!("s{stage}.b{block}");
            add_block(&mut builder, &name, [ins, outs], stride, outs / group_width);
            ins = outs;
        }
    }
    builder.global_average_pool("head.global_pool");
    builder.with_head("head.fc", ins, 0.0)
}

/// Adds a block: a residual bottleneck that is as wide inside as outside, with
/// squeeze-and-excitation by a quarter of its input's channels.
fn add_block(
    builder: &mut Builder,
    name: &str,
    [ins, outs]: [usize; 2],
    stride: usize,
    groups: usize,
) {
    let start = builder.last();
    let mut residual = start;
    if stride != 1 || ins != outs {
        let name = format!("{name}.downsample");
        residual = convolution(builder, &name, start, [ins, outs], 1, stride, 1);
    }
    convolution(builder, &format!("{name}.conv1"), start, [ins, outs], 1, 1, 1);
    let input = builder.activation(format!("{name}.conv1.act"), Function::Relu);
    convolution(builder, &format!("{name}.conv2"), input, [outs, outs], 3, stride, groups);
    builder.activation(format!("{name}.conv2.act"), Function::Relu);
    let (names, functions) =
        (Names { reduce: "fc1", expand: "fc2" }, [Function::Relu, Function::Sigmoid]);
    let weighed = squeeze_excite(builder, &format!("{name}.se"), names, [outs, ins / 4], functions);
    convolution(builder, &format!("{name}.conv3"), weighed, [outs, outs], 1, 1, 1);
    builder.add(format!("{name}.add"), residual, 0.0);
    builder.activation(format!("{name}.act3"), Function::Relu);
}

/// A convolution `NAME.conv` with its batch norm `NAME.bn`.
fn convolution(
    builder: &mut Builder,
    name: &str,
    input: Source,
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    groups: usize,
) -> Source {
    let geometry =
        Geometry { channels, kernel, stride, padding: Padding::Each(kernel / 2), groups };
    builder.convolution_norm(format!("{name}.conv"), format!("{name}.bn"), input, geometry)
}
