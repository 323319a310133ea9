//! Results do not depend on tiles, on constants in shaders, or on their checks.

use super::{GpuEngine, Options};
use crate::kernels::matrix::Products;
use crate::kernels::tile::Tile;
use crate::kernels::units::{self, Units};
use crate::pass::{self, Key};
use regraft_nn::architectures;
use regraft_nn::engine::EngineError;
use regraft_nn::engine::{
    Engine, Input, Loss, LossSettings, Optimizer, Reduction, State, StepOutput, Target, TrainBatch,
    Update,
};
use regraft_nn::graph::{Graph, Node, Source};
use regraft_nn::initialize::{HeadInitialization, from_scratch};
use regraft_nn::ops::{
    Activation, BatchNorm, Convolution, Function, GlobalAveragePool, InitialWeights, Linear,
    NormStatistics, Operation, Padding,
};
use regraft_nn::plan;
use regraft_nn::precision::Precision;

const SIDE: usize = 33;

fn sized(mut graph: Graph) -> Graph {
    graph.image_size = SIDE;
    graph
}

type Trained = (Vec<StepOutput>, State);

/// Losses, logits and all tensors after two steps of training.
fn trained(
    graph: Graph,
    precision: Precision,
    checks: bool,
    products: Option<Products>,
) -> Trained {
    let options = Options { gpu: 0, precision, checks };
    let mut engine = GpuEngine::open(graph, SIDE, options, products).expect("a GPU");
    let state = from_scratch(engine.graph(), 5, HeadInitialization::Xavier);
    engine.load_state(&state).expect("every tensor");
    let pixel = |at: usize| ((at * 7919 + 13) % 997) as f32 / 500.0 - 1.0;
    let images: Vec<f32> = (0..3 * SIDE * SIDE * 3).map(pixel).collect();
    let batch = TrainBatch {
        input: Input::values(&images),
        target: Target::Labels(&[0, 3, 1]),
        weights: None,
        seed: 3,
        epoch: 1,
        position: 0,
    };
    let loss = Loss::SoftmaxCrossEntropy { label_smoothing: 0.1 };
    let loss = LossSettings { loss, reduction: Reduction::Mean };
    let rates = vec![0.01; engine.graph().nodes.len()];
    let outputs = (1..=2).map(|step| {
        let update = Update {
            optimizer: Optimizer::Sgd { momentum: 0.9 },
            learning_rates: &rates,
            weight_decay: 0.01,
            decay_bias_norm: false,
            step,
            clip: None,
        };
        engine.train_step(&batch, loss, &update).expect("a batch that fits")
    });
    let outputs = outputs.collect();
    (outputs, engine.state())
}

fn assert_same(one: &Trained, other: &Trained, what: &str) {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    for (one, other) in one.0.iter().zip(&other.0) {
        assert_eq!(bits(&one.losses), bits(&other.losses), "{what}");
        assert_eq!(bits(&one.logits), bits(&other.logits), "{what}");
    }
    for (name, values) in &one.1 {
        assert!(bits(values) == bits(&other.1[name]), "{what}: {name}");
    }
}

/// The largest difference of two lists, in shares of the largest number.
fn difference(one: &[f32], other: &[f32]) -> f32 {
    let most = one.iter().fold(1e-6_f32, |most, value| most.max(value.abs()));
    let far = |(one, other): (&f32, &f32)| (one - other).abs() / most;
    one.iter().zip(other).map(far).fold(0.0, |most, far| if far > most { far } else { most })
}

fn has_gpu() -> bool {
    let has_gpu = !crate::gpus().is_empty();
    if !has_gpu {
        eprintln!("SKIPPED: no adapter");
    }
    has_gpu
}

#[test]
fn tiles_constants_and_checks_change_no_bit() {
    if !has_gpu() {
        return;
    }
    let f32 = Precision::F32;
    for name in ["resnet18", "efficientnet_b0"] {
        let architecture =
            || architectures::find(name).expect("an architecture").graph().with_classes(5);
        let usual = trained(architecture(), f32, true, None);
        let again = trained(architecture(), f32, true, None);
        assert_same(&usual, &again, "the same again");
        let unchecked = trained(architecture(), f32, false, None);
        assert_same(&usual, &unchecked, "without checks");
        for tile in [Tile::ALL[0], Tile::ALL[2]] {
            let products = Products { tile: Some(tile), ..Products::plain() };
            let other = trained(architecture(), f32, true, Some(products));
            assert_same(&usual, &other, &format!("{tile:?}"));
        }
    }
    let products = Products { tile: Some(Tile::ALL[3]), has_constants: true, ..Products::plain() };
    let usual = trained(chain(), f32, true, None);
    let constant = trained(chain(), f32, true, Some(products));
    assert_same(&usual, &constant, "constants");
}

