//! Matrix products, summed in f32: the core of dense convolution and linear layers.
//!
//! One thread computes one product. Callers divide their work into products by the problem's shape,
//! so results never depend on the number of threads. Every element of the result is summed in the
//! same order whatever the other dimensions are (in blocks of [`DEPTH_BLOCK`] steps, each from
//! first to last), so an image's values do not depend on its position in a batch.
//!
//! The operands are f32, or bf16 if the processor multiplies it: then a step of the depth is a pair
//! of neighbouring values (four on ARM), and one instruction adds all their products. The left
//! matrix is read in place through strides: its steps are broadcast one by one, so packing it would
//! gain nothing. The right matrix is read a vector at a time from packed panels, or in place if it
//! is f32 and its rows are wide enough.
//!
//! If the processor has AMX, its tiles multiply bf16 instead, from the same panels, in blocks of
//! half as many steps.

#[cfg(target_arch = "x86_64")]
mod amx;
mod kernels;
mod packed;

#[cfg(target_arch = "x86_64")]
pub(crate) use amx::{transpose_pairs, transpose_square};
pub use packed::Packed;

use crate::element::{Bf16, Element};
use crate::isa::for_each_isa;
use crate::scratch::with_scratch;
use kernels::Kernel;

/// Steps of a block of the sum, so that a panel of the right matrix (64 KiB at 32 columns) stays in
/// the second-level cache for all rows of the left one.
pub const DEPTH_BLOCK: usize = 512;

/// A matrix of f32 with either contiguous rows or contiguous columns.
#[derive(Clone, Copy, Debug)]
pub enum Matrix<'a> {
    /// Row by row.
    Rows {
        /// The elements, with any gaps between the rows.
        data: &'a [f32],
        /// Distance from one row to the next, in elements.
        stride: usize,
    },
    /// Column by column.
    Columns {
        /// The elements, with any gaps between the columns.
        data: &'a [f32],
        /// Distance from one column to the next, in elements.
        stride: usize,
    },
}

impl Matrix<'_> {
    fn check(&self, rows: usize, columns: usize) {
        if rows > 0 && columns > 0 {
            let (data, last) = match self {
                Self::Rows { data, stride } => (data, (rows - 1) * stride + columns - 1),
                Self::Columns { data, stride } => (data, (columns - 1) * stride + rows - 1),
            };
            assert!(
                last < data.len(),
                "a {rows}x{columns} matrix ends at {last}, beyond its {} elements",
                data.len()
            );
        }
    }
}

/// The type of the operands of a product.
pub trait Operand: Element {
    /// Values of the depth that are adjacent in both matrices and that one instruction multiplies.
    const STEP: usize;

    /// The tile kernel of the instruction set in use.
    #[doc(hidden)]
    fn kernel() -> Kernel<Self>;

    /// `result = left transposed * right`: `left` is `[depth, rows]`, `right` is `[depth,
    /// columns]`, and the result is `[rows, columns]`. `packed` is memory that the function may
    /// use.
    ///
    /// # Panics
    /// If a slice is shorter than its shape says.
    fn multiply_transposed(
        left: Rows<'_, Self>,
        right: Rows<'_, Self>,
        depth: usize,
        result: Sums<'_>,
        packed: &mut Packed<Self>,
    );
}

/// A matrix of rows, with any gaps between them.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T> {
    /// The elements.
    pub data: &'a [T],
    /// Distance from one row to the next, in elements.
    pub stride: usize,
    /// Elements of a row.
    pub columns: usize,
}

/// The matrix that a product is written to.
#[derive(Debug)]
pub struct Sums<'a> {
    /// The elements.
    pub data: &'a mut [f32],
    /// Distance from one row to the next, in elements.
    pub stride: usize,
    /// Whether the product is added to the elements instead of replacing them.
    pub accumulate: bool,
}

/// The left matrix of a product, `[rows, depth]`: the values of a step are adjacent.
#[derive(Clone, Copy, Debug)]
pub struct Left<'a, T> {
    /// The elements, with any gaps between them.
    pub data: &'a [T],
    /// Distance from one row to the next, in elements.
    pub row_stride: usize,
    /// Distance from one step of the depth to the next, in elements.
    pub step_stride: usize,
}

impl<'a, T: Operand> Left<'a, T> {
    /// A matrix of contiguous rows.
    #[must_use]
    pub fn rows(data: &'a [T], row_stride: usize) -> Self {
        Self { data, row_stride, step_stride: T::STEP }
    }

