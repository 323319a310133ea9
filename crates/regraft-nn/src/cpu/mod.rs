//! The CPU engine: runs plans with the kernels of `regraft-kernels`.

mod backward;
mod forward;
mod layer;
mod slot;

use crate::engine::{Engine, EngineError, LossSettings, Reduction, State, StepOutput, StepPart, TrainBatch, Update};
use crate::graph::{ConvNormActivation, Graph, GraphError, MapShape, Padding, Source};
use crate::parameters::{ParameterInfo, parameters};
use crate::plan::{Mode, Place, Plan};
use crate::precision::Precision;
use layer::{Layer, Parameter};
use regraft_kernels::convolution::{ConvolutionShape, GradientScratch};
use regraft_kernels::element::copy;
use regraft_kernels::memory::CacheLine;
use regraft_kernels::{isa, loss, optimizer};
use slot::{disjoint, with_element};
use std::sync::Arc;

/// Bytes of a [`CacheLine`].
const CACHE_LINE_BYTES: u64 = size_of::<CacheLine>() as u64;

/// A network on the CPU.
pub struct CpuEngine {
    graph: Graph,
    parameters: Vec<ParameterInfo>,
    layers: Vec<Layer>,
    frozen: usize,
    image_size: usize,
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
    /// An engine for square pictures of `image_size` on so many threads (0: one for each core), in f32, all tensors zero.
    ///
    /// # Errors
    /// When the pictures are too small for the graph or the machine lacks what was asked for.
    pub fn new(graph: Graph, image_size: usize, threads: usize) -> Result<Self, CpuError> {
        Self::with_precision(graph, image_size, threads, Precision::F32)
    }

