//! Decompresses a strip or tile.

use std::io::Read;

use weezl::BitOrder;
use weezl::decode::Configuration;

use super::super::directory::Order;
use super::super::lzw;
use super::kinds::{Colour, Compression};
use super::layout::Layout;
use super::{DecodeReason, damaged, fax};

/// The uncompressed samples of a strip or tile, with exactly the length that its size requires.
/// `None` if the data end too early.
pub fn decompress(
    stored: &[u8],
    layout: &Layout,
    [width, height]: [usize; 2],
) -> Result<Option<Vec<u8>>, DecodeReason> {
    let row = row_length(layout, width);
    let rows = if layout.is_subsampled() { height.div_ceil(layout.subsampling[1]) } else { height };
    let length = row.checked_mul(rows).ok_or_else(|| damaged("its size overflows"))?;
    let data = match layout.compression {
        Compression::None => stored.get(..length).map(<[u8]>::to_vec),
        Compression::PackBits => pack_bits(stored, length),
        Compression::Lzw => old_or_new_lzw(stored, length)?,
        Compression::Deflate => deflate(stored, length)?,
        Compression::FaxRows => fax::decode(stored, fax::Kind::Rows, width, height)?,
        Compression::Fax3 { is_2d } => {
            fax::decode(stored, fax::Kind::Group3 { is_2d }, width, height)?
        }
        Compression::Fax4 => fax::decode(stored, fax::Kind::Group4, width, height)?,
        Compression::Jpeg => unreachable!("JPEG data are decoded elsewhere"),
    };
    Ok(data.map(|mut data| {
        if layout.has_predictor {
            undo_differences(&mut data, layout, row);
        }
        data
    }))
}

/// Bytes of a row of pixels, or of a row of groups of pixels that share their chroma.
pub fn row_length(layout: &Layout, width: usize) -> usize {
    if layout.colour == Colour::YCbCr && layout.is_subsampled() {
        let [across, down] = layout.subsampling;
        return width.div_ceil(across) * (across * down + 2);
    }
    let samples = if layout.is_planar { 1 } else { layout.samples };
    (width * samples * layout.bits).div_ceil(8)
}

/// Apple's run lengths.
fn pack_bits(mut stored: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut data = Vec::with_capacity(length.min(stored.len().saturating_mul(64)));
    while data.len() < length {
        let (&control, rest) = stored.split_first()?;
        stored = rest;
        match control as i8 {
            -128 => {}
            count @ 0.. => {
                let (run, rest) = stored.split_at_checked(count as usize + 1)?;
                data.extend(run);
                stored = rest;
            }
            count => {
                let (&byte, rest) = stored.split_first()?;
                data.resize(data.len() + count.unsigned_abs() as usize + 1, byte);
                stored = rest;
            }
        }
    }
    data.truncate(length);
    Some(data)
}

fn old_or_new_lzw(stored: &[u8], length: usize) -> Result<Option<Vec<u8>>, DecodeReason> {
    // Before 1988, codes were stored from the lowest bit up and grew one code later. Such data
    // begin with the code 256.
    let is_old = matches!(stored, [0, second, ..] if second & 1 == 1);
    let configuration = match is_old {
        true => Configuration::new(BitOrder::Lsb, 8),
        false => Configuration::with_tiff_size_switch(BitOrder::Msb, 8),
    };
    lzw::decode(stored, configuration, length).map_err(|message| damaged(&message))
}

fn deflate(stored: &[u8], length: usize) -> Result<Option<Vec<u8>>, DecodeReason> {
    let mut data = Vec::new();
    let mut reader = flate2::read::ZlibDecoder::new(stored).take(length as u64);
    match reader.read_to_end(&mut data) {
        Ok(_) => Ok((data.len() == length).then_some(data)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(damaged(&format!("Deflate: {error}"))),
    }
}

/// Adds up the differences between each sample and that of the pixel to its left.
fn undo_differences(data: &mut [u8], layout: &Layout, row: usize) {
    let samples = if layout.is_planar { 1 } else { layout.samples };
    for row in data.chunks_exact_mut(row) {
        if layout.bits == 8 {
            for place in samples..row.len() {
                row[place] = row[place].wrapping_add(row[place - samples]);
            }
            continue;
        }
        let values = row.as_chunks_mut::<2>().0;
        for place in samples..values.len() {
            let [left, difference] = [values[place - samples], values[place]]
                .map(|value| layout.order.u16(&value).unwrap_or(0));
            let sum = left.wrapping_add(difference);
            values[place] = match layout.order {
                Order::Little => sum.to_le_bytes(),
                Order::Big => sum.to_be_bytes(),
            };
        }
    }
}
