//! The planner's view of an engine's steps. A step is an operation of the graph, or several that
//! one kernel computes together.

/// The origin of a step's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepSource {
    /// The batch of images.
    Image,
    /// The output of the step of that number.
    Step(usize),
}

/// A step, with the facts that the planner needs.
#[derive(Clone, Debug)]
pub struct Step {
    /// The node of the graph whose output it computes.
    pub output: usize,
    /// Its inputs.
    pub inputs: Vec<StepSource>,
    /// Its use of buffers.
    pub facts: Facts,
}

/// How a step uses the buffers that it reads and writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
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
    /// The later step, its only reader, that computes it too in evaluation. Its output is never
    /// written then; the later step reads its first input instead.
    pub computed_by: Option<usize>,
    /// Whether its output is a vector for each image. It is stored in f32 if all its readers read
    /// f32: logits and features are small, and rounding them has visible effects.
    pub gives_vector: bool,
}

/// How a step takes the output of a convolution with batch norm if it is the only reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading {
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

/// Other buffers of a step, in elements of f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// Values that the forward pass saves for the backward pass, such as statistics.
    pub saved: usize,
    /// Memory for the forward pass only.
    pub forward_scratch: usize,
    /// Memory for the backward pass only.
    pub backward_scratch: usize,
}
