//! Huffman codes: from bits to frequencies.

use super::header::Component;

/// Codes up to this length are looked up at once.
const LOOKUP_BITS: u32 = 10;
const LOOKUP: usize = 1 << LOOKUP_BITS;
/// A run of zeros that stands for the end of the block.
const END: u8 = 64;

/// Places of the frequencies in a block of rows of eight, in the order in which they are stored.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28, 35, 42,
    49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// A frequency whose code and number are looked up at once.
#[derive(Clone, Copy, Default)]
struct Short {
    /// Bits of both; 0 where they do not fit.
    length: u8,
    /// Zeros before it.
    zeros: u8,
    value: i16,
}

/// A table of codes.
#[derive(Clone)]
pub struct Table {
    /// For each start of `LOOKUP_BITS` bits the code's length and its symbol; a length of 0 where the code is longer.
    lookup: Box<[(u8, u8); LOOKUP]>,
    /// The same for a code together with the number that follows it, where both fit.
    short: Box<[Short; LOOKUP]>,
    /// For each length the first code beyond those of that length, in the upper bits of 16; and what leads from a code to its
    /// symbol.
    ends: [u32; 17],
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Table {
    /// A table without codes.
    pub fn empty() -> Self {
        Self {
            lookup: Box::new([(0, 0); LOOKUP]),
            short: Box::new([Short::default(); LOOKUP]),
            ends: [0; 17],
            offsets: [0; 17],
            symbols: Vec::new(),
        }
    }

    /// From the numbers of codes of 1 to 16 bits and their symbols. `None` where there are more codes than bits allow.
    pub fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut table = Self { symbols: symbols.to_vec(), ..Self::empty() };
        let (mut code, mut place) = (0u32, 0usize);
        for length in 1..=16u32 {
            let count = u32::from(counts[length as usize - 1]);
            table.offsets[length as usize] = place as i32 - code as i32;
            if code + count > 1 << length {
                return None;
            }
            for code in code..code + count {
                let symbol = *symbols.get(place)?;
                place += 1;
                if length <= LOOKUP_BITS {
                    let first = (code << (LOOKUP_BITS - length)) as usize;
                    table.lookup[first..first + (1 << (LOOKUP_BITS - length))].fill((length as u8, symbol));
                }
            }
            code += count;
            table.ends[length as usize] = code << (16 - length);
            code <<= 1;
        }
        for (start, (short, &(length, symbol))) in table.short.iter_mut().zip(table.lookup.iter()).enumerate() {
            let (zeros, size) = (symbol >> 4, symbol & 15);
            let together = length + size;
            if length == 0 || u32::from(together) > LOOKUP_BITS {
                continue;
            }
            if size > 0 {
                let raw = (start >> (LOOKUP_BITS - u32::from(together))) as i32 & ((1 << size) - 1);
                *short = Short { length: together, zeros, value: extended(raw, u32::from(size)) as i16 };
            } else if zeros == 0 {
                *short = Short { length, zeros: END, value: 0 };
            }
        }
        Some(table)
    }

    /// The next symbol.
    #[inline]
    fn read(&self, bits: &mut Bits<'_>) -> Option<u8> {
        let (length, symbol) = self.lookup[(bits.held >> (64 - LOOKUP_BITS)) as usize];
        if length > 0 {
            bits.skip(u32::from(length));
            return Some(symbol);
        }
        let start = (bits.held >> 48) as u32;
        let length = (LOOKUP_BITS as usize + 1..=16).find(|&length| start < self.ends[length])?;
        bits.skip(length as u32);
        let code = (start >> (16 - length)) as i32;
        self.symbols.get(usize::try_from(code + self.offsets[length]).ok()?).copied()
    }
}

/// A number of `bits` bits (1 at least): the upper half of their range is positive, the lower negative.
fn extended(raw: i32, bits: u32) -> i32 {
    if raw >> (bits - 1) == 0 { raw - (1 << bits) + 1 } else { raw }
}

/// A scan as a stream of bits.
pub struct Bits<'a> {
    rest: &'a [u8],
    /// Bits that were read, the next one uppermost; below them zeros.
    held: u64,
    /// How many.
    count: u32,
    /// How many of them are not in the data: the scan has ended, or a marker stands there.
    missing: u32,
}