    fn after_steps(self, steps: usize) -> Self {
        Self { data: &self.data[steps * self.step_stride..], ..self }
    }

    fn check(&self, rows: usize, depth: usize) {
        if rows > 0 && depth > 0 {
            let last = (rows - 1) * self.row_stride
                + (depth - 1) / T::STEP * self.step_stride
                + (depth - 1) % T::STEP;
            assert!(
                last < self.data.len(),
                "a {rows}x{depth} matrix ends at {last}, beyond its {} elements",
                self.data.len()
            );
        }
    }
}

/// `result = left * right`, or `result += left * right` if `accumulate`.
///
/// `left` is `[rows, depth]`, `right` is `[depth, columns]`, and `result` has rows of
/// `result_stride` elements, of which the first `columns` are written.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn multiply<T: Operand>(
    left: Left<'_, T>,
    rows: usize,
    right: &Packed<T>,
    result: &mut [f32],
    result_stride: usize,
    accumulate: bool,
) {
    let (depth, columns) = right.shape();
    left.check(rows, depth);
    check_result(result, result_stride, rows, columns);
    if depth == 0 {
        return nothing_to_add(result, result_stride, rows, columns, accumulate);
    }
    if rows == 0 {
        return;
    }
    let kernel = T::kernel();
    right.check_kernel(&kernel);
    if let Some((amx, product)) = kernel.tiles() {
        return product(amx, left, rows, right, result, result_stride, accumulate);
    }
    let block = DEPTH_BLOCK * T::STEP;
    for start in (0..depth).step_by(block) {
        let left = left.after_steps(start / T::STEP);
        for panel in kernel.panels(columns) {
            let right = Right {
                data: &right.panel(&panel)[start * panel.width..],
                step_stride: panel.width * T::STEP,
            };
            let depth = block.min(depth - start);
            panel_product(
                &kernel,
                left,
                rows,
                depth,
                right,
                &panel,
                result,
                result_stride,
                accumulate || start > 0,
            );
        }
    }
}

/// A product with depth zero is zero.
fn nothing_to_add(
    result: &mut [f32],
    result_stride: usize,
    rows: usize,
    columns: usize,
    accumulate: bool,
) {
    if !accumulate {
        result.chunks_mut(result_stride.max(1)).take(rows).for_each(|row| row[..columns].fill(0.0));
    }
}

impl Operand for f32 {
    const STEP: usize = 1;

    fn kernel() -> Kernel<Self> {
        kernels::of_f32()
    }

    fn multiply_transposed(
        left: Rows<'_, Self>,
        right: Rows<'_, Self>,
        depth: usize,
        result: Sums<'_>,
        packed: &mut Packed<Self>,
    ) {
        let (rows, columns) = (left.columns, right.columns);
        let left = Left { data: left.data, row_stride: 1, step_stride: left.stride };
        let Rows { data: right, stride: right_stride, .. } = right;
        let Sums { data: result, stride: result_stride, accumulate } = result;
        left.check(rows, depth);
        Matrix::Rows { data: right, stride: right_stride }.check(depth, columns);
        check_result(result, result_stride, rows, columns);
        if depth == 0 {
            return nothing_to_add(result, result_stride, rows, columns, accumulate);
        }
        if rows == 0 {
            return;
        }
        let kernel = Self::kernel();
        let whole = columns / kernel.narrow() * kernel.narrow();
        for start in (0..depth).step_by(DEPTH_BLOCK) {
            let (left, depth) = (left.after_steps(start), DEPTH_BLOCK.min(depth - start));
            for panel in kernel.panels(whole) {
                let right = Right {
                    data: &right[start * right_stride + panel.first..],
                    step_stride: right_stride,
                };
                panel_product(
                    &kernel,
                    left,
                    rows,
                    depth,
                    right,
                    &panel,
                    result,
                    result_stride,
                    accumulate || start > 0,
                );
            }
        }
        if whole < columns {
            let rest = Matrix::Rows { data: &right[whole..], stride: right_stride };
            packed.pack(rest, depth, columns - whole);
            multiply(left, rows, packed, &mut result[whole..], result_stride, accumulate);
        }
    }
}

impl Operand for Bf16 {
    const STEP: usize = if cfg!(target_arch = "aarch64") { 4 } else { 2 };

