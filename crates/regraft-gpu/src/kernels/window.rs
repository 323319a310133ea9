//! The geometry of a window that slides over a map.

use crate::record::number;
use regraft_nn::graph::MapShape;
use regraft_nn::ops::Padding;

/// Sizes of a window that slides over a batch of maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub images: usize,
    pub input: MapShape,
    pub output: MapShape,
    pub kernel: usize,
    pub stride: usize,
    pub padding: Padding,
    pub groups: usize,
}

impl Window {
    pub fn input_pixels(&self) -> usize {
        self.images * self.input.pixels()
    }

    pub fn output_pixels(&self) -> usize {
        self.images * self.output.pixels()
    }

    /// Whether every output pixel reads the input pixel of the same place.
    pub fn is_point(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.input.pixels() == self.output.pixels()
    }

    /// Places of the window.
    pub fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Zeros before a line of `length` pixels.
    pub fn before(&self, length: usize) -> usize {
        self.padding.resolve(length, self.kernel, self.stride).map_or(0, |(_, before)| before)
    }

    /// The parameters [`NAMES`].
    pub fn params(&self) -> [(&'static str, u32); 8] {
        [
            ("in_height", number(self.input.height)),
            ("in_width", number(self.input.width)),
            ("out_height", number(self.output.height)),
            ("out_width", number(self.output.width)),
            ("kernel", number(self.kernel)),
            ("stride", number(self.stride)),
            ("top", number(self.before(self.input.height))),
            ("left", number(self.before(self.input.width))),
        ]
    }
}

/// The parameters of a window.
pub(crate) const NAMES: [&str; 8] =
    ["in_height", "in_width", "out_height", "out_width", "kernel", "stride", "top", "left"];
