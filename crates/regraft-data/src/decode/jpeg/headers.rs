//! The segments between a JPEG's image data: tables, the frame, and data that programs add.

use super::fault::Fault;
use super::frame::{Frame, FrameError, Process};
use super::huffman::Table;
use super::standard_tables::{AC_CHROMA, AC_LUMA, DC_CHROMA, DC_LUMA};

/// The contents of the segments before a scan.
#[derive(Default)]
pub struct Headers {
    pub frame: Option<Frame>,
    /// Quantisation steps in zigzag order.
    pub steps: [Option<[u16; 64]>; 4],
    /// Codes of the DC coefficients.
    pub dc: [Option<Table>; 4],
    /// Codes of the AC coefficients.
    pub ac: [Option<Table>; 4],
    /// Units between two restart markers; 0 if there are none.
    pub restart_interval: usize,
    /// The colour transform in Adobe's segment, if there is one.
    pub adobe: Option<u8>,
    /// Whether there is a JFIF segment.
    pub jfif: bool,
    /// The content of all EXIF segments, concatenated as in Pillow.
    pub exif: Option<Vec<u8>>,
    /// The last XMP packet.
    pub xmp: Option<Vec<u8>>,
}

/// The next part of a file.
pub enum Next<'a> {
    /// A scan: the content of its header, and everything that follows.
    Scan(&'a [u8], &'a [u8]),
    /// The end of the image.
    End,
    /// The end of the file.
    Cut,
}

/// The data from the next marker; empty if there is none.
pub fn next_marker(data: &[u8]) -> &[u8] {
    let start = data.windows(2).position(|pair| pair[0] == 0xFF && ![0, 0xFF].contains(&pair[1]));
    start.map_or(&[], |start| &data[start..])
}

impl Headers {
    /// Reads segments up to the next scan. `rest` is the data from a marker on; bytes before a
    /// marker are skipped, as in every decoder.
    pub fn read<'a>(&mut self, mut rest: &'a [u8]) -> Result<Next<'a>, FrameError> {
        loop {
            let [0xFF, marker, after @ ..] = next_marker(rest) else { return Ok(Next::Cut) };
            let marker = *marker;
            rest = after;
            match marker {
                0xD9 => return Ok(Next::End),
                // Markers without content: start of image, restart, temporary.
                0xD0..=0xD8 | 0x01 => continue,
                _ => {}
            }
            let Some(&length) = rest.first_chunk() else { return Ok(Next::Cut) };
            let length = usize::from(u16::from_be_bytes(length));
            if length < 2 {
                return Err(FrameError::Damaged("a segment's length is below 2"));
            }
            let Some(segment) = rest.get(2..length) else { return Ok(Next::Cut) };
            rest = &rest[length..];
            if marker == 0xDA {
                return Ok(Next::Scan(segment, rest));
            }
            self.take(marker, segment)?;
        }
    }

    fn take(&mut self, marker: u8, segment: &[u8]) -> Result<(), FrameError> {
        let unsupported = |kind: &str| Err(FrameError::Unsupported(kind.to_owned()));
        match marker {
            0xC4 => {
                return self
                    .read_codes(segment)
                    .ok_or(FrameError::Damaged("its Huffman tables are invalid"));
            }
            0xDB => {
                return self
                    .read_steps(segment)
                    .ok_or(FrameError::Damaged("its quantisation tables are invalid"));
            }
            0xDD => match segment {
                &[high, low] => {
                    self.restart_interval = usize::from(u16::from_be_bytes([high, low]))
                }
                _ => return Err(FrameError::Damaged("its restart interval is invalid")),
            },
            0xC0..=0xC2 if self.frame.is_some() => {
                return Err(FrameError::Damaged("it has two frames"));
            }
            0xC0 | 0xC1 => self.frame = Some(Frame::read(Process::Sequential, segment)?),
            0xC2 => self.frame = Some(Frame::read(Process::Progressive, segment)?),
            0xC3 => return unsupported("lossless coding"),
            0xC9 | 0xCA => return unsupported("arithmetic coding"),
            0xC5..=0xC7 | 0xCD..=0xCF | 0xDE | 0xDF => return unsupported("hierarchical coding"),
            0xC8 | 0xCB => return unsupported("lossless arithmetic coding"),
            0xE0 => self.jfif |= segment.starts_with(b"JFIF\0") && segment.len() >= 14,
            0xE1 => {
                if let Some(content) = segment.strip_prefix(b"Exif\0\0") {
                    self.exif.get_or_insert_default().extend_from_slice(content);
                } else if let Some(packet) = segment.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0")
                {
                    self.xmp = Some(packet.to_vec());
                }
            }
            0xEE if segment.len() >= 12 && segment.starts_with(b"Adobe") => {
                self.adobe = Some(segment[11])
            }
            // Comments, and data that programs add.
            _ => {}
        }
        Ok(())
    }

    fn read_steps(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = segment.split_first() {
            let target = self.steps.get_mut(usize::from(kind & 15))?;
            if kind >> 4 == 0 {
                let (values, rest) = rest.split_first_chunk::<64>()?;
                *target = Some(values.map(u16::from));
                segment = rest;
            } else {
                let (values, rest) = rest.split_first_chunk::<128>()?;
                let values = values.as_chunks::<2>().0;
                *target = Some(std::array::from_fn(|place| u16::from_be_bytes(values[place])));
                segment = rest;
            }
        }
        Some(())
    }

    fn read_codes(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let number = counts.iter().map(|&count| usize::from(count)).sum();
            let symbols = rest.get(..number)?;
            let tables = if kind >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            if kind >> 4 > 1 {
                return None;
            }
            *tables.get_mut(usize::from(kind & 15))? = Some(Table::new(counts, symbols)?);
            segment = &rest[number..];
        }
        Some(())
    }

    /// Fills in the standard's tables for missing ones, as frames of Motion JPEG require.
    pub fn fill_in_codes(&mut self) {
        for (tables, standard) in
            [(&mut self.dc, [DC_LUMA, DC_CHROMA]), (&mut self.ac, [AC_LUMA, AC_CHROMA])]
        {
            for (table, (counts, symbols)) in tables.iter_mut().zip(standard) {
                if table.is_none() {
                    *table = Table::new(&counts, symbols);
                }
            }
        }
    }
}

