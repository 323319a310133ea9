//! The right matrix of a product, copied into panels.

use super::kernels::{Kernel, Panel};
use super::{Matrix, Operand, interleave};
use crate::element::Bf16;
use crate::isa::for_each_isa;
use rayon::prelude::*;

/// Least number of elements for which the packing is shared among the threads.
const PARALLEL_LENGTH: usize = 1 << 16;

/// The right matrix of a product, `[depth, columns]`, copied into panels of a vector-friendly
/// width: `[panel][step][column][value]`. Values that fill up a step, a tile's depth or the last
/// panel are zero.
#[derive(Clone, Debug, Default)]
pub struct Packed<T = f32> {
    panels: Vec<T>,
    depth: usize,
    /// Including the padding of zeros.
    padded_depth: usize,
    columns: usize,
    width: usize,
}

impl<T: Operand> Packed<T> {
    /// Packs `right`, a `[depth, columns]` matrix, rounding it to the operands' type and reusing
    /// this value's memory. All threads pack a large matrix.
    pub fn pack(&mut self, right: Matrix<'_>, depth: usize, columns: usize) {
        right.check(depth, columns);
        self.reset(depth, columns);
        if self.panels.is_empty() {
            return;
        }
        let panels = T::kernel().panels(columns);
        // All panels but the last are as wide as the kernel.
        let targets = self.panels.chunks_mut(self.padded_depth * self.width);
        let work = |(panel, target): (Panel, &mut [T])| match right {
            Matrix::Rows { data, stride } => {
                pack_rows(&data[panel.first..], stride, depth, panel.columns, target, panel.width)
            }
            Matrix::Columns { data, stride } => {
                pack_columns(
                    &data[panel.first * stride..],
                    stride,
                    depth,
                    panel.columns,
                    target,
                    panel.width,
                );
            }
        };
        if depth * columns < PARALLEL_LENGTH {
            panels.zip(targets).for_each(work);
        } else {
            let tasks: Vec<(Panel, &mut [T])> = panels.zip(targets).collect();
            tasks.into_par_iter().for_each(work);
        }
    }

    fn reset(&mut self, depth: usize, columns: usize) {
        let kernel = T::kernel();
        let width = kernel.panels(columns).map(|panel| panel.width).sum::<usize>();
        (self.depth, self.columns, self.width) = (depth, columns, kernel.columns());
        self.padded_depth = depth.next_multiple_of(kernel.depth_unit());
        let length = self.padded_depth * width;
        self.panels.clear();
        self.panels.resize(length, T::default());
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn padded_depth(&self) -> usize {
        self.padded_depth
    }

    fn start(&self, panel: &Panel) -> usize {
        // All panels before another one are full.
        panel.first * self.padded_depth
    }

    pub(super) fn panel(&self, panel: &Panel) -> &[T] {
        &self.panels[self.start(panel)..][..self.padded_depth * panel.width]
    }

    pub(super) fn check_kernel(&self, kernel: &Kernel<T>) {
        assert_eq!(self.width, kernel.columns(), "the panels were packed for another kernel");
    }

    /// The matrix's `(depth, columns)`.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.depth, self.columns)
    }
}

for_each_isa! {
    /// Packs a panel of `columns` from rows of contiguous elements.
    fn pack_rows<T: Operand>(
        rows: &[f32], stride: usize, depth: usize, columns: usize, target: &mut [T], width: usize)
        => pack_rows_body
}
#[inline(always)]
fn pack_rows_body<const FUSED: bool, T: Operand>(
    rows: &[f32],
    stride: usize,
    depth: usize,
    columns: usize,
    target: &mut [T],
    width: usize,
) {
    for row in 0..depth {
        let (step, value) = (row / T::STEP, row % T::STEP);
        let target = &mut target[step * width * T::STEP..][..width * T::STEP];
        for (target, source) in
            target.chunks_exact_mut(T::STEP).zip(&rows[row * stride..][..columns])
        {
            target[value] = T::from_f32(*source);
        }
    }
}

for_each_isa! {
    /// Packs a panel of `count` columns of contiguous elements.
    fn pack_columns<T: Operand>(
        columns: &[f32], stride: usize, depth: usize, count: usize, target: &mut [T], width: usize)
        => pack_columns_body
}
/// Packs square by square: columns are so far apart that one row of all of them would not stay in
/// the first-level cache.
#[inline(always)]
fn pack_columns_body<const FUSED: bool, T: Operand>(
    columns: &[f32],
    stride: usize,
    depth: usize,
    count: usize,
    target: &mut [T],
    width: usize,
) {
    const SIDE: usize = 16;
    let mut square = [[T::default(); SIDE]; SIDE];
    for first in (0..count).step_by(SIDE) {
        let wide = SIDE.min(count - first);
        for start in (0..depth).step_by(SIDE) {
            let high = SIDE.min(depth - start);
            for (column, values) in square.iter_mut().enumerate().take(wide) {
                let source = &columns[(first + column) * stride + start..][..high];
                values
                    .iter_mut()
                    .zip(source)
                    .for_each(|(value, source)| *value = T::from_f32(*source));
            }
            for row in 0..high {
                let (step, value) = ((start + row) / T::STEP, (start + row) % T::STEP);
                let target = &mut target[(step * width + first) * T::STEP..][..wide * T::STEP];
                for (target, values) in target.chunks_exact_mut(T::STEP).zip(&square) {
                    target[value] = values[row];
                }
            }
        }
    }
}

impl Packed<Bf16> {
    /// Packs a matrix of contiguous rows.
    pub(super) fn pack_rows(
        &mut self,
        right: &[Bf16],
        stride: usize,
        depth: usize,
        columns: usize,
    ) {
        self.reset(depth, columns);
        for panel in Bf16::kernel().panels(columns) {
            let (start, length) = (self.start(&panel), self.padded_depth * panel.width);
            let target = &mut self.panels[start..start + length];
            interleave(
                &right[panel.first..],
                stride,
                panel.columns,
                depth,
                target,
                Bf16::STEP * panel.width,
            );
        }
    }
}
