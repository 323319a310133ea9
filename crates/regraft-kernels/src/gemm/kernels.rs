//! Tile kernels: the innermost loops, for each instruction set.

#[cfg(target_arch = "x86_64")]
use super::amx as products;
use super::{Left, Packed};
use crate::amx::Amx;
#[cfg(target_arch = "x86_64")]
use crate::amx::{self, tiles};
use crate::element::{Bf16, Element};
#[cfg(target_arch = "x86_64")]
use crate::isa::InstructionSet;
use crate::isa::active;

/// `(depth, left, row stride, step stride, right, step stride, result, result stride, columns,
/// accumulate)`; see [`super::panel_product`].
pub(super) type MicroKernel<T> =
    unsafe fn(usize, *const T, usize, usize, *const T, usize, *mut f32, usize, usize, bool);

/// A tile kernel: the number of columns of the result that it keeps in registers, and the code for
/// each number of rows from 1 on. A last panel of at most half the columns has code of its own.
pub struct Kernel<T: 'static> {
    columns: usize,
    whole: &'static [MicroKernel<T>],
    half: Option<&'static [MicroKernel<T>]>,
    /// The whole product by tiles, which read the same panels, if the set has them.
    tiles: Option<(Amx, TileProduct<T>)>,
    /// Panels are padded with zeros to a multiple of this depth.
    depth_unit: usize,
}

/// `(proof, left, rows, right, result, result stride, accumulate)`; see [`super::multiply`].
pub(super) type TileProduct<T> = fn(Amx, Left<'_, T>, usize, &Packed<T>, &mut [f32], usize, bool);

/// Neighbouring columns of the right matrix.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    /// Its first column.
    pub first: usize,
    /// Columns of the matrix.
    pub columns: usize,
    /// Columns including those that are added to fill a vector.
    pub width: usize,
}

impl<T> Kernel<T> {
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn depth_unit(&self) -> usize {
        self.depth_unit
    }

    pub(super) fn tiles(&self) -> Option<(Amx, TileProduct<T>)> {
        self.tiles
    }

    /// Columns of the narrowest panel.
    pub(super) fn narrow(&self) -> usize {
        if self.half.is_some() { self.columns / 2 } else { self.columns }
    }

    /// The panels of a matrix with this many columns.
    pub(super) fn panels(&self, columns: usize) -> impl Iterator<Item = Panel> + use<T> {
        let (whole, narrow) = (self.columns, self.narrow());
        (0..columns).step_by(whole).map(move |first| {
            let columns = whole.min(columns - first);
            Panel { first, columns, width: if columns <= narrow { narrow } else { whole } }
        })
    }

    pub(super) fn by_rows(&self, panel: &Panel) -> &'static [MicroKernel<T>] {
        self.half.filter(|_| panel.width < self.columns).unwrap_or(self.whole)
    }
}

/// The kernel for f32.
pub(super) fn of_f32() -> Kernel<f32> {
    let (columns, whole, half): (
        _,
        &'static [MicroKernel<f32>],
        Option<&'static [MicroKernel<f32>]>,
    ) = match active() {
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 | InstructionSet::Avx512Bf16 | InstructionSet::Amx => {
            (32, &x86::AVX512, Some(&x86::AVX512_HALF))
        }
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => (16, &x86::AVX2, Some(&x86::AVX2_HALF)),
        _ => (8, &PORTABLE_F32, None),
    };
    Kernel { columns, whole, half, tiles: None, depth_unit: 1 }
}

/// The kernel for pairs of bf16. If the processor has no such products, the kernel computes with
/// f32, and callers should widen their operands instead.
pub(super) fn of_bf16() -> Kernel<Bf16> {
    match active() {
        #[cfg(target_arch = "x86_64")]
        set @ (InstructionSet::Avx512Bf16 | InstructionSet::Amx) => {
            let amx = amx::usable().ok().filter(|_| set == InstructionSet::Amx);
            Kernel {
                columns: 32,
                whole: &x86::BF16,
                half: Some(&x86::BF16_HALF),
                tiles: amx.map(|amx| (amx, products::multiply as TileProduct<Bf16>)),
                depth_unit: if amx.is_some() { tiles::TILE_DEPTH } else { 2 },
            }
        }
        _ => Kernel { columns: 8, whole: &PORTABLE_BF16, half: None, tiles: None, depth_unit: 2 },
    }
}

/// The table of a kernel's code for 1, 2, ... rows.
macro_rules! by_rows {
    ($kernel:ident; $($rows:literal)+) => {
        [$($kernel::<$rows>),+]
    };
    ($kernel:ident, $vectors:literal; $($rows:literal)+) => {
        [$($kernel::<$vectors, $rows>),+]
    };
    ($kernel:ident, $element:ty, $step:literal; $($rows:literal)+) => {
        [$($kernel::<$element, $step, $rows>),+]
    };
}

static PORTABLE_F32: [MicroKernel<f32>; 4] = by_rows!(portable, f32, 1; 1 2 3 4);
static PORTABLE_BF16: [MicroKernel<Bf16>; 4] = by_rows!(portable, Bf16, 2; 1 2 3 4);

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
    const COLUMNS: usize = 8;
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

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::MicroKernel;
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
                let sums =
                    if accumulate { _mm512_add_ps(sums, _mm512_loadu_ps(target)) } else { sums };
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
                let sums =
                    if accumulate { _mm256_add_ps(sums, _mm256_loadu_ps(target)) } else { sums };
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
    pub(super) static AVX2_HALF: [MicroKernel<f32>; 12] =
        by_rows!(avx2, 1; 1 2 3 4 5 6 7 8 9 10 11 12);
    pub(super) static BF16: [MicroKernel<Bf16>; 14] =
        by_rows!(bf16, 2; 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    pub(super) static BF16_HALF: [MicroKernel<Bf16>; 14] =
        by_rows!(bf16, 1; 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}
