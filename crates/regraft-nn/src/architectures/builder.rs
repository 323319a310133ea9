//! Builds a graph node by node.

use crate::graph::{Graph, Node, Source};
use crate::ops::{
    Activation, Add, Attention, AveragePool, BatchNorm, ClassToken, Convolution, Dropout, Function,
    GlobalAveragePool, InitialWeights, LayerNorm, LayerScale, Linear, MaxPool, Multiply,
    NormStatistics, Operation, Padding, Part, Tokens,
};

/// A graph under construction, with settings that all operations of the family share.
///
/// Random streams are numbered by layers: a convolution's weights and an addition's drops use the
/// number of layers that begin before their own.
pub(super) struct Builder {
    graph: Graph,
    layers: u32,
    norm_epsilon: f32,
    norm_momentum: f32,
    initial: InitialWeights,
}

/// The geometry of a convolution.
#[derive(Clone, Copy)]
pub(super) struct Geometry {
    pub channels: [usize; 2],
    pub kernel: usize,
    pub stride: usize,
    pub padding: Padding,
    pub groups: usize,
}

impl Builder {
    /// An empty graph for images of 224 pixels, with batch norm's constants.
    pub fn new(architecture: &str, norm_epsilon: f32, norm_momentum: f32) -> Self {
        let graph = Graph {
            architecture: architecture.into(),
            input_channels: 3,
            image_size: 224,
            nodes: Vec::new(),
        };
        Self { graph, layers: 0, norm_epsilon, norm_momentum, initial: InitialWeights::FanOut }
    }

    /// The same builder with other initial weights.
    pub fn with_initial(self, initial: InitialWeights) -> Self {
        Self { initial, ..self }
    }

    /// The output of the last node; the image if there is none yet.
    pub fn last(&self) -> Source {
        self.graph.nodes.len().checked_sub(1).map_or(Source::Image, Source::Node)
    }

    fn push(
        &mut self,
        name: impl Into<String>,
        inputs: Vec<Source>,
        operation: Operation,
    ) -> Source {
        self.layers += u32::from(operation.rules().part() == Part::Main);
        self.graph.nodes.push(Node { name: name.into(), inputs, operation });
        self.last()
    }

    /// A convolution without bias.
    pub fn convolution(
        &mut self,
        name: impl Into<String>,
        input: Source,
        geometry: Geometry,
    ) -> Source {
        self.convolution_with(name, input, geometry, false)
    }

    /// A convolution without bias, and its batch norm.
    pub fn convolution_norm(
        &mut self,
        name: impl Into<String>,
        norm: impl Into<String>,
        input: Source,
        geometry: Geometry,
    ) -> Source {
        self.convolution(name, input, geometry);
        self.batch_norm(norm, geometry.channels[1])
    }

    /// A convolution with bias.
    pub fn biased_convolution(
        &mut self,
        name: impl Into<String>,
        input: Source,
        geometry: Geometry,
    ) -> Source {
        self.convolution_with(name, input, geometry, true)
    }

    fn convolution_with(
        &mut self,
        name: impl Into<String>,
        input: Source,
        geometry: Geometry,
        bias: bool,
    ) -> Source {
        let Geometry { channels: [in_channels, out_channels], kernel, stride, padding, groups } =
            geometry;
        let operation = Operation::Convolution(Convolution {
            in_channels,
            out_channels,
            kernel,
            stride,
            padding,
            groups,
            bias,
            initial: self.initial,
            stream: self.layers,
        });
        self.push(name, vec![input], operation)
    }

    /// A batch norm of the last node's output.
    pub fn batch_norm(&mut self, name: impl Into<String>, channels: usize) -> Source {
        let (epsilon, momentum) = (self.norm_epsilon, self.norm_momentum);
        let norm = BatchNorm { channels, epsilon, momentum, statistics: NormStatistics::Batch };
        let input = self.last();
        self.push(name, vec![input], Operation::BatchNorm(norm))
    }

    /// A function of the last node's output.
    pub fn activation(&mut self, name: impl Into<String>, function: Function) -> Source {
        let input = self.last();
        self.push(name, vec![input], Operation::Activation(Activation { function }))
    }

