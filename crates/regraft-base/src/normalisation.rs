//! Normalises levels to a network's numbers.

/// Mean and standard deviation of an image's three channels, in units of 255 levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    /// Mean, which is subtracted from each channel.
    pub mean: [f32; 3],
    /// Standard deviation, by which each channel is divided.
    pub std: [f32; 3],
}

impl Normalisation {
    /// The normalised value of each of the 256 levels of each channel: `((level / 255) - mean) /
    /// std`, in the order of operations of torchvision's `ToTensor` and `Normalize`, each rounded
    /// to f32. A look-up costs no division.
    #[must_use]
    pub fn tables(&self) -> [[f32; 256]; 3] {
        std::array::from_fn(|channel| {
            std::array::from_fn(|level| {
                (level as f32 / 255.0 - self.mean[channel]) / self.std[channel]
            })
        })
    }

    /// Writes the normalised values of `pixels` `[N, 3]` to `output`.
    ///
    /// # Panics
    /// If the two slices differ in length.
    pub fn apply(&self, pixels: &[u8], output: &mut [f32]) {
        look_up(&self.tables(), pixels, output);
    }
}

/// Like [`Normalisation::apply`], with its tables.
///
/// # Panics
/// If the two slices differ in length.
#[inline]
pub fn look_up(tables: &[[f32; 256]; 3], pixels: &[u8], output: &mut [f32]) {
    assert_eq!(pixels.len(), output.len(), "an image and its normalised form have the same length");
    for (output, pixel) in output.as_chunks_mut::<3>().0.iter_mut().zip(pixels.as_chunks::<3>().0) {
        for channel in 0..3 {
            output[channel] = tables[channel][usize::from(pixel[channel])];
        }
    }
}
