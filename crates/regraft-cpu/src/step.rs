//! The steps that the CPU engine runs, each one operation of the graph or several that one kernel
//! computes together.

use crate::parameter::{Layout, Parameter};
use crate::tensors::{Memory, Tensors};
use regraft_kernels::convolution::GradientScratch;
use regraft_kernels::input::Normalization;
use regraft_kernels::memory::CacheLine;
use regraft_kernels::separable::{Depthwise, Pointwise};
use regraft_nn::collective::Collective;
use regraft_nn::engine::TrainBatch;
use regraft_nn::graph::MapShape;
use regraft_nn::parameters::Role;
pub(crate) use regraft_nn::plan::{Facts, Reading, Step, StepSource};
use regraft_nn::plan::{Place, Target};
use regraft_nn::precision::Precision;

/// The forward pass of a step.
pub(crate) struct Forward<'a> {
    /// The network's tensors; a training pass moves running statistics.
    pub tensors: &'a mut Tensors,
    pub memory: &'a mut [CacheLine],
    /// Images in the batch.
    pub batch: usize,
    /// Type of the feature maps' elements.
    pub precision: Precision,
    /// The training batch; `None` in evaluation and in frozen layers.
    pub training: Option<&'a TrainBatch<'a>>,
    pub inputs: Vec<Place>,
    pub input_shapes: Vec<MapShape>,
    /// The normalisation of each value of the first input.
    pub normalization: Option<Normalization<'a>>,
    /// The steps before it that it computes too; see [`Facts::computed_by`]. The first input is
    /// then that of the first of them.
    pub inside: Inside<'a>,
    /// See [`Facts::keeps_convolved`].
    pub convolved: Place,
    /// [`Place::NOWHERE`] if the step that reads it normalises.
    pub output: Place,
    pub output_shape: MapShape,
    /// The ranks that train together.
    pub ranks: &'a mut dyn Collective,
}

/// The kinds of steps that [`regraft_kernels::separable`] computes together in evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockPart {
    /// A convolution of 1x1 pixels, and what follows it.
    Pointwise,
    /// A depthwise convolution, and what follows it.
    Depthwise,
}

/// The pass that a step is part of a block in.
#[derive(Clone, Copy)]
pub(crate) struct BlockPass<'a> {
    pub tensors: &'a Tensors,
    pub precision: Precision,
    pub batch: usize,
    /// Shape of the step's input.
    pub input: MapShape,
    /// Shape of its output.
    pub output: MapShape,
}

/// The weights of a part of a block.
pub(crate) enum BlockWeights<'a> {
    Pointwise(&'a Pointwise),
    Depthwise(Depthwise<'a>),
}

/// Steps that a later one computes in evaluation.
pub(crate) struct Inside<'a> {
    pub steps: &'a mut [Box<dyn Compute>],
    /// The shape of each one's output.
    pub shapes: &'a [MapShape],
}

/// The backward pass of a step.
pub(crate) struct Backward<'a> {
    pub tensors: &'a Tensors,
    /// The gradients of learned tensors, which the step overwrites.
    pub gradients: &'a mut Memory,
    pub memory: &'a mut [CacheLine],
    pub batch: usize,
    pub precision: Precision,
    /// The inputs that are read again; see [`Facts::inputs_read_again`].
    pub inputs: Vec<Place>,
    pub input_shapes: Vec<MapShape>,
    pub normalization: Option<Normalization<'a>>,
    pub convolved: Place,
    /// The output, if [`Facts::reads_output_again`].
    pub output: Place,
    pub output_shape: MapShape,
    /// The output's gradient, which the step may overwrite.
    pub gradient: Place,
    /// The places for the gradients of its inputs. If both inputs are the same feature map, the
    /// first gradient is added to the last.
    pub targets: Vec<Target>,
    pub scratch: &'a mut GradientScratch,
    pub partial: &'a mut Vec<f32>,
    /// The ranks that train together.
    pub ranks: &'a mut dyn Collective,
}

/// A step: the places of its tensors, and the values that it keeps for its backward pass.
pub(crate) trait Compute: Send {
    /// Computes the output.
    fn forward(&mut self, run: Forward<'_>);

    /// Computes the gradients of parameters and inputs from that of the output. Gradients of inputs
    /// are computed from the last input to the first.
    fn backward(&mut self, run: Backward<'_>);

    /// The tensor with this role, so that the engine can give it a place.
    fn parameter(&mut self, _role: Role) -> Option<&mut Parameter> {
        None
    }

    /// Takes part in the exchanges of the other ranks' forward passes, as a rank without images,
    /// given the shape of the step's output.
    fn attend(&mut self, _: &mut Tensors, _: MapShape, _: &mut dyn Collective) {}

    /// Like [`Self::attend`], in the backward pass.
    fn attend_backward(&self, _: &mut dyn Collective) {}

    /// The order in which it keeps a tensor's elements.
    fn layout(&self, _role: Role) -> Layout {
        Layout::AsIs
    }

    /// Must be called after a tensor changed: values that are derived from it are computed again.
    fn invalidate(&mut self) {}

    /// Its kind, if it can be part of a block.
    fn block_part(&self) -> Option<BlockPart> {
        None
    }

    /// Its weights as a part of a block, with running statistics folded in.
    fn for_block(&mut self, _: BlockPass<'_>) -> BlockWeights<'_> {
        unreachable!("only a step that says so is part of a block")
    }

    /// The normalisation that turns the values before it into the step's output, if
    /// [`Facts::is_normalized_convolved`]; as of the last forward pass in training.
    fn normalization(&self) -> Option<Normalization<'_>> {
        None
    }
}
