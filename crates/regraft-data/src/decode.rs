//! A file's bytes to 8-bit RGB pixels.
//!
//! The format is read from the content, never from the file's name: JPEG, PNG, GIF (first frame), WebP (first frame), BMP and
//! TIFF (first page). EXIF orientation is applied; alpha is composited on white; grey, palette, 16-bit and CMYK are converted as
//! Pillow converts them. A decoder's panic is that file's error, not the program's.

mod convert;
mod jpeg;
mod panics;
mod png;

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::codecs::{bmp::BmpDecoder, gif::GifDecoder, tiff::TiffDecoder, webp::WebPDecoder};
use image::{DynamicImage, ImageDecoder, ImageError};

use crate::RgbImage;

/// The most pixels a picture may have unless the caller says otherwise: Pillow's limit against decompression bombs, twice
/// `1024^3 / 4 / 3`.
pub const DEFAULT_MAX_PIXELS: u64 = 178_956_970;

/// A file that is no readable picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct DecodeError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: DecodeReason,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeReason {
    /// The file could not be read.
    #[error("cannot be read ({0}): check that it exists and that you may read it")]
    Unreadable(String),
    /// The file holds no byte.
    #[error("is empty: remove it or replace it by an intact copy")]
    Empty,
    /// The content is of no format that can be decoded.
    #[error("is not a JPEG, PNG, GIF, WebP, BMP or TIFF picture but {0}: convert it to JPEG or PNG, or remove it")]
    NotAPicture(&'static str),
    /// The header announces more pixels than allowed.
    #[error("announces {width} x {height} pixels, more than the {max_pixels} allowed: make it smaller, or remove it")]
    TooLarge {
        /// Width in pixels.
        width: u64,
        /// Height in pixels.
        height: u64,
        /// The limit in pixels.
        max_pixels: u64,
    },
    /// The file ends before its picture does.
    #[error("is a truncated {0}: replace it by an intact copy, or remove it")]
    Truncated(&'static str),
    /// The content breaks its format's rules.
    #[error("is a damaged {format} ({message}): replace it by an intact copy, or remove it")]
    Damaged {
        /// The format's name.
        format: &'static str,
        /// What the decoder said.
        message: String,
    },
    /// A variant of the format that is not decoded.
    #[error("is a {format} of a kind that is not supported ({message}): convert it to plain JPEG or PNG, or remove it")]
    Unsupported {
        /// The format's name.
        format: &'static str,
        /// What the decoder said.
        message: String,
    },
    /// The decoder broke down.
    #[error("made the {format} decoder panic ({message}): it is most likely damaged; save it anew, or remove it")]
    Panicked {
        /// The format's name.
        format: &'static str,
        /// The panic's message.
        message: String,
    },
}

/// Reads and decodes a file. Pictures of more than `max_pixels` pixels ([`DEFAULT_MAX_PIXELS`]) are refused before memory is taken.
///
/// # Errors
///
/// When the file cannot be read or is no picture that can be decoded whole.
pub fn decode(path: &Path, max_pixels: u64) -> Result<RgbImage, DecodeError> {
    std::fs::read(path)
        .map_err(|error| DecodeReason::Unreadable(error.to_string()))
        .and_then(|bytes| decode_bytes(&bytes, max_pixels))
        .map_err(|reason| DecodeError { path: path.to_path_buf(), reason })
}

/// Decodes a file's bytes; see [`decode`].
///
/// # Errors
///
/// When the bytes are no picture that can be decoded whole.
pub fn decode_bytes(bytes: &[u8], max_pixels: u64) -> Result<RgbImage, DecodeReason> {
    let format = Format::of(bytes)?;
    let name = format.name();
    if let Some((width, height)) = format.early_size(bytes) {
        check_size(name, width, height, max_pixels)?;
    }
    panics::caught(|| format.decode(bytes, max_pixels))
        .unwrap_or_else(|message| Err(DecodeReason::Panicked { format: name, message }))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Jpeg,
    Png,
    Gif,
    WebP,
    Bmp,
    Tiff,
}

impl Format {
    fn of(bytes: &[u8]) -> Result<Self, DecodeReason> {
        let is_box =
            |brands: &[&[u8]]| bytes.get(4..8) == Some(b"ftyp") && brands.iter().any(|&brand| bytes.get(8..12) == Some(brand));
        match bytes {
            [] => Err(DecodeReason::Empty),
            [0xFF, 0xD8, 0xFF, ..] => Ok(Self::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Ok(Self::Png),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Ok(Self::Gif),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Self::WebP),
            [b'B', b'M', ..] => Ok(Self::Bmp),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Ok(Self::Tiff),
            _ => Err(DecodeReason::NotAPicture(match bytes {
                _ if is_box(&[b"avif", b"avis"]) => "an AVIF picture",
                _ if is_box(&[b"heic", b"heix", b"mif1", b"msf1", b"heim"]) => "an HEIC picture",
                _ if is_box(&[b"crx "]) => "a camera's raw file",
                [0xFF, 0x0A, ..] | [0, 0, 0, 12, b'J', b'X', b'L', ..] => "a JPEG XL picture",
                [0xFF, 0x4F, 0xFF, 0x51, ..] | [0, 0, 0, 12, b'j', b'P', ..] => "a JPEG 2000 picture",
                [b'P', b'1'..=b'7', b' ' | b'\n' | b'\r' | b'\t', ..] => "a netpbm (PBM, PGM, PPM) picture",
                [b'%', b'P', b'D', b'F', ..] => "a PDF document",
                [b'P', b'K', 3, 4, ..] => "a ZIP archive",
                _ if bytes.iter().all(|&byte| byte == 0) => "a file of zeros only",
                _ if bytes.trim_ascii_start().starts_with(b"<") => "a web page, SVG or XML text (a download that failed?)",
                _ => "something else",
            })),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Gif => "GIF",
            Self::WebP => "WebP",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
        }
    }

    /// Width and height as the header has them, of the formats whose decoders read on, or judge by a limit of their own, before they
    /// tell.
    fn early_size(self, bytes: &[u8]) -> Option<(u32, u32)> {
        let half = |place: usize| Some(u16::from_le_bytes(*bytes.get(place..)?.first_chunk()?));
        let whole = |place: usize| Some(i32::from_le_bytes(*bytes.get(place..)?.first_chunk()?).unsigned_abs());
        match self {
            Self::Gif => Some((u32::from(half(6)?), u32::from(half(8)?))),
            // The oldest of the bitmap headers has 12 bytes and 16-bit sizes; in the others a negative height means top to bottom.
            Self::Bmp if whole(14)? == 12 => Some((u32::from(half(18)?), u32::from(half(20)?))),
            Self::Bmp => Some((whole(18)?, whole(22)?)),
            Self::Jpeg | Self::Png | Self::WebP | Self::Tiff => None,
        }
    }

    fn decode(self, bytes: &[u8], max_pixels: u64) -> Result<RgbImage, DecodeReason> {
        let reader = Cursor::new(bytes);
        let failed = |error| self.reason(error);
        match self {
            Self::Jpeg => jpeg::decode(bytes, max_pixels),
            Self::Png => png::decode(bytes, max_pixels),
            Self::Gif => self.decode_with(GifDecoder::new(reader).map_err(failed)?, max_pixels),
            Self::WebP => self.decode_with(WebPDecoder::new(reader).map_err(failed)?, max_pixels),
            Self::Bmp => self.decode_with(BmpDecoder::new(reader).map_err(failed)?, max_pixels),
            Self::Tiff => self.decode_with(TiffDecoder::new(reader).map_err(failed)?, max_pixels),
        }
    }

    fn decode_with(self, mut decoder: impl ImageDecoder, max_pixels: u64) -> Result<RgbImage, DecodeReason> {
        let failed = |error| self.reason(error);
        let (width, height) = decoder.dimensions();
        check_size(self.name(), width, height, max_pixels)?;
        let mut limits = image::Limits::default();
        // The picture itself at up to 16 bytes a pixel, and as much again for what the decoder needs beside it.
        limits.max_alloc = Some(max_pixels.saturating_mul(32).max(1 << 20));
        decoder.set_limits(limits).map_err(failed)?;
        // Metadata that cannot be read turns no picture: viewers and Pillow show it as it is stored.
        let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
        let decoded = DynamicImage::from_decoder(decoder).map_err(failed)?;
        Ok(convert::oriented(convert::to_rgb(decoded, self.name())?, orientation))
    }

    fn reason(self, error: ImageError) -> DecodeReason {
        let format = self.name();
        match error {
            ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => DecodeReason::Truncated(format),
            ImageError::Unsupported(error) => DecodeReason::Unsupported { format, message: error.to_string() },
            error => DecodeReason::Damaged { format, message: error.to_string() },
        }
    }
}

/// Refuses a picture by the size in its header.
fn check_size(format: &'static str, width: u32, height: u32, max_pixels: u64) -> Result<(), DecodeReason> {
    let (width, height) = (u64::from(width), u64::from(height));
    if width == 0 || height == 0 {
        return Err(DecodeReason::Damaged { format, message: format!("its size is {width} x {height} pixels") });
    }
    if width * height > max_pixels {
        return Err(DecodeReason::TooLarge { width, height, max_pixels });
    }
    Ok(())
}
