//! Tile kernels for AVX2, AVX-512 and its products of bf16.

use super::{MicroKernel, by_rows};
use crate::element::Bf16;
use std::arch::x86_64::*;

/// A tile kernel of `ROWS` rows by `VECTORS` vectors: 14 x 2 sums, two vectors of the right
/// matrix and a broadcast step fill 31 of AVX-512's 32 registers; 6 x 2 fill 15 of AVX2's 16.
/// Two multiply-adds follow each broadcast, so neither load port is the limit. A half panel has
/// one vector, and enough rows that no sum waits for the previous one.
///
/// `$load` reads a vector of the right matrix, `$broadcast` a step of the left one, and
/// `$multiply_add` adds their products to the sums. The last step may have one value instead of
/// two, which `$broadcast_last` reads.
macro_rules! tile_kernel {
    (
        $name:ident, $features:literal, $element:ty, $step:literal, $width:literal, $zero:ident,
        $load:expr, $broadcast:expr, $broadcast_last:expr, $multiply_add:expr, $store:ident
    ) => {
        /// # Safety
        /// The processor must have the features; the memory behind the pointers must be as
        /// large as the depth, strides and tile say.
        #[target_feature(enable = $features)]
        unsafe fn $name<const VECTORS: usize, const ROWS: usize>(
            depth: usize,
            mut left: *const $element,
            row_stride: usize,
            step_stride: usize,
            mut right: *const $element,
            right_stride: usize,
            result: *mut f32,
            result_stride: usize,
            columns: usize,
            accumulate: bool,
        ) {
            let mut sums = [[$zero(); VECTORS]; ROWS];
            for step in 0..depth.div_ceil($step) {
                let mut vectors = [$load(right); VECTORS];
                for (at, vector) in vectors.iter_mut().enumerate().skip(1) {
                    *vector = $load(right.wrapping_add(at * $width * $step));
                }
                let mut element = left;
                if $step == 1 || (step + 1) * $step <= depth {
                    for sums in &mut sums {
                        let value = $broadcast(element);
                        for (sum, vector) in sums.iter_mut().zip(vectors) {
                            *sum = $multiply_add(value, vector, *sum);
                        }
                        element = element.wrapping_add(row_stride);
                    }
                } else {
                    for sums in &mut sums {
                        let value = $broadcast_last(element);
                        for (sum, vector) in sums.iter_mut().zip(vectors) {
                            *sum = $multiply_add(value, vector, *sum);
                        }
                        element = element.wrapping_add(row_stride);
                    }
                }
                right = right.wrapping_add(right_stride);
                left = left.wrapping_add(step_stride);
            }
            for (row, sums) in sums.into_iter().enumerate() {
                for (at, sum) in sums.into_iter().enumerate() {
                    // SAFETY: the caller's promise; at most `columns` of each row are read or
                    // written.
                    unsafe {
                        let target = result.wrapping_add(row * result_stride + at * $width);
                        $store(target, sum, columns.saturating_sub(at * $width), accumulate);
                    }
                }
            }
        }
    };
}

/// Writes or adds the first `columns` of sixteen sums.
///
/// # Safety
/// The processor must have AVX-512; `target` must have room for them.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn store_16(target: *mut f32, sums: __m512, columns: usize, accumulate: bool) {
    // SAFETY: the caller's promise; the mask leaves out the memory behind.
    unsafe {
        if columns >= 16 {
            let sums = if accumulate { _mm512_add_ps(sums, _mm512_loadu_ps(target)) } else { sums };
            _mm512_storeu_ps(target, sums);
        } else {
            let mask = (1u16 << columns) - 1;
            let sums = if accumulate {
                _mm512_add_ps(sums, _mm512_maskz_loadu_ps(mask, target))
            } else {
                sums
            };
            _mm512_mask_storeu_ps(target, mask, sums);
        }
    }
}

/// Writes or adds the first `columns` of eight sums.
///
/// # Safety
/// The processor must have AVX2; `target` must have room for them.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn store_8(target: *mut f32, sums: __m256, columns: usize, accumulate: bool) {
    // SAFETY: the caller's promise; the mask leaves out the memory behind.
    unsafe {
        if columns >= 8 {
            let sums = if accumulate { _mm256_add_ps(sums, _mm256_loadu_ps(target)) } else { sums };
            _mm256_storeu_ps(target, sums);
        } else {
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(columns as i32), lanes);
            let sums = if accumulate {
                _mm256_add_ps(sums, _mm256_maskload_ps(target, mask))
            } else {
                sums
            };
            _mm256_maskstore_ps(target, mask, sums);
        }
    }
}

// The pointers below are those of the tile kernels, whose callers promise that they may be
// read.
tile_kernel!(
    avx512,
    "avx512f",
    f32,
    1,
    16,
    _mm512_setzero_ps,
    // SAFETY: see above.
    |right| unsafe { _mm512_loadu_ps(right) },
    // SAFETY: see above.
    |left: *const f32| _mm512_set1_ps(unsafe { *left }),
    // SAFETY: see above.
    |left: *const f32| _mm512_set1_ps(unsafe { *left }),
    |left, right, sum| _mm512_fmadd_ps(left, right, sum),
    store_16
);
tile_kernel!(
    avx2,
    "avx2,fma",
    f32,
    1,
    8,
    _mm256_setzero_ps,
    // SAFETY: see above.
    |right| unsafe { _mm256_loadu_ps(right) },
    // SAFETY: see above.
    |left: *const f32| _mm256_set1_ps(unsafe { *left }),
    // SAFETY: see above.
    |left: *const f32| _mm256_set1_ps(unsafe { *left }),
    |left, right, sum| _mm256_fmadd_ps(left, right, sum),
    store_8
);
tile_kernel!(
    bf16,
    "avx512f,avx512bf16",
    Bf16,
    2,
    16,
    _mm512_setzero_ps,
    // SAFETY: see above.
    |right: *const Bf16| unsafe { _mm512_loadu_si512(right.cast()) },
    // SAFETY: see above.
    |left: *const Bf16| _mm512_set1_epi32(unsafe { left.cast::<i32>().read_unaligned() }),
    // SAFETY: see above.
    |left: *const Bf16| _mm512_set1_epi32(i32::from(unsafe { *left }.to_bits())),
    |left: __m512i, right: __m512i, sum| {
        // SAFETY: both types are 512 bits of any value.
        let (left, right) = unsafe {
            (
                std::mem::transmute::<__m512i, __m512bh>(left),
                std::mem::transmute::<__m512i, __m512bh>(right),
            )
        };
        _mm512_dpbf16_ps(sum, left, right)
    },
    store_16
);

pub(super) static AVX512: [MicroKernel<f32>; 14] =
    by_rows!(avx512, 2; 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
pub(super) static AVX512_HALF: [MicroKernel<f32>; 14] =
    by_rows!(avx512, 1; 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
pub(super) static AVX2: [MicroKernel<f32>; 6] = by_rows!(avx2, 2; 1 2 3 4 5 6);
pub(super) static AVX2_HALF: [MicroKernel<f32>; 12] = by_rows!(avx2, 1; 1 2 3 4 5 6 7 8 9 10 11 12);
pub(super) static BF16: [MicroKernel<Bf16>; 14] =
    by_rows!(bf16, 2; 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
pub(super) static BF16_HALF: [MicroKernel<Bf16>; 14] =
    by_rows!(bf16, 1; 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
