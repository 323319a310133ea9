//! A convolution's weights as tiles: for each panel of output channels, each tap and each run of
//! the depth, the products' right operand.

use super::lattice::RUN;
use crate::element::{Bf16, Element};
use crate::isa::for_each_isa;
use crate::memory::{CacheLine, elements, elements_mut, lines_for};
use crate::parts::Parts;
use rayon::prelude::*;

/// Columns of a panel, which are two tiles.
pub(super) const PANEL: usize = 32;
/// Values of two tiles side by side: 16 pairs of the depth for each column.
const BLOCK: usize = RUN * PANEL;

/// Weights packed for tiles, `[panel][part][tap][run][pair][column][value]`. Channels and columns that
/// fill up a run or a panel are zero.
#[derive(Clone, Debug, Default)]
pub struct Panels {
    lines: Vec<CacheLine>,
    parts: usize,
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
    pub(super) fn pack<E: Parts>(&mut self, taps: Taps<'_>) {
        (self.taps, self.depth, self.columns) = (taps.taps, taps.depth, taps.columns);
        self.parts = E::PARTS;
        let length = self.panels() * self.panel_length();
        self.lines.resize(lines_for::<Bf16>(length), CacheLine::ZERO);
        let run = |(panel, target): (usize, &mut [Bf16])| {
            let first = panel * PANEL;
            let count = PANEL.min(taps.columns - first);
            let blocks = target.chunks_exact_mut(taps.depth.div_ceil(RUN) * BLOCK);
            for (block, target) in blocks.enumerate() {
                let (part, tap) = (block / taps.taps, block % taps.taps);
                let [tap_stride, depth_stride, column_stride] = taps.strides;
                let weights = &taps.weights[tap * tap_stride + first * column_stride..];
                if depth_stride == 1 {
                    pack_columns(weights, column_stride, taps.depth, count, part, target);
                } else {
                    pack_rows(weights, depth_stride, taps.depth, count, part, target);
                }
            }
        };
        let length_of_panel = self.panel_length();
        let target = elements_mut::<Bf16>(&mut self.lines, length);
        target.par_chunks_exact_mut(length_of_panel).enumerate().for_each(run);
    }

    /// `(parts, taps, depth, columns)`.
    pub(super) fn shape(&self) -> (usize, usize, usize, usize) {
        (self.parts, self.taps, self.depth, self.columns)
    }

    pub(super) fn panels(&self) -> usize {
        self.columns.div_ceil(PANEL)
    }

    fn panel_length(&self) -> usize {
        self.parts * self.taps * self.depth.div_ceil(RUN) * BLOCK
    }

    pub(super) fn panel(&self, panel: usize) -> &[Bf16] {
        let length = self.panel_length();
        &elements(&self.lines, self.panels() * length)[panel * length..][..length]
    }

    /// Values from the start of a panel to a run of a part of a tap.
    pub(super) fn offset(&self, part: usize, tap: usize, run: usize) -> usize {
        ((part * self.taps + tap) * self.depth.div_ceil(RUN) + run) * BLOCK
    }
}

/// A value's part; see [`Parts`].
#[inline(always)]
fn part_of(value: f32, part: usize) -> Bf16 {
    let mut rest = value;
    for _ in 0..part {
        rest -= Bf16::from_f32(rest).to_f32();
    }
    Bf16::from_f32(rest)
}

for_each_isa! {
    /// Packs columns whose depth is contiguous.
    fn pack_columns(weights: &[f32], stride: usize, depth: usize, count: usize,
        part: usize, target: &mut [Bf16]) => pack_columns_body
}
#[inline(always)]
fn pack_columns_body<const FUSED: bool>(
    weights: &[f32],
    stride: usize,
    depth: usize,
    count: usize,
    part: usize,
    target: &mut [Bf16],
) {
    for (run, target) in target.chunks_exact_mut(BLOCK).enumerate() {
        let first = run * RUN;
        let length = RUN.min(depth - first);
        if length < RUN || count < PANEL {
            target.fill(Bf16::default());
        }
        for column in 0..count {
            let source = &weights[column * stride + first..][..length];
            for (at, value) in source.iter().enumerate() {
                target[at / 2 * 2 * PANEL + 2 * column + at % 2] = part_of(*value, part);
            }
        }
    }
}

for_each_isa! {
    /// Packs rows of contiguous columns.
    fn pack_rows(weights: &[f32], stride: usize, depth: usize, count: usize,
        part: usize, target: &mut [Bf16]) => pack_rows_body
}
#[inline(always)]
fn pack_rows_body<const FUSED: bool>(
    weights: &[f32],
    stride: usize,
    depth: usize,
    count: usize,
    part: usize,
    target: &mut [Bf16],
) {
    for (run, target) in target.chunks_exact_mut(BLOCK).enumerate() {
        let first = run * RUN;
        let length = RUN.min(depth - first);
        if length < RUN || count < PANEL {
            target.fill(Bf16::default());
        }
        for at in 0..length {
            let source = &weights[(first + at) * stride..][..count];
            let target = &mut target[at / 2 * 2 * PANEL..][..2 * PANEL];
            for (pair, value) in target.chunks_exact_mut(2).zip(source) {
                pair[at % 2] = part_of(*value, part);
            }
        }
    }
}
