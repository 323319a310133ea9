//! Decides on the pixels whether one image is a crop of another.
//!
//! First it searches for the margins of the crop at which the two agree best. Then they must agree
//! in colour and brightness as a whole, and in their details, which two photographs of the same
//! scene do not. A copy may have another brightness or contrast, but not other colours.

use super::fingerprint::{MARGINS, Thumbnail};
use super::inspect::{luma, squashed};
use super::plane::{Alignment, Plane, correlation};
use crate::RgbImage;

/// Side of the planes of details on which margins are searched for first.
const COARSE_SIDE: usize = 32;
/// Radius of these details, in pixels of the small grey copies.
const COARSE_RADIUS: usize = 6;
/// If the details correlate by less than this within the best of the windows, no margins are
/// searched for.
const WORTH_SEEKING: f32 = 0.4;
/// The steps of that search, each with the correlation below which it ends. Images of one kind of
/// thing (such as clothes on white) are alike as a whole but not in their details, so most such
/// pairs are rejected here.
const COARSE_STEPS: [(f32, f32); 2] = [(0.02, 0.6), (0.01, 0.75)];
/// Radius of the finer details of the small grey copies.
const FINE_RADIUS: usize = 3;
/// If the finer details correlate by less than this with the best margins, the files are not
/// opened. True copies have 0.9 or more.
const WORTH_OPENING: f32 = 0.8;

/// Side of the crop in the comparison of the pixels.
const CLOSE_SIDE: usize = 128;
/// Side of the larger image in the comparison of the pixels; its crop is then as detailed as the
/// other image.
const CLOSE_WHOLE_SIDE: usize = 144;
/// Least correlation of the colours of two copies.
const SAME_COLOURS: f32 = 0.95;
/// Least correlation of the details of two copies.
const SAME_DETAILS: f32 = 0.8;
/// The same if an image's short side is below [`FEW_PIXELS`]: a few details agree by chance, as in
/// images of clothes on white with 28 x 28 pixels.
const SAME_FEW_DETAILS: f32 = 0.97;
/// Short side in pixels.
const FEW_PIXELS: u32 = 64;
/// If the details correlate by less than this with the margins of the small grey copies, margins
/// are not searched for on the pixels.
const WORTH_MOVING: f32 = 0.6;
/// Details are the difference from the mean of this many pixels to each side.
const DETAIL_RADIUS: usize = 6;

/// The details of an image's small grey copy, `[COARSE_SIDE, COARSE_SIDE]`, computed once for all
/// its comparisons.
pub fn coarse_details(thumbnail: &Thumbnail) -> Plane {
    let details = Plane::of_thumbnail(thumbnail).details(COARSE_RADIUS);
    Plane { side: COARSE_SIDE, values: details.part([0.0; 4], false, COARSE_SIDE) }
}

/// How the small grey copy of an image may be a crop of another, or `None` if it is not.
pub fn align_thumbnails(
    thumbnails: [&Thumbnail; 2],
    coarse: [&Plane; 2],
    is_mirrored: bool,
) -> Option<Alignment> {
    let [whole, crop] = coarse;
    // Repeating patterns agree in several places, so the search begins at the best of all windows,
    // not at the one that was looked up.
    let windows = MARGINS.iter().flat_map(|&(left, right)| {
        MARGINS.iter().map(move |&(top, bottom)| [left, right, top, bottom])
    });
    let agreement =
        |margins| correlation(&whole.part(margins, is_mirrored, COARSE_SIDE), &crop.values);
    let (best, mut margins) = windows
        .map(|margins| (agreement(margins), margins))
        .max_by(|left, right| left.0.total_cmp(&right.0))?;
    if best < WORTH_SEEKING {
        return None;
    }
    for (step, least) in COARSE_STEPS {
        let found = whole.seek(&crop.values, margins, is_mirrored, COARSE_SIDE, &[step]);
        if found.correlation < least {
            return None;
        }
        margins = found.margins;
    }
    let [whole, crop] =
        thumbnails.map(|thumbnail| Plane::of_thumbnail(thumbnail).details(FINE_RADIUS));
    let best = whole.seek(&crop.values, margins, is_mirrored, crop.side, &[0.01, 0.005]);
    (best.correlation >= WORTH_OPENING).then_some(best)
}

/// How well the pixels of two images agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Correlation of all colour values; 0 if the details already tell the two apart.
    pub colours: f32,
    /// Correlation of the details of the brightness; `None` if there are none.
    pub details: Option<f32>,
    /// The least correlation of the details of copies.
    pub least_details: f32,
}

impl Agreement {
    /// Whether the two show the same image.
    pub fn is_copy(&self) -> bool {
        self.colours >= SAME_COLOURS
            && self.details.is_some_and(|details| details >= self.least_details)
    }
}

/// Compares the pixels of an image with those of another that may be a crop of it.
pub fn compare(
    whole: &RgbImage,
    crop: &RgbImage,
    margins: [f32; 4],
    is_mirrored: bool,
) -> Agreement {
    let short = [whole, crop].map(|picture| picture.width.min(picture.height));
    let least_details =
        if short.iter().any(|&side| side < FEW_PIXELS) { SAME_FEW_DETAILS } else { SAME_DETAILS };
    let (whole, crop) = (squashed(whole, CLOSE_WHOLE_SIDE), squashed(crop, CLOSE_SIDE));
    let grey = |pixels: &[u8]| {
        pixels.as_chunks::<3>().0.iter().map(|&pixel| f32::from(luma(pixel))).collect::<Vec<f32>>()
    };
    let grey_whole = Plane { side: CLOSE_WHOLE_SIDE, values: grey(&whole) };
    let grey_crop = Plane { side: CLOSE_SIDE, values: grey(&crop) };
    // Images of one kind of thing are alike as a whole but not in their details, so most pairs are
    // rejected before any margin is moved.
    let right = grey_crop.details(DETAIL_RADIUS);
    let details_within = |margins| {
        Plane { side: CLOSE_SIDE, values: grey_whole.part(margins, is_mirrored, CLOSE_SIDE) }
            .details(DETAIL_RADIUS)
    };
    let rough = correlation(&details_within(margins).values, &right.values);
    if rough < WORTH_MOVING {
        return Agreement { colours: 0.0, details: Some(rough), least_details };
    }
    let best = grey_whole.seek(
        &grey_crop.values,
        margins,
        is_mirrored,
        CLOSE_SIDE,
        &[0.005, 0.002, 0.001],
    );
    let mut colours = (Vec::new(), Vec::new());
    for channel in 0..3 {
        let one = |pixels: &[u8]| {
            pixels
                .iter()
                .skip(channel)
                .step_by(3)
                .map(|&level| f32::from(level))
                .collect::<Vec<f32>>()
        };
        let plane = Plane { side: CLOSE_WHOLE_SIDE, values: one(&whole) };
        colours.0.extend(plane.part(best.margins, is_mirrored, CLOSE_SIDE));
        colours.1.extend(one(&crop));
    }
    let left = details_within(best.margins);
    let has_details = left.deviation() >= LEAST_DETAIL && right.deviation() >= LEAST_DETAIL;
    Agreement {
        colours: correlation(&colours.0, &colours.1),
        details: has_details.then(|| correlation(&left.values, &right.values)),
        least_details,
    }
}

/// If the standard deviation of the details is below this many levels, the image counts as having
/// none; compression leaves that much in a smooth image.
const LEAST_DETAIL: f32 = 1.0;
