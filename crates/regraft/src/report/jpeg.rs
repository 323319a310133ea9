//! Images for a page.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;

/// Quality of a JPEG, from 1 to 100.
const QUALITY: u8 = 80;

/// Levels `[height, width, 3]` as a JPEG in base 64; `None` if the size is not theirs, or 0.
pub(crate) fn jpeg(pixels: &[u8], width: u32, height: u32) -> Option<String> {
    let mut file = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut file, QUALITY);
    let colours = image::ExtendedColorType::Rgb8;
    if pixels.len() as u64 != u64::from(width) * u64::from(height) * 3 {
        return None;
    }
    image::ImageEncoder::write_image(encoder, pixels, width, height, colours).ok()?;
    Some(STANDARD.encode(file))
}
