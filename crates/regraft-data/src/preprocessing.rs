//! Prepares images for evaluation, and holds the settings of a network's input.

use regraft_base::normalisation::Normalisation;
use regraft_base::resample::{Filter, Rectangle, resize_rgb};
use serde::{Deserialize, Serialize};

use crate::RgbImage;

/// How an image becomes the network's input; stored in every model file. Evaluation follows
/// torchvision 0.29 on Pillow images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Width and height of the network's input in pixels.
    pub image_size: u32,
    /// How an image with another aspect ratio is brought to that size in evaluation.
    pub resize: ResizeMode,
    /// The filter of every resize, also in training.
    pub interpolation: Interpolation,
    /// Mean of red, green and blue, which is subtracted, in units of pixel / 255.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue, by which the difference is divided, in units of
    /// pixel / 255.
    pub std: [f32; 3],
}

/// How an image is made square in evaluation. The user's words are `crop`, `squash` and
/// `letterbox`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResizeMode {
    /// The short side is resized to this many pixels, and the centre is cropped (torchvision's
    /// `Resize` and `CenterCrop`; missing pixels at the edges are black).
    Crop {
        /// Pixels of the short side.
        short_side: u32,
    },
    /// Both sides are resized, whatever the aspect ratio.
    Squash,
    /// The long side is resized, and the rest is filled with the mean colour.
    Letterbox,
}

/// The filter of a resize, always antialiased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Triangle filter.
    Bilinear,
    /// Cubic convolution, a = -0.5.
    Bicubic,
}

/// An invalid preprocessing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PreprocessingError {
    /// A size outside `1..=16384`.
    #[error("{name} is {value} pixels: choose one from 1 to {MAX_SIDE}")]
    Size {
        /// The name of the size.
        name: &'static str,
        /// Its value in pixels.
        value: u32,
    },
    /// A mean or standard deviation that cannot normalise any image.
    #[error(
        "mean {mean:?} and std {std:?} cannot normalise an image: they must be finite, and std \
         above 0"
    )]
    Normalisation {
        /// Mean of the channels.
        mean: [f32; 3],
        /// Standard deviation of the channels.
        std: [f32; 3],
    },
}

/// The longest side that a network's input may have, in pixels.
pub const MAX_SIDE: u32 = 16_384;

impl Interpolation {
    /// The resampling kernel's name for it.
    #[must_use]
    pub fn filter(self) -> Filter {
        match self {
            Self::Bilinear => Filter::Bilinear,
            Self::Bicubic => Filter::Bicubic,
        }
    }
}

impl Preprocessing {
    /// Checks values from a file or from the user; the functions below rely on it.
    ///
    /// # Errors
    ///
    /// If a size, the mean or the standard deviation is out of range.
    pub fn check(&self) -> Result<(), PreprocessingError> {
        let short_side = match self.resize {
            ResizeMode::Crop { short_side } => short_side,
            ResizeMode::Squash | ResizeMode::Letterbox => self.image_size,
        };
        for (name, value) in [("the image size", self.image_size), ("the short side", short_side)] {
            if !(1..=MAX_SIDE).contains(&value) {
                return Err(PreprocessingError::Size { name, value });
            }
        }
        if self.mean.iter().chain(&self.std).any(|value| !value.is_finite())
            || self.std.iter().any(|&value| value <= 0.0)
        {
            return Err(PreprocessingError::Normalisation { mean: self.mean, std: self.std });
        }
        Ok(())
    }

    /// The size and the way of resizing, in words for the user: `224 pixels, squashed`.
    #[must_use]
    pub fn size_in_words(&self) -> String {
        let resize = match self.resize {
            ResizeMode::Crop { short_side } => {
                format!("the centre of a short side of {short_side}")
            }
            ResizeMode::Squash => "squashed".to_owned(),
            ResizeMode::Letterbox => "letterboxed".to_owned(),
        };
        format!("{} pixels, {resize}", self.image_size)
    }

    /// How the network's engine normalises levels.
    #[must_use]
    pub fn normalisation(&self) -> Normalisation {
        Normalisation { mean: self.mean, std: self.std }
    }

    /// Number of values in one normalised image: `image_size * image_size * 3`.
    #[must_use]
    pub fn input_length(&self) -> usize {
        self.image_size as usize * self.image_size as usize * 3
    }
}

