//! The type of the feature maps' elements.

/// The type of the elements of feature maps and of their gradients. Sums, statistics, weights,
/// logits and losses are f32 either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 32 bits.
    F32,
    /// 16 bits with f32's range. The kernels round their operands to it; the weights that learn are
    /// f32 copies.
    Bf16,
    /// 16 bits with a smaller range and finer steps, on GPUs. Operands are widened to f32; the
    /// gradients of feature maps are scaled up meanwhile, because small ones would vanish.
    F16,
}

impl Precision {
    /// The name that `--precision` takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// Bytes of an element.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}
