//! JPEG data of a strip or tile, whose tables may be stored once for all of them.

use super::super::{DecodeOptions, jpeg};
use super::layout::{Colour, Layout};
use super::{DecodeReason, damaged};
use crate::RgbImage;

const START: [u8; 2] = [0xFF, 0xD8];

/// Decodes a strip or tile. TIFF's tags, and not the markers of JPEG, say which colours are stored.
pub fn decode(stored: &[u8], layout: &Layout, max_pixels: u64) -> Result<RgbImage, DecodeReason> {
    let mut file = START.to_vec();
    if layout.colour.samples() == 3 && !layout.is_planar {
        file.extend(adobe_marker(layout.colour == Colour::YCbCr));
    }
    file.extend(segments(layout.jpeg_tables).0);
    let (segments, scan) = segments(stored);
    file.extend(segments);
    file.extend(scan);
    // Data that a strip's length cuts off have no end marker.
    if !file.ends_with(&[0xFF, 0xD9]) {
        file.extend([0xFF, 0xD9]);
    }
    // A tile may reach beyond the image.
    let options = DecodeOptions { max_pixels: max_pixels.max(1 << 22), ..DecodeOptions::default() };
    match jpeg::decode(&file, &options) {
        Ok(decoded) => Ok(decoded.image),
        Err(DecodeReason::Unsupported { message, .. }) => {
            Err(DecodeReason::Unsupported { format: "TIFF", message: format!("JPEG: {message}") })
        }
        Err(DecodeReason::Damaged { message, .. }) => Err(damaged(&format!("JPEG: {message}"))),
        Err(DecodeReason::Truncated(_)) => Err(damaged("JPEG data end too early")),
        Err(reason) => Err(reason),
    }
}

/// Adobe's marker, which says whether three components are YCbCr or RGB.
fn adobe_marker(is_ycbcr: bool) -> [u8; 16] {
    let [first, second] = [0xFF, 0xEE];
    [first, second, 0, 14, b'A', b'd', b'o', b'b', b'e', 0, 100, 0, 0, 0, 0, u8::from(is_ycbcr)]
}

/// The segments before the scan, without markers that speak of colours or orientation, and the rest from the scan on.
fn segments(stored: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut kept = Vec::new();
    let mut rest = stored.strip_prefix(&START).unwrap_or(stored);
    while let [0xFF, marker, high, low, ..] = *rest {
        if marker == 0xDA {
            return (kept, rest);
        }
        let length = 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
        let Some((segment, after)) = rest.split_at_checked(length) else { break };
        // Application data and comments.
        if !matches!(marker, 0xE0..=0xEF | 0xFE) {
            kept.extend(segment);
        }
        rest = after;
    }
    (kept, &[])
}
