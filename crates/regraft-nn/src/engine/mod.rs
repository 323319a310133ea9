//! The interface between the training loop and a device: an engine runs a network's steps and holds
//! its state.

mod batch;
mod error;
mod step;

pub use batch::{Content, Input, Loss, LossSettings, Reduction, Target, TrainBatch};
pub use error::EngineError;
pub use regraft_base::mix::Mix;
pub use regraft_base::normalisation::Normalisation;
pub use regraft_base::share::Share;
pub use step::{Optimizer, Pending, StepOutput, StepPart, Update};

use crate::collective::Collective;
use crate::graph::Graph;
use crate::parameters::ParameterInfo;
use crate::precision::Precision;
use std::collections::BTreeMap;

/// A tensor's values by the tensor's name, in PyTorch's order of elements.
pub type State = BTreeMap<String, Vec<f32>>;

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

    /// The share of each batch whose images this process provides. If other processes provide the
    /// rest, an [`Input`] has either the images of the share, which [`Input::part`] locates, or all
    /// images and no part; targets, weights and results are always those of the whole batch, and
    /// all processes make the same calls in the same order.
    fn share(&self) -> Share {
        Share::WHOLE
    }

    /// Bytes of device memory for the feature maps of a pass over `batch` images.
    fn planned_bytes(&self, mode: Mode, batch: usize) -> u64;

    /// Whether feature maps lie in memory of the device rather than in the machine's.
    fn has_own_memory(&self) -> bool {
        false
    }

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

    /// Whether the flag is set in any rank. Waits for all ranks.
    fn any_rank(&mut self, flag: bool) -> bool;

    /// Requests [`Engine::gradients`] and then, if there is an update, [`Engine::update`].
    /// [`Engine::outcome`] returns the result.
    ///
    /// If a loss or the norm of the gradient is not finite, the engine skips this update and all
    /// updates that are requested before the result is fetched.
    ///
    /// # Errors
    /// If the batch or the update does not fit the network.
    fn step(
        &mut self,
        batch: &TrainBatch<'_>,
        loss: LossSettings,
        part: StepPart,
        update: Option<&Update<'_>>,
    ) -> Result<Pending, EngineError>;

    /// Waits for the result of a requested step. Results are fetched in the order of the steps.
    ///
    /// # Errors
    /// If the step failed, or another engine ran it.
    fn outcome(&mut self, pending: Pending) -> Result<StepOutput, EngineError>;

    /// Runs a whole step and returns its result.
    ///
    /// # Errors
    /// If the batch or the update does not fit the network.
    fn train_step(
        &mut self,
        batch: &TrainBatch<'_>,
        loss: LossSettings,
        update: &Update<'_>,
    ) -> Result<StepOutput, EngineError> {
        let images = batch.target.images(self.graph().classes());
        let pending = self.step(batch, loss, StepPart::whole(images), Some(update))?;
        self.outcome(pending)
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

/// Runs a step at once, for an engine without a queue: [`Engine::gradients`], then
/// [`Engine::update`] unless `is_refused` is set or a value is not finite.
///
/// # Errors
/// If the batch or the update does not fit the network.
pub fn step_at_once(
    engine: &mut dyn Engine,
    batch: &TrainBatch<'_>,
    loss: LossSettings,
    part: StepPart,
    update: Option<&Update<'_>>,
    is_refused: bool,
) -> Result<StepOutput, EngineError> {
    if let Some(update) = update {
        let rates = update.learning_rates.len();
        let nodes = engine.graph().nodes.len();
        EngineError::check_length("the list of learning rates", rates, nodes)?;
    }
    let mut output = engine.gradients(batch, loss, part)?;
    if let Some(update) = update {
        output.gradient_norm = Some(engine.gradient_norm());
        output.is_refused = engine.any_rank(is_refused || !output.is_finite());
        if !output.is_refused {
            engine.update(update)?;
        }
    }
    Ok(output)
}
