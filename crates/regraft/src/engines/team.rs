//! Several engines that train one network together; each takes its share of every batch.

use super::cut::{check_lists, cut};
use regraft_base::share::Share;
use regraft_nn::collective::{Collective, Threads, Watch};
use regraft_nn::engine::{
    Engine, EngineError, Input, LossSettings, Mode, Pending, State, StepOutput, StepPart,
    TrainBatch, Update,
};
use regraft_nn::graph::Graph;
use regraft_nn::parameters::ParameterInfo;
use regraft_nn::precision::Precision;
use std::ops::Range;
use std::sync::OnceLock;
use std::thread;

/// Engines that hold the same network, one for each rank.
///
/// A batch is cut over the ranks by position, so nothing is repeated or dropped, and random draws
/// are those of one engine. The first rank does everything that is not shared out.
pub(super) struct Team {
    ranks: Vec<Box<dyn Engine>>,
    watch: Watch,
    /// Number of elements of an image.
    length: usize,
}

impl Team {
    /// Makes at least one engine of the same network the ranks of a team.
    pub fn new(mut ranks: Vec<Box<dyn Engine>>) -> Result<Self, EngineError> {
        let collectives = Threads::new(ranks.len());
        let watch = collectives[0].watch();
        for (engine, collective) in ranks.iter_mut().zip(collectives) {
            engine.join(Box::new(collective))?;
        }
        let graph = ranks[0].graph();
        let length = graph.image_size * graph.image_size * graph.input_channels;
        Ok(Self { ranks, watch, length })
    }

    fn first(&self) -> &dyn Engine {
        &*self.ranks[0]
    }

    fn first_mut(&mut self) -> &mut dyn Engine {
        &mut *self.ranks[0]
    }

