//! The CPU engine: lowers a graph to steps, plans each pass's memory, and runs it with the kernels
//! of `regraft-kernels`.

mod losses;
mod parameter;
mod pass;
mod place;
mod plan;
#[cfg(test)]
mod plan_tests;
mod program;
mod slot;
mod step;
mod steps;

use crate::engine::{Engine, EngineError, LossSettings, Reduction, State, StepOutput, StepPart, TrainBatch, Update};
use crate::graph::{Graph, GraphError, MapShape};
use crate::parameters::{ParameterInfo, parameters};
use crate::precision::Precision;
use parameter::Parameter;
use pass::Pass;
use plan::Plan;
use program::Program;
use regraft_kernels::convolution::GradientScratch;
use regraft_kernels::memory::CacheLine;
use regraft_kernels::{isa, optimizer};
use slot::disjoint;
use std::sync::Arc;
use step::StepSource;

/// Bytes of a [`CacheLine`].
const CACHE_LINE_BYTES: u64 = size_of::<CacheLine>() as u64;

/// What a pass is for, in nodes of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forward, loss, backward. The first `frozen` nodes run as in evaluation and have no backward
    /// pass.
    Train {
        /// How many nodes from the start are frozen.
        frozen: usize,
    },
    /// Forward to the logits, with running statistics.
    Evaluate,
}

/// A network on the CPU.
pub struct CpuEngine {
    graph: Graph,
    parameters: Vec<ParameterInfo>,
    program: Program,
    /// Shape of each step's output.
    shapes: Vec<MapShape>,
    /// Nodes that are frozen, which are whole layers.
    frozen: usize,
    image: MapShape,
    precision: Precision,
    plans: Vec<Arc<Plan>>,
    /// The buffers of whichever pass runs; it grows to the largest and stays.
    memory: Vec<CacheLine>,
    scratch: GradientScratch,
    partial: Vec<f32>,
    threads: rayon::ThreadPool,
}

/// A CPU engine that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    /// The pictures are too small for the network.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An instruction set was asked for that is not there.
    #[error(transparent)]
    Isa(#[from] isa::IsaError),
    /// The operating system started no threads.
    #[error(
        "cannot start {threads} threads ({source}): the system limits processes or memory (`ulimit -u`, `ulimit -v`, a container's \
         limits); raise the limit or choose a smaller --threads"
    )]
    Threads {
        /// How many were to be started.
        threads: usize,
        /// What the system said.
        source: rayon::ThreadPoolBuildError,
    },
    /// Tensors that do not fit the graph.
    #[error(transparent)]
    State(EngineError),
}

impl CpuEngine {
    /// An engine for square images of `image_size` pixels on so many threads (0: one for each
    /// core), in f32, all tensors zero.
    ///
    /// # Errors
    /// If the images are too small for the graph or the machine lacks what was asked for.
    pub fn new(graph: Graph, image_size: usize, threads: usize) -> Result<Self, CpuError> {
        Self::with_precision(graph, image_size, threads, Precision::F32)
    }

    /// As [`Self::new`], with maps of this precision in training and in evaluation.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_precision(mut graph: Graph, image_size: usize, threads: usize, precision: Precision) -> Result<Self, CpuError> {
        let node_shapes = graph.shapes(image_size)?;
        isa::in_use()?;
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            asked => asked,
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|index| format!("compute-{index}"));
        graph.image_size = image_size;
        let program = Program::new(&graph);
        Ok(Self {
            parameters: parameters(&graph),
            shapes: program.steps.iter().map(|step| node_shapes[step.output]).collect(),
            program,
            image: MapShape { height: image_size, width: image_size, channels: graph.input_channels },
            graph,
            frozen: 0,
            precision,
            plans: Vec::new(),
            memory: Vec::new(),
            scratch: GradientScratch::default(),
            partial: Vec::new(),
            threads: pool.build().map_err(|source| CpuError::Threads { threads, source })?,
        })
    }

    /// Threads that compute.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// Bytes of memory that a pass over a batch takes for its maps.
    #[must_use]
    pub fn planned_bytes(&self, mode: Mode, batch: usize) -> u64 {
        let mode = match mode {
            Mode::Train { frozen } => plan::Mode::Train { frozen: self.program.steps_before(frozen) },
            Mode::Evaluate => plan::Mode::Evaluate { last: self.program.steps.len() - 1 },
        };
        (self.new_plan(mode, batch).memory as u64).saturating_mul(CACHE_LINE_BYTES)
    }

    fn new_plan(&self, mode: plan::Mode, batch: usize) -> Plan {
        Plan::new(&self.program.steps, &self.shapes, self.image, mode, batch, self.precision)
    }

    fn plan(&mut self, mode: plan::Mode, batch: usize) -> Result<Arc<Plan>, EngineError> {
        if let Some(plan) = self.plans.iter().find(|plan| plan.mode == mode && plan.batch == batch) {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(self.new_plan(mode, batch));
        if let Some(more) = plan.memory.checked_sub(self.memory.len()) {
            let bytes = plan.memory as u64 * CACHE_LINE_BYTES;
            let failed = |_| EngineError::Memory { batch, image_size: self.image.height, bytes };
            self.memory.try_reserve_exact(more).map_err(failed)?;
            self.memory.resize(plan.memory, CacheLine::ZERO);
        }
        self.plans.push(Arc::clone(&plan));
        Ok(plan)
    }

    fn check_images(&self, images: &[f32], batch: usize) -> Result<(), EngineError> {
        check_length("the batch of images", images.len(), batch * self.image.length())
    }

    /// The output of a node that the program never has in memory, such as that of a batch norm
    /// before its activation: computed by an engine for the network up to there.
    fn inner_features(&self, images: &[f32], batch: usize, node: usize) -> Result<Vec<f32>, EngineError> {
        let threads = self.threads();
        let engine = Self::with_precision(self.graph.through(node), self.image.height, threads, self.precision);
        let mut engine = engine.map_err(|error| EngineError::Inner(error.to_string()))?;
        engine.load_state(&self.state())?;
        engine.features(images, batch, node)
    }
}

