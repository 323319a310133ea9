//! Compares the logits of ResNet-18 and EfficientNet-Lite0 at several image sizes, and the feature
//! maps on the way, with torchvision and efficientnet-lite-pytorch: `fixtures/networks.py` in the
//! repository makes the reference values. `every_network.rs` tests the other architectures.

mod common;

use common::{fixture, generated_state, graph, number, numbers, pictures, relative_difference};
use regraft_cpu::CpuEngine;
use regraft_nn::engine::{Engine, Input, State};
use regraft_nn::graph::{Graph, Node, Source};
use regraft_nn::ops::{
    Activation, BatchNorm, Convolution, Function, InitialWeights, NormStatistics, Operation,
    Padding,
};
use regraft_nn::weights::read_safetensors;
use serde_json::Value;

/// Relative to the largest |logit|. The worst measured is 1.5e-6, on any instruction set; PyTorch's
/// own f32 differs from its f64 by up to 1e-6.
const LOGITS_TOLERANCE: f64 = 4e-6;
/// Relative to a feature map's standard deviation: the largest difference of its mean and standard
/// deviation.
const STAGE_TOLERANCE: f64 = 1e-5;

fn check(architecture: &str, image_size: usize) {
    let record = fixture(&format!("{architecture}_{image_size}.json"));
    let graph = graph(architecture);
    let state = generated_state(&graph);
    let images = pictures(number(&record, "pictures") as usize, image_size);
    check_record(&record, &graph, &state, &images);
}

fn check_record(record: &Value, graph: &Graph, state: &State, images: &[f32]) {
    let (batch, image_size) =
        (number(record, "pictures") as usize, number(record, "image_size") as usize);
    let mut engine = CpuEngine::new(graph.clone(), image_size, 0).expect("images large enough");
    engine.load_state(state).expect("every tensor");
    // The feature maps first and in order, so that the first difference is reported.
    for stage in record["stages"].as_array().expect("a list of stages") {
        let name = stage["name"].as_str().expect("a name");
        // A batch norm is followed by an activation, which is not in PyTorch's value for it.
        let exact = graph.nodes.iter().position(|node| node.name == name);
        let last =
            exact.unwrap_or_else(|| graph.nodes_through(name).expect("a layer of the network") - 1);
        check_stage(
            stage,
            &engine.features(Input::values(images), batch, last).expect("images that fit"),
        );
    }
    let logits = engine.evaluate(Input::values(images), batch).expect("images that fit");
    let difference = relative_difference(&logits, &numbers(&record["logits"]));
    println!("{} {image_size}: {difference:.1e} of the largest logit", graph.architecture);
    assert!(difference <= LOGITS_TOLERANCE, "the logits are {difference:e} of the largest off");
}

fn check_stage(stage: &Value, map: &[f32]) {
    let (mean, deviation) = moments(map);
    let (expected_mean, expected_deviation) = (number(stage, "mean"), number(stage, "std"));
    let difference = (mean - expected_mean).abs().max((deviation - expected_deviation).abs())
        / expected_deviation;
    assert!(
        difference <= STAGE_TOLERANCE,
        "{}: mean {mean} and deviation {deviation} instead of {expected_mean} and \
         {expected_deviation}",
        stage["name"]
    );
}

/// Mean and (unbiased) standard deviation.
fn moments(values: &[f32]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0)).sqrt())
}

#[test]
fn resnet18_matches_torchvision() {
    check("resnet18", 224);
    check("resnet18", 97);
}

#[test]
fn efficientnet_lite0_matches_efficientnet_lite_pytorch() {
    check("efficientnet_lite0", 224);
    check("efficientnet_lite0", 97);
    check("efficientnet_lite0", 64);
}

/// A network with one filter for each channel has the same weights as a dense one with zeros
/// between channels.
#[test]
fn depthwise_convolutions_of_any_kernel_equal_dense_ones() {
    for kernel in [1, 3, 5, 7] {
        let channels = 18;
        let expand = convolution("expand", 0, [3, channels], 1, 1);
        let network = |groups| {
            let filter = convolution("filter", 3, [channels, channels], kernel, groups);
            let nodes = expand.clone().into_iter().chain(filter).collect();
            Graph { architecture: "two layers".into(), input_channels: 3, image_size: 9, nodes }
        };
        let (depthwise, dense) = (network(channels), network(1));
        let mut state = generated_state(&depthwise);
        let images = pictures(2, 9);
        let run = |graph: &Graph, state: &State| {
            let mut engine = CpuEngine::new(graph.clone(), 9, 0).expect("images large enough");
            engine.load_state(state).expect("every tensor");
            engine.features(Input::values(&images), 2, 5).expect("images that fit")
        };
        let found = run(&depthwise, &state);
        let taps = kernel * kernel;
        let filters = &state["filter.weight"];
        let mut weights = vec![0.0; channels * channels * taps];
        for channel in 0..channels {
            weights[(channel * channels + channel) * taps..][..taps]
                .copy_from_slice(&filters[channel * taps..][..taps]);
        }
        state.insert("filter.weight".into(), weights);
        let expected: Vec<f64> =
            run(&dense, &state).iter().map(|&value| f64::from(value)).collect();
        let difference = relative_difference(&found, &expected);
        assert!(difference <= 1e-6, "kernels of {kernel}: {difference:e} of the largest value");
    }
}

