//! The engine that runs a network on the CPU.

use crate::losses;
use crate::parameters::Parameters;
use crate::pass::Pass;
use crate::program::Program;
use crate::range_sums::RangeSums;
use crate::slot::disjoint;
use crate::step::StepSource;
use regraft_kernels::convolution::GradientScratch;
use regraft_kernels::memory::{CacheLine, make_room};
use regraft_kernels::{isa, optimizer};
use regraft_nn::arena::Arena;
use regraft_nn::collective::{Alone, Collective};
use regraft_nn::engine::{
    Engine, EngineError, Input, LossSettings, Mode, Pending, Reduction, State, StepOutput,
    StepPart, TrainBatch, Update, step_at_once,
};
use regraft_nn::graph::{Graph, GraphError, MapShape};
use regraft_nn::ops::{NormStatistics, Operation};
use regraft_nn::parameters::{ParameterInfo, parameters};
use regraft_nn::plan::{self, Plan};
use regraft_nn::precision::Precision;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a [`CacheLine`].
const CACHE_LINE_BYTES: u64 = size_of::<CacheLine>() as u64;

/// Memory in cache lines, all of it in one piece.
const MEMORY: plan::Memory = plan::Memory { unit_bytes: size_of::<CacheLine>(), allocation: None };

/// A network on the CPU.
pub struct CpuEngine {
    graph: Graph,
    parameters: Parameters,
    program: Program,
    /// Shape of each step's output.
    shapes: Vec<MapShape>,
    /// The range of the learned tensors of each step.
    ranges: Vec<Range<usize>>,
    /// Number of frozen nodes, which are whole layers.
    frozen: usize,
    image: MapShape,
    precision: Precision,
    plans: Vec<Arc<Plan>>,
    /// The buffers of the current pass; the memory grows to the largest pass and is kept.
    memory: Vec<CacheLine>,
    scratch: GradientScratch,
    partial: Vec<f32>,
    threads: rayon::ThreadPool,
    /// The connection to the other ranks, if there are any.
    collective: Box<dyn Collective>,
    /// Whether a step had a value that is not finite, and its result has not been fetched yet.
    is_refused: bool,
}

/// A CPU engine that cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    /// The images are too small for the network.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The requested instruction set is not available.
    #[error(transparent)]
    Isa(#[from] isa::IsaError),
    /// The engine does not compute in f16.
    #[error("the processor does not compute in f16; use --precision f32 or bf16, or --device gpu")]
    F16,
    /// The operating system started no threads.
    #[error(
        "cannot start {threads} threads ({source}): the system limits processes or memory \
         (`ulimit -u`, `ulimit -v`, a container's \
         limits); raise the limit or choose a smaller --threads"
    )]
    Threads {
        /// Number of threads to start.
        threads: usize,
        /// The operating system's error.
        source: rayon::ThreadPoolBuildError,
    },
}

impl CpuEngine {
    /// An engine in f32 for square images of `image_size` pixels on that many threads (0: one for
    /// each core). All tensors are zero except running variances, which are 1.
    ///
    /// # Errors
    /// If the images are too small for the graph or the machine lacks something that was requested.
    pub fn new(graph: Graph, image_size: usize, threads: usize) -> Result<Self, CpuError> {
        Self::with_precision(graph, image_size, threads, Precision::F32)
    }

