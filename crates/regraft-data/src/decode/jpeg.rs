//! JPEG, by `zune-jpeg`, with colours as libjpeg and Pillow read them.

use image::metadata::Orientation;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{DecodeOptions, DecodeReason, Decoded, check_size, convert, reduced_jpeg};
use crate::RgbImage;

pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Decoded, DecodeReason> {
    let structure = Structure::of(bytes);
    // Pillow refuses a file without its end, and so do we.
    let mut reducible = true;
    if structure.complete && options.least_side.is_some() {
        match reduced(bytes, options) {
            Reduced::Picture(decoded) => return Ok(decoded),
            Reduced::TooLarge(reason) => return Err(reason),
            Reduced::Whole { reducible: found } => reducible = found,
        }
    }
    let whole = if structure.complete { read(bytes, &structure, options, true) } else { Err(DecodeReason::Truncated("JPEG")) };
    match whole {
        Ok(image) => {
            let reducible_side = if reducible { image.width.min(image.height) } else { 0 };
            Ok(Decoded { image, truncated: false, reduction: 1, reducible_side })
        }
        Err(DecodeReason::Truncated(_) | DecodeReason::Damaged { .. }) if options.allow_truncated => {
            // The decoder goes on where pixels are missing, but not where the file is.
            let ended = [&bytes[..structure.usable], &[0xFF, 0xD9]].concat();
            read(&ended, &structure, options, false).map(|image| Decoded {
                image,
                truncated: true,
                reduction: 1,
                reducible_side: 0,
            })
        }
        // A size beyond the limit says more than that the file is cut off.
        Err(reason @ DecodeReason::Truncated(_)) => Err(too_large(bytes, options.max_pixels).unwrap_or(reason)),
        Err(reason) => Err(reason),
    }
}

fn open(bytes: &[u8]) -> (JpegDecoder<ZCursor<&[u8]>>, DecoderOptions) {
    // The size is bounded elsewhere, in pixels; the decoder's own bounds are on each side alone. Among the headers odd bytes do
    // no harm.
    let options = DecoderOptions::default().set_strict_mode(false).set_max_width(usize::MAX).set_max_height(usize::MAX);
    (JpegDecoder::new_with_options(ZCursor::new(bytes), options), options)
}

/// What became of the wish to have a picture at a part of its size.
enum Reduced {
    Picture(Decoded),
    TooLarge(DecodeReason),
    /// It is to be decoded whole, for it is small, or cannot be reduced.
    Whole {
        reducible: bool,
    },
}

fn reduced(bytes: &[u8], options: &DecodeOptions) -> Reduced {
    let (mut decoder, _) = open(bytes);
    let Some((width, height)) = decoder.decode_headers().ok().and_then(|()| decoder.dimensions()) else {
        return Reduced::Whole { reducible: false };
    };
    let (width, height) = (width as u32, height as u32);
    if let Err(reason) = check_size("JPEG", width, height, options.max_pixels) {
        return Reduced::TooLarge(reason);
    }
    let reducible_side = width.min(height);
    let reduction = options.reduction(reducible_side);
    if reduction == 1 {
        return Reduced::Whole { reducible: true };
    }
    match reduced_jpeg::decode(bytes, reduction) {
        Some(image) => Reduced::Picture(Decoded { image: turned(image, &decoder), truncated: false, reduction, reducible_side }),
        None => Reduced::Whole { reducible: false },
    }
}

/// The picture as its EXIF data asks.
fn turned(image: RgbImage, decoder: &JpegDecoder<ZCursor<&[u8]>>) -> RgbImage {
    let orientation = decoder.exif().and_then(|chunk| Orientation::from_exif_chunk(chunk));
    convert::oriented(image, orientation.unwrap_or(Orientation::NoTransforms))
}

/// How the EXIF data ask for the picture to be turned, if they do.
pub fn orientation(bytes: &[u8]) -> Option<Orientation> {
    let (mut decoder, _) = open(bytes);
    decoder.decode_headers().ok()?;
    decoder.exif().and_then(|chunk| Orientation::from_exif_chunk(chunk))
}

fn too_large(bytes: &[u8], max_pixels: u64) -> Option<DecodeReason> {
    let (mut decoder, _) = open(bytes);
    decoder.decode_headers().ok()?;
    let (width, height) = decoder.dimensions()?;
    check_size("JPEG", width as u32, height as u32, max_pixels)
        .err()
        .filter(|reason| matches!(reason, DecodeReason::TooLarge { .. }))
}

