//! Augmentation: random changes to images in training.

pub mod operations;
pub mod policies;

use policies::{rand_augment, trivial_augment};
use regraft_base::random::Draws;
use regraft_base::resample::Rectangle;
use serde::{Deserialize, Serialize};

use crate::RgbImage;
use crate::preprocessing::{Preprocessing, evaluation_pixels, resize_into};

/// How training images are varied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Augmentation {
    /// The kind of augmentation.
    pub kind: AugmentationKind,
    /// Smallest and largest share of the image's area that a crop covers.
    pub crop_scale: [f32; 2],
    /// Smallest and largest width / height of a crop. In f64, because a side of the fallback often
    /// lies exactly between two pixels.
    pub crop_ratio: [f64; 2],
    /// Probability that an image is mirrored left to right.
    pub flip_probability: f32,
    /// Probability that a rectangle of the square image is erased (torchvision's `RandomErasing`;
    /// Zhong et al. 2017).
    #[serde(default)]
    pub erasing_probability: f32,
}

/// Kinds of augmentation. The user's words are the names in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AugmentationKind {
    /// Training images are prepared as in evaluation.
    None,
    /// torchvision's `RandomResizedCrop` and `RandomHorizontalFlip`.
    Basic,
    /// In addition, one operation of any strength: torchvision's `TrivialAugmentWide` (Müller and
    /// Hutter 2021).
    Trivial,
    /// In addition, two operations of one strength: torchvision's `RandAugment` (Cubuk et al.
    /// 2020).
    Rand,
}

impl Default for Augmentation {
    /// torchvision's defaults.
    fn default() -> Self {
        Self {
            kind: AugmentationKind::Basic,
            crop_scale: [0.08, 1.0],
            crop_ratio: [3.0 / 4.0, 4.0 / 3.0],
            flip_probability: 0.5,
            erasing_probability: 0.0,
        }
    }
}

/// An augmentation with an invalid setting.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AugmentationError {
    /// Not a range of areas.
    #[error("the crop scale is {}-{}: choose a smallest part above 0 and a largest part up to 1, \
        such as 0.08-1", .0[0], .0[1])]
    Scale([f32; 2]),
    /// Not a range of ratios.
    #[error("the crop ratio is {}-{}: choose a smallest ratio above 0 and a largest one that is \
        not smaller", .0[0], .0[1])]
    Ratio([f64; 2]),
    /// Not a probability.
    #[error("the flip probability is {0}: choose one from 0 to 1")]
    Flip(f32),
    /// Not a probability.
    #[error("the probability of random erasing is {0}: choose one from 0 to 1")]
    Erasing(f32),
}

impl Augmentation {
    /// Checks values from a file or from the user.
    ///
    /// # Errors
    ///
    /// If a range or a probability is invalid.
    pub fn check(&self) -> Result<(), AugmentationError> {
        let is_range = |[low, high]: [f64; 2]| low > 0.0 && low <= high && high.is_finite();
        if !is_range(self.crop_scale.map(f64::from)) || self.crop_scale[1] > 1.0 {
            return Err(AugmentationError::Scale(self.crop_scale));
        }
        if !is_range(self.crop_ratio) {
            return Err(AugmentationError::Ratio(self.crop_ratio));
        }
        if !(0.0..=1.0).contains(&self.flip_probability) {
            return Err(AugmentationError::Flip(self.flip_probability));
        }
        if !(0.0..=1.0).contains(&self.erasing_probability) {
            return Err(AugmentationError::Erasing(self.erasing_probability));
        }
        Ok(())
    }
}

