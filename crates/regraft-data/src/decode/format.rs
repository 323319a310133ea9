//! Recognises a file's format by its first bytes.

use super::{DecodeReason, bmp, ico, tga};
use crate::file_kind::{self, FileKind};

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
    #[cfg(feature = "heif")]
    Heic,
    #[cfg(feature = "heif")]
    Avif,
}

/// Advice on a file of another format.
const CONVERT: &str = "convert it to JPEG or PNG, or remove it";
const CONVERT_HEIC: &str = "convert it to JPEG or PNG (with `heif-convert IN OUT.jpg` or `magick \
    IN OUT.jpg`; an iPhone saves JPEGs if \
                            you choose Settings, Camera, Formats, Most Compatible), build Regraft \
                                with `--features heif`, or remove it";
const CONVERT_AVIF: &str = "convert it to JPEG or PNG (with `avifdec IN OUT.png` or `magick IN \
    OUT.png`), build Regraft with \
                            `--features heif`, or remove it";
const CONVERT_JXL: &str = "convert it to JPEG or PNG (with `djxl IN OUT.jpg`), or remove it";
const CONVERT_RAW: &str =
    "develop it to JPEG or PNG with the camera's software or a photo editor, or remove it";
const EXTRACT: &str = "extract its frames as JPEG or PNG, or remove it";
const UNPACK: &str = "unpack it or remove it";
const REPLACE: &str = "replace it with an intact copy or remove it";
const REMOVE: &str = "remove it";

impl Format {
    /// The format of a file's bytes.
    ///
    /// # Errors
    ///
    /// If it cannot be decoded, with a description of the content and advice.
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
            [b'P', b'1'..=b'6', b' ' | b'\n' | b'\r' | b'\t' | b'#', ..]
            | [b'P', b'7', b'\n', ..] => Ok(Self::Netpbm),
            _ if ico::is_one(bytes) => Ok(Self::Ico),
            #[cfg(feature = "heif")]
            [_, _, _, _, b'f', b't', b'y', b'p', ..] if has_brand(bytes, &AVIF_BRANDS) => {
                Ok(Self::Avif)
            }
            #[cfg(feature = "heif")]
            [_, _, _, _, b'f', b't', b'y', b'p', ..] if has_brand(bytes, &HEIC_BRANDS) => {
                Ok(Self::Heic)
            }
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
            Self::Netpbm => "netpbm image",
            Self::Qoi => "QOI",
            Self::Ico => "Windows icon",
            Self::Tga => "TGA",
            #[cfg(feature = "heif")]
            Self::Heic => "HEIC",
            #[cfg(feature = "heif")]
            Self::Avif => "AVIF",
        }
    }

    /// Two letters do not identify a format, because text may begin with them too.
    fn has_bitmap_header(bytes: &[u8]) -> bool {
        let length = bytes
            .get(14..)
            .and_then(|header| header.first_chunk())
            .map(|&length| u32::from_le_bytes(length));
        length.is_none_or(|length| bmp::HEADERS.contains(&length) || (1..256).contains(&length))
    }
}

/// A description of a file that cannot be decoded, and advice.
fn other(bytes: &[u8]) -> (&'static str, &'static str) {
    if let [_, _, _, _, b'f', b't', b'y', b'p', ..] = bytes {
        return by_brands(bytes);
    }
    if let Some(&(_, content, advice)) = OTHERS.iter().find(|(start, ..)| bytes.starts_with(start))
    {
        return (content, advice);
    }
    // Archives and tables that cannot be read as data either.
    if let Some(FileKind { what, advice }) = file_kind::by_magic(bytes) {
        return (
            what,
            if advice.starts_with("unpack") {
                UNPACK
            } else {
                "save its images as JPEG or PNG, or remove it"
            },
        );
    }
    match bytes {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => {
            ("a video, not an image", EXTRACT)
        }
        [0x0A, 0..=5, 0 | 1, 1 | 2 | 4 | 8, ..] => ("a PCX image, which is not supported", CONVERT),
        _ if bytes.iter().all(|&byte| byte == 0) => ("a file of nothing but zeros", REPLACE),
        _ if bytes.trim_ascii_start().starts_with(b"<") => (
            "a web page, SVG or XML (perhaps a failed download), not an image",
            "download the image again, convert it to JPEG or PNG, or remove it",
        ),
        _ => ("a file of an unknown format", CONVERT),
    }
}

