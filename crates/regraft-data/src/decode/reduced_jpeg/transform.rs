//! The inverse cosine transform of a block's lowest frequencies.

use super::entropy::Block;
use std::f64::consts::PI;
use std::sync::LazyLock;

/// `[frequency][pixel]` of the transform of a side of N pixels, as far as N; scaled so that twice applied it gives the pixels of
/// a block whose frequencies were those of eight.
struct Basis([[f32; 8]; 8]);

impl Basis {
    fn new(side: usize) -> Self {
        let value = |frequency: usize, pixel: usize| {
            let scale = if frequency == 0 { 0.5f64.sqrt() } else { 1.0 };
            // The usual orthonormal transform has sqrt(2 / N), and a frequency of N is sqrt(N / 8) of that of eight: together 1/2.
            0.5 * scale * (PI * (2 * pixel + 1) as f64 * frequency as f64 / (2 * side) as f64).cos()
        };
        Self(std::array::from_fn(|frequency| {
            std::array::from_fn(|pixel| if frequency < side && pixel < side { value(frequency, pixel) as f32 } else { 0.0 })
        }))
    }
}

static OF_TWO: LazyLock<Basis> = LazyLock::new(|| Basis::new(2));
static OF_FOUR: LazyLock<Basis> = LazyLock::new(|| Basis::new(4));
static OF_EIGHT: LazyLock<Basis> = LazyLock::new(|| Basis::new(8));

/// Writes a block's pixels to the first `side` rows of `target`, whose rows are `stride` apart, and clears the block.
pub fn write(block: &mut Block, side: usize, target: &mut [u8], stride: usize) {
    if block.has_details {
        match side {
            2 => inverse::<2>(block, &OF_TWO, target, stride),
            4 => inverse::<4>(block, &OF_FOUR, target, stride),
            _ => inverse::<8>(block, &OF_EIGHT, target, stride),
        }
        block.frequencies.fill(0.0);
        block.has_details = false;
    } else {
        let level = pixel(block.frequencies[0] / 8.0);
        for row in 0..side {
            target[row * stride..][..side].fill(level);
        }
    }
    block.rows = 0;
}

fn inverse<const N: usize>(block: &Block, basis: &Basis, target: &mut [u8], stride: usize) {
    let mut pixels = [[0.0f32; N]; N];
    for row in 0..N {
        if block.rows & 1 << row == 0 {
            continue;
        }
        let mut across = [0.0f32; N];
        for column in 0..N {
            let frequency = block.frequencies[row * 8 + column];
            if N == 8 && frequency == 0.0 {
                continue;
            }
            for (sum, basis) in across.iter_mut().zip(&basis.0[column]) {
                *sum += frequency * basis;
            }
        }
        for (line, down) in pixels.iter_mut().zip(&basis.0[row]) {
            for (sum, across) in line.iter_mut().zip(&across) {
                *sum += across * down;
            }
        }
    }
    for (row, line) in pixels.iter().enumerate() {
        for (target, &value) in target[row * stride..][..N].iter_mut().zip(line) {
            *target = pixel(value);
        }
    }
}

/// Levels are stored around 128. Rounds to the nearest by adding 2^23, above which an f32 has no fractions: unlike a cast, whole
/// rows of this are done at once on every processor.
#[inline]
fn pixel(value: f32) -> u8 {
    ((value + 128.0).clamp(0.0, 255.0) + 8_388_608.0).to_bits() as u8
}
