//! EfficientNet-Lite0 (Tan and Le 2019; the Lite variant of 2020 has ReLU6 and no squeeze-and-excitation), with timm's names
//! (`tf_efficientnet_lite0`) and TensorFlow's padding and batch-norm constants.

use crate::graph::{BatchNorm, ConvNormActivation, Graph, Node, NormStatistics, Operation, Padding, Source};
use regraft_kernels::activation::Activation;

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
    let mut nodes = vec![convolution("conv_stem", "bn1", Source::Image, [3, 32], 3, 2, 1, Activation::Relu6)];
    let total: usize = STAGES.iter().map(|stage| stage.0).sum();
    let mut channels = 32;
    let mut index = 0;
    for (stage, (blocks, kernel, stride, expansion, outs)) in STAGES.into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if block == 0 { stride } else { 1 };
            let drop_connect = DROP_CONNECT * index as f32 / total as f32;
            add_block(&mut nodes, &format!("blocks.{stage}.{block}"), [channels, outs], kernel, stride, expansion, drop_connect);
            (channels, index) = (outs, index + 1);
        }
    }
    let last = Source::Node(nodes.len() - 1);
    nodes.push(convolution("conv_head", "bn2", last, [channels, 1280], 1, 1, 1, Activation::Relu6));
    let last = Source::Node(nodes.len() - 1);
    nodes.push(Node { name: "global_pool".into(), input: last, operation: Operation::GlobalAveragePool });
    let last = Source::Node(nodes.len() - 1);
    nodes.push(Node {
        name: "classifier".into(),
        input: last,
        operation: Operation::Linear { inputs: 1280, outputs: 1000, dropout: 0.2 },
    });
    Graph { architecture: "efficientnet_lite0".into(), input_channels: 3, nodes }
}

/// An inverted residual block: expand, filter each channel, project. Without expansion it is a depthwise-separable convolution.
fn add_block(
    nodes: &mut Vec<Node>,
    name: &str,
    [ins, outs]: [usize; 2],
    kernel: usize,
    stride: usize,
    expansion: usize,
    drop_connect: f32,
) {
    let start = Source::Node(nodes.len() - 1);
    let width = ins * expansion;
    let mut input = start;
    let mut norms = (1..).map(|number| format!("{name}.bn{number}"));
    let mut norm = || norms.next().unwrap_or_default();
    let projection = if expansion > 1 {
        nodes.push(convolution(&format!("{name}.conv_pw"), &norm(), input, [ins, width], 1, 1, 1, Activation::Relu6));
        input = Source::Node(nodes.len() - 1);
        "conv_pwl"
    } else {
        "conv_pw"
    };
    nodes.push(convolution(&format!("{name}.conv_dw"), &norm(), input, [width, width], kernel, stride, width, Activation::Relu6));
    let input = Source::Node(nodes.len() - 1);
    let mut node = convolution(&format!("{name}.{projection}"), &norm(), input, [width, outs], 1, 1, 1, Activation::Identity);
    if let Operation::Convolution(convolution) = &mut node.operation
        && stride == 1
        && ins == outs
    {
        convolution.residual = Some(start);
        convolution.drop_connect = drop_connect;
    }
    nodes.push(node);
}

#[allow(clippy::too_many_arguments)]
fn convolution(
    name: &str,
    norm: &str,
    input: Source,
    [in_channels, out_channels]: [usize; 2],
    kernel: usize,
    stride: usize,
    groups: usize,
    activation: Activation,
) -> Node {
    let operation = Operation::Convolution(ConvNormActivation {
        in_channels,
        out_channels,
        kernel,
        stride,
        padding: Padding::Same,
        groups,
        norm: BatchNorm { name: norm.into(), epsilon: 1e-3, momentum: 0.01, statistics: NormStatistics::Batch },
        residual: None,
        drop_connect: 0.0,
        activation,
    });
    Node { name: name.into(), input, operation }
}
