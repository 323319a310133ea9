//! What a file is, by its first bytes.

use super::DecodeReason;

/// A format that is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Jpeg,
    Png,
    Gif,
    WebP,
    Bmp,
    Tiff,
    Netpbm,
}

/// What to do about a file of another format.
const CONVERT: &str = "convert it to JPEG or PNG, or remove it";
const CONVERT_HEIC: &str = "convert it to JPEG or PNG (with `heif-convert IN OUT.jpg` or `magick IN OUT.jpg`; an iPhone takes JPEGs with Settings, \
                            Camera, Formats, Most Compatible), or remove it";
const CONVERT_AVIF: &str = "convert it to JPEG or PNG (with `avifdec IN OUT.png` or `magick IN OUT.png`), or remove it";
const CONVERT_JXL: &str = "convert it to JPEG or PNG (with `djxl IN OUT.jpg`), or remove it";
const CONVERT_RAW: &str = "develop it to JPEG or PNG with the camera's or a photo program, or remove it";
const REPLACE: &str = "replace it by an intact copy, or remove it";
const REMOVE: &str = "remove it";

impl Format {
    /// The format of a file's bytes.
    ///
    /// # Errors
    ///
    /// When it is none that is decoded: what it is, and what to do about it.
    pub fn of(bytes: &[u8]) -> Result<Self, DecodeReason> {
        match bytes {
            [] => Err(DecodeReason::Empty),
            [0xFF, 0xD8, 0xFF, ..] => Ok(Self::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Ok(Self::Png),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Ok(Self::Gif),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Self::WebP),
            [b'B', b'M', ..] => Ok(Self::Bmp),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Ok(Self::Tiff),
            // The magic number in the other byte order, which Pillow accepts.
            [b'I', b'I', 0, 42, ..] | [b'M', b'M', 42, 0, ..] => Ok(Self::Tiff),
            [b'P', b'1'..=b'7', b' ' | b'\n' | b'\r' | b'\t' | b'#', ..] => Ok(Self::Netpbm),
            _ => {
                let (content, advice) = other(bytes);
                Err(DecodeReason::NotAPicture { content, advice })
            }
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Gif => "GIF",
            Self::WebP => "WebP",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
            Self::Netpbm => "netpbm",
        }
    }

    /// Width and height as the header has them, of the formats whose decoders read on, or judge by a limit of their own, before
    /// they tell.
    pub fn early_size(self, bytes: &[u8]) -> Option<(u32, u32)> {
        let half = |place: usize| Some(u16::from_le_bytes(*bytes.get(place..)?.first_chunk()?));
        let whole = |place: usize| Some(i32::from_le_bytes(*bytes.get(place..)?.first_chunk()?).unsigned_abs());
        match self {
            Self::Gif => Some((u32::from(half(6)?), u32::from(half(8)?))),
            // The oldest of the bitmap headers has 12 bytes and 16-bit sizes; in the others a negative height means top to bottom.
            Self::Bmp if whole(14)? == 12 => Some((u32::from(half(18)?), u32::from(half(20)?))),
            Self::Bmp => Some((whole(18)?, whole(22)?)),
            Self::Jpeg | Self::Png | Self::WebP | Self::Tiff | Self::Netpbm => None,
        }
    }
}

/// What a file of no decoded format is, and what to do about it.
fn other(bytes: &[u8]) -> (&'static str, &'static str) {
    match bytes {
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => by_brands(bytes),
        [0xFF, 0x0A, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => ("a JPEG XL picture", CONVERT_JXL),
        [0xFF, 0x4F, 0xFF, 0x51, ..] | [0, 0, 0, 12, b'j', b'P', ..] => ("a JPEG 2000 picture", CONVERT),
        [b'8', b'B', b'P', b'S', ..] => ("a Photoshop document", CONVERT),
        [0, 0, 1 | 2, 0, ..] => ("a Windows icon or cursor", CONVERT),
        [b'%', b'P', b'D', b'F', ..] => ("a PDF document", CONVERT),
        [b'P', b'K', 3, 4, ..] => ("a ZIP archive", "unpack it, or remove it"),
        [0x1F, 0x8B, ..] => ("a gzip archive", "unpack it, or remove it"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] | [0x1A, 0x45, 0xDF, 0xA3, ..] => {
            ("a video", "take single pictures out of it, or remove it")
        }
        // What macOS lays beside each file on a foreign disk: its name begins with "._".
        [0, 5, 0x16, 7, ..] => ("a companion file of macOS (AppleDouble)", REMOVE),
        _ if bytes.iter().all(|&byte| byte == 0) => ("a file of zeros only", REPLACE),
        _ if bytes.trim_ascii_start().starts_with(b"<") => (
            "a web page, SVG or XML text (a download that failed?)",
            "convert it to JPEG or PNG, or get the picture itself, or remove it",
        ),
        _ if bytes.starts_with(b"version https://git-lfs") => {
            ("a pointer of Git LFS", "fetch the picture itself with `git lfs pull`")
        }
        _ => ("something else", CONVERT),
    }
}

/// Files of ISO's base media format name the formats that they follow: a brand of their own, and after it those that they are
/// compatible with.
fn by_brands(bytes: &[u8]) -> (&'static str, &'static str) {
    let length = bytes.first_chunk().map_or(0, |&length| u32::from_be_bytes(length)) as usize;
    let header = bytes.get(8..length.clamp(12, 256)).or_else(|| bytes.get(8..12)).unwrap_or_default();
    let has = |brands: &[&[u8; 4]]| header.as_chunks::<4>().0.iter().any(|brand| brands.contains(&brand));
    match () {
        () if has(&[b"avif", b"avis"]) => ("an AVIF picture", CONVERT_AVIF),
        () if has(&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"]) => ("an HEIC picture", CONVERT_HEIC),
        () if has(&[b"crx "]) => ("a camera's raw file", CONVERT_RAW),
        () => ("a video", "take single pictures out of it, or remove it"),
    }
}
