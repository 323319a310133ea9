//! An architecture as data: a list of nodes in the order in which they are computed.
//!
//! Everything else follows from this list: parameters and their names, counts, shapes, what can be frozen, the memory plan.

use regraft_kernels::activation::Activation;

/// Where a node's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The batch of pictures, `[N, H, W, input channels]`.
    Image,
    /// The output of the node at this place of the list, which is an earlier one.
    Node(usize),
}

/// Zeros around a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// So many on each side (PyTorch's).
    Each(usize),
    /// As many as make `output = ceil(input / stride)`, an odd one below and on the right (TensorFlow's `SAME`).
    Same,
}

impl Padding {
    /// The length of the output, and the zeros before the input, along one side of `length`. `None` where the kernel does not fit.
    #[must_use]
    pub fn resolve(self, length: usize, kernel: usize, stride: usize) -> Option<(usize, usize)> {
        match self {
            Self::Each(padding) => (length + 2 * padding).checked_sub(kernel).map(|rest| (rest / stride + 1, padding)),
            Self::Same => {
                let output = length.div_ceil(stride);
                let total = ((output.checked_sub(1)?) * stride + kernel).saturating_sub(length);
                Some((output, total / 2))
            }
        }
    }
}

/// Batch normalisation after a convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Prefix of its parameters' names, such as `layer1.0.bn1`.
    pub name: String,
    /// Added to the variance.
    pub epsilon: f32,
    /// How far the running statistics move towards a batch's (PyTorch's sense).
    pub momentum: f32,
    /// What it normalises with in training.
    pub statistics: NormStatistics,
}

/// What a batch norm normalises with in training. In evaluation it is always the running statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormStatistics {
    /// The batch's own mean and variance; the running statistics follow them.
    Batch,
    /// The running statistics, which stay as they are; weight and bias learn.
    Running,
}

/// `activation(batch_norm(convolution(input)) + residual)`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvNormActivation {
    /// Channels of the input map.
    pub in_channels: usize,
    /// Channels of the output map.
    pub out_channels: usize,
    /// Side of the square kernel.
    pub kernel: usize,
    /// Pixels between neighbouring places of the kernel.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: Padding,
    /// Groups of channels that do not mix; as many as channels make it depthwise.
    pub groups: usize,
    /// What follows the convolution, which itself has no bias.
    pub norm: BatchNorm,
    /// A map of the output's shape, added before the activation.
    pub residual: Option<Source>,
    /// In training, the probability that a picture's branch is left out, so that only the residual remains ("drop-connect" in
    /// the EfficientNet papers, stochastic depth elsewhere: Huang et al. 2016).
    pub drop_connect: f32,
    /// Applied last.
    pub activation: Activation,
}

impl ConvNormActivation {
    /// Whether each channel has a filter of its own.
    #[must_use]
    pub fn is_depthwise(&self) -> bool {
        self.groups == self.in_channels && self.in_channels == self.out_channels && self.groups > 1
    }
}

/// What a node computes.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// A convolution with what follows it.
    Convolution(ConvNormActivation),
    /// The maximum over a square window.
    MaxPool {
        /// Side of the window.
        kernel: usize,
        /// Pixels between neighbouring windows.
        stride: usize,
        /// Border around the map, of which nothing counts.
        padding: Padding,
    },
    /// The mean over all pixels: `[N, H, W, C]` to `[N, C]`.
    GlobalAveragePool,
    /// A fully connected layer: the head.
    Linear {
        /// Features that come in.
        inputs: usize,
        /// Logits that go out.
        outputs: usize,
        /// In training, the probability that a feature is set to zero (the others are scaled up).
        dropout: f32,
    },
}

/// One step of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Prefix of its parameters' names, such as `layer1.0.conv1`; unique.
    pub name: String,
    /// What it reads.
    pub input: Source,
    /// What it computes.
    pub operation: Operation,
}

/// The shape of one picture's map: `[height, width, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapShape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels.
    pub channels: usize,
}

impl MapShape {
    /// Elements of one picture's map.
    #[must_use]
    pub fn length(self) -> usize {
        self.height * self.width * self.channels
    }
}

