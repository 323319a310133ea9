//! A step of the engine: how it records its passes, and where its tensors lie.

use crate::kernels::channels::Size;
use crate::kernels::input::{Input, Normalization};
use crate::kernels::matrix::Products;
use crate::kernels::window::Window;
use crate::record::{Buffer, Recorder, Slice, Values};
use crate::shader::Storage;
use regraft_nn::graph::MapShape;
use regraft_nn::layout::Layout;
use regraft_nn::ops::{Function, Padding};
use regraft_nn::parameters::Role;
use regraft_nn::plan::{Extra, Facts, Place, Plan, Step, StepSource};
use regraft_nn::precision::Precision;
use std::ops::Range;

/// A tensor of a step: its place in the arena of learned tensors or of running statistics. Nothing
/// until the engine lays the arenas out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parameter {
    pub place: Range<usize>,
}

impl Parameter {
    /// The values of a learned tensor.
    pub fn value(&self) -> Slice {
        Slice::words(Buffer::Learned, self.place.start, self.place.len())
    }

    /// The values of a running statistic.
    pub fn running(&self) -> Slice {
        Slice::words(Buffer::Running, self.place.start, self.place.len())
    }
}

/// Bytes of a unit of the memory of passes.
pub(crate) const UNIT: usize = 256;

/// The sizes of a step's inputs and output.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    pub batch: usize,
    pub inputs: Vec<MapShape>,
    pub output: MapShape,
}

impl Sizes {
    /// The sizes of a window over the first input.
    pub fn window(&self, kernel: usize, stride: usize, padding: Padding, groups: usize) -> Window {
        Window {
            images: self.batch,
            input: self.inputs[0],
            output: self.output,
            kernel,
            stride,
            padding,
            groups,
        }
    }

    /// The size of the first input.
    pub fn input(&self) -> Size {
        Size {
            images: self.batch,
            pixels: self.inputs[0].pixels(),
            channels: self.inputs[0].channels,
        }
    }

    pub fn output_pixels(&self) -> usize {
        self.batch * self.output.pixels()
    }

    pub fn output_elements(&self) -> usize {
        self.batch * self.output.length()
    }
}

/// A pass that a step records itself into.
pub(crate) struct Context<'a> {
    pub recorder: &'a mut Recorder,
    pub plan: &'a Plan,
    pub steps: &'a [Step],
    /// The clamp of each step whose output follows from its values before batch norm.
    pub clamps: &'a [Option<Option<Function>>],
    pub index: usize,
    pub sizes: Sizes,
    /// Units of an allocation of the memory of passes.
    pub allocation: usize,
    /// Where gradients begin in the arena.
    pub gradients_start: usize,
    /// The factors of this step's branch, if it drops any.
    pub keep: Option<Slice>,
    pub arguments: Slice,
    pub products: Products,
    /// Whether it is a training pass through this step.
    pub is_training: bool,
}

impl Context<'_> {
    /// A buffer of the plan.
    fn place(&self, place: &Place) -> Values {
        let storage = match place.precision {
            Precision::F32 => Storage::F32,
            Precision::Bf16 | Precision::F16 => Storage::F16,
        };
        let allocation = place.units.start / self.allocation;
        let start = (place.units.start % self.allocation) * UNIT;
        let bytes = (place.elements * storage.bytes()) as u64;
        let slice = Slice { buffer: Buffer::Pass(allocation), start: start as u64, bytes };
        Values { slice, storage }
    }

    fn buffer(&self, buffer: Option<usize>) -> Option<Values> {
        buffer.map(|buffer| self.place(&self.plan.buffers[buffer].place))
    }

    fn needed(&self, buffer: Option<usize>) -> Values {
        self.buffer(buffer).expect("the plan has every buffer that a step needs")
    }

    /// The images of the batch.
    pub fn images(&self) -> Values {
        self.needed(Some(self.plan.images))
    }

    /// An input, without normalisation.
    pub fn input(&self, place: usize) -> Values {
        self.needed(self.plan.read(self.steps[self.index].inputs[place]))
    }

    /// The first input, which may have to be normalised.
    pub fn reading(&self) -> Input {
        let source = self.steps[self.index].inputs[0];
        let normalization = match source {
            StepSource::Step(step) if self.plan.normalizes(source) => {
                Some(self.normalization(step))
            }
            _ => None,
        };
        Input { values: self.input(0), normalization, channels: self.sizes.inputs[0].channels }
    }

    /// How the output of a step follows from its values before batch norm.
    pub fn normalization(&self, step: usize) -> Normalization {
        let statistics = self.needed(self.plan.steps[step].saved).slice;
        Normalization { statistics, clamp: self.clamps[step].flatten() }
    }

    /// The buffer that the forward pass saves.
    pub fn saved(&self) -> Slice {
        self.needed(self.plan.steps[self.index].saved).slice
    }

    /// Memory of the forward pass alone.
    pub fn forward_scratch(&self) -> Slice {
        self.needed(self.plan.steps[self.index].scratch[0]).slice
    }

    /// Memory of the backward pass alone.
    pub fn backward_scratch(&self) -> Slice {
        self.needed(self.plan.steps[self.index].scratch[1]).slice
    }

    /// The values before a normalisation.
    pub fn convolved(&self) -> Values {
        self.needed(self.plan.steps[self.index].convolved)
    }

    /// The output, unless the step that reads it normalises.
    pub fn output(&self) -> Option<Values> {
        self.buffer(self.plan.steps[self.index].output)
    }

    /// The gradient of the output.
    pub fn gradient(&self) -> Values {
        self.needed(self.plan.steps[self.index].gradient)
    }

    /// Where the gradient of an input goes, and whether it is added to the buffer.
    pub fn target(&self, place: usize) -> Option<(Values, bool)> {
        let (place, accumulate) = self.plan.target(self.steps, self.index, place)?;
        Some((self.place(&place), accumulate))
    }

    /// The gradient of a learned tensor.
    pub fn gradient_of(&self, parameter: &Parameter) -> Slice {
        let Range { start, end } = parameter.place;
        Slice::words(Buffer::Gradients, start - self.gradients_start, end - start)
    }
}

/// A step. It records the same dispatches for every run of a plan.
pub(crate) trait Compute: Send {
    /// The facts for the planner.
    fn facts(&self) -> Facts;

    /// The buffers that it needs beside its values.
    fn extra(&self, _sizes: &Sizes) -> Extra {
        Extra::default()
    }

    /// Computes the output.
    fn forward(&self, context: &mut Context<'_>);

    /// Computes the gradients of parameters and inputs from that of the output, from the last input
    /// to the first.
    fn backward(&self, context: &mut Context<'_>);

    /// The tensor of that role, for the engine to give it a place.
    fn parameter(&mut self, _role: Role) -> Option<&mut Parameter> {
        None
    }

    /// The order in which it keeps a tensor's elements.
    fn layout(&self, _role: Role) -> Layout {
        Layout::AsIs
    }

    /// The branch that it may leave out: its stream and rate.
    fn branch(&self) -> Option<(u32, f32)> {
        None
    }

    /// The clamp that makes its output of its values before batch norm, if
    /// [`Facts::is_normalized_convolved`].
    fn clamp(&self) -> Option<Function> {
        None
    }
}