    /// Like [`Self::new`], with feature maps of this precision in training and in evaluation.
    ///
    /// # Errors
    /// Like [`Self::new`].
    pub fn with_precision(
        mut graph: Graph,
        image_size: usize,
        threads: usize,
        precision: Precision,
    ) -> Result<Self, CpuError> {
        let node_shapes = graph.shapes(image_size)?;
        isa::in_use()?;
        if precision == Precision::F16 {
            return Err(CpuError::F16);
        }
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            asked => asked,
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("compute-{index}"));
        graph.image_size = image_size;
        let mut program = Program::new(&graph, precision);
        let parameters = parameters(&graph);
        let arena = Arena::new(&parameters, graph.nodes.len());
        lay_out(&mut program, &parameters, &arena);
        let layouts =
            parameters.iter().map(|info| program.of(info.node).layout(info.role)).collect();
        let shapes: Vec<MapShape> =
            program.steps.iter().map(|step| node_shapes[step.output]).collect();
        program.join_blocks(&shapes);
        Ok(Self {
            ranges: step_ranges(&program, &arena),
            parameters: Parameters::new(parameters, arena, layouts),
            shapes,
            program,
            image: MapShape {
                height: image_size,
                width: image_size,
                channels: graph.input_channels,
            },
            graph,
            frozen: 0,
            precision,
            plans: Vec::new(),
            memory: Vec::new(),
            scratch: GradientScratch::default(),
            partial: Vec::new(),
            threads: pool.build().map_err(|source| CpuError::Threads { threads, source })?,
            collective: Box::new(Alone),
            is_refused: false,
        })
    }

    /// Number of computing threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.current_num_threads()
    }

    fn new_plan(&self, mode: plan::Mode, batch: usize) -> Plan {
        let pass = plan::Pass { mode, batch, precision: self.precision };
        Plan::new(&self.program.steps, &self.shapes, self.image, pass, MEMORY, &[])
    }

    fn plan(&mut self, mode: plan::Mode, batch: usize) -> Result<Arc<Plan>, EngineError> {
        if let Some(plan) = self.plans.iter().find(|plan| plan.mode == mode && plan.batch == batch)
        {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(self.new_plan(mode, batch));
        let bytes = plan.memory as u64 * CACHE_LINE_BYTES;
        let image_size = self.image.height;
        let failed = |_| EngineError::Memory { batch, image_size, bytes, fits: None };
        make_room(&mut self.memory, plan.memory).map_err(failed)?;
        self.plans.push(Arc::clone(&plan));
        Ok(plan)
    }

    /// The images of a batch and their plan; `None` if the batch is empty. An error if it does not
    /// fit the network.
    fn prepare(
        &mut self,
        batch: &TrainBatch<'_>,
        loss: LossSettings,
    ) -> Result<(Range<usize>, Option<Arc<Plan>>), EngineError> {
        let classes = self.graph.classes();
        let count = batch.target.images(classes);
        let images = batch.input.images(self.image.length(), count)?;
        batch.target.check(loss.loss, count, classes)?;
        if let Some(weights) = batch.weights {
            EngineError::check_length("the list of weights", weights.len(), count)?;
        }
        let frozen = self.program.steps_before(self.frozen);
        let plan =
            if count > 0 { Some(self.plan(plan::Mode::Train { frozen }, count)?) } else { None };
        Ok((images, plan))
    }

    /// Replaces the running statistics that follow batches by their mean over the ranks, after a
    /// pass over `images` images of this rank.
    fn share_statistics(&mut self, images: usize) {
        let Self { collective, parameters, graph, frozen, program, .. } = self;
        if collective.size() == 1 {
            return;
        }
        let follows = |node: usize| match &graph.nodes[node].operation {
            Operation::BatchNorm(norm) => norm.statistics == NormStatistics::Batch,
            _ => false,
        };
        let infos = parameters.infos.iter().enumerate();
        let following = infos.filter(|(_, info)| {
            info.node >= *frozen && !info.role.is_learned() && follows(info.node)
        });
        let places: Vec<Range<usize>> =
            following.map(|(index, _)| parameters.arena.place(index)).collect();
        if places.is_empty() {
            return;
        }
        let running = &mut parameters.tensors.running;
        let mut values: Vec<f32> = places
            .iter()
            .flat_map(|place| running.of(place))
            .map(|value| value * images as f32)
            .collect();
        values.push(images as f32);
        collective.sum(&mut values);
        let total = values.pop().unwrap_or(1.0).max(1.0);
        let mut means = values.into_iter().map(|sum| sum / total);
        for place in &places {
            running
                .of_mut(place)
                .iter_mut()
                .zip(means.by_ref())
                .for_each(|(value, mean)| *value = mean);
        }
        let learned = program.steps_before(*frozen);
        program.compute[learned..].iter_mut().for_each(|compute| compute.invalidate());
    }

    /// The output of a node that the program never stores, such as that of a batch norm before its
    /// activation: computed by an engine for the network up to there.
    fn inner_features(
        &self,
        input: Input<'_>,
        batch: usize,
        node: usize,
    ) -> Result<Vec<f32>, EngineError> {
        let threads = self.threads();
        let engine = Self::with_precision(
            self.graph.through(node),
            self.image.height,
            threads,
            self.precision,
        );
        let mut engine = engine.map_err(|error| EngineError::Inner(error.to_string()))?;
        engine.load_state(&self.state())?;
        engine.features(input, batch, node)
    }
}

/// Assigns each tensor of the steps its place.
fn lay_out(program: &mut Program, parameters: &[ParameterInfo], arena: &Arena) {
    for (index, info) in parameters.iter().enumerate() {
        match program.of_mut(info.node).parameter(info.role) {
            Some(parameter) => parameter.place = arena.place(index),
            None => {
                unreachable!("the step that computes a node has all its tensors, {} too", info.name)
            }
        }
    }
}

