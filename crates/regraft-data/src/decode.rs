//! Decodes a file's bytes to 8-bit RGB pixels.
//!
//! The format is recognised from the content, never from the file's name: JPEG, PNG, GIF (first
//! frame), WebP (first frame), BMP, TIFF (first page), netpbm, QOI, ICO (largest frame), TGA and,
//! with the feature `heif`, HEIC and AVIF. The orientation is applied, alpha is composited on
//! white, and grey, palette, 16-bit and CMYK images are converted as in Pillow. If a decoder
//! panics, that is an error of the file and does not end the program.

mod bmp;
mod convert;
mod directory;
pub mod file;
pub(crate) mod format;
mod gif;
#[cfg(feature = "heif")]
mod heif;
mod ico;
mod jpeg;
mod lzw;
mod netpbm;
pub mod orientation;
mod panics;
mod png;
mod qoi;
mod tga;
mod tiff;
mod webp;

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError};

use crate::RgbImage;
use crate::shown::shown;
use directory::{Directory, Header};
use format::Format;

/// The default limit on the pixels of an image: Pillow's limit against decompression bombs, twice
/// `1024^3 / 4 / 3`.
pub const DEFAULT_MAX_PIXELS: u64 = 178_956_970;

/// The largest limit that can be chosen: an RGB image of 2^32 pixels takes 12 GiB.
pub const MOST_MAX_PIXELS: u64 = 1 << 32;

/// Which files are accepted, and at which size their images are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Images with more pixels are refused by their header, before memory is allocated.
    pub max_pixels: u64,
    /// Whether a JPEG that is truncated or damaged is decoded as far as possible and the rest
    /// filled with grey. Otherwise it is refused, as Pillow refuses truncated files.
    pub allow_truncated: bool,
    /// If given, a JPEG is decoded at a half, a quarter or an eighth of its size, as long as its
    /// short side keeps this many pixels. `None` decodes at full size.
    pub least_side: Option<u32>,
}

impl Default for DecodeOptions {
    /// Full-size images of at most [`DEFAULT_MAX_PIXELS`].
    fn default() -> Self {
        Self { max_pixels: DEFAULT_MAX_PIXELS, allow_truncated: false, least_side: None }
    }
}

/// An image and how it was decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The image.
    pub image: RgbImage,
    /// Whether it was decoded only as far as possible: see [`DecodeOptions::allow_truncated`].
    pub truncated: bool,
    /// The divisor of its sides: 1, or 2, 4 or 8 (see [`DecodeOptions::least_side`]).
    pub reduction: u32,
    /// The short side of the full-size image in pixels if it could be reduced; 0 if it cannot.
    pub reducible_side: u32,
}

impl DecodeOptions {
    /// The divisor of the sides of an image whose short side has `reducible_side` pixels (see
    /// [`Decoded::reducible_side`]).
    #[must_use]
    pub fn reduction(&self, reducible_side: u32) -> u32 {
        let fits = |least_side: u32| {
            [8, 4, 2].into_iter().find(|reduction| reducible_side / reduction >= least_side.max(1))
        };
        self.least_side.and_then(fits).unwrap_or(1)
    }
}

/// A file that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", shown(path))]
pub struct DecodeError {
    /// The file.
    pub path: PathBuf,
    /// Why it cannot be decoded.
    pub reason: DecodeReason,
}

