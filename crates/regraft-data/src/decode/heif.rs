//! HEIC and AVIF, decoded by the C++ library libheif (feature `heif`).
//!
//! libheif rotates and mirrors an image as its container says. EXIF orientation does not count in
//! these formats (ISO/IEC 23008-12, 7.2.1), and neither pillow-heif nor Pillow applies it. Only the
//! primary image is read, without thumbnails, depth maps or other frames. The build of libheif
//! determines which codecs are available.

use std::sync::LazyLock;

use libheif_rs::{
    ColorSpace, DecodingOptions, HeifContext, HeifError, HeifErrorCode, HeifErrorSubCode, LibHeif,
    RgbChroma,
};

use super::{DecodeReason, check_size, convert};
use crate::RgbImage;

/// Loads libheif's plugins once. They stay loaded as long as a handle exists.
static LIBRARY: LazyLock<LibHeif> = LazyLock::new(LibHeif::new);

pub fn decode(
    format: &'static str,
    bytes: &[u8],
    max_pixels: u64,
) -> Result<RgbImage, DecodeReason> {
    let library = &*LIBRARY;
    let failed = |error| reason(format, error);
    let damaged = |message: &str| DecodeReason::Damaged { format, message: message.to_owned() };
    let mut context = HeifContext::read_from_bytes(bytes).map_err(failed)?;
    // Files are already decoded in parallel.
    context.set_max_decoding_threads(0);
    let handle = context.primary_image_handle().map_err(failed)?;
    check_size(format, handle.width(), handle.height(), max_pixels)?;
    let mut options = DecodingOptions::new().ok_or_else(|| damaged("there is no memory for it"))?;
    // Otherwise libheif makes up missing pixels.
    options.set_strict_decoding(true);
    // libheif rounds 10 and 12 bits to 8, and repeats chroma samples that cover several pixels, as
    // it does for pillow-heif. Its interpolation is no closer to libavif's, with which Pillow reads
    // AVIF (a difference of up to 129 instead of 80 levels in `plain.avif` of the tests).
    let has_alpha = handle.has_alpha_channel();
    let chroma = if has_alpha { RgbChroma::Rgba } else { RgbChroma::Rgb };
    let image = library.decode(&handle, ColorSpace::Rgb(chroma), Some(options)).map_err(failed)?;
    let plane = image.planes().interleaved.ok_or_else(|| damaged("it has no pixels"))?;
    check_size(format, plane.width, plane.height, max_pixels)?;
    let row_length = plane.width as usize * if has_alpha { 4 } else { 3 };
    let mut pixels = Vec::with_capacity(row_length * plane.height as usize);
    for row in plane.data.chunks(plane.stride.max(1)).take(plane.height as usize) {
        pixels
            .extend_from_slice(row.get(..row_length).ok_or_else(|| damaged("a row is too short"))?);
    }
    if pixels.len() != row_length * plane.height as usize {
        return Err(damaged("it has too few rows"));
    }
    if has_alpha && handle.is_premultiplied_alpha() {
        pixels.chunks_exact_mut(4).for_each(convert::divide_by_alpha);
    }
    let pixels = if has_alpha { convert::rgba_on_white(&pixels) } else { pixels };
    Ok(RgbImage { width: plane.width, height: plane.height, pixels })
}

fn reason(format: &'static str, error: HeifError) -> DecodeReason {
    match (error.code, error.sub_code) {
        (_, HeifErrorSubCode::EndOfData) => DecodeReason::Truncated(format),
        (
            HeifErrorCode::UnsupportedFileType
            | HeifErrorCode::UnsupportedFeature
            | HeifErrorCode::PluginLoadingError,
            _,
        ) => {
            // Usually a codec that libheif was built without.
            DecodeReason::Unsupported {
                format,
                message: format!("libheif says: {}", error.message),
            }
        }
        _ => DecodeReason::Damaged { format, message: format!("libheif says: {}", error.message) },
    }
}
