//! The inverse cosine transform: blocks of 8 x 8 frequencies to samples.
//!
//! Eight neighbouring blocks are transformed at once, one in each lane of a vector. So a
//! transform needs no shuffles between lanes, and the compiler vectorises plain loops.

use std::f64::consts::PI;
use std::sync::LazyLock;

use crate::isa::for_each_isa;

/// Blocks that are transformed at once.
pub const LANES: usize = 8;
/// Side of a block in frequencies.
const SIDE: usize = 8;

/// The frequencies of [`LANES`] neighbouring blocks: `[row * 8 + column][block]`, before
/// multiplication by the quantisation steps.
pub type Blocks = [[i16; LANES]; 64];

/// Transforms a row of blocks into `side` rows of samples.
///
/// `steps` holds the quantisation steps, `[row * 8 + column]`. `side` is the number of samples
/// along a block's side: 8 gives libjpeg-turbo's result; 4, 2 or 1 transforms only the lowest
/// frequencies, which gives the same block at a smaller size. `output` is `[side, stride]`; a row's
/// first `blocks.len() * LANES * side` samples are written.
///
/// # Panics
///
/// If `side` is not 1, 2, 4 or 8, or `output` is too short.
pub fn inverse(
    blocks: &[Blocks],
    steps: &[u16; 64],
    side: usize,
    output: &mut [u8],
    stride: usize,
) {
    let width = blocks.len() * LANES * side;
    assert!(width <= stride && output.len() >= (side - 1) * stride + width, "output is too short");
    match side {
        8 => whole(blocks, steps, output, stride),
        4 => quarter(blocks, steps, output, stride),
        2 => sixteenth(blocks, steps, output, stride),
        1 => means(blocks, steps, output, stride),
        _ => panic!("a block has no side of {side} samples"),
    }
}

for_each_isa! {
    fn whole(blocks: &[Blocks], steps: &[u16; 64], output: &mut [u8], stride: usize) => whole_body
}
for_each_isa! {
    fn quarter(blocks: &[Blocks], steps: &[u16; 64], output: &mut [u8], stride: usize)
        => reduced_body, 4
}
for_each_isa! {
    fn sixteenth(blocks: &[Blocks], steps: &[u16; 64], output: &mut [u8], stride: usize)
        => reduced_body, 2
}

/// One value of each block.
type Lanes = [i32; LANES];

/// Fractional bits of the constants below.
const CONSTANT_BITS: u32 = 13;
/// Fractional bits that are kept between the two passes.
const PASS_BITS: u32 = 2;

/// Sums of cosines with [`CONSTANT_BITS`] fractional bits, named after their values: the constants
/// of Loeffler, Ligtenberg and Moschytz, "Practical fast 1-D DCT algorithms with 11
/// multiplications" (1989), with libjpeg's rounding.
const F_0_298: i32 = 2446;
const F_0_390: i32 = 3196;
const F_0_541: i32 = 4433;
const F_0_765: i32 = 6270;
const F_0_899: i32 = 7373;
const F_1_175: i32 = 9633;
const F_1_501: i32 = 12299;
const F_1_847: i32 = 15137;
const F_1_961: i32 = 16069;
const F_2_053: i32 = 16819;
const F_2_562: i32 = 20995;
const F_3_072: i32 = 25172;

/// One transform in each lane of eight values, of which those from `N` on are zero; the result has
/// `shift` fractional bits fewer. The frequencies of a damaged file may overflow, which does no
/// harm, because sums wrap around.
#[inline(always)]
fn transform<const N: usize>(input: &[Lanes; SIDE], shift: u32) -> [Lanes; SIDE] {
    let mut output = [[0; LANES]; SIDE];
    for lane in 0..LANES {
        let f: [i32; SIDE] =
            std::array::from_fn(|place| if place < N { input[place][lane] } else { 0 });
        let times = i32::wrapping_mul;
        let plus = i32::wrapping_add;
        let minus = i32::wrapping_sub;

        let z1 = times(plus(f[2], f[6]), F_0_541);
        let even_2 = minus(z1, times(f[6], F_1_847));
        let even_3 = plus(z1, times(f[2], F_0_765));
        let even_0 = plus(f[0], f[4]) << CONSTANT_BITS;
        let even_1 = minus(f[0], f[4]) << CONSTANT_BITS;
        let even = [
            plus(even_0, even_3),
            plus(even_1, even_2),
            minus(even_1, even_2),
            minus(even_0, even_3),
        ];

        let z5 = times(plus(plus(f[7], f[3]), plus(f[5], f[1])), F_1_175);
        let z1 = times(plus(f[7], f[1]), -F_0_899);
        let z2 = times(plus(f[5], f[3]), -F_2_562);
        let z3 = plus(times(plus(f[7], f[3]), -F_1_961), z5);
        let z4 = plus(times(plus(f[5], f[1]), -F_0_390), z5);
        let odd = [
            plus(times(f[1], F_1_501), plus(z1, z4)),
            plus(times(f[3], F_3_072), plus(z2, z3)),
            plus(times(f[5], F_2_053), plus(z2, z4)),
            plus(times(f[7], F_0_298), plus(z1, z3)),
        ];

        let half = 1 << (shift - 1);
        for place in 0..SIDE / 2 {
            output[place][lane] = plus(plus(even[place], odd[place]), half) >> shift;
            output[SIDE - 1 - place][lane] = plus(minus(even[place], odd[place]), half) >> shift;
        }
    }
    output
}