/// A scan's header.
pub struct ScanHeader {
    /// Its components: the index in the frame, and the numbers of the DC and AC tables.
    pub components: Vec<(usize, usize, usize)>,
    /// The first and last coefficient, in zigzag order.
    pub band: [usize; 2],
    /// The number of bits that the earlier scan left out, and the number that this scan leaves out.
    pub precision: [u32; 2],
}

impl ScanHeader {
    /// Reads the content of a scan header.
    pub fn read(frame: &Frame, segment: &[u8]) -> Result<Self, Fault> {
        let (&count, rest) = segment.split_first().ok_or(Fault::Header)?;
        let (selectors, end) =
            rest.split_at_checked(usize::from(count) * 2).ok_or(Fault::Header)?;
        let &[first, last, precision] = end.first_chunk().ok_or(Fault::Header)?;
        let mut components: Vec<(usize, usize, usize)> = Vec::new();
        for &[identifier, tables] in selectors.as_chunks::<2>().0 {
            let is_it = |place: &usize| {
                frame.components[*place].identifier == identifier
                    && components.iter().all(|&(taken, ..)| taken != *place)
            };
            let place = (0..frame.components.len()).find(is_it).ok_or(Fault::Header)?;
            components.push((place, usize::from(tables >> 4), usize::from(tables & 15)));
        }
        if components.is_empty() {
            return Err(Fault::Header);
        }
        let header = Self {
            components,
            band: [usize::from(first), usize::from(last)],
            precision: [u32::from(precision >> 4), u32::from(precision & 15)],
        };
        let [first, last] = header.band;
        let [earlier, low] = header.precision;
        let is_valid = match (frame.process, first) {
            // The standard requires one value for these fields, but some encoders leave them at 0.
            (Process::Sequential, _) => true,
            (Process::Progressive, 0) => last == 0,
            (Process::Progressive, _) => first <= last && last < 64 && header.components.len() == 1,
        };
        let refines_a_bit =
            frame.process == Process::Sequential || earlier == 0 || earlier == low + 1;
        if is_valid && refines_a_bit && low <= 13 { Ok(header) } else { Err(Fault::Header) }
    }
}
