//! Truevision TGA, as Pillow reads it.

use super::directory::Order;
use super::{DecodeReason, check_size, convert};
use crate::RgbImage;

const HEADER: usize = 18;
/// The end of a file of the format's second version: two offsets, and this.
const FOOTER: &[u8] = b"TRUEVISION-XFILE.\0";
/// The offset of alpha's meaning in the extension area.
const ALPHA_MEANING: usize = 494;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colour {
    Palette,
    Rgb,
    Grey,
}

struct Header {
    colour: Colour,
    has_run_lengths: bool,
    width: u32,
    height: u32,
    /// Bytes of a pixel.
    size: usize,
    is_top_down: bool,
    is_mirrored: bool,
    /// The start of the palette; its first index, its length and the bytes of a colour.
    palette_start: usize,
    palette: [usize; 3],
}

impl Header {
    /// The format has no magic number, so each field must have a plausible value.
    fn read(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER] = bytes.first_chunk()?;
        let half = |place: usize| Order::Little.u16(&header[place..]).unwrap_or(0);
        let [has_palette, kind, palette_bits, depth, flags] =
            [1, 2, 7, 16, 17].map(|place| header[place]);
        let colour = match kind {
            1 | 9 => Colour::Palette,
            2 | 10 => Colour::Rgb,
            3 | 11 => Colour::Grey,
            _ => return None,
        };
        let depths: &[u8] = match colour {
            Colour::Palette => &[8],
            Colour::Rgb => &[16, 24, 32],
            Colour::Grey => &[8, 16],
        };
        let palette = [half(3), half(5), u16::from(palette_bits) / 8].map(usize::from);
        let palette_fits = match colour {
            Colour::Palette => {
                has_palette == 1 && palette[1] > 0 && matches!(palette_bits, 16 | 24 | 32)
            }
            _ => has_palette == 0 && palette == [0; 3],
        };
        let (width, height) = (u32::from(half(12)), u32::from(half(14)));
        // The lower half of the flags is the number of alpha bits; the highest two bits have no
        // meaning.
        let fits = palette_fits
            && depths.contains(&depth)
            && flags & 0xC0 == 0
            && matches!(flags & 15, 0 | 1 | 8);
        (fits && width > 0 && height > 0).then_some(Self {
            colour,
            has_run_lengths: kind & 8 != 0,
            width,
            height,
            size: usize::from(depth) / 8,
            is_top_down: flags & 0x20 != 0,
            is_mirrored: flags & 0x10 != 0,
            palette_start: HEADER + usize::from(header[0]),
            palette,
        })
    }
}

/// Whether a file's header is one of this format.
pub fn is_one(bytes: &[u8]) -> bool {
    Header::read(bytes).is_some()
}

pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<RgbImage, DecodeReason> {
    let truncated = || DecodeReason::Truncated("TGA");
    let header = Header::read(bytes).ok_or_else(truncated)?;
    check_size("TGA", header.width, header.height, max_pixels)?;
    let [first, length, colour_size] = header.palette;
    let (stored_palette, stored) = bytes
        .get(header.palette_start..)
        .and_then(|rest| rest.split_at_checked(length * colour_size))
        .ok_or_else(truncated)?;
    let (width, height) = (header.width as usize, header.height as usize);
    let stored = if header.has_run_lengths {
        run_lengths(stored, header.size, width * height).ok_or_else(truncated)?
    } else {
        stored.get(..width * height * header.size).ok_or_else(truncated)?.to_vec()
    };
    let palette: Vec<[u8; 4]> = match header.colour {
        Colour::Palette => vec![[0; 4]; first]
            .into_iter()
            .chain(stored_palette.chunks_exact(colour_size).map(rgba))
            .collect(),
        _ => Vec::new(),
    };
    let mut pixels: Vec<[u8; 4]> = stored
        .chunks_exact(header.size)
        .map(|pixel| match (header.colour, pixel) {
            (Colour::Palette, &[index, ..]) => {
                palette.get(usize::from(index)).copied().unwrap_or([0, 0, 0, 255])
            }
            (Colour::Grey, &[level, alpha]) => [level, level, level, alpha],
            (Colour::Grey, &[level, ..]) => [level, level, level, 255],
            (_, pixel) => rgba(pixel),
        })
        .collect();
    if header.colour == Colour::Rgb && says_alpha_is_none(bytes) {
        pixels.iter_mut().for_each(|pixel| pixel[3] = 255);
    }
    let mut lines: Vec<&mut [[u8; 4]]> = pixels.chunks_exact_mut(width).collect();
    if !header.is_top_down {
        lines.reverse();
    }
    if header.is_mirrored {
        lines.iter_mut().for_each(|line| line.reverse());
    }
    let pixels: Vec<u8> = lines.iter().flat_map(|line| line.as_flattened()).copied().collect();
    Ok(RgbImage {
        width: header.width,
        height: header.height,
        pixels: convert::rgba_on_white(&pixels),
    })
}

/// A colour of two, three or four bytes, blue first. In two bytes, the highest bit is set if the
/// pixel is transparent.
fn rgba(stored: &[u8]) -> [u8; 4] {
    match *stored {
        [low, high] => {
            let value = u16::from_le_bytes([low, high]);
            let level = |shift: u16| ((value >> shift & 31) * 255 / 31) as u8;
            [level(10), level(5), level(0), if value >> 15 == 0 { 255 } else { 0 }]
        }
        [blue, green, red] => [red, green, blue, 255],
        [blue, green, red, alpha, ..] => [red, green, blue, alpha],
        _ => [0; 4],
    }
}

/// Whether the extension area states that there is no alpha, whatever the pixels contain.
fn says_alpha_is_none(bytes: &[u8]) -> bool {
    let Some(footer) = bytes.strip_suffix(FOOTER) else { return false };
    let offset = footer
        .len()
        .checked_sub(8)
        .and_then(|place| Order::Little.u32(&footer[place..]))
        .unwrap_or(0) as usize;
    offset > 0 && bytes.get(offset.saturating_add(ALPHA_MEANING)) == Some(&0)
}

/// Packets of up to 128 pixels: one repeated pixel, or pixels one by one.
fn run_lengths(mut stored: &[u8], size: usize, count: usize) -> Option<Vec<u8>> {
    let length = count * size;
    let mut pixels = Vec::with_capacity(length.min(stored.len().saturating_mul(128)));
    while pixels.len() < length {
        let (&packet, rest) = stored.split_first()?;
        let run = usize::from(packet & 0x7F) + 1;
        let (content, rest) =
            rest.split_at_checked(if packet & 0x80 == 0 { run * size } else { size })?;
        if packet & 0x80 == 0 {
            pixels.extend(content);
        } else {
            (0..run).for_each(|_| pixels.extend(content));
        }
        stored = rest;
    }
    pixels.truncate(length);
    Some(pixels)
}
