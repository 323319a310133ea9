//! Helpers for the cases: small networks, batches and steps.

use crate::architectures;
use crate::engine::{
    Engine, Input, Loss, LossSettings, Optimizer, Reduction, State, StepOutput, StepPart, Target,
    TrainBatch, Update,
};
use crate::graph::Graph;
use crate::initialize::{HeadInitialization, from_scratch};
use crate::ops::{NormStatistics, Operation};
use crate::parameters::{Role, parameters};
use crate::precision::Precision;
use regraft_base::random::{Draws, Purpose};

/// Opens the engine under test.
pub type Open = dyn Fn(Graph, usize, Precision) -> Box<dyn Engine>;

/// Softmax cross-entropy and its mean.
pub(super) const MEAN: LossSettings = LossSettings {
    loss: Loss::SoftmaxCrossEntropy { label_smoothing: 0.1 },
    reduction: Reduction::Mean,
};
/// Families that together use every operation.
pub(super) const ARCHITECTURES: [&str; 3] = ["resnet18", "efficientnet_b0", "convnext_tiny"];
/// Side of the images in pixels.
pub(super) const SIDE: usize = 32;
/// Classes of every network.
pub(super) const CLASSES: usize = 5;
/// Images in a batch.
pub(super) const BATCH: usize = 3;

/// An engine under test, in one precision.
#[derive(Clone)]
pub struct Bench<'a> {
    open: &'a Open,
    pub(super) precision: Precision,
}

/// Images and their labels.
pub(super) struct Images {
    pub values: Vec<f32>,
    pub labels: Vec<u32>,
}

impl Images {
    pub fn batch(&self) -> TrainBatch<'_> {
        TrainBatch {
            input: Input::values(&self.values),
            target: Target::Labels(&self.labels),
            weights: None,
            seed: 3,
            epoch: 1,
            position: 0,
        }
    }
}

/// A batch of noise, determined by its number.
pub(super) fn images(number: u32, count: usize, side: usize) -> Images {
    let mut draws = Draws::new(11, Purpose::Fixture, 0, number);
    let values = (0..count * side * side * 3).map(|_| draws.range(-2.0, 2.0)).collect();
    Images {
        values,
        labels: (0..count as u32).map(|place| (place + number) % CLASSES as u32).collect(),
    }
}

/// An architecture with few classes, running statistics and no dropout or stochastic depth.
pub(super) fn graph(architecture: &str) -> Graph {
    let known = architectures::find(architecture)
        .unwrap_or_else(|| panic!("{architecture} is an architecture"));
    let mut graph = known.graph();
    narrow(&mut graph, if architecture == "efficientnet_b0" { 2 } else { 4 });
    graph = graph.with_classes(CLASSES);
    graph.set_norm_statistics(NormStatistics::Running);
    graph.set_head_dropout(0.0);
    graph.scale_stochastic_depth(0.0);
    graph
}

/// Divides all channels except the images', so that tests take seconds.
fn narrow(graph: &mut Graph, by: usize) {
    let images = graph.input_channels;
    for node in &mut graph.nodes {
        match &mut node.operation {
            Operation::Convolution(convolution) => {
                if convolution.is_depthwise() {
                    convolution.groups /= by;
                }
                if convolution.in_channels != images {
                    convolution.in_channels /= by;
                }
                convolution.out_channels /= by;
            }
            Operation::BatchNorm(norm) => norm.channels /= by,
            Operation::LayerNorm(norm) => norm.channels /= by,
            Operation::LayerScale(scale) => scale.channels /= by,
            Operation::Linear(linear) => {
                linear.inputs /= by;
                linear.outputs /= by;
            }
            Operation::Tokens(tokens) => tokens.channels /= by,
            Operation::Attention(attention) => attention.heads = (attention.heads / by).max(1),
            Operation::Activation(_)
            | Operation::Add(_)
            | Operation::Multiply(_)
            | Operation::MaxPool(_)
            | Operation::AveragePool(_)
            | Operation::GlobalAveragePool(_)
            | Operation::ClassToken(_)
            | Operation::Dropout(_) => {}
        }
    }
}

