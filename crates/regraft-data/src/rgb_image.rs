//! A decoded image.

/// An 8-bit RGB image in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RgbImage {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `[height, width, 3]`, red first.
    pub pixels: Vec<u8>,
}

impl RgbImage {
    /// An image of one colour.
    #[must_use]
    pub fn filled(width: u32, height: u32, colour: [u8; 3]) -> Self {
        Self { width, height, pixels: colour.repeat(width as usize * height as usize) }
    }

    /// Mirrors the image left to right, in place.
    pub fn flip_horizontally(&mut self) {
        for row in self.pixels.chunks_exact_mut(self.width as usize * 3) {
            row.as_chunks_mut::<3>().0.reverse();
        }
    }
}