/// The range of the learned tensors of each step: those of its nodes, which are neighbours except
/// for nodes without tensors.
fn step_ranges(program: &Program, arena: &Arena) -> Vec<Range<usize>> {
    let of_step = |step| {
        let places = program
            .nodes(step)
            .map(|node| arena.nodes(node..node + 1))
            .filter(|place| !place.is_empty());
        places
            .reduce(|all, place| all.start.min(place.start)..all.end.max(place.end))
            .unwrap_or_default()
    };
    let ranges: Vec<Range<usize>> = (0..program.steps.len()).map(of_step).collect();
    let total: usize = ranges.iter().map(ExactSizeIterator::len).sum();
    assert_eq!(total, arena.learned(), "no tensor belongs to two steps");
    ranges
}

impl Engine for CpuEngine {
    fn device(&self) -> String {
        let set = isa::in_use().map_or("unknown", isa::InstructionSet::name);
        let threads = self.threads();
        format!(
            "cpu ({threads} thread{}, {set}, {})",
            if threads == 1 { "" } else { "s" },
            self.precision.name()
        )
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn parameters(&self) -> &[ParameterInfo] {
        &self.parameters.infos
    }

    fn planned_bytes(&self, mode: Mode, batch: usize) -> u64 {
        let mode = match mode {
            Mode::Train { frozen } => {
                plan::Mode::Train { frozen: self.program.steps_before(frozen) }
            }
            Mode::Evaluate => plan::Mode::Evaluate { last: self.program.steps.len() - 1 },
        };
        (self.new_plan(mode, batch).memory as u64).saturating_mul(CACHE_LINE_BYTES)
    }

    fn freeze(&mut self, nodes: usize) {
        let frozen = self.graph.frozen(nodes);
        if frozen != self.frozen {
            self.frozen = frozen;
            self.plans.retain(|plan| matches!(plan.mode, plan::Mode::Evaluate { .. }));
        }
    }

    fn frozen(&self) -> usize {
        self.frozen
    }

    fn join(&mut self, collective: Box<dyn Collective>) -> Result<(), EngineError> {
        self.collective = collective;
        Ok(())
    }

    fn gradients(
        &mut self,
        batch: &TrainBatch<'_>,
        loss: LossSettings,
        part: StepPart,
    ) -> Result<StepOutput, EngineError> {
        // Bad requests are refused before ranks wait for each other.
        let prepared = self.prepare(batch, loss);
        let has_failed = self.collective.any(prepared.is_err());
        let (images, plan) = prepared?;
        if has_failed {
            return Err(EngineError::Peer);
        }
        let count = images.len();
        let classes = self.graph.classes();
        let frozen = self.program.steps_before(self.frozen);
        self.parameters.begin_gradients(self.frozen);
        let Self {
            program,
            shapes,
            ranges,
            parameters,
            memory,
            scratch,
            partial,
            threads,
            image,
            collective,
            ..
        } = self;
        let Parameters { tensors, gradients, .. } = parameters;
        let mut sums = RangeSums::new(&mut **collective, part.is_last);
        let steps = program.steps.len();
        let Some(plan) = plan else {
            // Without images, this rank only takes part in the others' statistics and sums.
            for (step, &shape) in program.compute.iter_mut().zip(shapes.iter()).skip(frozen) {
                step.attend(tensors, shape, sums.collective());
            }
            for index in (frozen..steps).rev() {
                program.compute[index].attend_backward(sums.collective());
                if !part.accumulate {
                    gradients.fill(&ranges[index]);
                }
                sums.add(gradients, &ranges[index]);
            }
            sums.finish(gradients);
            self.share_statistics(0);
            return Ok(StepOutput::default());
        };
        let output = threads.install(|| {
            let mut pass =
                Pass { program, plan: &plan, shapes, image: *image, tensors, gradients, memory };
            pass.load(&batch.input, images);
            (0..frozen).for_each(|index| pass.forward(index, None, &mut Alone));
            (frozen..steps).for_each(|index| pass.forward(index, Some(batch), sums.collective()));
            let head = &plan.steps[steps - 1];
            let places = [head.output, head.gradient].map(|buffer| plan.place_of(buffer));
            let [logits, gradient] = disjoint(pass.memory, places).map(|slot| slot.of::<f32>());
            let mut output = StepOutput {
                losses: vec![0.0; count],
                logits: logits.to_vec(),
                ..StepOutput::default()
            };
            let weight = match loss.reduction {
                Reduction::Mean => 1.0 / part.step_images as f32,
                Reduction::Sum => 1.0,
            };
            losses::compute(
                loss.loss,
                &batch.target,
                logits,
                classes,
                weight,
                &mut output.losses,
                gradient,
            );
            for (gradient, weight) in
                gradient.chunks_exact_mut(classes).zip(batch.weights.into_iter().flatten())
            {
                gradient.iter_mut().for_each(|gradient| *gradient *= weight);
            }
            for index in (frozen..steps).rev() {
                let range = &ranges[index];
                let earlier = (part.accumulate && !range.is_empty())
                    .then(|| pass.gradients.of(range).to_vec());
                pass.backward(index, scratch, partial, sums.collective());
                if let Some(earlier) = earlier {
                    optimizer::add(pass.gradients.of_mut(range), &earlier);
                }
                sums.add(pass.gradients, range);
            }
            sums.finish(pass.gradients);
            output
        });
        self.share_statistics(count);
        Ok(output)
    }

    fn any_rank(&mut self, flag: bool) -> bool {
        self.collective.any(flag)
    }

    fn step(
        &mut self,
        batch: &TrainBatch<'_>,
        loss: LossSettings,
        part: StepPart,
        update: Option<&Update<'_>>,
    ) -> Result<Pending, EngineError> {
        let is_refused = self.is_refused;
        let output = step_at_once(self, batch, loss, part, update, is_refused)?;
        self.is_refused |= output.is_refused;
        Ok(Pending::Ready(output))
    }

    fn outcome(&mut self, pending: Pending) -> Result<StepOutput, EngineError> {
        let Pending::Ready(output) = pending else { return Err(EngineError::NotAsked) };
        self.is_refused &= !output.is_refused;
        Ok(output)
    }

    fn gradient_norm(&mut self) -> f64 {
        let Self { parameters, threads, frozen, .. } = self;
        threads.install(|| parameters.gradient_norm(*frozen))
    }

    fn update(&mut self, update: &Update<'_>) -> Result<(), EngineError> {
        EngineError::check_length(
            "the list of learning rates",
            update.learning_rates.len(),
            self.graph.nodes.len(),
        )?;
        let Self { parameters, program, threads, frozen, .. } = self;
        threads.install(|| parameters.update(update, *frozen))?;
        let learned = program.steps_before(*frozen);
        program.compute[learned..].iter_mut().for_each(|compute| compute.invalidate());
        Ok(())
    }

    fn follow_average(&mut self, decay: f32) {
        let Self { parameters, threads, .. } = self;
        threads.install(|| parameters.follow_average(decay));
    }

    fn has_average(&self) -> bool {
        self.parameters.average().is_some()
    }

    fn average(&self) -> Option<State> {
        self.parameters.average().map(|average| self.parameters.named(average))
    }

    fn load_average(&mut self, average: Option<&State>) -> Result<(), EngineError> {
        self.parameters.load_average(average)
    }

    fn first_not_finite(&self) -> Option<(String, f32)> {
        self.parameters.first_not_finite()
    }

    fn features(
        &mut self,
        input: Input<'_>,
        batch: usize,
        node: usize,
    ) -> Result<Vec<f32>, EngineError> {
        let images = input.images(self.image.length(), batch)?;
        let node = node.min(self.graph.output());
        let Some(last) = self.program.step_with_output(node) else {
            return self.inner_features(input, batch, node);
        };
        let plan = self.plan(plan::Mode::Evaluate { last }, batch)?;
        let Self { program, shapes, parameters, memory, threads, image, .. } = self;
        let Parameters { tensors, gradients, .. } = parameters;
        threads.install(|| {
            let mut pass =
                Pass { program, plan: &plan, shapes, image: *image, tensors, gradients, memory };
            pass.load(&input, images);
            (0..=last).for_each(|index| pass.forward(index, None, &mut Alone));
            let [output] = disjoint(memory, [plan.place_of(plan.read(StepSource::Step(last)))]);
            Ok(output.into_vec())
        })
    }

    fn state(&self) -> State {
        self.parameters.named(&self.parameters.tensors)
    }

    fn load_state(&mut self, state: &State) -> Result<(), EngineError> {
        self.parameters.load(state)?;
        self.program.compute.iter_mut().for_each(|compute| compute.invalidate());
        Ok(())
    }

    fn optimizer_state(&self) -> State {
        self.parameters.optimizer_state()
    }

    fn load_optimizer_state(&mut self, state: &State) -> Result<(), EngineError> {
        self.parameters.load_optimizer_state(state)
    }
}
