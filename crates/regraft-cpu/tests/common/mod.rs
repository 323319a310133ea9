//! Helpers for the tests of networks: the generator of weights and images that
//! `fixtures/networks.py` in the repository describes, and its reference values.

// Every test file compiles this module separately and uses a part of it.
#![allow(dead_code)]

pub mod training;

use regraft_base::random::{Draws, Purpose};
use regraft_cpu::CpuEngine;
use regraft_nn::architectures;
use regraft_nn::engine::{Engine, State};
use regraft_nn::graph::Graph;
use regraft_nn::ops::Operation;
use regraft_nn::parameters::{ParameterInfo, parameters};
use serde_json::Value;
use std::path::PathBuf;

pub const SEED: u64 = 2024;

fn stream(sample: u32) -> Draws {
    Draws::new(SEED, Purpose::Fixture, 0, sample)
}

/// The graph of a known architecture.
pub fn graph(architecture: &str) -> Graph {
    architectures::find(architecture).expect("a known architecture").graph()
}

/// The graph without dropout and stochastic depth.
pub fn without_drops(mut graph: Graph) -> Graph {
    for node in &mut graph.nodes {
        match &mut node.operation {
            Operation::Add(add) => add.drop_rate = 0.0,
            Operation::Dropout(dropout) => dropout.rate = 0.0,
            _ => {}
        }
    }
    graph
}

/// An engine that holds the generator's weights.
pub fn engine(graph: Graph, image_size: usize, threads: usize) -> CpuEngine {
    let state = generated_state(&graph);
    let mut engine = CpuEngine::new(graph, image_size, threads).expect("images large enough");
    engine.load_state(&state).expect("every tensor");
    engine
}

/// The generator's weights: the tensor at index k in the order of names uses the stream of sample
/// k.
pub fn generated_state(graph: &Graph) -> State {
    let mut tensors = parameters(graph);
    tensors.sort_by(|first, second| first.name.as_bytes().cmp(second.name.as_bytes()));
    let generate = |(place, tensor): (u32, &ParameterInfo)| {
        (tensor.name.clone(), generated(graph, tensor, stream(place)))
    };
    (0..).zip(&tensors).map(generate).collect()
}

/// The networks of the generator's first rule.
const SMALL_BRANCHES: [&str; 2] = ["efficientnet_lite0", "resnet18"];

fn generated(graph: &Graph, tensor: &ParameterInfo, mut draws: Draws) -> Vec<f32> {
    let (name, shape) = (tensor.name.as_str(), &tensor.shape);
    let lite = graph.architecture == "efficientnet_lite0";
    let convnext = graph.architecture.starts_with("convnext");
    let timm = !SMALL_BRANCHES.contains(&graph.architecture.as_str());
    let mut values = |change: &dyn Fn(f32) -> f32| {
        (0..tensor.length()).map(|_| change(draws.uniform())).collect()
    };
    let transformer = ["vit", "deit"].iter().any(|name| graph.architecture.starts_with(name));
    if shape.len() == 3 {
        values(&|u| 2.0 * u - 1.0)
    } else if shape.len() > 1 {
        let numerator = match shape.len() {
            _ if transformer => 3.0,
            _ if timm && !convnext => 5.0,
            _ if convnext => 6.0,
            4 => 6.0,
            _ => 3.0,
        };
        let scale = (numerator / shape[1..].iter().product::<usize>() as f64).sqrt() as f32;
        values(&|u| (2.0 * u - 1.0) * scale)
    } else if name.ends_with("running_var") {
        values(&|u| 0.5 + u)
    } else if timm && !name.ends_with("weight") && !name.ends_with("gamma") {
        let shift = if name.ends_with(".se.fc1.bias") { 0.0 } else { 1.0 };
        values(&|u| 2.0 * u - shift)
    } else if name.ends_with("weight") || name.ends_with("gamma") {
        let factor = norm_factor(&graph.architecture, name);
        values(&|u| (0.5 + u) * factor)
    } else {
        let in_block = lite && name.starts_with("blocks.");
        let shift = if in_block && (name.ends_with("bn1.bias") || name.ends_with("bn2.bias")) {
            1.0
        } else {
            0.0
        };
        values(&|u| (u - 0.5) * 0.2 + shift)
    }
}

