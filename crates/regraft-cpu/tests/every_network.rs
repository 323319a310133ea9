//! Compares every architecture with timm and torchvision: `fixtures/every_network.py` in the
//! repository makes the reference values. For each architecture:
//!
//! - the number of parameters,
//! - the feature map at the end of each stage, the features that the head reads, and the logits,
//! - that the logits depend on every tensor, without which their parity would prove nothing,
//! - the logits in bf16,
//! - that freezing through a stage freezes that stage and all before it, and nothing else.

mod common;

use common::{
    fixture, generated_state, number, numbers, pictures, relative_difference, without_drops,
};
use regraft_base::random::{Draws, Purpose};
use regraft_cpu::CpuEngine;
use regraft_nn::architectures::{self, Architecture};
use regraft_nn::engine::{
    Engine, Input, Loss, LossSettings, Optimizer, Reduction, State, Target, TrainBatch, Update,
};
use regraft_nn::graph::{Graph, Source};
use regraft_nn::ops::{NormStatistics, Operation};
use regraft_nn::parameters::parameters;
use regraft_nn::precision::Precision;
use serde_json::Value;
use std::collections::BTreeSet;

/// Relative to the largest |logit|, or |feature|. The worst measured is 3.5e-6, on
/// three instruction sets; PyTorch's f32 differs from its f64 by up to 2e-6.
const TOLERANCE: f64 = 5e-6;
/// The same in bf16. The worst measured is 3.4e-2.
const BF16_TOLERANCE: f64 = 5e-2;
/// Relative to a feature map's standard deviation: the largest difference of its mean and standard
/// deviation.
const STAGE_TOLERANCE: f64 = 1e-5;
/// Changing any tensor by a tenth changes the logits by more than this, relative to the largest.
const LEAST_CHANGE: f64 = 6.0 * TOLERANCE;

/// The families, as the prefixes of their members' names.
const FAMILIES: [(&str, &[&str]); 9] = [
    ("EfficientNet-Lite", &["efficientnet_lite"]),
    ("EfficientNet", &["efficientnet_b", "tf_efficientnet_b"]),
    ("ResNet", &["resnet"]),
    ("ResNeXt and Wide ResNet", &["resnext", "wide_resnet"]),
    ("MobileNet", &["mobilenet"]),
    ("small RegNets", &["regnety_0"]),
    ("large RegNets", &["regnety_1"]),
    ("ConvNeXt", &["convnext"]),
    ("vision transformers", &["vit_", "deit_"]),
];

fn members(family: &str) -> Vec<&'static Architecture> {
    let prefixes = FAMILIES.iter().find(|(name, _)| *name == family).expect("a family").1;
    let is_member = |architecture: &&Architecture| {
        prefixes.iter().any(|prefix| architecture.name.starts_with(prefix))
    };
    architectures::all().filter(is_member).collect()
}

fn check_family(family: &str) {
    members(family).into_iter().for_each(check);
}

fn check(architecture: &Architecture) {
    let record = fixture(&format!("{}.json", architecture.name));
    let size = number(&record, "image_size") as usize;
    // Position embeddings depend on the size of the images.
    let learned = parameters(&Graph { image_size: size, ..architecture.graph() });
    let learned = learned.iter().filter(|tensor| tensor.role.is_learned());
    let count: usize = learned.map(|tensor| tensor.length()).sum();
    assert_eq!(count as f64, number(&record, "parameters"), "{}", architecture.name);

    let mut graph =
        without_drops(architecture.graph()).with_classes(number(&record, "classes") as usize);
    graph.image_size = size;
    graph.set_norm_statistics(NormStatistics::Running);
    let state = generated_state(&graph);
    let images = pictures(number(&record, "pictures") as usize, size);
    let exact = check_bf16(&record, &graph, &state, &images);
    let mut engine = CpuEngine::new(graph.clone(), size, 1).expect("images large enough");
    engine.load_state(&state).expect("every tensor");
    let logits = check_values(&record, &mut engine, &images);
    let (least, name) = check_sensitivity(&mut engine, &state, &images, &logits);
    engine.load_state(&state).expect("every tensor");
    check_freezing(&mut engine, &state, &images);
    let of_reference = relative_difference(&logits, &numbers(&record["logits"]));
    println!(
        "{}: {of_reference:.1e} of the largest logit, {exact:.1e} in bf16, a tenth of {name} \
         moves it by {least:.1e}",
        architecture.name
    );
}

