//! The gradient of a convolution's weights by tiles: for each tap, the product of the output's
//! gradient, transposed, and the input at the tap's distance, over all positions.
//!
//! The left operand is the output's gradient, a row for each output channel. The right one is the
//! input in pairs of neighbouring positions. A tap at an odd distance needs the other pairs, so
//! there are two copies of them if any tap has one: then every tap reads whole lines.

use super::lattice::{Lattice, RUN, View};
use super::narrow;
use super::pairs::Pairs;
use super::panels::PANEL;
use crate::amx::Amx;
use crate::amx::patch::{Patch, Reuse, Turn};
use crate::amx::tiles::{TILE_SIDE, Tiles};
use crate::element::{Bf16, Element};
use crate::gemm::transpose_square;
use crate::input::Input;
use crate::memory::{CacheLine, elements_mut, lines_for};
use crate::scratch::with_scratch;
use crate::shape::ConvolutionShape;
use rayon::prelude::*;
use std::ops::Range;

/// Sums of a patch.
const PATCH: usize = PANEL * PANEL;
/// Bytes of the sums of a task.
const SUM_BYTES: usize = 640 << 10;
/// Positions whose products are added to a patch at a time, so that the left operand stays in the
/// first-level cache for all taps.
const WINDOW: usize = 512;
/// Tasks at least, if there are rows enough; the sums of the batch's parts are added in order.
const TASKS: usize = 16;
/// Positions of a part of the batch at least, if the batch has them.
const LEAST_POSITIONS: usize = 256;
/// Bytes of the operands of an extent, which stay in the second-level cache.
const OPERAND_BYTES: usize = 1 << 20;

/// Memory that [`backward_weights`] reuses from call to call.
#[derive(Clone, Debug, Default)]
pub struct WeightScratch {
    sums: Vec<f32>,
    transposed: Vec<CacheLine>,
}

/// The gradient of the weights, in their layout.
pub(crate) fn backward_weights<E: Element>(
    amx: Amx,
    shape: &ConvolutionShape,
    input: Input<'_, E>,
    output_gradient: &[E],
    weight_gradient: &mut [f32],
    scratch: &mut WeightScratch,
) {
    let (input, output_gradient) = (narrow(input), narrow(Input::from(output_gradient)).values);
    if shape.batch == 0 {
        return weight_gradient.fill(0.0);
    }
    let plan = Plan::new(shape);
    let WeightScratch { sums, transposed } = scratch;
    // If several tasks need the transposed gradient, it is computed once for all of them.
    let lengths: Vec<usize> = plan
        .extents
        .iter()
        .map(|rows| plan.gradients.length(&plan.gradients.extent(rows)))
        .collect();
    let shared = plan.groups() > 1;
    let length = if shared { lengths.iter().sum() } else { 0 };
    transposed.resize(lines_for::<Bf16>(length), CacheLine::ZERO);
    let transposed = elements_mut::<Bf16>(transposed, length);
    let mut blocks: Vec<&[Bf16]> = Vec::new();
    if shared {
        let (mut parts, mut rest) = (Vec::new(), &mut *transposed);
        for (rows, length) in plan.extents.iter().zip(lengths) {
            let (part, after) = rest.split_at_mut(length);
            parts.push((rows, part));
            rest = after;
        }
        let filled = parts.into_par_iter().map(|(rows, part)| {
            plan.transpose(rows, output_gradient, part);
            &*part
        });
        blocks = filled.collect();
    }
    sums.resize(plan.slabs() * plan.groups() * plan.task_sums(), 0.0);
    sums.par_chunks_exact_mut(plan.task_sums()).enumerate().for_each(|(task, sums)| {
        let (slab, group) = (task / plan.groups(), task % plan.groups());
        let work = Work { plan: &plan, lattice: plan.lattice_of(group), input, output_gradient };
        let mut tiles = Tiles::new(amx);
        let first = slab * plan.extents_per_slab;
        for index in first..first + plan.extents_per_slab {
            let left = blocks.get(index).copied();
            work.add(&mut tiles, &plan.extents[index], left, index > first, sums);
        }
    });
    plan.collect(sums, weight_gradient);
}

/// The division of the work, by the shape alone.
struct Plan {
    lattice: Lattice,
    gradients: Lattice,
    taps: Vec<[usize; 2]>,
    /// Values of a tap: the channels of one column, or of all of them.
    run: usize,
    in_panels: usize,
    out_panels: usize,
    /// Input panels of a task.
    group: usize,
    /// Output rows whose operands are in memory at a time.
    extents: Vec<Range<usize>>,
    extents_per_slab: usize,
}

