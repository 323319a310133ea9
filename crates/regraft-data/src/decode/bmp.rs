//! Windows and OS/2 bitmaps, as Pillow reads them. The frames of icons are bitmaps too.

use super::directory::Order;
use super::{DecodeReason, check_size, convert};
use crate::RgbImage;

/// The lengths of all known headers: OS/2 1 and 2, Windows 3, and its later versions.
pub const HEADERS: [u32; 8] = [12, 16, 40, 52, 56, 64, 108, 124];
/// Bytes of the file header, which precedes the bitmap's header.
const FILE_HEADER: usize = 14;

pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<RgbImage, DecodeReason> {
    let stated = number(bytes, 10)? as usize;
    let bitmap = Bitmap::read(bytes, FILE_HEADER, Some(stated).filter(|&stated| stated > 0))?;
    check_size("BMP", bitmap.width, bitmap.height, max_pixels)?;
    let pixels = bitmap.rgba(bytes)?;
    let pixels = if bitmap.has_alpha() {
        convert::rgba_on_white(&pixels)
    } else {
        convert::without_alpha(&pixels)
    };
    Ok(RgbImage { width: bitmap.width, height: bitmap.height, pixels })
}

/// The header of a bitmap.
#[derive(Clone, Debug)]
pub struct Bitmap {
    pub width: u32,
    pub height: u32,
    is_top_down: bool,
    bits: usize,
    coding: Coding,
    /// Red, green and blue of each index.
    palette: Vec<[u8; 3]>,
    /// The bits of red, green, blue and alpha in a pixel of 16, 24 or 32 bits; 0 if there is no
    /// alpha.
    masks: [u32; 4],
    /// The start of the pixels.
    pub start: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Plain,
    RunLengths,
}

impl Bitmap {
    /// Reads the header at `place`. The pixels begin at `start` if it is given, otherwise behind
    /// the palette.
    pub fn read(bytes: &[u8], place: usize, start: Option<usize>) -> Result<Self, DecodeReason> {
        let length = number(bytes, place)?;
        if !HEADERS.contains(&length) {
            return Err(unsupported(&format!("a header of {length} bytes")));
        }
        let field = |offset: usize| number(bytes, place + offset);
        let half = |offset: usize| short(bytes, place + offset);
        let is_oldest = length == 12;
        let [width, height] =
            if is_oldest { [half(4)?, half(6)?].map(u32::from) } else { [field(4)?, field(8)?] };
        let bits = usize::from(half(if is_oldest { 10 } else { 14 })?);
        let has_more = length >= 40;
        let compression = if has_more { field(16)? } else { 0 };
        let is_top_down = !is_oldest && (height as i32) < 0;
        let stated_colours = if has_more { field(32)? as usize } else { 0 };
        let (coding, with_masks) = match (compression, bits) {
            (4, _) if length == 64 => return Err(unsupported("run lengths of 24 bits")),
            (4, _) => return Err(unsupported("a JPEG inside")),
            (5, _) => return Err(unsupported("a PNG inside")),
            (_, bits) if !matches!(bits, 1 | 2 | 4 | 8 | 16 | 24 | 32) => {
                return Err(unsupported(&format!("{bits} bits a pixel")));
            }
            (0, _) => (Coding::Plain, false),
            (1, 8) | (2, 4) => (Coding::RunLengths, false),
            // OS/2 uses the number 3 for another compression.
            (3 | 6, 16 | 24 | 32) if length != 64 => (Coding::Plain, true),
            (3, _) if length == 64 => return Err(unsupported("fax compression")),
            (11..=13, _) => return Err(unsupported("CMYK")),
            (number, bits) => {
                return Err(unsupported(&format!("compression {number} of {bits} bits a pixel")));
            }
        };
        let colours = if stated_colours == 0 && bits <= 8 { 1 << bits } else { stated_colours };
        // Masks are part of the later headers, or follow the oldest header that may have them.
        let mut palette_start = place + length as usize;
        let masks = if with_masks {
            let mask = |index: usize| number(bytes, place + 40 + 4 * index);
            let has_alpha = bits == 32 && (length >= 56 || compression == 6);
            if length == 40 {
                palette_start += if compression == 6 { 16 } else { 12 };
            }
            let alpha = if has_alpha { mask(3)? } else { 0 };
            [mask(0)?, mask(1)?, mask(2)?, alpha]
        } else if bits == 16 {
            [0x7C00, 0x03E0, 0x001F, 0]
        } else {
            [0xFF_0000, 0xFF00, 0xFF, 0]
        };
        // Some programs leave the masks empty and mean these.
        let masks = if masks == [0; 4] && bits == 32 {
            [0xFF_0000, 0xFF00, 0xFF, 0xFF00_0000]
        } else {
            masks
        };
        let colour_length = if is_oldest { 3 } else { 4 };
        let palette: Vec<[u8; 3]> = match bits {
            16.. => Vec::new(),
            _ => {
                let stored = bytes.get(palette_start..).ok_or(DecodeReason::Truncated("BMP"))?;
                let length = colours.min(1 << bits) * colour_length;
                let stored = stored.get(..length).ok_or(DecodeReason::Truncated("BMP"))?;
                stored
                    .chunks_exact(colour_length)
                    .map(|colour| [colour[2], colour[1], colour[0]])
                    .collect()
            }
        };
        let behind = palette_start + colours.saturating_mul(colour_length);
        // Some programs omit the palette if they state the start of the pixels.
        let start = match start {
            Some(start) if bits <= 8 && start == place + length as usize => behind,
            Some(start) => start,
            None => behind,
        };
        let height = if is_top_down { height.wrapping_neg() } else { height };
        Ok(Self { width, height, is_top_down, bits, coding, palette, masks, start })
    }

