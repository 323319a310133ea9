//! Products of bf16 by AMX: tiles of sixteen rows of 64 bytes; one instruction multiplies two tiles
//! and adds to a third.
//!
//! Four tiles hold 32x32 sums, two hold 32 rows of the left matrix and two hold 32 columns of the
//! right one; each turn adds the products of 32 values of the depth. So four loads (8 cycles each
//! on Sapphire Rapids) accompany four products (16 cycles each), and the sums stay in place for a
//! whole block of the depth. The left matrix is read in place, and the right one from the same
//! panels of pairs that AVX-512 reads; 32 columns of a block take 32 KiB, which the first-level
//! cache keeps for all rows.
//!
//! If the ends of a matrix do not fill a tile, the tiles' configuration limits the rows and bytes
//! that are read and written, so nothing beyond an operand is touched. Only the end of the depth is
//! copied and padded with zeros, because otherwise the sums' tiles would have to be stored and
//! configured again.

use super::packed::Packed;
use super::{Left, Operand, Rows, Sums, check_result};
use crate::amx::Amx;
use crate::amx::tiles::{Block, BlockSize, TILE_DEPTH, TILE_SIDE, Tiles};
use crate::element::Bf16;
use crate::scratch::with_scratch;
use std::arch::x86_64::*;

/// Values of the depth that one block sums in tiles.
const DEPTH_BLOCK: usize = 512;

/// `result = left * right`, or `result += left * right` if `accumulate`; see [`super::multiply`].
///
/// # Panics
/// If a slice is shorter than its shape says.
pub(super) fn multiply(
    amx: Amx,
    left: Left<'_, Bf16>,
    rows: usize,
    right: &Packed<Bf16>,
    result: &mut [f32],
    result_stride: usize,
    accumulate: bool,
) {
    multiply_to(amx, left, rows, right.shape().0, right, result, result_stride, accumulate);
}

/// `result = left transposed * right`; `left` is `[depth, rows]`.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub(super) fn multiply_transposed(
    amx: Amx,
    left: Rows<'_, Bf16>,
    right: &Packed<Bf16>,
    result: Sums<'_>,
) {
    let Rows { data: left, stride: left_stride, columns: rows } = left;
    let Sums { data: result, stride: result_stride, accumulate } = result;
    let length = right.padded_depth();
    with_scratch(rows * length, |transposed: &mut [Bf16]| {
        transpose(left, left_stride, rows, right.shape().0, transposed);
        multiply_to(
            amx,
            Left::rows(transposed, length),
            rows,
            length,
            right,
            result,
            result_stride,
            accumulate,
        );
    });
}

/// Like [`multiply`]. `depth` is that of `right`, including its padding of zeros if `left` has the
/// same padding.
fn multiply_to(
    amx: Amx,
    left: Left<'_, Bf16>,
    rows: usize,
    depth: usize,
    right: &Packed<Bf16>,
    result: &mut [f32],
    result_stride: usize,
    accumulate: bool,
) {
    assert_eq!(left.step_stride, 2, "rows whose values lie side by side");
    assert!(
        depth.next_multiple_of(TILE_DEPTH) == right.padded_depth(),
        "a depth that is not the right matrix's"
    );
    let (kernel, columns) = (Bf16::kernel(), right.shape().1);
    right.check_kernel(&kernel);
    left.check(rows, depth);
    check_result(result, result_stride, rows, columns);
    if rows == 0 {
        return;
    }
    let (whole, rest) = (depth / TILE_DEPTH, depth % TILE_DEPTH);
    // Tiles of nearly equal rows, so that most blocks have one configuration.
    let tile_rows = rows.div_ceil(rows.div_ceil(TILE_SIDE));
    with_scratch(if rest > 0 { rows * TILE_DEPTH } else { 0 }, |ends: &mut [Bf16]| {
        for (row, end) in ends.chunks_exact_mut(TILE_DEPTH).enumerate() {
            end[..rest]
                .copy_from_slice(&left.data[row * left.row_stride + whole * TILE_DEPTH..][..rest]);
            end[rest..].fill(Bf16::default());
        }
        let mut tiles = Tiles::new(amx);
        for start in (0..depth).step_by(DEPTH_BLOCK) {
            let turns = (whole - start / TILE_DEPTH).min(DEPTH_BLOCK / TILE_DEPTH);
            let has_rest = rest > 0 && start + DEPTH_BLOCK > depth;
            for panel in kernel.panels(columns) {
                let right = &right.panel(&panel)[start * panel.width..];
                assert!(
                    right.len() >= (turns + usize::from(has_rest)) * TILE_DEPTH * panel.width,
                    "a panel is too short"
                );
                let columns =
                    [panel.columns.min(TILE_SIDE), panel.columns.saturating_sub(TILE_SIDE)];
                assert!(
                    panel.width == if columns[1] > 0 { 2 * TILE_SIDE } else { TILE_SIDE },
                    "a panel of another kernel"
                );
                for row in (0..rows).step_by(2 * tile_rows) {
                    let size = BlockSize {
                        rows: [
                            tile_rows.min(rows - row),
                            tile_rows.min(rows.saturating_sub(row + tile_rows)),
                        ],
                        columns,
                    };
                    let sums = &mut result[row * result_stride + panel.first..];
                    let last = (size.rows[0] + size.rows[1] - 1) * result_stride + panel.columns;
                    assert!(last <= sums.len(), "the result is too short");
                    let block = Block {
                        left: left.data.as_ptr().wrapping_add(row * left.row_stride + start),
                        left_stride: left.row_stride * size_of::<Bf16>(),
                        whole: turns,
                        rest: if has_rest {
                            ends[row * TILE_DEPTH..].as_ptr()
                        } else {
                            std::ptr::null()
                        },
                        right: right.as_ptr(),
                        result: sums.as_mut_ptr(),
                        result_stride: result_stride * size_of::<f32>(),
                        accumulate: accumulate || start > 0,
                    };
                    // SAFETY: the left matrix was checked as a whole, the right one and the sums
                    // for this block; `ends` has a row for each of `rows`.
                    unsafe { tiles.compute(&block, size) };
                }
            }
        }
    });
}

