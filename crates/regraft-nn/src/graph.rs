//! An architecture as data: a list of nodes in the order of computation.
//!
//! Everything else follows from this list: parameters and their names, counts, shapes, the layers
//! that can be frozen, the memory plan. Nodes are primitive operations. The engine decides which of
//! them to compute together, such as a convolution with its batch norm.

use crate::ops::{NormStatistics, Operation, Part};
pub use crate::shape::MapShape;
use std::ops::Range;

/// The origin of a node's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The batch of images, `[N, H, W, input channels]`.
    Image,
    /// The output of the node at this index of the list, which must be an earlier one.
    Node(usize),
}

/// One step of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Prefix of its parameters' names, such as `layer1.0.conv1`; unique.
    pub name: String,
    /// Its inputs, in the order that the operation documents.
    pub inputs: Vec<Source>,
    /// Its operation.
    pub operation: Operation,
}

impl Node {
    /// Whether the node has this name or is inside the group of this name.
    #[must_use]
    pub fn is_within(&self, name: &str) -> bool {
        self.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// The outermost layer that its name belongs to: the first part, with the number of the stage
    /// after `blocks` and `stages`.
    fn outermost(&self) -> &str {
        let parts = if self.name.starts_with("blocks.") || self.name.starts_with("stages.") {
            2
        } else {
            1
        };
        let end = self.name.match_indices('.').nth(parts - 1).map_or(self.name.len(), |(at, _)| at);
        &self.name[..end]
    }
}

/// Neighbouring nodes that freezing, learning rates and `regraft inspect` treat as one: an
/// operation with its normalisation, addition and activation, or the head with its dropout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its nodes.
    pub nodes: Range<usize>,
    /// The node that gives the layer its name.
    pub main: usize,
}

/// A question about a graph that cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// The image is too small for a layer.
    #[error(
        "images of {size}x{size} are too small for {architecture}: nothing is left at {node}; \
         choose a larger --image-size"
    )]
    TooSmall {
        /// The architecture.
        architecture: String,
        /// The image's side.
        size: usize,
        /// The layer whose output would have no pixel.
        node: String,
    },
    /// No layer or group of layers has the name.
    #[error(
        "{architecture} has no layer {name}; its layers are {known} and those below them (see \
         `regraft inspect {architecture}`)"
    )]
    NoSuchLayer {
        /// The architecture.
        architecture: String,
        /// The requested name.
        name: String,
        /// The names of the outermost layers.
        known: String,
    },
}

