//! The network on a GPU.

use crate::arguments::Arguments;
use crate::device::{Checks, Device, Fault};
use crate::error::GpuError;
use crate::kernels::loss::Kind;
use crate::kernels::random;
use crate::kernels::tile::Tile;
use crate::memory::{Memory, Reading};
use crate::parameters::Parameters;
use crate::pass::{self, Common, Key, Recorded};
use crate::program::Program;
use crate::record::{Buffer, Recorder};
use crate::run::Prepared;
use crate::shader::Storage;
use crate::step::UNIT;
use crate::upload;
use regraft_nn::arena::Arena;
use regraft_nn::collective::{Alone, Collective};
use regraft_nn::engine::{
    Content, Engine, EngineError, Input, Loss, LossSettings, Mode, Normalisation, Reduction, State,
    StepOutput, StepPart, TrainBatch, Update,
};
use regraft_nn::graph::Graph;
use regraft_nn::ops::{NormStatistics, Operation};
use regraft_nn::parameters::{ParameterInfo, parameters};
use regraft_nn::plan;
use regraft_nn::precision::Precision;
use std::ops::Range;
use std::sync::Arc;

/// How a GPU engine is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The number of the GPU.
    pub gpu: usize,
    /// What maps are stored as.
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
    /// What the levels' table on the device is of.
    normalisation: Option<Normalisation>,
    tile: Tile,
    /// The other ranks, if there are any.
    collective: Box<dyn Collective>,
}

/// A pass that was recorded and prepared.
struct Ready {
    key: Key,
    recorded: Recorded,
    prepared: Prepared,
}

/// What a run of a training pass gives once it is done.
struct Queued {
    reading: Reading,
    images: usize,
}

