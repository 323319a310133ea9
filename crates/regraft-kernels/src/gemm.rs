//! Matrix products in f32: the core of dense convolution and linear layers.
//!
//! One thread computes one product; callers cut their work into products by the problem's shape, so results never depend on
//! the number of threads. Every element of the result is summed in the same order whatever the other dimensions are (blocks of
//! [`DEPTH_BLOCK`], each from first to last), so a picture's values do not depend on its place in a batch.
//!
//! The left matrix is read in place through strides: its elements are broadcast one by one, so packing would only cost. The
//! right matrix is read a vector at a time from packed panels, or in place where its rows are already wide enough.

use crate::isa::{InstructionSet, active};

/// Products are summed in blocks of this depth, so that a panel of the right matrix (64 KiB at 32 columns) stays in the
/// second-level cache while all rows of the left one pass by.
pub const DEPTH_BLOCK: usize = 512;

/// A matrix seen through strides: element `(row, column)` is `data[row * row_stride + column * column_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct Strided<'a> {
    /// The elements, and whatever lies between them.
    pub data: &'a [f32],
    /// Distance from a row to the next, in elements.
    pub row_stride: usize,
    /// Distance from a column to the next, in elements.
    pub column_stride: usize,
}

impl Strided<'_> {
    fn check(&self, rows: usize, columns: usize) {
        if rows > 0 && columns > 0 {
            let last = (rows - 1) * self.row_stride + (columns - 1) * self.column_stride;
            assert!(last < self.data.len(), "a {rows}x{columns} matrix ends at {last}, beyond its {} elements", self.data.len());
        }
    }
}

/// The right matrix of a product, `[depth, columns]`, copied into panels of a vector-friendly width.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    panels: Vec<f32>,
    depth: usize,
    columns: usize,
    width: usize,
}

impl Packed {
    /// Packs `right`, a `[depth, columns]` matrix, reusing this value's memory.
    pub fn pack(&mut self, right: Strided<'_>, depth: usize, columns: usize) {
        right.check(depth, columns);
        let width = kernel().columns;
        let count = columns.div_ceil(width);
        self.panels.clear();
        self.panels.resize(count * depth * width, 0.0);
        (self.depth, self.columns, self.width) = (depth, columns, width);
        for panel in 0..count {
            let first = panel * width;
            let valid = width.min(columns - first);
            let target = &mut self.panels[panel * depth * width..(panel + 1) * depth * width];
            if right.column_stride == 1 {
                for (row, target) in target.chunks_exact_mut(width).enumerate() {
                    let start = row * right.row_stride + first;
                    target[..valid].copy_from_slice(&right.data[start..start + valid]);
                }
            } else {
                for column in 0..valid {
                    let start = (first + column) * right.column_stride;
                    for row in 0..depth {
                        target[row * width + column] = right.data[start + row * right.row_stride];
                    }
                }
            }
        }
    }

    /// The matrix's `(depth, columns)`.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.depth, self.columns)
    }
}

/// `result = left * right`, or `result += left * right` where `accumulate`.
///
/// `left` is `[rows, depth]`, `right` `[depth, columns]`; `result` has rows of `result_stride` elements, of which the first
/// `columns` are written.
///
/// # Panics
/// When a slice is shorter than its shape says.
pub fn multiply(left: Strided<'_>, rows: usize, right: &Packed, result: &mut [f32], result_stride: usize, accumulate: bool) {
    let (depth, columns, width) = (right.depth, right.columns, right.width);
    left.check(rows, depth);
    check_result(result, result_stride, rows, columns);
    if depth == 0 && !accumulate {
        result.chunks_mut(result_stride.max(1)).take(rows).for_each(|row| row[..columns].fill(0.0));
    }
    let kernel = kernel();
    assert_eq!(width, kernel.columns, "the panels were packed for another kernel");
    for depth_start in (0..depth).step_by(DEPTH_BLOCK) {
        let depth_count = DEPTH_BLOCK.min(depth - depth_start);
        let accumulate = accumulate || depth_start > 0;
        for (panel, first) in (0..columns).step_by(width).enumerate() {
            let right = &right.panels[(panel * depth + depth_start) * width..(panel * depth + depth_start + depth_count) * width];
            let left = Strided { data: &left.data[depth_start * left.column_stride..], ..left };
            let columns = width.min(columns - first);
            panel_product(
                &kernel,
                left,
                rows,
                depth_count,
                right,
                width,
                &mut result[first..],
                result_stride,
                columns,
                accumulate,
            );
        }
    }
}

