//! The kinds of TIFF: compression, colours, and which of the kinds are supported.

use super::super::directory::Directory;
use super::DecodeReason;

const EXTRA_SAMPLES: u16 = 338;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    /// Modified Huffman: rows begin at bytes, without codes for their ends.
    FaxRows,
    Fax3 {
        is_2d: bool,
    },
    Fax4,
    Lzw,
    Jpeg,
    Deflate,
    PackBits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    WhiteIsZero,
    BlackIsZero,
    Rgb,
    Palette,
    Cmyk,
    YCbCr,
}

impl Colour {
    /// Samples of a pixel without extra ones.
    pub fn samples(self) -> usize {
        match self {
            Self::WhiteIsZero | Self::BlackIsZero | Self::Palette => 1,
            Self::Rgb | Self::YCbCr => 3,
            Self::Cmyk => 4,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpha {
    None,
    /// The colours are not multiplied by alpha.
    Plain,
    /// The colours were multiplied by alpha.
    Premultiplied,
}

/// The compression for the tag's number.
pub fn compression(code: u64, t4_options: u64) -> Result<Compression, DecodeReason> {
    Ok(match code {
        1 => Compression::None,
        2 => Compression::FaxRows,
        3 if t4_options & 2 != 0 => return Err(unsupported("fax group 3 with uncompressed parts")),
        3 => Compression::Fax3 { is_2d: t4_options & 1 != 0 },
        4 => Compression::Fax4,
        5 => Compression::Lzw,
        7 => Compression::Jpeg,
        8 | 32946 => Compression::Deflate,
        32773 => Compression::PackBits,
        6 => return Err(unsupported("JPEG compression of the old style")),
        32771 => return Err(unsupported("fax rows that begin at words")),
        32809 => return Err(unsupported("ThunderScan compression")),
        34676 | 34677 => return Err(unsupported("SGI Log compression")),
        34712 => return Err(unsupported("JPEG 2000 compression")),
        34887 => return Err(unsupported("LERC compression")),
        34925 => return Err(unsupported("LZMA compression")),
        50000 => return Err(unsupported("Zstandard compression")),
        50001 => return Err(unsupported("WebP compression")),
        52546 => return Err(unsupported("JPEG XL compression")),
        _ => return Err(unsupported(&format!("compression {code}"))),
    })
}

/// The colours for the tag's number.
pub fn colour(code: u64) -> Result<Colour, DecodeReason> {
    Ok(match code {
        0 => Colour::WhiteIsZero,
        1 => Colour::BlackIsZero,
        2 => Colour::Rgb,
        3 => Colour::Palette,
        5 => Colour::Cmyk,
        6 => Colour::YCbCr,
        4 => return Err(unsupported("a transparency mask")),
        8..=10 => return Err(unsupported("CIELab colours")),
        32803 => return Err(unsupported("a camera's raw data")),
        32844 | 32845 => return Err(unsupported("logarithmic luminance")),
        34892 => return Err(unsupported("linear raw data")),
        _ => return Err(unsupported(&format!("photometric interpretation {code}"))),
    })
}

/// Refuses samples whose depth or type is not supported.
pub fn check_depth(
    colour: Colour,
    compression: Compression,
    bits: u64,
    format: u64,
) -> Result<(), DecodeReason> {
    match format {
        1 | 4 => {}
        // Pillow reads signed bytes of grey as if they were unsigned.
        2 if bits == 8 && colour == Colour::BlackIsZero => {}
        2 => return Err(unsupported("signed samples, whose range is not known")),
        3 => return Err(unsupported("floating-point samples, whose range is not known")),
        5 | 6 => return Err(unsupported("complex numbers")),
        _ => return Err(unsupported(&format!("sample format {format}"))),
    }
    let is_supported = match (compression, colour) {
        (Compression::FaxRows | Compression::Fax3 { .. } | Compression::Fax4, _) => bits == 1,
        (Compression::Jpeg, _) | (_, Colour::YCbCr) => bits == 8,
        (_, Colour::Palette) => matches!(bits, 1 | 2 | 4 | 8),
        _ => matches!(bits, 1 | 2 | 4 | 8 | 12 | 16),
    };
    let colours = match colour {
        Colour::WhiteIsZero | Colour::BlackIsZero => "grey",
        Colour::Rgb => "RGB",
        Colour::Palette => "a palette",
        Colour::Cmyk => "CMYK",
        Colour::YCbCr => "YCbCr",
    };
    if is_supported {
        Ok(())
    } else {
        Err(unsupported(&format!("{bits}-bit samples of {colours}")))
    }
}

/// Whether the sample after the colours is alpha. Extra samples with other meanings are dropped, as
/// in Pillow.
pub fn alpha(tags: &Directory, colour: Colour, samples: usize) -> Result<Alpha, DecodeReason> {
    let extra = samples - colour.samples();
    let stated = tags.integers(EXTRA_SAMPLES).unwrap_or_default();
    let alpha = match stated.first() {
        _ if extra == 0 => Alpha::None,
        // Pillow treats a fourth sample of RGB as alpha if its meaning is unspecified. (CorelDRAW
        // writes 999.)
        None if colour == Colour::Rgb && extra == 1 => Alpha::Plain,
        Some(999) if colour == Colour::Rgb && extra == 1 => Alpha::Plain,
        Some(1) => Alpha::Premultiplied,
        Some(2) => Alpha::Plain,
        _ => Alpha::None,
    };
    if alpha != Alpha::None && matches!(colour, Colour::Cmyk | Colour::YCbCr) {
        return Err(unsupported("CMYK or YCbCr with alpha"));
    }
    if alpha == Alpha::Premultiplied && colour == Colour::Palette {
        return Err(unsupported("a palette with premultiplied alpha"));
    }
    if stated.iter().skip(1).any(|meaning| matches!(meaning, 1 | 2)) {
        return Err(unsupported("alpha that does not follow the colours"));
    }
    Ok(alpha)
}

/// A valid file of an unsupported kind.
pub fn unsupported(kind: &str) -> DecodeReason {
    DecodeReason::Unsupported { format: "TIFF", message: kind.to_owned() }
}
