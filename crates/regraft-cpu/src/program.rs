//! Lowers a graph to the steps that compute it.
//!
//! If a batch norm is the only reader of a convolution, the two become one step. An addition and a
//! clamp after them join it, if each is the only reader of the node before it. Dropout and the
//! linear layer that is its only reader become one step. All other operations run alone.

use crate::step::{Compute, Facts, Step, StepSource};
use crate::steps::{
    ActivationStep, AddStep, AveragePoolStep, BatchNormStep, ConvolutionNorm, ConvolutionStep,
    DropoutStep, GlobalAveragePoolStep, LayerNormStep, LayerScaleStep, LinearStep, MaxPoolStep,
    MultiplyStep, Tail,
};
use regraft_kernels::activation::Activation as Clamp;
use regraft_nn::graph::{Graph, Source};
use regraft_nn::ops::{Activation, Add, Convolution, Function, Linear, Operation, Padding};

/// A graph as steps.
pub(crate) struct Program {
    pub steps: Vec<Step>,
    pub compute: Vec<Box<dyn Compute>>,
    /// The step that computes each node, alone or with others.
    step_of: Vec<usize>,
}

impl Program {
    /// Lowers a graph.
    pub fn new(graph: &Graph) -> Self {
        let lowering = Lowering {
            graph,
            readers: readers(graph),
            layer_of: layer_of(graph),
            vectors: vectors(graph),
            program: Self {
                steps: Vec::new(),
                compute: Vec::new(),
                step_of: vec![usize::MAX; graph.nodes.len()],
            },
        };
        lowering.run()
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

/// The readers of each node's output; a node is listed once for each input that reads it.
fn readers(graph: &Graph) -> Vec<Vec<usize>> {
    let mut readers = vec![Vec::new(); graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        for input in &node.inputs {
            if let Source::Node(source) = input {
                readers[*source].push(index);
            }
        }
    }
    readers
}

/// The layer that each node belongs to.
fn layer_of(graph: &Graph) -> Vec<usize> {
    graph
        .layers()
        .into_iter()
        .enumerate()
        .flat_map(|(number, layer)| layer.nodes.map(move |_| number))
        .collect()
}

/// Whether each node's output is a vector for each image rather than a feature map: the output of a
/// global pooling, or of operations on vectors only.
fn vectors(graph: &Graph) -> Vec<bool> {
    let of_image = images_are_vectors(graph);
    let mut vectors = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let from_vectors = node.inputs.iter().all(|input| match input {
            Source::Image => of_image,
            Source::Node(source) => vectors[*source],
        });
        vectors.push(from_vectors || matches!(node.operation, Operation::GlobalAveragePool(_)));
    }
    vectors
}

/// Whether the images are features, as in a network of the head alone: no operation on feature maps
/// reads them.
fn images_are_vectors(graph: &Graph) -> bool {
    let mut readers = graph.nodes.iter().filter(|node| node.inputs.contains(&Source::Image));
    readers.all(|node| {
        matches!(
            node.operation,
            Operation::Linear(_) | Operation::Dropout(_) | Operation::LayerNorm(_)
        )
    })
}

struct Lowering<'a> {
    graph: &'a Graph,
    readers: Vec<Vec<usize>>,
    layer_of: Vec<usize>,
    vectors: Vec<bool>,
    program: Program,
}

