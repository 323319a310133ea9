//! What maps are stored as.

/// The type of the elements of maps and of their gradients. Sums, statistics, weights, logits and
/// losses are f32 either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 32 bits.
    F32,
    /// 16 bits with f32's range. What the kernels multiply is rounded to it; weights keep an f32
    /// copy that learns.
    Bf16,
}

impl Precision {
    /// The name that `--precision` takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}
