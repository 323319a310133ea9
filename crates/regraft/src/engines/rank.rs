//! An engine of one process, of several processes that train one network together.

use super::cut::{check_lists, cut};
use crate::ranks::Ranks;
use regraft_nn::collective::Collective;
use regraft_nn::engine::{
    Engine, EngineError, Input, LossSettings, Mode, Pending, Share, State, StepOutput, StepPart,
    TrainBatch, Update,
};
use regraft_nn::graph::Graph;
use regraft_nn::parameters::ParameterInfo;
use regraft_nn::precision::Precision;
use std::collections::VecDeque;

/// An engine that computes its rank's share of every batch, and exchanges the results with the
/// others. Its results are those of a [`Team`](super::team::Team) of as many engines, to the bit.
pub(super) struct RankEngine {
    own: Box<dyn Engine>,
    ranks: Ranks,
    /// Number of elements of an image.
    length: usize,
    /// Images of the steps whose results were not fetched yet, oldest first.
    requested: VecDeque<usize>,
}

impl RankEngine {
    /// Makes an engine one of several ranks.
    pub fn new(mut own: Box<dyn Engine>, ranks: &Ranks) -> Result<Self, EngineError> {
        own.join(ranks.collective())?;
        let graph = own.graph();
        let length = graph.image_size * graph.image_size * graph.input_channels;
        Ok(Self { own, ranks: ranks.clone(), length, requested: VecDeque::new() })
    }

    /// The images of this rank's share in an input of `count` images of all ranks. The engine
    /// checks an input of the share itself: only there may one rank's request be bad and another's
    /// good, and the engine asks the others before it begins.
    fn part(&self, input: &Input<'_>, count: usize) -> Result<[usize; 2], EngineError> {
        let own = self.share().of(count);
        match input.part {
            Some(part) => Ok(part),
            None => input.images(self.length, count).map(|_| [own.start, own.end]),
        }
    }

    /// Lets the engine work on its share of a batch.
    fn with_share<R>(
        &mut self,
        batch: &TrainBatch<'_>,
        work: impl FnOnce(&mut dyn Engine, &TrainBatch<'_>) -> Result<R, EngineError>,
    ) -> Result<R, EngineError> {
        let outputs = self.graph().classes();
        let count = batch.target.images(outputs);
        let part = self.part(&batch.input, count)?;
        check_lists(batch, count, outputs)?;
        let share = self.share().of(count);
        work(&mut *self.own, &cut(batch, &share, part, outputs))
    }

    /// The results of a whole batch of `count` images.
    fn joined(&mut self, own: StepOutput, count: usize) -> StepOutput {
        let classes = self.graph().classes();
        let StepOutput { losses, logits, gradient_norm, is_refused } = own;
        let rows: Vec<f32> = losses
            .iter()
            .zip(logits.chunks_exact(classes))
            .flat_map(|(loss, logits)| std::iter::once(loss).chain(logits))
            .copied()
            .collect();
        let rows = self.ranks.join_shares(count, classes + 1, &rows);
        let rows = rows.chunks_exact(classes + 1);
        StepOutput {
            losses: rows.clone().map(|row| row[0]).collect(),
            logits: rows.flat_map(|row| &row[1..]).copied().collect(),
            gradient_norm,
            is_refused,
        }
    }
}

impl Engine for RankEngine {
    fn device(&self) -> String {
        let on = match self.ranks.place().machines {
            1 => String::new(),
            machines => format!(" on {machines} machines"),
        };
        format!("{} ranks{on}, each {}", self.ranks.size(), self.own.device())
    }

    fn precision(&self) -> Precision {
        self.own.precision()
    }

    fn graph(&self) -> &Graph {
        self.own.graph()
    }

    fn parameters(&self) -> &[ParameterInfo] {
        self.own.parameters()
    }

    fn freeze(&mut self, nodes: usize) {
        self.own.freeze(nodes);
    }

    fn frozen(&self) -> usize {
        self.own.frozen()
    }

    fn join(&mut self, _: Box<dyn Collective>) -> Result<(), EngineError> {
        Err(EngineError::Joined)
    }

    fn share(&self) -> Share {
        self.ranks.share()
    }

    /// That of this rank's share.
    fn planned_bytes(&self, mode: Mode, batch: usize) -> u64 {
        self.own.planned_bytes(mode, self.share().most(batch))
    }

    fn has_own_memory(&self) -> bool {
        self.own.has_own_memory()
    }

    fn gradients(
        &mut self,
        batch: &TrainBatch<'_>,
        loss: LossSettings,
        part: StepPart,
    ) -> Result<StepOutput, EngineError> {
        let own = self.with_share(batch, |engine, own| engine.gradients(own, loss, part))?;
        Ok(self.joined(own, batch.target.images(self.graph().classes())))
    }

    fn any_rank(&mut self, flag: bool) -> bool {
        self.ranks.any(flag)
    }

    fn step(
        &mut self,
        batch: &TrainBatch<'_>,
        loss: LossSettings,
        part: StepPart,
        update: Option<&Update<'_>>,
    ) -> Result<Pending, EngineError> {
        let pending = self.with_share(batch, |engine, own| engine.step(own, loss, part, update))?;
        self.requested.push_back(batch.target.images(self.graph().classes()));
        Ok(pending)
    }

    fn outcome(&mut self, pending: Pending) -> Result<StepOutput, EngineError> {
        let count = self.requested.pop_front().ok_or(EngineError::NotAsked)?;
        let own = self.own.outcome(pending)?;
        Ok(self.joined(own, count))
    }

    fn gradient_norm(&mut self) -> f64 {
        self.own.gradient_norm()
    }

    fn update(&mut self, update: &Update<'_>) -> Result<(), EngineError> {
        self.own.update(update)
    }

    fn follow_average(&mut self, decay: f32) {
        self.own.follow_average(decay);
    }

    fn has_average(&self) -> bool {
        self.own.has_average()
    }

    fn average(&self) -> Option<State> {
        self.own.average()
    }

    fn load_average(&mut self, average: Option<&State>) -> Result<(), EngineError> {
        self.own.load_average(average)
    }

    fn first_not_finite(&self) -> Option<(String, f32)> {
        self.own.first_not_finite()
    }

    fn features(
        &mut self,
        input: Input<'_>,
        batch: usize,
        node: usize,
    ) -> Result<Vec<f32>, EngineError> {
        let own = self.share().of(batch);
        let computed = self.part(&input, batch).and_then(|part| {
            if own.is_empty() {
                return Ok(Vec::new());
            }
            self.own.features(Input { part: Some(part), ..input }, own.len(), node)
        });
        // A rank without images does not know the length of the output.
        let length = computed.as_ref().map_or(0, |values| values.len() / own.len().max(1));
        let own_facts = [f32::from(u8::from(computed.is_err())), f32::from_bits(length as u32)];
        let facts = self.ranks.collective().gather(&own_facts);
        let computed = computed?;
        if facts.chunks_exact(2).any(|facts| facts[0] > 0.0) {
            return Err(EngineError::Peer);
        }
        let length = facts.chunks_exact(2).map(|facts| facts[1].to_bits() as usize).max();
        Ok(self.ranks.join_shares(batch, length.unwrap_or(0), &computed))
    }

    fn state(&self) -> State {
        self.own.state()
    }

    fn load_state(&mut self, state: &State) -> Result<(), EngineError> {
        self.own.load_state(state)
    }

    fn optimizer_state(&self) -> State {
        self.own.optimizer_state()
    }

    fn load_optimizer_state(&mut self, state: &State) -> Result<(), EngineError> {
        self.own.load_optimizer_state(state)
    }
}
