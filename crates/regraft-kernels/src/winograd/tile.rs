//! The two sizes of tiles, and their transforms along one side.
//!
//! Of a tile of `m` pixels a side, `m + 2` input pixels become `m + 2` frequencies. They are the
//! values of polynomials at `m + 1` points and at infinity (Toom and Cook): a filter's at a point
//! `p` is `w0 + w1 p + w2 p^2` times a factor, and the output is made of powers of the points.

use super::lanes::{Lanes, ZEROS, add_times, minus, plus, times};

/// A size of tiles. A side of frequencies and one of pixels are arrays.
pub trait Tile {
    /// Pixels along each side of the output.
    const PIXELS: usize;
    /// Frequencies along each side.
    const SIDE: usize;
    /// Frequencies of a tile.
    const FREQUENCIES: usize = Self::SIDE * Self::SIDE;
    /// Least number of tiles in a block, so that a panel of weights is used often.
    const TILES_PER_BLOCK: usize;
    /// [`Self::SIDE`] values.
    type Side: AsRef<[Lanes]> + AsMut<[Lanes]> + Copy + Default;
    /// [`Self::PIXELS`] values.
    type Row: AsRef<[Lanes]> + AsMut<[Lanes]> + Copy + Default;

    /// Frequencies of input pixels.
    #[inline(always)]
    fn input<const FUSED: bool>(pixels: &Self::Side) -> Self::Side {
        let mut side = Self::Side::default();
        for (index, frequency) in side.as_mut().iter_mut().enumerate() {
            *frequency = Self::input_at::<FUSED>(index, pixels);
        }
        side
    }

    /// One of the frequencies of [`Self::input`].
    fn input_at<const FUSED: bool>(index: usize, pixels: &Self::Side) -> Lanes;

    /// Output pixels of frequencies.
    fn output<const FUSED: bool>(frequencies: &Self::Side) -> Self::Row;

    /// Frequencies of the output's gradient: the transpose of [`Self::output`].
    #[inline(always)]
    fn gradient<const FUSED: bool>(pixels: &Self::Row) -> Self::Side {
        let mut side = Self::Side::default();
        for (index, frequency) in side.as_mut().iter_mut().enumerate() {
            *frequency = Self::gradient_at::<FUSED>(index, pixels);
        }
        side
    }

    /// One of the frequencies of [`Self::gradient`].
    fn gradient_at<const FUSED: bool>(index: usize, pixels: &Self::Row) -> Lanes;

    /// Frequencies of a filter's taps.
    fn filter<const FUSED: bool>(taps: &[Lanes; 3]) -> Self::Side;

    /// A filter's gradient of its frequencies': the transpose of [`Self::filter`].
    fn taps<const FUSED: bool>(frequencies: &Self::Side) -> [Lanes; 3];
}

/// 2x2 pixels of 4x4 frequencies, at the points 0, 1, -1. All coefficients are 0, 1 and 1/2, so the
/// result differs from the direct sum only as another order of addition would.
pub struct Two;

impl Tile for Two {
    const PIXELS: usize = 2;
    const SIDE: usize = 4;
    // Four times the rows of the widest kernel of the matrix product.
    const TILES_PER_BLOCK: usize = 56;
    type Side = [Lanes; 4];
    type Row = [Lanes; 2];

    #[inline(always)]
    fn input_at<const FUSED: bool>(index: usize, pixels: &Self::Side) -> Lanes {
        let [first, second, third, fourth] = pixels;
        match index {
            0 => minus(first, third),
            1 => plus(second, third),
            2 => minus(third, second),
            _ => minus(second, fourth),
        }
    }

    #[inline(always)]
    fn output<const FUSED: bool>([first, second, third, fourth]: &Self::Side) -> Self::Row {
        [plus(&plus(first, second), third), minus(&minus(second, third), fourth)]
    }

    #[inline(always)]
    fn gradient_at<const FUSED: bool>(index: usize, [first, second]: &Self::Row) -> Lanes {
        match index {
            0 => *first,
            1 => plus(first, second),
            2 => minus(first, second),
            _ => minus(&ZEROS, second),
        }
    }

    #[inline(always)]
    fn filter<const FUSED: bool>([first, second, third]: &[Lanes; 3]) -> Self::Side {
        let ends = plus(first, third);
        [*first, times(0.5, &plus(&ends, second)), times(0.5, &minus(&ends, second)), *third]
    }

    #[inline(always)]
    fn taps<const FUSED: bool>([first, second, third, fourth]: &Self::Side) -> [Lanes; 3] {
        let sum = times(0.5, &plus(second, third));
        let difference = times(0.5, &minus(second, third));
        [plus(first, &sum), difference, plus(&sum, fourth)]
    }
}

/// 4x4 pixels of 6x6 frequencies, at the points 0, 3/4, -3/4, 3/2, -3/2. The error is half that at
/// the usual points 0, 1, -1, 2, -2 (`bench/winograd_points.py`), and the coefficients of the
/// transforms of maps are exact in f32.
pub struct Four;

/// The points, other than 0 and infinity.
const INNER: f32 = 0.75;
const OUTER: f32 = 1.5;
const INNER_2: f32 = INNER * INNER;
const OUTER_2: f32 = OUTER * OUTER;
const INNER_3: f32 = INNER * INNER_2;
const OUTER_3: f32 = OUTER * OUTER_2;
/// A filter's factors: one over the product of a point's distances to the other ones.
const AT_ZERO: f32 = 1.0 / (INNER_2 * OUTER_2);
const AT_INNER: f32 = 1.0 / (2.0 * INNER_2 * (INNER_2 - OUTER_2));
const AT_OUTER: f32 = 1.0 / (2.0 * OUTER_2 * (OUTER_2 - INNER_2));

