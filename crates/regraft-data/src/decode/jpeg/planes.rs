//! The components' frequencies and samples.

use regraft_kernels::jpeg::inverse::{self, LANES};

use super::frame::{Component, Frame, Process};

/// Side of a block in frequencies.
const BLOCK: usize = 8;

/// Positions of the frequencies in a block of rows of eight, in their stored order.
pub const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// A component's samples and the frequencies that they are computed from.
pub struct Plane {
    /// Quantisation steps, `[row * 8 + column]`; `None` until the first scan of the component.
    pub steps: Option<[u16; 64]>,
    /// Frequencies, in groups of eight blocks side by side: all rows of blocks of a progressive
    /// image, otherwise the rows of one unit.
    blocks: Vec<inverse::Blocks>,
    /// Groups of eight blocks in a row of blocks.
    groups: usize,
    /// Rows of blocks in `blocks`.
    rows: usize,
    /// Samples along a block's side.
    pub side: usize,
    /// Samples from one row to the next.
    pub stride: usize,
    /// `[rows of all blocks * side, stride]`.
    pub samples: Vec<u8>,
}

impl Plane {
    /// `side` is the number of samples along a block's side after the transform; samples are
    /// `background` until their scan is read. `None` if the sizes overflow.
    pub fn new(frame: &Frame, component: &Component, side: usize, background: u8) -> Option<Self> {
        let units = frame.units();
        let groups = (units[0] * component.factors[0]).div_ceil(LANES);
        let all_rows = units[1] * component.factors[1];
        let rows =
            if frame.process == Process::Progressive { all_rows } else { component.factors[1] };
        let stride = groups * LANES * side;
        Some(Self {
            steps: None,
            blocks: vec![[[0; LANES]; BLOCK * BLOCK]; groups.checked_mul(rows)?],
            groups,
            rows,
            side,
            stride,
            samples: vec![background; stride.checked_mul(all_rows * side)?],
        })
    }

    /// The frequencies of the block in a column and a row, and its position among the eight.
    #[inline]
    pub fn block(&mut self, [column, row]: [usize; 2]) -> (&mut inverse::Blocks, usize) {
        let row = self.row_in_blocks(row);
        (&mut self.blocks[row * self.groups + column / LANES], column % LANES)
    }

    /// The index of a row's frequencies in `blocks`: for a sequential image, its index in its unit.
    #[inline]
    fn row_in_blocks(&self, row: usize) -> usize {
        // A division for each block would cost more than the comparison.
        if row < self.rows { row } else { row % self.rows }
    }

    /// Transforms `count` rows of blocks, from `first` on, to samples, and clears their
    /// frequencies.
    pub fn transform(&mut self, first: usize, count: usize) {
        let Some(steps) = &self.steps else { return };
        for row in first..first + count {
            let place = self.row_in_blocks(row);
            let blocks = &mut self.blocks[place * self.groups..][..self.groups];
            let samples =
                &mut self.samples[row * self.side * self.stride..][..self.side * self.stride];
            inverse::inverse(blocks, steps, self.side, samples, self.stride);
            blocks.fill([[0; LANES]; BLOCK * BLOCK]);
        }
    }

    /// Transforms all rows of blocks of a progressive image to samples.
    pub fn transform_all(&mut self) {
        self.transform(0, self.rows);
    }

    /// Row `y` of the samples.
    pub fn row(&self, y: usize) -> &[u8] {
        &self.samples[y * self.stride..][..self.stride]
    }
}

/// Reorders steps from zigzag order to rows of eight.
pub fn in_rows(steps: &[u16; 64]) -> [u16; 64] {
    let mut rows = [0; 64];
    for (place, &step) in ZIGZAG.iter().zip(steps) {
        rows[usize::from(*place)] = step;
    }
    rows
}
