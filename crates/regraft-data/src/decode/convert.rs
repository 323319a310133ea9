//! Converts other kinds of pixels to 8-bit RGB, as Pillow does.

use image::DynamicImage;
use image::metadata::Orientation;

use super::DecodeReason;
use crate::RgbImage;

/// Converts a decoded image: grey is copied to the three channels, the upper eight of 16 bits are
/// kept (as in Pillow), and alpha is composited on white.
pub fn to_rgb(decoded: DynamicImage, format: &'static str) -> Result<RgbImage, DecodeReason> {
    let (width, height) = (decoded.width(), decoded.height());
    let pixels = match decoded {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        DynamicImage::ImageRgba8(image) => rgba_on_white(image.as_raw()),
        DynamicImage::ImageLuma8(image) => grey(image.as_raw()),
        DynamicImage::ImageLumaA8(image) => grey_on_white(image.as_raw()),
        DynamicImage::ImageRgb16(image) => upper_eight_bits(image.as_raw()),
        DynamicImage::ImageRgba16(image) => rgba_on_white(&upper_eight_bits(image.as_raw())),
        DynamicImage::ImageLuma16(image) => grey(&upper_eight_bits(image.as_raw())),
        DynamicImage::ImageLumaA16(image) => grey_on_white(&upper_eight_bits(image.as_raw())),
        other => {
            let message = format!("its pixels are {:?}, whose range is not known", other.color());
            return Err(DecodeReason::Unsupported { format, message });
        }
    };
    Ok(RgbImage { width, height, pixels })
}

/// Rotates and mirrors an image as its metadata say.
pub fn oriented(image: RgbImage, orientation: Orientation) -> RgbImage {
    if orientation == Orientation::NoTransforms {
        return image;
    }
    let buffer = image::RgbImage::from_raw(image.width, image.height, image.pixels)
        .expect("the length belongs to the size");
    let mut turned = DynamicImage::ImageRgb8(buffer);
    turned.apply_orientation(orientation);
    let turned = turned.into_rgb8();
    RgbImage { width: turned.width(), height: turned.height(), pixels: turned.into_raw() }
}

/// Converts `[N]` grey values to `[N, 3]`.
pub fn grey(values: &[u8]) -> Vec<u8> {
    values.iter().flat_map(|&value| [value; 3]).collect()
}

/// Converts `[N, 2]` grey and alpha to `[N, 3]`.
pub fn grey_on_white(values: &[u8]) -> Vec<u8> {
    values.as_chunks().0.iter().flat_map(|&[value, alpha]| [on_white(value, alpha); 3]).collect()
}

/// Converts `[N, 4]` red, green, blue and alpha to `[N, 3]`.
pub fn rgba_on_white(values: &[u8]) -> Vec<u8> {
    values
        .as_chunks()
        .0
        .iter()
        .flat_map(|&[red, green, blue, alpha]| {
            [red, green, blue].map(|value| on_white(value, alpha))
        })
        .collect()
}

/// Divides colours that were multiplied by alpha, rounding down as Pillow does.
pub fn divide_by_alpha(pixel: &mut [u8]) {
    let Some((&mut alpha, colours)) = pixel.split_last_mut() else { return };
    for level in colours {
        *level = match alpha {
            0 => 0,
            alpha => (u32::from(*level) * 255 / u32::from(alpha)).min(255) as u8,
        };
    }
}

/// Converts `[N, 4]` red, green, blue and a meaningless fourth value to `[N, 3]`.
pub fn without_alpha(values: &[u8]) -> Vec<u8> {
    values.as_chunks().0.iter().flat_map(|&[red, green, blue, _]| [red, green, blue]).collect()
}

/// Converts `[N, 4]` cyan, magenta, yellow and black (255 is full ink) to `[N, 3]`, by Pillow's
/// formula.
pub fn cmyk(values: &[u8]) -> Vec<u8> {
    let mixed = |ink: u8, light: u8| light - divided_by_255(u32::from(ink) * u32::from(light));
    values
        .as_chunks()
        .0
        .iter()
        .flat_map(|&[cyan, magenta, yellow, black]| {
            [cyan, magenta, yellow].map(|ink| mixed(ink, 255 - black))
        })
        .collect()
}

fn on_white(value: u8, alpha: u8) -> u8 {
    divided_by_255(u32::from(value) * u32::from(alpha) + 255 * (255 - u32::from(alpha)))
}

/// `value / 255` rounded to the nearest integer, for values up to 255 * 255.
fn divided_by_255(value: u32) -> u8 {
    let value = value + 128;
    ((value + (value >> 8)) >> 8) as u8
}

fn upper_eight_bits(values: &[u16]) -> Vec<u8> {
    values.iter().map(|value| (value >> 8) as u8).collect()
}