    /// As [`Self::new`], with maps of this precision in training and in evaluation.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_precision(graph: Graph, image_size: usize, threads: usize, precision: Precision) -> Result<Self, CpuError> {
        graph.shapes(image_size)?;
        isa::in_use()?;
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            asked => asked,
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|index| format!("compute-{index}"));
        Ok(Self {
            parameters: parameters(&graph),
            layers: Layer::for_graph(&graph),
            graph,
            frozen: 0,
            image_size,
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
    ///
    /// # Errors
    /// If the images are too small for the graph.
    pub fn planned_bytes(&self, mode: Mode, batch: usize) -> Result<u64, GraphError> {
        let plan = Plan::new(&self.graph, mode, batch, self.image_size, self.precision)?;
        Ok((plan.memory as u64).saturating_mul(CACHE_LINE_BYTES))
    }

    fn plan(&mut self, mode: Mode, batch: usize) -> Result<Arc<Plan>, EngineError> {
        if let Some(plan) = self.plans.iter().find(|plan| plan.mode == mode && plan.batch == batch) {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(Plan::new(&self.graph, mode, batch, self.image_size, self.precision)?);
        if let Some(more) = plan.memory.checked_sub(self.memory.len()) {
            let bytes = plan.memory as u64 * CACHE_LINE_BYTES;
            let failed = |_| EngineError::Memory { batch, image_size: self.image_size, bytes };
            self.memory.try_reserve_exact(more).map_err(failed)?;
            self.memory.resize(plan.memory, CacheLine::ZERO);
        }
        self.plans.push(Arc::clone(&plan));
        Ok(plan)
    }

    fn check_images(&self, images: &[f32], batch: usize) -> Result<(), EngineError> {
        check_length("the batch of pictures", images.len(), batch * self.image_size * self.image_size * self.graph.input_channels)
    }
}

fn check_length(what: &str, found: usize, expected: usize) -> Result<(), EngineError> {
    if found == expected { Ok(()) } else { Err(EngineError::Length { what: what.to_owned(), found, expected }) }
}

/// The sizes of a convolution or pooling in a plan.
fn window_shape(
    batch: usize,
    input: MapShape,
    output: MapShape,
    kernel: usize,
    stride: usize,
    padding: Padding,
) -> ConvolutionShape {
    let before = |length| padding.resolve(length, kernel, stride).map_or(0, |(_, before)| before);
    ConvolutionShape {
        batch,
        in_height: input.height,
        in_width: input.width,
        in_channels: input.channels,
        out_height: output.height,
        out_width: output.width,
        out_channels: output.channels,
        kernel_height: kernel,
        kernel_width: kernel,
        stride,
        padding_top: before(input.height),
        padding_left: before(input.width),
        groups: 1,
    }
}

fn convolution_shape(batch: usize, input: MapShape, output: MapShape, convolution: &ConvNormActivation) -> ConvolutionShape {
    let shape = window_shape(batch, input, output, convolution.kernel, convolution.stride, convolution.padding);
    ConvolutionShape { groups: convolution.groups, ..shape }
}

/// Puts the pictures into their buffer, rounded to what it holds.
fn load(plan: &Plan, memory: &mut [CacheLine], images: &[f32]) {
    let place = plan.place_of(Some(plan.images));
    let stored = place.precision;
    let [target] = disjoint(memory, [place]);
    with_element!(stored, E => copy(images, target.of::<E>()));
}

/// The place of the buffer that `source` is read from.
fn output_place(plan: &Plan, source: Source) -> Place {
    plan.place_of(plan.read(source))
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
        if nodes != self.frozen {
            self.frozen = nodes.min(self.graph.head());
            self.plans.retain(|plan| matches!(plan.mode, Mode::Evaluate { .. }));
        }
    }

    fn frozen(&self) -> usize {
        self.frozen
    }

    fn gradients(&mut self, batch: &TrainBatch<'_>, loss: LossSettings, part: StepPart) -> Result<StepOutput, EngineError> {
        let count = batch.labels.len();
        let classes = self.graph.classes();
        self.check_images(batch.images, count)?;
        if let Some(&label) = batch.labels.iter().find(|&&label| label as usize >= classes) {
            return Err(EngineError::Label { label, classes });
        }
        if let Some(targets) = batch.targets {
            check_length("the list of targets", targets.len(), count * classes)?;
        }
        if let Some(weights) = batch.weights {
            check_length("the list of weights", weights.len(), count)?;
        }
        let plan = self.plan(Mode::Train { frozen: self.frozen }, count)?;
        let Self { graph, layers, memory, scratch, partial, frozen, threads, .. } = self;
        threads.install(|| {
            load(&plan, memory, batch.images);
            let mut pass = forward::Pass { graph, plan: &plan, layers, memory };
            for index in 0..*frozen {
                pass.infer(index);
            }
            for index in *frozen..graph.nodes.len() {
                pass.train(index, batch);
            }
            let head = &plan.nodes[graph.head()];
            let places = [head.output, head.gradient].map(|buffer| plan.place_of(buffer));
            let [logits, gradient] = disjoint(pass.memory, places).map(|slot| slot.of::<f32>());
            let mut output = StepOutput { losses: vec![0.0; count], logits: logits.to_vec() };
            let weight = match loss.reduction {
                Reduction::Mean => 1.0 / part.step_images as f32,
                Reduction::Sum => 1.0,
            };
            let smoothing = loss.label_smoothing;
            match batch.targets {
                None => loss::cross_entropy(logits, batch.labels, classes, smoothing, weight, &mut output.losses, gradient),
                Some(targets) => {
                    loss::soft_cross_entropy(logits, targets, classes, smoothing, weight, &mut output.losses, gradient);
                }
            }
            for (gradient, weight) in gradient.chunks_exact_mut(classes).zip(batch.weights.into_iter().flatten()) {
                gradient.iter_mut().for_each(|gradient| *gradient *= weight);
            }
            for index in (*frozen..graph.nodes.len()).rev() {
                let earlier = part.accumulate.then(|| pass.layers[index].take_gradients());
                backward::node(&mut pass, index, scratch, partial);
                // What the evaluation derives from running statistics is out of date, should no update follow.
                pass.layers[index].invalidate();
                if let Some(earlier) = earlier {
                    pass.layers[index].add_gradients(&earlier);
                }
            }
            Ok(output)
        })
    }

    fn gradient_norm(&mut self) -> f64 {
        let Self { layers, frozen, threads, .. } = self;
        let gradients = layers.iter().skip(*frozen).flat_map(Layer::parameters).map(|parameter| &parameter.gradient);
        threads.install(|| gradients.map(|gradient| optimizer::sum_of_squares(gradient)).sum::<f64>().sqrt())
    }

    fn update(&mut self, update: &Update<'_>) -> Result<(), EngineError> {
        check_length("the list of learning rates", update.learning_rates.len(), self.graph.nodes.len())?;
        let Self { layers, frozen, threads, parameters, .. } = self;
        let lacks = |parameter: &&ParameterInfo| {
            let found = layers[parameter.node].parameter(parameter.role);
            parameter.node >= *frozen && found.is_some_and(|found| found.gradient.len() != found.value.len())
        };
        if let Some(parameter) = parameters.iter().find(lacks) {
            return Err(EngineError::NoGradient(parameter.name.clone()));
        }
        threads.install(|| {
            for (layer, &rate) in layers.iter_mut().zip(update.learning_rates).skip(*frozen) {
                layer.update(update, rate);
            }
        });
        Ok(())
    }

    fn features(&mut self, images: &[f32], batch: usize, node: usize) -> Result<Vec<f32>, EngineError> {
        self.check_images(images, batch)?;
        let last = node.min(self.graph.head());
        let plan = self.plan(Mode::Evaluate { last }, batch)?;
        let Self { graph, layers, memory, threads, .. } = self;
        threads.install(|| {
            load(&plan, memory, images);
            let mut pass = forward::Pass { graph, plan: &plan, layers, memory };
            for index in 0..=last {
                pass.infer(index);
            }
            let [output] = disjoint(memory, [output_place(&plan, Source::Node(last))]);
            Ok(output.into_vec())
        })
    }

    fn state(&self) -> State {
        let tensors = self.parameters.iter().filter_map(|parameter| {
            let tensor = self.layers[parameter.node].tensor(parameter.role)?;
            Some((parameter.name.clone(), parameter.to_pytorch_order(tensor)))
        });
        tensors.collect()
    }

    fn load_state(&mut self, state: &State) -> Result<(), EngineError> {
        for parameter in &self.parameters {
            let values = state.get(&parameter.name).ok_or_else(|| EngineError::Missing(parameter.name.clone()))?;
            check_length(&parameter.name, values.len(), parameter.length())?;
        }
        for parameter in &self.parameters {
            let layer = &mut self.layers[parameter.node];
            if let (Some(tensor), Some(values)) = (layer.tensor_mut(parameter.role), state.get(&parameter.name)) {
                *tensor = parameter.to_kernel_order(values);
            }
            layer.invalidate();
        }
        Ok(())
    }

    fn optimizer_state(&self) -> State {
        let mut state = State::new();
        for parameter in &self.parameters {
            let Some(Parameter { first, second, .. }) = self.layers[parameter.node].parameter(parameter.role) else { continue };
            let name = |suffix: &str| format!("{}.{suffix}", parameter.name);
            match (first.is_empty(), second.is_empty()) {
                (false, true) => drop(state.insert(name("momentum"), parameter.to_pytorch_order(first))),
                (false, false) => {
                    state.insert(name("first"), parameter.to_pytorch_order(first));
                    state.insert(name("second"), parameter.to_pytorch_order(second));
                }
                (true, _) => {}
            }
        }
        state
    }

    fn load_optimizer_state(&mut self, state: &State) -> Result<(), EngineError> {
        for parameter in &self.parameters {
            let find = |suffix: &str| state.get(&format!("{}.{suffix}", parameter.name));
            let first = find("momentum").or_else(|| find("first"));
            let second = find("second");
            for values in [first, second].into_iter().flatten() {
                check_length(&format!("the optimiser's memory of {}", parameter.name), values.len(), parameter.length())?;
            }
            if let Some(target) = self.layers[parameter.node].parameter_mut(parameter.role) {
                target.first = first.map(|values| parameter.to_kernel_order(values)).unwrap_or_default();
                target.second = second.map(|values| parameter.to_kernel_order(values)).unwrap_or_default();
            }
        }
        Ok(())
    }
}
