//! The activation functions that networks use and engines compute.

/// A function of one value.
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
    /// `x * sigmoid(1.702 x)`, as in CLIP.
    QuickGelu,
}

impl Function {
    /// All functions.
    pub const ALL: [Self; 9] = [
        Self::Relu,
        Self::Relu6,
        Self::Sigmoid,
        Self::Silu,
        Self::HardSigmoid,
        Self::HardSwish,
        Self::Gelu,
        Self::GeluTanh,
        Self::QuickGelu,
    ];

    /// The function's name in `regraft inspect`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::Sigmoid => "sigmoid",
            Self::Silu => "silu",
            Self::HardSigmoid => "hard sigmoid",
            Self::HardSwish => "hard swish",
            Self::Gelu => "gelu",
            Self::GeluTanh => "tanh gelu",
            Self::QuickGelu => "quick gelu",
        }
    }
}