/// A network with the products that differ in how their operands are gathered: images, 3x3 and 1x1
/// filters with strides and without, groups, channels that do not fill a tile; and depthwise
/// filters.
fn chain() -> Graph {
    let mut nodes: Vec<Node> = Vec::new();
    let mut channels = 3;
    let mut push = |operation: Operation| {
        let last = nodes.len().checked_sub(1).map_or(Source::Image, Source::Node);
        let name = format!("node{}", nodes.len());
        nodes.push(Node { name, inputs: vec![last], operation });
    };
    for (place, (out_channels, kernel, stride, groups)) in [
        (16, 3, 2, 1),
        (72, 3, 1, 1),
        (40, 1, 1, 1),
        (64, 3, 2, 1),
        (32, 5, 1, 4),
        (24, 1, 2, 1),
        (24, 5, 1, 24),
        (24, 3, 2, 24),
    ]
    .into_iter()
    .enumerate()
    {
        push(Operation::Convolution(Convolution {
            in_channels: channels,
            out_channels,
            kernel,
            stride,
            padding: Padding::Each(kernel / 2),
            groups,
            bias: false,
            initial: InitialWeights::FanOut,
            stream: place as u32,
        }));
        channels = out_channels;
        let statistics = NormStatistics::Batch;
        push(Operation::BatchNorm(BatchNorm {
            channels,
            epsilon: 1e-5,
            momentum: 0.1,
            statistics,
        }));
        let functions = [Function::Relu, Function::Relu6, Function::Silu];
        push(Operation::Activation(Activation { function: functions[place % 3] }));
    }
    push(Operation::GlobalAveragePool(GlobalAveragePool));
    push(Operation::Linear(Linear {
        inputs: channels,
        outputs: 5,
        bias: true,
        initial: InitialWeights::Normal(0.3),
        stream: 99,
    }));
    Graph { architecture: "products".to_owned(), input_channels: 3, image_size: 1, nodes }
}

/// Everything around matrix units, which this test emulates: the order of halves in workgroup
/// memory, the gathered operands, and the way of the sums to their places.
#[test]
fn matrix_units_compute_what_ordinary_arithmetic_does() {
    if !has_gpu() {
        return;
    }
    let emulated = |fragment: usize, tile: usize, has_constants: bool| {
        let tile = Some(units::Tile::ALL[tile]);
        let units = Units { fragment, is_emulated: true, memory: 49_152, tile };
        let products = Products { units: Some(units), has_constants, ..Products::plain() };
        trained(chain(), Precision::F16, true, Some(products))
    };
    let [exact, plain] = [Precision::F32, Precision::F16]
        .map(|precision| trained(chain(), precision, true, Some(Products::plain())));
    let one = emulated(16, 4, true);
    check(&one, &exact, &plain);
    assert_same(&one, &emulated(16, 2, false), "another tile");
    assert_same(&one, &emulated(8, 3, true), "another fragment");
    let options = Options { gpu: 0, precision: Precision::F16, checks: false };
    if GpuEngine::new(chain(), SIDE, options).expect("a GPU").products.units.is_some() {
        check(&trained(chain(), Precision::F16, false, None), &exact, &plain);
    } else {
        println!("SKIPPED: the GPU has no matrix units of its own");
    }
}

/// Results in f16 are about as far from those in f32 as others in f16.
fn check(one: &Trained, exact: &Trained, plain: &Trained) {
    for ((exact, plain), one) in exact.0.iter().zip(&plain.0).zip(&one.0) {
        let far = difference(&one.logits, &exact.logits);
        let usual = difference(&plain.logits, &exact.logits);
        assert!(far < 2.0 * usual + 2e-3, "logits differ by {far}, not {usual}");
    }
    // What two steps changed.
    let before = from_scratch(&sized(chain()), 5, HeadInitialization::Xavier);
    for (name, before) in &before {
        let [exact, plain, one] = [exact, plain, one].map(|trained| {
            let moved = trained.1[name].iter().zip(before).map(|(value, before)| value - before);
            moved.collect::<Vec<_>>()
        });
        let (far, usual) = (difference(&one, &exact), difference(&plain, &exact));
        println!("{name} differs by {far}, {usual}");
        assert!(far < 2.0 * usual + 0.02, "{name} differs by {far}, not {usual}");
    }
}

#[test]
fn a_batch_without_memory_names_one_that_fits() {
    if !has_gpu() {
        return;
    }
    let options = Options { gpu: 0, precision: Precision::F32, checks: true };
    let engine = GpuEngine::new(chain(), SIDE, options).expect("a GPU");
    let key = Key {
        mode: plan::Mode::Evaluate { last: engine.program.steps.len() - 1 },
        batch: 1 << 24,
        has_levels: true,
        loss: None,
    };
    let EngineError::Memory { fits: Some(fits), .. } = engine.refuse(&key, 0) else {
        panic!("a smaller batch fits")
    };
    let common = engine.common();
    let largest = |batch| pass::largest(&pass::plan(&engine.program, &common, key.mode, batch));
    assert!(largest(fits) <= common.allocation, "{fits}");
    assert!(fits < key.batch / 2, "{fits}");
}
