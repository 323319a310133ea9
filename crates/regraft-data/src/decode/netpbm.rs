//! netpbm: PBM, PGM and PPM as Pillow reads them, and PAM.

use super::{DecodeReason, check_size, convert};
use crate::RgbImage;

const FORMAT: &str = "netpbm image";
const TRUNCATED: DecodeReason = DecodeReason::Truncated(FORMAT);

/// The header.
struct Header {
    width: u32,
    height: u32,
    channels: usize,
    /// The highest level.
    most: u32,
    samples: Samples,
    /// 0 is white.
    is_inverted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Samples {
    /// Decimal numbers.
    Words,
    /// Digits 0 and 1, with or without blanks between them.
    Digits,
    /// Bits; each row begins at a byte.
    Bits,
    /// One byte, or two if the highest level is above 255.
    Bytes,
}

pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<RgbImage, DecodeReason> {
    let mut reader = Reader(bytes);
    let header = reader.header()?;
    let Header { width, height, channels, most, .. } = header;
    check_size(FORMAT, width, height, max_pixels)?;
    if !(1..=65_535).contains(&most) {
        return Err(damaged(&format!("its highest level is {most}")));
    }
    let count = width as usize * height as usize * channels;
    // Pillow converts grey with more than 256 levels to 16 bits, of which the upper eight are kept,
    // but colours directly to 8 bits.
    let is_deep = most > 255 && channels < 3;
    let scale = |value: u32| {
        let range = if is_deep { 65_535.0 } else { 255.0 };
        let level =
            (f64::from(value) / f64::from(most) * range).round_ties_even().min(range) as u32;
        let level = if is_deep { level >> 8 } else { level } as u8;
        if header.is_inverted { 255 - level } else { level }
    };
    let levels: Vec<u8> = match header.samples {
        Samples::Bits => {
            let stride = (width as usize).div_ceil(8);
            let rows = reader.0.get(..stride * height as usize).ok_or(TRUNCATED)?;
            let bits = |row: &[u8]| {
                (0..width as usize)
                    .map(|x| u32::from(row[x / 8] << (x % 8) >> 7))
                    .collect::<Vec<u32>>()
            };
            rows.chunks_exact(stride).flat_map(bits).map(scale).collect()
        }
        Samples::Bytes if most < 256 => reader
            .0
            .get(..count)
            .ok_or(TRUNCATED)?
            .iter()
            .map(|&value| scale(value.into()))
            .collect(),
        Samples::Bytes => {
            let stored = reader.0.get(..count * 2).ok_or(TRUNCATED)?;
            stored
                .as_chunks()
                .0
                .iter()
                .map(|&value| scale(u16::from_be_bytes(value).into()))
                .collect()
        }
        // Each number takes at least one byte of the file.
        Samples::Words | Samples::Digits if reader.0.len() < count => return Err(TRUNCATED),
        Samples::Words => {
            (0..count).map(|_| reader.level(most).map(scale)).collect::<Result<_, _>>()?
        }
        Samples::Digits => {
            (0..count).map(|_| reader.digit().map(scale)).collect::<Result<_, _>>()?
        }
    };
    let pixels = match channels {
        1 => convert::grey(&levels),
        2 => convert::grey_on_white(&levels),
        3 => levels,
        _ => convert::rgba_on_white(&levels),
    };
    Ok(RgbImage { width, height, pixels })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<u8, DecodeReason> {
        let (&byte, rest) = self.0.split_first().ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(byte)
    }

    /// The next word, after blanks and comments. The one blank behind it is consumed.
    fn word(&mut self) -> Result<Vec<u8>, DecodeReason> {
        let mut word = Vec::new();
        loop {
            match self.next() {
                Ok(b'#') => while !matches!(self.next()?, b'\n' | b'\r') {},
                Ok(blank) if blank.is_ascii_whitespace() || blank == 0x0B => {
                    if !word.is_empty() {
                        return Ok(word);
                    }
                }
                Ok(byte) => word.push(byte),
                Err(_) if !word.is_empty() => return Ok(word),
                Err(reason) => return Err(reason),
            }
            if word.len() > 10 {
                return Err(damaged("it has a word of more than 10 letters instead of a number"));
            }
        }
    }

    fn number(&mut self) -> Result<u32, DecodeReason> {
        let word = self.word()?;
        let number = std::str::from_utf8(&word).ok().and_then(|word| word.parse().ok());
        number.ok_or_else(|| {
            damaged(&format!("it has {:?} instead of a number", word.escape_ascii().to_string()))
        })
    }

    fn level(&mut self, most: u32) -> Result<u32, DecodeReason> {
        let level = self.number()?;
        if level > most {
            Err(damaged(&format!("it has the level {level}, above its highest, {most}")))
        } else {
            Ok(level)
        }
    }

    fn digit(&mut self) -> Result<u32, DecodeReason> {
        loop {
            match self.next()? {
                digit @ (b'0' | b'1') => return Ok(u32::from(digit - b'0')),
                b'#' => while !matches!(self.next()?, b'\n' | b'\r') {},
                blank if blank.is_ascii_whitespace() => {}
                _ => return Err(damaged("it has characters other than 0 and 1 for its pixels")),
            }
        }
    }

    fn header(&mut self) -> Result<Header, DecodeReason> {
        self.next()?;
        let kind = self.next()?;
        if kind == b'7' {
            return self.arbitrary_map();
        }
        let (width, height) = (self.number()?, self.number()?);
        let channels = if matches!(kind, b'3' | b'6') { 3 } else { 1 };
        let is_bitmap = matches!(kind, b'1' | b'4');
        let most = if is_bitmap { 1 } else { self.number()? };
        let samples = match kind {
            b'1' => Samples::Digits,
            b'2' | b'3' => Samples::Words,
            b'4' => Samples::Bits,
            _ => Samples::Bytes,
        };
        Ok(Header { width, height, channels, most, samples, is_inverted: is_bitmap })
    }

    /// A PAM's header: lines of a name and a value.
    fn arbitrary_map(&mut self) -> Result<Header, DecodeReason> {
        let [mut width, mut height, mut channels, mut most] = [0; 4];
        loop {
            let end = self.0.iter().position(|&byte| byte == b'\n').ok_or(TRUNCATED)?;
            let line = String::from_utf8_lossy(&self.0[..end]).into_owned();
            self.0 = &self.0[end + 1..];
            let mut words = line.split_ascii_whitespace();
            let number = |word: Option<&str>| {
                word.and_then(|word| word.parse().ok())
                    .ok_or_else(|| damaged(&format!("its header has the line {line:?}")))
            };
            match words.next() {
                Some("ENDHDR") => break,
                Some("WIDTH") => width = number(words.next())?,
                Some("HEIGHT") => height = number(words.next())?,
                Some("DEPTH") => channels = number(words.next())?,
                Some("MAXVAL") => most = number(words.next())?,
                // The type follows from the channels; comments and empty lines do not matter.
                Some("TUPLTYPE") | None => {}
                Some(word) if word.starts_with('#') => {}
                Some(_) => return Err(damaged(&format!("its header has the line {line:?}"))),
            }
        }
        if !(1..=4).contains(&channels) {
            let message = format!("PAM of {channels} channels");
            return Err(DecodeReason::Unsupported { format: FORMAT, message });
        }
        Ok(Header {
            width,
            height,
            channels: channels as usize,
            most,
            samples: Samples::Bytes,
            is_inverted: false,
        })
    }
}

fn damaged(message: &str) -> DecodeReason {
    DecodeReason::Damaged { format: FORMAT, message: message.to_owned() }
}
