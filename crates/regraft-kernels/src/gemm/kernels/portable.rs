//! Tile kernels of plain loops.

use super::{MicroKernel, by_rows};
use crate::element::{Bf16, Element};
use crate::gemm::Operand;

/// Columns of a panel.
pub(super) const COLUMNS: usize = 8;

pub(super) static F32: [MicroKernel<f32>; 4] = by_rows!(portable, f32; 1 2 3 4);
pub(super) static BF16: [MicroKernel<Bf16>; 4] = by_rows!(portable, Bf16; 1 2 3 4);

/// Four rows by eight columns fit into the sixteen 128-bit registers that every x86-64 and ARM64
/// processor has.
///
/// # Safety
/// The memory behind the pointers must be as large as the depth, strides and tile say.
unsafe fn portable<T: Element, const STEP: usize, const ROWS: usize>(
    depth: usize,
    left: *const T,
    row_stride: usize,
    step_stride: usize,
    right: *const T,
    right_stride: usize,
    result: *mut f32,
    result_stride: usize,
    columns: usize,
    accumulate: bool,
) {
    let mut sums = [[0.0f32; COLUMNS]; ROWS];
    for at in 0..depth {
        let (step, value) = (at / STEP, at % STEP);
        // SAFETY: the caller's promise.
        let right =
            unsafe { std::slice::from_raw_parts(right.add(step * right_stride), COLUMNS * STEP) };
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let left = unsafe { *left.add(row * row_stride + step * step_stride + value) }.to_f32();
            for (sum, right) in sums.iter_mut().zip(right.chunks_exact(STEP)) {
                *sum += left * right[value].to_f32();
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: the caller's promise.
        let target =
            unsafe { std::slice::from_raw_parts_mut(result.add(row * result_stride), columns) };
        for (target, sum) in target.iter_mut().zip(sums) {
            *target = if accumulate { *target + sum } else { *sum };
        }
    }
}
