//! The steps that compute a graph.

use crate::error::GpuError;
use crate::step::{Compute, Sizes};
use crate::steps::{
    ActivationStep, AddStep, AveragePoolStep, BatchNormStep, ConvolutionNorm, ConvolutionStep,
    DropoutStep, GlobalAveragePoolStep, LayerNormStep, LayerScaleStep, LinearStep, MaxPoolStep,
    MultiplyStep,
};
use regraft_nn::arena::Arena;
use regraft_nn::graph::{Graph, MapShape, Source};
use regraft_nn::lowering::{Fused, Lowered, lower};
use regraft_nn::ops::Function;
use regraft_nn::parameters::ParameterInfo;
use regraft_nn::plan::{Step, StepSource};

/// A graph as steps, for images of one size.
pub(crate) struct Program {
    pub steps: Vec<Step>,
    pub compute: Vec<Box<dyn Compute>>,
    /// The shape of each step's output.
    pub shapes: Vec<MapShape>,
    pub image: MapShape,
    /// The clamp of each step whose values before batch norm tell its output.
    pub clamps: Vec<Option<Option<Function>>>,
    /// For each step that drops branches, which of them it is.
    pub branches: Vec<Option<usize>>,
    /// The stream and rate of each branch.
    pub streams: Vec<(u32, f32)>,
    /// The step that computes each node, alone or with others.
    step_of: Vec<usize>,
}

impl Program {
    /// Lowers a graph, and gives its tensors their places. `has_units` tells whether matrix units
    /// multiply.
    ///
    /// # Errors
    /// If the images are too small for the graph, or it has an operation that is not implemented.
    pub fn new(
        graph: &Graph,
        parameters: &[ParameterInfo],
        arena: &Arena,
        has_units: bool,
    ) -> Result<Self, GpuError> {
        let size = graph.image_size;
        let shapes = graph.shapes(size)?;
        let mut program = Self {
            steps: Vec::new(),
            compute: Vec::new(),
            shapes: Vec::new(),
            image: MapShape { height: size, width: size, channels: graph.input_channels },
            clamps: Vec::new(),
            branches: Vec::new(),
            streams: Vec::new(),
            step_of: vec![usize::MAX; graph.nodes.len()],
        };
        for lowered in lower(graph) {
            let operation = graph.nodes[lowered.output()].operation.rules().kind();
            program.add(lowered, &shapes, has_units).ok_or_else(|| GpuError::Operation {
                architecture: graph.architecture.clone(),
                operation,
            })?;
        }
        for (index, info) in parameters.iter().enumerate() {
            let step = program.step_of[info.node];
            match program.compute[step].parameter(info.role) {
                Some(parameter) => parameter.place = arena.place(index),
                None => {
                    unreachable!("the step of a node has all its tensors, {} too", info.name)
                }
            }
        }
        Ok(program)
    }

    /// Adds a step; `None` if its operation is not implemented.
    fn add(&mut self, lowered: Lowered, shapes: &[MapShape], has_units: bool) -> Option<()> {
        let output = lowered.output();
        let Lowered { nodes, inputs, fused } = lowered;
        let compute = compute(fused, has_units)?;
        let source = |input: &Source| match input {
            Source::Image => StepSource::Image,
            Source::Node(node) => StepSource::Step(self.step_of[*node]),
        };
        let inputs = inputs.iter().map(source).collect();
        nodes.iter().for_each(|&node| self.step_of[node] = self.steps.len());
        let facts = compute.facts();
        self.steps.push(Step { output, inputs, facts });
        self.shapes.push(shapes[output]);
        self.clamps.push(facts.is_normalized_convolved.then(|| compute.clamp()));
        let branch = compute.branch();
        self.branches.push(branch.map(|_| self.streams.len()));
        self.streams.extend(branch);
        self.compute.push(compute);
        Some(())
    }

    /// The sizes of a step's inputs and output, for a batch.
    pub fn sizes(&self, step: usize, batch: usize) -> Sizes {
        let shape = |source: &StepSource| match source {
            StepSource::Image => self.image,
            StepSource::Step(step) => self.shapes[*step],
        };
        let inputs = self.steps[step].inputs.iter().map(shape).collect();
        Sizes { batch, inputs, output: self.shapes[step] }
    }

    /// The step that computes a node.
    pub fn of(&self, node: usize) -> &dyn Compute {
        &*self.compute[self.step_of[node]]
    }

    /// The step whose output is a node's; `None` if the node's output is never in memory.
    pub fn step_with_output(&self, node: usize) -> Option<usize> {
        let step = self.step_of[node];
        (self.steps[step].output == node).then_some(step)
    }

    /// How many steps compute the first `nodes` nodes, which must be whole layers.
    pub fn steps_before(&self, nodes: usize) -> usize {
        self.steps.iter().take_while(|step| step.output < nodes).count()
    }
}

/// The step of an operation; `None` if it is not implemented.
fn compute(fused: Fused, has_units: bool) -> Option<Box<dyn Compute>> {
    let step: Box<dyn Compute> = match fused {
        Fused::Convolution(convolution) => Box::new(ConvolutionStep::new(convolution, has_units)),
        Fused::ConvolutionNorm { convolution, norm, add, clamp } => {
            Box::new(ConvolutionNorm::new(convolution, norm, add, clamp, has_units))
        }
        Fused::BatchNorm(norm) => Box::new(BatchNormStep::new(norm)),
        Fused::Activation(function) => Box::new(ActivationStep(function)),
        Fused::Add(add) => Box::new(AddStep(add)),
        Fused::Multiply => Box::new(MultiplyStep),
        Fused::LayerNorm { norm, is_vector } => Box::new(LayerNormStep::new(&norm, is_vector)),
        Fused::LayerScale(_) => Box::new(LayerScaleStep::default()),
        Fused::MaxPool(pool) => Box::new(MaxPoolStep(pool)),
        Fused::AveragePool(pool) => Box::new(AveragePoolStep(pool)),
        Fused::GlobalAveragePool => Box::new(GlobalAveragePoolStep),
        Fused::Dropout(dropout) => Box::new(DropoutStep(dropout)),
        Fused::Linear { linear, dropout } => Box::new(LinearStep::new(&linear, dropout)),
        Fused::Tokens(_) | Fused::Attention(_) | Fused::ClassToken => return None,
    };
    Some(step)
}