/// A question about a graph that has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// The picture is too small for a layer.
    #[error(
        "pictures of {size}x{size} are too small for {architecture}: nothing is left at {node}; choose a larger --image-size"
    )]
    TooSmall {
        /// The architecture.
        architecture: String,
        /// The picture's side.
        size: usize,
        /// The layer at which no pixel is left.
        node: String,
    },
    /// No layer or group of layers has the name.
    #[error(
        "{architecture} has no layer {name}; its layers are {known} and those below them (see `regraft inspect {architecture}`)"
    )]
    NoSuchLayer {
        /// The architecture.
        architecture: String,
        /// What was asked for.
        name: String,
        /// The names of the outermost layers.
        known: String,
    },
}

/// A network: its nodes in the order of computation. The last one is the head.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Name of the architecture, such as `resnet18`.
    pub architecture: String,
    /// Channels of the input: 3 of a picture, more of features.
    pub input_channels: usize,
    /// The nodes; each reads earlier ones only.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// The number of logits.
    #[must_use]
    pub fn classes(&self) -> usize {
        match self.nodes.last().map(|node| &node.operation) {
            Some(Operation::Linear { outputs, .. }) => *outputs,
            _ => 0,
        }
    }

    /// The place of the head in the list: the last node.
    #[must_use]
    pub fn head(&self) -> usize {
        self.nodes.len().saturating_sub(1)
    }

    /// The same network with a head of `classes` logits.
    #[must_use]
    pub fn with_classes(mut self, classes: usize) -> Self {
        if let Some(Node { operation: Operation::Linear { outputs, .. }, .. }) = self.nodes.last_mut() {
            *outputs = classes;
        }
        self
    }

    /// Makes the head drop features with this probability in training.
    pub fn set_head_dropout(&mut self, probability: f32) {
        if let Some(Node { operation: Operation::Linear { dropout, .. }, .. }) = self.nodes.last_mut() {
            *dropout = probability;
        }
    }

    /// The head alone, as a network whose pictures are the trunk's features: one pixel of so many channels. Its parameters keep
    /// their names.
    #[must_use]
    pub fn head_alone(&self) -> Self {
        let head = self.nodes.last().map(|head| Node { input: Source::Image, ..head.clone() });
        let input_channels = match head.as_ref().map(|head| &head.operation) {
            Some(Operation::Linear { inputs, .. }) => *inputs,
            _ => self.input_channels,
        };
        Self { architecture: self.architecture.clone(), input_channels, nodes: head.into_iter().collect() }
    }

    /// Makes every batch norm's running statistics move by `momentum` towards a batch's (PyTorch's sense).
    pub fn set_batch_norm_momentum(&mut self, momentum: f32) {
        for node in &mut self.nodes {
            if let Operation::Convolution(convolution) = &mut node.operation {
                convolution.norm.momentum = momentum;
            }
        }
    }

    /// The share of images for which training leaves out each residual branch becomes `scale` times what it is; 0 keeps all.
    pub fn scale_stochastic_depth(&mut self, scale: f32) {
        for node in &mut self.nodes {
            if let Operation::Convolution(convolution) = &mut node.operation {
                convolution.drop_connect *= scale;
            }
        }
    }

    /// Makes every batch norm normalise with `statistics` in training.
    pub fn set_norm_statistics(&mut self, statistics: NormStatistics) {
        for node in &mut self.nodes {
            if let Operation::Convolution(convolution) = &mut node.operation {
                convolution.norm.statistics = statistics;
            }
        }
    }

    /// Each node's output shape for square pictures of `size`.
    ///
    /// # Errors
    /// When a map would have no pixel.
    pub fn shapes(&self, size: usize) -> Result<Vec<MapShape>, GraphError> {
        let mut shapes: Vec<MapShape> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let input = self.input_shape(&shapes, node.input, size);
            let windowed = |kernel, stride, padding: Padding, channels| {
                let (height, _) = padding.resolve(input.height, kernel, stride)?;
                let (width, _) = padding.resolve(input.width, kernel, stride)?;
                (height > 0 && width > 0).then_some(MapShape { height, width, channels })
            };
            let shape = match &node.operation {
                Operation::Convolution(convolution) => {
                    windowed(convolution.kernel, convolution.stride, convolution.padding, convolution.out_channels)
                }
                Operation::MaxPool { kernel, stride, padding } => windowed(*kernel, *stride, *padding, input.channels),
                Operation::GlobalAveragePool => Some(MapShape { height: 1, width: 1, channels: input.channels }),
                Operation::Linear { outputs, .. } => Some(MapShape { height: 1, width: 1, channels: *outputs }),
            };
            let too_small = || GraphError::TooSmall { architecture: self.architecture.clone(), size, node: node.name.clone() };
            shapes.push(shape.ok_or_else(too_small)?);
        }
        Ok(shapes)
    }

    /// The shape of what `source` holds, given the shapes of the nodes so far.
    #[must_use]
    pub fn input_shape(&self, shapes: &[MapShape], source: Source, size: usize) -> MapShape {
        match source {
            Source::Image => MapShape { height: size, width: size, channels: self.input_channels },
            Source::Node(index) => shapes[index],
        }
    }

    /// Multiply-adds of convolutions and linear layers for one picture of `size`, as torchvision counts them.
    ///
    /// # Errors
    /// As [`Graph::shapes`].
    pub fn multiply_adds(&self, size: usize) -> Result<u64, GraphError> {
        let shapes = self.shapes(size)?;
        Ok(self.nodes.iter().zip(&shapes).map(|(node, shape)| node_multiply_adds(node, *shape)).sum())
    }

    /// How many nodes from the start stand up to and with the layer `name`, which is a node, its batch norm, or a group of nodes
    /// such as `layer3` or `blocks.4`.
    ///
    /// # Errors
    /// When there is no such layer.
    pub fn nodes_through(&self, name: &str) -> Result<usize, GraphError> {
        let last = self.nodes.iter().rposition(|node| node.is_within(name));
        last.map(|last| last + 1).ok_or_else(|| GraphError::NoSuchLayer {
            architecture: self.architecture.clone(),
            name: name.to_owned(),
            known: self.outermost_layers().join(", "),
        })
    }

    /// The names of the outermost layers, in order: `conv1`, `layer1`, ...; for `blocks`, one for each stage.
    #[must_use]
    pub fn outermost_layers(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for node in &self.nodes {
            let name = node.stage();
            if names.last().is_none_or(|last| last != name) {
                names.push(name.to_owned());
            }
        }
        names
    }
}

