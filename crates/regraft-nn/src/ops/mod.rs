//! The primitive operations of networks, one file each.
//!
//! [`Rules`] answers every question about an operation that does not depend on a device. Only
//! [`Operation::rules`] and the engines' lowering passes distinguish operations.

mod activation;
mod add;
mod attention;
mod average_pool;
mod batch_norm;
mod class_token;
mod convolution;
mod dropout;
mod global_average_pool;
mod initial;
mod layer_norm;
mod layer_scale;
mod linear;
mod max_pool;
mod multiply;
mod padding;
mod tokens;

pub use activation::{Activation, Function};
pub use add::Add;
pub use attention::Attention;
pub use average_pool::AveragePool;
pub use batch_norm::{BatchNorm, NormStatistics};
pub use class_token::ClassToken;
pub use convolution::Convolution;
pub use dropout::Dropout;
pub use global_average_pool::GlobalAveragePool;
pub use initial::InitialWeights;
pub use layer_norm::LayerNorm;
pub use layer_scale::LayerScale;
pub use linear::Linear;
pub use max_pool::MaxPool;
pub use multiply::Multiply;
pub use padding::Padding;
pub use tokens::Tokens;

use crate::shape::MapShape;
use crate::tensor::{Role, Tensor};

/// The operation of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// See [`Convolution`].
    Convolution(Convolution),
    /// See [`BatchNorm`].
    BatchNorm(BatchNorm),
    /// See [`Activation`].
    Activation(Activation),
    /// See [`Add`].
    Add(Add),
    /// See [`Multiply`].
    Multiply(Multiply),
    /// See [`LayerNorm`].
    LayerNorm(LayerNorm),
    /// See [`LayerScale`].
    LayerScale(LayerScale),
    /// See [`MaxPool`].
    MaxPool(MaxPool),
    /// See [`AveragePool`].
    AveragePool(AveragePool),
    /// See [`GlobalAveragePool`].
    GlobalAveragePool(GlobalAveragePool),
    /// See [`Dropout`].
    Dropout(Dropout),
    /// See [`Linear`].
    Linear(Linear),
    /// See [`Tokens`].
    Tokens(Tokens),
    /// See [`Attention`].
    Attention(Attention),
    /// See [`ClassToken`].
    ClassToken(ClassToken),
}

impl Operation {
    /// The rules of the operation.
    #[must_use]
    pub fn rules(&self) -> &dyn Rules {
        match self {
            Self::Convolution(operation) => operation,
            Self::BatchNorm(operation) => operation,
            Self::Activation(operation) => operation,
            Self::Add(operation) => operation,
            Self::Multiply(operation) => operation,
            Self::LayerNorm(operation) => operation,
            Self::LayerScale(operation) => operation,
            Self::MaxPool(operation) => operation,
            Self::AveragePool(operation) => operation,
            Self::GlobalAveragePool(operation) => operation,
            Self::Dropout(operation) => operation,
            Self::Linear(operation) => operation,
            Self::Tokens(operation) => operation,
            Self::Attention(operation) => operation,
            Self::ClassToken(operation) => operation,
        }
    }
}

/// How an operation belongs to a [`crate::graph::Layer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It gives a layer its name.
    Main,
    /// It belongs to the layer of the node before it, as a batch norm belongs to its convolution.
    Follows,
    /// It belongs to the layer of the node after it, as dropout belongs to the linear layer that
    /// follows.
    Precedes,
}

/// Values that an operation's backward pass reads, in addition to its parameters and the gradient
/// of its output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The operation's inputs.
    pub inputs: bool,
    /// The operation's output.
    pub output: bool,
    /// Values that the forward pass saved for it: statistics, positions of maxima, a mask.
    pub saved: bool,
}

/// The geometry of an operation that slides a window over a feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Side of the square window in pixels.
    pub kernel: usize,
    /// Pixels between neighbouring windows.
    pub stride: usize,
    /// Groups of channels that do not mix, if the operation mixes channels at all.
    pub groups: Option<usize>,
}

/// Properties of an operation that are the same on every device.
pub trait Rules {
    /// The operation's name in `regraft inspect`.
    fn kind(&self) -> &'static str;

    /// How it belongs to a layer.
    fn part(&self) -> Part {
        Part::Main
    }

    /// The shape of its output for one image; `None` if the input is too small.
    fn output_shape(&self, inputs: &[MapShape]) -> Option<MapShape>;

    /// The tensors of a node with this name, for square images of `image_size` pixels.
    fn tensors(&self, _node: &str, _image_size: usize) -> Vec<Tensor> {
        Vec::new()
    }

    /// The initial values of `tensor` if the network is trained from scratch.
    fn initial(&self, tensor: &Tensor, _seed: u64) -> Vec<f32> {
        let value = match tensor.role {
            Role::NormWeight | Role::Scale | Role::RunningVariance => 1.0,
            Role::Weight
            | Role::Bias
            | Role::NormBias
            | Role::ClassToken
            | Role::Registers
            | Role::Positions
            | Role::RunningMean => 0.0,
        };
        vec![value; tensor.length()]
    }

    /// Multiply-adds for one image, counted as in torchvision: those of convolutions and linear
    /// layers.
    fn multiply_adds(&self, _inputs: &[MapShape], _output: MapShape) -> u64 {
        0
    }

    /// The values that its backward pass reads.
    fn backward_needs(&self) -> Needs;

    /// Index of the input to which a branch is added, if there is one.
    fn residual(&self) -> Option<usize> {
        None
    }

    /// Its window, if it has one.
    fn window(&self) -> Option<Window> {
        None
    }
}
