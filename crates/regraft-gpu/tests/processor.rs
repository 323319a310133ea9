//! The GPU engine against the CPU engine: both compute the same network from the same tensors.

mod common;

use common::has_gpu;
use regraft_base::adam::AdamSettings;
use regraft_base::random::{Draws, Purpose};
use regraft_cpu::CpuEngine;
use regraft_gpu::{GpuEngine, Options};
use regraft_nn::architectures;
use regraft_nn::engine::{
    Engine, Input, Loss, LossSettings, Normalisation, Optimizer, Reduction, State, StepPart,
    Target, TrainBatch, Update,
};
use regraft_nn::graph::{Graph, Node, Source};
use regraft_nn::initialize::{HeadInitialization, from_scratch};
use regraft_nn::ops::{
    Activation, Add, AveragePool, BatchNorm, Convolution, Dropout, Function, GlobalAveragePool,
    InitialWeights, LayerNorm, LayerScale, Linear, MaxPool, Multiply, NormStatistics, Operation,
    Padding,
};
use regraft_nn::parameters::{Role, parameters};
use regraft_nn::precision::Precision;

const CLASSES: usize = 5;
const MEAN: LossSettings = LossSettings {
    loss: Loss::SoftmaxCrossEntropy { label_smoothing: 0.1 },
    reduction: Reduction::Mean,
};

/// Both engines of a graph, with the same tensors.
fn engines(graph: &Graph, side: usize) -> [Box<dyn Engine>; 2] {
    let mut sized = graph.clone();
    sized.image_size = side;
    let mut state = from_scratch(&sized, 5, HeadInitialization::Xavier);
    let mut draws = Draws::new(13, Purpose::Fixture, 0, 0);
    for info in parameters(&sized) {
        let (low, high) = match info.role {
            Role::Weight => continue,
            Role::NormWeight | Role::Scale | Role::RunningVariance => (0.5, 1.5),
            Role::Bias | Role::NormBias | Role::RunningMean => (-0.2, 0.2),
            Role::ClassToken | Role::Registers | Role::Positions => (-0.2, 0.2),
        };
        let values = state.entry(info.name).or_default();
        values.iter_mut().for_each(|value| *value = draws.range(low, high));
    }
    let options = Options { gpu: 0, precision: Precision::F32, checks: true };
    let cpu: Box<dyn Engine> =
        Box::new(CpuEngine::new(graph.clone(), side, 2).expect("large enough"));
    let gpu: Box<dyn Engine> =
        Box::new(GpuEngine::new(graph.clone(), side, options).expect("large enough"));
    let mut engines = [cpu, gpu];
    engines.iter_mut().for_each(|engine| engine.load_state(&state).expect("every tensor"));
    engines
}

struct Images {
    pixels: Vec<u8>,
    labels: Vec<u32>,
}

const NORMALISATION: Normalisation =
    Normalisation { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

impl Images {
    fn new(number: u32, count: usize, side: usize) -> Self {
        let mut draws = Draws::new(11, Purpose::Fixture, 0, number);
        Self {
            pixels: (0..count * side * side * 3).map(|_| (draws.next_u32() >> 24) as u8).collect(),
            labels: (0..count as u32).map(|place| (place + number) % CLASSES as u32).collect(),
        }
    }

    fn batch(&self, position: u32) -> TrainBatch<'_> {
        TrainBatch {
            input: Input::pixels(&self.pixels, NORMALISATION),
            target: Target::Labels(&self.labels),
            weights: None,
            seed: 3,
            epoch: 1,
            position,
        }
    }
}

/// The largest difference between two lists, in shares of the largest number.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1e-20_f32, |most, value| most.max(value.abs()));
    let worst = found
        .iter()
        .zip(expected)
        .map(|(found, expected)| (found - expected).abs())
        .fold(0.0_f32, |most, value| if value.is_nan() { value } else { most.max(value) });
    if worst.is_nan() { f32::INFINITY } else { worst / largest }
}

/// The gradients in an engine, by a step of plain descent.
fn gradients_of(engine: &mut dyn Engine) -> State {
    let before = engine.state();
    let rates = vec![1.0; engine.graph().nodes.len()];
    let update = Update {
        optimizer: Optimizer::Sgd { momentum: 0.0 },
        learning_rates: &rates,
        weight_decay: 0.0,
        decay_bias_norm: false,
        step: 1,
        clip: None,
    };
    engine.update(&update).expect("gradients are there");
    let mut moved = engine.state();
    engine.load_state(&before).expect("its own tensors");
    for (name, values) in &mut moved {
        values.iter_mut().zip(&before[name]).for_each(|(value, before)| *value = before - *value);
    }
    moved
}

