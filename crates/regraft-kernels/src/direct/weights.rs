//! The gradient of a convolution's weights by tiles: for each tap, the product of the output's
//! gradient, transposed, and the input at the tap's distance, over all positions.
//!
//! The left operand is the output's gradient, a row for each output channel. The right one is the
//! input in pairs of neighbouring positions. A tap at an odd distance needs the other pairs, so
//! there are two copies of them: every tap then reads whole lines.

use super::lattice::{Extent, Lattice, RUN};
use super::panels::PANEL;
use crate::amx::Amx;
use crate::amx::tiles::{Patch, TILE_SIDE, Tiles, Turn, prefetch};
use crate::element::Bf16;
use crate::gemm::transpose_square;
use crate::input::Input;
use crate::isa::for_each_isa;
use crate::parts::Parts;
use crate::scratch::with_scratch;
use crate::shape::ConvolutionShape;
use rayon::prelude::*;
use std::ops::Range;

/// Sums of a patch.
const PATCH: usize = PANEL * PANEL;
/// Bytes of the sums of a task, which stay in the second-level cache.
const SUM_BYTES: usize = 640 << 10;
/// Positions whose products are added to a patch at a time: with both copies of the input, they
/// take most of the first-level cache.
const WINDOW: usize = 512;
/// Tasks at least, if there are rows enough; the sums of the batch's parts are added in order.
const TASKS: usize = 16;
/// Bytes of the operands of an extent.
const OPERAND_BYTES: usize = 1 << 20;

/// The gradient of the weights, in their layout.
pub(crate) fn backward_weights<E: Parts>(
    amx: Amx,
    shape: &ConvolutionShape,
    input: Input<'_, E>,
    output_gradient: &[E],
    weight_gradient: &mut [f32],
    partial: &mut Vec<f32>,
) {
    let lattice = Lattice::of_input::<E>(shape);
    let across = lattice.folded().map_or(shape.kernel_width, |_| 1);
    let taps: Vec<[usize; 2]> = (0..shape.kernel_height)
        .flat_map(|row| (0..across).map(move |column| [row, column]))
        .collect();
    let out_panels = shape.out_channels.div_ceil(PANEL);
    // Values of a tap: the channels of one column, or of all of them.
    let run = shape.patch_length() / taps.len();
    let panel_sums = taps.len() * out_panels * PATCH;
    let group = (SUM_BYTES / (panel_sums * size_of::<f32>())).clamp(1, run.div_ceil(PANEL));
    let group = if lattice.folded().is_some() { run.div_ceil(PANEL) } else { group };
    let groups = run.div_ceil(group * PANEL);
    let rows = lattice.output_rows();
    let slabs = TASKS.div_ceil(groups).min(rows);
    let slab_rows = rows.div_ceil(slabs);
    let task_sums = group * panel_sums;
    partial.resize(slabs * groups * task_sums, 0.0);
    partial.par_chunks_exact_mut(task_sums).enumerate().for_each(|(task, sums)| {
        let (slab, group_index) = (task / groups, task % groups);
        let values = group_index * group * PANEL..run.min((group_index + 1) * group * PANEL);
        let lattice = match lattice.folded() {
            Some(_) => lattice,
            None => lattice.with_channels(values),
        };
        let work = Work {
            lattice,
            gradient_lattice: lattice.of_output(shape),
            input,
            output_gradient,
            taps: &taps,
            out_panels,
        };
        let outputs = slab * slab_rows..rows.min((slab + 1) * slab_rows);
        work.sum(amx, outputs, sums);
    });
    let partial = &partial[..];
    weight_gradient.par_chunks_exact_mut(shape.patch_length()).enumerate().for_each(
        |(out, filter)| {
            let (out_panel, row) = (out / PANEL, out % PANEL);
            for (tap, target) in filter.chunks_exact_mut(run).enumerate() {
                for (panel, target) in target.chunks_mut(PANEL).enumerate() {
                    let (group_index, panel) = (panel / group, panel % group);
                    let patch = (panel * out_panels + out_panel) * taps.len() + tap;
                    for slab in 0..slabs {
                        let start = (slab * groups + group_index) * task_sums + patch * PATCH;
                        let source = &partial[start + row * PANEL..][..target.len()];
                        if slab == 0 {
                            target.copy_from_slice(source);
                        } else {
                            target.iter_mut().zip(source).for_each(|(sum, value)| *sum += value);
                        }
                    }
                }
            }
        },
    );
}

/// The sums of a part of the batch for some input channels.
struct Work<'a, E> {
    lattice: Lattice,
    gradient_lattice: Lattice,
    input: Input<'a, E>,
    output_gradient: &'a [E],
    taps: &'a [[usize; 2]],
    out_panels: usize,
}

