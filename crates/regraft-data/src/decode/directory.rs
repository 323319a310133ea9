//! The tags of a TIFF directory, which EXIF data use as well.
//!
//! This reads as much as Pillow's `ImageFileDirectory_v2`: a truncated tag ends the directory but
//! keeps the tags before it, and the first entry of a tag with readable data counts.

use std::collections::BTreeMap;

/// The byte order, the variant and the first directory of a TIFF file or EXIF block.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub order: Order,
    /// 64-bit offsets and counts.
    pub is_big: bool,
    /// The offset of the first directory.
    pub first: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Little,
    Big,
}

impl Header {
    /// Reads the first 8 bytes, 16 of a BigTIFF.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (order, is_big) = match bytes.first_chunk()? {
            // Some programs write the magic number in the other byte order. Pillow accepts that,
            // and so do we.
            b"II\x2a\0" | b"II\0\x2a" => (Order::Little, false),
            b"MM\0\x2a" | b"MM\x2a\0" => (Order::Big, false),
            b"II\x2b\0" => (Order::Little, true),
            b"MM\0\x2b" => (Order::Big, true),
            _ => return None,
        };
        let first = if is_big {
            order.u64(bytes.get(8..)?)?
        } else {
            u64::from(order.u32(bytes.get(4..)?)?)
        };
        Some(Self { order, is_big, first })
    }
}

impl Order {
    pub fn u16(self, bytes: &[u8]) -> Option<u16> {
        let bytes = *bytes.first_chunk()?;
        Some(if self == Self::Little {
            u16::from_le_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        })
    }

    pub fn u32(self, bytes: &[u8]) -> Option<u32> {
        let bytes = *bytes.first_chunk()?;
        Some(if self == Self::Little {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        })
    }

    pub fn u64(self, bytes: &[u8]) -> Option<u64> {
        let bytes = *bytes.first_chunk()?;
        Some(if self == Self::Little {
            u64::from_le_bytes(bytes)
        } else {
            u64::from_be_bytes(bytes)
        })
    }
}

/// The tags of one directory.
pub struct Directory<'a> {
    order: Order,
    tags: BTreeMap<u16, (Kind, &'a [u8])>,
}

/// The type of a tag's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Bytes and text, which Pillow does not treat as numbers.
    Bytes,
    Unsigned(usize),
    Signed(usize),
    Rational,
    SignedRational,
    Float,
    Double,
}

impl Kind {
    fn of(code: u16) -> Option<Self> {
        Some(match code {
            1 | 2 | 7 => Self::Bytes,
            3 => Self::Unsigned(2),
            4 | 13 => Self::Unsigned(4),
            5 => Self::Rational,
            6 => Self::Signed(1),
            8 => Self::Signed(2),
            9 => Self::Signed(4),
            10 => Self::SignedRational,
            11 => Self::Float,
            12 => Self::Double,
            16 => Self::Unsigned(8),
            _ => return None,
        })
    }

    /// Bytes of one value.
    fn size(self) -> usize {
        match self {
            Self::Bytes => 1,
            Self::Unsigned(size) | Self::Signed(size) => size,
            Self::Float => 4,
            Self::Rational | Self::SignedRational | Self::Double => 8,
        }
    }
}

impl<'a> Directory<'a> {
    /// Reads the directory that begins at `start`. It borrows the data, so it takes memory only for
    /// the entries.
    pub fn read(bytes: &'a [u8], header: Header, start: u64) -> Self {
        let mut directory = Self { order: header.order, tags: BTreeMap::new() };
        // A truncated entry ends the directory.
        let _ = directory.fill(bytes, header, start);
        directory
    }

    fn fill(&mut self, bytes: &'a [u8], header: Header, start: u64) -> Option<()> {
        let Header { order, is_big, .. } = header;
        let entries = bytes.get(usize::try_from(start).ok()?..)?;
        let (count, entries) = match is_big {
            true => (order.u64(entries)?, &entries[8..]),
            false => (u64::from(order.u16(entries)?), &entries[2..]),
        };
        let (entry, inline) = if is_big { (20, 8) } else { (12, 4) };
        // All data together are at most as long as the file: overlapping entries would make a small
        // file large.
        let mut held = 0u128;
        for entry in entries.chunks_exact(entry).take(usize::try_from(count).unwrap_or(usize::MAX))
        {
            let tag = order.u16(entry)?;
            let kind = Kind::of(order.u16(&entry[2..])?);
            let Some(kind) = kind.filter(|_| !self.tags.contains_key(&tag)) else { continue };
            let number = |at: usize| {
                if is_big {
                    order.u64(&entry[at..])
                } else {
                    order.u32(&entry[at..]).map(u64::from)
                }
            };
            let size = u128::from(number(4)?) * kind.size() as u128;
            let value = &entry[entry.len() - inline..];
            let data = if size <= inline as u128 {
                &value[..size as usize]
            } else {
                held += size;
                if held > bytes.len() as u128 {
                    continue;
                }
                let start = usize::try_from(number(entry.len() - inline)?).ok()?;
                bytes.get(start..)?.get(..size as usize)?
            };
            if !data.is_empty() {
                self.tags.insert(tag, (kind, data));
            }
        }
        Some(())
    }

    pub fn contains(&self, tag: u16) -> bool {
        self.tags.contains_key(&tag)
    }

    /// A tag's content, if its type is bytes, text or undefined.
    pub fn bytes(&self, tag: u16) -> Option<&'a [u8]> {
        self.tags.get(&tag).filter(|(kind, _)| *kind == Kind::Bytes).map(|&(_, data)| data)
    }

    /// A tag's numbers; `None` for bytes and text.
    pub fn numbers(&self, tag: u16) -> Option<impl Iterator<Item = f64> + use<'a>> {
        let &(kind, data) = self.tags.get(&tag).filter(|(kind, _)| *kind != Kind::Bytes)?;
        let order = self.order;
        Some(
            data.chunks_exact(kind.size())
                .map(move |value| number(order, kind, value).unwrap_or(f64::NAN)),
        )
    }

    /// A tag's numbers, if they are non-negative integers.
    pub fn integers(&self, tag: u16) -> Option<Vec<u64>> {
        let whole = |number: f64| {
            (number >= 0.0 && number.fract() == 0.0 && number < 2f64.powi(53))
                .then_some(number as u64)
        };
        self.numbers(tag)?.map(whole).collect()
    }
}

fn number(order: Order, kind: Kind, value: &[u8]) -> Option<f64> {
    let ratio = |numerator: f64, denominator: f64| numerator / denominator;
    Some(match kind {
        Kind::Bytes | Kind::Unsigned(1) => f64::from(*value.first()?),
        Kind::Unsigned(2) => f64::from(order.u16(value)?),
        Kind::Unsigned(4) => f64::from(order.u32(value)?),
        Kind::Unsigned(_) => order.u64(value)? as f64,
        Kind::Signed(1) => f64::from(*value.first()? as i8),
        Kind::Signed(2) => f64::from(order.u16(value)? as i16),
        Kind::Signed(_) => f64::from(order.u32(value)? as i32),
        Kind::Rational => ratio(f64::from(order.u32(value)?), f64::from(order.u32(&value[4..])?)),
        Kind::SignedRational => {
            ratio(f64::from(order.u32(value)? as i32), f64::from(order.u32(&value[4..])? as i32))
        }
        Kind::Float => f64::from(f32::from_bits(order.u32(value)?)),
        Kind::Double => f64::from_bits(order.u64(value)?),
    })
}
