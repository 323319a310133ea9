//! The tensors of an operation, with their roles and PyTorch's names and shapes.

/// The role of a tensor in its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Weights of a convolution or a linear layer.
    Weight,
    /// Bias of a convolution or a linear layer.
    Bias,
    /// Scale of a normalisation.
    NormWeight,
    /// Shift of a normalisation.
    NormBias,
    /// Factors of a layer scale.
    Scale,
    /// The class token.
    ClassToken,
    /// Registers.
    Registers,
    /// Embeddings of positions.
    Positions,
    /// Running mean of a batch norm; not learned.
    RunningMean,
    /// Running variance of a batch norm; not learned.
    RunningVariance,
}

impl Role {
    /// The roles of learned tensors.
    pub const LEARNED: [Self; 8] = [
        Self::Weight,
        Self::Bias,
        Self::NormWeight,
        Self::NormBias,
        Self::Scale,
        Self::ClassToken,
        Self::Registers,
        Self::Positions,
    ];

    /// Whether gradients change it. Running statistics are not learned and do not count as
    /// parameters.
    #[must_use]
    pub fn is_learned(self) -> bool {
        !matches!(self, Self::RunningMean | Self::RunningVariance)
    }
}

/// One tensor of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// PyTorch's name, such as `layer1.0.conv1.weight`.
    pub name: String,
    /// Its role in its node.
    pub role: Role,
    /// PyTorch's shape; weights of a convolution are `[out, in / groups, height, width]`.
    pub shape: Vec<usize>,
}

impl Tensor {
    /// A tensor with this name, role and shape.
    #[must_use]
    pub fn new(name: String, role: Role, shape: Vec<usize>) -> Self {
        Self { name, role, shape }
    }

    /// Number of elements.
    #[must_use]
    pub fn length(&self) -> usize {
        self.shape.iter().product()
    }
}
