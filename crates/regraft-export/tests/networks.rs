//! Compares exported networks in rten with Regraft's own engine: every operation, every
//! architecture.

mod common;

use common::{Numbers, channels_first, largest_difference, logits, model, noise};
use regraft::model::Model;
use regraft::nn::architectures;
use regraft::nn::graph::{Graph, Node, Source};
use regraft::nn::ops::{
    Activation, Add, AveragePool, BatchNorm, Convolution, Dropout, Function, GlobalAveragePool,
    InitialWeights, LayerNorm, LayerScale, Linear, MaxPool, Multiply, NormStatistics, Operation,
    Padding,
};
use regraft_export::onnx::{Input, OnnxOptions, StorageType, to_bytes};
use regraft_export::runtime::Runtime;

fn options(weights: StorageType) -> OnnxOptions {
    OnnxOptions { input: Input::Tensor, weights }
}

/// The largest difference of logits between the exported file and our engine, as a share of the
/// largest logit.
fn difference(model: &Model, weights: StorageType) -> f32 {
    let size = model.preprocessing.image_size as usize;
    let images = noise(2, size);
    let expected = logits(model, &images);
    let largest = largest_difference(&expected, &vec![0.0; expected.len()]);
    assert!(largest > 0.05 && largest < 1e4, "the generated weights give logits of {largest}");
    let file = to_bytes(model, options(weights)).expect("an exportable model");
    let answers = Runtime::load(&file, 1)
        .expect("a file that rten takes")
        .tensor(channels_first(&images, size), size);
    let answers = answers.expect("a file that runs");
    let sums =
        answers.probabilities.chunks_exact(model.classes.len()).map(|row| row.iter().sum::<f32>());
    assert!(sums.into_iter().all(|sum| (sum - 1.0).abs() < 1e-5));
    largest_difference(&answers.logits, &expected) / largest
}

const CHANNELS: usize = 8;

fn convolution(
    ins: usize,
    outs: usize,
    kernel: usize,
    stride: usize,
    padding: Padding,
    groups: usize,
) -> Operation {
    Operation::Convolution(Convolution {
        in_channels: ins,
        out_channels: outs,
        kernel,
        stride,
        padding,
        groups,
        bias: true,
        initial: InitialWeights::FanOut,
        stream: 0,
    })
}

fn linear(inputs: usize, outputs: usize, bias: bool) -> Operation {
    Operation::Linear(Linear { inputs, outputs, bias, initial: InitialWeights::FanOut, stream: 0 })
}

fn norm() -> Operation {
    Operation::BatchNorm(BatchNorm {
        channels: CHANNELS,
        epsilon: 1e-3,
        momentum: 0.1,
        statistics: NormStatistics::Batch,
    })
}

/// A network of a convolution, `operations` one after the other (which end with the same number of
/// channels), their mean, and a head.
fn chain(operations: Vec<Operation>) -> Graph {
    let mut graph = Graph {
        architecture: "small".into(),
        input_channels: 3,
        image_size: 13,
        nodes: Vec::new(),
    };
    let stem = convolution(3, CHANNELS, 3, 1, Padding::Each(1), 1);
    let end = [Operation::GlobalAveragePool(GlobalAveragePool), linear(CHANNELS, 5, true)];
    for (place, operation) in std::iter::once(stem).chain(operations).chain(end).enumerate() {
        let inputs = vec![place.checked_sub(1).map_or(Source::Image, Source::Node)];
        graph.nodes.push(Node { name: format!("n{place}"), inputs, operation });
    }
    graph
}

#[test]
fn every_operation_is_exported() {
    let activations =
        Function::ALL.map(|function| vec![Operation::Activation(Activation { function })]);
    let pool = |kernel, stride, padding| MaxPool { kernel, stride, padding };
    let average =
        |kernel, stride, padding| Operation::AveragePool(AveragePool { kernel, stride, padding });
    let layer_norm = || Operation::LayerNorm(LayerNorm { channels: CHANNELS, epsilon: 1e-6 });
    let scale = || Operation::LayerScale(LayerScale { channels: CHANNELS, initial: 1.0 });
    let same = Padding::Same;
    let mut cases = vec![
        vec![convolution(CHANNELS, CHANNELS, 3, 2, same, 1)],
        vec![convolution(CHANNELS, CHANNELS, 5, 2, same, CHANNELS), norm()],
        vec![convolution(CHANNELS, CHANNELS, 7, 2, Padding::Each(3), 2), norm()],
        // Two batch norms: the second cannot be folded into a convolution.
        vec![norm(), norm()],
        vec![layer_norm()],
        vec![scale()],
        vec![layer_norm(), scale(), convolution(CHANNELS, CHANNELS, 1, 1, same, 1)],
        vec![linear(CHANNELS, CHANNELS, true), linear(CHANNELS, CHANNELS, false)],
        vec![Operation::MaxPool(pool(3, 2, Padding::Each(1)))],
        vec![Operation::MaxPool(pool(2, 2, same))],
        vec![average(3, 2, Padding::Each(1))],
        vec![average(2, 2, same)],
        vec![
            Operation::GlobalAveragePool(GlobalAveragePool),
            layer_norm(),
            Operation::Dropout(Dropout { rate: 0.5, stream: 0 }),
        ],
    ];
    cases.extend(activations);
    for operations in cases {
        let name = format!("{operations:?}");
        let difference = difference(&model(chain(operations), 13), StorageType::F32);
        assert!(difference < 1e-5, "{name}: {difference}");
    }
}

