//! Convolution by AMX's tiles, without gathered patches: forward and for the gradient of the input.
//!
//! A block of the input is copied once into a [`Lattice`], from which tiles load the input of each
//! tap in place. Products are so fast that moving data bounds them, so the loops keep operands
//! near: a panel of 32 output channels and a part of the depth whose weights fit into the
//! first-level cache, all taps of a run of 32 channels together, because neighbouring taps read
//! the same lines. Each patch of 32 x 32 sums is finished while it is in the cache: statistics,
//! bias, residual, activation and rounding.

mod lattice;
mod pairs;
mod panels;
mod place;
mod sink;
mod weights;

use crate::amx::patch::{Patch, Reuse, Turn};
use crate::amx::tiles::Tiles;
use crate::amx::{self, Amx};
use crate::element::{Bf16, Element};
use crate::finish::Finish;
use crate::input::Input;
use crate::isa::{InstructionSet, active};
use crate::memory::prefetch;
use crate::scratch::with_scratch;
use crate::shape::ConvolutionShape;
use lattice::{Extent, GROUP, Lattice, RUN};
pub use panels::Panels;
use panels::{PANEL, Taps};
use rayon::prelude::*;
use sink::{Moments, NOWHERE, Sink, Use};
use std::ops::Range;
pub use weights::WeightScratch;
pub(crate) use weights::backward_weights;

/// Bytes of a panel's weights that are used for all positions of a block before the next ones.
const WEIGHT_BYTES: usize = 40 << 10;
/// Bytes of the input of a block.
const INPUT_BYTES: usize = 512 << 10;
/// Positions of a block: a panel's weights are read again for each.
const POSITIONS: usize = 2048;
/// Blocks of a batch, if that leaves them [`LEAST_POSITIONS`], so that many threads have work.
const BLOCKS: usize = 64;
/// Positions of a block at least, if the batch has them.
const LEAST_POSITIONS: usize = 256;

/// The proof of AMX, if it is in use and the functions here support the shape.
pub(crate) fn amx_for<E: Element>(shape: &ConvolutionShape) -> Option<Amx> {
    let in_use = E::NAME == Bf16::NAME && active() == InstructionSet::Amx && shape.groups == 1;
    amx::usable().ok().filter(|_| in_use)
}

/// Groups of positions that are asked for ahead of those that are multiplied.
const AHEAD: usize = 2;
/// Deeper positions are not asked for: they would displace one another.
const AHEAD_DEPTH: usize = 128;

/// Packs `[out, rows, columns, in]` weights for [`forward`].
pub(crate) fn pack(panels: &mut Panels, shape: &ConvolutionShape, weights: &[f32]) {
    let lattice = Lattice::of_input(shape);
    let depth = lattice.channels_of_position();
    panels.pack(Taps {
        weights,
        taps: lattice.taps(shape).len(),
        depth,
        columns: shape.out_channels,
        strides: [depth, 1, shape.patch_length()],
    });
}

/// Packs the same weights for [`backward_input`].
pub(crate) fn pack_transposed(panels: &mut Panels, shape: &ConvolutionShape, weights: &[f32]) {
    panels.pack(Taps {
        weights,
        taps: shape.kernel_height * shape.kernel_width,
        depth: shape.out_channels,
        columns: shape.in_channels,
        strides: [shape.in_channels, shape.patch_length(), 1],
    });
}

