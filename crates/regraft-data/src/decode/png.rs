//! PNG, decoded by the `png` crate directly and not through `image`, which gives no access to text
//! chunks: ImageMagick stores EXIF data in one.

use std::io::Cursor;

use image::metadata::Orientation;
use png::{ColorType, Decoder, DecodingError, Info, Limits, Transformations};

use super::orientation::orientation as stated_orientation;
use super::{DecodeReason, check_size, convert};
use crate::RgbImage;

pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<RgbImage, DecodeReason> {
    if bytes.get(12..16) == Some(b"CgBI") {
        let message = "an app's PNG that Apple's tools changed (CgBI): restore it with \
                       `xcrun pngcrush -revert-iphone-optimizations IN OUT.png`";
        return Err(DecodeReason::Unsupported { format: "PNG", message: message.to_owned() });
    }
    let limit = usize::try_from(max_pixels.saturating_mul(8).max(1 << 24)).unwrap_or(usize::MAX);
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: limit });
    let header = decoder.read_header_info().map_err(reason)?;
    check_size("PNG", header.width, header.height, max_pixels)?;
    // Palettes, fewer than eight bits and transparent colours are expanded; the upper eight of 16
    // bits are kept, as in Pillow.
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(reason)?;
    let size = reader.output_buffer_size().ok_or_else(|| damaged("its size overflows"))?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels).map_err(reason)?;
    let (width, height) = reader.info().size();
    if (frame.width, frame.height) != (width, height) {
        return Err(damaged("its first frame does not fill it"));
    }
    let pixels = match frame.color_type {
        ColorType::Rgb => pixels,
        ColorType::Rgba => convert::rgba_on_white(&pixels),
        ColorType::Grayscale => convert::grey(&pixels),
        ColorType::GrayscaleAlpha => convert::grey_on_white(&pixels),
        ColorType::Indexed => return Err(damaged("its palette was not expanded")),
    };
    // Metadata may follow the pixels; a fault behind the pixels does not affect the image.
    let _ = reader.finish();
    Ok(convert::oriented(RgbImage { width, height, pixels }, stated(reader.info())))
}

/// The image's orientation by its metadata.
pub fn orientation(bytes: &[u8]) -> Option<Orientation> {
    let mut reader = Decoder::new(Cursor::new(bytes)).read_info().ok()?;
    // The metadata may follow the pixels.
    let _ = reader.finish();
    Some(stated(reader.info()))
}

/// The orientation from the EXIF chunk, otherwise from ImageMagick's text chunk, otherwise from the
/// text chunk for XMP.
fn stated(info: &Info) -> Orientation {
    let exif = info.exif_metadata.as_deref().map(<[u8]>::to_vec).or_else(|| imagemagick_exif(info));
    stated_orientation(
        exif.as_deref(),
        text(info, "XML:com.adobe.xmp").as_deref().map(str::as_bytes),
    )
}

/// EXIF data as ImageMagick stores it: a name, a length and hexadecimal digits, each on lines of
/// their own.
fn imagemagick_exif(info: &Info) -> Option<Vec<u8>> {
    let text = text(info, "Raw profile type exif")?;
    let digits: Vec<u8> = text
        .lines()
        .skip(3)
        .flat_map(str::bytes)
        .filter_map(|digit| char::from(digit).to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    Some(digits.as_chunks().0.iter().map(|&[high, low]| high << 4 | low).collect())
}

/// A text chunk of any kind. If several have the same keyword, the last one counts, as in Pillow.
fn text(info: &Info, keyword: &str) -> Option<String> {
    let international = info.utf8_text.iter().rfind(|chunk| chunk.keyword == keyword);
    let compressed = info.compressed_latin1_text.iter().rfind(|chunk| chunk.keyword == keyword);
    let plain = info.uncompressed_latin1_text.iter().rfind(|chunk| chunk.keyword == keyword);
    international
        .and_then(|chunk| chunk.get_text().ok())
        .or_else(|| compressed.and_then(|chunk| chunk.get_text().ok()))
        .or_else(|| plain.map(|chunk| chunk.text.clone()))
}

fn damaged(message: &str) -> DecodeReason {
    DecodeReason::Damaged { format: "PNG", message: message.to_owned() }
}

fn reason(error: DecodingError) -> DecodeReason {
    match error {
        DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeReason::Truncated("PNG")
        }
        DecodingError::LimitsExceeded => damaged("it needs more memory than its pixels do"),
        error => damaged(&in_words(&error.to_string())),
    }
}

/// A message of the `png` crate without the Rust values in it: a chunk only by its name, and
/// nothing of the decompressor's state.
fn in_words(message: &str) -> String {
    if message.starts_with("Corrupt deflate stream") {
        return "its compressed data is damaged".to_owned();
    }
    if message.starts_with("CRC error") {
        return match chunk_name(message) {
            Some(name) => format!("the checksum of its {name} chunk is wrong"),
            None => "the checksum of a chunk is wrong".to_owned(),
        };
    }
    let mut words = message.trim_end_matches('.').to_owned();
    while let (Some(start), Some(name)) = (words.find("ChunkType {"), chunk_name(&words)) {
        let end = words[start..].find('}').map_or(words.len(), |length| start + length + 1);
        words.replace_range(start..end, &name);
    }
    words
}

/// The name in `ChunkType { type: IDAT, ... }`.
fn chunk_name(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("ChunkType { type: ")?;
    let name = rest.split([',', ' ']).next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::in_words;

    #[test]
    fn messages_hold_no_rust_values() {
        let chunk = "ChunkType { type: IDAT, critical: true, private: false, reserved: false, \
            safecopy: false }";
        for (message, expected) in [
            (
                format!("CRC error: expected 0xa have 0xb while decoding {chunk} chunk."),
                "the checksum of its IDAT chunk is wrong",
            ),
            (
                "Corrupt deflate stream. DistanceTooFarBack".to_owned(),
                "its compressed data is damaged",
            ),
            (
                format!("Chunk {chunk} must appear at most once."),
                "Chunk IDAT must appear at most once",
            ),
            (
                format!("{chunk} chunk appeared before IHDR chunk"),
                "IDAT chunk appeared before IHDR chunk",
            ),
            ("Invalid PNG signature.".to_owned(), "Invalid PNG signature"),
        ] {
            assert_eq!(in_words(&message), expected);
        }
    }
}
