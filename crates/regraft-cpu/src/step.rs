//! What the CPU engine runs: steps, each an operation of the graph or several that one kernel
//! computes together.

use crate::parameter::{Layout, Parameter};
use crate::place::{Place, Target};
use crate::tensors::{Memory, Tensors};
use regraft_kernels::convolution::GradientScratch;
use regraft_kernels::input::Normalization;
use regraft_kernels::memory::CacheLine;
use regraft_nn::engine::TrainBatch;
use regraft_nn::graph::MapShape;
use regraft_nn::parameters::Role;
use regraft_nn::precision::Precision;

/// Where a step's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepSource {
    Image,
    Step(usize),
}

/// What the planner has to know of a step.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The node of the graph whose output it computes.
    pub output: usize,
    /// What it reads.
    pub inputs: Vec<StepSource>,
    pub facts: Facts,
}

/// What a step does with the buffers that it reads and writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Whether training keeps the values before a normalisation in a buffer of their own.
    pub keeps_convolved: bool,
    /// Whether its output is a scale, a shift and a clamp of those values alone, so that they tell
    /// it.
    pub is_normalized_convolved: bool,
    /// How it takes such values from the step that it reads first.
    pub reading: Reading,
    /// How many of its inputs, from the first, its backward pass reads.
    pub inputs_read_again: usize,
    /// Whether its backward pass reads its output.
    pub reads_output_again: bool,
    /// Whether it reads f32 whatever the precision of maps is.
    pub reads_f32: bool,
    /// Whether its output is a vector for each image, which is stored in f32 if all that read it
    /// read f32: logits and features are small, and what rounding does to them shows.
    pub gives_vector: bool,
}

/// How a step takes the output of a convolution with batch norm that only it reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reading {
    /// As it is.
    #[default]
    Plain,
    /// It goes over each value once, or a few times in the cache, and normalises it on the way: the
    /// output is never written.
    Normalizes,
    /// Its backward pass takes it computed again, which is next to no time beside its own.
    Recomputed,
}

/// The forward pass of a step.
pub(crate) struct Forward<'a> {
    /// The network's tensors; a training pass moves running statistics.
    pub tensors: &'a mut Tensors,
    pub memory: &'a mut [CacheLine],
    /// Images in the batch.
    pub batch: usize,
    /// Type of the maps.
    pub precision: Precision,
    /// The training batch; `None` in evaluation and in frozen layers.
    pub training: Option<&'a TrainBatch<'a>>,
    pub inputs: Vec<Place>,
    pub input_shapes: Vec<MapShape>,
    /// What is done to each value of the first input.
    pub normalization: Option<Normalization<'a>>,
    /// See [`Facts::keeps_convolved`].
    pub convolved: Place,
    /// [`Place::NOWHERE`] if the step that reads it normalises.
    pub output: Place,
    pub output_shape: MapShape,
}

/// The backward pass of a step.
pub(crate) struct Backward<'a> {
    pub tensors: &'a Tensors,
    /// The gradients of learned tensors, which the step overwrites.
    pub gradients: &'a mut Memory,
    pub memory: &'a mut [CacheLine],
    pub batch: usize,
    pub precision: Precision,
    /// The inputs again; see [`Facts::inputs_read_again`].
    pub inputs: Vec<Place>,
    pub input_shapes: Vec<MapShape>,
    pub normalization: Option<Normalization<'a>>,
    pub convolved: Place,
    /// The output again, if [`Facts::reads_output_again`].
    pub output: Place,
    pub output_shape: MapShape,
    /// The output's gradient, which the step may use up.
    pub gradient: Place,
    /// Where the gradients of its inputs go. If both inputs are one map, the first gradient is
    /// added to the last.
    pub targets: Vec<Target>,
    pub scratch: &'a mut GradientScratch,
    pub partial: &'a mut Vec<f32>,
}

/// A step: where its tensors lie, and what it remembers for its backward pass.
pub(crate) trait Compute: Send {
    /// Computes the output.
    fn forward(&mut self, run: Forward<'_>);

    /// Computes the gradients of parameters and inputs from that of the output. Gradients of inputs
    /// are given from the last to the first.
    fn backward(&mut self, run: Backward<'_>);

    /// The tensor of that role, for the engine to give it a place.
    fn parameter(&mut self, _role: Role) -> Option<&mut Parameter> {
        None
    }

    /// The order in which it keeps a tensor's elements.
    fn layout(&self, _role: Role) -> Layout {
        Layout::AsIs
    }

    /// To be called after a tensor changed: what was derived from it is made anew.
    fn invalidate(&mut self) {}

    /// What makes its output of its values before the normalisation, if
    /// [`Facts::is_normalized_convolved`]; as the last forward pass of a training left it.
    fn normalization(&self) -> Option<Normalization<'_>> {
        None
    }
}