/// `transposed[row][k] = matrix[k][row]` for `depth` values `k`, padded with zeros to a multiple of
/// [`TILE_DEPTH`], which is the distance from one row to the next.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub(super) fn transpose(
    matrix: &[Bf16],
    stride: usize,
    rows: usize,
    depth: usize,
    transposed: &mut [Bf16],
) {
    let length = depth.next_multiple_of(TILE_DEPTH);
    assert!(
        rows <= stride && (depth - 1) * stride + rows <= matrix.len(),
        "the matrix is too short"
    );
    assert!(rows * length <= transposed.len(), "the transposed matrix is too short");
    for row in (0..rows).step_by(TILE_SIDE) {
        for k in (0..length).step_by(TILE_DEPTH) {
            let (rows, depth) = ((rows - row).min(TILE_SIDE), (depth - k).min(TILE_DEPTH));
            let (from, to) = (&matrix[k * stride + row..], &mut transposed[row * length + k..]);
            // SAFETY: AMX is in use only if AVX-512 is available; the whole matrices were checked.
            unsafe {
                transpose_square(from.as_ptr(), stride, rows, depth, to.as_mut_ptr(), length)
            };
        }
    }
}

/// Transposes up to [`TILE_SIDE`] rows of up to [`TILE_DEPTH`] values, which are padded with zeros.
///
/// # Safety
/// The processor must have AVX-512; the memory behind the pointers must be as large as the sizes
/// say.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(crate) unsafe fn transpose_square(
    from: *const Bf16,
    stride: usize,
    rows: usize,
    depth: usize,
    to: *mut Bf16,
    to_stride: usize,
) {
    let mask = ((1u32 << rows) - 1) as u16;
    // Pairs of the depth as 32-bit values: vector `k` has pair `k` of each row.
    let mut pairs = [_mm512_setzero_si512(); TILE_SIDE];
    for (pair, vector) in pairs.iter_mut().enumerate().take(depth.div_ceil(2)) {
        let first = from.wrapping_add(2 * pair * stride);
        // SAFETY: the caller's promise; the mask leaves out the memory behind the rows.
        *vector = _mm512_cvtepu16_epi32(unsafe { _mm256_maskz_loadu_epi16(mask, first.cast()) });
        if 2 * pair + 1 < depth {
            // SAFETY: as above.
            let second =
                unsafe { _mm256_maskz_loadu_epi16(mask, first.wrapping_add(stride).cast()) };
            *vector =
                _mm512_or_si512(*vector, _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16));
        }
    }
    for (row, vector) in transpose_words(pairs).into_iter().enumerate().take(rows) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_si512(to.wrapping_add(row * to_stride).cast(), vector) };
    }
}

/// Transposes a matrix of 16 x 16 words, in squares of two, of four and then as a whole.
#[target_feature(enable = "avx512f")]
fn transpose_words(rows: [__m512i; TILE_SIDE]) -> [__m512i; TILE_SIDE] {
    let mut fours = rows;
    for (four, rows) in fours.chunks_exact_mut(4).zip(rows.chunks_exact(4)) {
        let (low, high) =
            (_mm512_unpacklo_epi32(rows[0], rows[1]), _mm512_unpackhi_epi32(rows[0], rows[1]));
        let (next_low, next_high) =
            (_mm512_unpacklo_epi32(rows[2], rows[3]), _mm512_unpackhi_epi32(rows[2], rows[3]));
        four[0] = _mm512_unpacklo_epi64(low, next_low);
        four[1] = _mm512_unpackhi_epi64(low, next_low);
        four[2] = _mm512_unpacklo_epi64(high, next_high);
        four[3] = _mm512_unpackhi_epi64(high, next_high);
    }
    let mut columns = rows;
    for column in 0..4 {
        let [first, second, third, fourth] =
            [fours[column], fours[4 + column], fours[8 + column], fours[12 + column]];
        let (low, next_low) =
            (_mm512_shuffle_i32x4(first, second, 0x44), _mm512_shuffle_i32x4(third, fourth, 0x44));
        let (high, next_high) =
            (_mm512_shuffle_i32x4(first, second, 0xee), _mm512_shuffle_i32x4(third, fourth, 0xee));
        columns[column] = _mm512_shuffle_i32x4(low, next_low, 0x88);
        columns[4 + column] = _mm512_shuffle_i32x4(low, next_low, 0xdd);
        columns[8 + column] = _mm512_shuffle_i32x4(high, next_high, 0x88);
        columns[12 + column] = _mm512_shuffle_i32x4(high, next_high, 0xdd);
    }
    columns
}

/// Transposes a matrix of 16 x 16 pairs of values, from rows of 32 contiguous values to rows that
/// are `to_stride` values apart.
///
/// # Safety
/// The processor must have AVX-512; the memory behind the pointers must be as large as the sizes
/// say.
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn transpose_pairs(from: *const Bf16, to: *mut Bf16, to_stride: usize) {
    let mut rows = [_mm512_setzero_si512(); TILE_SIDE];
    for (at, row) in rows.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *row = unsafe { _mm512_loadu_si512(from.wrapping_add(at * TILE_DEPTH).cast()) };
    }
    for (row, vector) in transpose_words(rows).into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_si512(to.wrapping_add(row * to_stride).cast(), vector) };
    }
}
