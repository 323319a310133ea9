//! The interface between the training loop and a device: an engine runs a network's steps and holds
//! its state.

use crate::collective::Collective;
use crate::graph::{Graph, GraphError};
use crate::parameters::ParameterInfo;
use crate::precision::Precision;
use regraft_base::adam::AdamSettings;
pub use regraft_base::mix::Mix;
pub use regraft_base::normalisation::Normalisation;
use std::collections::BTreeMap;
use std::ops::Range;

/// A tensor's values by the tensor's name, in PyTorch's order of elements.
pub type State = BTreeMap<String, Vec<f32>>;

/// How a batch's losses are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean, as is usual.
    Mean,
    /// Their sum, as d2l's training function does.
    Sum,
}

/// How a network's outputs are scored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Softmax cross-entropy: one class for each image.
    SoftmaxCrossEntropy {
        /// The share of the target that is spread evenly over all classes.
        label_smoothing: f32,
    },
    /// The mean of the outputs' sigmoid cross-entropies: several labels for each image.
    SigmoidCrossEntropy,
    /// The mean of the outputs' squared errors, for regression.
    SquaredError,
}

/// A loss, and how those of a batch are combined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossSettings {
    /// The loss of an image.
    pub loss: Loss,
    /// How the images' losses are combined.
    pub reduction: Reduction,
}

/// The desired outputs for a batch.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// `[N]`: each image's class, for the cross-entropies.
    Labels(&'a [u32]),
    /// `[N, outputs]`: for softmax cross-entropy rows with sum 1; for sigmoid cross-entropy the
    /// degree of each label, from 0 to 1; for squared error the numbers.
    Values(&'a [f32]),
}

impl Target<'_> {
    /// Number of images in the batch, for a network with this many outputs.
    #[must_use]
    pub fn images(&self, outputs: usize) -> usize {
        match self {
            Self::Labels(labels) => labels.len(),
            Self::Values(values) => values.len() / outputs.max(1),
        }
    }
}

/// The elements of a batch's images, `[N, H, W, C]`.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// Numbers that the network reads directly: normalised images, or features.
    Values(&'a [f32]),
    /// The levels of images of three channels, which the engine normalises.
    Pixels(&'a [u8], Normalisation),
}

impl Content<'_> {
    /// The number of elements.
    #[must_use]
    pub fn length(&self) -> usize {
        match self {
            Self::Values(values) => values.len(),
            Self::Pixels(pixels, _) => pixels.len(),
        }
    }
}

/// The input of a network: a batch of images, or of features instead.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The images.
    pub content: Content<'a>,
    /// How the engine mixes each image with the one before it, and the first with the last.
    pub mix: Option<Mix>,
    /// The images that the network reads, from the first index up to the second; all of them if
    /// `None`.
    pub part: Option<[usize; 2]>,
}

impl<'a> Input<'a> {
    /// The range of elements of the images that the network reads, of `length` elements each.
    ///
    /// # Errors
    /// If their number is not `count`.
    pub fn images(&self, length: usize, count: usize) -> Result<Range<usize>, EngineError> {
        let found = self.content.length();
        let [first, end] = self.part.unwrap_or([0, count]);
        // A part lies within whole images; otherwise all elements are read.
        let expected = match self.part {
            Some(_)
                if end.checked_sub(first) == Some(count)
                    && found.is_multiple_of(length)
                    && found >= end * length =>
            {
                found
            }
            Some(_) => end * length,
            None => count * length,
        };
        EngineError::check_length("the batch of images", found, expected)?;
        Ok(first..end)
    }

    /// Numbers that the network reads directly.
    #[must_use]
    pub fn values(values: &'a [f32]) -> Self {
        Self { content: Content::Values(values), mix: None, part: None }
    }

    /// Levels that the engine normalises.
    #[must_use]
    pub fn pixels(pixels: &'a [u8], normalisation: Normalisation) -> Self {
        Self { content: Content::Pixels(pixels, normalisation), mix: None, part: None }
    }
}

/// Images to learn from, with the keys of the step's random draws.
#[derive(Clone, Copy, Debug)]
pub struct TrainBatch<'a> {
    /// The images.
    pub input: Input<'a>,
    /// The desired outputs.
    pub target: Target<'a>,
    /// `[N]`: factors of the images' gradients; 1 if not given. The returned losses are not
    /// multiplied.
    pub weights: Option<&'a [f32]>,
    /// Seed of dropout and stochastic depth.
    pub seed: u64,
    /// The epoch, for their draws.
    pub epoch: u32,
    /// Position of the batch's first image in the epoch, for their draws.
    pub position: u32,
}

