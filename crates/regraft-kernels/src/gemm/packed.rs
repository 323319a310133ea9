//! The right matrix of a product, copied into panels.

use super::kernels::{Kernel, Panel};
use super::{Operand, Strided, interleave};
use crate::element::Bf16;

/// The right matrix of a product, `[depth, columns]`, copied into panels of a vector-friendly width: `[panel][step][column][value]`. What a
/// step, a tile's depth or the last panel has too many is zero.
#[derive(Clone, Debug, Default)]
pub struct Packed<T = f32> {
    panels: Vec<T>,
    depth: usize,
    /// With the zeros that fill it up.
    padded_depth: usize,
    columns: usize,
    width: usize,
}

impl<T: Operand> Packed<T> {
    /// Packs `right`, a `[depth, columns]` matrix, rounding it to the operands' type and reusing this value's memory.
    pub fn pack(&mut self, right: Strided<'_>, depth: usize, columns: usize) {
        right.check(depth, columns);
        self.reset(depth, columns);
        let step_length = T::STEP;
        for panel in T::kernel().panels(columns) {
            let width = panel.width;
            let (start, length) = (self.start(&panel), self.padded_depth * width);
            let target = &mut self.panels[start..start + length];
            // Along the rows or along the columns, whichever lie closer together.
            if right.column_stride <= right.row_stride {
                for row in 0..depth {
                    let (step, value) = (row / step_length, row % step_length);
                    let target = &mut target[step * width * step_length..][..width * step_length];
                    let first = row * right.row_stride + panel.first * right.column_stride;
                    for (column, target) in target.chunks_exact_mut(step_length).enumerate().take(panel.columns) {
                        target[value] = T::from_f32(right.data[first + column * right.column_stride]);
                    }
                }
            } else {
                for column in 0..panel.columns {
                    let first = (panel.first + column) * right.column_stride;
                    for row in 0..depth {
                        let (step, value) = (row / step_length, row % step_length);
                        target[(step * width + column) * step_length + value] =
                            T::from_f32(right.data[first + row * right.row_stride]);
                    }
                }
            }
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
        // All panels before one are whole.
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

impl Packed<Bf16> {
    /// Packs a matrix of contiguous rows.
    pub(super) fn pack_rows(&mut self, right: &[Bf16], stride: usize, depth: usize, columns: usize) {
        self.reset(depth, columns);
        for panel in Bf16::kernel().panels(columns) {
            let (start, length) = (self.start(&panel), self.padded_depth * panel.width);
            let target = &mut self.panels[start..start + length];
            interleave(&right[panel.first..], stride, panel.columns, depth, target, 2 * panel.width);
        }
    }
}
