//! What a file is, by its first bytes.

use super::{DecodeReason, bmp, ico, tga};

/// A format that can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Jpeg,
    Png,
    Gif,
    WebP,
    Bmp,
    Tiff,
    Netpbm,
    Qoi,
    Ico,
    Tga,
}

/// What to do about a file of another format.
const CONVERT: &str = "convert it to JPEG or PNG, or remove it";
const CONVERT_HEIC: &str = "convert it to JPEG or PNG (with `heif-convert IN OUT.jpg` or `magick IN OUT.jpg`; an iPhone saves JPEGs if you \
                            choose Settings, Camera, Formats, Most Compatible), or remove it";
const CONVERT_AVIF: &str = "convert it to JPEG or PNG (with `avifdec IN OUT.png` or `magick IN OUT.png`), or remove it";
const CONVERT_JXL: &str = "convert it to JPEG or PNG (with `djxl IN OUT.jpg`), or remove it";
const CONVERT_RAW: &str = "develop it to JPEG or PNG with the camera's software or a photo editor, or remove it";
const EXTRACT: &str = "extract its frames as JPEG or PNG, or remove it";
const REPLACE: &str = "replace it with an intact copy or remove it";
const REMOVE: &str = "remove it";

impl Format {
    /// The format of a file's bytes.
    ///
    /// # Errors
    ///
    /// If it cannot be decoded: what it is, and what to do about it.
    pub fn of(bytes: &[u8]) -> Result<Self, DecodeReason> {
        match bytes {
            [] => Err(DecodeReason::Empty),
            [0xFF, 0xD8, 0xFF, ..] => Ok(Self::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Ok(Self::Png),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Ok(Self::Gif),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Self::WebP),
            [b'B', b'M', ..] if Self::has_bitmap_header(bytes) => Ok(Self::Bmp),
            [b'q', b'o', b'i', b'f', ..] => Ok(Self::Qoi),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Ok(Self::Tiff),
            // The magic number in the other byte order, which Pillow accepts.
            [b'I', b'I', 0, 42, ..] | [b'M', b'M', 42, 0, ..] => Ok(Self::Tiff),
            [b'P', b'1'..=b'7', b' ' | b'\n' | b'\r' | b'\t' | b'#', ..] => Ok(Self::Netpbm),
            _ if ico::is_one(bytes) => Ok(Self::Ico),
            _ if tga::is_one(bytes) => Ok(Self::Tga),
            _ => {
                let (content, advice) = other(bytes);
                Err(DecodeReason::NotAnImage { content, advice })
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
            Self::Qoi => "QOI",
            Self::Ico => "Windows icon",
            Self::Tga => "TGA",
        }
    }

    /// Two letters are little to know a format by: a text may begin with them too.
    fn has_bitmap_header(bytes: &[u8]) -> bool {
        let length = bytes.get(14..).and_then(|header| header.first_chunk()).map(|&length| u32::from_le_bytes(length));
        length.is_none_or(|length| bmp::HEADERS.contains(&length) || (1..256).contains(&length))
    }
}

/// What a file is that cannot be decoded, and what to do about it.
fn other(bytes: &[u8]) -> (&'static str, &'static str) {
    match bytes {
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => by_brands(bytes),
        [0xFF, 0x0A, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => ("a JPEG XL image", CONVERT_JXL),
        [0xFF, 0x4F, 0xFF, 0x51, ..] | [0, 0, 0, 12, b'j', b'P', ..] => ("a JPEG 2000 image", CONVERT),
        [b'8', b'B', b'P', b'S', ..] => ("a Photoshop document", CONVERT),
        [0, 0, 2, 0, ..] => ("a Windows cursor", CONVERT),
        [b'%', b'P', b'D', b'F', ..] => ("a PDF document", CONVERT),
        [b'P', b'K', 3, 4, ..] => ("a ZIP archive", "unpack it, or remove it"),
        [0x1F, 0x8B, ..] => ("a gzip archive", "unpack it, or remove it"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] | [0x1A, 0x45, 0xDF, 0xA3, ..] => ("a video", EXTRACT),
        // macOS writes one beside each file on a foreign file system; its name begins with "._".
        [0, 5, 0x16, 7, ..] => ("a macOS metadata file (AppleDouble)", REMOVE),
        _ if bytes.iter().all(|&byte| byte == 0) => ("a file of nothing but zeros", REPLACE),
        _ if bytes.trim_ascii_start().starts_with(b"<") => (
            "a web page, SVG or XML (perhaps a failed download)",
            "download the image again, convert it to JPEG or PNG, or remove it",
        ),
        _ if bytes.starts_with(b"version https://git-lfs") => ("a Git LFS pointer", "fetch the image with `git lfs pull`"),
        _ => ("a file of an unknown format", CONVERT),
    }
}

/// Files in ISO's base media format name the formats that they follow: their own brand, and then those that they are compatible
/// with.
fn by_brands(bytes: &[u8]) -> (&'static str, &'static str) {
    let length = bytes.first_chunk().map_or(0, |&length| u32::from_be_bytes(length)) as usize;
    let header = bytes.get(8..length.clamp(12, 256)).or_else(|| bytes.get(8..12)).unwrap_or_default();
    let has = |brands: &[&[u8; 4]]| header.as_chunks::<4>().0.iter().any(|brand| brands.contains(&brand));
    match () {
        () if has(&[b"avif", b"avis"]) => ("an AVIF image", CONVERT_AVIF),
        () if has(&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"]) => ("an HEIC image", CONVERT_HEIC),
        () if has(&[b"crx "]) => ("a camera's raw file", CONVERT_RAW),
        () => ("a video", EXTRACT),
    }
}
