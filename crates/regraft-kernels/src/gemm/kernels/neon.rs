//! Tile kernels for NEON: eight rows by eight columns.
//!
//! An instruction of NEON multiplies four f32 by a lane of a register; AVX2's multiplies eight. A
//! load of the left matrix therefore brings four values, and no broadcast is needed: sixteen sums,
//! two vectors of the right matrix and eight of the left one fill 26 of the 32 registers. Two
//! instructions of a step load the right matrix, two the left one, and sixteen multiply.

use super::{MicroKernel, by_rows};
use crate::element::Bf16;
use std::arch::aarch64::*;
use std::arch::asm;

/// Columns of a panel.
pub(super) const COLUMNS: usize = 8;
/// Most rows of a tile.
const MOST_ROWS: usize = 8;

/// Adds the products of a step: `$values` is a function from a row to the vector and the lane that
/// hold its value.
macro_rules! add_step {
    ($sums:ident, $right:ident, $lane:literal, $values:expr) => {{
        // SAFETY: the callers promise that the right matrix may be read.
        let vectors = unsafe { [vld1q_f32($right), vld1q_f32($right.wrapping_add(4))] };
        for (row, sums) in $sums.iter_mut().enumerate() {
            let values = $values(row);
            for (sum, vector) in sums.iter_mut().zip(vectors) {
                *sum = vfmaq_laneq_f32::<$lane>(*sum, vector, values);
            }
        }
    }};
}

/// A tile of f32. The sums are those of AVX2 to the bit.
///
/// # Safety
/// The memory behind the pointers must be as large as the depth, strides and tile say.
#[target_feature(enable = "neon")]
unsafe fn fused<const ROWS: usize>(
    depth: usize,
    mut left: *const f32,
    row_stride: usize,
    step_stride: usize,
    mut right: *const f32,
    right_stride: usize,
    result: *mut f32,
    result_stride: usize,
    columns: usize,
    accumulate: bool,
) {
    let mut sums = [[vdupq_n_f32(0.0); 2]; ROWS];
    let mut rest = depth;
    if step_stride == 1 {
        while rest >= 4 {
            let mut rows = [vdupq_n_f32(0.0); ROWS];
            for (row, values) in rows.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *values = unsafe { vld1q_f32(left.wrapping_add(row * row_stride)) };
            }
            add_step!(sums, right, 0, |row: usize| rows[row]);
            right = right.wrapping_add(right_stride);
            add_step!(sums, right, 1, |row: usize| rows[row]);
            right = right.wrapping_add(right_stride);
            add_step!(sums, right, 2, |row: usize| rows[row]);
            right = right.wrapping_add(right_stride);
            add_step!(sums, right, 3, |row: usize| rows[row]);
            right = right.wrapping_add(right_stride);
            left = left.wrapping_add(4);
            rest -= 4;
        }
    }
    let is_column = row_stride == 1 && ROWS == MOST_ROWS;
    while rest > 0 {
        // SAFETY: the caller's promise.
        let vectors = unsafe { [vld1q_f32(right), vld1q_f32(right.wrapping_add(4))] };
        let mut add = |row: usize, value: f32| {
            for (sum, vector) in sums[row].iter_mut().zip(vectors) {
                *sum = vfmaq_n_f32(*sum, vector, value);
            }
        };
        if is_column {
            // SAFETY: the caller's promise; the values of all rows are adjacent.
            let values = unsafe { [vld1q_f32(left), vld1q_f32(left.wrapping_add(4))] };
            for (at, values) in values.into_iter().enumerate().take(ROWS / 4) {
                add(4 * at, vgetq_lane_f32::<0>(values));
                add(4 * at + 1, vgetq_lane_f32::<1>(values));
                add(4 * at + 2, vgetq_lane_f32::<2>(values));
                add(4 * at + 3, vgetq_lane_f32::<3>(values));
            }
        } else {
            for row in 0..ROWS {
                // SAFETY: the caller's promise.
                add(row, unsafe { *left.wrapping_add(row * row_stride) });
            }
        }
        left = left.wrapping_add(step_stride);
        right = right.wrapping_add(right_stride);
        rest -= 1;
    }
    for (row, sums) in sums.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { store(result.wrapping_add(row * result_stride), sums, columns, accumulate) };
    }
}

