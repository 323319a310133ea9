//! Scans that hold some of each block's frequencies, or one more bit of them.
//!
//! ITU-T T.81, annex G. If data break the rules of the standard, they are a fault; libjpeg's
//! behaviour on such data is not imitated.

use super::huffman::{Bits, Table};
use super::planes::{Plane, ZIGZAG};
use super::scan::Blocks;

/// One component of a scan.
pub struct Part<'a> {
    pub plane: &'a mut Plane,
    /// Codes of the scan's coefficients; a scan that refines DC coefficients has none.
    pub table: Option<&'a Table>,
    /// The last block's DC coefficient, from which the next one differs.
    pub prediction: i32,
}

/// Reads the scan's part of each block.
pub struct Progressive<'a> {
    pub parts: Vec<Part<'a>>,
    /// The first and last frequency, in zigzag order.
    pub band: [usize; 2],
    /// Whether an earlier scan had these frequencies with one bit less.
    pub refines: bool,
    /// The position of the scan's lowest bit.
    pub low: u32,
    /// Number of following blocks without new frequencies.
    pub empty_blocks: u32,
}

impl Blocks for Progressive<'_> {
    fn read(&mut self, bits: &mut Bits<'_>, part: usize, place: [usize; 2]) -> Option<()> {
        match (self.band, self.refines) {
            ([0, _], false) => self.read_mean(bits, part, place),
            ([0, _], true) => {
                let (block, lane) = self.parts[part].plane.block(place);
                block[0][lane] |= (bits.take(1) as i16) << self.low;
                Some(())
            }
            (_, false) => self.read_band(bits, part, place),
            (_, true) => self.refine_band(bits, part, place),
        }
    }

    fn end_row(&mut self, _row: usize) {}

    fn restart(&mut self) {
        self.parts.iter_mut().for_each(|part| part.prediction = 0);
        self.empty_blocks = 0;
    }
}

impl Progressive<'_> {
    fn read_mean(&mut self, bits: &mut Bits<'_>, part: usize, place: [usize; 2]) -> Option<()> {
        let Part { plane, table, prediction } = &mut self.parts[part];
        let size = (*table)?.read(bits)?;
        if size > 15 {
            return None;
        }
        *prediction = prediction.wrapping_add(bits.value(u32::from(size)));
        let (block, lane) = plane.block(place);
        block[0][lane] = prediction.wrapping_shl(self.low) as i16;
        Some(())
    }

    fn read_band(&mut self, bits: &mut Bits<'_>, part: usize, place: [usize; 2]) -> Option<()> {
        if self.empty_blocks > 0 {
            self.empty_blocks -= 1;
            return Some(());
        }
        let [first, last] = self.band;
        let Part { plane, table, .. } = &mut self.parts[part];
        let table = (*table)?;
        let (block, lane) = plane.block(place);
        let mut place = first;
        while place <= last {
            let symbol = table.read(bits)?;
            let (zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if size > 0 {
                place += zeros as usize;
                if place > last {
                    return None;
                }
                block[usize::from(ZIGZAG[place])][lane] =
                    bits.value(size).wrapping_shl(self.low) as i16;
                place += 1;
            } else if zeros == 15 {
                place += 16;
            } else {
                self.empty_blocks = (1 << zeros) + bits.take(zeros) - 1;
                break;
            }
        }
        Some(())
    }

    fn refine_band(&mut self, bits: &mut Bits<'_>, part: usize, place: [usize; 2]) -> Option<()> {
        let [first, last] = self.band;
        let bit = 1i16.wrapping_shl(self.low);
        let Part { plane, table, .. } = &mut self.parts[part];
        let table = (*table)?;
        let (block, lane) = plane.block(place);
        let mut place = first;
        if self.empty_blocks == 0 {
            while place <= last {
                let symbol = table.read(bits)?;
                let (mut zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
                let value = match size {
                    0 if zeros < 15 => {
                        self.empty_blocks = (1 << zeros) + bits.take(zeros);
                        break;
                    }
                    0 => 0,
                    // A frequency that was zero so far can only become plus or minus one bit.
                    1 if bits.take(1) == 1 => bit,
                    1 => -bit,
                    _ => return None,
                };
                while place <= last {
                    let frequency = &mut block[usize::from(ZIGZAG[place])][lane];
                    if *frequency != 0 {
                        refine(bits, frequency, bit);
                    } else if zeros == 0 {
                        *frequency = value;
                        place += 1;
                        break;
                    } else {
                        zeros -= 1;
                    }
                    place += 1;
                }
            }
        }
        if self.empty_blocks > 0 {
            for &place in &ZIGZAG[place..=last] {
                let frequency = &mut block[usize::from(place)][lane];
                if *frequency != 0 {
                    refine(bits, frequency, bit);
                }
            }
            self.empty_blocks -= 1;
        }
        Some(())
    }
}

/// Reads one more bit of a frequency.
fn refine(bits: &mut Bits<'_>, frequency: &mut i16, bit: i16) {
    if bits.take(1) == 1 && *frequency & bit == 0 {
        *frequency = frequency.wrapping_add(if *frequency > 0 { bit } else { -bit });
    }
}
