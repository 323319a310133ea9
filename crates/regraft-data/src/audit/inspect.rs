//! Reads each file once for its hash, whether it decodes, and its oddities.

use std::path::Path;

use regraft_base::resample::{Filter, Rectangle, resize_rgb};
use sha2::{Digest, Sha256};

use super::fingerprint::{SIDE, Thumbnail};
use crate::RgbImage;
use crate::decode::format::Format;
use crate::decode::{DecodeError, DecodeOptions, DecodeReason, decode_bytes, file, is_turned};
use crate::parallel;

/// Images with a shorter short side, in pixels, are tiny.
pub const TINY_SIDE: u32 = 32;
/// Images with more pixels are huge.
pub const HUGE_PIXELS: u64 = 50_000_000;
/// Images whose long side is this many times the short one or more are extreme.
pub const EXTREME_RATIO: f64 = 4.0;
/// Images whose brightness has a smaller standard deviation, in levels of 255, are blank.
pub const BLANK_DEVIATION: f32 = 2.0;

/// The short side of the images that are compared, in pixels: large JPEGs are decoded at reduced
/// size.
pub(super) const LEAST_SIDE: u32 = 192;

/// An oddity of an image that can be read.
#[derive(Clone, Debug, PartialEq)]
pub enum Oddity {
    /// Its short side is below [`TINY_SIDE`].
    Tiny {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// It has more than [`HUGE_PIXELS`] pixels.
    Huge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// One side is [`EXTREME_RATIO`] times the other or more.
    ExtremeRatio {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// It shows a single colour.
    Blank,
    /// Its extension does not match its content.
    WrongExtension {
        /// The extension.
        extension: String,
        /// The format's name.
        format: &'static str,
    },
    /// Its metadata rotate or mirror it, which programs miss if they do not read the metadata.
    Turned,
    /// It is a JPEG that is truncated or damaged and was decoded as far as possible.
    Truncated,
}

/// The findings from one reading of a file.
#[derive(Clone, Debug)]
pub struct Facts {
    /// SHA-256 of the file; `None` if the file could not be read.
    pub sha256: Option<[u8; 32]>,
    /// Why it is not a readable image.
    pub unreadable: Option<DecodeReason>,
    /// Its oddities.
    pub oddities: Vec<Oddity>,
    pub(super) thumbnail: Option<Thumbnail>,
}

/// How images are decoded for the comparison.
pub(super) fn decode_options(options: &DecodeOptions) -> DecodeOptions {
    DecodeOptions { least_side: Some(LEAST_SIDE), ..*options }
}

/// Reads every file once on `workers` threads; the findings are in the order of the files. About 4
/// KiB are kept for each image. `progress` is called from any of the threads, with the number of
/// files done.
#[must_use]
pub fn inspect(
    paths: &[&Path],
    workers: usize,
    options: &DecodeOptions,
    progress: &(dyn Fn(usize) + Sync),
) -> Vec<Facts> {
    let options = decode_options(options);
    parallel::map(paths.len(), workers, &|place| facts(paths[place], &options), progress)
}

impl Facts {
    /// The error for a file at `path` that cannot be read.
    #[must_use]
    pub fn error(&self, path: &Path) -> Option<DecodeError> {
        self.unreadable.clone().map(|reason| DecodeError { path: path.to_path_buf(), reason })
    }
}

fn facts(path: &Path, options: &DecodeOptions) -> Facts {
    let nothing = |sha256, reason| Facts {
        sha256,
        unreadable: Some(reason),
        oddities: Vec::new(),
        thumbnail: None,
    };
    let bytes = match file::read(path, options.max_pixels) {
        Ok(bytes) => bytes,
        Err(error) => return nothing(None, error.reason),
    };
    let sha256 = Some(Sha256::digest(&bytes).into());
    let decoded = match decode_bytes(&bytes, options) {
        Ok(decoded) => decoded,
        Err(reason) => return nothing(sha256, reason),
    };
    let (width, height) =
        (decoded.image.width * decoded.reduction, decoded.image.height * decoded.reduction);
    let thumbnail = Thumbnail::of(&decoded.image);
    let mut oddities = size_oddities(width, height);
    oddities.extend((thumbnail.deviation() < BLANK_DEVIATION).then_some(Oddity::Blank));
    oddities.extend(wrong_extension(path, &bytes));
    oddities.extend(is_turned(&bytes).then_some(Oddity::Turned));
    oddities.extend(decoded.truncated.then_some(Oddity::Truncated));
    Facts { sha256, unreadable: None, oddities, thumbnail: Some(thumbnail) }
}

fn size_oddities(width: u32, height: u32) -> Vec<Oddity> {
    let (short, long) = (width.min(height), width.max(height));
    let mut found = Vec::new();
    if short < TINY_SIDE {
        found.push(Oddity::Tiny { width, height });
    }
    if u64::from(width) * u64::from(height) > HUGE_PIXELS {
        found.push(Oddity::Huge { width, height });
    }
    if f64::from(long) >= f64::from(short) * EXTREME_RATIO {
        found.push(Oddity::ExtremeRatio { width, height });
    }
    found
}

/// A name without an extension, or with an extension that is not an image's, claims nothing.
fn wrong_extension(path: &Path, bytes: &[u8]) -> Option<Oddity> {
    let extension = path.extension()?.to_string_lossy().to_lowercase();
    let format = Format::of(bytes).ok()?;
    let claimed = match extension.as_str() {
        "jpg" | "jpeg" | "jpe" | "jfif" => Some(Format::Jpeg),
        "png" | "apng" => Some(Format::Png),
        "gif" => Some(Format::Gif),
        "webp" => Some(Format::WebP),
        "bmp" | "dib" => Some(Format::Bmp),
        "tif" | "tiff" => Some(Format::Tiff),
        "ppm" | "pgm" | "pbm" | "pnm" | "pam" => Some(Format::Netpbm),
        "qoi" => Some(Format::Qoi),
        "ico" => Some(Format::Ico),
        "tga" => Some(Format::Tga),
        "heic" | "heif" | "avif" | "jxl" | "jp2" | "psd" | "svg" => None,
        _ => return None,
    };
    (claimed != Some(format)).then(|| Oddity::WrongExtension { extension, format: format.name() })
}

/// An image resized to `[side, side, 3]`, whatever its aspect ratio.
pub(super) fn squashed(image: &RgbImage, side: usize) -> Vec<u8> {
    let (width, height) = (image.width as usize, image.height as usize);
    let mut pixels = vec![0; side * side * 3];
    let whole = Rectangle::whole(width, height);
    resize_rgb(
        &image.pixels,
        (width, height),
        whole,
        (side, side),
        Rectangle::whole(side, side),
        Filter::Bilinear,
        &mut pixels,
    );
    pixels
}

impl Thumbnail {
    fn of(image: &RgbImage) -> Self {
        let grey =
            squashed(image, SIDE).as_chunks::<3>().0.iter().map(|&pixel| luma(pixel)).collect();
        Self { grey }
    }
}

/// ITU-R BT.601's luma, rounded.
pub(super) fn luma([red, green, blue]: [u8; 3]) -> u8 {
    ((u32::from(red) * 299 + u32::from(green) * 587 + u32::from(blue) * 114 + 500) / 1000) as u8
}