    /// Adds the last node's output, a branch that may be dropped, to `residual`.
    pub fn add(&mut self, name: impl Into<String>, residual: Source, drop_rate: f32) -> Source {
        let branch = self.last();
        let stream = self.layers.saturating_sub(1);
        self.push(name, vec![branch, residual], Operation::Add(Add { drop_rate, stream }))
    }

    /// Multiplies `map` by the last node's output, a vector for each image.
    pub fn multiply(&mut self, name: impl Into<String>, map: Source) -> Source {
        let vector = self.last();
        self.push(name, vec![map, vector], Operation::Multiply(Multiply))
    }

    /// A layer norm of the last node's output, with the family's epsilon.
    pub fn layer_norm(&mut self, name: impl Into<String>, channels: usize) -> Source {
        let input = self.last();
        let epsilon = self.norm_epsilon;
        self.push(name, vec![input], Operation::LayerNorm(LayerNorm { channels, epsilon }))
    }

    /// Multiplies the last node's output by a learned factor for each channel.
    pub fn layer_scale(
        &mut self,
        name: impl Into<String>,
        channels: usize,
        initial: f32,
    ) -> Source {
        let input = self.last();
        self.push(name, vec![input], Operation::LayerScale(LayerScale { channels, initial }))
    }

    /// A linear layer with bias on the last node's output.
    pub fn linear(&mut self, name: impl Into<String>, [inputs, outputs]: [usize; 2]) -> Source {
        let input = self.last();
        let linear =
            Linear { inputs, outputs, bias: true, initial: self.initial, stream: self.layers };
        self.push(name, vec![input], Operation::Linear(linear))
    }

    /// The maximum over windows of the last node's output.
    pub fn max_pool(
        &mut self,
        name: impl Into<String>,
        kernel: usize,
        stride: usize,
        padding: Padding,
    ) -> Source {
        let input = self.last();
        self.push(name, vec![input], Operation::MaxPool(MaxPool { kernel, stride, padding }))
    }

    /// The mean over windows of the last node's output.
    pub fn average_pool(
        &mut self,
        name: impl Into<String>,
        kernel: usize,
        stride: usize,
        padding: Padding,
    ) -> Source {
        let input = self.last();
        let pool = AveragePool { kernel, stride, padding };
        self.push(name, vec![input], Operation::AveragePool(pool))
    }

    /// The mean over the last node's pixels.
    pub fn global_average_pool(&mut self, name: impl Into<String>) -> Source {
        let input = self.last();
        self.push(name, vec![input], Operation::GlobalAveragePool(GlobalAveragePool))
    }

    /// The tokens of a transformer, of the last node's output.
    pub fn tokens(&mut self, name: impl Into<String>, tokens: Tokens) -> Source {
        let input = self.last();
        self.push(name, vec![input], Operation::Tokens(tokens))
    }

    /// Attention of the last node's output, which has queries, keys and values.
    pub fn attention(&mut self, name: impl Into<String>, heads: usize) -> Source {
        let input = self.last();
        self.push(name, vec![input], Operation::Attention(Attention { heads }))
    }

    /// The first token of the last node's output.
    pub fn class_token(&mut self, name: impl Into<String>) -> Source {
        let input = self.last();
        self.push(name, vec![input], Operation::ClassToken(ClassToken))
    }

    /// The graph with a head of 1000 classes on the last node's output: dropout, then a linear
    /// layer.
    pub fn with_head(mut self, name: &str, inputs: usize, dropout: f32) -> Graph {
        let input = self.last();
        let dropped = self.push(
            "head_drop",
            vec![input],
            Operation::Dropout(Dropout { rate: dropout, stream: 0 }),
        );
        let stream = self.layers;
        let linear = Linear {
            inputs,
            outputs: 1000,
            bias: true,
            initial: InitialWeights::Normal(0.02),
            stream,
        };
        self.push(name, vec![dropped], Operation::Linear(linear));
        self.graph
    }
}
