//! ResNet (He et al. 2015), as torchvision builds it ("v1.5": the stride of a bottleneck is in its
//! 3x3 convolution).

use super::builder::{Builder, Geometry};
use crate::graph::{Graph, Source};
use crate::ops::{Function, Padding};

/// A ResNet with `blocks` blocks in its four stages, of two 3x3 convolutions each or, if
/// `bottleneck`, of 1x1, 3x3 and 1x1.
#[must_use]
pub fn resnet(architecture: &str, blocks: [usize; 4], bottleneck: bool) -> Graph {
    let mut builder = Builder::new(architecture, 1e-5, 0.1);
    convolution(&mut builder, "conv1", "bn1", Source::Image, [3, 64], 7, 2);
    builder.activation("act1", Function::Relu);
    builder.max_pool("maxpool", 3, 2, Padding::Each(1));
    let expansion = if bottleneck { 4 } else { 1 };
    let mut channels = 64;
    for (stage, blocks) in blocks.into_iter().enumerate() {
        let width = 64 << stage;
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let name = format!("layer{}.{block}", stage + 1);
            add_block(&mut builder, &name, channels, width, width * expansion, stride, bottleneck);
            channels = width * expansion;
        }
    }
    builder.global_average_pool("avgpool");
    builder.with_head("fc", channels, 0.0)
}

fn add_block(
    builder: &mut Builder,
    name: &str,
    ins: usize,
    width: usize,
    outs: usize,
    stride: usize,
    bottleneck: bool,
) {
    let start = builder.last();
    let mut residual = start;
    if stride != 1 || ins != outs {
        let (conv, norm) = (format!("{name}.downsample.0"), format!("{name}.downsample.1"));
        residual = convolution(builder, &conv, &norm, start, [ins, outs], 1, stride);
    }
    let layers = if bottleneck {
        vec![([ins, width], 1, 1), ([width, width], 3, stride), ([width, outs], 1, 1)]
    } else {
        vec![([ins, width], 3, stride), ([width, outs], 3, 1)]
    };
    let count = layers.len();
    let mut input = start;
    for (number, (channels, kernel, stride)) in (1..).zip(layers) {
        let (conv, norm) = (format!("{name}.conv{number}"), format!("{name}.bn{number}"));
        convolution(builder, &conv, &norm, input, channels, kernel, stride);
        if number == count {
            builder.add(format!("{name}.add"), residual, 0.0);
        }
        input = builder.activation(format!("{name}.act{number}"), Function::Relu);
    }
}

/// A convolution with its batch norm.
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
