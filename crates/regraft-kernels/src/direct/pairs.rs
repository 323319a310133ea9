//! The right operand of the weights' gradient: the input in pairs of neighbouring positions.

use super::lattice::{Extent, Lattice, View};
use super::panels::PANEL;
use crate::element::Bf16;
use crate::isa::for_each_isa;

/// The input in pairs of positions, `[panel][copy][pair][value of the panel][position of the
/// pair]`.
pub(super) struct Pairs {
    pub(super) panels: usize,
    planes: usize,
    /// The plane of each copy, and whether its pairs begin at even positions (0) or odd ones (1):
    /// those that a tap reads.
    copies: Vec<[usize; 2]>,
    /// Pairs of a copy.
    count: usize,
}

impl Pairs {
    pub(super) fn of(lattice: &Lattice, extent: &Extent, taps: &[[usize; 2]]) -> Self {
        let mut copies: Vec<[usize; 2]> = taps
            .iter()
            .map(|&[row, column]| {
                let (plane, distance) = lattice.place(row, column);
                [plane, distance % 2]
            })
            .collect();
        copies.sort_unstable();
        copies.dedup();
        // The odd pairs end one position later.
        let count = extent.plane / 2 + 1;
        Self { panels: lattice.depth() / PANEL, planes: lattice.planes(), copies, count }
    }

    fn copy_length(&self) -> usize {
        self.count * 2 * PANEL
    }

    pub(super) fn length(&self) -> usize {
        self.panels * self.panel_length()
    }

    pub(super) fn panel_length(&self) -> usize {
        self.copies.len() * self.copy_length()
    }

    /// The start of a tap's pairs in the first panel.
    pub(super) fn start(&self, (plane, distance): (usize, usize)) -> usize {
        let copy = self.copies.iter().position(|&copy| copy == [plane, distance % 2]);
        copy.expect("a copy for each tap") * self.copy_length() + distance / 2 * 2 * PANEL
    }

    pub(super) fn fill(&self, view: View<'_>, target: &mut [Bf16]) {
        let View { values, stride, channels } = view;
        let plane_length = values.len() / self.planes;
        let places = (0..self.panels).flat_map(|panel| {
            self.copies.iter().map(move |&[plane, parity]| (panel, plane, parity))
        });
        let targets = target.chunks_exact_mut(self.copy_length());
        for ((panel, plane, parity), target) in places.zip(targets) {
            let plane = &values[plane * plane_length..][..plane_length];
            // The sums of columns behind the last channel are not read.
            let columns = PANEL.min(channels - panel * PANEL);
            let first = parity * stride + panel * PANEL;
            interleave_pairs(&plane[first..], stride, columns, target);
        }
    }
}

for_each_isa! {
    /// Interleaves pairs of rows, which are `stride` values apart; zeros follow the last row.
    fn interleave_pairs(rows: &[Bf16], stride: usize, columns: usize, pairs: &mut [Bf16])
        => interleave_pairs_body
}
#[inline(always)]
fn interleave_pairs_body<const FUSED: bool>(
    rows: &[Bf16],
    stride: usize,
    columns: usize,
    pairs: &mut [Bf16],
) {
    let (pairs, _) = pairs.as_chunks_mut::<{ 2 * PANEL }>();
    let inside = (rows.len() + stride).saturating_sub(columns) / stride / 2;
    let (whole, rest) = pairs.split_at_mut(inside.min(pairs.len()));
    for (pair, target) in whole.iter_mut().enumerate() {
        let rows = &rows[2 * pair * stride..];
        if columns == PANEL {
            interleave::<PANEL>(&rows[..PANEL], &rows[stride..][..PANEL], target);
            continue;
        }
        let (first, second) = (&rows[..columns], &rows[stride..][..columns]);
        let (first, first_rest) = first.as_chunks::<8>();
        let (second, second_rest) = second.as_chunks::<8>();
        let (targets, _) = target.as_chunks_mut::<16>();
        for ((first, second), target) in first.iter().zip(second).zip(targets) {
            interleave::<8>(first, second, target);
        }
        let target = &mut target[2 * (columns - first_rest.len())..];
        interleave::<0>(first_rest, second_rest, target);
    }
    for (at, target) in rest.iter_mut().enumerate() {
        target.fill(Bf16::default());
        let start = 2 * (inside + at) * stride;
        if let Some(first) = rows.get(start..start + columns) {
            interleave::<0>(first, &[Bf16::default(); PANEL][..columns], target);
        }
    }
}

/// Interleaves `COUNT` values, or those that there are if that is zero.
#[inline(always)]
fn interleave<const COUNT: usize>(first: &[Bf16], second: &[Bf16], target: &mut [Bf16]) {
    let count = if COUNT > 0 { COUNT } else { first.len() };
    let (first, second, target) = (&first[..count], &second[..count], &mut target[..2 * count]);
    for column in 0..count {
        (target[2 * column], target[2 * column + 1]) = (first[column], second[column]);
    }
}
