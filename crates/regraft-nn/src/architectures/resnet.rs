//! ResNet (He et al. 2015), as torchvision builds it ("v1.5": the stride of a bottleneck is in its 3x3 convolution).

use crate::graph::{BatchNorm, ConvNormActivation, Graph, Node, NormStatistics, Operation, Padding, Source};
use regraft_kernels::activation::Activation;

/// A ResNet of `blocks` blocks in its four stages, of two 3x3 convolutions each or, where `bottleneck`, of 1x1, 3x3 and 1x1.
#[must_use]
pub fn resnet(architecture: &str, blocks: [usize; 4], bottleneck: bool) -> Graph {
    let mut nodes = vec![
        convolution("conv1".into(), "bn1".into(), Source::Image, [3, 64], 7, 2, None, Activation::Relu),
        Node {
            name: "maxpool".into(),
            input: Source::Node(0),
            operation: Operation::MaxPool { kernel: 3, stride: 2, padding: Padding::Each(1) },
        },
    ];
    let expansion = if bottleneck { 4 } else { 1 };
    let mut channels = 64;
    for (stage, blocks) in blocks.into_iter().enumerate() {
        let width = 64 << stage;
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let name = format!("layer{}.{block}", stage + 1);
            add_block(&mut nodes, &name, channels, width, width * expansion, stride, bottleneck);
            channels = width * expansion;
        }
    }
    let last = Source::Node(nodes.len() - 1);
    nodes.push(Node { name: "avgpool".into(), input: last, operation: Operation::GlobalAveragePool });
    let pooled = Source::Node(nodes.len() - 1);
    nodes.push(Node {
        name: "fc".into(),
        input: pooled,
        operation: Operation::Linear { inputs: channels, outputs: 1000, dropout: 0.0 },
    });
    Graph { architecture: architecture.into(), input_channels: 3, nodes }
}

fn add_block(nodes: &mut Vec<Node>, name: &str, ins: usize, width: usize, outs: usize, stride: usize, bottleneck: bool) {
    let start = Source::Node(nodes.len() - 1);
    let (conv, norm) = (|number: usize| format!("{name}.conv{number}"), |number: usize| format!("{name}.bn{number}"));
    let mut residual = start;
    if stride != 1 || ins != outs {
        let (conv, norm) = (format!("{name}.downsample.0"), format!("{name}.downsample.1"));
        nodes.push(convolution(conv, norm, start, [ins, outs], 1, stride, None, Activation::Identity));
        residual = Source::Node(nodes.len() - 1);
    }
    let layers = if bottleneck {
        vec![([ins, width], 1, 1), ([width, width], 3, stride), ([width, outs], 1, 1)]
    } else {
        vec![([ins, width], 3, stride), ([width, outs], 3, 1)]
    };
    let count = layers.len();
    let mut input = start;
    for (index, (channels, kernel, stride)) in layers.into_iter().enumerate() {
        let residual = (index + 1 == count).then_some(residual);
        nodes.push(convolution(conv(index + 1), norm(index + 1), input, channels, kernel, stride, residual, Activation::Relu));
        input = Source::Node(nodes.len() - 1);
    }
}

#[allow(clippy::too_many_arguments)]
fn convolution(
    name: String,
    norm: String,
    input: Source,
    [in_channels, out_channels]: [usize; 2],
    kernel: usize,
    stride: usize,
    residual: Option<Source>,
    activation: Activation,
) -> Node {
    let operation = Operation::Convolution(ConvNormActivation {
        in_channels,
        out_channels,
        kernel,
        stride,
        padding: Padding::Each(kernel / 2),
        groups: 1,
        norm: BatchNorm { name: norm, epsilon: 1e-5, momentum: 0.1, statistics: NormStatistics::Batch },
        residual,
        drop_connect: 0.0,
        activation,
    });
    Node { name, input, operation }
}