    fn kernel() -> Kernel<Self> {
        kernels::of_bf16()
    }

    fn multiply_transposed(
        left: Rows<'_, Self>,
        right: Rows<'_, Self>,
        depth: usize,
        result: Sums<'_>,
        packed: &mut Packed<Self>,
    ) {
        let (rows, columns) = (left.columns, right.columns);
        let Sums { data: result, stride: result_stride, accumulate } = result;
        if depth == 0 {
            return nothing_to_add(result, result_stride, rows, columns, accumulate);
        }
        // Both matrices have the values of a step in several rows, so they are copied with these
        // values side by side.
        packed.pack_rows(right.data, right.stride, depth, columns);
        #[cfg(target_arch = "x86_64")]
        if let Some((amx, _)) = Self::kernel().tiles() {
            let result = Sums { data: result, stride: result_stride, accumulate };
            return amx::multiply_transposed(amx, left, packed, result);
        }
        let step_stride = Self::STEP * rows;
        with_scratch(depth.div_ceil(Self::STEP) * step_stride, |steps: &mut [Self]| {
            interleave(left.data, left.stride, rows, depth, steps, step_stride);
            let left = Left { data: steps, row_stride: Self::STEP, step_stride };
            multiply(left, rows, packed, result, result_stride, accumulate);
        });
    }
}

for_each_isa! {
    /// `steps[row / STEP][column] = (rows[row][column], rows[row + 1][column], ...)`, with zeros if
    /// there are no further rows.
    fn interleave(rows: &[Bf16], stride: usize, columns: usize, count: usize, steps: &mut [Bf16],
        step_stride: usize) => interleave_body
}
#[inline(always)]
fn interleave_body<const FUSED: bool>(
    rows: &[Bf16],
    stride: usize,
    columns: usize,
    count: usize,
    steps: &mut [Bf16],
    step_stride: usize,
) {
    const STEP: usize = Bf16::STEP;
    for (step, target) in steps.chunks_mut(step_stride).enumerate().take(count.div_ceil(STEP)) {
        let (target, _) = target[..STEP * columns].as_chunks_mut::<STEP>();
        // Two values at a time, because the compiler makes vectors of that.
        for value in (0..STEP).step_by(2) {
            let row = STEP * step + value;
            let first = if row < count { &rows[row * stride..][..columns] } else { &[] };
            if row + 1 < count {
                let second = &rows[(row + 1) * stride..][..columns];
                for ((target, first), second) in target.iter_mut().zip(first).zip(second) {
                    (target[value], target[value + 1]) = (*first, *second);
                }
                continue;
            }
            for (target, first) in target.iter_mut().zip(first) {
                (target[value], target[value + 1]) = (*first, Bf16::default());
            }
            for target in &mut target[first.len()..] {
                (target[value], target[value + 1]) = (Bf16::default(), Bf16::default());
            }
        }
    }
}

fn check_result(result: &[f32], stride: usize, rows: usize, columns: usize) {
    assert!(
        columns <= stride || rows <= 1,
        "rows of {columns} columns overlap at a stride of {stride}"
    );
    assert!(
        rows == 0 || columns == 0 || (rows - 1) * stride + columns <= result.len(),
        "the result is too short"
    );
}

/// A panel of the right matrix.
#[derive(Clone, Copy)]
struct Right<'a, T> {
    data: &'a [T],
    /// Distance from one step of the depth to the next, in elements.
    step_stride: usize,
}