/// Multiply-adds of one node for one picture.
#[must_use]
pub fn node_multiply_adds(node: &Node, output: MapShape) -> u64 {
    let operations = match &node.operation {
        Operation::Convolution(convolution) => {
            output.length() * convolution.kernel * convolution.kernel * convolution.in_channels / convolution.groups
        }
        Operation::Linear { inputs, outputs, .. } => inputs * outputs,
        Operation::MaxPool { .. } | Operation::GlobalAveragePool => 0,
    };
    operations as u64
}

impl Node {
    /// Whether the node, or its batch norm, is `name` or lies below it.
    #[must_use]
    pub fn is_within(&self, name: &str) -> bool {
        let within = |own: &str| own.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let norm = match &self.operation {
            Operation::Convolution(convolution) => Some(convolution.norm.name.as_str()),
            _ => None,
        };
        within(&self.name) || norm.is_some_and(within)
    }

    /// The outermost layer it belongs to: the name's first part, with the stage's number where that is `blocks`.
    #[must_use]
    pub fn stage(&self) -> &str {
        let parts = if self.name.starts_with("blocks.") { 2 } else { 1 };
        let end = self.name.match_indices('.').nth(parts - 1).map_or(self.name.len(), |(at, _)| at);
        &self.name[..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_is_one_sided_at_stride_two() {
        assert_eq!(Padding::Same.resolve(224, 3, 2), Some((112, 0)));
        assert_eq!(Padding::Same.resolve(56, 5, 2), Some((28, 1)));
        assert_eq!(Padding::Same.resolve(97, 3, 2), Some((49, 1)));
        assert_eq!(Padding::Same.resolve(7, 5, 1), Some((7, 2)));
        assert_eq!(Padding::Each(3).resolve(224, 7, 2), Some((112, 3)));
        assert_eq!(Padding::Each(0).resolve(2, 3, 1), None);
    }
}
