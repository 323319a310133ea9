//! Small images whose classes even an untrained eye tells apart.

use image::{Rgb, RgbImage};
use std::path::Path;

/// The look of a class's images.
#[derive(Clone, Copy, Debug)]
pub enum Look {
    /// Blue noise.
    Blue,
    /// Red stripes on blue.
    Striped,
    /// Green noise.
    Green,
}

/// Writes images of different sizes, JPEG and PNG in turn, as `0.jpg`, `1.png` and so on.
pub fn write_pictures(folder: &Path, look: Look, count: u32) {
    std::fs::create_dir_all(folder).expect("a folder");
    for number in 0..count {
        let extension = if number % 2 == 0 { "jpg" } else { "png" };
        picture(look, number).save(folder.join(format!("{number}.{extension}"))).expect("an image");
    }
}

/// An image of 40 to 64 pixels a side, another one for each number.
pub fn picture(look: Look, number: u32) -> RgbImage {
    let mut state = 17 + number;
    let mut noise = move || {
        // Numerical Recipes' linear congruential generator; its upper bits are good enough for
        // noise.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8 / 4
    };
    RgbImage::from_fn(40 + number * 7 % 24, 48 + number * 5 % 16, |_, y| {
        let weak = noise();
        match look {
            Look::Striped if y / 4 % 2 == 1 => Rgb([180 + weak, weak, weak]),
            Look::Blue | Look::Striped => Rgb([weak, weak, 180 + weak]),
            Look::Green => Rgb([weak, 180 + weak, weak]),
        }
    })
}
