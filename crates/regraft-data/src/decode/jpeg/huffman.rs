//! Huffman codes, and the scan as a stream of bits.

/// Codes up to this length are decoded with one table look-up.
const LOOKUP_BITS: u32 = 10;
const LOOKUP: usize = 1 << LOOKUP_BITS;

/// A coefficient whose code and value are decoded with one look-up.
#[derive(Clone, Copy, Default)]
pub struct Short {
    /// Bits of code and value together; 0 if they do not fit.
    pub length: u8,
    /// Zeros before the coefficient, or [`Short::END`].
    pub zeros: u8,
    pub value: i16,
}

impl Short {
    /// The run of zeros that means the end of the block.
    pub const END: u8 = 64;
}

/// A table of codes.
#[derive(Clone)]
pub struct Table {
    /// For each [`LOOKUP_BITS`] bits, the length of the code that they begin with, and its symbol.
    /// A length of 0 means that the code is longer.
    lookup: Box<[(u8, u8); LOOKUP]>,
    /// The same for a code together with the value that follows it, if both fit.
    short: Box<[Short; LOOKUP]>,
    /// For each length, the first code beyond those of that length, in the upper bits of 16, and
    /// the offset from a code to its symbol.
    ends: [u32; 17],
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Table {
    /// Builds the table from the numbers of codes of 1 to 16 bits and their symbols. `None` if
    /// there are more codes than bits allow.
    pub fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut table = Self {
            lookup: Box::new([(0, 0); LOOKUP]),
            short: Box::new([Short::default(); LOOKUP]),
            ends: [0; 17],
            offsets: [0; 17],
            symbols: symbols.to_vec(),
        };
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
                    table.lookup[first..first + (1 << (LOOKUP_BITS - length))]
                        .fill((length as u8, symbol));
                }
            }
            code += count;
            table.ends[length as usize] = code << (16 - length);
            code <<= 1;
        }
        for (start, (short, &(length, symbol))) in
            table.short.iter_mut().zip(table.lookup.iter()).enumerate()
        {
            let (zeros, size) = (symbol >> 4, symbol & 15);
            let together = length + size;
            if length == 0 || u32::from(together) > LOOKUP_BITS {
                continue;
            }
            if size > 0 {
                let raw = (start >> (LOOKUP_BITS - u32::from(together))) as i32 & ((1 << size) - 1);
                *short =
                    Short { length: together, zeros, value: extended(raw, u32::from(size)) as i16 };
            } else if zeros == 0 {
                *short = Short { length, zeros: Short::END, value: 0 };
            }
        }
        Some(table)
    }

    /// The next symbol; `None` if no code begins with the bits that follow.
    #[inline]
    pub fn read(&self, bits: &mut Bits<'_>) -> Option<u8> {
        bits.fill();
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

    /// The next code with its value, if both together are short.
    #[inline]
    pub fn read_short(&self, bits: &mut Bits<'_>) -> Option<Short> {
        bits.fill();
        let short = self.short[(bits.held >> (64 - LOOKUP_BITS)) as usize];
        if short.length == 0 {
            return None;
        }
        bits.skip(u32::from(short.length));
        Some(short)
    }
}

/// The value of `bits` bits (at least 1): the upper half of their range is positive, the lower half
/// negative.
#[inline]
fn extended(raw: i32, bits: u32) -> i32 {
    if raw >> (bits - 1) == 0 { raw - (1 << bits) + 1 } else { raw }
}

/// A scan as a stream of bits. It ends at the first marker, behind which it yields zeros and counts
/// them.
#[derive(Clone)]
pub struct Bits<'a> {
    rest: &'a [u8],
    /// Bits taken from `rest`, with the next one uppermost and zeros below them.
    held: u64,
    /// Number of bits held.
    count: u32,
    /// Number of them that are not in the data.
    missing: u32,
}

impl<'a> Bits<'a> {
    pub fn new(scan: &'a [u8]) -> Self {
        Self { rest: scan, held: 0, count: 0, missing: 0 }
    }

    /// Holds at least 32 bits: a code takes up to 16, and the value after it 15.
    #[inline]
    fn fill(&mut self) {
        if self.count >= 32 {
            return;
        }
        if let Some((&next, rest)) = self.rest.split_first_chunk() {
            let word = u32::from_be_bytes(next);
            // True if no byte is 0xFF, whose successor would matter.
            if (!word).wrapping_sub(0x0101_0101) & word & 0x8080_8080 == 0 {
                self.held |= u64::from(word) << (32 - self.count);
                self.count += 32;
                self.rest = rest;
                return;
            }
        }
        self.fill_bytes();
    }

    #[inline(never)]
    fn fill_bytes(&mut self) {
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
        // This cannot fall below zero: 32 bits were held, and at most 31 are skipped.
        self.count -= bits;
    }

    /// The value of `bits` bits (at most 15) that follows a code just read.
    #[inline]
    pub fn value(&mut self, bits: u32) -> i32 {
        if bits == 0 {
            return 0;
        }
        let raw = (self.held >> (64 - bits)) as i32;
        self.skip(bits);
        extended(raw, bits)
    }

    /// The next `bits` bits (at most 32), unsigned.
    #[inline]
    pub fn take(&mut self, bits: u32) -> u32 {
        if bits == 0 {
            return 0;
        }
        self.fill();
        let raw = (self.held >> (64 - bits)) as u32;
        self.skip(bits);
        raw
    }

    /// Whether all bits that were used are in the data.
    #[inline]
    pub fn is_within(&self) -> bool {
        self.missing <= self.count
    }

    /// The unused data before the next marker. Call it only if [`Self::is_within`].
    pub fn remainder(&self) -> Remainder<'a> {
        let unused = self.count - self.missing;
        let padding = unused % 8;
        let padding_is_ones = padding == 0 || self.held >> (64 - padding) == (1 << padding) - 1;
        let mut held: Vec<u8> =
            (self.held << padding).to_be_bytes()[..unused as usize / 8].to_vec();
        let mut rest = self.rest;
        loop {
            rest = match rest {
                [0xFF, 0, after @ ..] => {
                    held.push(0xFF);
                    after
                }
                // Any number of bytes 0xFF may precede a marker.
                [0xFF, 0xFF, ..] => &rest[1..],
                [0xFF, ..] | [] => break,
                [byte, after @ ..] => {
                    held.push(*byte);
                    after
                }
            };
        }
        Remainder { padding_is_ones, bytes: held, marker: rest }
    }
}

/// The data between the last code that was read and the next marker.
pub struct Remainder<'a> {
    /// Whether the last byte's unused bits are all 1, as the standard requires.
    pub padding_is_ones: bool,
    /// The whole bytes that follow it.
    pub bytes: Vec<u8>,
    /// The data from the marker on; empty if the file ends before one.
    pub marker: &'a [u8],
}
