//! Lowers a graph to the steps that engines compute.
//!
//! If a batch norm is the only reader of a convolution, the two become one step. An addition and a
//! clamp after them join it, if each is the only reader of the node before it. Dropout and the
//! linear layer that is its only reader become one step. All other operations run alone. The nodes
//! of a step belong to one layer, because freezing cuts between layers.

use crate::graph::{Graph, Source};
use crate::ops::{
    Activation, Add, Attention, AveragePool, BatchNorm, Convolution, Dropout, Function, LayerNorm,
    LayerScale, Linear, MaxPool, Operation, Padding, Tokens,
};

/// The operation of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Fused {
    /// A convolution, also a linear layer of the pixels of a map.
    Convolution(Convolution),
    /// `clamp(batch_norm(convolution(input)) + residual)`. Reads the input, then the residual.
    ConvolutionNorm {
        /// The convolution, which has no bias.
        convolution: Convolution,
        /// The batch norm.
        norm: BatchNorm,
        /// The addition, whose branch this is.
        add: Option<Add>,
        /// The activation, a clamp, which is last.
        clamp: Option<Function>,
    },
    /// A batch norm that follows no convolution, or a convolution with bias.
    BatchNorm(BatchNorm),
    /// An activation function.
    Activation(Function),
    /// An addition.
    Add(Add),
    /// A multiplication by vectors.
    Multiply,
    /// A layer norm.
    LayerNorm {
        /// The layer norm.
        norm: LayerNorm,
        /// Whether it is of a vector for each image rather than of a map.
        is_vector: bool,
    },
    /// A layer scale.
    LayerScale(LayerScale),
    /// A max pooling.
    MaxPool(MaxPool),
    /// An average pooling.
    AveragePool(AveragePool),
    /// A global average pooling.
    GlobalAveragePool,
    /// Dropout that no linear layer makes.
    Dropout(Dropout),
    /// A linear layer of a vector for each image, with the dropout before it.
    Linear {
        /// The linear layer.
        linear: Linear,
        /// The dropout.
        dropout: Option<Dropout>,
    },
    /// The tokens of a transformer.
    Tokens(Tokens),
    /// Self-attention.
    Attention(Attention),
    /// The class token.
    ClassToken,
}

/// One step of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Lowered {
    /// The nodes that it computes, the last of which gives its output.
    pub nodes: Vec<usize>,
    /// Its inputs.
    pub inputs: Vec<Source>,
    /// The operation that it computes.
    pub fused: Fused,
}

impl Lowered {
    /// The node whose output is the step's.
    #[must_use]
    pub fn output(&self) -> usize {
        self.nodes[self.nodes.len() - 1]
    }
}

/// The steps of a graph, in the order of computation.
#[must_use]
pub fn lower(graph: &Graph) -> Vec<Lowered> {
    let mut lowering = Lowering {
        graph,
        readers: readers(graph),
        layer_of: layer_of(graph),
        vectors: vectors(graph),
        is_done: vec![false; graph.nodes.len()],
        steps: Vec::new(),
    };
    for index in 0..graph.nodes.len() {
        if !lowering.is_done[index] {
            lowering.lower(index);
        }
    }
    lowering.steps
}

/// The readers of each node's output; a node is listed once for each input that reads it.
fn readers(graph: &Graph) -> Vec<Vec<usize>> {
    let mut readers = vec![Vec::new(); graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        for input in &node.inputs {
            if let Source::Node(source) = input {
                readers[*source].push(index);
            }
        }
    }
    readers
}

/// The layer that each node belongs to.
fn layer_of(graph: &Graph) -> Vec<usize> {
    graph
        .layers()
        .into_iter()
        .enumerate()
        .flat_map(|(number, layer)| layer.nodes.map(move |_| number))
        .collect()
}

/// Whether each node's output is a vector for each image rather than a feature map: the output of a
/// global pooling, a class token, or the output of operations on vectors only.
fn vectors(graph: &Graph) -> Vec<bool> {
    let of_image = images_are_vectors(graph);
    let mut vectors = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let from_vectors = node.inputs.iter().all(|input| match input {
            Source::Image => of_image,
            Source::Node(source) => vectors[*source],
        });
        let pools =
            matches!(node.operation, Operation::GlobalAveragePool(_) | Operation::ClassToken(_));
        vectors.push(from_vectors || pools);
    }
    vectors
}

/// Whether the images are features, as in a network of the head alone: no operation on feature maps
/// reads them.
fn images_are_vectors(graph: &Graph) -> bool {
    let mut readers = graph.nodes.iter().filter(|node| node.inputs.contains(&Source::Image));
    readers.all(|node| {
        matches!(
            node.operation,
            Operation::Linear(_) | Operation::Dropout(_) | Operation::LayerNorm(_)
        )
    })
}

struct Lowering<'a> {
    graph: &'a Graph,
    readers: Vec<Vec<usize>>,
    layer_of: Vec<usize>,
    vectors: Vec<bool>,
    /// Whether a step computes the node.
    is_done: Vec<bool>,
    steps: Vec<Lowered>,
}