impl GpuEngine {
    /// An engine for square images of `image_size` pixels, all tensors zero but running variances,
    /// which are 1.
    ///
    /// # Errors
    /// If the images are too small for the graph, there is no such GPU, its driver refuses, or it
    /// lacks what the precision takes.
    pub fn new(mut graph: Graph, image_size: usize, options: Options) -> Result<Self, GpuError> {
        graph.image_size = image_size;
        graph.shapes(image_size)?;
        let checks = if options.checks { Checks::All } else { Checks::None };
        let device = Device::open(options.gpu, checks)?;
        if options.precision == Precision::Bf16 {
            let adapter = device.gpu.name.clone();
            return Err(GpuError::Precision { adapter, precision: options.precision.name() });
        }
        let infos = parameters(&graph);
        let arena = Arena::new(&infos, graph.nodes.len());
        let program = Program::new(&graph, &infos, &arena)?;
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
            tile: Tile::ALL[1],
            collective: Box::new(Alone),
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
            tile: self.tile,
        }
    }

    /// What a fault of the device is to those who use the engine.
    fn failed(&self, fault: Fault) -> EngineError {
        EngineError::Device { device: self.memory.device.gpu.name.clone(), why: fault.0 }
    }

    fn refuse(&self, key: &Key, bytes: u64) -> EngineError {
        let image_size = self.program.image.height;
        EngineError::Memory { batch: key.batch, image_size, bytes }
    }

    /// Makes a pass ready, and returns its place in the list.
    fn ready(&mut self, key: Key) -> Result<usize, EngineError> {
        let known = self.passes.iter().position(|pass| pass.key == key);
        if let Some(known) = known {
            if !self.passes[known].prepared.is_current(&self.memory) {
                let commands = &self.passes[known].recorded.commands;
                let prepared = Prepared::new(&self.memory, commands);
                self.passes[known].prepared = prepared.map_err(|fault| self.failed(fault))?;
            }
            return Ok(known);
        }
        let common = self.common();
        let plan = pass::plan(&self.program, &common, key.mode, key.batch);
        if pass::largest(&plan) > common.allocation {
            return Err(self.refuse(&key, pass::largest(&plan)));
        }
        let bytes = plan.memory as u64 * UNIT as u64;
        let allocations = bytes.div_ceil(common.allocation);
        for number in 0..allocations {
            let own = (bytes - number * common.allocation).min(common.allocation);
            let buffer = Buffer::Pass(usize::try_from(number).unwrap_or(usize::MAX));
            self.memory.reserve(buffer, own).map_err(|_| self.refuse(&key, bytes))?;
        }
        let unit = if key.has_levels { 1 } else { 4 };
        let images = (key.batch + 1) * self.program.image.length() * unit;
        let classes = common.classes;
        for (buffer, bytes) in [
            (Buffer::Images, images.next_multiple_of(4)),
            (Buffer::Targets, 4 * key.batch * classes),
            (Buffer::Weights, 4 * key.batch),
            (Buffer::Losses, 4 * key.batch * (1 + classes)),
            (Buffer::Keep, 4 * key.batch * self.program.streams.len()),
        ] {
            let reserved = self.memory.reserve(buffer, bytes as u64);
            reserved.map_err(|fault| self.failed(fault))?;
        }
        let recorded = pass::record(&self.program, &common, &key, &plan);
        let prepared = Prepared::new(&self.memory, &recorded.commands);
        let prepared = prepared.map_err(|fault| self.failed(fault))?;
        self.passes.push(Ready { key, recorded, prepared });
        Ok(self.passes.len() - 1)
    }

    /// The images of a batch and the pass for them, if there are any and the batch fits the
    /// network.
    fn prepare(
        &mut self,
        batch: &TrainBatch<'_>,
        loss: LossSettings,
    ) -> Result<(Range<usize>, Option<usize>), EngineError> {
        let classes = self.graph.classes();
        let count = batch.target.images(classes);
        let images = batch.input.images(self.program.image.length(), count)?;
        upload::check_target(&batch.target, loss.loss, count, classes)?;
        if let Some(weights) = batch.weights {
            EngineError::check_length("the list of weights", weights.len(), count)?;
        }
        let frozen = self.frozen;
        let before = self.parameters.gradients_start;
        let reserved = self.parameters.reserve_gradients(&mut self.memory, frozen);
        reserved.map_err(|fault| self.failed(fault))?;
        if self.parameters.gradients_start != before {
            // Recorded passes write to where gradients were.
            self.passes.retain(|pass| pass.key.loss.is_none());
        }
        if count == 0 {
            return Ok((images, None));
        }
        let key = Key {
            mode: plan::Mode::Train { frozen: self.program.steps_before(frozen) },
            batch: count,
            has_levels: matches!(batch.input.content, Content::Pixels(..)),
            loss: Some(Kind::new(loss.loss, &batch.target, batch.weights.is_some())),
        };
        Ok((images, Some(self.ready(key)?)))
    }

    /// Uploads what a run reads.
    fn upload(
        &mut self,
        input: &Input<'_>,
        images: &Range<usize>,
        arguments: &Arguments,
    ) -> Result<(), Fault> {
        let length = self.program.image.length();
        upload::arguments(&mut self.memory, arguments)?;
        upload::images(&mut self.memory, input, images, length, &mut self.normalisation)
    }

    /// Has the device compute gradients, and then what `update` says, in one submission.
    fn queue(
        &mut self,
        pass: usize,
        batch: &TrainBatch<'_>,
        images: &Range<usize>,
        loss: LossSettings,
        part: StepPart,
        update: Option<&Update<'_>>,
    ) -> Result<Queued, Fault> {
        let smoothing = match loss.loss {
            Loss::SoftmaxCrossEntropy { label_smoothing } => label_smoothing,
            Loss::SigmoidCrossEntropy | Loss::SquaredError => 0.0,
        };
        let arguments = Arguments {
            accumulate: part.accumulate,
            loss_weight: match loss.reduction {
                Reduction::Mean => 1.0 / part.step_images as f32,
                Reduction::Sum => 1.0,
            },
            smoothing,
            ..Arguments::of_batch(batch)
        };
        self.upload(&batch.input, images, &arguments)?;
        upload::targets(&mut self.memory, &batch.target, batch.weights)?;
        let then = match update {
            None => None,
            Some(update) => {
                let mut recorder = Recorder::default();
                let frozen = self.frozen;
                self.parameters.update(&mut self.memory, &mut recorder, update, frozen)?;
                Some(Prepared::new(&self.memory, &recorder.commands)?)
            }
        };
        if !self.passes[pass].prepared.is_current(&self.memory) {
            let commands = &self.passes[pass].recorded.commands;
            self.passes[pass].prepared = Prepared::new(&self.memory, commands)?;
        }
        let prepared = &self.passes[pass].prepared;
        let count = images.len();
        let classes = self.graph.classes();
        let mut reading = Reading::new(&self.memory, &[pass::losses(count, classes)])?;
        let device = &self.memory.device;
        let mut encoder = device.device.create_command_encoder(&Default::default());
        prepared.encode(&mut encoder);
        reading.copy(&self.memory, &mut encoder);
        if let Some(then) = &then {
            then.encode(&mut encoder);
        }
        device.queue.submit([encoder.finish()]);
        device.check()?;
        Ok(Queued { reading, images: count })
    }

    /// Waits for what was queued.
    fn finish(&self, queued: Queued) -> Result<StepOutput, Fault> {
        let Queued { reading, images } = queued;
        let found = reading.finish(&self.memory.device)?.into_iter().next().unwrap_or_default();
        let mut losses: Vec<f32> = bytemuck::cast_vec(found);
        let logits = losses.split_off(images.min(losses.len()));
        Ok(StepOutput { losses, logits })
    }

    /// Sums what ranks have in common: the gradients, and running statistics that follow batches,
    /// weighted by the images of each rank.
    fn share(&mut self, images: usize, is_last: bool) -> Result<(), Fault> {
        if self.collective.size() == 1 {
            return Ok(());
        }
        if is_last {
            let slice = self.parameters.gradients(self.frozen);
            let found = self.memory.read(&[slice])?.pop().unwrap_or_default();
            let mut values: Vec<f32> = bytemuck::cast_vec(found);
            self.collective.sum(&mut values);
            let buffer = self.memory.of(Buffer::Gradients);
            let bytes = bytemuck::cast_slice(&values);
            self.memory.device.queue.write_buffer(buffer, slice.start, bytes);
        }
        self.share_statistics(images)
    }

    fn share_statistics(&mut self, images: usize) -> Result<(), Fault> {
        let Self { collective, parameters, graph, frozen, memory, .. } = self;
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
            return Ok(());
        }
        let mut running = memory.read_all(Buffer::Running)?;
        let mut values: Vec<f32> = places
            .iter()
            .flat_map(|place| &running[place.clone()])
            .map(|value| value * images as f32)
            .collect();
        values.push(images as f32);
        collective.sum(&mut values);
        let total = values.pop().unwrap_or(1.0).max(1.0);
        let mut means = values.into_iter().map(|sum| sum / total);
        for place in places {
            running[place].iter_mut().zip(means.by_ref()).for_each(|(value, mean)| *value = mean);
        }
        memory.write_f32(Buffer::Running, &running)
    }

    /// A step's gradients, and the update after them if there is one.
    fn step(
        &mut self,
        batch: &TrainBatch<'_>,
        loss: LossSettings,
        part: StepPart,
        update: Option<&Update<'_>>,
    ) -> Result<StepOutput, EngineError> {
        // What is refused is refused before ranks wait for each other.
        let prepared = self.prepare(batch, loss);
        let has_failed = self.collective.any(prepared.is_err());
        let (images, pass) = prepared?;
        if has_failed {
            return Err(EngineError::Peer);
        }
        self.parameters.gradients_from = Some(self.frozen);
        let Some(pass) = pass else {
            if !part.accumulate {
                let slice = self.parameters.gradients(self.frozen);
                let device = &self.memory.device;
                let mut encoder = device.device.create_command_encoder(&Default::default());
                let gradients = self.memory.of(Buffer::Gradients);
                encoder.clear_buffer(gradients, slice.start, Some(slice.bytes));
                device.queue.submit([encoder.finish()]);
            }
            self.share(0, part.is_last).map_err(|fault| self.failed(fault))?;
            return Ok(StepOutput::default());
        };
        let queued = self.queue(pass, batch, &images, loss, part, update);
        let queued = queued.map_err(|fault| self.failed(fault))?;
        self.share(images.len(), part.is_last).map_err(|fault| self.failed(fault))?;
        self.finish(queued).map_err(|fault| self.failed(fault))
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

    /// The output of a node that the program never has in memory: computed by an engine for the
    /// network up to there.
    fn inner_features(
        &self,
        input: Input<'_>,
        batch: usize,
        node: usize,
    ) -> Result<Vec<f32>, EngineError> {
        let size = self.program.image.height;
        let engine = Self::new(self.graph.through(node), size, self.options);
        let mut engine = engine.map_err(|error| EngineError::Inner(error.to_string()))?;
        engine.load_state(&self.state())?;
        engine.features(input, batch, node)
    }

    fn evaluate_to(
        &mut self,
        input: &Input<'_>,
        images: &Range<usize>,
        pass: usize,
    ) -> Result<Vec<f32>, Fault> {
        let arguments = Arguments { mix: input.mix, ..Arguments::default() };
        self.upload(input, images, &arguments)?;
        let Ready { recorded, prepared, .. } = &self.passes[pass];
        let output = recorded.output;
        let mut reading = Reading::new(&self.memory, &[output.slice])?;
        let device = &self.memory.device;
        let mut encoder = device.device.create_command_encoder(&Default::default());
        prepared.encode(&mut encoder);
        reading.copy(&self.memory, &mut encoder);
        device.queue.submit([encoder.finish()]);
        let words = reading.finish(device)?.pop().unwrap_or_default();
        let mut values = match output.storage {
            Storage::F16 => halves(&words),
            Storage::F32 | Storage::U32 => bytemuck::cast_vec(words),
        };
        values.truncate(recorded.elements);
        Ok(values)
    }

    /// The value of a request that cannot fail for those who ask: a device that stopped says so at
    /// the next request that can.
    fn or<T>(found: Result<T, Fault>, otherwise: T) -> T {
        found.unwrap_or(otherwise)
    }
}