/// A feature map of bf16, as [`amx_for`] makes sure.
fn narrow<E: Element>(input: Input<'_, E>) -> Input<'_, Bf16> {
    let values = E::as_bf16(input.values).expect("tiles multiply maps of bf16");
    Input { values, normalization: input.normalization }
}

/// The outputs of a lattice in one phase of the output map: every `stride`-th pixel of it.
struct Phase {
    /// Rows and columns of the kernel that the tiles read, and the weights' tap of each.
    taps: Vec<([usize; 2], usize)>,
    /// The output's row and column of a lattice's output (0, 0), plus the padding.
    start: [usize; 2],
}

/// A map of pixels that a lattice's outputs are written to.
#[derive(Clone, Copy)]
struct Target {
    height: usize,
    width: usize,
    channels: usize,
    stride: usize,
    top: usize,
    left: usize,
    /// Rows of lattice outputs above the first one.
    first: usize,
}

impl Target {
    /// First row of the whole batch that belongs to an output row or a later one.
    fn row(&self, outputs: usize, outputs_per_image: usize) -> usize {
        let (image, row) = (outputs / outputs_per_image, outputs % outputs_per_image);
        let row = ((row + self.first) * self.stride).saturating_sub(self.top);
        image * self.height + row.min(self.height)
    }
}

/// `output = convolution(input)`, finished as `finish` says.
pub(crate) fn forward<E: Element>(
    amx: Amx,
    shape: &ConvolutionShape,
    input: Input<'_, E>,
    weights: &Panels,
    output: &mut [E],
    finish: Finish<'_, E>,
) {
    let lattice = Lattice::of_input(shape);
    let taps: Vec<_> = lattice.taps(shape).into_iter().zip(0..).collect();
    let target = Target {
        height: shape.out_height,
        width: shape.out_width,
        channels: shape.out_channels,
        stride: 1,
        top: 0,
        left: 0,
        first: 0,
    };
    assert_eq!(
        weights.shape(),
        (taps.len(), lattice.channels_of_position(), shape.out_channels),
        "weights packed for another shape"
    );
    let phases = vec![Phase { taps, start: [0, 0] }];
    Work { amx, lattice, input: narrow(input), weights, phases, target }.run(output, finish);
}

/// The gradient of the input from that of the output. Each phase of the input's pixels modulo the
/// stride is a convolution of stride 1 with the taps that reach it.
pub(crate) fn backward_input<E: Element>(
    amx: Amx,
    shape: &ConvolutionShape,
    output_gradient: &[E],
    weights: &Panels,
    input_gradient: &mut [E],
    accumulate: bool,
) {
    let &ConvolutionShape { stride, kernel_height, kernel_width, .. } = shape;
    let [most_down, most_across] = [kernel_height, kernel_width].map(|taps| taps.div_ceil(stride));
    // Outputs of the lattice that lie in the border of the input, as far as no tap begins there.
    let border = |padding: usize, most: usize| (padding / stride).min(most - 1);
    let [down, across] =
        [border(shape.padding_top, most_down), border(shape.padding_left, most_across)];
    let outputs = |length: usize, padding: usize| (length + padding - 1) / stride + 1;
    let reads = ConvolutionShape {
        in_height: shape.out_height,
        in_width: shape.out_width,
        in_channels: shape.out_channels,
        out_height: outputs(shape.in_height, shape.padding_top) - down,
        out_width: outputs(shape.in_width, shape.padding_left) - across,
        out_channels: shape.in_channels,
        kernel_height: most_down,
        kernel_width: most_across,
        stride: 1,
        padding_top: most_down - 1 - down,
        padding_left: most_across - 1 - across,
        ..*shape
    };
    assert_eq!(
        weights.shape(),
        (kernel_height * kernel_width, shape.out_channels, shape.in_channels),
        "weights packed for another shape"
    );
    let lattice = Lattice::unfolded(&reads);
    let phases: Vec<Phase> = (0..stride)
        .flat_map(|down| (0..stride).map(move |across| [down, across]))
        .map(|start| {
            let [rows, columns] = [(start[0], kernel_height), (start[1], kernel_width)]
                .map(|(start, taps)| (start..taps).step_by(stride).collect::<Vec<_>>());
            let tap = |row: usize, column: usize| {
                let place = [most_down - 1 - row / stride, most_across - 1 - column / stride];
                (place, row * kernel_width + column)
            };
            let taps = rows
                .iter()
                .flat_map(|&row| columns.iter().map(move |&column| tap(row, column)))
                .collect();
            Phase { taps, start: [start[0] + down * stride, start[1] + across * stride] }
        })
        .collect();
    let target = Target {
        height: shape.in_height,
        width: shape.in_width,
        channels: shape.in_channels,
        stride,
        top: shape.padding_top,
        left: shape.padding_left,
        first: down,
    };
    let input = narrow(Input::from(output_gradient));
    let finish = Finish::added_where(accumulate);
    Work { amx, lattice, input, weights, phases, target }.run(input_gradient, finish);
}

/// A convolution of whole feature maps.
struct Work<'a> {
    amx: Amx,
    lattice: Lattice,
    input: Input<'a, Bf16>,
    weights: &'a Panels,
    phases: Vec<Phase>,
    target: Target,
}