/// As [`multiply`], with a right matrix `[depth, columns]` of contiguous rows read in place.
///
/// # Panics
/// When a slice is shorter than its shape says.
pub fn multiply_in_place(
    left: Strided<'_>,
    rows: usize,
    right: &[f32],
    right_stride: usize,
    depth: usize,
    columns: usize,
    result: &mut [f32],
    result_stride: usize,
    accumulate: bool,
    packed: &mut Packed,
) {
    let kernel = kernel();
    let whole = columns / kernel.columns * kernel.columns;
    left.check(rows, depth);
    Strided { data: right, row_stride: right_stride, column_stride: 1 }.check(depth, columns);
    check_result(result, result_stride, rows, columns);
    for depth_start in (0..depth).step_by(DEPTH_BLOCK) {
        let depth_count = DEPTH_BLOCK.min(depth - depth_start);
        let accumulate = accumulate || depth_start > 0;
        let left = Strided { data: &left.data[depth_start * left.column_stride..], ..left };
        for first in (0..whole).step_by(kernel.columns) {
            let right = &right[depth_start * right_stride + first..];
            let result = &mut result[first..];
            panel_product(
                &kernel,
                left,
                rows,
                depth_count,
                right,
                right_stride,
                result,
                result_stride,
                kernel.columns,
                accumulate,
            );
        }
    }
    if whole < columns {
        packed.pack(Strided { data: &right[whole..], row_stride: right_stride, column_stride: 1 }, depth, columns - whole);
        multiply(left, rows, packed, &mut result[whole..], result_stride, accumulate);
    }
}

fn check_result(result: &[f32], stride: usize, rows: usize, columns: usize) {
    assert!(columns <= stride || rows <= 1, "rows of {columns} columns overlap at a stride of {stride}");
    assert!(rows == 0 || columns == 0 || (rows - 1) * stride + columns <= result.len(), "the result is too short");
}

/// One panel of the right matrix times all rows of the left one.
fn panel_product(
    kernel: &Kernel,
    left: Strided<'_>,
    rows: usize,
    depth: usize,
    right: &[f32],
    right_stride: usize,
    result: &mut [f32],
    result_stride: usize,
    columns: usize,
    accumulate: bool,
) {
    left.check(rows, depth);
    check_result(result, result_stride, rows, columns);
    assert!(depth == 0 || (depth - 1) * right_stride + kernel.columns <= right.len(), "a panel of the right matrix is too short");
    // The kernel writes its whole width: where the panel is narrower, into this tile first.
    let mut edge = (columns < kernel.columns).then_some([0.0f32; MAXIMUM_ROWS * MAXIMUM_COLUMNS]);
    let mut row = 0;
    while row < rows {
        let count = kernel.rows.min(rows - row);
        let call = kernel.by_rows[count - 1];
        let source = &left.data[row * left.row_stride..];
        let target = &mut result[row * result_stride..];
        let (pointer, stride, adds) = match &mut edge {
            Some(edge) => (edge.as_mut_ptr(), kernel.columns, false),
            None => (target.as_mut_ptr(), result_stride, accumulate),
        };
        // SAFETY: the checks above cover the last element that the kernel reads of either matrix and writes of the result;
        // `edge` holds the largest tile; `kernel` was chosen for an instruction set that the processor reported.
        unsafe {
            call(
                depth,
                source.as_ptr(),
                left.row_stride,
                left.column_stride,
                right.as_ptr(),
                right_stride,
                pointer,
                stride,
                adds,
            );
        }
        if let Some(edge) = &edge {
            for (target, edge) in target.chunks_mut(result_stride).zip(edge.chunks_exact(kernel.columns)).take(count) {
                for (target, edge) in target.iter_mut().zip(&edge[..columns]) {
                    *target = if accumulate { *target + edge } else { *edge };
                }
            }
        }
        row += count;
    }
}

