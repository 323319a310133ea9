//! The operations of automatic augmentation, as Pillow computes them for torchvision: nearest
//! neighbour, and black outside the image.

use crate::RgbImage;

/// One change of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operation {
    /// No change.
    Identity,
    /// Rows move left by this many times their distance from the top.
    ShearX(f64),
    /// Columns move up by this many times their distance from the left.
    ShearY(f64),
    /// Everything moves right by this many pixels.
    TranslateX(i32),
    /// Everything moves down by this many pixels.
    TranslateY(i32),
    /// Everything rotates around the centre, counterclockwise, by this many degrees.
    Rotate(f64),
    /// 0 is black, 1 the image itself.
    Brightness(f64),
    /// 0 is grey, 1 the image itself.
    Color(f64),
    /// 0 is the mean grey, 1 the image itself.
    Contrast(f64),
    /// 0 is a smoothed image, 1 the image itself.
    Sharpness(f64),
    /// This many upper bits of each level are kept.
    Posterize(u32),
    /// Levels from this one up are inverted.
    Solarize(f64),
    /// Each channel is stretched to all levels.
    AutoContrast,
    /// Each channel's histogram is equalised.
    Equalize,
}

impl Operation {
    /// The changed image, of the same size.
    #[must_use]
    pub fn apply(self, image: RgbImage) -> RgbImage {
        let (half_width, half_height) =
            (f64::from(image.width) / 2.0, f64::from(image.height) / 2.0);
        match self {
            Self::Identity => image,
            Self::ShearX(slope) => affine(&image, [1.0, as_an_angle(slope), 0.0, 0.0, 1.0, 0.0]),
            Self::ShearY(slope) => affine(&image, [1.0, 0.0, 0.0, as_an_angle(slope), 1.0, 0.0]),
            Self::TranslateX(pixels) => {
                affine(&image, [1.0, 0.0, f64::from(-pixels), 0.0, 1.0, 0.0])
            }
            Self::TranslateY(pixels) => {
                affine(&image, [1.0, 0.0, 0.0, 0.0, 1.0, f64::from(-pixels)])
            }
            Self::Rotate(degrees) => {
                let (sine, cosine) = (-degrees.rem_euclid(360.0).to_radians()).sin_cos();
                let left = cosine * -half_width + sine * -half_height + half_width;
                let top = -sine * -half_width + cosine * -half_height + half_height;
                affine(&image, [cosine, sine, left, -sine, cosine, top])
            }
            Self::Brightness(factor) => blend(image, factor, |_| [0; 3]),
            Self::Color(factor) => blend(image, factor, |pixel| [luma(pixel); 3]),
            Self::Contrast(factor) => {
                let mean = mean_luma(&image);
                blend(image, factor, |_| [mean; 3])
            }
            Self::Sharpness(factor) => {
                let smooth = smoothed(&image);
                let mut places = smooth.pixels.as_chunks::<3>().0.iter();
                blend(image, factor, |pixel| places.next().copied().unwrap_or(pixel))
            }
            Self::Posterize(bits) => {
                let mask = !(0xFF_u32 >> bits) as u8;
                per_level(image, |level| level & mask)
            }
            Self::Solarize(threshold) => {
                per_level(
                    image,
                    |level| if f64::from(level) < threshold { level } else { 255 - level },
                )
            }
            Self::AutoContrast => per_channel(image, stretched),
            Self::Equalize => per_channel(image, equalized),
        }
    }
}

/// torchvision passes a shear as an angle and takes the slope of that.
fn as_an_angle(slope: f64) -> f64 {
    slope.atan().to_degrees().to_radians().tan()
}

/// Takes each pixel from the one nearest to `(a x + b y + c, d x + e y + f)`, in Pillow's
/// fixed-point numbers with 16 fractional bits.
fn affine(image: &RgbImage, [a, b, c, d, e, f]: [f64; 6]) -> RgbImage {
    let fixed = |value: f64| (value * 65536.0 + 0.5).floor() as i64;
    let mut moved = RgbImage::filled(image.width, image.height, [0; 3]);
    let (width, height) = (image.width as usize, image.height as usize);
    // A pixel's position is that of its centre.
    let (mut row_x, mut row_y) = (fixed(c + a * 0.5 + b * 0.5), fixed(f + d * 0.5 + e * 0.5));
    for row in moved.pixels.chunks_exact_mut(width * 3) {
        let (mut x, mut y) = (row_x, row_y);
        for pixel in row.chunks_exact_mut(3) {
            let found = (usize::try_from(x >> 16), usize::try_from(y >> 16));
            if let (Ok(left), Ok(top)) = found
                && left < width
                && top < height
            {
                let place = (top * width + left) * 3;
                pixel.copy_from_slice(&image.pixels[place..place + 3]);
            }
            x += fixed(a);
            y += fixed(d);
        }
        row_x += fixed(b);
        row_y += fixed(e);
    }
    moved
}

