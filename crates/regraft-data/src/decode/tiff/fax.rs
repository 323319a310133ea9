//! Fax compression (ITU-T T.4 and T.6), as TIFF uses it. The tables of codes come from the crate
//! `fax`, whose own decoder supports neither group 3 in two dimensions nor rows without end-of-line
//! codes.

use std::convert::Infallible;

use fax::BitReader;
use fax::maps::{Mode, black, mode, white};

use super::{DecodeReason, damaged};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Run lengths in rows that begin at bytes.
    Rows,
    /// Rows begin with a code; with `is_2d`, a bit after it says whether the row depends on the row
    /// above.
    Group3 { is_2d: bool },
    /// Each row is coded relative to the row above.
    Group4,
}

/// Rows of bits that begin at bytes; a bit of 1 is black. `None` if the data end too early.
pub fn decode(
    stored: &[u8],
    kind: Kind,
    width: usize,
    height: usize,
) -> Result<Option<Vec<u8>>, DecodeReason> {
    let mut bits = Bits { bytes: stored, place: 0 };
    let mut rows = vec![0; width.div_ceil(8) * height];
    // The positions in a row at which the colour changes, starting with white.
    let (mut above, mut changes) = (Vec::new(), Changes::default());
    for row in rows.chunks_exact_mut(width.div_ceil(8)) {
        let refers = match kind {
            Kind::Rows => {
                bits.place = bits.place.next_multiple_of(8);
                false
            }
            Kind::Group3 { is_2d } => {
                let ends = (0..6).take_while(|_| bits.skip_end_of_row(is_2d)).count();
                // Six in a row end the page; the rest is white.
                if ends == 6 {
                    break;
                }
                is_2d && ends > 0 && bits.last_bit() == Some(0)
            }
            Kind::Group4 => true,
        };
        changes.0.clear();
        let outcome = if refers {
            read_changed(&mut bits, &above, width, &mut changes)
        } else {
            read_runs(&mut bits, width, &mut changes)
        };
        match outcome {
            Some(Row::Whole) => {}
            Some(Row::EndOfPage) => break,
            None if bits.place >= bits.end() => return Ok(None),
            None => return Err(damaged("its fax data hold an invalid code")),
        }
        paint(row, &changes.0, width);
        std::mem::swap(&mut above, &mut changes.0);
    }
    Ok(Some(rows))
}

enum Row {
    Whole,
    EndOfPage,
}

/// The positions at which the colour changes. A run of no pixels joins its neighbours.
#[derive(Default)]
struct Changes(Vec<usize>);

impl Changes {
    fn push(&mut self, place: usize) {
        if self.0.last() == Some(&place) {
            self.0.pop();
        } else {
            self.0.push(place);
        }
    }
}

fn read_runs(bits: &mut Bits, width: usize, changes: &mut Changes) -> Option<Row> {
    let (mut place, mut is_black) = (0, false);
    while place < width {
        place += bits.run(is_black)?;
        changes.push(place);
        is_black = !is_black;
    }
    (place == width).then_some(Row::Whole)
}

fn read_changed(
    bits: &mut Bits,
    above: &[usize],
    width: usize,
    changes: &mut Changes,
) -> Option<Row> {
    // The current position; `None` before the first pixel of a row.
    let (mut reached, mut is_black) = (None::<usize>, false);
    // The index of a change above. Changes to the left of the position are at most three before the
    // next relevant one.
    let mut index = 0usize;
    while reached.is_none_or(|reached| reached < width) {
        index = index.saturating_sub(3);
        while let Some(&place) = above.get(index) {
            if index % 2 == usize::from(is_black) && reached.is_none_or(|reached| place > reached) {
                break;
            }
            index += 1;
        }
        let change = |index: usize| above.get(index).copied().unwrap_or(width);
        match mode::decode(bits)? {
            Mode::Pass => reached = Some(change(index + 1)),
            Mode::Horizontal => {
                let first = reached.unwrap_or(0) + bits.run(is_black)?;
                let second = first + bits.run(!is_black)?;
                changes.push(first);
                changes.push(second);
                reached = Some(second);
            }
            Mode::Vertical(offset) => {
                let place = change(index).checked_add_signed(isize::from(offset))?;
                if reached.is_some_and(|reached| place < reached) {
                    return None;
                }
                changes.push(place);
                reached = Some(place);
                is_black = !is_black;
            }
            Mode::EOF => return Some(Row::EndOfPage),
            Mode::Extension => return None,
        }
    }
    (reached == Some(width)).then_some(Row::Whole)
}

/// Sets the bits of the black runs.
fn paint(row: &mut [u8], changes: &[usize], width: usize) {
    for run in changes.chunks(2) {
        let &[start, ref end @ ..] = run else { continue };
        let end = end.first().map_or(width, |&end| end.min(width));
        let mut place = start;
        while place < end {
            if place % 8 == 0 && place + 8 <= end {
                row[place / 8] = 0xFF;
                place += 8;
            } else {
                row[place / 8] |= 0x80 >> (place % 8);
                place += 1;
            }
        }
    }
}

struct Bits<'a> {
    bytes: &'a [u8],
    place: usize,
}

impl Bits<'_> {
    fn end(&self) -> usize {
        self.bytes.len() * 8
    }

    fn bit(&self, place: usize) -> Option<u8> {
        self.bytes.get(place / 8).map(|byte| byte >> (7 - place % 8) & 1)
    }

    /// The bit before the current position.
    fn last_bit(&self) -> Option<u8> {
        self.bit(self.place.checked_sub(1)?)
    }

    /// A run's length: any number of codes for multiples of 64, and one for the rest.
    fn run(&mut self, is_black: bool) -> Option<usize> {
        let mut length = 0;
        loop {
            let part =
                usize::from(if is_black { black::decode(self) } else { white::decode(self) }?);
            length += part;
            if part < 64 {
                return Some(length);
            }
        }
    }

    /// Skips eleven or more zeros and a one, and returns the bit that follows if `is_2d`.
    fn skip_end_of_row(&mut self, is_2d: bool) -> bool {
        let zeros =
            (self.place..self.end()).take_while(|&place| self.bit(place) == Some(0)).count();
        let found = zeros >= 11 && self.place + zeros < self.end();
        if found {
            self.place += zeros + 1 + usize::from(is_2d);
        }
        found
    }
}

impl BitReader for Bits<'_> {
    type Error = Infallible;

    /// Beyond the end there are zeros, because the last code is often shorter than the bits that
    /// the tables look at.
    fn peek(&self, bits: u8) -> Option<u16> {
        let byte =
            |ahead: usize| u32::from(self.bytes.get(self.place / 8 + ahead).copied().unwrap_or(0));
        let window = byte(0) << 16 | byte(1) << 8 | byte(2);
        let mask = (1u32 << bits.min(16)) - 1;
        (bits <= 16 && self.place < self.end())
            .then(|| (window >> (24 - self.place % 8 - usize::from(bits)) & mask) as u16)
    }

    fn consume(&mut self, bits: u8) -> Result<(), Infallible> {
        self.place += usize::from(bits);
        Ok(())
    }

    fn bits_to_byte_boundary(&self) -> u8 {
        ((8 - self.place % 8) % 8) as u8
    }
}
