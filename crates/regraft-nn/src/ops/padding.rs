//! Zeros around a feature map.

/// Zeros around a feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// This many pixels on each side (as in PyTorch).
    Each(usize),
    /// As many as give `output = ceil(input / stride)`, with an odd one below and on the right
    /// (TensorFlow's `SAME`).
    Same,
}

impl Padding {
    /// The length of the output, and the zeros before the input, for a side of `length`. `None` if
    /// the kernel does not fit.
    #[must_use]
    pub fn resolve(self, length: usize, kernel: usize, stride: usize) -> Option<(usize, usize)> {
        match self {
            Self::Each(padding) => {
                (length + 2 * padding).checked_sub(kernel).map(|rest| (rest / stride + 1, padding))
            }
            Self::Same => {
                let output = length.div_ceil(stride);
                let total = ((output.checked_sub(1)?) * stride + kernel).saturating_sub(length);
                Some((output, total / 2))
            }
        }
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