/// Whether any of the four frequencies of a column from row `first` on is not zero.
#[inline(always)]
fn any(blocks: &Blocks, column: usize, first: usize) -> bool {
    let mut any = [0i16; LANES];
    for row in first..first + SIDE / 2 {
        for (any, frequency) in any.iter_mut().zip(&blocks[row * SIDE + column]) {
            *any |= frequency;
        }
    }
    any != [0; LANES]
}

#[inline(always)]
fn whole_body<const FUSED: bool>(
    blocks: &[Blocks],
    steps: &[u16; 64],
    output: &mut [u8],
    stride: usize,
) {
    for (place, blocks) in blocks.iter().enumerate() {
        let mut columns = [[[0; LANES]; SIDE]; SIDE];
        // Most blocks of an image have only low frequencies: a column of zeros stays zero, and half
        // of the multiplications are saved if the upper half of the frequencies is zero.
        let mut wide = false;
        for column in 0..SIDE {
            let low = any(blocks, column, 0);
            let high = any(blocks, column, SIDE / 2);
            if !low && !high {
                continue;
            }
            wide |= column >= SIDE / 2;
            let mut scaled = [[0; LANES]; SIDE];
            for row in 0..SIDE {
                let step = i32::from(steps[row * SIDE + column]);
                for (scaled, &frequency) in scaled[row].iter_mut().zip(&blocks[row * SIDE + column])
                {
                    *scaled = i32::from(frequency).wrapping_mul(step);
                }
            }
            const SHIFT: u32 = CONSTANT_BITS - PASS_BITS;
            columns[column] =
                if high { transform::<8>(&scaled, SHIFT) } else { transform::<4>(&scaled, SHIFT) };
        }
        for row in 0..SIDE {
            let input: [Lanes; SIDE] = std::array::from_fn(|column| columns[column][row]);
            // Three bits more, because each pass multiplies by the square root of eight.
            const SHIFT: u32 = CONSTANT_BITS + PASS_BITS + 3;
            let samples =
                if wide { transform::<8>(&input, SHIFT) } else { transform::<4>(&input, SHIFT) };
            let line = &mut output[row * stride + place * LANES * SIDE..][..LANES * SIDE];
            line.as_chunks_mut().0.copy_from_slice(&levels(&samples));
        }
    }
}

/// Turns `[column][block]` around 0 into `[block][column]` from 0 to 255, with SSE2, which every
/// x86-64 processor has: two packings with saturation and three rounds of interleaving. The
/// compiler generates neither from plain loops, which take three times as long.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn levels(samples: &[Lanes; SIDE]) -> [[u8; SIDE]; LANES] {
    use std::arch::x86_64::{
        __m128i, _mm_cvtsi128_si64, _mm_loadu_si128, _mm_packs_epi16, _mm_packs_epi32,
        _mm_set1_epi8, _mm_unpackhi_epi8, _mm_unpackhi_epi64, _mm_unpacklo_epi8, _mm_xor_si128,
    };
    // SAFETY: these are SSE2 instructions; each load reads half of the eight values of a column.
    unsafe {
        let halves = |column: usize| {
            let start: *const __m128i = samples[column].as_ptr().cast();
            _mm_packs_epi32(_mm_loadu_si128(start), _mm_loadu_si128(start.add(1)))
        };
        // Columns 0 to 3 interleaved with 4 to 7.
        let once: [__m128i; 4] = std::array::from_fn(|column| {
            let both = _mm_packs_epi16(halves(column), halves(column + 4));
            // Flipping the sign bit turns -128 to 127 into 0 to 255.
            let both = _mm_xor_si128(both, _mm_set1_epi8(-128));
            _mm_unpacklo_epi8(both, _mm_unpackhi_epi64(both, both))
        });
        let low = [_mm_unpacklo_epi8(once[0], once[2]), _mm_unpacklo_epi8(once[1], once[3])];
        let high = [_mm_unpackhi_epi8(once[0], once[2]), _mm_unpackhi_epi8(once[1], once[3])];
        let pairs = [
            _mm_unpacklo_epi8(low[0], low[1]),
            _mm_unpackhi_epi8(low[0], low[1]),
            _mm_unpacklo_epi8(high[0], high[1]),
            _mm_unpackhi_epi8(high[0], high[1]),
        ];
        std::array::from_fn(|block| {
            let pair = pairs[block / 2];
            let word = if block % 2 == 0 { pair } else { _mm_unpackhi_epi64(pair, pair) };
            _mm_cvtsi128_si64(word).to_le_bytes()
        })
    }
}

