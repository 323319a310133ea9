//! Converts 8-bit samples of any colour space to RGB, as Pillow and libtiff do.

use super::super::convert;
use super::kinds::{Alpha, Colour, Compression};
use super::layout::Layout;

/// Converts `[N, kept samples]` to `[N, 3]`, with alpha composited on white.
pub fn to_rgb(mut levels: Vec<u8>, layout: &Layout) -> Vec<u8> {
    let kept = layout.kept();
    if layout.alpha == Alpha::Premultiplied {
        levels.chunks_exact_mut(kept).for_each(convert::divide_by_alpha);
    }
    let has_alpha = layout.alpha != Alpha::None;
    match layout.colour {
        Colour::WhiteIsZero | Colour::BlackIsZero => {
            if layout.colour == Colour::WhiteIsZero {
                levels.chunks_exact_mut(kept).for_each(|pixel| pixel[0] = 255 - pixel[0]);
            }
            if has_alpha { convert::grey_on_white(&levels) } else { convert::grey(&levels) }
        }
        Colour::Rgb if has_alpha => convert::rgba_on_white(&levels),
        Colour::Rgb => levels,
        Colour::Palette => {
            let [red, green, blue] = layout.palette.as_ref().expect("a palette was read");
            let colour =
                |&index: &u8| [red, green, blue].map(|channel| channel[usize::from(index)]);
            if has_alpha {
                let pixel = |&[index, alpha]: &[u8; 2]| {
                    let [red, green, blue] = colour(&index);
                    [red, green, blue, alpha]
                };
                let pixels: Vec<u8> = levels.as_chunks().0.iter().flat_map(pixel).collect();
                convert::rgba_on_white(&pixels)
            } else {
                levels.iter().flat_map(colour).collect()
            }
        }
        Colour::Cmyk => convert::cmyk(&levels),
        Colour::YCbCr => {
            let tables = Tables::new(layout);
            levels.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| *pixel = tables.rgb(*pixel));
            levels
        }
    }
}

/// Converts groups of pixels that share their chroma (their luma samples row by row, then both
/// chroma samples) to `[rows, width, 3]` RGB.
pub fn subsampled(data: &[u8], layout: &Layout, [width, height]: [usize; 2]) -> Vec<u8> {
    let [across, down] = layout.subsampling;
    let tables = Tables::new(layout);
    let mut levels = vec![0; width * height * 3];
    let groups = width.div_ceil(across);
    for (number, group) in data.chunks_exact(across * down + 2).enumerate() {
        let [left, top] = [number % groups * across, number / groups * down];
        let (luma, chroma) = group.split_at(across * down);
        for (place, &luma) in luma.iter().enumerate() {
            let [x, y] = [left + place % across, top + place / across];
            if x < width && y < height {
                levels[(y * width + x) * 3..][..3]
                    .copy_from_slice(&tables.rgb([luma, chroma[0], chroma[1]]));
            }
        }
    }
    levels
}

/// YCbCr to RGB with 16 fractional bits (libtiff's `TIFFYCbCrToRGB`), or with 6, as Pillow does
/// itself for uncompressed data.
struct Tables {
    luma: [i32; 256],
    red: [i32; 256],
    blue: [i32; 256],
    /// The amounts that red and blue chroma subtract from green, before the shift.
    green: [[i32; 256]; 2],
    shift: u32,
}

impl Tables {
    fn new(layout: &Layout) -> Self {
        let mut tables =
            Self { luma: [0; 256], red: [0; 256], blue: [0; 256], green: [[0; 256]; 2], shift: 16 };
        let is_plain = layout.compression == Compression::None && !layout.is_subsampled();
        if is_plain {
            tables.shift = 6;
            let places =
                |factor: f64, chroma: i32| (factor * f64::from(chroma) * 64.0 + 0.5) as i32;
            for level in 0..256 {
                let chroma = level as i32 - 128;
                tables.luma[level] = level as i32;
                tables.red[level] = places(1.402, chroma) >> 6;
                tables.blue[level] = places(1.772, chroma) >> 6;
                tables.green = [[0; 256]; 2];
            }
            for level in 0..256 {
                let chroma = level as i32 - 128;
                tables.green[0][level] = places(-0.71414, chroma);
                tables.green[1][level] = places(-0.34414, chroma);
            }
            return tables;
        }
        let [red, green, blue] = layout.luma;
        let fixed = |factor: f32| (f64::from(factor.clamp(0.0, 2.0)) * 65_536.0 + 0.5) as i32;
        let (to_red, to_blue) = (2.0 - 2.0 * red, 2.0 - 2.0 * blue);
        let [red_factor, blue_factor] = [fixed(to_red), fixed(to_blue)];
        let [red_green, blue_green] =
            [-fixed(red * to_red / green), -fixed(blue * to_blue / green)];
        let levels = layout.reference_levels;
        let half = 1 << 15;
        let stretched = |value: f32, black: f32, white: f32, range: f32| {
            let width = if white - black == 0.0 { 1.0 } else { white - black };
            ((value - black.trunc()) * range / width).clamp(-4096.0, 4096.0) as i32
        };
        for level in 0..256 {
            let chroma = level as f32 - 128.0;
            let blue = stretched(chroma, levels[2] - 128.0, levels[3] - 128.0, 127.0);
            let red = stretched(chroma, levels[4] - 128.0, levels[5] - 128.0, 127.0);
            tables.luma[level] = stretched(level as f32, levels[0], levels[1], 255.0);
            tables.red[level] = (red_factor * red + half) >> 16;
            tables.blue[level] = (blue_factor * blue + half) >> 16;
            tables.green[0][level] = red_green * red;
            tables.green[1][level] = blue_green * blue + half;
        }
        tables
    }

    fn rgb(&self, [luma, blue, red]: [u8; 3]) -> [u8; 3] {
        let [luma, blue, red] = [luma, blue, red].map(usize::from);
        let green = (self.green[0][red] + self.green[1][blue]) >> self.shift;
        [self.red[red], green, self.blue[blue]]
            .map(|difference| (self.luma[luma] + difference).clamp(0, 255) as u8)
    }
}