impl Plan {
    fn new(shape: &ConvolutionShape) -> Self {
        let lattice = Lattice::of_input(shape);
        let gradients = lattice.of_output(shape);
        let taps = lattice.taps(shape);
        let run = lattice.channels_of_position();
        let (in_panels, out_panels) = (run.div_ceil(PANEL), shape.out_channels.div_ceil(PANEL));
        let panel_bytes = taps.len() * out_panels * PATCH * size_of::<f32>();
        let group = match lattice.folded() {
            Some(_) => in_panels,
            None => (SUM_BYTES / panel_bytes).clamp(1, in_panels),
        };
        let groups = in_panels.div_ceil(group);
        let rows = lattice.output_rows();
        let positions = rows * lattice.positions_per_row();
        let slabs = TASKS.div_ceil(groups).min(positions.div_ceil(LEAST_POSITIONS));
        // Whole chunks of positions need no zeros behind them.
        let chunk_rows =
            (1..=RUN).find(|rows| (rows * lattice.positions_per_row()).is_multiple_of(RUN));
        let whole_chunks = |rows: usize| match chunk_rows {
            Some(chunk_rows) if chunk_rows <= rows => rows.next_multiple_of(chunk_rows),
            _ => rows,
        };
        let slab_rows = whole_chunks(rows.div_ceil(slabs));
        // Both copies of the input, and the gradient if it is this task's own.
        let share = if taps.len() == 1 { 1 } else { 2 } * lattice.bytes() * group / in_panels;
        let own = if groups == 1 { gradients.bytes() } else { 0 };
        let row_bytes = lattice.positions_per_row() * (share + own);
        let extents_per_slab = (slab_rows * row_bytes).div_ceil(OPERAND_BYTES).min(slab_rows);
        let extent_rows = whole_chunks(slab_rows.div_ceil(extents_per_slab));
        let extents = (0..rows)
            .step_by(slab_rows)
            .flat_map(|slab| {
                (0..extents_per_slab).map(move |extent| {
                    let start = rows.min(slab + slab_rows).min(slab + extent * extent_rows);
                    start..rows.min(slab + slab_rows).min(start + extent_rows)
                })
            })
            .collect();
        Self {
            lattice,
            gradients,
            taps,
            run,
            in_panels,
            out_panels,
            group,
            extents,
            extents_per_slab,
        }
    }

    fn groups(&self) -> usize {
        self.in_panels.div_ceil(self.group)
    }

    fn slabs(&self) -> usize {
        self.extents.len() / self.extents_per_slab
    }

    /// Sums of a task, `[in panel][out panel][tap]` of patches.
    fn task_sums(&self) -> usize {
        self.group * self.out_panels * self.taps.len() * PATCH
    }

    /// The layout of a group's channels.
    fn lattice_of(&self, group: usize) -> Lattice {
        if self.groups() == 1 {
            return self.lattice;
        }
        let first = group * self.group * PANEL;
        self.lattice.with_channels(first..self.run.min(first + self.group * PANEL))
    }

    /// Adds the parts of the batch in order and writes the weights' layout.
    fn collect(&self, sums: &[f32], weight_gradient: &mut [f32]) {
        let (taps, group) = (self.taps.len(), self.group);
        let filters = weight_gradient.par_chunks_exact_mut(taps * self.run).enumerate();
        filters.for_each(|(out, filter)| {
            let (out_panel, row) = (out / PANEL, out % PANEL);
            for (tap, target) in filter.chunks_exact_mut(self.run).enumerate() {
                for (panel, target) in target.chunks_mut(PANEL).enumerate() {
                    let patch = (panel % group * self.out_panels + out_panel) * taps + tap;
                    for slab in 0..self.slabs() {
                        let task = slab * self.groups() + panel / group;
                        let start = task * self.task_sums() + patch * PATCH + row * PANEL;
                        let source = &sums[start..][..target.len()];
                        if slab == 0 {
                            target.copy_from_slice(source);
                        } else {
                            target.iter_mut().zip(source).for_each(|(sum, value)| *sum += value);
                        }
                    }
                }
            }
        });
    }

