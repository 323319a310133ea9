//! An engine for networks whose backbone is frozen: it takes the backbone's features in place of
//! images.

use crate::engines::{self, DeviceChoice, OpenError};
use crate::ranks::Ranks;
use regraft_nn::collective::Collective;
use regraft_nn::engine::{
    Engine, EngineError, Input, LossSettings, Mode, Pending, Share, State, StepOutput, StepPart,
    TrainBatch, Update,
};
use regraft_nn::graph::Graph;
use regraft_nn::parameters::ParameterInfo;
use regraft_nn::precision::Precision;

/// A network of which only the head is computed, in f32 whatever the backbone's maps are; the
/// backbone's tensors are kept with it. To the bit, it does what the whole network does when its
/// backbone is frozen.
pub struct HeadEngine {
    device: String,
    precision: Precision,
    graph: Graph,
    parameters: Vec<ParameterInfo>,
    trunk: State,
    head: Box<dyn Engine>,
}

impl HeadEngine {
    /// An engine with the network and tensors of `whole`; device, threads and ranks are as for
    /// [`engines::open`].
    ///
    /// # Errors
    /// As [`engines::open`].
    pub fn new(
        whole: &dyn Engine,
        device: &DeviceChoice,
        threads: usize,
        ranks: &Ranks,
    ) -> Result<Self, OpenError> {
        let graph = whole.graph().clone();
        let mut head =
            engines::open(device, graph.head_alone(), 1, Precision::F32, threads, ranks)?;
        let mut trunk = whole.state();
        head.load_state(&trunk)?;
        head.parameters().iter().for_each(|parameter| drop(trunk.remove(&parameter.name)));
        let (device, precision) = (whole.device(), whole.precision());
        Ok(Self { device, precision, parameters: whole.parameters().to_vec(), graph, trunk, head })
    }

    /// The part of an update that concerns the head.
    fn of_head<'u>(&self, update: &Update<'u>) -> Update<'u> {
        let rates = update.learning_rates.get(self.graph.backbone()..).unwrap_or_default();
        Update { learning_rates: rates, ..*update }
    }
}

impl Engine for HeadEngine {
    fn device(&self) -> String {
        self.device.clone()
    }

    /// That of the backbone.
    fn precision(&self) -> Precision {
        self.precision
    }

    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn parameters(&self) -> &[ParameterInfo] {
        &self.parameters
    }

    /// Does nothing: the backbone is frozen, the head is not.
    fn freeze(&mut self, _nodes: usize) {}

    fn frozen(&self) -> usize {
        self.graph.backbone()
    }

    fn join(&mut self, collective: Box<dyn Collective>) -> Result<(), EngineError> {
        self.head.join(collective)
    }

    fn share(&self) -> Share {
        self.head.share()
    }

    /// That of the head.
    fn planned_bytes(&self, _: Mode, batch: usize) -> u64 {
        self.head.planned_bytes(Mode::Train { frozen: 0 }, batch)
    }

    fn has_own_memory(&self) -> bool {
        self.head.has_own_memory()
    }

    fn gradients(
        &mut self,
        batch: &TrainBatch<'_>,
        loss: LossSettings,
        part: StepPart,
    ) -> Result<StepOutput, EngineError> {
        self.head.gradients(batch, loss, part)
    }

    fn any_rank(&mut self, flag: bool) -> bool {
        self.head.any_rank(flag)
    }

    fn step(
        &mut self,
        batch: &TrainBatch<'_>,
        loss: LossSettings,
        part: StepPart,
        update: Option<&Update<'_>>,
    ) -> Result<Pending, EngineError> {
        let update = update.map(|update| self.of_head(update));
        self.head.step(batch, loss, part, update.as_ref())
    }

    fn outcome(&mut self, pending: Pending) -> Result<StepOutput, EngineError> {
        self.head.outcome(pending)
    }

    fn gradient_norm(&mut self) -> f64 {
        self.head.gradient_norm()
    }

    fn update(&mut self, update: &Update<'_>) -> Result<(), EngineError> {
        let update = self.of_head(update);
        self.head.update(&update)
    }

    fn follow_average(&mut self, decay: f32) {
        self.head.follow_average(decay);
    }

    fn has_average(&self) -> bool {
        self.head.has_average()
    }

    /// The backbone's average is the backbone.
    fn average(&self) -> Option<State> {
        Some(self.trunk.clone().into_iter().chain(self.head.average()?).collect())
    }

    fn load_average(&mut self, average: Option<&State>) -> Result<(), EngineError> {
        self.head.load_average(average)
    }

    fn first_not_finite(&self) -> Option<(String, f32)> {
        self.head.first_not_finite()
    }

    fn features(
        &mut self,
        input: Input<'_>,
        batch: usize,
        node: usize,
    ) -> Result<Vec<f32>, EngineError> {
        if node < self.graph.backbone() {
            return Err(EngineError::Missing(format!(
                "the backbone that computes {}",
                self.graph.nodes[node].name
            )));
        }
        self.head.features(input, batch, node - self.graph.backbone())
    }

    fn state(&self) -> State {
        self.trunk.clone().into_iter().chain(self.head.state()).collect()
    }

    fn load_state(&mut self, state: &State) -> Result<(), EngineError> {
        self.head.load_state(state)?;
        for (name, values) in &mut self.trunk {
            let found = state.get(name).ok_or_else(|| EngineError::Missing(name.clone()))?;
            if found.len() != values.len() {
                return Err(EngineError::Length {
                    what: name.clone(),
                    found: found.len(),
                    expected: values.len(),
                });
            }
            values.clone_from(found);
        }
        Ok(())
    }

    fn optimizer_state(&self) -> State {
        self.head.optimizer_state()
    }

    fn load_optimizer_state(&mut self, state: &State) -> Result<(), EngineError> {
        self.head.load_optimizer_state(state)
    }
}