fn check_length(what: &str, found: usize, expected: usize) -> Result<(), EngineError> {
    if found == expected { Ok(()) } else { Err(EngineError::Length { what: what.to_owned(), found, expected }) }
}

impl Engine for CpuEngine {
    fn device(&self) -> String {
        let set = isa::in_use().map_or("unknown", isa::InstructionSet::name);
        let threads = self.threads();
        format!("cpu ({threads} thread{}, {set}, {})", if threads == 1 { "" } else { "s" }, self.precision.name())
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn parameters(&self) -> &[ParameterInfo] {
        &self.parameters
    }

    fn freeze(&mut self, nodes: usize) {
        let ends = self.graph.layers().into_iter().map(|layer| layer.nodes.end);
        let limit = nodes.min(self.graph.backbone());
        let frozen = ends.filter(|&end| end <= limit).max().unwrap_or(0);
        if frozen != self.frozen {
            self.frozen = frozen;
            self.plans.retain(|plan| matches!(plan.mode, plan::Mode::Evaluate { .. }));
        }
    }

    fn frozen(&self) -> usize {
        self.frozen
    }

    fn gradients(&mut self, batch: &TrainBatch<'_>, loss: LossSettings, part: StepPart) -> Result<StepOutput, EngineError> {
        let classes = self.graph.classes();
        let count = batch.target.images(classes);
        self.check_images(batch.images, count)?;
        losses::check(&batch.target, loss.loss, count, classes)?;
        if let Some(weights) = batch.weights {
            check_length("the list of weights", weights.len(), count)?;
        }
        let frozen = self.program.steps_before(self.frozen);
        let plan = self.plan(plan::Mode::Train { frozen }, count)?;
        let Self { program, shapes, memory, scratch, partial, threads, image, .. } = self;
        threads.install(|| {
            let steps = program.steps.len();
            let mut pass = Pass { program, plan: &plan, shapes, image: *image, memory };
            pass.load(batch.images);
            (0..frozen).for_each(|index| pass.forward(index, None));
            (frozen..steps).for_each(|index| pass.forward(index, Some(batch)));
            let head = &plan.steps[steps - 1];
            let places = [head.output, head.gradient].map(|buffer| plan.place_of(buffer));
            let [logits, gradient] = disjoint(pass.memory, places).map(|slot| slot.of::<f32>());
            let mut output = StepOutput { losses: vec![0.0; count], logits: logits.to_vec() };
            let weight = match loss.reduction {
                Reduction::Mean => 1.0 / part.step_images as f32,
                Reduction::Sum => 1.0,
            };
            losses::compute(loss.loss, &batch.target, logits, classes, weight, &mut output.losses, gradient);
            for (gradient, weight) in gradient.chunks_exact_mut(classes).zip(batch.weights.into_iter().flatten()) {
                gradient.iter_mut().for_each(|gradient| *gradient *= weight);
            }
            for index in (frozen..steps).rev() {
                let earlier = part.accumulate.then(|| pass.take_gradients(index));
                pass.backward(index, scratch, partial);
                if let Some(earlier) = earlier {
                    pass.add_gradients(index, &earlier);
                }
            }
            Ok(output)
        })
    }

    fn gradient_norm(&mut self) -> f64 {
        let trained = self.parameters.iter().filter(|info| info.node >= self.frozen);
        let gradients: Vec<&[f32]> = trained
            .filter_map(|info| self.program.of(info.node).parameter(info.role))
            .map(|parameter| parameter.gradient.as_slice())
            .collect();
        self.threads.install(|| gradients.into_iter().map(optimizer::sum_of_squares).sum::<f64>().sqrt())
    }

    fn update(&mut self, update: &Update<'_>) -> Result<(), EngineError> {
        check_length("the list of learning rates", update.learning_rates.len(), self.graph.nodes.len())?;
        let lacks = |info: &&ParameterInfo| {
            let found = self.program.of(info.node).parameter(info.role);
            info.node >= self.frozen && found.is_some_and(|found| found.gradient.len() != found.value.len())
        };
        if let Some(info) = self.parameters.iter().find(lacks) {
            return Err(EngineError::NoGradient(info.name.clone()));
        }
        let Self { program, frozen, threads, parameters, .. } = self;
        threads.install(|| {
            for info in parameters.iter().filter(|info| info.node >= *frozen) {
                let compute = program.of_mut(info.node);
                if let Some(parameter) = compute.parameter_mut(info.role) {
                    parameter.update(update, info.role, update.learning_rates[info.node]);
                }
                compute.invalidate();
            }
        });
        Ok(())
    }

    fn features(&mut self, images: &[f32], batch: usize, node: usize) -> Result<Vec<f32>, EngineError> {
        self.check_images(images, batch)?;
        let node = node.min(self.graph.output());
        let Some(last) = self.program.step_with_output(node) else { return self.inner_features(images, batch, node) };
        let plan = self.plan(plan::Mode::Evaluate { last }, batch)?;
        let Self { program, shapes, memory, threads, image, .. } = self;
        threads.install(|| {
            let mut pass = Pass { program, plan: &plan, shapes, image: *image, memory };
            pass.load(images);
            (0..=last).for_each(|index| pass.forward(index, None));
            let [output] = disjoint(memory, [plan.place_of(plan.read(StepSource::Step(last)))]);
            Ok(output.into_vec())
        })
    }

    fn state(&self) -> State {
        let tensors = self.parameters.iter().filter_map(|info| {
            let compute = self.program.of(info.node);
            let values = compute.parameter(info.role).map(|parameter| &parameter.value).or_else(|| compute.running(info.role))?;
            Some((info.name.clone(), compute.layout(info.role).to_pytorch_order(&info.shape, values)))
        });
        tensors.collect()
    }

    fn load_state(&mut self, state: &State) -> Result<(), EngineError> {
        for parameter in &self.parameters {
            let values = state.get(&parameter.name).ok_or_else(|| EngineError::Missing(parameter.name.clone()))?;
            check_length(&parameter.name, values.len(), parameter.length())?;
        }
        for info in &self.parameters {
            let compute = self.program.of_mut(info.node);
            let Some(values) = state.get(&info.name) else { continue };
            let values = compute.layout(info.role).to_kernel_order(&info.shape, values);
            match compute.parameter_mut(info.role) {
                Some(parameter) => parameter.value = values,
                None => compute.running_mut(info.role).into_iter().for_each(|running| running.clone_from(&values)),
            }
            compute.invalidate();
        }
        Ok(())
    }

    fn optimizer_state(&self) -> State {
        let mut state = State::new();
        for info in &self.parameters {
            let compute = self.program.of(info.node);
            let Some(Parameter { first, second, .. }) = compute.parameter(info.role) else { continue };
            let name = |suffix: &str| format!("{}.{suffix}", info.name);
            let ordered = |values: &[f32]| compute.layout(info.role).to_pytorch_order(&info.shape, values);
            match (first.is_empty(), second.is_empty()) {
                (false, true) => drop(state.insert(name("momentum"), ordered(first))),
                (false, false) => {
                    state.insert(name("first"), ordered(first));
                    state.insert(name("second"), ordered(second));
                }
                (true, _) => {}
            }
        }
        state
    }

    fn load_optimizer_state(&mut self, state: &State) -> Result<(), EngineError> {
        for info in &self.parameters {
            let find = |suffix: &str| state.get(&format!("{}.{suffix}", info.name));
            let first = find("momentum").or_else(|| find("first"));
            let second = find("second");
            for values in [first, second].into_iter().flatten() {
                check_length(&format!("the optimiser's memory of {}", info.name), values.len(), info.length())?;
            }
            let compute = self.program.of_mut(info.node);
            let layout = compute.layout(info.role);
            if let Some(target) = compute.parameter_mut(info.role) {
                let ordered = |values: &Vec<f32>| layout.to_kernel_order(&info.shape, values);
                target.first = first.map(ordered).unwrap_or_default();
                target.second = second.map(ordered).unwrap_or_default();
            }
        }
        Ok(())
    }
}