/// A tile of bf16. An instruction multiplies four values of two rows and of two columns, so the
/// sums of two rows and two columns lie in one register; both matrices have the four values of a
/// step side by side.
///
/// `bfmmla` flushes subnormal numbers to zero and rounds the sum of two products before it adds
/// them (Arm's reference manual, `FPDot_BF16`).
///
/// # Safety
/// The processor must have `FEAT_BF16`; the memory behind the pointers must be as large as the
/// depth, strides and tile say.
#[target_feature(enable = "neon,bf16")]
unsafe fn matrices<const ROWS: usize>(
    depth: usize,
    left: *const Bf16,
    row_stride: usize,
    step_stride: usize,
    right: *const Bf16,
    right_stride: usize,
    result: *mut f32,
    result_stride: usize,
    columns: usize,
    accumulate: bool,
) {
    let mut left: *const u16 = left.cast();
    let mut right: *const u16 = right.cast();
    let mut sums = [[vdupq_n_f32(0.0); COLUMNS / 2]; MOST_ROWS / 2];
    for _ in 0..depth / 4 {
        // SAFETY: the caller's promise.
        unsafe {
            add_matrices::<ROWS>(&mut sums, right, |row| vld1_u16(left.add(row * row_stride)))
        };
        left = left.wrapping_add(step_stride);
        right = right.wrapping_add(right_stride);
    }
    let rest = depth % 4;
    if rest > 0 {
        let values = |row: usize| {
            let mut values = [0; 4];
            for (at, value) in values.iter_mut().enumerate().take(rest) {
                // SAFETY: the caller's promise.
                *value = unsafe { *left.wrapping_add(row * row_stride + at) };
            }
            // SAFETY: four values are read.
            unsafe { vld1_u16(values.as_ptr()) }
        };
        // SAFETY: the caller's promise.
        unsafe { add_matrices::<ROWS>(&mut sums, right, values) };
    }
    for row in 0..ROWS {
        let halves = sums[row / 2]
            .map(|sums| if row % 2 == 0 { vget_low_f32(sums) } else { vget_high_f32(sums) });
        let sums = [vcombine_f32(halves[0], halves[1]), vcombine_f32(halves[2], halves[3])];
        // SAFETY: the caller's promise.
        unsafe { store(result.wrapping_add(row * result_stride), sums, columns, accumulate) };
    }
}

/// Adds the products of a step; `values` returns a row's.
///
/// # Safety
/// The processor must have `FEAT_BF16`; 32 values of the right matrix are read.
#[target_feature(enable = "neon,bf16")]
#[inline]
unsafe fn add_matrices<const ROWS: usize>(
    sums: &mut [[float32x4_t; COLUMNS / 2]; MOST_ROWS / 2],
    right: *const u16,
    values: impl Fn(usize) -> uint16x4_t,
) {
    let mut vectors = [vdupq_n_u16(0); COLUMNS / 2];
    for (at, vector) in vectors.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *vector = unsafe { vld1q_u16(right.wrapping_add(8 * at)) };
    }
    for (pair, sums) in sums.iter_mut().enumerate() {
        let row = 2 * pair;
        if row >= ROWS {
            break;
        }
        let second = if row + 1 < ROWS { values(row + 1) } else { vdup_n_u16(0) };
        let rows = vcombine_u16(values(row), second);
        for (sum, vector) in sums.iter_mut().zip(vectors) {
            // SAFETY: the processor has the instruction, which touches registers only.
            unsafe {
                asm!(
                    "bfmmla {sum:v}.4s, {rows:v}.8h, {columns:v}.8h",
                    sum = inout(vreg) *sum,
                    rows = in(vreg) rows,
                    columns = in(vreg) vector,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
        }
    }
}

/// Writes or adds the first `columns` of eight sums.
///
/// # Safety
/// `target` must have room for them.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn store(target: *mut f32, sums: [float32x4_t; 2], columns: usize, accumulate: bool) {
    if columns >= COLUMNS {
        for (at, sums) in sums.into_iter().enumerate() {
            let target = target.wrapping_add(4 * at);
            // SAFETY: the caller's promise.
            unsafe {
                let sums = if accumulate { vaddq_f32(sums, vld1q_f32(target)) } else { sums };
                vst1q_f32(target, sums);
            }
        }
        return;
    }
    let mut values = [0.0; COLUMNS];
    // SAFETY: eight values are written.
    unsafe {
        vst1q_f32(values.as_mut_ptr(), sums[0]);
        vst1q_f32(values.as_mut_ptr().wrapping_add(4), sums[1]);
    }
    for (at, sum) in values.into_iter().enumerate().take(columns) {
        let target = target.wrapping_add(at);
        // SAFETY: the caller's promise.
        unsafe { *target = if accumulate { sum + *target } else { sum } };
    }
}

pub(super) static F32: [MicroKernel<f32>; MOST_ROWS] = by_rows!(fused; 1 2 3 4 5 6 7 8);
pub(super) static BF16: [MicroKernel<Bf16>; MOST_ROWS] = by_rows!(matrices; 1 2 3 4 5 6 7 8);
