//! Scans that hold whole blocks: baseline and extended sequential.

use regraft_kernels::jpeg::inverse::LANES;

use super::huffman::{Bits, Short, Table};
use super::planes::{Plane, ZIGZAG};
use super::scan::Blocks;

/// One component of a scan.
pub struct Part<'a> {
    pub plane: &'a mut Plane,
    pub dc: &'a Table,
    pub ac: &'a Table,
    /// Rows of blocks in a row of units.
    pub rows: usize,
    /// The last block's DC coefficient, from which the next one differs.
    pub prediction: i32,
}

/// Reads the scan's blocks, and transforms each row of units to samples.
pub struct Sequential<'a> {
    pub parts: Vec<Part<'a>>,
}

impl Blocks for Sequential<'_> {
    #[inline]
    fn read(&mut self, bits: &mut Bits<'_>, part: usize, place: [usize; 2]) -> Option<()> {
        let Part { plane, dc, ac, prediction, .. } = &mut self.parts[part];
        let (block, lane) = plane.block(place);
        let lane = lane % LANES;
        let size = dc.read(bits)?;
        if size > 15 {
            return None;
        }
        *prediction = prediction.wrapping_add(bits.value(u32::from(size)));
        block[0][lane] = *prediction as i16;
        let mut place = 1;
        while place < 64 {
            let value = if let Some(short) = ac.read_short(bits) {
                if short.zeros == Short::END {
                    return Some(());
                }
                place += usize::from(short.zeros);
                short.value
            } else {
                let symbol = ac.read(bits)?;
                let (zeros, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
                if size == 0 {
                    if zeros < 15 {
                        return Some(());
                    }
                    place += 16;
                    continue;
                }
                place += zeros;
                bits.value(size) as i16
            };
            block[usize::from(*ZIGZAG.get(place)?)][lane] = value;
            place += 1;
        }
        // A run of zeros that leads beyond the block is damage.
        (place == 64).then_some(())
    }

    fn end_row(&mut self, row: usize) {
        for part in &mut self.parts {
            part.plane.transform(row * part.rows, part.rows);
        }
    }

    fn restart(&mut self) {
        self.parts.iter_mut().for_each(|part| part.prediction = 0);
    }
}