/// Decodes the picture. Unless it is `strict`, the decoder fills what it cannot read with grey.
fn read(bytes: &[u8], structure: &Structure, options: &DecodeOptions, strict: bool) -> Result<RgbImage, DecodeReason> {
    let (mut decoder, decoder_options) = open(bytes);
    decoder.decode_headers().map_err(|error| reason(error, structure.complete))?;
    let (width, height) = decoder.dimensions().ok_or_else(|| damaged("it has no size"))?;
    let (width, height) = (width as u32, height as u32);
    check_size("JPEG", width, height, options.max_pixels)?;
    let stored = decoder.input_colorspace().ok_or_else(|| damaged("it has no colour space"))?;
    let wanted = match stored {
        // Four channels come as they are stored: whether they are inverted is for us to say.
        ColorSpace::CMYK | ColorSpace::YCCK => stored,
        ColorSpace::Luma => ColorSpace::Luma,
        _ => ColorSpace::RGB,
    };
    decoder.set_options(decoder_options.set_strict_mode(strict).jpeg_set_out_colorspace(wanted));
    let pixels = decoder.decode().map_err(|error| reason(error, structure.complete))?;
    let pixels = match wanted {
        ColorSpace::Luma => convert::grey(&pixels),
        ColorSpace::RGB => pixels,
        _ => convert::cmyk(&inks(pixels, stored == ColorSpace::YCCK, structure.adobe)),
    };
    if pixels.len() != width as usize * height as usize * 3 {
        return Err(damaged("it holds fewer pixels than its size asks for"));
    }
    Ok(turned(RgbImage { width, height, pixels }, &decoder))
}

/// `[N, 4]` as stored to cyan, magenta, yellow, black. Adobe's programs store inks inverted (0 is full ink) and mark the file.
fn inks(mut pixels: Vec<u8>, is_ycck: bool, adobe: bool) -> Vec<u8> {
    for pixel in pixels.as_chunks_mut::<4>().0 {
        if is_ycck {
            let [luma, blue, red, _] = pixel.map(f32::from);
            let (blue, red) = (blue - 128.0, red - 128.0);
            let light = [luma + 1.402 * red, luma - 0.344_136_28 * blue - 0.714_136_3 * red, luma + 1.772 * blue];
            for (ink, light) in pixel.iter_mut().zip(light) {
                *ink = 255 - light.round() as u8;
            }
        }
        if adobe {
            *pixel = pixel.map(|ink| 255 - ink);
        }
    }
    pixels
}

/// What the markers say that the decoder does not pass on.
struct Structure {
    /// There is an Adobe marker.
    adobe: bool,
    /// The end-of-image marker is there.
    complete: bool,
    /// So many bytes can be used: all, or those before the segment that is cut off.
    usable: usize,
}

impl Structure {
    /// Walks the markers: segments are skipped by their length (they may hold a thumbnail with markers of its own), compressed
    /// data is searched for the next marker (in it, a byte 0xFF is followed by 0 or a restart marker).
    fn of(bytes: &[u8]) -> Self {
        let mut structure = Self { adobe: false, complete: false, usable: bytes.len() };
        let mut rest = bytes.get(2..).unwrap_or_default();
        while let Some(start) = rest.windows(2).position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xD0..=0xD7 | 0xFF)) {
            let marker = rest[start + 1];
            let before = bytes.len() - rest.len() + start;
            rest = &rest[start + 2..];
            match marker {
                0xD9 => {
                    structure.complete = true;
                    break;
                }
                // Markers without a length: start of image, temporary.
                0xD8 | 0x01 => {}
                _ => {
                    let length = rest.first_chunk().map(|&length| usize::from(u16::from_be_bytes(length)).max(2));
                    let Some(after) = length.and_then(|length| rest.get(length..)) else {
                        structure.usable = before;
                        break;
                    };
                    structure.adobe |= marker == 0xEE && rest[2..].starts_with(b"Adobe");
                    rest = after;
                    // A file that ends as it should after its scan has begun need not be searched.
                    if marker == 0xDA && rest.ends_with(&[0xFF, 0xD9]) {
                        structure.complete = true;
                        break;
                    }
                }
            }
        }
        structure
    }
}

fn damaged(message: &str) -> DecodeReason {
    DecodeReason::Damaged { format: "JPEG", message: message.to_owned() }
}

fn reason(error: DecodeErrors, complete: bool) -> DecodeReason {
    match error {
        DecodeErrors::Unsupported(scheme) => DecodeReason::Unsupported { format: "JPEG", message: format!("{scheme:?}") },
        DecodeErrors::ExhaustedData => DecodeReason::Truncated("JPEG"),
        _ if !complete => DecodeReason::Truncated("JPEG"),
        error => damaged(format!("{error:?}").trim()),
    }
}