impl Work<'_> {
    /// Output rows of a block.
    fn rows_per_block(&self) -> usize {
        let row = self.lattice.positions_per_row();
        let rows = (INPUT_BYTES / (row * self.lattice.bytes())).min(POSITIONS / row);
        rows.min((self.lattice.output_rows() / BLOCKS).max(LEAST_POSITIONS / row)).max(1)
    }

    /// Convolves all blocks.
    fn run<E: Element>(&self, output: &mut [E], mut finish: Finish<'_, E>) {
        let (rows, channels) = (self.lattice.output_rows(), self.target.channels);
        let per_block = self.rows_per_block();
        let mut blocks = Vec::with_capacity(rows.div_ceil(per_block));
        let (mut rest, mut start) = (output, 0);
        for first in (0..rows).step_by(per_block) {
            let outputs = first..rows.min(first + per_block);
            // Rows behind the last output row of the batch belong to its block.
            let end = if outputs.end == rows {
                start + rest.len()
            } else {
                let row = self.target.row(outputs.end, self.lattice.rows_per_image());
                row * self.target.width * channels
            };
            let (block, after) = rest.split_at_mut(end - start);
            blocks.push((outputs, Use::of(&finish, start), start / channels, block));
            (rest, start) = (after, end);
        }
        let pixels: Vec<usize> = blocks.iter().map(|(.., block)| block.len() / channels).collect();
        let mut nothing = Vec::new();
        let partial = match &mut finish {
            Finish::Statistics(statistics) => statistics.partial(blocks.len(), channels),
            _ => {
                nothing.resize(blocks.len() * 2 * channels, 0.0);
                &mut nothing
            }
        };
        let tasks = blocks.into_par_iter().zip(partial.par_chunks_exact_mut(2 * channels));
        tasks.for_each(|((outputs, use_, first_pixel, block), partial)| {
            self.block(&outputs, first_pixel, use_, block, partial);
        });
        if let Finish::Statistics(statistics) = finish {
            statistics.combine(&pixels, channels);
        }
    }

    fn block<E: Element>(
        &self,
        outputs: &Range<usize>,
        first_pixel: usize,
        use_: Use<'_, E>,
        output: &mut [E],
        partial: &mut [f32],
    ) {
        let extent = self.lattice.extent(outputs);
        let (mean, squares) = partial.split_at_mut(self.target.channels);
        let mut tiles = Tiles::new(self.amx);
        self.lattice.with_values(&extent, &self.input, |values| {
            for phase in &self.phases {
                let pixels = self.pixels(&extent, phase, first_pixel);
                let turns = self.turns(&extent, phase);
                for panel in 0..self.weights.panels() {
                    let first = panel * PANEL;
                    let mut sink = Sink {
                        output,
                        channels: self.target.channels,
                        first,
                        moments: Moments::NONE,
                        use_,
                    };
                    self.panel(&mut tiles, values, panel, &turns, &pixels, &mut sink);
                    if matches!(use_, Use::Statistics) {
                        sink.moments.write(&mut mean[first..], &mut squares[first..]);
                    }
                }
            }
        });
    }

    /// The output pixel of each position, in groups.
    fn pixels(&self, extent: &Extent, phase: &Phase, first_pixel: usize) -> Vec<u32> {
        let Target { height, width, stride, top, left, .. } = self.target;
        let mut pixels = vec![NOWHERE; self.lattice.groups(extent) * GROUP];
        self.lattice.each_output(extent, |position, [image, row, column]| {
            let row = (row * stride + phase.start[0]).checked_sub(top);
            let column = (column * stride + phase.start[1]).checked_sub(left);
            if let (Some(row), Some(column)) = (row, column)
                && row < height
                && column < width
            {
                let pixel = (image * height + row) * width + column - first_pixel;
                pixels[position] = pixel as u32;
            }
        });
        pixels
    }

    /// The turns of each patch: all taps of a run of the depth before those of the next one.
    fn turns(&self, extent: &Extent, phase: &Phase) -> Vec<Turn> {
        let runs = self.lattice.depth() / RUN;
        (0..runs)
            .flat_map(|run| phase.taps.iter().map(move |tap| (run, tap)))
            .map(|(run, &([row, column], tap))| {
                let left = self.lattice.offset(extent, row, column) + run * RUN;
                Turn::at(left, self.weights.offset(tap, run))
            })
            .collect()
    }

    /// One panel of a block: part by part of the depth, the sums of all groups of positions.
    fn panel<E: Element>(
        &self,
        tiles: &mut Tiles,
        values: &[Bf16],
        panel: usize,
        turns: &[Turn],
        pixels: &[u32],
        sink: &mut Sink<'_, E>,
    ) {
        const PATCH: usize = GROUP * PANEL;
        let weights = self.weights.panel(panel);
        let columns = self.target.channels - panel * PANEL;
        let depth = self.lattice.depth();
        // A copy is in the cache already. Otherwise the processor does not foresee that tiles load
        // row by row.
        let is_in_place =
            depth <= AHEAD_DEPTH && self.input.values.as_ptr_range().contains(&values.as_ptr());
        let used: Vec<(usize, &[u32])> = pixels
            .chunks_exact(GROUP)
            .enumerate()
            .filter(|(_, pixels)| pixels.iter().any(|&pixel| pixel != NOWHERE))
            .collect();
        if turns.is_empty() {
            return used.iter().for_each(|(_, pixels)| sink.take(&[0.0; PATCH], pixels));
        }
        let furthest = |distance: fn(&Turn) -> u32| {
            turns.iter().map(distance).max().unwrap_or(0) as usize / size_of::<Bf16>()
        };
        assert!(furthest(|turn| turn.right) + RUN * PANEL <= weights.len(), "too few weights");
        let last_position = used.last().map_or(0, |(group, _)| group * GROUP + GROUP - 1);
        assert!(
            last_position * depth + furthest(|turn| turn.left) + RUN <= values.len(),
            "a block is too short"
        );
        let parts = (turns.len() * RUN * PANEL * size_of::<Bf16>()).div_ceil(WEIGHT_BYTES);
        let part = turns.len().div_ceil(parts);
        // With one part, two patches take turns, so that one is computed while the other is used.
        let slots = if turns.len() <= part { 2 } else { used.len() };
        with_scratch(slots * PATCH, |sums: &mut [f32]| {
            for (at, part_turns) in turns.chunks(part).enumerate() {
                let is_last = (at + 1) * part >= turns.len();
                let mut pending: Option<(usize, &[u32])> = None;
                for (index, &(group, pixels)) in used.iter().enumerate() {
                    let slot = index % slots * PATCH;
                    let patch = Patch {
                        left: values[group * GROUP * depth..].as_ptr(),
                        left_stride: depth * size_of::<Bf16>(),
                        right: weights.as_ptr(),
                        sums: sums[slot..][..PATCH].as_mut_ptr(),
                        accumulate: at > 0,
                    };
                    if panel == 0
                        && at == 0
                        && is_in_place
                        && let Some((next, _)) = used.get(index + AHEAD)
                    {
                        let start = next * GROUP * depth;
                        prefetch(values, start..start + GROUP * depth);
                    }
                    // SAFETY: the furthest bytes of both operands were checked above, and the
                    // slice of the sums has the size of a patch.
                    unsafe { tiles.compute_patch(part_turns, &patch, columns, Reuse::Soon) };
                    if is_last && let Some((slot, pixels)) = pending.replace((slot, pixels)) {
                        sink.take(&sums[slot..][..PATCH], pixels);
                    }
                }
                if let Some((slot, pixels)) = pending {
                    sink.take(&sums[slot..][..PATCH], pixels);
                }
            }
        });
    }
}
