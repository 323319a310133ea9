//! Whether one picture is a crop of another, judged on the pixels.
//!
//! The margins of the crop are sought so that the two agree best; then they must agree in colour
//! and brightness as a whole, and in their details, which two photographs of one scene do not. A
//! copy may be brighter or of another contrast, but not of other colours.

use super::fingerprint::{MARGINS, Thumbnail};
use super::inspect::{luma, squashed};
use super::plane::{Alignment, Plane, correlation};
use crate::RgbImage;

/// Side of the planes of details on which margins are sought first.
const COARSE_SIDE: usize = 32;
/// Radius of these details, in pixels of the small grey copies.
const COARSE_RADIUS: usize = 6;
/// Correlation of these details within the best of the windows, below which no margins are sought.
const WORTH_SEEKING: f32 = 0.4;
/// The steps of that search, and the correlation below which each ends it. Pictures of one kind of
/// thing (clothes on white, say) are alike as a whole, not in their details, and most pairs of them
/// are told apart here.
const COARSE_STEPS: [(f32, f32); 2] = [(0.02, 0.6), (0.01, 0.75)];
/// Radius of the finer details of the small grey copies.
const FINE_RADIUS: usize = 3;
/// Correlation of the finer details, with the best margins, below which the files are not opened.
/// Of true copies it is 0.9 and more.
const WORTH_OPENING: f32 = 0.8;

/// Side of the crop in the comparison of the pixels.
const CLOSE_SIDE: usize = 128;
/// Side of the larger picture in the comparison of the pixels; of which a crop is left that is as
/// detailed as the other one.
const CLOSE_WHOLE_SIDE: usize = 144;
/// Correlation of the colours of two copies.
const SAME_COLOURS: f32 = 0.95;
/// Correlation of the details of two copies.
const SAME_DETAILS: f32 = 0.8;
/// The same where a picture's short side is below [`FEW_PIXELS`]: a few details agree by chance, as
/// with clothes on white of 28 x 28 pixels.
const SAME_FEW_DETAILS: f32 = 0.97;
/// Short side in pixels.
const FEW_PIXELS: u32 = 64;
/// Correlation of the details, with the margins of the small grey copies, below which none are
/// sought on the pixels.
const WORTH_MOVING: f32 = 0.6;
/// Details are what differs from the mean of so many pixels to each side.
const DETAIL_RADIUS: usize = 6;

/// The details of a picture's small grey copy, `[COARSE_SIDE, COARSE_SIDE]`, made once for all its
/// comparisons.
pub fn coarse_details(thumbnail: &Thumbnail) -> Plane {
    let details = Plane::of_thumbnail(thumbnail).details(COARSE_RADIUS);
    Plane { side: COARSE_SIDE, values: details.part([0.0; 4], false, COARSE_SIDE) }
}

/// How a picture may be a crop of another by their small grey copies, if it may.
pub fn align_thumbnails(
    thumbnails: [&Thumbnail; 2],
    coarse: [&Plane; 2],
    is_mirrored: bool,
) -> Option<Alignment> {
    let [whole, crop] = coarse;
    // Repeating patterns agree in several places: the search begins at the best of all windows, not
    // at the one that was looked up.
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
        self.colours >= SAME_COLOURS
            && self.details.is_some_and(|details| details >= self.least_details)
    }
}

/// Compares the pixels of a picture with those of one that may be a crop of it.
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
    // Two pictures of one kind of thing are alike as a whole and not in their details: most are
    // told apart before any margin is moved.
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

/// Standard deviation of details in levels below which there are none: what compression leaves of a
/// smooth picture.
const LEAST_DETAIL: f32 = 1.0;
