//! Tests every operation as a node of a small network, alone and with others: its gradients against
//! differences of the loss, and its values in bf16 against those in f32.

mod common;

use common::relative_difference;
use common::training::{MEAN, pictures};
use regraft_base::random::{Draws, Purpose};
use regraft_cpu::CpuEngine;
use regraft_nn::engine::{Engine, Input, Optimizer, State, StepPart, Target, TrainBatch, Update};
use regraft_nn::graph::{Graph, Node, Source};
use regraft_nn::ops::{
    Activation, Add, Attention, AveragePool, BatchNorm, ClassToken, Convolution, Dropout, Function,
    GlobalAveragePool, InitialWeights, LayerNorm, LayerScale, Linear, MaxPool, Multiply,
    NormStatistics, Operation, Padding, Tokens,
};
use regraft_nn::parameters::{Role, parameters};
use regraft_nn::precision::Precision;

const SIZE: usize = 12;
const CHANNELS: usize = 6;
const CLASSES: usize = 4;
const BATCH: usize = 5;

/// A network under construction.
struct Network {
    graph: Graph,
}

impl Network {
    /// A convolution with bias on the image.
    fn new() -> Self {
        let graph = Graph {
            architecture: "small".into(),
            input_channels: 3,
            image_size: SIZE,
            nodes: Vec::new(),
        };
        let mut network = Self { graph };
        network.add("stem", &[Source::Image], convolution(3, CHANNELS, 3, 1, true));
        network
    }

    fn add(&mut self, name: &str, inputs: &[Source], operation: Operation) -> Source {
        self.graph.nodes.push(Node { name: name.into(), inputs: inputs.to_vec(), operation });
        self.last()
    }

    fn last(&self) -> Source {
        Source::Node(self.graph.nodes.len() - 1)
    }

    /// An operation on the last node's output.
    fn then(mut self, name: &str, operation: Operation) -> Self {
        let last = self.last();
        self.add(name, &[last], operation);
        self
    }

    /// The mean over the last node's pixels, and a head.
    fn with_head(self) -> Graph {
        let channels =
            self.graph.shapes(SIZE).expect("large enough").last().expect("a node").channels;
        self.then("pool", Operation::GlobalAveragePool(GlobalAveragePool))
            .then("head", linear(channels, CLASSES))
            .graph
    }
}

fn convolution(ins: usize, outs: usize, kernel: usize, groups: usize, bias: bool) -> Operation {
    let (padding, initial) = (Padding::Same, InitialWeights::FanOut);
    let (in_channels, out_channels) = (ins, outs);
    Operation::Convolution(Convolution {
        in_channels,
        out_channels,
        kernel,
        stride: 1,
        padding,
        groups,
        bias,
        initial,
        stream: 0,
    })
}

fn linear(inputs: usize, outputs: usize) -> Operation {
    Operation::Linear(Linear {
        inputs,
        outputs,
        bias: true,
        initial: InitialWeights::FanOut,
        stream: 0,
    })
}

fn batch_norm(statistics: NormStatistics) -> Operation {
    Operation::BatchNorm(BatchNorm { channels: CHANNELS, epsilon: 1e-3, momentum: 0.1, statistics })
}

fn activation(function: Function) -> Operation {
    Operation::Activation(Activation { function })
}

/// Weights that keep each layer's output near unit scale, and positive scales.
fn state(graph: &Graph) -> State {
    let values = parameters(graph).into_iter().zip(0..).map(|(parameter, place)| {
        let mut draws = Draws::new(3, Purpose::Fixture, 0, place);
        let fan_in = parameter.shape.iter().skip(1).product::<usize>().max(1) as f32;
        let mut draw =
            |low: f32, high: f32| (0..parameter.length()).map(|_| draws.range(low, high)).collect();
        let bound = (5.0 / fan_in).sqrt();
        let values = match parameter.role {
            Role::Weight => draw(-bound, bound),
            Role::NormWeight | Role::Scale | Role::RunningVariance => draw(0.5, 1.5),
            Role::Bias | Role::NormBias | Role::RunningMean => draw(-0.5, 0.5),
            Role::ClassToken | Role::Registers | Role::Positions => draw(-0.5, 0.5),
        };
        (parameter.name, values)
    });
    values.collect()
}

