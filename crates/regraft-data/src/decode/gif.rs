//! GIF: the first frame on its screen, placed as in Pillow.

use weezl::BitOrder;
use weezl::decode::Configuration;

use super::directory::Order;
use super::{DecodeReason, check_size, convert, lzw};
use crate::RgbImage;

const TRUNCATED: DecodeReason = DecodeReason::Truncated("GIF");
/// Bytes of the header, which has the screen's size.
const HEADER: usize = 13;

/// A frame's position and the meaning of its pixels.
struct Frame<'a> {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    is_interlaced: bool,
    table: Option<&'a [[u8; 3]]>,
    transparent: Option<u8>,
}

pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<RgbImage, DecodeReason> {
    let mut reader = Reader(bytes);
    let header = reader.take(HEADER)?;
    let [width, height] =
        [6, 8].map(|place| usize::from(Order::Little.u16(&header[place..]).unwrap_or(0)));
    let check =
        |width: usize, height: usize| check_size("GIF", width as u32, height as u32, max_pixels);
    check(width, height)?;
    let table = reader.table(header[10])?;
    let frame = reader.frame(table)?;
    // If a frame extends beyond the screen, it enlarges the screen.
    let (width, height) =
        (width.max(frame.left + frame.width), height.max(frame.top + frame.height));
    check(width, height)?;
    check(frame.width, frame.height)?;
    let indices = reader.indices(frame.width * frame.height)?;

    let colour = |index: u8| {
        let [red, green, blue] = match frame.table {
            Some(table) => table.get(usize::from(index)).copied().unwrap_or_default(),
            // Without a table, the indices are levels of grey.
            None => [index; 3],
        };
        [red, green, blue, if frame.transparent == Some(index) { 0 } else { 255 }]
    };
    // Around the frame, the screen is transparent or has the first colour of the table.
    let around = frame.transparent.map_or(colour(0), colour);
    let mut screen = vec![around; width * height];
    for (row, y) in indices.chunks_exact(frame.width).zip(frame.rows()) {
        let start = (frame.top + y) * width + frame.left;
        screen[start..start + frame.width]
            .iter_mut()
            .zip(row)
            .for_each(|(pixel, &index)| *pixel = colour(index));
    }
    let pixels = convert::rgba_on_white(screen.as_flattened());
    Ok(RgbImage { width: width as u32, height: height as u32, pixels })
}

impl Frame<'_> {
    /// The rows in the order in which they are stored.
    fn rows(&self) -> impl Iterator<Item = usize> {
        let passes: &[(usize, usize)] =
            if self.is_interlaced { &[(0, 8), (4, 8), (2, 4), (1, 2)] } else { &[(0, 1)] };
        let height = self.height;
        passes.iter().flat_map(move |&(start, step)| (start..height).step_by(step))
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeReason> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A colour table, if the flags announce one.
    fn table(&mut self, flags: u8) -> Result<Option<&'a [[u8; 3]]>, DecodeReason> {
        if flags & 0x80 == 0 {
            return Ok(None);
        }
        self.take(3 << ((flags & 7) + 1)).map(|table| Some(table.as_chunks().0))
    }

    /// A block of data; empty at the end of a series.
    fn block(&mut self) -> Result<&'a [u8], DecodeReason> {
        let length = usize::from(self.take(1)?[0]);
        self.take(length)
    }

    /// Reads up to the pixels of the first frame.
    fn frame(&mut self, screen_table: Option<&'a [[u8; 3]]>) -> Result<Frame<'a>, DecodeReason> {
        let mut transparent = None;
        loop {
            match self.take(1)?[0] {
                b'!' => {
                    let label = self.take(1)?[0];
                    let mut block = self.block()?;
                    if let (0xF9, &[flags, _, _, index, ..]) = (label, block)
                        && flags & 1 != 0
                    {
                        transparent = Some(index);
                    }
                    while !block.is_empty() {
                        block = self.block()?;
                    }
                }
                b',' => {
                    let header = self.take(9)?;
                    let [left, top, width, height] = [0, 2, 4, 6]
                        .map(|place| usize::from(Order::Little.u16(&header[place..]).unwrap_or(0)));
                    let is_interlaced = header[8] & 0x40 != 0;
                    let table = self.table(header[8])?.or(screen_table);
                    return Ok(Frame {
                        left,
                        top,
                        width,
                        height,
                        is_interlaced,
                        table,
                        transparent,
                    });
                }
                b';' => return Err(damaged("it has no frame")),
                // Pillow skips bytes between blocks.
                _ => {}
            }
        }
    }

    /// The indices of the pixels that follow.
    fn indices(&mut self, count: usize) -> Result<Vec<u8>, DecodeReason> {
        let bits = self.take(1)?[0];
        if !(1..=11).contains(&bits) {
            return Err(damaged(&format!("its codes begin with {bits} bits")));
        }
        let mut codes = Vec::new();
        // If all pixels are there, it does not matter that the rest of the file is missing.
        let short = loop {
            match self.block() {
                Ok([]) => break damaged("it has fewer pixels than its size says"),
                Ok(block) => codes.extend(block),
                Err(reason) => break reason,
            }
        };
        let indices = lzw::decode(&codes, Configuration::new(BitOrder::Lsb, bits), count);
        indices.map_err(|message| damaged(&message))?.ok_or(short)
    }
}

fn damaged(message: &str) -> DecodeReason {
    DecodeReason::Damaged { format: "GIF", message: message.to_owned() }
}
