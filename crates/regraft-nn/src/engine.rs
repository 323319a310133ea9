//! What the training loop knows of a device: an engine runs a network's steps and holds its state.

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

/// How a batch's losses become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean, as most do.
    Mean,
    /// Their sum, as d2l's training function does.
    Sum,
}

/// What a network's outputs are held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Softmax cross-entropy: one class for each image.
    SoftmaxCrossEntropy {
        /// The share of the target that is spread evenly over all classes.
        label_smoothing: f32,
    },
    /// The mean of the outputs' sigmoid cross-entropies: several labels for each image.
    SigmoidCrossEntropy,
    /// The mean of the outputs' squared errors: numbers.
    SquaredError,
}

/// A loss, and how those of a batch become one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossSettings {
    /// The loss of an image.
    pub loss: Loss,
    /// How the images' losses are put together.
    pub reduction: Reduction,
}

/// What a batch's outputs are to be.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// `[N]`: each image's class, for the cross-entropies.
    Labels(&'a [u32]),
    /// `[N, outputs]`: for softmax cross-entropy rows of sum 1, for sigmoid cross-entropy how much
    /// of each label is there, from 0 to 1, for squared error the numbers.
    Values(&'a [f32]),
}

impl Target<'_> {
    /// Images of the batch, for a network of so many outputs.
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
    /// Numbers as the network takes them: images that are normalised already, or features.
    Values(&'a [f32]),
    /// The levels of images of three channels, which the engine normalises.
    Pixels(&'a [u8], Normalisation),
}

impl Content<'_> {
    /// How many elements there are.
    #[must_use]
    pub fn length(&self) -> usize {
        match self {
            Self::Values(values) => values.len(),
            Self::Pixels(pixels, _) => pixels.len(),
        }
    }
}

/// What a network reads: a batch of images, or of features in their place.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The images.
    pub content: Content<'a>,
    /// How the engine mixes each with the one before it, the first with the last.
    pub mix: Option<Mix>,
    /// The images that the network reads, from the first number up to the second; all unless given.
    pub part: Option<[usize; 2]>,
}

impl<'a> Input<'a> {
    /// The images that the network reads, of `length` elements each.
    ///
    /// # Errors
    /// If there are not `count` of them.
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

    /// Numbers as the network takes them.
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

/// Images to learn from, with what names the random draws of their step.
#[derive(Clone, Copy, Debug)]
pub struct TrainBatch<'a> {
    /// The images.
    pub input: Input<'a>,
    /// What the network is to make of them.
    pub target: Target<'a>,
    /// `[N]`: what each image's gradient is multiplied by; 1 unless given. The losses that are
    /// handed back stay as they are.
    pub weights: Option<&'a [f32]>,
    /// Seed of dropout and stochastic depth.
    pub seed: u64,
    /// Epoch, for their draws.
    pub epoch: u32,
    /// Place in the epoch of the batch's first image, for their draws.
    pub position: u32,
}

/// How parameters move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// Stochastic gradient descent, with or without momentum.
    Sgd {
        /// The share of the last step that goes on.
        momentum: f32,
    },
    /// AdamW: weight decay apart from the gradient.
    AdamW(AdamSettings),
}

/// One update: everything but the gradients.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// The optimiser.
    pub optimizer: Optimizer,
    /// Learning rate of each node of the graph.
    pub learning_rates: &'a [f32],
    /// Weight decay.
    pub weight_decay: f32,
    /// Whether biases, and weights and biases of batch norms, decay too.
    pub decay_bias_norm: bool,
    /// Number of this step, counted from 1.
    pub step: u64,
    /// What every gradient is multiplied by first: 1, or less where the gradient is clipped.
    pub gradient_scale: f32,
}

/// Which part of a step's pictures a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepPart {
    /// Pictures of the whole step, over which [`Reduction::Mean`] takes its mean.
    pub step_images: usize,
    /// Whether the gradients are added to those of the step's earlier parts, instead of replacing
    /// what was there.
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

/// What a training step tells.
#[derive(Clone, Debug, Default)]
pub struct StepOutput {
    /// Each picture's loss, `[N]`.
    pub losses: Vec<f32>,
    /// The logits from which they come, `[N, classes]`.
    pub logits: Vec<f32>,
}

/// A request that an engine cannot fulfil.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// The pictures' size does not fit the network.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A slice is not as long as the batch says.
    #[error("{what} has {found} elements where the network needs {expected}")]
    Length {
        /// Which slice.
        what: String,
        /// Its length.
        found: usize,
        /// The length that is needed.
        expected: usize,
    },
    /// The system gives no memory for a batch.
    #[error(
        "a batch of {batch} images of {image_size} x {image_size} pixels takes {bytes} bytes, \
         which the system refuses; choose a smaller batch \
         or image size"
    )]
    Memory {
        /// Images in the batch.
        batch: usize,
        /// Side of the images in pixels.
        image_size: usize,
        /// Bytes that it takes.
        bytes: u64,
    },
    /// The state lacks a tensor.
    #[error("the state lacks {0}")]
    Missing(String),
    /// An update without gradients.
    #[error("{0} has no gradient: compute gradients before an update")]
    NoGradient(String),
    /// A network for part of this one cannot be made.
    #[error("cannot compute a layer's inner output: {0}")]
    Inner(String),
    /// A rank of several could not make its share of a step, and says why itself.
    #[error("another engine of this run could not make its share of the step")]
    Peer,
    /// The system started no thread for a rank.
    #[error(
        "cannot start a thread for each device ({0}): the system limits processes or memory; \
         raise the limit"
    )]
    NoThread(String),
    /// An engine of several ranks that is to be one of several.
    #[error("an engine on several devices cannot be one of several engines")]
    Joined,
    /// A loss of numbers with labels.
    #[error("squared error needs a number for each output, not a label")]
    LabelsForNumbers,
    /// A label is no class.
    #[error("label {label} is none of the {classes} classes")]
    Label {
        /// The label.
        label: u32,
        /// The number of classes.
        classes: usize,
    },
}

