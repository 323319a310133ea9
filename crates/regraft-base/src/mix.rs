//! How the images of a batch are mixed in pairs: each with the one before it, and the first with
//! the last, as in torchvision's `MixUp` and `CutMix`.

/// Mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019) of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mix {
    /// Each image keeps this share of itself.
    Blend(f32),
    /// Rows from `top` up to `bottom` and columns from `left` up to `right`, in pixels, come from
    /// the other image.
    Paste {
        /// The first row that is replaced.
        top: usize,
        /// The first column that is replaced.
        left: usize,
        /// The row after the last that is replaced.
        bottom: usize,
        /// The column after the last that is replaced.
        right: usize,
    },
}
