//! The network on a GPU.

mod choice;
mod passes;
mod ranks;
#[cfg(test)]
mod tests;
mod times;

use crate::arguments::Arguments;
use crate::device::{Checks, Device, Fault};
use crate::error::GpuError;
use crate::kernels::matrix::Products;
use crate::kernels::random;
use crate::memory::Memory;
use crate::parameters::Parameters;
use crate::pass::{self, Common, Key, Recorded};
use crate::program::Program;
use crate::record::{Buffer, Recorder};
use crate::run::Prepared;
use crate::step::UNIT;
use passes::Queued;
use regraft_nn::arena::Arena;
use regraft_nn::collective::{Alone, Collective};
use regraft_nn::engine::{
    Content, Engine, EngineError, Input, LossSettings, Mode, Normalisation, Pending, State,
    StepOutput, StepPart, TrainBatch, Update, step_at_once,
};
use regraft_nn::graph::Graph;
use regraft_nn::parameters::{ParameterInfo, parameters};
use regraft_nn::plan;
use regraft_nn::precision::Precision;
use std::collections::VecDeque;
use std::sync::Arc;
pub use times::DispatchTime;

/// How a GPU engine is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The number of the GPU.
    pub gpu: usize,
    /// The type of the feature maps' elements.
    pub precision: Precision,
    /// Whether shaders check the places that they read and write.
    pub checks: bool,
}

/// A network on a GPU.
pub struct GpuEngine {
    graph: Graph,
    program: Program,
    parameters: Parameters,
    memory: Memory,
    options: Options,
    /// Nodes that are frozen, which are whole layers.
    frozen: usize,
    passes: Vec<Ready>,
    /// The normalisation of the table of levels on the device.
    normalisation: Option<Normalisation>,
    products: Products,
    /// The other ranks, if there are any.
    collective: Box<dyn Collective>,
    /// Whether the result of a step of several ranks that is not finite was not fetched yet.
    is_refused: bool,
    /// Steps whose results were not fetched yet, the earliest first.
    queue: VecDeque<Queued>,
    /// How many steps were queued.
    requested: u64,
}

/// A pass that was recorded and prepared.
struct Ready {
    key: Key,
    recorded: Recorded,
    prepared: Prepared,
}

impl GpuEngine {
    /// An engine for square images of `image_size` pixels, all tensors zero but running variances,
    /// which are 1.
    ///
    /// # Errors
    /// If the images are too small for the graph, there is no such GPU, its driver refuses, or it
    /// does not support the precision.
    pub fn new(graph: Graph, image_size: usize, options: Options) -> Result<Self, GpuError> {
        Self::open(graph, image_size, options, None)
    }

    /// As [`Self::new`], with products computed in another way than the GPU's.
    fn open(
        mut graph: Graph,
        image_size: usize,
        options: Options,
        products: Option<Products>,
    ) -> Result<Self, GpuError> {
        graph.image_size = image_size;
        graph.shapes(image_size)?;
        let checks = if options.checks { Checks::All } else { Checks::None };
        let device = Device::open(options.gpu, checks)?;
        let computes = match options.precision {
            Precision::F32 => true,
            Precision::F16 => device.gpu.has_f16,
            Precision::Bf16 => false,
        };
        if !computes {
            let adapter = device.gpu.name.clone();
            return Err(GpuError::Precision { adapter, precision: options.precision.name() });
        }
        let infos = parameters(&graph);
        let arena = Arena::new(&infos, graph.nodes.len());
        let products = products.unwrap_or_else(|| choice::products(&device.gpu, options.precision));
        let program = Program::new(&graph, &infos, &arena, products.units.is_some())?;
        let layouts = infos.iter().map(|info| program.of(info.node).layout(info.role)).collect();
        let bytes = 4 * (arena.learned() + arena.running()) as u64;
        let refused = |_| GpuError::Memory { adapter: device.gpu.name.clone(), bytes };
        let mut memory = Memory::new(Arc::clone(&device));
        let nodes = graph.nodes.len();
        let parameters = Parameters::new(infos, arena, layouts, nodes, &mut memory);
        let parameters = parameters.map_err(refused)?;
        let streams: Vec<u32> = program
            .streams
            .iter()
            .flat_map(|&(stream, rate)| random::stream(stream, rate))
            .collect();
        memory.write(Buffer::Streams, &streams).map_err(refused)?;
        memory.reserve(Buffer::Levels, 4 * 3 * 256).map_err(refused)?;
        memory.write(Buffer::Arguments, &Arguments::default().words()).map_err(refused)?;
        Ok(Self {
            graph,
            program,
            parameters,
            memory,
            options,
            frozen: 0,
            passes: Vec::new(),
            normalisation: None,
            products,
            collective: Box::new(Alone),
            is_refused: false,
            queue: VecDeque::new(),
            requested: 0,
        })
    }

