//! Whether one picture is a crop of another, judged on the pixels.
//!
//! The margins of the crop are sought so that the two agree best; then they must agree in colour and brightness as a whole, and in their
//! details, which two photographs of one scene do not. A copy may be brighter or of another contrast, but not of other colours.

use super::fingerprint::{MARGINS, SIDE, Thumbnail};
use super::inspect::{luma, squashed};
use crate::RgbImage;

/// The largest margin that is sought, as a part of a side.
const MOST_MARGIN: f32 = 0.15;
/// Correlation of the small grey copies, with the window that was looked up, below which no other is tried.
const WORTH_TRYING: f32 = 0.4;
/// Correlation with the best window below which no margins are sought.
const WORTH_SEEKING: f32 = 0.65;
/// Side of the copies on which margins are sought first.
const COARSE_SIDE: usize = 32;
/// Windows from which margins are sought.
const STARTS: usize = 2;
/// Correlation of the small grey copies, with the best margins, below which the files are not opened.
const WORTH_OPENING: f32 = 0.85;

/// Side of the crop in the comparison of the pixels.
const CLOSE_SIDE: usize = 128;
/// Side of the larger picture in the comparison of the pixels; of which a crop is left that is as detailed as the other one.
const CLOSE_WHOLE_SIDE: usize = 144;
/// Correlation of the colours of two copies.
const SAME_COLOURS: f32 = 0.95;
/// Correlation of the details of two copies.
const SAME_DETAILS: f32 = 0.8;
/// Correlation of the details, with the margins of the small grey copies, below which none are sought on the pixels.
const WORTH_MOVING: f32 = 0.6;
/// The same where a picture's short side is below [`FEW_PIXELS`]: a few details agree by chance, as with clothes on white of 28 x 28 pixels.
const SAME_FEW_DETAILS: f32 = 0.97;
/// Short side in pixels.
const FEW_PIXELS: u32 = 64;
/// Details are what differs from the mean of so many pixels to each side.
const DETAIL_RADIUS: usize = 6;

/// How two pictures lie on each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alignment {
    /// Parts of the larger picture's sides that the crop lacks: left, right, top, bottom.
    pub margins: [f32; 4],
    /// Correlation of the pixels that both have.
    pub correlation: f32,
}

/// `[side, side]` values.
struct Plane {
    side: usize,
    values: Vec<f32>,
}

impl Plane {
    fn of_thumbnail(thumbnail: &Thumbnail) -> Self {
        Self { side: SIDE, values: thumbnail.grey.iter().map(|&level| f32::from(level)).collect() }
    }