impl EngineError {
    /// Refuses a slice that is not as long as it has to be.
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

/// What a pass over a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forward, loss, backward. The first `frozen` nodes of the graph run as in
    /// evaluation and have no backward pass.
    Train {
        /// How many nodes of the graph are frozen, from the start.
        frozen: usize,
    },
    /// Forward to the logits, with running statistics.
    Evaluate,
}

/// A network on a device. All pictures are square, `[N, H, W, 3]`.
pub trait Engine: Send {
    /// The device in words, such as `cpu (2 threads, avx512, f32)`.
    fn device(&self) -> String;

    /// What maps are stored as.
    fn precision(&self) -> Precision;

    /// The network that it runs.
    fn graph(&self) -> &Graph;

    /// All tensors of the network, in the order of its nodes.
    fn parameters(&self) -> &[ParameterInfo];

    /// Freezes the first `nodes` of the graph, rounded down to whole layers (see
    /// [`Graph::layers`]), or as many as come before the head: they run as in evaluation, take no
    /// gradient and cost no backward pass.
    fn freeze(&mut self, nodes: usize);

    /// Makes it one of several ranks that train one network together, each on its share of every
    /// batch. From then on, the last part of a step leaves the sum of all ranks' gradients in each
    /// of them. The share may be empty. Batch norms that follow their batches take their own
    /// share's statistics; the running ones become the ranks' mean, weighted by images.
    ///
    /// # Errors
    /// If it stands for several ranks itself.
    fn join(&mut self, collective: Box<dyn Collective>) -> Result<(), EngineError>;

    /// Bytes of device memory that a pass over a batch of `batch` images takes for its maps.
    fn planned_bytes(&self, mode: Mode, batch: usize) -> u64;

    /// How many nodes, from the start, are frozen.
    fn frozen(&self) -> usize;

    /// Forward, loss and backward: the gradient of every parameter that is not frozen. Parameters
    /// stay as they are; running statistics of batch norms that follow their batches move.
    ///
    /// # Errors
    /// When the batch does not fit the network.
    fn gradients(
        &mut self,
        batch: &TrainBatch<'_>,
        loss: LossSettings,
        part: StepPart,
    ) -> Result<StepOutput, EngineError>;

    /// The Euclidean norm of all gradients together, as PyTorch's `clip_grad_norm_` takes it; not
    /// finite where any of them is not.
    fn gradient_norm(&mut self) -> f64;

    /// Moves every parameter that is not frozen by the gradients that are there.
    ///
    /// # Errors
    /// When a learning rate is missing or no gradients have been computed.
    fn update(&mut self, update: &Update<'_>) -> Result<(), EngineError>;

    /// A whole step without a look at losses and gradients in between: [`Engine::gradients`], then
    /// [`Engine::update`].
    ///
    /// # Errors
    /// When the batch or the update does not fit the network.
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

    /// Moves the running average of all tensors towards the network: it keeps the share `decay` of
    /// itself. The first call makes it a copy of the network. (Polyak and Juditsky 1992;
    /// exponential as in Mean Teacher, Tarvainen and Valpola 2017.)
    fn follow_average(&mut self, decay: f32);

    /// Whether a running average is kept.
    fn has_average(&self) -> bool;

    /// Every tensor of the running average by name, if one is kept.
    fn average(&self) -> Option<State>;

    /// Replaces the running average, or ends it.
    ///
    /// # Errors
    /// When a tensor is missing or of another length.
    fn load_average(&mut self, average: Option<&State>) -> Result<(), EngineError>;

    /// The first tensor by name, of the running average and then of the network, with a value that
    /// is not finite, and that value.
    fn first_not_finite(&self) -> Option<(String, f32)>;

    /// The logits `[N, classes]` with running statistics and without dropout.
    ///
    /// # Errors
    /// When the pictures do not fit the network.
    fn evaluate(&mut self, input: Input<'_>, batch: usize) -> Result<Vec<f32>, EngineError> {
        let output = self.graph().output();
        self.features(input, batch, output)
    }

    /// The output `[N, H, W, C]` of a node, as in evaluation.
    ///
    /// # Errors
    /// When the pictures do not fit the network.
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
    /// When one is missing or of another length.
    fn load_state(&mut self, state: &State) -> Result<(), EngineError>;

    /// The optimiser's memory: `NAME.momentum`, or `NAME.first` and `NAME.second`, where a step has
    /// been made.
    fn optimizer_state(&self) -> State;

    /// Replaces the optimiser's memory.
    ///
    /// # Errors
    /// When a tensor is of another length than its parameter.
    fn load_optimizer_state(&mut self, state: &State) -> Result<(), EngineError>;
}