impl<E: Parts> Work<'_, E> {
    /// Writes the sums over some output rows, `[in panel][out panel][tap]` of patches.
    fn sum(&self, amx: Amx, outputs: Range<usize>, sums: &mut [f32]) {
        if outputs.is_empty() {
            return sums.fill(0.0);
        }
        // The input is held once as it is and twice in pairs; the gradient twice.
        let bytes = self.lattice.positions_per_row()
            * (3 * self.lattice.bytes() + 2 * self.gradient_lattice.bytes());
        let rows = (OPERAND_BYTES / bytes).max(1);
        let mut tiles = Tiles::new(amx);
        for start in outputs.clone().step_by(rows) {
            let rows = start..outputs.end.min(start + rows);
            self.add_extent(&mut tiles, rows, start > outputs.start, sums);
        }
    }

    fn add_extent(
        &self,
        tiles: &mut Tiles,
        rows: Range<usize>,
        accumulate: bool,
        sums: &mut [f32],
    ) {
        let (extent, gradients) = (self.lattice.extent(&rows), self.gradient_lattice.extent(&rows));
        let pairs = Pairs::of(&self.lattice, &extent);
        with_scratch(pairs.length(), |right: &mut [Bf16]| {
            with_scratch(self.lattice.length(&extent), |values: &mut [Bf16]| {
                self.lattice.fill(&extent, &self.input, values);
                pairs.fill(&self.lattice, values, right);
            });
            let length = self.gradient_lattice.length(&gradients);
            with_scratch(length, |left: &mut [Bf16]| {
                with_scratch(length, |values: &mut [Bf16]| {
                    let input = Input::from(self.output_gradient);
                    self.gradient_lattice.fill(&gradients, &input, values);
                    self.transpose(&gradients, values, left);
                });
                let positions = gradients.plane;
                for window in (0..positions).step_by(WINDOW) {
                    let window = window..positions.min(window + WINDOW);
                    let accumulate = accumulate || window.start > 0;
                    self.add_window(
                        tiles, &pairs, window, positions, left, right, accumulate, sums,
                    );
                }
            });
        });
    }

    /// The gradient as the left operand, `[part][out panel][32 positions][out channel][position]`.
    fn transpose(&self, extent: &Extent, values: &[Bf16], left: &mut [Bf16]) {
        let position = self.gradient_lattice.position();
        let depth = self.gradient_lattice.depth();
        let positions = extent.plane;
        assert!(positions * position <= values.len() && positions * position <= left.len());
        let blocks = left.chunks_exact_mut(PANEL * RUN).enumerate();
        for (block, target) in blocks {
            let (panel, chunk) = (block / (positions / RUN), block % (positions / RUN));
            // Panels of all parts follow one another, as the parts of a position do.
            let from = &values[chunk * RUN * position + panel * PANEL..];
            for half in 0..2 {
                // SAFETY: AMX is in use only if AVX-512 is available. The chunk's positions end
                // with those of the extent, and the panel with the position, so 16 values are
                // there for each; the target has 32 rows of a tile.
                unsafe {
                    transpose_square(
                        from[half * TILE_SIDE..].as_ptr(),
                        position,
                        TILE_SIDE,
                        RUN,
                        target[half * TILE_SIDE * RUN..].as_mut_ptr(),
                        RUN,
                    );
                }
            }
        }
        debug_assert!(depth.is_multiple_of(PANEL));
    }

    /// Adds the products over some positions to all patches.
    fn add_window(
        &self,
        tiles: &mut Tiles,
        pairs: &Pairs,
        window: Range<usize>,
        positions: usize,
        left: &[Bf16],
        right: &[Bf16],
        accumulate: bool,
        sums: &mut [f32],
    ) {
        const CHUNK: usize = RUN * PANEL;
        let bytes = |values: usize| {
            u32::try_from(values * size_of::<Bf16>()).expect("an extent takes less than 4 GiB")
        };
        let left_part = self.out_panels * positions * PANEL;
        let chunks = window.start / RUN..window.end / RUN;
        let turns: Vec<Turn> = E::PAIRS
            .iter()
            .flat_map(|&(left, right)| chunks.clone().map(move |chunk| (left, right, chunk)))
            .map(|(left, right, chunk)| Turn {
                left: bytes(left * left_part + chunk * CHUNK),
                right: bytes(right * pairs.part_length() + chunk * CHUNK),
            })
            .collect();
        let furthest = |distance: fn(&Turn) -> u32| {
            turns.iter().map(distance).max().unwrap_or(0) as usize / size_of::<Bf16>() + CHUNK
        };
        let (left_end, right_end) = (furthest(|turn| turn.left), furthest(|turn| turn.right));
        let mut patches = Patches(sums);
        for in_panel in 0..self.lattice.depth() / PANEL {
            for out_panel in 0..self.out_panels {
                let left = &left[out_panel * positions * PANEL..];
                assert!(left_end <= left.len(), "the gradient is too short");
                for &[row, column] in self.taps {
                    let (plane, distance) = self.lattice.place(row, column);
                    let right = &right[pairs.start(in_panel, plane, distance)..];
                    assert!(right_end <= right.len(), "the input is too short");
                    let sums = patches.take().expect("a patch for each pair of panels and tap");
                    if accumulate && let Some(next) = patches.0.get(..PATCH) {
                        prefetch(next);
                    }
                    let patch = Patch {
                        left: left.as_ptr(),
                        left_stride: RUN * size_of::<Bf16>(),
                        right: right.as_ptr(),
                        sums: sums.as_mut_ptr(),
                        accumulate,
                    };
                    // SAFETY: both operands' furthest bytes were checked, and the sums are a patch.
                    unsafe { tiles.compute_patch(&turns, &patch) };
                }
            }
        }
    }
}

