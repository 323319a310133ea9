//! Windows icons: the largest frame, chosen as in Pillow.

use super::bmp::Bitmap;
use super::directory::Order;
use super::{DecodeReason, check_size, convert, png};
use crate::RgbImage;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Bytes of the header, and of an entry in the list of frames behind it.
const HEADER: usize = 6;
const ENTRY: usize = 16;

/// A frame's entry in the list.
struct Frame {
    pixels: u32,
    bits: u32,
    length: usize,
    start: usize,
}

/// Whether a file is an icon. Its magic number has only two bytes that are not zero, so the list of
/// frames is checked too.
pub fn is_one(bytes: &[u8]) -> bool {
    let [0, 0, 1, 0, ..] = bytes else { return false };
    frames(bytes).is_some_and(|frames| {
        frames.iter().any(|frame| frame.start >= HEADER + ENTRY && frame.length > 0)
    })
}

pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<RgbImage, DecodeReason> {
    let mut frames = frames(bytes).ok_or(DecodeReason::Truncated("Windows icon"))?;
    // Of frames of the same size, Pillow takes the one with the fewest colours.
    frames.sort_by_key(|frame| (std::cmp::Reverse(frame.pixels), frame.bits));
    let frame = frames.first().ok_or_else(|| damaged("it has no frame"))?;
    let stored = bytes.get(frame.start..).ok_or(DecodeReason::Truncated("Windows icon"))?;
    if stored.starts_with(PNG) {
        return png::decode(stored, max_pixels);
    }
    let mut bitmap = Bitmap::read(bytes, frame.start, None).map_err(as_icon)?;
    // A mask of the same size follows below the colours.
    bitmap.height /= 2;
    check_size("Windows icon", bitmap.width, bitmap.height, max_pixels)?;
    let mut pixels = bitmap.rgba(bytes).map_err(as_icon)?;
    let (width, height) = (bitmap.width as usize, bitmap.height as usize);
    let rows = pixels.chunks_exact_mut(width * 4).rev();
    if frame.bits == 32 {
        let alpha = bytes.get(bitmap.start..).and_then(|stored| stored.get(..width * height * 4));
        let alpha = alpha.ok_or(DecodeReason::Truncated("Windows icon"))?;
        for (row, alpha) in rows.zip(alpha.chunks_exact(width * 4)) {
            row.as_chunks_mut::<4>()
                .0
                .iter_mut()
                .zip(alpha.as_chunks::<4>().0)
                .for_each(|(pixel, alpha)| pixel[3] = alpha[3]);
        }
    } else {
        let stride = width.div_ceil(32) * 4;
        let end = frame.start.saturating_add(frame.length);
        let mask = end.checked_sub(stride * height).and_then(|start| bytes.get(start..end));
        let mask = mask.ok_or(DecodeReason::Truncated("Windows icon"))?;
        for (row, mask) in rows.zip(mask.chunks_exact(stride)) {
            for (x, pixel) in row.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                pixel[3] = if mask[x / 8] << (x % 8) & 0x80 == 0 { 255 } else { 0 };
            }
        }
    }
    Ok(RgbImage {
        width: bitmap.width,
        height: bitmap.height,
        pixels: convert::rgba_on_white(&pixels),
    })
}

fn frames(bytes: &[u8]) -> Option<Vec<Frame>> {
    let count = usize::from(Order::Little.u16(bytes.get(4..)?)?);
    let list = bytes.get(HEADER..HEADER + ENTRY * count)?;
    let frame = |entry: &[u8]| {
        let side = |place: usize| if entry[place] == 0 { 256 } else { u32::from(entry[place]) };
        let number =
            |place: usize| Order::Little.u32(&entry[place..]).map(|number| number as usize);
        let stated = u32::from(Order::Little.u16(&entry[6..])?);
        let bits = match (stated, entry[2]) {
            (0, 0) => 256,
            (0, colours) => u32::from(colours).next_power_of_two().trailing_zeros(),
            (bits, _) => bits,
        };
        Some(Frame { pixels: side(0) * side(1), bits, length: number(8)?, start: number(12)? })
    };
    list.chunks_exact(ENTRY).map(frame).collect()
}

/// Turns a frame's error into one of the icon.
fn as_icon(reason: DecodeReason) -> DecodeReason {
    match reason {
        DecodeReason::Truncated(_) => DecodeReason::Truncated("Windows icon"),
        DecodeReason::Unsupported { message, .. } => {
            DecodeReason::Unsupported { format: "Windows icon", message }
        }
        reason => reason,
    }
}

fn damaged(message: &str) -> DecodeReason {
    DecodeReason::Damaged { format: "Windows icon", message: message.to_owned() }
}