/// Compares feature maps, features and logits; returns the logits.
fn check_values(record: &Value, engine: &mut CpuEngine, images: &[f32]) -> Vec<f32> {
    let batch = number(record, "pictures") as usize;
    let name = engine.graph().architecture.clone();
    // The feature maps first and in order, so that the first difference is reported.
    for stage in record["stages"].as_array().expect("a list of stages") {
        let through = engine
            .graph()
            .nodes_through(stage["name"].as_str().expect("a name"))
            .expect("a stage of the network");
        let map = engine.features(Input::values(images), batch, through - 1).expect("they fit");
        check_stage(&name, stage, &map);
    }
    let Source::Node(head_input) = engine.graph().head_input() else { panic!("a backbone") };
    let features = engine.features(Input::values(images), batch, head_input).expect("they fit");
    let expected = numbers(&record["features"]);
    let (width, first) = (features.len() / batch, expected.len() / batch);
    let found: Vec<f32> =
        features.chunks_exact(width).flat_map(|image| &image[..first]).copied().collect();
    let difference = relative_difference(&found, &expected);
    assert!(difference <= TOLERANCE, "{name}: features are {difference:e} of the largest off");

    let logits = engine.evaluate(Input::values(images), batch).expect("images that fit");
    let difference = relative_difference(&logits, &numbers(&record["logits"]));
    assert!(difference <= TOLERANCE, "{name}: the logits are {difference:e} of the largest off");
    logits
}

fn check_stage(network: &str, stage: &Value, map: &[f32]) {
    let count = map.len() as f64;
    let mean = map.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    let squares: f64 = map.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum();
    let deviation = (squares / (count - 1.0)).sqrt();
    let (expected_mean, expected_deviation) = (number(stage, "mean"), number(stage, "std"));
    let difference = (mean - expected_mean).abs().max((deviation - expected_deviation).abs())
        / expected_deviation;
    assert!(
        difference <= STAGE_TOLERANCE,
        "{network}, {}: mean {mean} and deviation {deviation} instead of {expected_mean} and \
         {expected_deviation}",
        stage["name"]
    );
}

/// Compares the logits in bf16; returns the difference relative to the largest.
fn check_bf16(record: &Value, graph: &Graph, state: &State, images: &[f32]) -> f64 {
    let (batch, size) = (number(record, "pictures") as usize, graph.image_size);
    let mut engine = CpuEngine::with_precision(graph.clone(), size, 1, Precision::Bf16)
        .expect("images large enough");
    engine.load_state(state).expect("every tensor");
    let logits = engine.evaluate(Input::values(images), batch).expect("images that fit");
    let difference = relative_difference(&logits, &numbers(&record["logits"]));
    let name = &graph.architecture;
    assert!(difference <= BF16_TOLERANCE, "{name} in bf16: {difference:e} of the largest off");
    assert!(difference > TOLERANCE, "{name} in bf16: the logits are those of f32");
    difference
}

/// Checks that the logits depend on every tensor; returns the least change and the tensor.
///
/// If each element of a tensor is multiplied by 0.9 or 1.1 at random, the change of a linear
/// function of the logits has, to first order, a tenth of the norm of (gradient x tensor) as its
/// standard deviation. For a function with coefficients of 1 and -1 at random, that is the norm of
/// the logits' changes.
fn check_sensitivity(
    engine: &mut CpuEngine,
    state: &State,
    images: &[f32],
    logits: &[f32],
) -> (f64, String) {
    let classes = engine.graph().classes();
    let mut draws = Draws::new(7, Purpose::Fixture, 0, 0);
    // The gradient of the squared error is 2 (logit - target) / classes.
    let target: Vec<f32> = logits
        .iter()
        .map(|logit| {
            let sign = if draws.uniform() < 0.5 { 1.0 } else { -1.0 };
            logit - sign * classes as f32 / 2.0
        })
        .collect();
    train(engine, images, Target::Values(&target));
    let after = engine.state();
    let gradient = |name: &str| -> Vec<f64> {
        let pairs = state[name].iter().zip(&after[name]);
        pairs.map(|(before, after)| f64::from(*before) - f64::from(*after)).collect()
    };
    let largest = logits.iter().fold(0.0f64, |most, logit| most.max(f64::from(logit.abs())));
    let change = |gradient: &[f64], values: &[f32]| {
        let products = gradient.iter().zip(values).map(|(slope, value)| slope * f64::from(*value));
        let norm = products.map(|product| product * product).sum::<f64>().sqrt();
        0.1 * norm / (logits.len() as f64).sqrt() / largest
    };
    let mut least = (f64::INFINITY, String::new());
    let graph = engine.graph();
    for tensor in engine.parameters() {
        let node = &graph.nodes[tensor.node];
        let values = &state[&tensor.name];
        let slopes = match (&node.operation, tensor.name.strip_prefix(node.name.as_str())) {
            // The statistics have no gradient, but it follows from those of weight and bias.
            (Operation::BatchNorm(norm), Some(kind @ (".running_mean" | ".running_var"))) => {
                let of = |kind: &str| format!("{}{kind}", node.name);
                let weights = state[&of(".weight")].iter().zip(&state[&of(".running_var")]);
                let by_mean = gradient(&of(".bias"));
                let by_variance = gradient(&of(".weight"));
                weights
                    .zip(by_mean.into_iter().zip(by_variance))
                    .map(|((weight, variance), (by_bias, by_weight))| {
                        let variance = f64::from(variance + norm.epsilon);
                        match kind {
                            ".running_mean" => -f64::from(*weight) / variance.sqrt() * by_bias,
                            _ => -0.5 * f64::from(*weight) / variance * by_weight,
                        }
                    })
                    .collect()
            }
            _ => gradient(&tensor.name),
        };
        let moved = change(&slopes, values);
        assert!(
            moved > LEAST_CHANGE,
            "{}: {} moves the logits by {moved:e} of the largest only",
            graph.architecture,
            tensor.name
        );
        if moved < least.0 {
            least = (moved, tensor.name.clone());
        }
    }
    least
}