/// How parameters move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// Stochastic gradient descent, with or without momentum.
    Sgd {
        /// The share of the last step that is added to the next.
        momentum: f32,
    },
    /// AdamW: weight decay separate from the gradient.
    AdamW(AdamSettings),
}

/// One update: all its settings except the gradients.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// The optimiser.
    pub optimizer: Optimizer,
    /// Learning rate of each node of the graph.
    pub learning_rates: &'a [f32],
    /// Weight decay.
    pub weight_decay: f32,
    /// Whether biases, and the weights and biases of batch norms, decay too.
    pub decay_bias_norm: bool,
    /// Number of this step, counted from 1.
    pub step: u64,
    /// The factor of all gradients: 1, or less if the gradient is clipped.
    pub gradient_scale: f32,
}

/// The part of a step that a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepPart {
    /// Number of images in the whole step, over which [`Reduction::Mean`] takes its mean.
    pub step_images: usize,
    /// Whether the gradients are added to those of the step's earlier parts instead of replacing
    /// them.
    pub accumulate: bool,
    /// Whether no part follows: the gradients are then the step's, and several ranks sum them.
    pub is_last: bool,
}

impl StepPart {
    /// The whole step.
    #[must_use]
    pub fn whole(images: usize) -> Self {
        Self { step_images: images, accumulate: false, is_last: true }
    }
}

/// The results of a training step.
#[derive(Clone, Debug, Default)]
pub struct StepOutput {
    /// Each image's loss, `[N]`.
    pub losses: Vec<f32>,
    /// The logits from which the losses were computed, `[N, classes]`.
    pub logits: Vec<f32>,
}

/// A request that an engine cannot fulfil.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// The images' size does not fit the network.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A slice does not have the length that the batch requires.
    #[error("{what} has {found} elements, but the network needs {expected}")]
    Length {
        /// The name of the slice.
        what: String,
        /// Its length.
        found: usize,
        /// The required length.
        expected: usize,
    },
    /// The operating system refuses the memory for a batch.
    #[error(
        "a batch of {batch} images of {image_size} x {image_size} pixels needs {bytes} bytes, \
            which the system refuses; choose a smaller batch \
         or image size"
    )]
    Memory {
        /// Images in the batch.
        batch: usize,
        /// Side of the images in pixels.
        image_size: usize,
        /// Bytes that the batch takes.
        bytes: u64,
    },
    /// The state lacks a tensor.
    #[error("the state lacks {0}")]
    Missing(String),
    /// An update without gradients.
    #[error("{0} has no gradient: compute gradients before an update")]
    NoGradient(String),
    /// A network for a part of this one cannot be created.
    #[error("cannot compute a layer's inner output: {0}")]
    Inner(String),
    /// Another rank could not compute its share of a step, and reports the reason itself.
    #[error("another engine of this run could not compute its share of the step")]
    Peer,
    /// The operating system started no thread for a rank.
    #[error(
        "cannot start a thread for each device ({0}): the system limits processes or memory; \
         raise the limit"
    )]
    NoThread(String),
    /// An engine that already consists of several ranks cannot become a rank.
    #[error("an engine on several devices cannot be one of several engines")]
    Joined,
    /// Labels for a loss of numbers.
    #[error("squared error needs a number for each output, not a label")]
    LabelsForNumbers,
    /// A label that is not a class.
    #[error("label {label} is not one of the {classes} classes")]
    Label {
        /// The label.
        label: u32,
        /// The number of classes.
        classes: usize,
    },
}

impl EngineError {
    /// Refuses a slice that does not have the required length.
    ///
    /// # Errors
    /// [`EngineError::Length`].
    pub fn check_length(what: &str, found: usize, expected: usize) -> Result<(), Self> {
        if found == expected {
            Ok(())
        } else {
            Err(Self::Length { what: what.to_owned(), found, expected })
        }
    }
}

/// The purpose of a pass over a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forward, loss, backward. The first `frozen` nodes of the graph run as in
    /// evaluation and have no backward pass.
    Train {
        /// Number of frozen nodes, from the start of the graph.
        frozen: usize,
    },
    /// Forward to the logits, with running statistics.
    Evaluate,
}

/// A network on a device. All images are square, `[N, H, W, 3]`.
pub trait Engine: Send {
    /// A description of the device, such as `cpu (2 threads, avx512, f32)`.
    fn device(&self) -> String;

    /// The type of the feature maps' elements.
    fn precision(&self) -> Precision;

    /// The network that it runs.
    fn graph(&self) -> &Graph;

    /// All tensors of the network, in the order of its nodes.
    fn parameters(&self) -> &[ParameterInfo];