/// The layout of the input in pairs of positions: `[part][panel][plane][parity][pair][value of
/// the panel][position of the pair]`.
struct Pairs {
    parts: usize,
    panels: usize,
    planes: usize,
    /// Pairs of one parity.
    count: usize,
}

impl Pairs {
    fn of(lattice: &Lattice, extent: &Extent) -> Self {
        Self {
            parts: lattice.position() / lattice.depth(),
            panels: lattice.depth() / PANEL,
            planes: lattice.planes(),
            // The odd pairs end one position later.
            count: extent.plane / 2 + 1,
        }
    }

    fn copy_length(&self) -> usize {
        self.count * 2 * PANEL
    }

    fn part_length(&self) -> usize {
        self.panels * self.planes * 2 * self.copy_length()
    }

    fn length(&self) -> usize {
        // A tap may begin up to a chunk before the end, whose sums nobody reads.
        self.parts * self.part_length() + RUN * PANEL
    }

    /// The start of the pairs at a distance from the positions.
    fn start(&self, panel: usize, plane: usize, distance: usize) -> usize {
        let copy = (panel * self.planes + plane) * 2 + distance % 2;
        copy * self.copy_length() + distance / 2 * 2 * PANEL
    }

    fn fill(&self, lattice: &Lattice, values: &[Bf16], target: &mut [Bf16]) {
        let (position, depth) = (lattice.position(), lattice.depth());
        let plane_length = values.len() / self.planes;
        let copies = target[..self.parts * self.part_length()].chunks_exact_mut(self.copy_length());
        for (copy, target) in copies.enumerate() {
            let (parity, rest) = (copy % 2, copy / 2);
            let (plane, rest) = (rest % self.planes, rest / self.planes);
            let (panel, part) = (rest % self.panels, rest / self.panels);
            let plane = &values[plane * plane_length..][..plane_length];
            let start = parity * position + part * depth + panel * PANEL;
            interleave_pairs(&plane[start..], position, target);
        }
        target[self.parts * self.part_length()..].fill(Bf16::default());
    }
}

for_each_isa! {
    /// Interleaves pairs of rows, which are `stride` values apart; zeros follow the last whole one.
    fn interleave_pairs(rows: &[Bf16], stride: usize, pairs: &mut [Bf16]) => interleave_pairs_body
}
#[inline(always)]
fn interleave_pairs_body<const FUSED: bool>(rows: &[Bf16], stride: usize, pairs: &mut [Bf16]) {
    for (pair, target) in pairs.as_chunks_mut::<{ 2 * PANEL }>().0.iter_mut().enumerate() {
        let start = 2 * pair * stride;
        if start + stride + PANEL > rows.len() {
            target.fill(Bf16::default());
            if let Some(first) = rows.get(start..start + PANEL) {
                for (target, value) in target.chunks_exact_mut(2).zip(first) {
                    target[0] = *value;
                }
            }
            continue;
        }
        let first = &rows[start..][..PANEL];
        let second = &rows[start + stride..][..PANEL];
        for column in 0..PANEL {
            target[2 * column] = first[column];
            target[2 * column + 1] = second[column];
        }
    }
}

struct Patches<'a>(&'a mut [f32]);
impl<'a> Patches<'a> {
    fn take(&mut self) -> Option<&'a mut [f32]> {
        let (a, b) = std::mem::take(&mut self.0).split_at_mut_checked(PATCH)?;
        self.0 = b;
        Some(a)
    }
}