    pub fn has_alpha(&self) -> bool {
        self.masks[3] != 0
    }

    /// Bytes of a row of pixels: a multiple of four.
    fn stride(&self) -> usize {
        (self.width as usize * self.bits).div_ceil(32) * 4
    }

    /// The pixels as `[height, width, 4]`; alpha is 255 if there is none.
    pub fn rgba(&self, bytes: &[u8]) -> Result<Vec<u8>, DecodeReason> {
        let (width, height) = (self.width as usize, self.height as usize);
        let mut pixels = vec![0; width * height * 4];
        let indices =
            if self.coding == Coding::RunLengths { Some(self.run_lengths(bytes)?) } else { None };
        let stored = bytes.get(self.start..).ok_or(DecodeReason::Truncated("BMP"))?;
        for (y, row) in pixels.chunks_exact_mut(width * 4).enumerate() {
            let line = if self.is_top_down { y } else { height - 1 - y };
            let pixels = row.as_chunks_mut::<4>().0;
            if let Some(indices) = &indices {
                let indices = &indices[line * width..][..width];
                pixels
                    .iter_mut()
                    .zip(indices)
                    .for_each(|(pixel, &index)| *pixel = self.colour(index));
                continue;
            }
            // The padding behind the last row may be missing.
            let length = (width * self.bits).div_ceil(8);
            let line = stored.get(line * self.stride()..).and_then(|line| line.get(..length));
            self.unpack(line.ok_or(DecodeReason::Truncated("BMP"))?, pixels);
        }
        Ok(pixels)
    }

    fn colour(&self, index: u8) -> [u8; 4] {
        let [red, green, blue] = self.palette.get(usize::from(index)).copied().unwrap_or_default();
        [red, green, blue, 255]
    }

    fn unpack(&self, line: &[u8], pixels: &mut [[u8; 4]]) {
        match self.bits {
            16.. => {
                let channels = self.masks.map(Channel::of);
                for (pixel, stored) in pixels.iter_mut().zip(line.chunks_exact(self.bits / 8)) {
                    let value =
                        stored.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte));
                    *pixel = channels.map(|channel| channel.level(value));
                }
            }
            bits => {
                let mask = ((1u16 << bits) - 1) as u8;
                for (x, pixel) in pixels.iter_mut().enumerate() {
                    let place = x * bits;
                    *pixel = self.colour(line[place / 8] >> (8 - bits - place % 8) & mask);
                }
            }
        }
    }

    /// Indices from runs of pixels, in the stored order of rows. As in Pillow, a run that is too
    /// long ends with its row, and skipped pixels and pixels behind the bitmap's end have the index
    /// 0.
    fn run_lengths(&self, bytes: &[u8]) -> Result<Vec<u8>, DecodeReason> {
        let width = self.width as usize;
        let count = width * self.height as usize;
        let mut indices = Vec::with_capacity(count);
        let mut place = self.start;
        let byte = |place: usize| bytes.get(place).copied().ok_or(DecodeReason::Truncated("BMP"));
        let mut x = 0;
        while indices.len() < count {
            let [first, second] = [byte(place)?, byte(place + 1)?];
            place += 2;
            let halves = |byte: u8| [byte >> 4, byte & 15];
            match (first, second) {
                (0, 0) => {
                    indices.resize(indices.len().next_multiple_of(width), 0);
                    x = 0;
                }
                (0, 1) => break,
                (0, 2) => {
                    let passed = usize::from(byte(place)?) + usize::from(byte(place + 1)?) * width;
                    place += 2;
                    indices.resize((indices.len() + passed).min(count), 0);
                    x = indices.len() % width;
                }
                (0, run) => {
                    let run = usize::from(run).min(count - indices.len());
                    let stored = if self.bits == 4 { run.div_ceil(2) } else { run };
                    let part =
                        bytes.get(place..place + stored).ok_or(DecodeReason::Truncated("BMP"))?;
                    match self.bits {
                        4 => indices.extend(part.iter().flat_map(|&byte| halves(byte)).take(run)),
                        _ => indices.extend(part),
                    }
                    x += run;
                    place = (place + stored).next_multiple_of(2);
                }
                (run, index) => {
                    let run = usize::from(run).min(width.saturating_sub(x));
                    let pair = if self.bits == 4 { halves(index) } else { [index; 2] };
                    indices.extend(pair.into_iter().cycle().take(run));
                    x += run;
                }
            }
        }
        indices.resize(count, 0);
        Ok(indices)
    }
}

/// The position of a colour in a pixel.
#[derive(Clone, Copy)]
struct Channel {
    shift: u32,
    most: u32,
}

impl Channel {
    fn of(mask: u32) -> Self {
        let shift = if mask == 0 { 0 } else { mask.trailing_zeros() };
        Self { shift, most: mask >> shift }
    }

    /// The level from 0 to 255, rounded down as in Pillow; 255 if the colour does not exist.
    fn level(self, pixel: u32) -> u8 {
        let value = u64::from(pixel >> self.shift & self.most);
        (value * 255).checked_div(u64::from(self.most)).unwrap_or(255) as u8
    }
}

fn number(bytes: &[u8], place: usize) -> Result<u32, DecodeReason> {
    bytes
        .get(place..)
        .and_then(|bytes| Order::Little.u32(bytes))
        .ok_or(DecodeReason::Truncated("BMP"))
}

fn short(bytes: &[u8], place: usize) -> Result<u16, DecodeReason> {
    bytes
        .get(place..)
        .and_then(|bytes| Order::Little.u16(bytes))
        .ok_or(DecodeReason::Truncated("BMP"))
}

fn unsupported(kind: &str) -> DecodeReason {
    DecodeReason::Unsupported { format: "BMP", message: kind.to_owned() }
}