fn engine(graph: &Graph, precision: Precision) -> CpuEngine {
    let mut engine =
        CpuEngine::with_precision(graph.clone(), SIZE, 2, precision).expect("images large enough");
    engine.load_state(&state(graph)).expect("every tensor");
    engine
}

/// Fails if, along any tensor's gradient, the loss does not change by the square of the gradient,
/// or if bf16 gives another result.
fn check(what: &str, graph: &Graph) {
    let (images, labels) = pictures(BATCH, SIZE, CLASSES);
    let batch = TrainBatch {
        input: Input::values(&images),
        target: Target::Labels(&labels),
        weights: None,
        seed: 1,
        epoch: 2,
        position: 3,
    };
    let mut engine = engine(graph, Precision::F32);
    let start = engine.state();
    let mut loss_of = |engine: &mut CpuEngine, state: &State| -> f64 {
        engine.load_state(state).expect("every tensor");
        let output =
            engine.gradients(&batch, MEAN, StepPart::whole(BATCH)).expect("a batch that fits");
        output.losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / BATCH as f64
    };
    let loss = loss_of(&mut engine, &start);
    let rates = vec![1.0; graph.nodes.len()];
    let optimizer = Optimizer::Sgd { momentum: 0.0 };
    let update = Update {
        optimizer,
        learning_rates: &rates,
        weight_decay: 0.0,
        decay_bias_norm: true,
        step: 1,
        clip: None,
    };
    engine.update(&update).expect("gradients are there");
    // At a rate of 1 a tensor moves by its gradient.
    let moved = engine.state();
    for parameter in parameters(graph).into_iter().filter(|parameter| parameter.role.is_learned()) {
        let name = &parameter.name;
        let gradient: Vec<f32> =
            start[name].iter().zip(&moved[name]).map(|(old, new)| old - new).collect();
        let square: f64 = gradient.iter().map(|value| f64::from(*value).powi(2)).sum();
        // A bias before a batch norm changes nothing.
        if square < 1e-9 {
            assert!(matches!(parameter.role, Role::Bias), "{what}: {name} has no gradient");
            continue;
        }
        // The loss then changes by about 0.004, well above its rounding and far below where its
        // curvature shows.
        let step = 0.002 / square;
        let at = |engine: &mut CpuEngine,
                  factor: f64,
                  loss_of: &mut dyn FnMut(&mut CpuEngine, &State) -> f64| {
            let mut state = start.clone();
            let values = state.get_mut(name).expect("a tensor");
            values
                .iter_mut()
                .zip(&gradient)
                .for_each(|(value, gradient)| *value += (factor * f64::from(*gradient)) as f32);
            loss_of(engine, &state)
        };
        let slope = (at(&mut engine, step, &mut loss_of) - at(&mut engine, -step, &mut loss_of))
            / (2.0 * step);
        assert!(
            (slope / square - 1.0).abs() < 0.02,
            "{what}: along {name} the loss {loss} rises by {slope}, not {square}"
        );
    }

    let mut narrow = self::engine(graph, Precision::Bf16);
    let mut wide = self::engine(graph, Precision::F32);
    let logits = wide.evaluate(Input::values(&images), BATCH).expect("images that fit");
    let expected: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
    let difference = relative_difference(
        &narrow.evaluate(Input::values(&images), BATCH).expect("images that fit"),
        &expected,
    );
    assert!(difference < 3e-2, "{what}: bf16 is {difference:e} of the largest logit off");
    let trained =
        narrow.gradients(&batch, MEAN, StepPart::whole(BATCH)).expect("a batch that fits");
    let narrow_loss =
        trained.losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / BATCH as f64;
    assert!(
        (narrow_loss / loss - 1.0).abs() < 3e-2,
        "{what}: a loss of {narrow_loss} in bf16 instead of {loss}"
    );
}