impl Tile for Four {
    const PIXELS: usize = 4;
    const SIDE: usize = 6;
    const TILES_PER_BLOCK: usize = 28;
    type Side = [Lanes; 6];
    type Row = [Lanes; 4];

    #[inline(always)]
    fn input_at<const FUSED: bool>(index: usize, pixels: &Self::Side) -> Lanes {
        match index {
            0 => end::<FUSED>(&pixels[0], &pixels[2], &pixels[4]),
            1 => points::<FUSED>(INNER, OUTER_2, pixels)[0],
            2 => points::<FUSED>(INNER, OUTER_2, pixels)[1],
            3 => points::<FUSED>(OUTER, INNER_2, pixels)[0],
            4 => points::<FUSED>(OUTER, INNER_2, pixels)[1],
            _ => end::<FUSED>(&pixels[1], &pixels[3], &pixels[5]),
        }
    }

    #[inline(always)]
    fn output<const FUSED: bool>(frequencies: &Self::Side) -> Self::Row {
        let [first, second, third, fourth, fifth, last] = frequencies;
        let (inner, outer) = (plus(second, third), plus(fourth, fifth));
        let (inner_odd, outer_odd) = (minus(second, third), minus(fourth, fifth));
        [
            plus(&plus(first, &inner), &outer),
            add_times::<FUSED>(OUTER, &outer_odd, &times(INNER, &inner_odd)),
            add_times::<FUSED>(OUTER_2, &outer, &times(INNER_2, &inner)),
            add_times::<FUSED>(OUTER_3, &outer_odd, &add_times::<FUSED>(INNER_3, &inner_odd, last)),
        ]
    }

    #[inline(always)]
    fn gradient_at<const FUSED: bool>(index: usize, pixels: &Self::Row) -> Lanes {
        match index {
            0 => pixels[0],
            1 => powers::<FUSED>(INNER, INNER_2, INNER_3, pixels)[0],
            2 => powers::<FUSED>(INNER, INNER_2, INNER_3, pixels)[1],
            3 => powers::<FUSED>(OUTER, OUTER_2, OUTER_3, pixels)[0],
            4 => powers::<FUSED>(OUTER, OUTER_2, OUTER_3, pixels)[1],
            _ => pixels[3],
        }
    }

    #[inline(always)]
    fn filter<const FUSED: bool>(taps: &[Lanes; 3]) -> Self::Side {
        let [first, second, third] = taps;
        let inner = times(AT_INNER, &add_times::<FUSED>(INNER_2, third, first));
        let outer = times(AT_OUTER, &add_times::<FUSED>(OUTER_2, third, first));
        [
            times(AT_ZERO, first),
            add_times::<FUSED>(AT_INNER * INNER, second, &inner),
            add_times::<FUSED>(-AT_INNER * INNER, second, &inner),
            add_times::<FUSED>(AT_OUTER * OUTER, second, &outer),
            add_times::<FUSED>(-AT_OUTER * OUTER, second, &outer),
            *third,
        ]
    }

    #[inline(always)]
    fn taps<const FUSED: bool>(frequencies: &Self::Side) -> [Lanes; 3] {
        let [first, second, third, fourth, fifth, last] = frequencies;
        let inner = times(AT_INNER, &plus(second, third));
        let outer = times(AT_OUTER, &plus(fourth, fifth));
        [
            add_times::<FUSED>(AT_ZERO, first, &plus(&inner, &outer)),
            add_times::<FUSED>(
                AT_OUTER * OUTER,
                &minus(fourth, fifth),
                &times(AT_INNER * INNER, &minus(second, third)),
            ),
            add_times::<FUSED>(OUTER_2, &outer, &add_times::<FUSED>(INNER_2, &inner, last)),
        ]
    }
}

/// The frequency at 0, or at infinity one pixel further.
#[inline(always)]
fn end<const FUSED: bool>(first: &Lanes, second: &Lanes, third: &Lanes) -> Lanes {
    let ends = add_times::<FUSED>(INNER_2 * OUTER_2, first, third);
    add_times::<FUSED>(-(INNER_2 + OUTER_2), second, &ends)
}

/// The frequencies at `point` and `-point`. `other` is the square of the other pair of points.
#[inline(always)]
fn points<const FUSED: bool>(point: f32, other: f32, pixels: &[Lanes; 6]) -> [Lanes; 2] {
    let even = add_times::<FUSED>(-other, &pixels[2], &pixels[4]);
    let odd = add_times::<FUSED>(-other, &pixels[1], &pixels[3]);
    [add_times::<FUSED>(point, &odd, &even), add_times::<FUSED>(-point, &odd, &even)]
}

/// The polynomial whose coefficients are the pixels, at a point and its opposite.
#[inline(always)]
fn powers<const FUSED: bool>(
    point: f32,
    square: f32,
    cube: f32,
    pixels: &[Lanes; 4],
) -> [Lanes; 2] {
    let even = add_times::<FUSED>(square, &pixels[2], &pixels[0]);
    let odd = add_times::<FUSED>(cube, &pixels[3], &times(point, &pixels[1]));
    [plus(&even, &odd), minus(&even, &odd)]
}
