//! Tile kernels: the innermost loops, for each instruction set.

#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "x86_64")]
use super::amx as products;
use super::{Left, Operand, Packed};
use crate::amx::Amx;
#[cfg(target_arch = "x86_64")]
use crate::amx::{self, tiles};
use crate::element::Bf16;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
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
        #[cfg(target_arch = "aarch64")]
        InstructionSet::Neon | InstructionSet::NeonBf16 => (neon::COLUMNS, &neon::F32, None),
        _ => (portable::COLUMNS, &portable::F32, None),
    };
    Kernel { columns, whole, half, tiles: None, depth_unit: 1 }
}

/// The kernel for bf16. If the processor has no such products, the kernel computes with
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
                depth_unit: if amx.is_some() { tiles::TILE_DEPTH } else { Bf16::STEP },
            }
        }
        #[cfg(target_arch = "aarch64")]
        InstructionSet::NeonBf16 => Kernel {
            columns: neon::COLUMNS,
            whole: &neon::BF16,
            half: None,
            tiles: None,
            depth_unit: Bf16::STEP,
        },
        _ => Kernel {
            columns: portable::COLUMNS,
            whole: &portable::BF16,
            half: None,
            tiles: None,
            depth_unit: Bf16::STEP,
        },
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
    ($kernel:ident, $element:ty; $($rows:literal)+) => {
        [$($kernel::<$element, { <$element as Operand>::STEP }, $rows>),+]
    };
}
use by_rows;
