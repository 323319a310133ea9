//! The steps that compute a graph.

use crate::step::{BlockPart, Compute, Facts, Step, StepSource};
use crate::steps::{
    ActivationStep, AddStep, AttentionStep, AveragePoolStep, BatchNormStep, ClassTokenStep,
    ConvolutionNorm, ConvolutionStep, DropoutStep, GlobalAveragePoolStep, LayerNormStep,
    LayerScaleStep, LinearStep, MaxPoolStep, MultiplyStep, Tail, TokensStep,
};
use regraft_kernels::activation::Activation as Clamp;
use regraft_nn::graph::{Graph, MapShape, Source};
use regraft_nn::lowering::{Fused, Lowered, lower};
use regraft_nn::ops::Function;
use regraft_nn::precision::Precision;

/// Least number of elements of a depthwise convolution's output for one image for which its block
/// is computed as a whole.
const LEAST_BLOCK_ELEMENTS: usize = 1 << 16;

/// A graph as steps.
pub(crate) struct Program {
    pub steps: Vec<Step>,
    pub compute: Vec<Box<dyn Compute>>,
    /// The step that computes each node, alone or with others.
    step_of: Vec<usize>,
}

impl Program {
    /// Lowers a graph for feature maps of this precision.
    pub fn new(graph: &Graph, precision: Precision) -> Self {
        let mut program = Self {
            steps: Vec::new(),
            compute: Vec::new(),
            step_of: vec![usize::MAX; graph.nodes.len()],
        };
        lower(graph).into_iter().for_each(|lowered| program.add(graph, lowered, precision));
        program
    }

    fn add(&mut self, graph: &Graph, lowered: Lowered, precision: Precision) {
        let Lowered { nodes, inputs, fused } = lowered;
        let output = nodes[nodes.len() - 1];
        // A step of one node reads again what its operation says.
        let alone = |facts: Facts| {
            let needs = graph.nodes[output].operation.rules().backward_needs();
            let inputs_read_again = if needs.inputs { inputs.len() } else { 0 };
            Facts { inputs_read_again, reads_output_again: needs.output, ..facts }
        };
        let (facts, compute): (Facts, Box<dyn Compute>) = match fused {
            Fused::Convolution(convolution) => {
                let step = ConvolutionStep::new(convolution);
                (alone(step.facts(precision)), Box::new(step))
            }
            Fused::ConvolutionNorm { convolution, norm, add, clamp } => {
                let activation = match clamp {
                    Some(Function::Relu) => Clamp::Relu,
                    Some(Function::Relu6) => Clamp::Relu6,
                    _ => Clamp::Identity,
                };
                let step = ConvolutionNorm::new(convolution, norm, Tail { add, activation });
                (step.facts(precision), Box::new(step))
            }
            Fused::BatchNorm(norm) => {
                let step = BatchNormStep::new(norm);
                (alone(step.facts()), Box::new(step))
            }
            Fused::Activation(function) => {
                let step = ActivationStep::new(function);
                (alone(step.facts()), Box::new(step))
            }
            Fused::Add(add) => {
                let step = AddStep::new(add);
                (alone(step.facts()), Box::new(step))
            }
            Fused::Multiply => (alone(MultiplyStep.facts()), Box::new(MultiplyStep)),
            Fused::LayerNorm { norm, is_vector } => {
                (alone(LayerNormStep::facts(is_vector)), Box::new(LayerNormStep::new(norm)))
            }
            Fused::LayerScale(_) => {
                let step = LayerScaleStep::new();
                (alone(step.facts()), Box::new(step))
            }
            Fused::MaxPool(pool) => {
                let step = MaxPoolStep::new(pool);
                (alone(step.facts()), Box::new(step))
            }
            Fused::AveragePool(pool) => {
                let step = AveragePoolStep::new(pool);
                (alone(step.facts()), Box::new(step))
            }
            Fused::GlobalAveragePool => {
                (alone(GlobalAveragePoolStep.facts()), Box::new(GlobalAveragePoolStep))
            }
            Fused::Dropout(dropout) => {
                let step = DropoutStep::new(dropout);
                (alone(step.facts()), Box::new(step))
            }
            Fused::Linear { linear, dropout } => {
                let step = LinearStep::new(linear, dropout);
                (step.facts(), Box::new(step))
            }
            Fused::Tokens(tokens) => {
                let step = TokensStep::new(tokens);
                (alone(step.facts()), Box::new(step))
            }
            Fused::Attention(attention) => {
                let step = AttentionStep::new(attention);
                (alone(step.facts()), Box::new(step))
            }
            Fused::ClassToken => (alone(ClassTokenStep.facts()), Box::new(ClassTokenStep)),
        };
        let source = |input: &Source| match input {
            Source::Image => StepSource::Image,
            Source::Node(node) => StepSource::Step(self.step_of[*node]),
        };
        let inputs = inputs.iter().map(source).collect();
        nodes.iter().for_each(|&node| self.step_of[node] = self.steps.len());
        self.steps.push(Step { output, inputs, facts });
        self.compute.push(compute);
    }

    /// Joins each depthwise convolution in evaluation with the convolutions of 1x1 around it, given
    /// the shapes of the steps' outputs.
    pub fn join_blocks(&mut self, shapes: &[MapShape]) {
        let mut readers = vec![0; self.steps.len()];
        for input in self.steps.iter().flat_map(|step| &step.inputs) {
            if let StepSource::Step(step) = input {
                readers[*step] += 1;
            }
        }
        let mut end = 0;
        for index in 1..self.steps.len() {
            let is = |step: usize, part: BlockPart| self.compute[step].block_part() == Some(part);
            let reads_previous =
                |step: usize| self.steps[step].inputs.first() == Some(&StepSource::Step(step - 1));
            let is_large = shapes[index].length() >= LEAST_BLOCK_ELEMENTS;
            let adds = self.steps[index].inputs.len() > 1;
            if !is(index, BlockPart::Depthwise) || !reads_previous(index) || adds || !is_large {
                continue;
            }
            let before = index - 1;
            let expands = before >= end
                && is(before, BlockPart::Pointwise)
                && self.steps[before].inputs.len() == 1
                && readers[before] == 1;
            let after = index + 1;
            let projects = readers[index] == 1
                && after < self.steps.len()
                && is(after, BlockPart::Pointwise)
                && reads_previous(after);
            let (first, last) = (index - usize::from(expands), index + usize::from(projects));
            for step in &mut self.steps[first..last] {
                step.facts.computed_by = Some(last);
            }
            end = last + 1;
        }
    }

    /// The step that computes a node.
    pub fn of(&self, node: usize) -> &dyn Compute {
        &*self.compute[self.step_of[node]]
    }

    /// Like [`Self::of`].
    pub fn of_mut(&mut self, node: usize) -> &mut dyn Compute {
        &mut *self.compute[self.step_of[node]]
    }

    /// The nodes that a step computes.
    pub fn nodes(&self, step: usize) -> impl Iterator<Item = usize> {
        self.step_of.iter().enumerate().filter(move |&(_, &of)| of == step).map(|(node, _)| node)
    }

    /// The step whose output is a node's; `None` if the node's output is never in memory.
    pub fn step_with_output(&self, node: usize) -> Option<usize> {
        let step = self.step_of[node];
        (self.steps[step].output == node).then_some(step)
    }

    /// The number of steps that compute the first `nodes` nodes, which must be whole layers.
    pub fn steps_before(&self, nodes: usize) -> usize {
        self.steps.iter().take_while(|step| step.output < nodes).count()
    }
}