/// `(depth, left, row stride, column stride, right, right stride, result, result stride, accumulate)`.
type MicroKernel = unsafe fn(usize, *const f32, usize, usize, *const f32, usize, *mut f32, usize, bool);

const MAXIMUM_ROWS: usize = 14;
const MAXIMUM_COLUMNS: usize = 32;

/// A tile kernel: how much of the result it keeps in registers, and the code for each number of rows up to that.
struct Kernel {
    rows: usize,
    columns: usize,
    by_rows: &'static [MicroKernel],
}

fn kernel() -> Kernel {
    match active() {
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => Kernel { rows: 14, columns: 32, by_rows: &x86::AVX512 },
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => Kernel { rows: 6, columns: 16, by_rows: &x86::AVX2 },
        _ => Kernel { rows: 4, columns: 8, by_rows: &PORTABLE },
    }
}

static PORTABLE: [MicroKernel; 4] = [portable::<1>, portable::<2>, portable::<3>, portable::<4>];

/// Four rows by eight columns fit the sixteen 128-bit registers that every x86-64 and ARM64 processor has.
///
/// # Safety
/// The pointers must reach as far as the depth, strides and tile say.
unsafe fn portable<const ROWS: usize>(
    depth: usize,
    left: *const f32,
    row_stride: usize,
    column_stride: usize,
    right: *const f32,
    right_stride: usize,
    result: *mut f32,
    result_stride: usize,
    accumulate: bool,
) {
    const COLUMNS: usize = 8;
    let mut sums = [[0.0f32; COLUMNS]; ROWS];
    for step in 0..depth {
        // SAFETY: the caller's promise.
        let right = unsafe { std::slice::from_raw_parts(right.add(step * right_stride), COLUMNS) };
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let value = unsafe { *left.add(row * row_stride + step * column_stride) };
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum += value * right;
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: the caller's promise.
        let target = unsafe { std::slice::from_raw_parts_mut(result.add(row * result_stride), COLUMNS) };
        for (target, sum) in target.iter_mut().zip(sums) {
            *target = if accumulate { *target + sum } else { *sum };
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::MicroKernel;
    use std::arch::x86_64::*;

    /// A tile kernel of `ROWS` rows by two vectors: 14 x 2 sums, two vectors of the right matrix and a broadcast element fill 31
    /// of AVX-512's 32 registers; 6 x 2 fill 15 of AVX2's 16. Two fused multiply-adds follow each broadcast, so neither
    /// load port limits them.
    macro_rules! tile_kernel {
        ($name:ident, $features:literal, $width:literal, $zero:ident, $load:ident, $store:ident, $set:ident, $fma:ident, $add:ident) => {
            /// # Safety
            /// The processor must have the features; the pointers must reach as far as the depth, strides and tile say.
            #[target_feature(enable = $features)]
            unsafe fn $name<const ROWS: usize>(
                depth: usize,
                left: *const f32,
                row_stride: usize,
                column_stride: usize,
                mut right: *const f32,
                right_stride: usize,
                result: *mut f32,
                result_stride: usize,
                accumulate: bool,
            ) {
                let mut sums = [[$zero(); 2]; ROWS];
                let mut column = left;
                for _ in 0..depth {
                    // SAFETY: the caller's promise.
                    let (low, high) = unsafe { ($load(right), $load(right.add($width))) };
                    let mut element = column;
                    for sums in &mut sums {
                        // SAFETY: the caller's promise.
                        let value = $set(unsafe { *element });
                        sums[0] = $fma(value, low, sums[0]);
                        sums[1] = $fma(value, high, sums[1]);
                        element = element.wrapping_add(row_stride);
                    }
                    right = right.wrapping_add(right_stride);
                    column = column.wrapping_add(column_stride);
                }
                for (row, sums) in sums.iter().enumerate() {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let target = result.add(row * result_stride);
                        for (half, &sum) in sums.iter().enumerate() {
                            let target = target.add(half * $width);
                            $store(target, if accumulate { $add(sum, $load(target)) } else { sum });
                        }
                    }
                }
            }
        };
    }

    tile_kernel!(
        avx512,
        "avx512f",
        16,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_set1_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps
    );
    tile_kernel!(
        avx2,
        "avx2,fma",
        8,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_set1_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps
    );

    pub(super) static AVX512: [MicroKernel; 14] = [
        avx512::<1>,
        avx512::<2>,
        avx512::<3>,
        avx512::<4>,
        avx512::<5>,
        avx512::<6>,
        avx512::<7>,
        avx512::<8>,
        avx512::<9>,
        avx512::<10>,
        avx512::<11>,
        avx512::<12>,
        avx512::<13>,
        avx512::<14>,
    ];
    pub(super) static AVX2: [MicroKernel; 6] = [avx2::<1>, avx2::<2>, avx2::<3>, avx2::<4>, avx2::<5>, avx2::<6>];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Draws, Purpose};

    fn values(count: usize, sample: u32) -> Vec<f32> {
        let mut draws = Draws::new(5, Purpose::Fixture, 0, sample);
        (0..count).map(|_| draws.range(-1.0, 1.0)).collect()
    }

    #[test]
    fn products_match_f64_sums_over_odd_shapes() {
        for (rows, depth, columns) in [(1, 1, 1), (3, 7, 5), (14, 32, 32), (15, 600, 33), (29, 1030, 70), (2, 513, 31), (5, 0, 4)]
        {
            let (left, right, start) = (values(rows * depth, 0), values(depth * columns, 1), values(rows * columns, 2));
            let exact = |row: usize, column: usize| -> f64 {
                (0..depth).map(|k| f64::from(left[row * depth + k]) * f64::from(right[k * columns + column])).sum()
            };
            let mut packed = Packed::default();
            packed.pack(Strided { data: &right, row_stride: columns, column_stride: 1 }, depth, columns);
            let view = Strided { data: &left, row_stride: depth, column_stride: 1 };
            for accumulate in [false, true] {
                let mut result = start.clone();
                multiply(view, rows, &packed, &mut result, columns, accumulate);
                let mut in_place = start.clone();
                let mut scratch = Packed::default();
                multiply_in_place(view, rows, &right, columns, depth, columns, &mut in_place, columns, accumulate, &mut scratch);
                for row in 0..rows {
                    for column in 0..columns {
                        let at = row * columns + column;
                        let expected = exact(row, column) + if accumulate { f64::from(start[at]) } else { 0.0 };
                        assert!((f64::from(result[at]) - expected).abs() < 1e-4, "{rows}x{depth}x{columns} at {row},{column}");
                        if depth > 0 {
                            assert_eq!(result[at], in_place[at]);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_transposed_left_matrix_and_packed_columns_give_the_same() {
        let (rows, depth, columns) = (17, 40, 45);
        let (left, right) = (values(rows * depth, 0), values(depth * columns, 1));
        let left_transposed: Vec<f32> = (0..depth * rows).map(|at| left[at % rows * depth + at / rows]).collect();
        let right_transposed: Vec<f32> = (0..depth * columns).map(|at| right[at % depth * columns + at / depth]).collect();
        let (mut first, mut second) = (vec![0.0; rows * columns], vec![0.0; rows * columns]);
        let mut packed = Packed::default();
        packed.pack(Strided { data: &right, row_stride: columns, column_stride: 1 }, depth, columns);
        multiply(Strided { data: &left, row_stride: depth, column_stride: 1 }, rows, &packed, &mut first, columns, false);
        packed.pack(Strided { data: &right_transposed, row_stride: 1, column_stride: depth }, depth, columns);
        multiply(
            Strided { data: &left_transposed, row_stride: 1, column_stride: rows },
            rows,
            &packed,
            &mut second,
            columns,
            false,
        );
        assert_eq!(first, second);
    }

    #[test]
    #[should_panic(expected = "beyond its 3 elements")]
    fn a_short_matrix_is_refused() {
        let mut packed = Packed::default();
        packed.pack(Strided { data: &[0.0; 3], row_stride: 2, column_stride: 1 }, 2, 2);
    }
}