/// The square image `[image_size, image_size, 3]` that the network sees in training, before
/// normalisation.
#[must_use]
pub fn training_pixels(
    image: &RgbImage,
    preprocessing: &Preprocessing,
    augmentation: &Augmentation,
    draws: &mut Draws,
) -> RgbImage {
    match augmentation.kind {
        AugmentationKind::None => evaluation_pixels(image, preprocessing),
        AugmentationKind::Basic | AugmentationKind::Trivial | AugmentationKind::Rand => {
            let crop = random_crop(image.width, image.height, augmentation, draws);
            let mut square = resized_crop(image, crop, preprocessing);
            if draws.uniform() < augmentation.flip_probability {
                square.flip_horizontally();
            }
            match augmentation.kind {
                AugmentationKind::Trivial => square = trivial_augment(draws).apply(square),
                AugmentationKind::Rand => {
                    let operations = rand_augment(square.width, draws);
                    square = operations
                        .into_iter()
                        .fold(square, |square, operation| operation.apply(square));
                }
                AugmentationKind::None | AugmentationKind::Basic => {}
            }
            if augmentation.erasing_probability > 0.0
                && draws.uniform() < augmentation.erasing_probability
                && let Some(erased) = erased_rectangle(square.width, square.height, draws)
            {
                erase(&mut square, erased, preprocessing);
            }
            square
        }
    }
}

/// The crop of torchvision's `RandomResizedCrop`: ten attempts at an area and a ratio (uniform in
/// its logarithm), then the largest centred crop with an allowed ratio.
#[must_use]
pub fn random_crop(
    width: u32,
    height: u32,
    augmentation: &Augmentation,
    draws: &mut Draws,
) -> Rectangle {
    let (whole_width, whole_height) = (f64::from(width), f64::from(height));
    let [smallest_part, largest_part] = augmentation.crop_scale.map(f64::from);
    let [smallest_ratio, largest_ratio] = augmentation.crop_ratio;
    let between = |low: f64, high: f64, draws: &mut Draws| low + (high - low) * draws.uniform_f64();
    for _ in 0..10 {
        let area = whole_width * whole_height * between(smallest_part, largest_part, draws);
        let ratio = between(smallest_ratio.ln(), largest_ratio.ln(), draws).exp();
        let crop_width = (area * ratio).sqrt().round_ties_even() as u32;
        let crop_height = (area / ratio).sqrt().round_ties_even() as u32;
        if (1..=width).contains(&crop_width) && (1..=height).contains(&crop_height) {
            let top = draws.below(height - crop_height + 1);
            let left = draws.below(width - crop_width + 1);
            return rectangle(left, top, crop_width, crop_height);
        }
    }
    let ratio = whole_width / whole_height;
    let (crop_width, crop_height) = if ratio < smallest_ratio {
        (width, (whole_width / smallest_ratio).round_ties_even() as u32)
    } else if ratio > largest_ratio {
        ((whole_height * largest_ratio).round_ties_even() as u32, height)
    } else {
        (width, height)
    };
    // In an image one pixel wide or high, a side could round to 0 or to more than the image has.
    let (crop_width, crop_height) = (crop_width.clamp(1, width), crop_height.clamp(1, height));
    rectangle((width - crop_width) / 2, (height - crop_height) / 2, crop_width, crop_height)
}

/// The rectangle of torchvision's `RandomErasing`: ten attempts at an area of 2 to 33 % and a ratio
/// of 0.3 to 3.3 (uniform in its logarithm). `None` if no attempt is smaller than the image.
#[must_use]
pub fn erased_rectangle(width: u32, height: u32, draws: &mut Draws) -> Option<Rectangle> {
    let between = |low: f64, high: f64, draws: &mut Draws| low + (high - low) * draws.uniform_f64();
    for _ in 0..10 {
        let area = f64::from(width) * f64::from(height) * between(0.02, 0.33, draws);
        let ratio = between(0.3f64.ln(), 3.3f64.ln(), draws).exp();
        let (erased_width, erased_height) = erased_size(area, ratio);
        if erased_height < height && erased_width < width {
            let top = draws.below(height - erased_height + 1);
            let left = draws.below(width - erased_width + 1);
            return Some(rectangle(left, top, erased_width, erased_height));
        }
    }
    None
}