/// A network: its nodes in the order of computation. The last one is a linear layer that gives the
/// logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Name of the architecture, such as `resnet18`.
    pub architecture: String,
    /// Channels of the input: 3 for images, more for features.
    pub input_channels: usize,
    /// Side of the square images, in pixels, for parameters whose shape depends on it.
    pub image_size: usize,
    /// The nodes; each reads earlier ones only.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// The number of logits.
    #[must_use]
    pub fn classes(&self) -> usize {
        match self.nodes.last().map(|node| &node.operation) {
            Some(Operation::Linear(linear)) => linear.outputs,
            _ => 0,
        }
    }

    /// The number of features that the head reads.
    #[must_use]
    pub fn features(&self) -> usize {
        match self.nodes.last().map(|node| &node.operation) {
            Some(Operation::Linear(linear)) => linear.inputs,
            _ => 0,
        }
    }

    /// Number of nodes of the backbone. The nodes after it are the head: the last linear layer with
    /// its dropout.
    #[must_use]
    pub fn backbone(&self) -> usize {
        self.layers().last().map_or(0, |layer| layer.nodes.start)
    }

    /// Index of the node that gives the logits: the last one.
    #[must_use]
    pub fn output(&self) -> usize {
        self.nodes.len().saturating_sub(1)
    }

    /// The head's input: the features.
    #[must_use]
    pub fn head_input(&self) -> Source {
        self.nodes
            .get(self.backbone())
            .and_then(|node| node.inputs.first())
            .copied()
            .unwrap_or(Source::Image)
    }

    /// Whether the features are those of a class token, as in transformers, rather than the mean
    /// over all pixels.
    #[must_use]
    pub fn has_class_token(&self) -> bool {
        self.nodes.iter().any(|node| matches!(node.operation, Operation::ClassToken(_)))
    }

    /// The same network with a head of `classes` logits.
    #[must_use]
    pub fn with_classes(mut self, classes: usize) -> Self {
        if let Some(Node { operation: Operation::Linear(linear), .. }) = self.nodes.last_mut() {
            linear.outputs = classes;
        }
        self
    }

    /// Sets the head's dropout probability in training.
    pub fn set_head_dropout(&mut self, probability: f32) {
        let head = self.backbone();
        for node in &mut self.nodes[head..] {
            if let Operation::Dropout(dropout) = &mut node.operation {
                dropout.rate = probability;
            }
        }
    }

    /// The head alone, as a network whose images are the backbone's features: one pixel with that
    /// many channels. Its parameters keep their names.
    #[must_use]
    pub fn head_alone(&self) -> Self {
        let head = self.backbone();
        let moved = |source: &Source| match source {
            Source::Node(node) if *node >= head => Source::Node(node - head),
            _ => Source::Image,
        };
        let nodes = self.nodes[head..]
            .iter()
            .map(|node| Node { inputs: node.inputs.iter().map(moved).collect(), ..node.clone() });
        Self {
            architecture: self.architecture.clone(),
            input_channels: self.features(),
            image_size: 1,
            nodes: nodes.collect(),
        }
    }

    /// The network up to and including a node.
    #[must_use]
    pub fn through(&self, node: usize) -> Self {
        Self { nodes: self.nodes[..=node].to_vec(), ..self.clone() }
    }

    /// Sets how far every batch norm's running statistics move towards a batch's (in PyTorch's
    /// sense).
    pub fn set_batch_norm_momentum(&mut self, momentum: f32) {
        for node in &mut self.nodes {
            if let Operation::BatchNorm(norm) = &mut node.operation {
                norm.momentum = momentum;
            }
        }
    }

    /// Multiplies the probability with which training drops each residual branch by `scale`; 0
    /// keeps all branches.
    pub fn scale_stochastic_depth(&mut self, scale: f32) {
        for node in &mut self.nodes {
            if let Operation::Add(add) = &mut node.operation {
                add.drop_rate *= scale;
            }
        }
    }

    /// Sets the statistics that every batch norm uses in training.
    pub fn set_norm_statistics(&mut self, statistics: NormStatistics) {
        for node in &mut self.nodes {
            if let Operation::BatchNorm(norm) = &mut node.operation {
                norm.statistics = statistics;
            }
        }
    }

    /// Each node's output shape for square images of `size` pixels.
    ///
    /// # Errors
    /// If a feature map would have no pixel.
    pub fn shapes(&self, size: usize) -> Result<Vec<MapShape>, GraphError> {
        let mut shapes: Vec<MapShape> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let shape =
                node.operation.rules().output_shape(&self.input_shapes(&shapes, node, size));
            let too_small = || GraphError::TooSmall {
                architecture: self.architecture.clone(),
                size,
                node: node.name.clone(),
            };
            shapes.push(shape.filter(|shape| shape.pixels() > 0).ok_or_else(too_small)?);
        }
        Ok(shapes)
    }

    /// The shapes of a node's inputs, given the shapes of the nodes before it.
    #[must_use]
    pub fn input_shapes(&self, shapes: &[MapShape], node: &Node, size: usize) -> Vec<MapShape> {
        let shape = |source: &Source| match source {
            Source::Image => MapShape { height: size, width: size, channels: self.input_channels },
            Source::Node(index) => shapes[*index],
        };
        node.inputs.iter().map(shape).collect()
    }

    /// Multiply-adds of each node for one image of `size` pixels a side, as torchvision counts
    /// them.
    ///
    /// # Errors
    /// Like [`Graph::shapes`].
    pub fn multiply_adds_by_node(&self, size: usize) -> Result<Vec<u64>, GraphError> {
        let shapes = self.shapes(size)?;
        let count = |(node, &shape): (&Node, &MapShape)| {
            node.operation.rules().multiply_adds(&self.input_shapes(&shapes, node, size), shape)
        };
        Ok(self.nodes.iter().zip(&shapes).map(count).collect())
    }

    /// Multiply-adds of convolutions and linear layers for one image of `size` pixels a side, as
    /// torchvision counts them.
    ///
    /// # Errors
    /// Like [`Graph::shapes`].
    pub fn multiply_adds(&self, size: usize) -> Result<u64, GraphError> {
        Ok(self.multiply_adds_by_node(size)?.into_iter().sum())
    }

    /// The number of nodes that an engine freezes if asked for `nodes`: rounded down to whole
    /// layers, and never the head.
    #[must_use]
    pub fn frozen(&self, nodes: usize) -> usize {
        let limit = nodes.min(self.backbone());
        let ends = self.layers().into_iter().map(|layer| layer.nodes.end);
        ends.filter(|&end| end <= limit).max().unwrap_or(0)
    }

    /// The layers in order; each node belongs to one.
    #[must_use]
    pub fn layers(&self) -> Vec<Layer> {
        let mut layers: Vec<Layer> = Vec::new();
        // Whether the last layer still waits for the operation that gives it its name.
        let mut waits = false;
        for (index, node) in self.nodes.iter().enumerate() {
            let part = node.operation.rules().part();
            match layers.last_mut() {
                Some(layer) if waits || part == Part::Follows => {
                    layer.nodes.end = index + 1;
                    if waits {
                        layer.main = index;
                    }
                }
                _ => layers.push(Layer { nodes: index..index + 1, main: index }),
            }
            waits = part == Part::Precedes;
        }
        layers
    }

    /// The number of nodes up to the end of the last layer that is within `name`: a node such as
    /// `layer1.0.bn1`, or a group of nodes such as `layer3` or `blocks.4`.
    ///
    /// # Errors
    /// If there is no such layer.
    pub fn nodes_through(&self, name: &str) -> Result<usize, GraphError> {
        let layers = self.layers();
        let last = layers
            .iter()
            .rfind(|layer| self.nodes[layer.nodes.clone()].iter().any(|node| node.is_within(name)));
        last.map(|layer| layer.nodes.end).ok_or_else(|| GraphError::NoSuchLayer {
            architecture: self.architecture.clone(),
            name: name.to_owned(),
            known: self.outermost_layers().join(", "),
        })
    }

    /// The outermost layer that a layer belongs to: `conv1`, `layer1`, ...; for `blocks` and
    /// `stages`, one for each stage.
    #[must_use]
    pub fn stage(&self, layer: &Layer) -> &str {
        self.nodes[layer.main].outermost()
    }

    /// The names of the outermost layers, in order.
    #[must_use]
    pub fn outermost_layers(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.layers().iter().map(|layer| self.stage(layer).to_owned()).collect();
        names.dedup();
        names
    }
}