/// Why a file cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeReason {
    /// Another process could not decode the file, for the reason that these words say.
    #[error("{0}")]
    Elsewhere(String),
    /// The file could not be read.
    #[error("cannot be read ({0}); check that it exists and that you may read it")]
    Unreadable(String),
    /// The path leads to something other than a regular file.
    #[error("is {0}, not a file: remove it, or name an image file")]
    NotRegular(&'static str),
    /// The file is longer than an image with the allowed number of pixels could be.
    #[error(
        "has more than {limit} bytes, the limit{}",
        if *limit < file::MAX_FILE_BYTES {
            " with this --max-pixels: remove it, or raise --max-pixels"
        } else {
            " of any image file: make it smaller or remove it"
        }
    )]
    TooLong {
        /// The limit in bytes.
        limit: u64,
    },
    /// The file is empty.
    #[error("is empty; replace it with an intact copy or remove it")]
    Empty,
    /// The content is in no format that can be decoded.
    #[error("is {content}; {advice}")]
    NotAnImage {
        /// A description of the content.
        content: &'static str,
        /// Advice on how to proceed.
        advice: &'static str,
    },
    /// The header announces more pixels than are allowed.
    #[error(
        "has {width} x {height} pixels, more than the limit of {max_pixels}; make it smaller or \
         remove it"
    )]
    TooLarge {
        /// Width in pixels.
        width: u64,
        /// Height in pixels.
        height: u64,
        /// The limit in pixels.
        max_pixels: u64,
    },
    /// The file ends before its image does.
    #[error("is a truncated {0}; replace it with an intact copy or remove it")]
    Truncated(&'static str),
    /// The content breaks its format's rules.
    #[error("is a damaged {format} ({message}); replace it with an intact copy or remove it")]
    Damaged {
        /// The format's name.
        format: &'static str,
        /// The decoder's message.
        message: String,
    },
    /// A valid file of an unsupported kind.
    #[error(
        "is a {format} of an unsupported kind ({message}); convert it to JPEG or PNG, or \
         remove it"
    )]
    Unsupported {
        /// The format's name.
        format: &'static str,
        /// The kind.
        message: String,
    },
    /// The decoder panicked.
    #[error(
        "made the {format} decoder panic ({message}) and is probably damaged; save it again or \
         remove it"
    )]
    Panicked {
        /// The format's name.
        format: &'static str,
        /// The panic's message.
        message: String,
    },
}

/// Reads and decodes a file.
///
/// # Errors
///
/// If the file cannot be read, or is not an image that `options` allow.
pub fn decode(path: &Path, options: &DecodeOptions) -> Result<RgbImage, DecodeError> {
    decode_file(path, options).map(|decoded| decoded.image)
}

/// Reads and decodes a file, and reports how it was decoded.
///
/// # Errors
///
/// If the file cannot be read, or is not an image that `options` allow.
pub fn decode_file(path: &Path, options: &DecodeOptions) -> Result<Decoded, DecodeError> {
    let bytes = file::read(path, options.max_pixels)?;
    decode_bytes(&bytes, options).map_err(|reason| DecodeError { path: path.to_path_buf(), reason })
}

/// Decodes a file's bytes; see [`decode_file`].
///
/// # Errors
///
/// If the bytes are not an image that `options` allow.
pub fn decode_bytes(bytes: &[u8], options: &DecodeOptions) -> Result<Decoded, DecodeReason> {
    let format = Format::of(bytes)?;
    let name = format.name();
    panics::caught(|| format.decode(bytes, options))
        .unwrap_or_else(|message| Err(DecodeReason::Panicked { format: name, message }))
}

/// Whether a file's metadata rotate or mirror its image (which [`decode_bytes`] then does).
pub(crate) fn is_turned(bytes: &[u8]) -> bool {
    let found = panics::caught(|| Format::of(bytes).ok().map(|format| format.orientation(bytes)));
    matches!(found, Ok(Some(orientation)) if orientation != Orientation::NoTransforms)
}

impl Format {
    /// The image's orientation by the file's metadata.
    fn orientation(self, bytes: &[u8]) -> Orientation {
        match self {
            Self::Jpeg => jpeg::orientation(bytes).unwrap_or(Orientation::NoTransforms),
            Self::Png => png::orientation(bytes).unwrap_or(Orientation::NoTransforms),
            Self::WebP => webp::orientation(bytes),
            Self::Tiff => Header::read(bytes)
                .map(|header| orientation::of_tiff(&Directory::read(bytes, header, header.first)))
                .unwrap_or(Orientation::NoTransforms),
            Self::Gif | Self::Bmp | Self::Netpbm | Self::Qoi | Self::Ico | Self::Tga => {
                Orientation::NoTransforms
            }
            // Their containers rotate images, and metadata do not count.
            #[cfg(feature = "heif")]
            Self::Heic | Self::Avif => Orientation::NoTransforms,
        }
    }
}

