//! QOI, the "Quite OK Image Format": <https://qoiformat.org/qoi-specification.pdf>.

use super::directory::Order;
use super::{DecodeReason, check_size, convert};
use crate::RgbImage;

/// Bytes of the header: magic number, width, height, channels and colour space.
const HEADER: usize = 14;
/// The most pixels that one byte of data can encode.
const LONGEST_RUN: usize = 62;

pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<RgbImage, DecodeReason> {
    let truncated = || DecodeReason::Truncated("QOI");
    let (header, mut rest) = bytes.split_at_checked(HEADER).ok_or_else(truncated)?;
    let [width, height] = [4, 8].map(|place| Order::Big.u32(&header[place..]).unwrap_or(0));
    check_size("QOI", width, height, max_pixels)?;
    let count = width as usize * height as usize;
    if rest.len().saturating_mul(LONGEST_RUN) < count {
        return Err(truncated());
    }
    let mut pixels = Vec::with_capacity(count * 4);
    let mut seen = [[0u8; 4]; 64];
    let mut pixel = [0, 0, 0, 255];
    while pixels.len() < count * 4 {
        let (&code, after) = rest.split_first().ok_or_else(truncated)?;
        rest = after;
        let mut run = 1;
        match code {
            0xFE | 0xFF => {
                let channels = if code == 0xFE { 3 } else { 4 };
                let (stored, after) = rest.split_at_checked(channels).ok_or_else(truncated)?;
                pixel[..channels].copy_from_slice(stored);
                rest = after;
            }
            0x00..=0x3F => pixel = seen[usize::from(code)],
            // Differences of two bits each.
            0x40..=0x7F => {
                for (level, shift) in pixel.iter_mut().zip([4, 2, 0]) {
                    *level = level.wrapping_add(code >> shift & 3).wrapping_sub(2);
                }
            }
            // The difference of green, and those of red and blue relative to it.
            0x80..=0xBF => {
                let (&second, after) = rest.split_first().ok_or_else(truncated)?;
                rest = after;
                let green = (code & 0x3F).wrapping_sub(32);
                for (level, difference) in pixel.iter_mut().zip([second >> 4, 8, second & 15]) {
                    *level = level.wrapping_add(green).wrapping_add(difference).wrapping_sub(8);
                }
            }
            0xC0.. => run = usize::from(code & 0x3F) + 1,
        }
        let [red, green, blue, alpha] = pixel.map(usize::from);
        seen[(red * 3 + green * 5 + blue * 7 + alpha * 11) % 64] = pixel;
        for _ in 0..run.min(count - pixels.len() / 4) {
            pixels.extend(pixel);
        }
    }
    // With three channels, alpha is part of the coding but not of the image.
    let pixels = if header[12] == 3 {
        convert::without_alpha(&pixels)
    } else {
        convert::rgba_on_white(&pixels)
    };
    Ok(RgbImage { width, height, pixels })
}