/// The numbers of 16 bits in words.
fn halves(words: &[u32]) -> Vec<f32> {
    words.iter().flat_map(|word| [half(*word as u16), half((word >> 16) as u16)]).collect()
}

/// The value of a number of 16 bits: 1 of sign, 5 of exponent, 10 of fraction.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2.0_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2.0_f32.powi(exponent - 25),
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

    fn freeze(&mut self, nodes: usize) {
        let ends = self.graph.layers().into_iter().map(|layer| layer.nodes.end);
        let limit = nodes.min(self.graph.backbone());
        let frozen = ends.filter(|&end| end <= limit).max().unwrap_or(0);
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
        self.step(batch, loss, part, None)
    }

    fn gradient_norm(&mut self) -> f64 {
        let mut recorder = Recorder::default();
        let recorded = self.parameters.norm(&mut self.memory, &mut recorder, self.frozen);
        let Ok(slice) = recorded else { return f64::NAN };
        let Some(slice) = slice else { return 0.0 };
        let found = self.run(&recorder).and_then(|()| self.memory.read(&[slice]));
        let Ok(found) = found else { return f64::NAN };
        let blocks: Vec<f32> = bytemuck::cast_vec(found.into_iter().next().unwrap_or_default());
        let squares = |block: &[f32]| f64::from(block[0]).powi(2) * f64::from(block[1]);
        blocks.chunks_exact(2).map(squares).sum::<f64>().sqrt()
    }

    fn update(&mut self, update: &Update<'_>) -> Result<(), EngineError> {
        let rates = update.learning_rates.len();
        EngineError::check_length("the list of learning rates", rates, self.graph.nodes.len())?;
        self.parameters.check_gradients(self.frozen)?;
        let mut recorder = Recorder::default();
        let frozen = self.frozen;
        let recorded = self.parameters.update(&mut self.memory, &mut recorder, update, frozen);
        recorded.and_then(|()| self.run(&recorder)).map_err(|fault| self.failed(fault))
    }

    fn train_step(
        &mut self,
        batch: &TrainBatch<'_>,
        loss: LossSettings,
        update: &Update<'_>,
    ) -> Result<StepOutput, EngineError> {
        let rates = update.learning_rates.len();
        EngineError::check_length("the list of learning rates", rates, self.graph.nodes.len())?;
        let part = StepPart::whole(batch.target.images(self.graph.classes()));
        if self.collective.size() == 1 {
            return self.step(batch, loss, part, Some(update));
        }
        let output = self.step(batch, loss, part, None)?;
        self.update(update)?;
        Ok(output)
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
        let named = || Self::or(self.parameters.named(&self.memory, buffers), State::new());
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
        Self::or(self.parameters.named(&self.memory, buffers), State::new())
    }

    fn load_state(&mut self, state: &State) -> Result<(), EngineError> {
        self.parameters.check(state)?;
        let buffers = [Buffer::Learned, Buffer::Running];
        let loaded = self.parameters.load(&mut self.memory, state, buffers);
        loaded.map_err(|fault| self.failed(fault))
    }

    fn optimizer_state(&self) -> State {
        Self::or(self.parameters.optimizer_state(&self.memory), State::new())
    }

    fn load_optimizer_state(&mut self, state: &State) -> Result<(), EngineError> {
        let loaded = self.parameters.load_optimizer_state(&mut self.memory, state)?;
        loaded.map_err(|fault| self.failed(fault))
    }
}