    fn common(&self) -> Common {
        let limits = self.memory.device.device.limits();
        let most = limits.max_buffer_size.min(limits.max_storage_buffer_binding_size);
        Common {
            precision: self.options.precision,
            allocation: most / UNIT as u64 * UNIT as u64,
            gradients_start: self.parameters.gradients_start.unwrap_or(0),
            classes: self.graph.classes(),
            products: self.products,
            learned: self.parameters.arena.learned(),
        }
    }

    /// The error that callers see if the device fails.
    fn failed(&self, fault: Fault) -> EngineError {
        EngineError::Device { device: self.memory.device.gpu.name.clone(), why: fault.0 }
    }

    /// Runs recorded dispatches.
    fn run(&self, recorder: &Recorder) -> Result<(), Fault> {
        if recorder.commands.is_empty() {
            return Ok(());
        }
        let prepared = Prepared::new(&self.memory, &recorder.commands)?;
        let device = &self.memory.device;
        let mut encoder = device.device.create_command_encoder(&Default::default());
        prepared.encode(&mut encoder);
        device.queue.submit([encoder.finish()]);
        device.check()
    }

    /// Tensors for a request that has no error.
    ///
    /// # Panics
    /// If the device stopped: a caller must not save tensors that could not be read.
    fn read(&self, found: Result<State, Fault>) -> State {
        found.unwrap_or_else(|fault| panic!("{}", self.failed(fault)))
    }
}

impl Engine for GpuEngine {
    fn device(&self) -> String {
        let gpu = &self.memory.device.gpu;
        format!("{} ({}, {})", gpu.name, gpu.interface, self.options.precision.name())
    }

    fn precision(&self) -> Precision {
        self.options.precision
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
        let plan = pass::plan(&self.program, &self.common(), mode, batch);
        plan.memory as u64 * UNIT as u64
    }

    fn has_own_memory(&self) -> bool {
        !self.memory.device.gpu.is_software()
    }