#[test]
fn activations_alone_and_after_a_batch_norm() {
    for function in Function::ALL {
        check(
            &format!("{function:?} alone"),
            &Network::new().then("act", activation(function)).with_head(),
        );
        let fused = Network::new()
            .then("conv", convolution(CHANNELS, CHANNELS, 1, 1, false))
            .then("norm", batch_norm(NormStatistics::Batch))
            .then("act", activation(function));
        check(&format!("{function:?} of a convolution's batch norm"), &fused.with_head());
    }
}

#[test]
fn batch_norms_that_follow_no_convolution() {
    for statistics in [NormStatistics::Batch, NormStatistics::Running] {
        check(
            &format!("{statistics:?}"),
            &Network::new().then("norm", batch_norm(statistics)).with_head(),
        );
    }
}

#[test]
fn convolutions_of_all_kinds_with_bias() {
    for (kernel, groups) in [(1, 1), (3, 1), (3, 2), (3, CHANNELS), (5, CHANNELS), (7, CHANNELS)] {
        let conv = convolution(CHANNELS, CHANNELS, kernel, groups, true);
        check(
            &format!("kernel {kernel}, {groups} groups"),
            &Network::new().then("conv", conv).with_head(),
        );
    }
}

#[test]
fn additions_outside_of_convolutions() {
    for drop_rate in [0.0, 0.5] {
        let mut network =
            Network::new().then("branch", convolution(CHANNELS, CHANNELS, 3, 1, true));
        let branch = network.last();
        network.add(
            "add",
            &[branch, Source::Node(0)],
            Operation::Add(Add { drop_rate, stream: 5 }),
        );
        check(&format!("a drop rate of {drop_rate}"), &network.with_head());
    }
    let mut network = Network::new();
    network.add("add", &[Source::Node(0); 2], Operation::Add(Add { drop_rate: 0.0, stream: 0 }));
    check("a map and itself", &network.with_head());
    // The branch has two readers, so the addition cannot be part of its step.
    let mut network = Network::new()
        .then("conv", convolution(CHANNELS, CHANNELS, 3, 1, false))
        .then("norm", batch_norm(NormStatistics::Batch));
    let branch = network.last();
    let sum = network.add(
        "add",
        &[branch, Source::Node(0)],
        Operation::Add(Add { drop_rate: 0.0, stream: 0 }),
    );
    network.add("again", &[sum, branch], Operation::Add(Add { drop_rate: 0.0, stream: 0 }));
    check("a branch that is read twice", &network.with_head());
}

#[test]
fn squeeze_and_excitation() {
    let mut network = Network::new();
    let map = network.last();
    let gated = network
        .then("se.pool", Operation::GlobalAveragePool(GlobalAveragePool))
        .then("se.reduce", convolution(CHANNELS, 4, 1, 1, true))
        .then("se.act", activation(Function::Silu))
        .then("se.expand", convolution(4, CHANNELS, 1, 1, true))
        .then("se.gate", activation(Function::Sigmoid));
    network = gated;
    let gate = network.last();
    network.add("se.multiply", &[map, gate], Operation::Multiply(Multiply));
    check("squeeze and excitation", &network.with_head());
}

#[test]
fn layer_norm_layer_scale_linear_and_dropout_of_maps() {
    let layer_norm = || Operation::LayerNorm(LayerNorm { channels: CHANNELS, epsilon: 1e-6 });
    check("layer norm", &Network::new().then("norm", layer_norm()).with_head());
    let scale = Operation::LayerScale(LayerScale { channels: CHANNELS, initial: 1.0 });
    check("layer scale", &Network::new().then("gamma", scale).with_head());
    check("linear", &Network::new().then("fc", linear(CHANNELS, 7)).with_head());
    check(
        "dropout",
        &Network::new()
            .then("drop", Operation::Dropout(Dropout { rate: 0.5, stream: 3 }))
            .with_head(),
    );
    let on_vectors = Network::new()
        .then("first pool", Operation::GlobalAveragePool(GlobalAveragePool))
        .then("norm", layer_norm())
        .then("hidden drop", Operation::Dropout(Dropout { rate: 0.3, stream: 1 }))
        .then("hidden", linear(CHANNELS, 9))
        .then("act", activation(Function::Gelu))
        .then("drop", Operation::Dropout(Dropout { rate: 0.3, stream: 0 }))
        .then("head", linear(9, CLASSES));
    check("layers of vectors", &on_vectors.graph);
}