/// Takes a step against the gradient, with a rate of 1.
fn train(engine: &mut CpuEngine, images: &[f32], target: Target<'_>) {
    let rates = vec![1.0; engine.graph().nodes.len()];
    let update = Update {
        optimizer: Optimizer::Sgd { momentum: 0.0 },
        learning_rates: &rates,
        weight_decay: 0.0,
        decay_bias_norm: true,
        step: 1,
        clip: None,
    };
    let batch = TrainBatch {
        input: Input::values(images),
        target,
        weights: None,
        seed: 0,
        epoch: 0,
        position: 0,
    };
    let loss = LossSettings { loss: Loss::SquaredError, reduction: Reduction::Sum };
    let output = engine.train_step(&batch, loss, &update).expect("a batch that fits");
    assert!(!output.is_refused, "{}: the step was skipped", engine.graph().architecture);
}

/// Freezing through a stage in the middle keeps its tensors and those before it to the bit, and
/// moves all others.
fn check_freezing(engine: &mut CpuEngine, start: &State, images: &[f32]) {
    let stages = engine.graph().outermost_layers();
    let stage = &stages[stages.len() / 2];
    let nodes = engine.graph().nodes_through(stage).expect("a stage");
    engine.freeze(nodes);
    assert_eq!(
        engine.frozen(),
        nodes,
        "{}: {stage} ends within a layer",
        engine.graph().architecture
    );
    let count = images.len() / (engine.graph().image_size.pow(2) * 3) * engine.graph().classes();
    train(engine, images, Target::Values(&vec![0.5; count]));
    let state = engine.state();
    for tensor in engine.parameters() {
        let is_same = state[&tensor.name]
            .iter()
            .map(|value| value.to_bits())
            .eq(start[&tensor.name].iter().map(|value| value.to_bits()));
        let stays = tensor.node < nodes || !tensor.role.is_learned();
        assert_eq!(is_same, stays, "{}: {}", engine.graph().architecture, tensor.name);
    }
}

#[test]
fn every_architecture_is_in_one_family() {
    let known: Vec<&str> = architectures::all().map(|architecture| architecture.name).collect();
    let mut tested = Vec::new();
    for (family, _) in FAMILIES {
        tested.extend(members(family).iter().map(|architecture| architecture.name));
    }
    assert_eq!(tested.len(), known.len());
    assert_eq!(BTreeSet::from_iter(tested), BTreeSet::from_iter(known));
}

#[test]
fn efficientnet_lite_matches_timm() {
    check_family("EfficientNet-Lite");
}

#[test]
fn efficientnet_matches_timm() {
    check_family("EfficientNet");
}

#[test]
fn resnet_matches_timm() {
    check_family("ResNet");
}

#[test]
fn resnext_matches_timm() {
    check_family("ResNeXt and Wide ResNet");
}

#[test]
fn mobilenet_matches_timm() {
    check_family("MobileNet");
}

#[test]
fn small_regnets_match_timm() {
    check_family("small RegNets");
}

#[test]
fn large_regnets_match_timm() {
    check_family("large RegNets");
}

#[test]
fn vision_transformers_match_timm() {
    check_family("vision transformers");
}

#[test]
fn convnext_matches_timm() {
    check_family("ConvNeXt");
}