    /// Freezes the first `nodes` of the graph, rounded down to whole layers (see
    /// [`Graph::layers`]), but never the head. Frozen nodes run as in evaluation, have no gradient
    /// and cost no backward pass.
    fn freeze(&mut self, nodes: usize);

    /// Makes this engine one of several ranks that train one network together, each on its share of
    /// every batch. From then on, the last part of a step leaves the sum of all ranks' gradients in
    /// each of them. The share may be empty. If batch norms follow their batches, each rank uses
    /// its own share's statistics, and the running ones become the mean over the ranks, weighted by
    /// images.
    ///
    /// # Errors
    /// If it already consists of several ranks.
    fn join(&mut self, collective: Box<dyn Collective>) -> Result<(), EngineError>;

    /// Bytes of device memory for the feature maps of a pass over `batch` images.
    fn planned_bytes(&self, mode: Mode, batch: usize) -> u64;

    /// Number of frozen nodes, from the start.
    fn frozen(&self) -> usize;

    /// Forward, loss and backward: computes the gradient of every parameter that is not frozen.
    /// Parameters do not change; running statistics of batch norms that follow their batches do.
    ///
    /// # Errors
    /// If the batch does not fit the network.
    fn gradients(
        &mut self,
        batch: &TrainBatch<'_>,
        loss: LossSettings,
        part: StepPart,
    ) -> Result<StepOutput, EngineError>;

    /// The Euclidean norm of all gradients together, as in PyTorch's `clip_grad_norm_`; not finite
    /// if any gradient is not finite.
    fn gradient_norm(&mut self) -> f64;

    /// Moves every parameter that is not frozen by the current gradients.
    ///
    /// # Errors
    /// If a learning rate is missing or no gradients have been computed.
    fn update(&mut self, update: &Update<'_>) -> Result<(), EngineError>;

    /// A whole step without inspecting losses and gradients in between: [`Engine::gradients`], then
    /// [`Engine::update`].
    ///
    /// # Errors
    /// If the batch or the update does not fit the network.
    fn train_step(
        &mut self,
        batch: &TrainBatch<'_>,
        loss: LossSettings,
        update: &Update<'_>,
    ) -> Result<StepOutput, EngineError> {
        let rates = update.learning_rates.len();
        EngineError::check_length("the list of learning rates", rates, self.graph().nodes.len())?;
        let output = self.gradients(
            batch,
            loss,
            StepPart::whole(batch.target.images(self.graph().classes())),
        )?;
        self.update(update)?;
        Ok(output)
    }

    /// Moves the running average of all tensors towards the network; the average keeps the share
    /// `decay` of itself. The first call makes it a copy of the network. (Polyak and Juditsky 1992;
    /// exponential as in Mean Teacher, Tarvainen and Valpola 2017.)
    fn follow_average(&mut self, decay: f32);

    /// Whether there is a running average.
    fn has_average(&self) -> bool;

    /// Every tensor of the running average by name, if there is one.
    fn average(&self) -> Option<State>;

    /// Replaces the running average, or removes it.
    ///
    /// # Errors
    /// If a tensor is missing or has another length.
    fn load_average(&mut self, average: Option<&State>) -> Result<(), EngineError>;

    /// The first tensor by name, of the running average and then of the network, that contains a
    /// non-finite value, with that value.
    fn first_not_finite(&self) -> Option<(String, f32)>;

    /// The logits `[N, classes]`, with running statistics and without dropout.
    ///
    /// # Errors
    /// If the images do not fit the network.
    fn evaluate(&mut self, input: Input<'_>, batch: usize) -> Result<Vec<f32>, EngineError> {
        let output = self.graph().output();
        self.features(input, batch, output)
    }

    /// The output `[N, H, W, C]` of a node, as in evaluation.
    ///
    /// # Errors
    /// If the images do not fit the network.
    fn features(
        &mut self,
        input: Input<'_>,
        batch: usize,
        node: usize,
    ) -> Result<Vec<f32>, EngineError>;

    /// Every tensor of the network, by name.
    fn state(&self) -> State;

    /// Replaces tensors of the network.
    ///
    /// # Errors
    /// If a tensor is missing or has another length.
    fn load_state(&mut self, state: &State) -> Result<(), EngineError>;

    /// The optimiser's state: `NAME.momentum`, or `NAME.first` and `NAME.second`, if a step has
    /// been made.
    fn optimizer_state(&self) -> State;

    /// Replaces the optimiser's state.
    ///
    /// # Errors
    /// If a tensor does not have its parameter's length.
    fn load_optimizer_state(&mut self, state: &State) -> Result<(), EngineError>;
}