/// Losses, logits, gradients and running statistics of a step are the CPU engine's within
/// `tolerance`, and so are the outputs of every seventh node in evaluation.
fn check(name: &str, graph: &Graph, side: usize, count: usize, tolerance: f32) {
    let [mut cpu, mut gpu] = engines(graph, side);
    let images = Images::new(1, count, side);
    let whole = StepPart::whole(count);
    let [expected, found] = [&mut cpu, &mut gpu].map(|engine| {
        let output = engine.gradients(&images.batch(2), MEAN, whole).expect("a batch that fits");
        (output, gradients_of(&mut **engine), engine.gradient_norm(), engine.state())
    });
    let losses = difference(&found.0.losses, &expected.0.losses);
    assert!(losses < tolerance, "{name} of {side}: losses differ by {losses}");
    let logits = difference(&found.0.logits, &expected.0.logits);
    assert!(logits < tolerance, "{name} of {side}: logits differ by {logits}");
    for (tensor, expected) in &expected.1 {
        let worst = difference(&found.1[tensor], expected);
        let is_small = expected.iter().all(|value| value.abs() < 1e-6);
        assert!(
            worst < 50.0 * tolerance || is_small,
            "{name} of {side}: the gradient of {tensor} differs by {worst}"
        );
    }
    for (tensor, expected) in &expected.3 {
        let worst = difference(&found.3[tensor], expected);
        assert!(worst < tolerance, "{name} of {side}: {tensor} differs by {worst}");
    }
    assert!((found.2 / expected.2 - 1.0).abs() < 1e-3, "{name}: {} and {}", found.2, expected.2);
    for node in (0..graph.nodes.len()).step_by(7) {
        let [expected, found] = [&mut cpu, &mut gpu].map(|engine| {
            let input = Input::pixels(&images.pixels, NORMALISATION);
            engine.features(input, count, node).expect("images that fit")
        });
        let worst = difference(&found, &expected);
        assert!(worst < tolerance, "{name} of {side}: node {node} differs by {worst}");
    }
}

/// A network's nodes, one after the other.
#[derive(Default)]
struct Chain {
    nodes: Vec<Node>,
    channels: usize,
}

impl Chain {
    fn new() -> Self {
        Self { nodes: Vec::new(), channels: 3 }
    }

    fn last(&self) -> Source {
        self.nodes.len().checked_sub(1).map_or(Source::Image, Source::Node)
    }

    fn push(&mut self, operation: Operation, inputs: Vec<Source>) -> Source {
        let name = format!("node{}", self.nodes.len());
        self.nodes.push(Node { name, inputs, operation });
        self.last()
    }

    fn then(&mut self, operation: Operation) -> Source {
        let inputs = vec![self.last()];
        self.push(operation, inputs)
    }

    fn convolution(
        &mut self,
        out: usize,
        [kernel, stride, groups]: [usize; 3],
        padding: Padding,
        bias: bool,
    ) -> Source {
        let convolution = Convolution {
            in_channels: self.channels,
            out_channels: out,
            kernel,
            stride,
            padding,
            groups,
            bias,
            initial: InitialWeights::FanOut,
            stream: self.nodes.len() as u32,
        };
        self.channels = out;
        self.then(Operation::Convolution(convolution))
    }

    fn norm(&mut self) -> Source {
        let norm = BatchNorm {
            channels: self.channels,
            epsilon: 1e-5,
            momentum: 0.1,
            statistics: NormStatistics::Batch,
        };
        self.then(Operation::BatchNorm(norm))
    }

    fn activation(&mut self, function: Function) -> Source {
        self.then(Operation::Activation(Activation { function }))
    }

    fn finish(mut self) -> Graph {
        self.then(Operation::GlobalAveragePool(GlobalAveragePool));
        self.then(Operation::Dropout(Dropout { rate: 0.3, stream: 0 }));
        let linear = Linear {
            inputs: self.channels,
            outputs: CLASSES,
            bias: true,
            initial: InitialWeights::Normal(0.3),
            stream: 99,
        };
        self.then(Operation::Linear(linear));
        Graph {
            architecture: "chain".to_owned(),
            input_channels: 3,
            image_size: 1,
            nodes: self.nodes,
        }
    }
}

