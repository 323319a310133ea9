//! JPEG data of a strip or tile, whose tables may be stored once for all of them.

use std::borrow::Cow;

use super::super::DecodeOptions;
use super::super::jpeg::{self, Colours};
use super::kinds::Colour;
use super::layout::Layout;
use super::{DecodeReason, damaged};
use crate::RgbImage;

const END: [u8; 2] = [0xFF, 0xD9];

/// Decodes a strip or tile. TIFF's tags, not JPEG's markers, state the colours.
pub fn decode(stored: &[u8], layout: &Layout) -> Result<RgbImage, DecodeReason> {
    let colours = match layout.colour {
        _ if layout.is_planar => Colours::Grey,
        Colour::Rgb => Colours::Rgb,
        Colour::YCbCr => Colours::Ycc,
        Colour::Cmyk => Colours::PlainCmyk,
        Colour::WhiteIsZero | Colour::BlackIsZero | Colour::Palette => Colours::Grey,
    };
    // The end marker may be missing.
    let stored = if stored.ends_with(&END) {
        Cow::Borrowed(stored)
    } else {
        Cow::Owned([stored, &END[..]].concat())
    };
    // Many strips may point to the same data, so a large image in them would take long.
    let options = DecodeOptions { max_pixels: layout.most_pixels(), ..DecodeOptions::default() };
    match jpeg::decode_part(layout.jpeg_tables, &stored, colours, &options) {
        Ok(decoded) => Ok(decoded.image),
        Err(DecodeReason::Unsupported { message, .. }) => {
            Err(DecodeReason::Unsupported { format: "TIFF", message: format!("JPEG: {message}") })
        }
        Err(DecodeReason::Damaged { message, .. }) => Err(damaged(&format!("JPEG: {message}"))),
        Err(DecodeReason::TooLarge { .. }) => {
            Err(damaged("a strip or tile has more pixels than the tags say"))
        }
        Err(DecodeReason::Truncated(_)) => Err(damaged("JPEG data end too early")),
        Err(reason) => Err(reason),
    }
}