impl Lowering<'_> {
    fn run(mut self) -> Program {
        for index in 0..self.graph.nodes.len() {
            if self.program.step_of[index] == usize::MAX {
                self.lower(index);
            }
        }
        self.program
    }

    fn lower(&mut self, index: usize) {
        let graph = self.graph;
        let node = &graph.nodes[index];
        match &node.operation {
            Operation::Convolution(convolution) => self.convolution(index, convolution),
            Operation::BatchNorm(norm) => {
                let step = BatchNormStep::new(norm.clone());
                self.alone(index, step.facts(), step);
            }
            Operation::Activation(Activation { function }) => {
                let step = ActivationStep::new(*function);
                self.alone(index, step.facts(), step);
            }
            Operation::Add(add) => {
                let step = AddStep::new(add.clone());
                self.alone(index, step.facts(), step);
            }
            Operation::Multiply(_) => {
                let step = MultiplyStep;
                self.alone(index, step.facts(), step);
            }
            Operation::LayerNorm(norm) => {
                let facts = LayerNormStep::facts(self.is_vector(node.inputs[0]));
                self.alone(index, facts, LayerNormStep::new(norm.clone()));
            }
            Operation::LayerScale(_) => {
                let step = LayerScaleStep::new();
                self.alone(index, step.facts(), step);
            }
            Operation::MaxPool(pool) => {
                let step = MaxPoolStep::new(pool.clone());
                self.alone(index, step.facts(), step);
            }
            Operation::AveragePool(pool) => {
                let step = AveragePoolStep::new(pool.clone());
                self.alone(index, step.facts(), step);
            }
            Operation::GlobalAveragePool(_) => {
                let step = GlobalAveragePoolStep;
                self.alone(index, step.facts(), step);
            }
            Operation::Dropout(dropout) => {
                match self.only_reader(index).map(|reader| (reader, &graph.nodes[reader].operation))
                {
                    Some((reader, Operation::Linear(linear))) if self.is_vector(node.inputs[0]) => {
                        let step = LinearStep::new(linear.clone(), Some(dropout.clone()));
                        self.push(&[index, reader], &node.inputs, step.facts(), step);
                    }
                    _ => {
                        let step = DropoutStep::new(dropout.clone());
                        self.alone(index, step.facts(), step);
                    }
                }
            }
            Operation::Linear(linear) if self.is_vector(node.inputs[0]) => {
                let step = LinearStep::new(linear.clone(), None);
                self.alone(index, step.facts(), step);
            }
            Operation::Linear(linear) => {
                let step = ConvolutionStep::new(pointwise(linear));
                self.alone(index, step.facts(), step);
            }
        }
    }

    /// Adds a convolution with the other operations of its step.
    fn convolution(&mut self, index: usize, convolution: &Convolution) {
        let graph = self.graph;
        let norm = self.only_reader(index).map(|reader| (reader, &graph.nodes[reader].operation));
        let Some((mut last, Operation::BatchNorm(norm))) = norm.filter(|_| !convolution.bias)
        else {
            let step = ConvolutionStep::new(convolution.clone());
            return self.alone(index, step.facts(), step);
        };
        let mut nodes = vec![index, last];
        let mut inputs = graph.nodes[index].inputs.clone();
        let mut tail = Tail { add: None, activation: Clamp::Identity };
        if let Some((reader, Operation::Add(add))) = self.only_reader_of(last)
            && let Some(residual) = self.residual(reader, last, add)
        {
            inputs.push(residual);
            nodes.push(reader);
            (tail.add, last) = (Some(add.clone()), reader);
        }
        if let Some((reader, Operation::Activation(activation))) = self.only_reader_of(last)
            && let Some(clamp) = clamp(activation.function)
        {
            nodes.push(reader);
            tail.activation = clamp;
        }
        let step = ConvolutionNorm::new(convolution.clone(), norm.clone(), tail);
        self.push(&nodes, &inputs, step.facts(), step);
    }

    fn only_reader_of(&self, index: usize) -> Option<(usize, &'_ Operation)> {
        self.only_reader(index).map(|reader| (reader, &self.graph.nodes[reader].operation))
    }

    /// The only reader of a node's output, if it belongs to the same layer and so is frozen with
    /// it.
    fn only_reader(&self, index: usize) -> Option<usize> {
        match self.readers[index][..] {
            [reader] if self.layer_of[reader] == self.layer_of[index] => Some(reader),
            _ => None,
        }
    }

    /// The other input of an addition to the branch that ends with node `branch`, if the branch's
    /// step can add it because it is computed before.
    fn residual(&self, reader: usize, branch: usize, add: &Add) -> Option<Source> {
        let residual = match self.graph.nodes[reader].inputs[..] {
            [first, second] if first == Source::Node(branch) => second,
            // Without drops, the two inputs are interchangeable.
            [first, second] if second == Source::Node(branch) && add.drop_rate == 0.0 => first,
            _ => return None,
        };
        let is_there = match residual {
            Source::Image => true,
            Source::Node(node) => self.program.step_of[node] != usize::MAX,
        };
        is_there.then_some(residual)
    }

    /// Whether a source is a vector for each image rather than a feature map.
    fn is_vector(&self, source: Source) -> bool {
        match source {
            Source::Image => images_are_vectors(self.graph),
            Source::Node(node) => self.vectors[node],
        }
    }

    /// Adds a step for one node, which reads again the values that its operation needs.
    fn alone(&mut self, index: usize, facts: Facts, step: impl Compute + 'static) {
        let node = &self.graph.nodes[index];
        let needs = node.operation.rules().backward_needs();
        let inputs_read_again = if needs.inputs { node.inputs.len() } else { 0 };
        let facts = Facts { inputs_read_again, reads_output_again: needs.output, ..facts };
        self.push(&[index], &node.inputs, facts, step);
    }

    fn push(
        &mut self,
        nodes: &[usize],
        inputs: &[Source],
        facts: Facts,
        step: impl Compute + 'static,
    ) {
        let Program { steps, compute, step_of } = &mut self.program;
        let source = |input: &Source| match input {
            Source::Image => StepSource::Image,
            Source::Node(node) => StepSource::Step(step_of[*node]),
        };
        let inputs = inputs.iter().map(source).collect();
        nodes.iter().for_each(|&node| step_of[node] = steps.len());
        steps.push(Step { output: nodes[nodes.len() - 1], inputs, facts });
        compute.push(Box::new(step));
    }
}

/// The clamp for a function that the kernels of convolution and batch norm can apply.
fn clamp(function: Function) -> Option<Clamp> {
    match function {
        Function::Relu => Some(Clamp::Relu),
        Function::Relu6 => Some(Clamp::Relu6),
        _ => None,
    }
}

/// The convolution that computes a linear layer on each pixel.
fn pointwise(linear: &Linear) -> Convolution {
    Convolution {
        in_channels: linear.inputs,
        out_channels: linear.outputs,
        kernel: 1,
        stride: 1,
        padding: Padding::Each(0),
        groups: 1,
        bias: linear.bias,
        initial: linear.initial,
        stream: linear.stream,
    }
}
