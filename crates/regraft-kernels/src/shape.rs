//! The sizes of convolutions and other windows that slide over a feature map.

use crate::element::Element;

/// The sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ConvolutionShape {
    pub batch: usize,
    pub in_height: usize,
    pub in_width: usize,
    pub in_channels: usize,
    pub out_height: usize,
    pub out_width: usize,
    pub out_channels: usize,
    pub kernel_height: usize,
    pub kernel_width: usize,
    pub stride: usize,
    /// Rows of zeros above the image; those below follow from `out_height`.
    pub padding_top: usize,
    /// Columns of zeros left of the image; those on the right follow from `out_width`.
    pub padding_left: usize,
    pub groups: usize,
}

impl ConvolutionShape {
    /// Elements of the input.
    #[must_use]
    pub fn input_length(&self) -> usize {
        self.batch * self.in_height * self.in_width * self.in_channels
    }

    /// Elements of the output.
    #[must_use]
    pub fn output_length(&self) -> usize {
        self.output_pixels() * self.out_channels
    }

    /// Elements of the weights.
    #[must_use]
    pub fn weight_length(&self) -> usize {
        self.out_channels * self.patch_length()
    }

    pub(crate) fn output_pixels(&self) -> usize {
        self.batch * self.out_height * self.out_width
    }

    /// Elements of one group's patch, which is the depth of the matrix product.
    pub(crate) fn patch_length(&self) -> usize {
        self.kernel_height * self.kernel_width * self.in_channels / self.groups
    }

    /// Whether the input is its own matrix of patches.
    #[must_use]
    pub fn reads_in_place(&self) -> bool {
        // Equal sizes leave no room for padding below or on the right.
        let same_size = self.out_height == self.in_height && self.out_width == self.in_width;
        let no_padding = self.padding_top == 0 && self.padding_left == 0;
        self.kernel_height == 1
            && self.kernel_width == 1
            && self.stride == 1
            && no_padding
            && same_size
    }

    /// Output pixels in a block: their patches, and their sums if these are not the output itself,
    /// take about half a mebibyte, so that they stay in the second-level cache.
    pub(crate) fn pixels_per_block<E: Element, O: Element>(&self) -> usize {
        let sums = if size_of::<E>() < size_of::<f32>() {
            self.out_channels * size_of::<f32>()
        } else {
            0
        };
        (524_288 / (self.patch_length() * size_of::<O>() + sums).max(1)).clamp(56, 448)
    }

    /// The convolution that turns the gradient of the output into that of the input, at stride 1.
    pub(crate) fn transposed(&self) -> Self {
        Self {
            in_height: self.out_height,
            in_width: self.out_width,
            in_channels: self.out_channels,
            out_height: self.in_height,
            out_width: self.in_width,
            out_channels: self.in_channels,
            padding_top: self.kernel_height - 1 - self.padding_top,
            padding_left: self.kernel_width - 1 - self.padding_left,
            ..*self
        }
    }

    /// Panics if a slice's length is not the shape's, or if the groups do not divide the channels.
    pub(crate) fn check(&self, input: usize, weights: usize, output: usize) {
        assert_eq!(input, self.input_length(), "input of {self:?}");
        assert_eq!(weights, self.weight_length(), "weights of {self:?}");
        assert_eq!(output, self.output_length(), "output of {self:?}");
        assert!(
            self.in_channels.is_multiple_of(self.groups)
                && self.out_channels.is_multiple_of(self.groups),
            "{self:?}"
        );
    }
}