impl<'a> Lowering<'a> {
    fn lower(&mut self, index: usize) {
        let graph = self.graph;
        let node = &graph.nodes[index];
        let fused = match &node.operation {
            Operation::Convolution(convolution) => return self.convolution(index, convolution),
            Operation::BatchNorm(norm) => Fused::BatchNorm(norm.clone()),
            Operation::Activation(Activation { function }) => Fused::Activation(*function),
            Operation::Add(add) => Fused::Add(add.clone()),
            Operation::Multiply(_) => Fused::Multiply,
            Operation::LayerNorm(norm) => {
                Fused::LayerNorm { norm: norm.clone(), is_vector: self.is_vector(node.inputs[0]) }
            }
            Operation::LayerScale(scale) => Fused::LayerScale(scale.clone()),
            Operation::MaxPool(pool) => Fused::MaxPool(pool.clone()),
            Operation::AveragePool(pool) => Fused::AveragePool(pool.clone()),
            Operation::GlobalAveragePool(_) => Fused::GlobalAveragePool,
            Operation::Dropout(dropout) => match self.only_reader_of(index) {
                Some((reader, Operation::Linear(linear))) if self.is_vector(node.inputs[0]) => {
                    let (linear, dropout) = (linear.clone(), Some(dropout.clone()));
                    let fused = Fused::Linear { linear, dropout };
                    return self.push(vec![index, reader], node.inputs.clone(), fused);
                }
                _ => Fused::Dropout(dropout.clone()),
            },
            Operation::Linear(linear) if self.is_vector(node.inputs[0]) => {
                Fused::Linear { linear: linear.clone(), dropout: None }
            }
            Operation::Linear(linear) => Fused::Convolution(pointwise(linear)),
            Operation::Tokens(tokens) => Fused::Tokens(tokens.clone()),
            Operation::Attention(attention) => Fused::Attention(*attention),
            Operation::ClassToken(_) => Fused::ClassToken,
        };
        self.push(vec![index], node.inputs.clone(), fused);
    }

    /// Adds a convolution with the other operations of its step.
    fn convolution(&mut self, index: usize, convolution: &Convolution) {
        let graph = self.graph;
        let mut inputs = graph.nodes[index].inputs.clone();
        let norm = self.only_reader_of(index);
        let Some((mut last, Operation::BatchNorm(norm))) = norm.filter(|_| !convolution.bias)
        else {
            return self.push(vec![index], inputs, Fused::Convolution(convolution.clone()));
        };
        let norm = norm.clone();
        let mut nodes = vec![index, last];
        let (mut added, mut clamp) = (None, None);
        if let Some((reader, Operation::Add(add))) = self.only_reader_of(last)
            && let Some(residual) = self.residual(reader, last, add)
        {
            added = Some(add.clone());
            inputs.push(residual);
            nodes.push(reader);
            last = reader;
        }
        if let Some((reader, Operation::Activation(activation))) = self.only_reader_of(last)
            && matches!(activation.function, Function::Relu | Function::Relu6)
        {
            clamp = Some(activation.function);
            nodes.push(reader);
        }
        let convolution = convolution.clone();
        let fused = Fused::ConvolutionNorm { convolution, norm, add: added, clamp };
        self.push(nodes, inputs, fused);
    }

    fn only_reader_of(&self, index: usize) -> Option<(usize, &'a Operation)> {
        self.only_reader(index).map(|reader| (reader, &self.graph.nodes[reader].operation))
    }

    /// The only reader of a node's output, if it belongs to the same layer and so is frozen with
    /// it.
    fn only_reader(&self, index: usize) -> Option<usize> {
        match self.readers[index][..] {
            [reader] if self.layer_of[reader] == self.layer_of[index] => Some(reader),
            _ => None,
        }
    }

    /// The other input of an addition to the branch that ends with node `branch`, if the branch's
    /// step can add it because it is computed before.
    fn residual(&self, reader: usize, branch: usize, add: &Add) -> Option<Source> {
        let residual = match self.graph.nodes[reader].inputs[..] {
            [first, second] if first == Source::Node(branch) => second,
            // Without drops, the two inputs are interchangeable.
            [first, second] if second == Source::Node(branch) && add.drop_rate == 0.0 => first,
            _ => return None,
        };
        let is_there = match residual {
            Source::Image => true,
            Source::Node(node) => self.is_done[node],
        };
        is_there.then_some(residual)
    }

    /// Whether a source is a vector for each image rather than a feature map.
    fn is_vector(&self, source: Source) -> bool {
        match source {
            Source::Image => images_are_vectors(self.graph),
            Source::Node(node) => self.vectors[node],
        }
    }

    fn push(&mut self, nodes: Vec<usize>, inputs: Vec<Source>, fused: Fused) {
        nodes.iter().for_each(|&node| self.is_done[node] = true);
        self.steps.push(Lowered { nodes, inputs, fused });
    }
}

/// The convolution that computes a linear layer on each pixel.
fn pointwise(linear: &Linear) -> Convolution {
    Convolution {
        in_channels: linear.inputs,
        out_channels: linear.outputs,
        kernel: 1,
        stride: 1,
        padding: Padding::Each(0),
        groups: 1,
        bias: linear.bias,
        initial: linear.initial,
        stream: linear.stream,
    }
}
