//! The steps that the CPU engine runs, each one operation of the graph or several that one kernel
//! computes together.

use crate::parameter::{Layout, Parameter};
use crate::place::{Place, Target};
use crate::tensors::{Memory, Tensors};
use regraft_kernels::convolution::GradientScratch;
use regraft_kernels::input::Normalization;
use regraft_kernels::memory::CacheLine;
use regraft_nn::collective::Collective;
use regraft_nn::engine::TrainBatch;
use regraft_nn::graph::MapShape;
use regraft_nn::parameters::Role;
use regraft_nn::precision::Precision;

/// The origin of a step's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepSource {
    Image,
    Step(usize),
}

/// A step, with the facts that the planner needs.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The node of the graph whose output it computes.
    pub output: usize,
    /// Its inputs.
    pub inputs: Vec<StepSource>,
    pub facts: Facts,
}

/// How a step uses the buffers that it reads and writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Whether training keeps the values before a normalisation in a buffer of their own.
    pub keeps_convolved: bool,
    /// Whether its output is only a scale, a shift and a clamp of those values, so that it follows
    /// from them.
    pub is_normalized_convolved: bool,
    /// How it takes such values from the step of its first input.
    pub reading: Reading,
    /// Number of its inputs, from the first, that its backward pass reads.
    pub inputs_read_again: usize,
    /// Whether its backward pass reads its output.
    pub reads_output_again: bool,
    /// Whether it reads f32 whatever the precision of the feature maps.
    pub reads_f32: bool,
    /// Whether its output is a vector for each image. It is stored in f32 if all its readers read
    /// f32: logits and features are small, and rounding them has visible effects.
    pub gives_vector: bool,
}

/// How a step takes the output of a convolution with batch norm if it is the only reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Unchanged.
    #[default]
    Plain,
    /// It reads each value once, or a few times in the cache, and normalises it as it reads: the
    /// output is never written.
    Normalizes,
    /// Its backward pass reads a recomputed output, which costs little compared with the rest of
    /// the pass.
    Recomputed,
}

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
    /// See [`Facts::keeps_convolved`].
    pub convolved: Place,
    /// [`Place::NOWHERE`] if the step that reads it normalises.
    pub output: Place,
    pub output_shape: MapShape,
    /// The ranks that train together.
    pub ranks: &'a mut dyn Collective,
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

    /// The normalisation that turns the values before it into the step's output, if
    /// [`Facts::is_normalized_convolved`]; as of the last forward pass in training.
    fn normalization(&self) -> Option<Normalization<'_>> {
        None
    }
}