/// The square image `[image_size, image_size, 3]` that the network sees in evaluation, before
/// normalisation.
#[must_use]
pub fn evaluation_pixels(image: &RgbImage, preprocessing: &Preprocessing) -> RgbImage {
    let side = preprocessing.image_size as usize;
    match preprocessing.resize {
        ResizeMode::Crop { short_side } => {
            resized_centre(image, short_side as usize, side, preprocessing)
        }
        ResizeMode::Squash => {
            let mut square =
                RgbImage::filled(preprocessing.image_size, preprocessing.image_size, [0; 3]);
            let whole = Rectangle::whole(image.width as usize, image.height as usize);
            resize_into(
                image,
                whole,
                (side, side),
                Rectangle::whole(side, side),
                preprocessing,
                &mut square.pixels,
            );
            square
        }
        ResizeMode::Letterbox => letterboxed(image, side, preprocessing),
    }
}

/// Resizes the part `crop` of an image to `size`, and writes the part `window` of the result.
pub(crate) fn resize_into(
    image: &RgbImage,
    crop: Rectangle,
    size: (usize, usize),
    window: Rectangle,
    preprocessing: &Preprocessing,
    output: &mut [u8],
) {
    let source_size = (image.width as usize, image.height as usize);
    resize_rgb(
        &image.pixels,
        source_size,
        crop,
        size,
        window,
        preprocessing.interpolation.filter(),
        output,
    );
}

/// torchvision's `Resize(short_side)` and `CenterCrop(side)`. Only the pixels inside the crop are
/// computed.
fn resized_centre(
    image: &RgbImage,
    short_side: usize,
    side: usize,
    preprocessing: &Preprocessing,
) -> RgbImage {
    let (width, height) = (image.width as usize, image.height as usize);
    // Python's int(short_side * long / short): a division of floats, truncated.
    let long_side =
        |long: usize, short: usize| ((short_side * long) as f64 / short as f64) as usize;
    let size = if width <= height {
        (short_side, long_side(height, width))
    } else {
        (long_side(width, height), short_side)
    };
    let (left, kept_width, margin_left) = centre(size.0, side);
    let (top, kept_height, margin_top) = centre(size.1, side);
    let window = Rectangle { left, top, width: kept_width, height: kept_height };
    let square = RgbImage::filled(preprocessing.image_size, preprocessing.image_size, [0; 3]);
    resize_and_place(image, size, window, (margin_left, margin_top), preprocessing, square)
}

/// torchvision's `CenterCrop` along one side: the start of the crop, its length, and the margin
/// before it if the image is smaller. Halves are rounded to even, as in Python.
fn centre(length: usize, side: usize) -> (usize, usize, usize) {
    if length < side {
        (0, length, (side - length) / 2)
    } else {
        (((length - side) as f64 / 2.0).round_ties_even() as usize, side, 0)
    }
}

fn letterboxed(image: &RgbImage, side: usize, preprocessing: &Preprocessing) -> RgbImage {
    let (width, height) = (image.width as usize, image.height as usize);
    let long = width.max(height);
    // length * side / long, with halves rounded up. In f64 some halves would be below one half,
    // such as 45 * 224 / 320.
    let scaled = |length: usize| ((2 * length * side + long) / (2 * long)).max(1);
    let size = (scaled(width), scaled(height));
    let mean = preprocessing.mean.map(|value| (value * 255.0).round() as u8);
    let square = RgbImage::filled(preprocessing.image_size, preprocessing.image_size, mean);
    let margins = ((side - size.0) / 2, (side - size.1) / 2);
    resize_and_place(image, size, Rectangle::whole(size.0, size.1), margins, preprocessing, square)
}

/// Resizes an image to `size`, cuts `window` out and writes it over `square` at `margins` (left,
/// top).
fn resize_and_place(
    image: &RgbImage,
    size: (usize, usize),
    window: Rectangle,
    margins: (usize, usize),
    preprocessing: &Preprocessing,
    mut square: RgbImage,
) -> RgbImage {
    let whole = Rectangle::whole(image.width as usize, image.height as usize);
    let row_length = square.width as usize * 3;
    if window.width * 3 == row_length {
        let start = margins.1 * row_length;
        let rows = &mut square.pixels[start..start + window.height * row_length];
        resize_into(image, whole, size, window, preprocessing, rows);
        return square;
    }
    let mut part = vec![0; window.width * window.height * 3];
    resize_into(image, whole, size, window, preprocessing, &mut part);
    let rows = square.pixels.chunks_exact_mut(row_length).skip(margins.1);
    for (row, part) in rows.zip(part.chunks_exact(window.width * 3)) {
        row[margins.0 * 3..][..part.len()].copy_from_slice(part);
    }
    square
}