    /// The part within the margins, mirrored or not, as `[side, side]`; linear between pixels.
    fn part(&self, margins: [f32; 4], is_mirrored: bool, side: usize) -> Vec<f32> {
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

    /// Moves the margins, one at a time and by ever smaller steps, as long as the part within agrees better with `other`.
    fn seek(&self, other: &[f32], start: [f32; 4], is_mirrored: bool, side: usize, steps: &[f32]) -> Alignment {
        let agreement = |margins| correlation(&self.part(margins, is_mirrored, side), other);
        let mut best = Alignment { margins: start, correlation: agreement(start) };
        for &step in steps {
            loop {
                let before = best.correlation;
                // Single margins, and both of an axis together: a crop moved, or made larger.
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

/// How a picture may be a crop of another by their small grey copies, if it may.
pub fn align_thumbnails(whole: &Thumbnail, crop: &Thumbnail, margins: [f32; 4], is_mirrored: bool) -> Option<Alignment> {
    let (whole, crop) = (Plane::of_thumbnail(whole), Plane::of_thumbnail(crop));
    let coarse_crop = crop.part([0.0; 4], false, COARSE_SIDE);
    let agreement = |margins| correlation(&whole.part(margins, is_mirrored, COARSE_SIDE), &coarse_crop);
    if agreement(margins) < WORTH_TRYING {
        return None;
    }
    // Repeating patterns agree in several places: the search begins at the best of all windows.
    let windows = MARGINS.iter().flat_map(|&(left, right)| MARGINS.iter().map(move |&(top, bottom)| [left, right, top, bottom]));
    let mut starts: Vec<(f32, [f32; 4])> = windows.map(|margins| (agreement(margins), margins)).collect();
    starts.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    if starts.first().is_none_or(|&(best, _)| best < WORTH_SEEKING) {
        return None;
    }
    let from = |&(_, start): &(f32, [f32; 4])| whole.seek(&coarse_crop, start, is_mirrored, COARSE_SIDE, &[0.02, 0.01]);
    let best = starts.iter().take(STARTS).map(from).max_by(|left, right| left.correlation.total_cmp(&right.correlation))?;
    if best.correlation < WORTH_OPENING {
        return None;
    }
    let best = whole.seek(&crop.values, best.margins, is_mirrored, SIDE, &[0.01, 0.005]);
    (best.correlation >= WORTH_OPENING).then_some(best)
}

/// How the pixels of two pictures agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Correlation of all colour values; 0 where the details already tell the two apart.
    pub colours: f32,
    /// Correlation of the details of the brightness; `None` where there are none.
    pub details: Option<f32>,
    /// What that must be at least in copies.
    pub least_details: f32,
}

impl Agreement {
    /// Whether the two show the same.
    pub fn is_copy(&self) -> bool {
        self.colours >= SAME_COLOURS && self.details.is_some_and(|details| details >= self.least_details)
    }
}

/// Compares the pixels of a picture with those of one that may be a crop of it.
pub fn compare(whole: &RgbImage, crop: &RgbImage, margins: [f32; 4], is_mirrored: bool) -> Agreement {
    let short = [whole, crop].map(|picture| picture.width.min(picture.height));
    let least_details = if short.iter().any(|&side| side < FEW_PIXELS) { SAME_FEW_DETAILS } else { SAME_DETAILS };
    let (whole, crop) = (squashed(whole, CLOSE_WHOLE_SIDE), squashed(crop, CLOSE_SIDE));
    let grey = |pixels: &[u8]| pixels.as_chunks::<3>().0.iter().map(|&pixel| f32::from(luma(pixel))).collect::<Vec<f32>>();
    let grey_whole = Plane { side: CLOSE_WHOLE_SIDE, values: grey(&whole) };
    let grey_crop = grey(&crop);
    // Two pictures of one kind of thing are alike as a whole and not in their details: most are told apart before any margin is moved.
    let right = details(&grey_crop);
    let rough = correlation(&details(&grey_whole.part(margins, is_mirrored, CLOSE_SIDE)), &right);
    if rough < WORTH_MOVING {
        return Agreement { colours: 0.0, details: Some(rough), least_details };
    }
    let best = grey_whole.seek(&grey_crop, margins, is_mirrored, CLOSE_SIDE, &[0.005, 0.002, 0.001]);
    let mut colours = (Vec::new(), Vec::new());
    for channel in 0..3 {
        let one = |pixels: &[u8]| pixels.iter().skip(channel).step_by(3).map(|&level| f32::from(level)).collect::<Vec<f32>>();
        let plane = Plane { side: CLOSE_WHOLE_SIDE, values: one(&whole) };
        colours.0.extend(plane.part(best.margins, is_mirrored, CLOSE_SIDE));
        colours.1.extend(one(&crop));
    }
    let part = grey_whole.part(best.margins, is_mirrored, CLOSE_SIDE);
    let left = details(&part);
    let deviation = |values: &[f32]| (values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32).sqrt();
    let has_details = deviation(&left) >= LEAST_DETAIL && deviation(&right) >= LEAST_DETAIL;
    Agreement {
        colours: correlation(&colours.0, &colours.1),
        details: has_details.then(|| correlation(&left, &right)),
        least_details,
    }
}

/// Standard deviation of details in levels below which there are none: what compression leaves of a smooth picture.
const LEAST_DETAIL: f32 = 1.0;

/// What differs from the surroundings, after the finest has been smoothed away, where compression rages. `[CLOSE_SIDE, CLOSE_SIDE]`.
fn details(grey: &[f32]) -> Vec<f32> {
    let fine = smoothed(grey, 1);
    let coarse = smoothed(grey, DETAIL_RADIUS);
    fine.iter().zip(coarse).map(|(fine, coarse)| fine - coarse).collect()
}

/// The mean of the pixels up to `radius` away, along rows and columns; at the edges of those that are there.
fn smoothed(values: &[f32], radius: usize) -> Vec<f32> {
    let side = CLOSE_SIDE;
    let along = |values: &[f32], stride: usize, across: usize| {
        let mut smooth = vec![0.0; values.len()];
        for line in 0..side {
            for place in 0..side {
                let (first, last) = (place.saturating_sub(radius), (place + radius).min(side - 1));
                let sum: f32 = (first..=last).map(|place| values[line * across + place * stride]).sum();
                smooth[line * across + place * stride] = sum / (last - first + 1) as f32;
            }
        }
        smooth
    };
    along(&along(values, 1, side), side, 1)
}

/// Pearson's correlation; 0 where one side does not vary.
fn correlation(left: &[f32], right: &[f32]) -> f32 {
    let count = left.len() as f32;
    let (left_mean, right_mean) = (left.iter().sum::<f32>() / count, right.iter().sum::<f32>() / count);
    let (mut product, mut left_square, mut right_square) = (0.0f32, 0.0f32, 0.0f32);
    for (left, right) in left.iter().zip(right) {
        let (left, right) = (left - left_mean, right - right_mean);
        product += left * right;
        left_square += left * left;
        right_square += right * right;
    }
    let scale = (left_square * right_square).sqrt();
    if scale > 0.0 { product / scale } else { 0.0 }
}