    /// Lets every rank work in a thread of its own, and returns the results.
    fn each<R: Send>(
        &mut self,
        shares: &[Range<usize>],
        work: impl Fn(&mut dyn Engine, Range<usize>) -> Result<R, EngineError> + Sync,
    ) -> Result<Vec<R>, EngineError> {
        let gate: OnceLock<bool> = OnceLock::new();
        let (work, watch, gate) = (&work, &self.watch, &gate);
        let outcomes: Vec<Result<R, EngineError>> = thread::scope(|scope| {
            let mut ranks = self.ranks.iter_mut().zip(shares.iter().cloned());
            let Some((first, share)) = ranks.next() else { return Ok(Vec::new()) };
            // Ranks wait for each other, so none begins before all exist.
            let others: Result<Vec<_>, std::io::Error> = ranks
                .map(|(engine, share)| {
                    let run = move || {
                        let _watch = watch.clone();
                        gate.wait().then(|| work(&mut **engine, share))
                    };
                    thread::Builder::new().spawn_scoped(scope, run)
                })
                .collect();
            gate.get_or_init(|| others.is_ok());
            let others = others.map_err(|error| EngineError::NoThread(error.to_string()))?;
            let watching = watch.clone();
            let mut outcomes = vec![work(&mut **first, share)];
            drop(watching);
            for other in others {
                outcomes
                    .extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            Ok::<_, EngineError>(outcomes)
        })?;
        // Of several failures, the one that states the reason.
        if let Some(at) = outcomes
            .iter()
            .position(|outcome| matches!(outcome, Err(error) if *error != EngineError::Peer))
        {
            return Err(outcomes
                .into_iter()
                .nth(at)
                .and_then(Result::err)
                .unwrap_or(EngineError::Peer));
        }
        outcomes.into_iter().collect()
    }

    /// Lets every rank work on its share of a batch.
    fn each_batch<R: Send>(
        &mut self,
        batch: &TrainBatch<'_>,
        work: impl Fn(&mut dyn Engine, &TrainBatch<'_>) -> Result<R, EngineError> + Sync,
    ) -> Result<Vec<R>, EngineError> {
        let outputs = self.graph().classes();
        let count = batch.target.images(outputs);
        let images = batch.input.images(self.length, count)?;
        check_lists(batch, count, outputs)?;
        self.each(&self.shares(count), |engine, share| {
            let part = [images.start + share.start, images.start + share.end];
            work(engine, &cut(batch, &share, part, outputs))
        })
    }

    /// The range of images of each rank's share.
    fn shares(&self, images: usize) -> Vec<Range<usize>> {
        Share::all(self.ranks.len()).map(|share| share.of(images)).collect()
    }
}

/// Joins the results of the ranks' shares to that of the whole batch.
fn joined(ranks: Vec<StepOutput>) -> StepOutput {
    let mut all = StepOutput::default();
    for StepOutput { losses, logits, gradient_norm, is_refused } in ranks {
        all.losses.extend(losses);
        all.logits.extend(logits);
        // Every rank has the whole gradient.
        all.gradient_norm = gradient_norm;
        all.is_refused |= is_refused;
    }
    all
}

impl Engine for Team {
    fn device(&self) -> String {
        format!("{} engines, each {}", self.ranks.len(), self.first().device())
    }

    fn precision(&self) -> Precision {
        self.first().precision()
    }

    fn graph(&self) -> &Graph {
        self.first().graph()
    }

    fn parameters(&self) -> &[ParameterInfo] {
        self.first().parameters()
    }

    fn freeze(&mut self, nodes: usize) {
        self.ranks.iter_mut().for_each(|engine| engine.freeze(nodes));
    }

    fn frozen(&self) -> usize {
        self.first().frozen()
    }

    fn join(&mut self, _: Box<dyn Collective>) -> Result<(), EngineError> {
        Err(EngineError::Joined)
    }

    fn planned_bytes(&self, mode: Mode, batch: usize) -> u64 {
        let ranks = self.ranks.iter().zip(self.shares(batch));
        ranks
            .map(|(engine, share)| engine.planned_bytes(mode, share.len()))
            .fold(0, u64::saturating_add)
    }

    fn has_own_memory(&self) -> bool {
        self.ranks.iter().all(|engine| engine.has_own_memory())
    }

    fn gradients(
        &mut self,
        batch: &TrainBatch<'_>,
        loss: LossSettings,
        part: StepPart,
    ) -> Result<StepOutput, EngineError> {
        let found = self.each_batch(batch, |engine, own| engine.gradients(own, loss, part))?;
        Ok(joined(found))
    }

    fn any_rank(&mut self, flag: bool) -> bool {
        flag
    }

    fn step(
        &mut self,
        batch: &TrainBatch<'_>,
        loss: LossSettings,
        part: StepPart,
        update: Option<&Update<'_>>,
    ) -> Result<Pending, EngineError> {
        let found = self.each_batch(batch, |engine, own| engine.step(own, loss, part, update))?;
        Ok(Pending::Ranks(found))
    }

    fn outcome(&mut self, pending: Pending) -> Result<StepOutput, EngineError> {
        let Pending::Ranks(ranks) = pending else { return Err(EngineError::NotAsked) };
        let outcomes = self.ranks.iter_mut().zip(ranks).map(|(engine, rank)| engine.outcome(rank));
        Ok(joined(outcomes.collect::<Result<_, _>>()?))
    }

    fn gradient_norm(&mut self) -> f64 {
        self.first_mut().gradient_norm()
    }

    fn update(&mut self, update: &Update<'_>) -> Result<(), EngineError> {
        self.each(&self.shares(0), |engine, _| engine.update(update)).map(drop)
    }

    fn follow_average(&mut self, decay: f32) {
        self.first_mut().follow_average(decay);
    }

    fn has_average(&self) -> bool {
        self.first().has_average()
    }

    fn average(&self) -> Option<State> {
        self.first().average()
    }

    fn load_average(&mut self, average: Option<&State>) -> Result<(), EngineError> {
        self.first_mut().load_average(average)
    }

    fn first_not_finite(&self) -> Option<(String, f32)> {
        self.first().first_not_finite()
    }

    fn features(
        &mut self,
        input: Input<'_>,
        batch: usize,
        node: usize,
    ) -> Result<Vec<f32>, EngineError> {
        let images = input.images(self.length, batch)?;
        let found = self.each(&self.shares(batch), |engine, share| {
            if share.is_empty() {
                return Ok(Vec::new());
            }
            let part = Some([images.start + share.start, images.start + share.end]);
            engine.features(Input { part, ..input }, share.len(), node)
        })?;
        Ok(found.concat())
    }

    fn state(&self) -> State {
        self.first().state()
    }

    fn load_state(&mut self, state: &State) -> Result<(), EngineError> {
        self.ranks.iter_mut().try_for_each(|engine| engine.load_state(state))
    }

    fn optimizer_state(&self) -> State {
        self.first().optimizer_state()
    }

    fn load_optimizer_state(&mut self, state: &State) -> Result<(), EngineError> {
        self.ranks.iter_mut().try_for_each(|engine| engine.load_optimizer_state(state))
    }
}
