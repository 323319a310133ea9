//! The division of a convolution's output into square tiles.

use crate::shape::ConvolutionShape;

/// The division of a convolution's output into tiles.
#[derive(Clone, Copy)]
pub struct Tiling {
    /// Pixels along each side of a tile.
    side: usize,
    /// Tiles in a row of tiles.
    pub across: usize,
    /// Rows of tiles in an image.
    pub down: usize,
    /// Rows of tiles in a block.
    pub rows_per_block: usize,
}

impl Tiling {
    pub fn new(shape: &ConvolutionShape, side: usize, tiles_per_block: usize) -> Self {
        let across = shape.out_width.div_ceil(side);
        Self {
            side,
            across,
            down: shape.out_height.div_ceil(side),
            rows_per_block: tiles_per_block.div_ceil(across),
        }
    }

    /// Rows of tiles in the whole batch.
    pub fn rows(&self, shape: &ConvolutionShape) -> usize {
        shape.batch * self.down
    }

    /// Output pixels of row `row` of tiles, counted over the batch: as many rows of the image as a
    /// tile has, or fewer at the lower edge.
    fn pixels(&self, shape: &ConvolutionShape, row: usize) -> usize {
        let first = row % self.down * self.side;
        (shape.out_height - first).min(self.side) * shape.out_width
    }

    /// The output in blocks of neighbouring rows of tiles, each with its rows.
    pub fn blocks<'a, E>(
        self,
        shape: &ConvolutionShape,
        mut output: &'a mut [E],
    ) -> Vec<(TileRows, &'a mut [E])> {
        let rows = self.rows(shape);
        let mut blocks = Vec::with_capacity(rows.div_ceil(self.rows_per_block));
        for first in (0..rows).step_by(self.rows_per_block) {
            let end = rows.min(first + self.rows_per_block);
            let pixels: Vec<usize> = (first..end).map(|row| self.pixels(shape, row)).collect();
            let (block, rest) =
                output.split_at_mut(pixels.iter().sum::<usize>() * shape.out_channels);
            blocks.push((TileRows { first, pixels }, block));
            output = rest;
        }
        blocks
    }
}

/// Neighbouring rows of tiles.
pub struct TileRows {
    /// The first row, counted over the batch.
    pub first: usize,
    /// Output pixels of each row.
    pub pixels: Vec<usize>,
}
