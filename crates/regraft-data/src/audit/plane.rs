//! Square planes of grey or colour values: parts of them, their details, and their correlation.

use super::fingerprint::{SIDE, Thumbnail};

/// The largest margin of the search, as a fraction of a side.
const MOST_MARGIN: f32 = 0.15;
/// Partial sums of a correlation, as many as one register holds.
const LANES: usize = 8;

/// How two images lie on each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alignment {
    /// Fractions of the larger image's sides that the crop lacks: left, right, top, bottom.
    pub margins: [f32; 4],
    /// Correlation of the pixels that both images have.
    pub correlation: f32,
}

/// `[side, side]` values.
#[derive(Clone, Debug)]
pub struct Plane {
    pub side: usize,
    pub values: Vec<f32>,
}

impl Plane {
    pub fn of_thumbnail(thumbnail: &Thumbnail) -> Self {
        Self { side: SIDE, values: thumbnail.grey.iter().map(|&level| f32::from(level)).collect() }
    }

    /// The part within the margins, mirrored or not, as `[side, side]`; linear interpolation.
    pub fn part(&self, margins: [f32; 4], is_mirrored: bool, side: usize) -> Vec<f32> {
        let [left, right, top, bottom] = margins;
        let taps = |before: f32, after: f32, flipped: bool| -> Vec<(usize, usize, f32)> {
            let tap = |place: usize| {
                let place = if flipped { side - 1 - place } else { place };
                let along = before + (place as f32 + 0.5) / side as f32 * (1.0 - before - after);
                let position = (along * self.side as f32 - 0.5).clamp(0.0, (self.side - 1) as f32);
                let first = position as usize;
                (first, (first + 1).min(self.side - 1), position - first as f32)
            };
            (0..side).map(tap).collect()
        };
        let (columns, rows) = (taps(left, right, is_mirrored), taps(top, bottom, false));
        let mut part = Vec::with_capacity(side * side);
        for (upper, lower, down) in rows {
            let upper = &self.values[upper * self.side..][..self.side];
            let lower = &self.values[lower * self.side..][..self.side];
            for &(first, second, across) in &columns {
                let above = upper[first] + (upper[second] - upper[first]) * across;
                let below = lower[first] + (lower[second] - lower[first]) * across;
                part.push(above + (below - above) * down);
            }
        }
        part
    }

    /// Moves the margins, one at a time and by ever smaller steps, as long as the part within
    /// agrees better with `other`.
    pub fn seek(
        &self,
        other: &[f32],
        start: [f32; 4],
        is_mirrored: bool,
        side: usize,
        steps: &[f32],
    ) -> Alignment {
        let agreement = |margins| correlation(&self.part(margins, is_mirrored, side), other);
        let mut best = Alignment { margins: start, correlation: agreement(start) };
        for &step in steps {
            loop {
                let before = best.correlation;
                // Single margins, and both of an axis together: the crop is moved or resized.
                for moves in MOVES {
                    let mut margins = best.margins;
                    for (margin, direction) in margins.iter_mut().zip(moves) {
                        *margin = (*margin + step * direction).clamp(0.0, MOST_MARGIN);
                    }
                    if margins != best.margins {
                        let found = agreement(margins);
                        if found > best.correlation {
                            best = Alignment { margins, correlation: found };
                        }
                    }
                }
                if best.correlation <= before + 1e-4 {
                    break;
                }
            }
        }
        best
    }

    /// The difference from the surroundings of `radius` pixels to each side, after smoothing away
    /// the finest details, where compression does most damage.
    pub fn details(&self, radius: usize) -> Self {
        let (fine, coarse) = (self.smoothed(1), self.smoothed(radius));
        Self {
            side: self.side,
            values: fine.iter().zip(coarse).map(|(fine, coarse)| fine - coarse).collect(),
        }
    }

    /// Standard deviation of values whose mean is about 0.
    pub fn deviation(&self) -> f32 {
        (self.values.iter().map(|value| value * value).sum::<f32>() / self.values.len() as f32)
            .sqrt()
    }

    /// The mean of the pixels up to `radius` away, along rows and columns; at the edges, of the
    /// pixels inside the plane.
    fn smoothed(&self, radius: usize) -> Vec<f32> {
        let side = self.side;
        let along = |values: &[f32], stride: usize, across: usize| {
            let mut smooth = vec![0.0; values.len()];
            for line in 0..side {
                for place in 0..side {
                    let (first, last) =
                        (place.saturating_sub(radius), (place + radius).min(side - 1));
                    let sum: f32 =
                        (first..=last).map(|place| values[line * across + place * stride]).sum();
                    smooth[line * across + place * stride] = sum / (last - first + 1) as f32;
                }
            }
            smooth
        };
        along(&along(&self.values, 1, side), side, 1)
    }
}

const MOVES: [[f32; 4]; 16] = [
    [1.0, 0.0, 0.0, 0.0],
    [-1.0, 0.0, 0.0, 0.0],
    [0.0, 1.0, 0.0, 0.0],
    [0.0, -1.0, 0.0, 0.0],
    [0.0, 0.0, 1.0, 0.0],
    [0.0, 0.0, -1.0, 0.0],
    [0.0, 0.0, 0.0, 1.0],
    [0.0, 0.0, 0.0, -1.0],
    [1.0, -1.0, 0.0, 0.0],
    [-1.0, 1.0, 0.0, 0.0],
    [0.0, 0.0, 1.0, -1.0],
    [0.0, 0.0, -1.0, 1.0],
    [1.0, 1.0, 0.0, 0.0],
    [-1.0, -1.0, 0.0, 0.0],
    [0.0, 0.0, 1.0, 1.0],
    [0.0, 0.0, -1.0, -1.0],
];

/// Pearson's correlation; 0 if one side does not vary. Both have the same length, a multiple of
/// eight.
pub fn correlation(left: &[f32], right: &[f32]) -> f32 {
    let count = left.len() as f32;
    let (left, right) = (left.as_chunks::<LANES>().0, right.as_chunks::<LANES>().0);
    let mut sums = [[0.0f32; LANES]; 2];
    for (left, right) in left.iter().zip(right) {
        for lane in 0..LANES {
            sums[0][lane] += left[lane];
            sums[1][lane] += right[lane];
        }
    }
    let [left_mean, right_mean] = sums.map(|sum| sum.iter().sum::<f32>() / count);
    let (mut product, mut left_square, mut right_square) =
        ([0.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES]);
    for (left, right) in left.iter().zip(right) {
        for lane in 0..LANES {
            let (left, right) = (left[lane] - left_mean, right[lane] - right_mean);
            product[lane] += left * right;
            left_square[lane] += left * left;
            right_square[lane] += right * right;
        }
    }
    let [product, left_square, right_square] =
        [product, left_square, right_square].map(|sum| sum.iter().sum::<f32>());
    let scale = (left_square * right_square).sqrt();
    if scale > 0.0 { product / scale } else { 0.0 }
}
