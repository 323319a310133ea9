//! Activation functions.

use super::{Needs, Part, Rules};
use crate::graph::MapShape;

/// A function of each value. Reads one map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activation {
    /// The function.
    pub function: Function,
}

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x * sigmoid(x)`, also called swish.
    Silu,
    /// `relu6(x + 3) / 6`.
    HardSigmoid,
    /// `x * hard_sigmoid(x)`.
    HardSwish,
    /// `x * Phi(x)`, where `Phi` is the standard normal distribution (Hendrycks and Gimpel 2016).
    Gelu,
    /// PyTorch's `GELU(approximate="tanh")`.
    GeluTanh,
    /// `x * sigmoid(1.702 x)`, as CLIP has it.
    QuickGelu,
}

impl Rules for Activation {
    fn kind(&self) -> &'static str {
        match self.function {
            Function::Relu => "relu",
            Function::Relu6 => "relu6",
            Function::Sigmoid => "sigmoid",
            Function::Silu => "silu",
            Function::HardSigmoid => "hard sigmoid",
            Function::HardSwish => "hard swish",
            Function::Gelu => "gelu",
            Function::GeluTanh => "tanh gelu",
            Function::QuickGelu => "quick gelu",
        }
    }

    fn part(&self) -> Part {
        Part::Follows
    }

    fn output_shape(&self, inputs: &[MapShape]) -> Option<MapShape> {
        Some(inputs[0])
    }

    /// A clamp's derivative follows from its output as well; engines that keep that instead may.
    fn backward_needs(&self) -> Needs {
        Needs { inputs: true, ..Needs::default() }
    }
}