#[test]
fn branches_of_other_layouts_meet() {
    let mut graph = Graph {
        architecture: "small".into(),
        input_channels: 3,
        image_size: 13,
        nodes: Vec::new(),
    };
    let mut add = |name: &str, inputs: &[Source], operation| {
        graph.nodes.push(Node { name: name.into(), inputs: inputs.to_vec(), operation });
        Source::Node(graph.nodes.len() - 1)
    };
    let addition = || Operation::Add(Add { drop_rate: 0.2, stream: 0 });
    let stem = add("stem", &[Source::Image], convolution(3, CHANNELS, 3, 1, Padding::Same, 1));
    // It has two readers, so its batch norm is not folded.
    let normed = add("norm", &[stem], norm());
    let last = add("linear", &[normed], linear(CHANNELS, CHANNELS, true));
    let sum = add("add", &[last, stem], addition());
    let other = add("add2", &[stem, sum], addition());
    let pooled = add("pool", &[other], Operation::GlobalAveragePool(GlobalAveragePool));
    let vector = add("squeeze", &[pooled], linear(CHANNELS, CHANNELS, true));
    let gate =
        add("gate", &[vector], Operation::Activation(Activation { function: Function::Sigmoid }));
    let scaled = add("multiply", &[other, gate], Operation::Multiply(Multiply));
    let scaled = add("multiply2", &[scaled, pooled], Operation::Multiply(Multiply));
    let pooled = add("pool2", &[scaled], Operation::GlobalAveragePool(GlobalAveragePool));
    add("head", &[pooled], linear(CHANNELS, 4, true));
    let difference = difference(&model(graph, 13), StorageType::F32);
    assert!(difference < 1e-5, "{difference}");
}

#[test]
fn every_family_is_exported() {
    // The others are the same blocks, more of them or wider.
    for name in [
        "efficientnet_lite0",
        "resnet18",
        "resnet50d",
        "resnext50_32x4d",
        "efficientnet_b0",
        "tf_efficientnet_b0",
        "mobilenetv2_100",
        "mobilenet_v3_small",
        "mobilenetv4_conv_small",
        "regnety_004",
        "convnext_tiny",
        "vit_tiny_patch16_224",
        "vit_small_patch14_dinov2",
        "vit_small_patch14_reg4_dinov2",
    ] {
        let architecture = architectures::find(name).expect("a known name");
        let graph = Graph { image_size: 64, ..architecture.graph().with_classes(10) };
        let model = model(graph, 64);
        let found = difference(&model, StorageType::F32);
        assert!(found < 1e-5, "{}: {found}", architecture.name);
        let halved = difference(&model, StorageType::F16);
        println!("{}: {found:.1e}, in f16 {halved:.1e}", architecture.name);
        assert!(halved < 2e-2 && halved > found, "{}: {halved}", architecture.name);
    }
}

#[test]
fn files_are_as_large_as_their_weights_and_the_same_each_time() {
    let model = model(
        architectures::find("efficientnet_lite0").expect("known").graph().with_classes(10),
        64,
    );
    let weights = model.state.values().map(|values| values.len() * 4).sum::<usize>() as f64;
    for (storage, share) in [(StorageType::F32, 1.02), (StorageType::F16, 0.52)] {
        let file = to_bytes(&model, options(storage)).expect("an exportable model");
        assert!((file.len() as f64) < share * weights, "{storage:?}: {} of {weights}", file.len());
        assert_eq!(file, to_bytes(&model, options(storage)).expect("an exportable model"));
    }
}

#[test]
fn unstorable_values_are_errors_that_name_the_tensor() {
    let message = |change: &dyn Fn(&mut Model), weights| {
        let mut model = model(chain(vec![norm()]), 13);
        change(&mut model);
        to_bytes(&model, options(weights)).expect_err("not exportable").to_string()
    };
    let set = |name: &'static str, value: f32| {
        move |model: &mut Model| model.state.get_mut(name).expect("a tensor")[0] = value
    };
    let error = message(&set("n3.weight", f32::NAN), StorageType::F32);
    assert!(error.contains("n3.weight") && error.contains("not finite"), "{error}");
    let error = message(&set("n3.weight", 1e5), StorageType::F16);
    assert!(
        error.contains("1e5, an element of n3.weight") && error.contains("--weights f32"),
        "{error}"
    );
    let error = message(&|model| drop(model.state.remove("n1.running_mean")), StorageType::F32);
    assert!(error.contains("no tensor n1.running_mean with 8 elements"), "{error}");
}

#[test]
fn a_changed_file_is_loaded_or_refused() {
    let file = to_bytes(&model(chain(vec![norm()]), 13), options(StorageType::F16))
        .expect("an exportable model");
    let mut numbers = Numbers(5);
    let (mut loaded, mut refused) = (0, 0);
    for _ in 0..1_000 {
        let mut changed = file.clone();
        for _ in 0..1 + numbers.next() % 3 {
            let at = numbers.next() as usize % changed.len();
            changed[at] = numbers.next() as u8;
        }
        match Runtime::load(&changed, 1) {
            Ok(_) => loaded += 1,
            Err(_) => refused += 1,
        }
    }
    println!("{loaded} loaded, {refused} refused");
    assert!(loaded > 100 && refused > 100, "{loaded} {refused}");
}