/// Width and height of an erased rectangle with this area in pixels and this ratio of height to
/// width.
fn erased_size(area: f64, ratio: f64) -> (u32, u32) {
    ((area / ratio).sqrt().round_ties_even() as u32, (area * ratio).sqrt().round_ties_even() as u32)
}

/// Fills a rectangle with the mean colour, which normalisation turns into zero (torchvision's
/// default value).
fn erase(square: &mut RgbImage, erased: Rectangle, preprocessing: &Preprocessing) {
    let color = preprocessing.mean.map(|mean| (mean * 255.0).round() as u8);
    let width = square.width as usize;
    for row in square.pixels.chunks_exact_mut(width * 3).skip(erased.top).take(erased.height) {
        for pixel in row[erased.left * 3..(erased.left + erased.width) * 3].chunks_exact_mut(3) {
            pixel.copy_from_slice(&color);
        }
    }
}

/// torchvision's `resized_crop`: the crop as an image of its own, resized to `[image_size,
/// image_size, 3]`.
#[must_use]
pub fn resized_crop(image: &RgbImage, crop: Rectangle, preprocessing: &Preprocessing) -> RgbImage {
    let side = preprocessing.image_size as usize;
    let mut square = RgbImage::filled(preprocessing.image_size, preprocessing.image_size, [0; 3]);
    resize_into(
        image,
        crop,
        (side, side),
        Rectangle::whole(side, side),
        preprocessing,
        &mut square.pixels,
    );
    square
}