#[test]
fn tokens_attention_and_the_class_token() {
    let tokens = |registers, embeds_before| {
        let tokens = Tokens { channels: CHANNELS, patch: 4, registers, embeds_before, stream: 0 };
        Operation::Tokens(tokens)
    };
    // Few patches, so that no token's gradient is small.
    let pool = || AveragePool { kernel: 4, stride: 4, padding: Padding::Each(0) };
    let patches = || Network::new().then("patches", Operation::AveragePool(pool()));
    for (registers, embeds_before) in [(0, true), (0, false), (3, false), (2, true)] {
        check(
            &format!("{registers} registers, all embedded: {embeds_before}"),
            &patches().then("tokens", tokens(registers, embeds_before)).with_head(),
        );
    }
    for heads in [1, 2] {
        let network = patches()
            .then("tokens", tokens(1, false))
            .then("qkv", linear(CHANNELS, 3 * CHANNELS))
            .then("attention", Operation::Attention(Attention { heads }))
            .then("proj", linear(CHANNELS, CHANNELS));
        check(&format!("attention of {heads} heads, all tokens"), &network.with_head());
    }
    let network = patches()
        .then("tokens", tokens(0, true))
        .then("qkv", linear(CHANNELS, 3 * CHANNELS))
        .then("attention", Operation::Attention(Attention { heads: 3 }))
        .then("token", Operation::ClassToken(ClassToken))
        .then("head", linear(CHANNELS, CLASSES));
    check("the class token after attention", &network.graph);
}

#[test]
fn pooling() {
    for (kernel, stride, padding) in
        [(3, 2, Padding::Each(1)), (2, 2, Padding::Each(0)), (3, 1, Padding::Same)]
    {
        let maximum = Operation::MaxPool(MaxPool { kernel, stride, padding });
        check(
            &format!("the maximum of {kernel}"),
            &Network::new().then("pool1", maximum).with_head(),
        );
        let mean = Operation::AveragePool(AveragePool { kernel, stride, padding });
        check(&format!("the mean of {kernel}"), &Network::new().then("pool1", mean).with_head());
    }
}

/// The output of each node is available, whatever is fused.
#[test]
fn every_nodes_output_equals_that_of_the_truncated_network() {
    let graph = Network::new()
        .then("conv", convolution(CHANNELS, CHANNELS, 3, 1, false))
        .then("norm", batch_norm(NormStatistics::Batch))
        .then("act", activation(Function::Relu))
        .with_head();
    let (images, _) = pictures(BATCH, SIZE, CLASSES);
    let mut whole = engine(&graph, Precision::F32);
    for node in 0..graph.nodes.len() {
        let mut cut = CpuEngine::new(graph.through(node), SIZE, 2).expect("large enough");
        cut.load_state(&state(&graph)).expect("every tensor");
        let expected = cut.features(Input::values(&images), BATCH, node).expect("images that fit");
        assert_eq!(
            whole.features(Input::values(&images), BATCH, node).expect("images that fit"),
            expected,
            "{}",
            graph.nodes[node].name
        );
    }
    let [before, after] = [2, 3]
        .map(|node| whole.features(Input::values(&images), BATCH, node).expect("images that fit"));
    assert!(
        before.iter().any(|&value| value < 0.0)
            && after.iter().zip(before).all(|(&after, before)| after == before.max(0.0))
    );
}