/// Turns `[column][block]` around 0 into `[block][column]` from 0 to 255.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn levels(samples: &[Lanes; SIDE]) -> [[u8; SIDE]; LANES] {
    std::array::from_fn(|block| {
        std::array::from_fn(|column| samples[column][block].saturating_add(128).clamp(0, 255) as u8)
    })
}

/// `[frequency][sample]` of the transform of N values, for the frequencies of a transform of eight.
struct Basis([[f32; 4]; 4]);

impl Basis {
    fn new(side: usize) -> Self {
        let value = |frequency: usize, sample: usize| {
            let scale = if frequency == 0 { 0.5f64.sqrt() } else { 1.0 };
            // The orthonormal transform of N values has a factor of sqrt(2 / N), and a frequency of
            // N values is sqrt(N / 8) of that of eight: together 1/2.
            let angle = PI * (2 * sample + 1) as f64 * frequency as f64 / (2 * side) as f64;
            (0.5 * scale * angle.cos()) as f32
        };
        let inside = |frequency, sample| frequency < side && sample < side;
        Self(std::array::from_fn(|frequency| {
            std::array::from_fn(|sample| {
                if inside(frequency, sample) { value(frequency, sample) } else { 0.0 }
            })
        }))
    }
}

static OF_TWO: LazyLock<Basis> = LazyLock::new(|| Basis::new(2));
static OF_FOUR: LazyLock<Basis> = LazyLock::new(|| Basis::new(4));

#[inline(always)]
fn reduced_body<const FUSED: bool, const N: usize>(
    blocks: &[Blocks],
    steps: &[u16; 64],
    output: &mut [u8],
    stride: usize,
) {
    let basis = &if N == 2 { &*OF_TWO } else { &*OF_FOUR }.0;
    let steps: [[f32; N]; N] = std::array::from_fn(|row| {
        std::array::from_fn(|column| f32::from(steps[row * SIDE + column]))
    });
    for (place, blocks) in blocks.iter().enumerate() {
        let mut samples = [[[0f32; LANES]; N]; N];
        // One loop around everything, so that the compiler vectorises it.
        for lane in 0..LANES {
            let mut across = [[0f32; N]; N];
            for row in 0..N {
                for column in 0..N {
                    let frequency =
                        f32::from(blocks[row * SIDE + column][lane]) * steps[row][column];
                    for x in 0..N {
                        across[row][x] += frequency * basis[column][x];
                    }
                }
            }
            for y in 0..N {
                for x in 0..N {
                    let mut sum = 0.0;
                    for row in 0..N {
                        sum += across[row][x] * basis[row][y];
                    }
                    samples[y][x][lane] = sum;
                }
            }
        }
        for (row, line) in samples.iter().enumerate() {
            // The samples of a block's row in one word, the first one in its lowest byte.
            let mut words = [0u32; LANES];
            for (column, values) in line.iter().enumerate() {
                for (word, &value) in words.iter_mut().zip(values) {
                    *word |= u32::from(level(value)) << (8 * column);
                }
            }
            let target = &mut output[row * stride + place * LANES * N..][..LANES * N];
            for (samples, word) in target.as_chunks_mut::<N>().0.iter_mut().zip(words) {
                samples.copy_from_slice(&word.to_le_bytes()[..N]);
            }
        }
    }
}

/// The mean of each block.
fn means(blocks: &[Blocks], steps: &[u16; 64], output: &mut [u8], _stride: usize) {
    let step = f32::from(steps[0]);
    for (target, blocks) in output.as_chunks_mut::<LANES>().0.iter_mut().zip(blocks) {
        *target = blocks[0].map(|frequency| level(f32::from(frequency) * step / 8.0));
    }
}

/// Samples are centred on 128. Adding 2^23, above which an f32 has no fraction, rounds to the
/// nearest integer; unlike a cast, it vectorises on every processor.
#[inline(always)]
fn level(value: f32) -> u8 {
    ((value + 128.0).clamp(0.0, 255.0) + 8_388_608.0).to_bits() as u8
}