fn rectangle(left: u32, top: u32, width: u32, height: u32) -> Rectangle {
    Rectangle {
        left: left as usize,
        top: top as usize,
        width: width as usize,
        height: height as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_base::random::Purpose;

    #[test]
    fn erased_rectangles_have_torchvisions_areas_and_ratios() {
        let mut areas = Vec::new();
        for sample in 0..2000 {
            let mut draws = Draws::new(1, Purpose::Augment, 0, sample);
            let Some(found) = erased_rectangle(100, 100, &mut draws) else { continue };
            assert!(found.left + found.width <= 100 && found.top + found.height <= 100);
            let ratio = found.height as f64 / found.width as f64;
            assert!((0.27..3.7).contains(&ratio), "{found:?}");
            areas.push((found.width * found.height) as f64 / 1e4);
        }
        assert!(areas.len() > 1990);
        assert!(areas.iter().all(|area| (0.015..0.345).contains(area)));
        let mean = areas.iter().sum::<f64>() / areas.len() as f64;
        assert!((mean - 0.175).abs() < 0.005, "mean area {mean}");
    }

    #[test]
    fn erased_rectangles_are_torchvisions_and_become_zero() {
        let text = include_str!("../tests/fixtures/augmentation.json");
        let cases: Vec<serde_json::Value> = serde_json::from_str(text).expect("JSON");
        let number = |value: &serde_json::Value| value.as_f64().expect("a number");
        let preprocessing = Preprocessing {
            image_size: 24,
            resize: crate::preprocessing::ResizeMode::Squash,
            interpolation: crate::preprocessing::Interpolation::Bilinear,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        };
        let mut found = 0;
        for case in cases.iter().filter(|case| case["kind"] == "erasing") {
            let side = number(&case["side"]) as u32;
            let size =
                erased_size(number(&case["area"]) * f64::from(side * side), number(&case["ratio"]));
            let [left, top, width, height] =
                [0, 1, 2, 3].map(|place| number(&case["box"][place]) as u32);
            assert_eq!(size, (width, height), "{case}");
            let mut draws = Draws::new(7, Purpose::Fixture, 0, number(&case["sample"]) as u32);
            let level = |word: u32| match (word >> 24) as u8 {
                0..32 => 0,
                level @ 32..224 => level,
                224.. => 255,
            };
            let pixels = (0..side * side * 3).map(|_| level(draws.next_u32())).collect();
            let mut image = RgbImage { width: side, height: side, pixels };
            erase(&mut image, rectangle(left, top, width, height), &preprocessing);
            let mut normal = vec![0.0; preprocessing.input_length()];
            preprocessing.normalisation().apply(&image.pixels, &mut normal);
            // A level is 0.018, so the erased pixels are only nearly torchvision's zero.
            let sum: f64 = normal.iter().map(|&value| f64::from(value)).sum();
            let zeros = normal
                .as_chunks::<3>()
                .0
                .iter()
                .filter(|pixel| pixel.iter().all(|value| value.abs() < 0.01))
                .count();
            assert_eq!(zeros as f64, number(&case["zeros"]), "{case}");
            assert!(
                (sum - number(&case["sum"])).abs() < 0.01 * 3.0 * zeros as f64 + 0.01,
                "{sum}: {case}"
            );
            found += 1;
        }
        assert_eq!(found, 4);
    }

    #[test]
    fn operations_follow_crop_and_flip_and_are_drawn_for_each_image() {
        let preprocessing = Preprocessing {
            image_size: 16,
            resize: crate::preprocessing::ResizeMode::Squash,
            interpolation: crate::preprocessing::Interpolation::Bilinear,
            mean: [0.5; 3],
            std: [0.5; 3],
        };
        let pixels = (0..20 * 20 * 3).map(|place| (place * 7 % 256) as u8).collect();
        let image = RgbImage { width: 20, height: 20, pixels };
        let view = |kind, sample| {
            let augmentation = Augmentation { kind, ..Augmentation::default() };
            training_pixels(
                &image,
                &preprocessing,
                &augmentation,
                &mut Draws::new(1, Purpose::Augment, 0, sample),
            )
        };
        for kind in [AugmentationKind::Trivial, AugmentationKind::Rand] {
            let changed = (0..50)
                .filter(|&sample| view(kind, sample) != view(AugmentationKind::Basic, sample))
                .count();
            // One operation in fourteen is the identity, and some strengths are so small that
            // nothing moves.
            assert!((30..=50).contains(&changed), "{kind:?}: {changed} of 50");
            assert_eq!(view(kind, 3), view(kind, 3));
        }
        // The operations are applied to the basic view.
        let mut draws = Draws::new(1, Purpose::Augment, 0, 9);
        let basic = Augmentation::default();
        let square = training_pixels(&image, &preprocessing, &basic, &mut draws);
        assert_eq!(trivial_augment(&mut draws).apply(square), view(AugmentationKind::Trivial, 9));
    }

    #[test]
    fn erased_pixels_have_the_mean_colour_and_others_stay() {
        let preprocessing = Preprocessing {
            image_size: 8,
            resize: crate::preprocessing::ResizeMode::Squash,
            interpolation: crate::preprocessing::Interpolation::Bilinear,
            mean: [0.5, 0.25, 1.0],
            std: [1.0; 3],
        };
        let image = RgbImage::filled(20, 20, [9, 9, 9]);
        let augmentation = Augmentation { erasing_probability: 1.0, ..Augmentation::default() };
        let erased = training_pixels(
            &image,
            &preprocessing,
            &augmentation,
            &mut Draws::new(1, Purpose::Augment, 0, 3),
        );
        let (pixels, _) = erased.pixels.as_chunks::<3>();
        let count = pixels.iter().filter(|pixel| **pixel == [128, 64, 255]).count();
        assert!(
            count > 0
                && count < 64
                && pixels.iter().all(|pixel| [[128, 64, 255], [9, 9, 9]].contains(pixel))
        );
        let never = Augmentation { erasing_probability: 0.0, ..augmentation };
        let whole = training_pixels(
            &image,
            &preprocessing,
            &never,
            &mut Draws::new(1, Purpose::Augment, 0, 3),
        );
        assert!(whole.pixels.iter().all(|&value| value == 9));
    }
}