/// Interpolates between `other` of a pixel (factor 0) and the pixel itself (factor 1), or
/// extrapolates. Pixels come in order.
fn blend(mut image: RgbImage, factor: f64, mut other: impl FnMut([u8; 3]) -> [u8; 3]) -> RgbImage {
    let factor = factor as f32;
    if factor == 1.0 {
        return image;
    }
    for pixel in image.pixels.as_chunks_mut::<3>().0 {
        let from = other(*pixel);
        for (level, from) in pixel.iter_mut().zip(from) {
            // `as` truncates the fraction and clamps to the range of levels.
            *level = (f32::from(from) + factor * (f32::from(*level) - f32::from(from))) as u8;
        }
    }
    image
}

/// A pixel's grey level by ITU-R 601-2.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    ((u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471 + 0x8000) >> 16)
        as u8
}

fn mean_luma(image: &RgbImage) -> u8 {
    let (pixels, _) = image.pixels.as_chunks::<3>();
    let sum: u64 = pixels.iter().map(|pixel| u64::from(luma(*pixel))).sum();
    (sum as f64 / pixels.len().max(1) as f64 + 0.5) as u8
}

/// Pillow's filter `SMOOTH`: each pixel counts five times and its eight neighbours once. Pixels at
/// the edge stay unchanged.
fn smoothed(image: &RgbImage) -> RgbImage {
    let (width, height) = (image.width as usize, image.height as usize);
    let mut smooth = image.clone();
    for row in 1..height.saturating_sub(1) {
        for place in (row * width + 1) * 3..((row + 1) * width).saturating_sub(1) * 3 {
            let at = |up: usize, left: usize| {
                u32::from(image.pixels[place + 3 - 3 * left + width * 3 - up * width * 3])
            };
            let all: u32 = (0..3)
                .flat_map(|up| (0..3).map(move |left| (up, left)))
                .map(|(up, left)| at(up, left))
                .sum();
            smooth.pixels[place] = (((all + 4 * at(1, 1)) * 2 + 13) / 26) as u8;
        }
    }
    smooth
}

fn per_level(mut image: RgbImage, change: impl Fn(u8) -> u8) -> RgbImage {
    image.pixels.iter_mut().for_each(|level| *level = change(*level));
    image
}

/// Replaces levels by a table that `table` computes from each channel's histogram; `None` leaves
/// the channel unchanged.
fn per_channel(mut image: RgbImage, table: impl Fn(&[u32; 256]) -> Option<[u8; 256]>) -> RgbImage {
    for channel in 0..3 {
        let mut histogram = [0_u32; 256];
        image
            .pixels
            .iter()
            .skip(channel)
            .step_by(3)
            .for_each(|&level| histogram[usize::from(level)] += 1);
        if let Some(table) = table(&histogram) {
            image
                .pixels
                .iter_mut()
                .skip(channel)
                .step_by(3)
                .for_each(|level| *level = table[usize::from(*level)]);
        }
    }
    image
}

fn stretched(histogram: &[u32; 256]) -> Option<[u8; 256]> {
    let lowest = histogram.iter().position(|&count| count > 0)?;
    let highest = histogram.iter().rposition(|&count| count > 0)?;
    let scale = (highest > lowest).then(|| 255.0 / (highest - lowest) as f64)?;
    let offset = -(lowest as f64) * scale;
    Some(std::array::from_fn(|level| (level as f64 * scale + offset) as u8))
}

fn equalized(histogram: &[u32; 256]) -> Option<[u8; 256]> {
    let last = histogram.iter().rposition(|&count| count > 0)?;
    let below: u32 = histogram[..last].iter().sum();
    let step = below / 255;
    if step == 0 {
        return None;
    }
    let mut sum = step / 2;
    Some(std::array::from_fn(|level| {
        let value = (sum / step).min(255) as u8;
        sum += histogram[level];
        value
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_one_level_and_of_one_pixel_are_accepted() {
        let operations = [
            Operation::ShearX(0.99),
            Operation::Rotate(-135.0),
            Operation::Contrast(0.01),
            Operation::Sharpness(1.99),
            Operation::AutoContrast,
            Operation::Equalize,
        ];
        for operation in operations {
            for (width, height) in [(1, 1), (2, 3), (300, 1)] {
                let changed = operation.apply(RgbImage::filled(width, height, [7, 100, 255]));
                assert_eq!(
                    (changed.width, changed.height, changed.pixels.len()),
                    (width, height, (width * height * 3) as usize)
                );
            }
        }
        let flat = RgbImage::filled(20, 20, [7, 100, 255]);
        assert_eq!(Operation::AutoContrast.apply(flat.clone()).pixels, flat.pixels);
        assert_eq!(Operation::Equalize.apply(flat.clone()).pixels, flat.pixels);
    }
}
