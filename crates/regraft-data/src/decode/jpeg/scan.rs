//! Walks through the units, rows and restart markers of a scan of any kind.

use super::fault::Fault;
use super::frame::Frame;
use super::headers::{ScanHeader, next_marker};
use super::huffman::Bits;

/// A reader of a scan's blocks.
pub trait Blocks {
    /// Reads one block of the scan's component `part`, in column `place[0]` and row `place[1]` of
    /// that component's blocks. `None` if the bits are not a valid block.
    fn read(&mut self, bits: &mut Bits<'_>, part: usize, place: [usize; 2]) -> Option<()>;

    /// Called after each row of units, in order.
    fn end_row(&mut self, row: usize);

    /// Called at each restart marker.
    fn restart(&mut self);
}

/// The layout of a scan's blocks.
pub struct Layout {
    /// Units across and down.
    units: [usize; 2],
    /// Blocks of each component in a unit, across and down.
    factors: Vec<[usize; 2]>,
    restart_interval: usize,
}

/// Bytes behind the last block of a segment that count as padding. Some cameras and webcams leave a
/// few; damaged files usually leave more.
const HARMLESS_BYTES: usize = 16;

impl Layout {
    pub fn new(frame: &Frame, header: &ScanHeader, restart_interval: usize) -> Self {
        match header.components[..] {
            // The blocks of a single component are in plain order, without padding to whole units.
            [(place, ..)] => Self {
                units: frame.components[place].blocks,
                factors: vec![[1, 1]],
                restart_interval,
            },
            _ => Self {
                units: frame.units(),
                factors: header
                    .components
                    .iter()
                    .map(|&(place, ..)| frame.components[place].factors)
                    .collect(),
                restart_interval,
            },
        }
    }

    /// Reads the scan that begins with `data`, and returns the data that follow it. If `lenient`, a
    /// fault ends only its segment: reading resumes at the next restart marker, and the first fault
    /// is returned too. Otherwise a fault is an error.
    pub fn read<'a>(
        &self,
        data: &'a [u8],
        blocks: &mut impl Blocks,
        lenient: bool,
    ) -> Result<(&'a [u8], Option<Fault>), Fault> {
        let total = self.units[0] * self.units[1];
        let (mut unit, mut rows_ended) = (0, 0);
        let mut first_fault = None;
        let mut rest = data;
        while unit < total {
            let end = if self.restart_interval == 0 {
                total
            } else {
                total.min(unit + self.restart_interval)
            };
            let segment = unit / self.restart_interval.max(1);
            let outcome =
                self.read_segment(rest, blocks, unit..end, &mut rows_ended).and_then(|after| {
                    let marker = 0xD0 + (segment % 8) as u8;
                    match after {
                        _ if end == total => no_segments(after),
                        [0xFF, found, after @ ..] if *found == marker => Ok(after),
                        _ => Err(Fault::Restart),
                    }
                });
            unit = end;
            match outcome {
                Ok(after) => rest = after,
                Err(fault) if !lenient => return Err(fault),
                Err(fault) => {
                    first_fault = first_fault.or(Some(fault));
                    rest = next_marker(rest);
                    let [0xFF, marker @ 0xD0..=0xD7, after @ ..] = rest else { break };
                    rest = after;
                    // The marker ends this segment or one of the seven after it.
                    let skipped = (usize::from(marker - 0xD0) + 8 - segment % 8) % 8;
                    unit += skipped * self.restart_interval;
                }
            }
            blocks.restart();
        }
        for row in rows_ended..self.units[1] {
            blocks.end_row(row);
        }
        Ok((rest, first_fault))
    }

    /// Reads the units of one segment; the data that follow it begin with a marker.
    fn read_segment<'a>(
        &self,
        data: &'a [u8],
        blocks: &mut impl Blocks,
        units: std::ops::Range<usize>,
        rows_ended: &mut usize,
    ) -> Result<&'a [u8], Fault> {
        let mut bits = Bits::new(data);
        let across = self.units[0];
        let (mut column, mut row) = (units.start % across, units.start / across);
        // After a fault, whole rows may have been skipped.
        while *rows_ended < row {
            blocks.end_row(*rows_ended);
            *rows_ended += 1;
        }
        for _ in units {
            for (part, &[wide, high]) in self.factors.iter().enumerate() {
                for down in 0..high {
                    for along in 0..wide {
                        let place = [column * wide + along, row * high + down];
                        if blocks.read(&mut bits, part, place).is_none() {
                            return Err(if bits.is_within() {
                                Fault::Code
                            } else {
                                Fault::Missing
                            });
                        }
                    }
                }
            }
            if !bits.is_within() {
                return Err(Fault::Missing);
            }
            column += 1;
            if column == across {
                blocks.end_row(row);
                *rows_ended = row + 1;
                (column, row) = (0, row + 1);
            }
        }
        let remainder = bits.remainder();
        let is_constant = remainder.bytes.windows(2).all(|pair| pair[0] == pair[1]);
        let is_harmless =
            remainder.padding_is_ones && (remainder.bytes.len() <= HARMLESS_BYTES || is_constant);
        if remainder.bytes.is_empty() || is_harmless {
            Ok(remainder.marker)
        } else {
            Err(Fault::Leftover)
        }
    }
}

/// Skips restart markers behind the last segment, which some encoders write; image data must not
/// follow them.
fn no_segments(mut rest: &[u8]) -> Result<&[u8], Fault> {
    while let [0xFF, 0xD0..=0xD7, after @ ..] = rest {
        let remainder = Bits::new(after).remainder();
        if !remainder.bytes.is_empty() {
            return Err(Fault::Leftover);
        }
        rest = remainder.marker;
    }
    Ok(rest)
}
