//! Converts samples of any depth to 8-bit levels.

use super::kinds::Colour;
use super::layout::Layout;

/// The samples of `rows` rows of `count` samples each, which begin at whole bytes. Palette indices
/// stay unchanged; other samples are scaled to 0 to 255. The upper eight of 12 and 16 bits are
/// kept.
pub fn levels(data: &[u8], layout: &Layout, count: usize, rows: usize) -> Vec<u8> {
    let mut levels = Vec::with_capacity(count * rows);
    let row_length = (count * layout.bits).div_ceil(8);
    let scale = match layout.bits {
        _ if layout.colour == Colour::Palette => 1,
        1 => 255,
        2 => 85,
        4 => 17,
        _ => 1,
    };
    for row in data.chunks_exact(row_length).take(rows) {
        match layout.bits {
            8 => levels.extend(row),
            16 => levels.extend(
                row.as_chunks::<2>()
                    .0
                    .iter()
                    .map(|value| (layout.order.u16(value).unwrap_or(0) >> 8) as u8),
            ),
            // The upper eight bits of samples that begin at each half byte.
            12 => levels.extend((0..count).map(|number| {
                let place = number * 3 / 2;
                if number % 2 == 0 { row[place] } else { row[place] << 4 | row[place + 1] >> 4 }
            })),
            bits => {
                let mask = (1u8 << bits) - 1;
                levels.extend((0..count).map(|number| {
                    let place = number * bits;
                    (row[place / 8] >> (8 - bits - place % 8) & mask) * scale
                }));
            }
        }
    }
    levels
}