impl<'a> Bits<'a> {
    pub fn new(scan: &'a [u8]) -> Self {
        Self { rest: scan, held: 0, count: 0, missing: 0 }
    }

    /// Holds at least 32 bits, as many as one symbol with its value needs.
    #[inline]
    fn fill(&mut self) {
        if self.count >= 32 {
            return;
        }
        if let Some((&next, rest)) = self.rest.split_first_chunk() {
            let word = u32::from_be_bytes(next);
            // Whether no byte is 0xFF, after which something is to be looked at.
            if (!word).wrapping_sub(0x0101_0101) & word & 0x8080_8080 == 0 {
                self.held |= u64::from(word) << (32 - self.count);
                self.count += 32;
                self.rest = rest;
                return;
            }
        }
        while self.count <= 56 {
            let byte = match self.rest {
                [0xFF, 0, rest @ ..] => {
                    self.rest = rest;
                    0xFF
                }
                [byte, rest @ ..] if *byte != 0xFF => {
                    self.rest = rest;
                    *byte
                }
                _ => {
                    self.missing += 8;
                    0
                }
            };
            self.held |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    #[inline]
    fn skip(&mut self, bits: u32) {
        self.held <<= bits;
        // A count that falls below zero cannot happen: 32 bits were held, and at most 16 + 16 are skipped.
        self.count -= bits;
    }

    /// The number of `bits` bits that follows a code.
    #[inline]
    fn value(&mut self, bits: u32) -> i32 {
        if bits == 0 {
            return 0;
        }
        let raw = (self.held >> (64 - bits)) as i32;
        self.skip(bits);
        extended(raw, bits)
    }

    /// Whether nothing was used that is not in the data.
    pub fn is_within(&self) -> bool {
        self.missing <= self.count
    }

    /// Passes over a restart marker, which must come next.
    pub fn restart(&mut self) -> Option<()> {
        if !self.is_within() || self.count - self.missing >= 8 {
            return None;
        }
        let mut rest = self.rest;
        while let [0xFF, 0xFF, ..] = rest {
            rest = &rest[1..];
        }
        let [0xFF, 0xD0..=0xD7, after @ ..] = rest else { return None };
        *self = Self::new(after);
        Some(())
    }
}

/// A block's frequencies.
pub struct Block {
    /// In rows of eight, as far as they are needed.
    pub frequencies: [f32; 64],
    /// Whether any of them but the first is not 0.
    pub has_details: bool,
    /// Whether any row was written to since it was cleared: bit by bit.
    pub rows: u8,
}

impl Block {
    pub fn new() -> Self {
        Self { frequencies: [0.0; 64], has_details: false, rows: 0 }
    }

    /// Reads a block, of which the lowest `side` x `side` frequencies are kept. The block must have been cleared.
    pub fn read(&mut self, bits: &mut Bits<'_>, component: &Component, side: usize, prediction: &mut i32) -> Option<()> {
        bits.fill();
        let size = component.dc.read(bits)?;
        if size > 15 {
            return None;
        }
        *prediction = prediction.checked_add(bits.value(u32::from(size)))?;
        self.frequencies[0] = *prediction as f32 * component.steps[0];
        self.rows = 1;
        let mut place = 1;
        while place < 64 {
            bits.fill();
            let short = component.ac.short[(bits.held >> (64 - LOOKUP_BITS)) as usize];
            let value = if short.length > 0 {
                bits.skip(u32::from(short.length));
                if short.zeros == END {
                    return Some(());
                }
                place += usize::from(short.zeros);
                i32::from(short.value)
            } else {
                let symbol = component.ac.read(bits)?;
                let (zeros, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
                if size == 0 {
                    if zeros < 15 {
                        return Some(());
                    }
                    place += 16;
                    continue;
                }
                place += zeros;
                bits.value(size)
            };
            let target = usize::from(*ZIGZAG.get(place)?);
            let (row, column) = (target / 8, target % 8);
            if row < side && column < side {
                self.frequencies[target] = value as f32 * component.steps[place];
                self.rows |= 1 << row;
                self.has_details = true;
            }
            place += 1;
        }
        // A run of zeros that leads beyond the block is damage.
        (place == 64).then_some(())
    }
}
