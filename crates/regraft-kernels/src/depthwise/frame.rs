//! The input of a depthwise convolution: bands of rows of a feature map, and blocks of their
//! channels with the padding around them.

use crate::element::{Element, with_values};
use crate::input::Input;
use crate::scratch::with_scratch;
use crate::shape::ConvolutionShape;
use std::ops::Range;

/// Channels in a block: one AVX-512 vector, two of AVX2, four of SSE or NEON.
pub const LANES: usize = 16;

/// One row of the walk: the rows and columns of the feature map `from`, which is read, under each
/// tap.
pub struct Walk {
    /// Height, width and channels of the feature map that is read.
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub stride: usize,
    pub padding_top: usize,
    pub padding_left: usize,
}

impl Walk {
    pub fn over_input(shape: &ConvolutionShape) -> Self {
        Self {
            height: shape.in_height,
            width: shape.in_width,
            channels: shape.in_channels,
            stride: shape.stride,
            padding_top: shape.padding_top,
            padding_left: shape.padding_left,
        }
    }

    /// Image `image` of the feature maps that are read.
    pub fn picture<'a, E>(&self, maps: Input<'a, E>, image: usize) -> Input<'a, E> {
        let length = self.height * self.width * self.channels;
        Input { values: &maps.values[image * length..(image + 1) * length], ..maps }
    }

    /// The rows of the image that the output rows `rows` read.
    pub fn rows_under(&self, kernel: usize, rows: &Range<usize>) -> Range<usize> {
        let end = ((rows.end - 1) * self.stride + kernel)
            .saturating_sub(self.padding_top)
            .min(self.height);
        (rows.start * self.stride).saturating_sub(self.padding_top).min(end)..end
    }

    /// Lends rows of the image.
    pub fn with_band<E: Element>(
        &self,
        picture: Input<'_, E>,
        rows: Range<usize>,
        work: impl FnOnce(Band<'_>),
    ) {
        let row_length = self.width * self.channels;
        let first_row = rows.start;
        let values = &picture.values[first_row * row_length..rows.end * row_length];
        match picture.normalization {
            None => with_values(values, |values| work(Band { values, first_row })),
            Some(normalization) => with_scratch(values.len(), |band: &mut [f32]| {
                normalization.apply(0..self.channels, values, self.channels, band);
                work(Band { values: band, first_row });
            }),
        }
    }
}

/// The input of some output pixels, with the padding around the feature map.
#[derive(Clone, Copy)]
pub struct Frame {
    /// The first output row, and the number of output rows and columns.
    pub first_row: usize,
    pub out_rows: usize,
    pub out_columns: usize,
    pub rows: usize,
    pub columns: usize,
}

impl Frame {
    pub fn of(walk: &Walk, kernel: usize, out_rows: &Range<usize>, out_columns: usize) -> Self {
        let under = |places: usize| (places - 1) * walk.stride + kernel;
        let (first_row, out_rows) = (out_rows.start, out_rows.len());
        Self {
            first_row,
            out_rows,
            out_columns,
            rows: under(out_rows),
            columns: under(out_columns),
        }
    }

    /// Elements of a block of channels.
    pub fn length(&self) -> usize {
        self.rows * self.columns * LANES
    }
}

/// Some rows of an image.
#[derive(Clone, Copy)]
pub struct Band<'a> {
    pub values: &'a [f32],
    /// The first of these rows in the image.
    pub first_row: usize,
}

/// Elements of a band's rows: half a mebibyte with their borders, so that they stay in the
/// second-level cache.
const BAND_ELEMENTS: usize = 1 << 16;

/// Rows of the output in a band. With few images, there are still enough bands for several threads.
pub fn rows_per_band(batch: usize, rows: usize, elements_per_row: usize) -> usize {
    let bands = 8usize.div_ceil(batch);
    (BAND_ELEMENTS / elements_per_row.max(1)).clamp(1, rows.div_ceil(bands).max(1))
}

/// The position of a band.
pub struct Place {
    /// The image.
    pub image: usize,
    /// Its rows.
    pub rows: Range<usize>,
}

/// The bands of rows of a feature map, with their elements.
pub fn bands<E: Element>(
    map: &mut [E],
    rows_per_image: usize,
    row_length: usize,
    rows_per_band: usize,
) -> Vec<(Place, &mut [E])> {
    let mut bands = Vec::new();
    for (image, mut rest) in map.chunks_exact_mut(rows_per_image * row_length).enumerate() {
        for start in (0..rows_per_image).step_by(rows_per_band) {
            let end = rows_per_image.min(start + rows_per_band);
            let (band, behind) = rest.split_at_mut((end - start) * row_length);
            bands.push((Place { image, rows: start..end }, band));
            rest = behind;
        }
    }
    bands
}