/// One panel of the right matrix times all rows of the left one.
fn panel_product<T: Operand>(
    kernel: &Kernel<T>,
    left: Left<'_, T>,
    rows: usize,
    depth: usize,
    right: Right<'_, T>,
    panel: &kernels::Panel,
    result: &mut [f32],
    result_stride: usize,
    accumulate: bool,
) {
    let result = &mut result[panel.first..];
    left.check(rows, depth);
    check_result(result, result_stride, rows, panel.columns);
    let steps = depth.div_ceil(T::STEP);
    assert!(
        (steps - 1) * right.step_stride + panel.width * T::STEP <= right.data.len(),
        "a panel of the right matrix is too short"
    );
    let by_rows = kernel.by_rows(panel);
    let mut row = 0;
    while row < rows {
        let count = by_rows.len().min(rows - row);
        // SAFETY: the checks above cover the last element that the kernel reads of either matrix
        // and writes to the result; `kernel` was chosen for an instruction set that the processor
        // reported.
        unsafe {
            by_rows[count - 1](
                depth,
                left.data.as_ptr().add(row * left.row_stride),
                left.row_stride,
                left.step_stride,
                right.data.as_ptr(),
                right.step_stride,
                result.as_mut_ptr().add(row * result_stride),
                result_stride,
                panel.columns,
                accumulate,
            );
        }
        row += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_base::random::{Draws, Purpose};

    fn values<T: Element>(count: usize, sample: u32) -> Vec<T> {
        let mut draws = Draws::new(5, Purpose::Fixture, 0, sample);
        (0..count).map(|_| T::from_f32(draws.range(-1.0, 1.0))).collect()
    }

    /// Checks a product of `left` `[rows, depth]` and `right` `[depth, columns]`, in both ways of
    /// multiplying, with and without accumulation.
    fn check<T: Operand>(rows: usize, depth: usize, columns: usize) {
        let (left, right) = (values::<T>(rows * depth, 0), values::<T>(depth * columns, 1));
        let start = values::<f32>(rows * columns, 2);
        let wide: Vec<f32> = right.iter().map(|value| value.to_f32()).collect();
        let transposed: Vec<T> =
            (0..depth * rows).map(|at| left[at % rows * depth + at / rows]).collect();
        let mut packed = Packed::default();
        packed.pack(Matrix::Rows { data: &wide, stride: columns }, depth, columns);
        for accumulate in [false, true] {
            let mut result = start.clone();
            multiply(Left::rows(&left, depth), rows, &packed, &mut result, columns, accumulate);
            let mut other = start.clone();
            let mut scratch = Packed::default();
            let map = Rows { data: &transposed, stride: rows, columns: rows };
            let right = Rows { data: &right, stride: columns, columns };
            let sums = Sums { data: &mut other, stride: columns, accumulate };
            T::multiply_transposed(map, right, depth, sums, &mut scratch);
            assert_eq!(result, other, "{rows}x{depth}x{columns}");
            for (at, result) in result.iter().enumerate() {
                let (row, column) = (at / columns, at % columns);
                let products = (0..depth).map(|k| {
                    f64::from(left[row * depth + k].to_f32())
                        * f64::from(wide[k * columns + column])
                });
                let expected =
                    products.sum::<f64>() + if accumulate { f64::from(start[at]) } else { 0.0 };
                assert!(
                    (f64::from(*result) - expected).abs() < 1e-4,
                    "{rows}x{depth}x{columns} at {row},{column}"
                );
            }
        }
    }

    #[test]
    fn products_match_f64_sums_over_odd_shapes() {
        for (rows, depth, columns) in [
            (1, 1, 1),
            (3, 7, 5),
            (14, 32, 32),
            (15, 600, 33),
            (29, 1030, 70),
            (2, 513, 31),
            (13, 1025, 16),
            (7, 3, 48),
            (5, 0, 4),
            (4, 0, 40),
        ] {
            check::<f32>(rows, depth, columns);
            check::<Bf16>(rows, depth, columns);
        }
    }

    #[test]
    fn columns_packed_from_a_transposed_matrix_are_the_same() {
        let (depth, columns) = (41, 45);
        let right = values::<f32>(depth * columns, 1);
        let transposed: Vec<f32> =
            (0..depth * columns).map(|at| right[at % depth * columns + at / depth]).collect();
        let (mut first, mut second) = (Packed::<Bf16>::default(), Packed::<Bf16>::default());
        first.pack(Matrix::Rows { data: &right, stride: columns }, depth, columns);
        second.pack(Matrix::Columns { data: &transposed, stride: depth }, depth, columns);
        let left = values::<Bf16>(depth, 2);
        let (mut from_first, mut from_second) = (vec![0.0; columns], vec![0.0; columns]);
        multiply(Left::rows(&left, depth), 1, &first, &mut from_first, columns, false);
        multiply(Left::rows(&left, depth), 1, &second, &mut from_second, columns, false);
        assert_eq!(from_first, from_second);
    }

    #[test]
    #[should_panic(expected = "beyond its 3 elements")]
    fn a_short_matrix_is_refused() {
        let mut packed = Packed::<f32>::default();
        packed.pack(Matrix::Rows { data: &[0.0; 3], stride: 2 }, 2, 2);
    }
}