    fn freeze(&mut self, nodes: usize) {
        let frozen = self.graph.frozen(nodes);
        if frozen != self.frozen {
            self.frozen = frozen;
            self.passes.retain(|pass| pass.key.loss.is_none());
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
        self.compute(batch, loss, part)
    }

    fn gradient_norm(&mut self) -> f64 {
        let mut recorder = Recorder::default();
        let recorded = self.parameters.norm(&mut self.memory, &mut recorder, self.frozen);
        let Ok(slice) = recorded else { return f64::NAN };
        let Some(slice) = slice else { return 0.0 };
        let found = self.run(&recorder).and_then(|()| self.memory.read(&[slice]));
        let Ok(found) = found else { return f64::NAN };
        passes::norm_of(found.into_iter().next().unwrap_or_default())
    }

    fn update(&mut self, update: &Update<'_>) -> Result<(), EngineError> {
        let rates = update.learning_rates.len();
        EngineError::check_length("the list of learning rates", rates, self.graph.nodes.len())?;
        self.parameters.check_gradients(self.frozen)?;
        let mut recorder = Recorder::default();
        let (memory, frozen) = (&mut self.memory, self.frozen);
        let recorded = self.parameters.update(memory, &mut recorder, update, None, frozen);
        recorded.and_then(|_| self.run(&recorder)).map_err(|fault| self.failed(fault))
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
        if self.collective.size() > 1 {
            // The host sums the gradients of all ranks.
            let is_refused = self.is_refused;
            let output = step_at_once(self, batch, loss, part, update, is_refused)?;
            self.is_refused |= output.is_refused;
            return Ok(Pending::Ready(output));
        }
        if let Some(update) = update {
            let rates = update.learning_rates.len();
            let nodes = self.graph.nodes.len();
            EngineError::check_length("the list of learning rates", rates, nodes)?;
        }
        let (images, pass) = self.prepare(batch, loss)?;
        let Some(pass) = pass else {
            return step_at_once(self, batch, loss, part, update, false).map(Pending::Ready);
        };
        self.parameters.gradients_from = Some(self.frozen);
        let queued = self.queue(pass, batch, &images, loss, part, update);
        self.queue.push_back(queued.map_err(|fault| self.failed(fault))?);
        self.requested += 1;
        Ok(Pending::Queued(self.requested))
    }

    fn outcome(&mut self, pending: Pending) -> Result<StepOutput, EngineError> {
        match pending {
            Pending::Ready(output) => {
                self.is_refused &= !output.is_refused;
                Ok(output)
            }
            // Results are fetched in the order of the steps.
            Pending::Queued(number) if number + self.queue.len() as u64 == self.requested + 1 => {
                let queued = self.queue.pop_front().ok_or(EngineError::NotAsked)?;
                self.finish(queued).map_err(|fault| self.failed(fault))
            }
            Pending::Queued(_) | Pending::Ranks(_) => Err(EngineError::NotAsked),
        }
    }

    fn follow_average(&mut self, decay: f32) {
        let mut recorder = Recorder::default();
        let recorded = self.parameters.follow_average(&mut self.memory, &mut recorder, decay);
        // A device that stopped says so at the next request that can fail.
        let _ = recorded.and_then(|()| self.run(&recorder));
    }

    fn has_average(&self) -> bool {
        self.parameters.has_average
    }

    fn average(&self) -> Option<State> {
        let buffers = [Buffer::AverageLearned, Buffer::AverageRunning];
        let named = || self.read(self.parameters.named(&self.memory, buffers));
        self.parameters.has_average.then(named)
    }

    fn load_average(&mut self, average: Option<&State>) -> Result<(), EngineError> {
        let Some(average) = average else {
            self.parameters.has_average = false;
            return Ok(());
        };
        self.parameters.check(average)?;
        let buffers = [Buffer::AverageLearned, Buffer::AverageRunning];
        let loaded = self.parameters.load(&mut self.memory, average, buffers);
        loaded.map_err(|fault| self.failed(fault))?;
        self.parameters.has_average = true;
        Ok(())
    }

    fn first_not_finite(&self) -> Option<(String, f32)> {
        let states = self.average().into_iter().chain([self.state()]);
        states.flatten().find_map(|(name, values)| {
            let value = values.into_iter().find(|value| !value.is_finite())?;
            Some((name, value))
        })
    }

    fn features(
        &mut self,
        input: Input<'_>,
        batch: usize,
        node: usize,
    ) -> Result<Vec<f32>, EngineError> {
        let images = input.images(self.program.image.length(), batch)?;
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let node = node.min(self.graph.output());
        let Some(last) = self.program.step_with_output(node) else {
            return self.inner_features(input, batch, node);
        };
        let key = Key {
            mode: plan::Mode::Evaluate { last },
            batch,
            has_levels: matches!(input.content, Content::Pixels(..)),
            loss: None,
        };
        let pass = self.ready(key)?;
        self.evaluate_to(&input, &images, pass).map_err(|fault| self.failed(fault))
    }

    fn state(&self) -> State {
        let buffers = [Buffer::Learned, Buffer::Running];
        self.read(self.parameters.named(&self.memory, buffers))
    }

    fn load_state(&mut self, state: &State) -> Result<(), EngineError> {
        self.parameters.check(state)?;
        let buffers = [Buffer::Learned, Buffer::Running];
        let loaded = self.parameters.load(&mut self.memory, state, buffers);
        loaded.map_err(|fault| self.failed(fault))
    }

    fn optimizer_state(&self) -> State {
        self.read(self.parameters.optimizer_state(&self.memory))
    }

    fn load_optimizer_state(&mut self, state: &State) -> Result<(), EngineError> {
        let loaded = self.parameters.load_optimizer_state(&mut self.memory, state)?;
        loaded.map_err(|fault| self.failed(fault))
    }
}