/// The nodes of a convolution with batch norm and ReLU, which begin at index `first` and read the
/// node before it.
fn convolution(
    name: &str,
    first: usize,
    channels: [usize; 2],
    kernel: usize,
    groups: usize,
) -> [Node; 3] {
    let convolution = Operation::Convolution(Convolution {
        in_channels: channels[0],
        out_channels: channels[1],
        kernel,
        stride: 1,
        padding: Padding::Same,
        groups,
        bias: false,
        initial: InitialWeights::FanOut,
        stream: 0,
    });
    let statistics = NormStatistics::Batch;
    let norm = Operation::BatchNorm(BatchNorm {
        channels: channels[1],
        epsilon: 1e-3,
        momentum: 0.1,
        statistics,
    });
    let relu = Operation::Activation(Activation { function: Function::Relu });
    let input = first.checked_sub(1).map_or(Source::Image, Source::Node);
    let node = |name: String, input, operation| Node { name, inputs: vec![input], operation };
    [
        node(name.to_owned(), input, convolution),
        node(format!("{name}.norm"), Source::Node(first), norm),
        node(format!("{name}.relu"), Source::Node(first + 1), relu),
    ]
}

/// Two images of 224 x 224 levels from integer formulas, as (level - 127) / 128; the fixture's
/// script describes them.
fn formula_pictures() -> Vec<f32> {
    let disc = |y: usize, x: usize| {
        let inside = y.abs_diff(112).pow(2) + x.abs_diff(112).pow(2) < 72 * 72;
        if inside { [230, 150 - y / 4, 20] } else { [90 + y / 4, 140 + y / 4, 255 - y / 8] }
    };
    let board = |y: usize, x: usize| {
        let inside = (40..184).contains(&y);
        let even = ((x + y / 2) / 16 + y / 16).is_multiple_of(2);
        match (inside, even) {
            (true, true) => [220, 200 - y / 4, 40 + x / 4],
            (true, false) => [120, 120, 130],
            (false, _) => [30 + x / 8, 25, 20 + y / 8],
        }
    };
    let places = || (0..224).flat_map(|y| (0..224).map(move |x| (y, x)));
    let levels =
        places().flat_map(|(y, x)| disc(y, x)).chain(places().flat_map(|(y, x)| board(y, x)));
    levels.map(|level| (level as f32 - 127.0) / 128.0).collect()
}

/// The embedded source model on random images and on images that it classifies with confidence.
#[test]
fn the_embedded_weights_match_efficientnet_lite_pytorch() {
    let record = fixture("efficientnet_lite0_imagenet_224.json");
    let file = read_safetensors(regraft_lite0::WEIGHTS, "the embedded weights")
        .expect("a safetensors file");
    let state: State =
        file.tensors.into_iter().map(|tensor| (tensor.name, tensor.values)).collect();
    let graph = graph("efficientnet_lite0");
    let images = [pictures(2, 224), formula_pictures()].concat();
    check_record(&record, &graph, &state, &images);

    // The fixture's classes come from the weights before they were rounded to f16.
    let mut engine = CpuEngine::new(graph, 224, 0).expect("images large enough");
    engine.load_state(&state).expect("every tensor");
    let logits = engine.evaluate(Input::values(&images), 4).expect("images that fit");
    let top = |logits: &[f32]| {
        logits
            .iter()
            .enumerate()
            .max_by(|first, second| first.1.total_cmp(second.1))
            .map(|best| best.0)
    };
    let found: Vec<Option<usize>> = logits.chunks_exact(1000).map(top).collect();
    let expected = record["top_classes"]
        .as_array()
        .expect("a list for each image")
        .iter()
        .map(|classes| numbers(classes)[0] as usize);
    assert_eq!(found, expected.map(Some).collect::<Vec<_>>());
}
