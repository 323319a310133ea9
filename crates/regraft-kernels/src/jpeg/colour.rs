//! Luma and chroma to RGB, by the JFIF standard's formula in libjpeg's fixed point.

use crate::isa::for_each_isa;

/// 0.402, 0.228, 0.34414 and 0.71414 with 16 fractional bits. Red is luma + 1.402 chroma and blue
/// is luma + 1.772 chroma; the integer parts are added separately, so that the rest fits into 16
/// bits.
const RED_REST: i32 = 26_345;
const BLUE_REST: i32 = -14_942;
const GREEN_BLUE: i32 = -22_554;
const GREEN_RED: i32 = -46_802;

/// A row of RGB pixels, `[N, 3]`, from luma, blue and red chroma, `[N]` each.
///
/// # Panics
///
/// If the lengths do not match.
pub fn rgb(luma: &[u8], blue: &[u8], red: &[u8], output: &mut [u8]) {
    let fits =
        luma.len() == blue.len() && luma.len() == red.len() && output.len() == 3 * luma.len();
    assert!(fits, "the lengths do not fit");
    rgb_rows(luma, blue, red, output);
}

for_each_isa! { fn rgb_rows(luma: &[u8], blue: &[u8], red: &[u8], output: &mut [u8]) => rgb_body }

#[inline(always)]
fn rgb_body<const FUSED: bool>(luma: &[u8], blue: &[u8], red: &[u8], output: &mut [u8]) {
    let pixels = output.as_chunks_mut::<3>().0;
    for (((pixel, &luma), &blue), &red) in pixels.iter_mut().zip(luma).zip(blue).zip(red) {
        let (luma, blue, red) = (i16::from(luma), i16::from(blue) - 128, i16::from(red) - 128);
        let green = i32::from(blue) * GREEN_BLUE + i32::from(red) * GREEN_RED + (1 << 15);
        // Byte by byte, because the compiler does not vectorise the assignment of an array of
        // three.
        pixel[0] = (luma + red + fraction(red, RED_REST)).clamp(0, 255) as u8;
        pixel[1] = (luma + (green >> 16) as i16).clamp(0, 255) as u8;
        pixel[2] = (luma + 2 * blue + fraction(blue, BLUE_REST)).clamp(0, 255) as u8;
    }
}

/// `value * factor / 2^16`, rounded: twice the upper half of the product, which is a vector
/// instruction for 16 bits, halved with rounding.
#[inline(always)]
fn fraction(value: i16, factor: i32) -> i16 {
    (((i32::from(2 * value) * factor) >> 16) as i16 + 1) >> 1
}