impl Format {
    fn decode(self, bytes: &[u8], options: &DecodeOptions) -> Result<Decoded, DecodeReason> {
        let reader = Cursor::new(bytes);
        let failed = |error| self.reason(error);
        let max_pixels = options.max_pixels;
        let image = match self {
            Self::Jpeg => return jpeg::decode(bytes, options),
            Self::Png => png::decode(bytes, max_pixels),
            Self::Gif => gif::decode(bytes, max_pixels),
            Self::WebP if webp::is_cut(bytes) => Err(DecodeReason::Truncated(self.name())),
            Self::WebP => {
                self.decode_with(WebPDecoder::new(reader).map_err(failed)?, bytes, max_pixels)
            }
            Self::Bmp => bmp::decode(bytes, max_pixels),
            Self::Qoi => qoi::decode(bytes, max_pixels),
            Self::Ico => ico::decode(bytes, max_pixels),
            Self::Tga => tga::decode(bytes, max_pixels),
            Self::Tiff => tiff::decode(bytes, max_pixels),
            Self::Netpbm => netpbm::decode(bytes, max_pixels),
            #[cfg(feature = "heif")]
            Self::Heic | Self::Avif => heif::decode(self.name(), bytes, max_pixels),
        };
        image.map(|image| Decoded { image, truncated: false, reduction: 1, reducible_side: 0 })
    }

    fn decode_with(
        self,
        mut decoder: impl ImageDecoder,
        bytes: &[u8],
        max_pixels: u64,
    ) -> Result<RgbImage, DecodeReason> {
        let failed = |error| self.reason(error);
        let (width, height) = decoder.dimensions();
        check_size(self.name(), width, height, max_pixels)?;
        let mut limits = image::Limits::default();
        // Up to 16 bytes a pixel for the image itself, and as much again for the decoder's other
        // needs.
        limits.max_alloc = Some(max_pixels.saturating_mul(32).max(1 << 20));
        decoder.set_limits(limits).map_err(failed)?;
        let decoded = DynamicImage::from_decoder(decoder).map_err(failed)?;
        Ok(convert::oriented(convert::to_rgb(decoded, self.name())?, self.orientation(bytes)))
    }

    fn reason(self, error: ImageError) -> DecodeReason {
        let format = self.name();
        match error {
            ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                DecodeReason::Truncated(format)
            }
            ImageError::Unsupported(error) => {
                DecodeReason::Unsupported { format, message: error.to_string() }
            }
            error => DecodeReason::Damaged { format, message: error.to_string() },
        }
    }
}

/// Refuses an image by the size in its header.
fn check_size(
    format: &'static str,
    width: u32,
    height: u32,
    max_pixels: u64,
) -> Result<(), DecodeReason> {
    let (width, height) = (u64::from(width), u64::from(height));
    if width == 0 || height == 0 {
        return Err(DecodeReason::Damaged {
            format,
            message: format!("its size is {width} x {height} pixels"),
        });
    }
    if width * height > max_pixels {
        return Err(DecodeReason::TooLarge { width, height, max_pixels });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stored images are 9 x 6 pixels, and their orientations are 1, 3 or 6.
    #[test]
    fn the_audit_reports_exactly_the_rotated_images() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/orientation");
        let half_turned =
            ["two_xmp_6_3.jpg", "imagemagick_6_3.png", "imagemagick_beside_chunk.png"];
        let mut turned = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let image = decode_bytes(&bytes, &DecodeOptions::default()).unwrap().image;
            let expected = image.width == 6 || half_turned.iter().any(|name| path.ends_with(name));
            assert_eq!(is_turned(&bytes), expected, "{}", path.display());
            turned += u32::from(expected);
        }
        assert!(turned >= 27, "{turned} files are turned");
    }
}
