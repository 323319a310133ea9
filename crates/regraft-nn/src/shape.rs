//! The shape of feature maps.

/// The shape of one image's feature map: `[height, width, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapShape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels.
    pub channels: usize,
}

impl MapShape {
    /// Elements of one image's feature map.
    #[must_use]
    pub fn length(self) -> usize {
        self.pixels() * self.channels
    }

    /// Pixels of one image's feature map.
    #[must_use]
    pub fn pixels(self) -> usize {
        self.height * self.width
    }
}
