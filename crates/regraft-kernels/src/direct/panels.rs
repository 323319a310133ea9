//! A convolution's weights as tiles: for each panel of output channels, each tap and each run of
//! the depth, the products' right operand.

use super::lattice::RUN;
use crate::amx::tiles::TILE_SIDE;
use crate::element::{Bf16, Element};
use crate::gemm::transpose_pairs;
use crate::isa::for_each_isa;
use crate::memory::{CacheLine, elements, elements_mut, lines_for};
use rayon::prelude::*;

/// Columns of a panel, which are two tiles.
pub(super) const PANEL: usize = 32;
/// Values of two tiles side by side: 16 pairs of the depth for each column.
const BLOCK: usize = RUN * PANEL;

/// Weights packed for tiles, `[panel][tap][run][pair][column][value]`. Channels and columns that
/// fill up a run or a panel are zero.
#[derive(Clone, Debug, Default)]
pub struct Panels {
    lines: Vec<CacheLine>,
    taps: usize,
    depth: usize,
    columns: usize,
}

/// The weights of each tap as a matrix `[depth, columns]` of f32.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taps<'a> {
    pub(super) weights: &'a [f32],
    pub(super) taps: usize,
    pub(super) depth: usize,
    pub(super) columns: usize,
    /// Distances from a tap, a value of the depth and a column to the next one.
    pub(super) strides: [usize; 3],
}

impl Panels {
    /// Packs weights, reusing memory; all threads share a large matrix.
    pub(super) fn pack(&mut self, taps: Taps<'_>) {
        (self.taps, self.depth, self.columns) = (taps.taps, taps.depth, taps.columns);
        let length = self.panels() * self.panel_length();
        self.lines.resize(lines_for::<Bf16>(length), CacheLine::ZERO);
        let run = |(panel, target): (usize, &mut [Bf16])| {
            let first = panel * PANEL;
            let count = PANEL.min(taps.columns - first);
            let [tap_stride, depth_stride, column_stride] = taps.strides;
            let weights = &taps.weights[first * column_stride..];
            let runs = taps.depth.div_ceil(RUN);
            for at in 0..taps.taps * runs {
                // In the order in which the weights are in memory.
                let (tap, run) = if depth_stride == 1 {
                    (at / runs, at % runs)
                } else {
                    (at % taps.taps, at / taps.taps)
                };
                let target = &mut target[(tap * runs + run) * BLOCK..];
                let target = &mut target[..BLOCK];
                let weights = &weights[tap * tap_stride + run * RUN * depth_stride..];
                let depth = RUN.min(taps.depth - run * RUN);
                if depth_stride == 1 {
                    pack_columns(weights, column_stride, depth, count, target);
                } else {
                    pack_rows(weights, depth_stride, depth, count, target);
                }
            }
        };
        let length_of_panel = self.panel_length();
        let target = elements_mut::<Bf16>(&mut self.lines, length);
        target.par_chunks_exact_mut(length_of_panel).enumerate().for_each(run);
    }

    /// `(taps, depth, columns)`.
    pub(super) fn shape(&self) -> (usize, usize, usize) {
        (self.taps, self.depth, self.columns)
    }

    pub(super) fn panels(&self) -> usize {
        self.columns.div_ceil(PANEL)
    }

    fn panel_length(&self) -> usize {
        self.taps * self.depth.div_ceil(RUN) * BLOCK
    }

    pub(super) fn panel(&self, panel: usize) -> &[Bf16] {
        let length = self.panel_length();
        &elements(&self.lines, self.panels() * length)[panel * length..][..length]
    }

    /// Values from the start of a panel to a run of a tap.
    pub(super) fn offset(&self, tap: usize, run: usize) -> usize {
        (tap * self.depth.div_ceil(RUN) + run) * BLOCK
    }
}

/// Packs a run of columns whose depth is contiguous.
fn pack_columns(weights: &[f32], stride: usize, depth: usize, count: usize, target: &mut [Bf16]) {
    let mut columns = [[Bf16::default(); RUN]; PANEL];
    for (column, values) in columns.iter_mut().enumerate().take(count) {
        round(&weights[column * stride..][..depth], values);
    }
    assert!(target.len() >= BLOCK, "a block is too short");
    for (half, columns) in columns.as_chunks::<TILE_SIDE>().0.iter().enumerate() {
        let target = &mut target[half * 2 * TILE_SIDE..];
        // SAFETY: AMX is in use only if AVX-512 is available. Each of 16 columns has a run of
        // values; the target has a row of a panel's pairs for each pair of the run.
        unsafe {
            transpose_pairs(columns.as_flattened().as_ptr(), target.as_mut_ptr(), 2 * PANEL);
        }
    }
}

for_each_isa! {
    fn round(values: &[f32], rounded: &mut [Bf16; RUN]) => round_body
}
#[inline(always)]
fn round_body<const FUSED: bool>(values: &[f32], rounded: &mut [Bf16; RUN]) {
    rounded.iter_mut().zip(values).for_each(|(to, from)| *to = Bf16::from_f32(*from));
}

for_each_isa! {
    /// Packs a run of rows of contiguous columns.
    fn pack_rows(weights: &[f32], stride: usize, depth: usize, count: usize,
        target: &mut [Bf16]) => pack_rows_body
}
#[inline(always)]
fn pack_rows_body<const FUSED: bool>(
    weights: &[f32],
    stride: usize,
    depth: usize,
    count: usize,
    target: &mut [Bf16],
) {
    // Pairs as words, which the compiler makes vectors of.
    let mut words = [0u32; PANEL];
    for (pair, target) in target.as_chunks_mut::<{ 2 * PANEL }>().0.iter_mut().enumerate() {
        words.fill(0);
        for at in 0..2 {
            let row = 2 * pair + at;
            if row < depth {
                let source = &weights[row * stride..][..count];
                for (target, value) in words.iter_mut().zip(source) {
                    *target |= u32::from(Bf16::from_f32(*value).to_bits()) << (16 * at);
                }
            }
        }
        for (target, word) in target.as_chunks_mut::<2>().0.iter_mut().zip(&words) {
            *target = [Bf16::from_bits(*word as u16), Bf16::from_bits((*word >> 16) as u16)];
        }
    }
}