impl<'a> Bench<'a> {
    /// The engine that `open` opens.
    #[must_use]
    pub fn new(open: &'a Open, precision: Precision) -> Self {
        Self { open, precision }
    }

    /// The same engine in f32.
    pub(super) fn wide(&self) -> Self {
        Self { precision: Precision::F32, ..self.clone() }
    }

    /// An engine with initial weights, and with norms and scales that hide no layer.
    pub(super) fn engine(&self, graph: Graph, side: usize) -> Box<dyn Engine> {
        let mut state = from_scratch(&graph, 5, HeadInitialization::Xavier);
        let mut draws = Draws::new(13, Purpose::Fixture, 0, 0);
        for info in parameters(&graph) {
            let (low, high) = match info.role {
                Role::Weight => continue,
                Role::NormWeight | Role::Scale | Role::RunningVariance => (0.5, 1.5),
                Role::Bias | Role::NormBias | Role::RunningMean => (-0.2, 0.2),
                Role::ClassToken | Role::Registers | Role::Positions => (-0.2, 0.2),
            };
            state
                .entry(info.name)
                .or_default()
                .iter_mut()
                .for_each(|value| *value = draws.range(low, high));
        }
        let mut engine = self.bare(graph, side);
        engine.load_state(&state).expect("every tensor");
        engine
    }

    /// A newly opened engine.
    pub(super) fn bare(&self, graph: Graph, side: usize) -> Box<dyn Engine> {
        let engine = (self.open)(graph, side, self.precision);
        assert_eq!(engine.precision(), self.precision, "the precision that was asked for");
        engine
    }

    /// The tolerance in f32, or the wider one for rounding feature maps to 16 bits.
    pub(super) fn tolerance(&self, wide: f64, narrow: f64) -> f64 {
        match self.precision {
            Precision::F32 => wide,
            Precision::Bf16 | Precision::F16 => narrow,
        }
    }
}

/// An update with one rate for all layers.
pub(super) fn update(
    rates: &[f32],
    optimizer: Optimizer,
    weight_decay: f32,
    step: u64,
) -> Update<'_> {
    Update {
        optimizer,
        learning_rates: rates,
        weight_decay,
        decay_bias_norm: true,
        step,
        clip: None,
    }
}

/// The gradients of a whole step.
pub(super) fn gradients(
    engine: &mut dyn Engine,
    batch: &TrainBatch<'_>,
    loss: LossSettings,
) -> StepOutput {
    let count = batch.target.images(engine.graph().classes());
    engine.gradients(batch, loss, StepPart::whole(count)).expect("a batch that fits")
}

/// The gradients in an engine, measured by a step of plain gradient descent; the tensors are
/// restored afterwards.
pub(super) fn gradients_of(engine: &mut dyn Engine) -> State {
    let before = engine.state();
    let rates = vec![1.0; engine.graph().nodes.len()];
    engine
        .update(&update(&rates, Optimizer::Sgd { momentum: 0.0 }, 0.0, 1))
        .expect("gradients are there");
    let mut moved = engine.state();
    engine.load_state(&before).expect("its own tensors");
    for (name, values) in &mut moved {
        values.iter_mut().zip(&before[name]).for_each(|(value, before)| *value = before - *value);
    }
    moved
}

/// The largest difference between two lists of numbers, relative to the largest number.
pub(super) fn difference<'n>(
    found: impl IntoIterator<Item = &'n f32>,
    expected: impl IntoIterator<Item = f64>,
) -> f64 {
    let (mut worst, mut largest) = (0.0_f64, 1e-30_f64);
    for (found, expected) in found.into_iter().zip(expected) {
        worst = worst.max((f64::from(*found) - expected).abs());
        largest = largest.max(expected.abs());
    }
    if worst.is_finite() { worst / largest } else { f64::INFINITY }
}

/// Whether two states are equal to the bit.
pub(super) fn same(one: &State, other: &State) -> bool {
    let bits = |state: &State| -> Vec<(String, Vec<u32>)> {
        state
            .iter()
            .map(|(name, values)| {
                (name.clone(), values.iter().map(|value| value.to_bits()).collect())
            })
            .collect()
    };
    bits(one) == bits(other)
}