    /// The gradient of some output rows as the left operand,
    /// `[out panel][32 positions][out channel][position]`.
    fn transpose(&self, rows: &Range<usize>, gradient: &[Bf16], left: &mut [Bf16]) {
        if rows.is_empty() {
            return;
        }
        let extent = self.gradients.extent(rows);
        let positions = extent.plane;
        self.gradients.with_view(&extent, &Input::from(gradient), |view| {
            let View { values, stride, channels } = view;
            assert!((positions - 1) * stride + channels <= values.len(), "too few values");
            for (block, target) in left.chunks_exact_mut(PANEL * RUN).enumerate() {
                let (panel, chunk) = (block / (positions / RUN), block % (positions / RUN));
                for (half, target) in target.chunks_exact_mut(TILE_SIDE * RUN).enumerate() {
                    let first = panel * PANEL + half * TILE_SIDE;
                    // The sums of rows behind the last channel are not read.
                    let rows = channels.saturating_sub(first).min(TILE_SIDE);
                    if rows > 0 {
                        let from = values[chunk * RUN * stride + first..].as_ptr();
                        // SAFETY: AMX is in use only if AVX-512 is available. The chunk ends with
                        // the positions at the latest and the rows with the channels, which the
                        // values hold; the target has 16 rows of a tile.
                        unsafe {
                            transpose_square(from, stride, rows, RUN, target.as_mut_ptr(), RUN);
                        }
                    }
                }
            }
        });
    }
}

/// The work of a task.
struct Work<'a> {
    plan: &'a Plan,
    lattice: Lattice,
    input: Input<'a, Bf16>,
    output_gradient: &'a [Bf16],
}

impl Work<'_> {
    /// Adds the products of an extent to the sums, or replaces them unless `accumulate`.
    fn add(
        &self,
        tiles: &mut Tiles,
        rows: &Range<usize>,
        left: Option<&[Bf16]>,
        accumulate: bool,
        sums: &mut [f32],
    ) {
        // Only the last extents of a part of the batch may be empty.
        if rows.is_empty() {
            return;
        }
        let extent = self.lattice.extent(rows);
        let positions = self.plan.gradients.extent(rows).plane;
        let pairs = Pairs::of(&self.lattice, &extent, &self.plan.taps);
        with_scratch(pairs.length(), |right: &mut [Bf16]| {
            self.lattice.with_view(&extent, &self.input, |view| pairs.fill(view, right));
            let mut multiply = |left: &[Bf16]| {
                self.multiply(tiles, &pairs, positions, left, right, accumulate, sums);
            };
            match left {
                Some(left) => multiply(left),
                None => {
                    let length = positions * self.plan.gradients.depth();
                    with_scratch(length, |left: &mut [Bf16]| {
                        self.plan.transpose(rows, self.output_gradient, left);
                        multiply(left);
                    });
                }
            }
        });
    }

    fn multiply(
        &self,
        tiles: &mut Tiles,
        pairs: &Pairs,
        positions: usize,
        left: &[Bf16],
        right: &[Bf16],
        accumulate: bool,
        sums: &mut [f32],
    ) {
        const CHUNK: usize = RUN * PANEL;
        let chunks = positions / RUN;
        let turns: Vec<Turn> =
            (0..chunks).map(|chunk| Turn::at(chunk * CHUNK, chunk * CHUNK)).collect();
        let window = chunks.div_ceil(positions.div_ceil(WINDOW));
        let rights: Vec<usize> = self
            .plan
            .taps
            .iter()
            .map(|&[row, column]| pairs.start(self.lattice.place(row, column)))
            .collect();
        let blocks = sums.chunks_exact_mut(rights.len() * PATCH);
        for (block, sums) in blocks.enumerate() {
            let (in_panel, out_panel) =
                (block / self.plan.out_panels, block % self.plan.out_panels);
            if in_panel >= pairs.panels {
                // The last group has fewer panels.
                break;
            }
            let columns = self.lattice.channels_of_position() - in_panel * PANEL;
            let left = &left[out_panel * positions * PANEL..];
            assert!(chunks * CHUNK <= left.len(), "the gradient is too short");
            for (index, turns) in turns.chunks(window).enumerate() {
                for (sums, start) in sums.chunks_exact_mut(PATCH).zip(&rights) {
                    let right = &right[in_panel * pairs.panel_length() + start..];
                    assert!(chunks * CHUNK <= right.len(), "the input is too short");
                    let patch = Patch {
                        left: left.as_ptr(),
                        left_stride: RUN * size_of::<Bf16>(),
                        right: right.as_ptr(),
                        sums: sums.as_mut_ptr(),
                        accumulate: accumulate || index > 0,
                    };
                    // SAFETY: both operands' furthest bytes were checked, and the sums are a patch.
                    unsafe { tiles.compute_patch(turns, &patch, columns, Reuse::Late) };
                }
            }
        }
    }
}
