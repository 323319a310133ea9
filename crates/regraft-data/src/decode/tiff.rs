//! TIFF: the first page, of the kinds that Pillow and libtiff read as 8-bit RGB.
//!
//! We read the container ourselves, because the crate `tiff` supports few of the combinations of
//! planes, tiles, depths, compressions and colours that libtiff reads. [`layout`] reads the tags,
//! [`kinds`] refuses unsupported kinds, [`chunks`] decompresses a strip or tile, [`samples`]
//! converts it to 8 bits, and [`colours`] converts it to RGB.

mod chunks;
mod colours;
mod fax;
mod jpeg_chunks;
mod kinds;
mod layout;
mod samples;

use super::directory::{Directory, Header};
use super::{DecodeReason, check_size, convert, orientation};
use crate::RgbImage;
use kinds::Compression;
use layout::Layout;

/// Decodes the first page and applies the orientation in its tags.
pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<RgbImage, DecodeReason> {
    let header = Header::read(bytes).ok_or(DecodeReason::Truncated("TIFF"))?;
    let directory = Directory::read(bytes, header, header.first);
    let layout = Layout::read(bytes, header, &directory, max_pixels)?;
    let (width, height) = (layout.width as u32, layout.height as u32);
    let image = RgbImage { width, height, pixels: pixels(&layout)? };
    Ok(convert::oriented(image, orientation::of_tiff(&directory)))
}

fn pixels(layout: &Layout) -> Result<Vec<u8>, DecodeReason> {
    let is_jpeg = layout.compression == Compression::Jpeg;
    // Data that are decoded directly to RGB need no conversion of colours.
    let is_rgb =
        !layout.is_planar && (layout.is_subsampled() || is_jpeg && layout.colour.samples() > 1);
    let kept = if is_rgb { 3 } else { layout.kept() };
    let mut canvas =
        Canvas { width: layout.width, kept, levels: vec![0; layout.width * layout.height * kept] };
    for plane in 0..if layout.is_planar { kept } else { 1 } {
        for (number, [left, top]) in layout.chunk_places().enumerate() {
            let number = plane * layout.chunks_of_a_plane() + number;
            let [width, height] = layout.chunk_size(top);
            let inside = [width.min(layout.width - left), height.min(layout.height - top)];
            let part =
                Part { left, top, inside, plane, planes: if layout.is_planar { 1 } else { kept } };
            let stored = layout.chunk(number)?;
            if is_jpeg {
                let image = jpeg_chunks::decode(&stored, layout)?;
                if (image.width as usize) < inside[0] || (image.height as usize) < inside[1] {
                    return Err(damaged("a strip or tile has fewer pixels than the tags say"));
                }
                canvas.put(&part, &image.pixels, image.width as usize, 3);
                continue;
            }
            let Some(data) = chunks::decompress(&stored, layout, [width, height])? else {
                let reason = damaged("a strip or tile holds fewer pixels than the tags say");
                return Err(if layout.reaches_the_end(number) {
                    DecodeReason::Truncated("TIFF")
                } else {
                    reason
                });
            };
            if layout.is_subsampled() {
                canvas.put(&part, &colours::subsampled(&data, layout, [width, height]), width, 3);
            } else {
                let samples = if layout.is_planar { 1 } else { layout.samples };
                canvas.put(
                    &part,
                    &samples::levels(&data, layout, width * samples, height),
                    width,
                    samples,
                );
            }
        }
    }
    Ok(if is_rgb { canvas.levels } else { colours::to_rgb(canvas.levels, layout) })
}

/// The whole image's samples: `[height, width, kept]`.
struct Canvas {
    width: usize,
    kept: usize,
    levels: Vec<u8>,
}

/// The part of the image that a strip or tile covers.
struct Part {
    left: usize,
    top: usize,
    /// Width and height of the part inside the image.
    inside: [usize; 2],
    /// Its first sample, and the number of its samples.
    plane: usize,
    planes: usize,
}

impl Canvas {
    /// Copies the first samples of each pixel from `[rows, width, samples]`.
    fn put(&mut self, part: &Part, levels: &[u8], width: usize, samples: usize) {
        let [inside, rows] = part.inside;
        for (y, row) in levels.chunks_exact(width * samples).take(rows).enumerate() {
            let start = ((part.top + y) * self.width + part.left) * self.kept;
            let target = &mut self.levels[start..start + inside * self.kept];
            if part.planes == samples && samples == self.kept {
                target.copy_from_slice(&row[..inside * samples]);
                continue;
            }
            for (pixel, stored) in target.chunks_exact_mut(self.kept).zip(row.chunks_exact(samples))
            {
                pixel[part.plane..part.plane + part.planes].copy_from_slice(&stored[..part.planes]);
            }
        }
    }
}

fn damaged(message: &str) -> DecodeReason {
    DecodeReason::Damaged { format: "TIFF", message: message.to_owned() }
}