/// The factor of a normalisation's weights by the generator's rule, which uses only names: less
/// than 1 at the end of a residual branch.
fn norm_factor(architecture: &str, name: &str) -> f32 {
    let in_block = |group: &str, end: &str| name.starts_with(group) && name.ends_with(end);
    let starts = |starts: &[&str]| starts.iter().any(|start| architecture.starts_with(start));
    let (is_reduced, factor) = match architecture {
        "efficientnet_lite0" => (later_blocks(name, ".bn3.weight"), 0.125),
        "resnet18" => (in_block("layer", ".bn2.weight"), 0.125),
        "resnet34" => (in_block("layer", ".bn2.weight"), 0.25),
        "efficientnet_b0" | "tf_efficientnet_b0" => (false, 1.0),
        "efficientnet_b4" | "tf_efficientnet_b4" => (later_blocks(name, ".bn3.weight"), 0.25),
        _ if starts(&["efficientnet", "tf_efficientnet"]) => {
            (later_blocks(name, ".bn3.weight"), 0.5)
        }
        _ if starts(&["resne", "wide_resnet"]) => (in_block("layer", ".bn3.weight"), 0.25),
        _ if starts(&["mobilenetv4"]) => (later_blocks(name, ".pw_proj.bn.weight"), 0.25),
        _ if starts(&["regnet"]) => (in_block("s", ".conv3.bn.weight"), 0.5),
        _ => (false, 1.0),
    };
    if is_reduced { factor } else { 1.0 }
}

/// Whether the name is that of a tensor in a block of a stage after the first, with this end.
fn later_blocks(name: &str, end: &str) -> bool {
    let block = name.strip_suffix(end).and_then(|block| block.strip_prefix("blocks."));
    block.is_some_and(|block| !block.ends_with(".0"))
}

/// Values drawn as `[image, channel, row, column]` and changed by `change(u, image, row)`, as
/// `[image, row, column, channel]`.
pub fn drawn_pictures(
    sample: u32,
    count: usize,
    size: usize,
    change: impl Fn(f32, usize, usize) -> f32,
) -> Vec<f32> {
    let mut draws = stream(sample);
    let mut pictures = vec![0.0; count * 3 * size * size];
    for at in 0..pictures.len() {
        let (column, row, channel, picture) =
            (at % size, at / size % size, at / size / size % 3, at / size / size / 3);
        pictures[((picture * size + row) * size + column) * 3 + channel] =
            change(draws.uniform(), picture, row);
    }
    pictures
}

/// The generator's images of `fixtures/networks.py`.
pub fn pictures(count: usize, size: usize) -> Vec<f32> {
    drawn_pictures(1_000_000, count, size, |u, _, _| (2.0 * u - 1.0) * 2.0)
}

fn fixture_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/networks").join(name)
}

/// The content of a fixture file.
pub fn fixture_bytes(name: &str) -> Vec<u8> {
    let path = fixture_path(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A fixture of reference values.
pub fn fixture(name: &str) -> Value {
    serde_json::from_slice(&fixture_bytes(name)).expect("the fixture is JSON")
}

pub fn number(record: &Value, key: &str) -> f64 {
    record[key].as_f64().unwrap_or_else(|| panic!("{key} is a number"))
}

/// All numbers of a nested list, in order.
pub fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        value => vec![value.as_f64().expect("a number")],
    }
}

/// `max |found - expected| / max |expected|`
pub fn relative_difference(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let differences =
        found.iter().zip(expected).map(|(&found, &expected)| (f64::from(found) - expected).abs());
    // `max` would hide a NaN.
    differences.fold(0.0, |worst, difference| if difference <= worst { worst } else { difference })
        / largest
}

/// `||found - expected|| / ||expected||`
pub fn norm_difference(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let differences = found
        .iter()
        .zip(expected)
        .map(|(found, expected)| (f64::from(*found) - f64::from(*expected)).powi(2));
    differences.sum::<f64>().sqrt() / norm(expected)
}

pub fn norm(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}

/// The bits of each value: unlike the values, they tell -0 from 0 and equal NaNs.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