/// First bytes, the format that they begin, and advice.
const OTHERS: &[(&[u8], &str, &str)] = &[
    (b"\xFF\x0A", "a JPEG XL image, which is not supported", CONVERT_JXL),
    (b"\0\0\0\x0CJXL ", "a JPEG XL image, which is not supported", CONVERT_JXL),
    (b"\xFF\x4F\xFF\x51", "a JPEG 2000 image, which is not supported", CONVERT),
    (b"\0\0\0\x0CjP", "a JPEG 2000 image, which is not supported", CONVERT),
    (b"8BPS", "a Photoshop document, which is not supported", CONVERT),
    (b"gimp xcf", "a GIMP document, which is not supported", CONVERT),
    (b"\0\0\x02\0", "a Windows cursor, which is not supported", CONVERT),
    (b"icns", "a macOS icon, which is not supported", CONVERT),
    (b"DDS ", "a DDS texture, which is not supported", CONVERT),
    (b"\x76\x2F\x31\x01", "an OpenEXR image, which is not supported", CONVERT),
    (b"#?RADIANCE", "a Radiance HDR image, which is not supported", CONVERT),
    (b"#?RGBE", "a Radiance HDR image, which is not supported", CONVERT),
    (b"PF\n", "a PFM image of floating-point samples, which is not supported", CONVERT),
    (b"Pf\n", "a PFM image of floating-point samples, which is not supported", CONVERT),
    (b"P7 332", "an XV thumbnail, which is not supported", CONVERT),
    (b"SIMPLE  =", "a FITS image, which is not supported", CONVERT),
    (b"\x59\xA6\x6A\x95", "a Sun raster image, which is not supported", CONVERT),
    (b"\x01\xDA", "an SGI image, which is not supported", CONVERT),
    (b"/* XPM */", "an XPM image, which is not supported", CONVERT),
    (b"II\xBC\x01", "a JPEG XR image, which is not supported", CONVERT),
    (b"IIU\0", "a camera's raw file, which is not supported", CONVERT_RAW),
    (b"FUJIFILMCCD-RAW", "a camera's raw file, which is not supported", CONVERT_RAW),
    (b"%!PS", "a PostScript document, not an image", CONVERT),
    (b"%PDF", "a PDF document, not an image", CONVERT),
    (b"PK\x03\x04", "a ZIP archive, not an image", UNPACK),
    (b"\x1F\x8B", "a gzip archive, not an image", UNPACK),
    (b"\x1A\x45\xDF\xA3", "a video, not an image", EXTRACT),
    // macOS writes one beside each file on a foreign file system, with a name that begins with
    // "._".
    (b"\0\x05\x16\x07", "a macOS metadata file (AppleDouble), not an image", REMOVE),
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not an image",
        "fetch the image with `git lfs pull`",
    ),
];

const AVIF_BRANDS: [&[u8; 4]; 2] = [b"avif", b"avis"];
const HEIC_BRANDS: [&[u8; 4]; 8] =
    [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"];

/// Whether a file in ISO's base media format follows any of these brands. The file names its own
/// brand, and then those that it is compatible with.
fn has_brand(bytes: &[u8], brands: &[&[u8; 4]]) -> bool {
    let length = bytes.first_chunk().map_or(0, |&length| u32::from_be_bytes(length)) as usize;
    let header =
        bytes.get(8..length.clamp(12, 256)).or_else(|| bytes.get(8..12)).unwrap_or_default();
    header.as_chunks::<4>().0.iter().any(|brand| brands.contains(&brand))
}

/// A description of a file in ISO's base media format by its brands.
fn by_brands(bytes: &[u8]) -> (&'static str, &'static str) {
    let has = |brands| has_brand(bytes, brands);
    match () {
        () if has(&AVIF_BRANDS) => ("an AVIF image, which is not supported", CONVERT_AVIF),
        () if has(&HEIC_BRANDS) => ("an HEIC image, which is not supported", CONVERT_HEIC),
        () if has(&[b"crx "]) => ("a camera's raw file, which is not supported", CONVERT_RAW),
        () => ("a video, not an image", EXTRACT),
    }
}
