//! A training step: its parts, its update and its result.

use regraft_base::adam::AdamSettings;

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
    /// The norm to which a longer gradient is scaled down, as PyTorch's `clip_grad_norm_` does.
    pub clip: Option<f32>,
}

impl Update<'_> {
    /// The factor of a gradient with this norm.
    #[must_use]
    pub fn gradient_scale(&self, norm: f64) -> f32 {
        self.clip.map_or(1.0, |limit| (f64::from(limit) / (norm + 1e-6)).min(1.0) as f32)
    }
}

/// The part of a step that a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepPart {
    /// Number of images in the whole step, over which [`Reduction::Mean`](super::Reduction::Mean)
    /// takes its mean.
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

/// The result of a training step, or of a part of one.
#[derive(Clone, Debug, Default)]
pub struct StepOutput {
    /// Each image's loss, `[N]`.
    pub losses: Vec<f32>,
    /// The logits from which the losses were computed, `[N, classes]`.
    pub logits: Vec<f32>,
    /// The norm of the gradient, if an update was requested.
    pub gradient_norm: Option<f64>,
    /// Whether the engine skipped the update, because this step, or an earlier one whose result was
    /// not fetched yet, has a value that is not finite.
    pub is_refused: bool,
}

impl StepOutput {
    /// Whether losses and gradient are finite.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        self.losses.iter().all(|loss| loss.is_finite())
            && self.gradient_norm.is_none_or(f64::is_finite)
    }
}

/// A requested step. Its result may not exist yet: a device with its own queue runs the step while
/// the processor prepares the next one.
#[derive(Debug)]
#[must_use = "the result of a step says whether its update was skipped"]
pub enum Pending {
    /// The result.
    Ready(StepOutput),
    /// The engine's number for the step.
    Queued(u64),
    /// The steps of all ranks, if the engine consists of several.
    Ranks(Vec<Self>),
}

impl Pending {
    /// Whether the result exists already, so that fetching it takes no time.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Ready(_) => true,
            Self::Queued(_) => false,
            Self::Ranks(ranks) => ranks.iter().all(Self::is_ready),
        }
    }
}