/// Every operation with options that no known architecture has: odd channels, groups, one-sided
/// padding, windows that leave pixels out.
#[test]
fn operations_with_odd_options_agree() {
    if !has_gpu() {
        return;
    }
    for (function, channels) in Function::ALL.into_iter().zip([7, 12, 8, 6, 12, 5, 16, 4, 10]) {
        let mut chain = Chain::new();
        chain.convolution(channels, [3, 2, 1], Padding::Same, true);
        chain.activation(function);
        let groups = if channels % 2 == 0 { 2 } else { 1 };
        chain.convolution(2 * channels, [5, 1, groups], Padding::Each(1), false);
        chain.norm();
        let residual = chain.activation(Function::Relu6);
        chain.convolution(2 * channels, [3, 1, 2 * channels], Padding::Same, false);
        let branch = chain.norm();
        let add = Add { drop_rate: 0.4, stream: 7 };
        chain.push(Operation::Add(add), vec![branch, residual]);
        chain.activation(Function::Relu);
        let pool = MaxPool { kernel: 3, stride: 2, padding: Padding::Each(1) };
        let map = chain.then(Operation::MaxPool(pool));
        let vector = chain.then(Operation::GlobalAveragePool(GlobalAveragePool));
        assert_ne!(map, vector);
        let gate = chain.activation(Function::Sigmoid);
        let gated = chain.push(Operation::Multiply(Multiply), vec![map, gate]);
        chain.then(Operation::LayerNorm(LayerNorm { channels: 2 * channels, epsilon: 1e-6 }));
        let scale = LayerScale { channels: 2 * channels, initial: 0.5 };
        let scaled = chain.then(Operation::LayerScale(scale));
        let add = Add { drop_rate: 0.0, stream: 8 };
        chain.push(Operation::Add(add), vec![scaled, gated]);
        let pool = AveragePool { kernel: 2, stride: 2, padding: Padding::Same };
        chain.then(Operation::AveragePool(pool));
        chain.convolution(2 * channels, [7, 1, 2 * channels], Padding::Each(3), true);
        chain.then(Operation::Dropout(Dropout { rate: 0.2, stream: 3 }));
        let linear = Linear {
            inputs: 2 * channels,
            outputs: 9,
            bias: false,
            initial: InitialWeights::FanOut,
            stream: 55,
        };
        chain.channels = 9;
        chain.then(Operation::Linear(linear));
        chain.norm();
        check(function.name(), &chain.finish(), 29, 4, 2e-4);
    }
}

#[test]
fn architectures_agree() {
    if !has_gpu() {
        return;
    }
    for (name, side) in [
        ("resnet18", 47),
        ("resnet50", 33),
        ("efficientnet_b0", 64),
        ("efficientnet_lite0", 57),
        ("mobilenetv3_large_100", 64),
        ("convnext_tiny", 64),
    ] {
        let graph = architectures::find(name).expect("an architecture").graph();
        let mut graph = graph.with_classes(CLASSES);
        graph.set_norm_statistics(NormStatistics::Running);
        check(name, &graph, side, 3, 1e-3);
    }
}

/// Twenty steps of training with the batch's statistics, after which the losses are still the CPU
/// engine's.
#[test]
fn twenty_steps_of_a_resnet_agree() {
    if !has_gpu() {
        return;
    }
    let graph = architectures::find("resnet18").expect("an architecture").graph();
    let [mut cpu, mut gpu] = engines(&graph.with_classes(CLASSES), 32);
    let rates = vec![1e-4; cpu.graph().nodes.len()];
    for step in 1..=20 {
        let images = Images::new(step as u32 % 4, 8, 32);
        let update = Update {
            optimizer: Optimizer::AdamW(AdamSettings::default()),
            learning_rates: &rates,
            weight_decay: 0.01,
            decay_bias_norm: false,
            step,
            clip: None,
        };
        let [expected, found] = [&mut cpu, &mut gpu].map(|engine| {
            let output = engine.train_step(&images.batch(0), MEAN, &update);
            let losses = output.expect("a batch that fits").losses;
            losses.iter().sum::<f32>() / losses.len() as f32
        });
        println!("step {step}: {expected} on the processor, {found} on the GPU");
        assert!((found - expected).abs() < 1e-3, "step {step}: {found} is not {expected}");
    }
}
