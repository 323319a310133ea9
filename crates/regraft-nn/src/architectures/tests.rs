//! Tests of the architectures against published facts.

use super::{all, find, similar};
use crate::graph::{Graph, Node};
use crate::ops::Operation;
use crate::parameters::parameters;
use std::collections::BTreeSet;
/// The learned parameters of a network with 1000 classes.
fn count(graph: &Graph) -> usize {
    let learned = parameters(graph).into_iter().filter(|parameter| parameter.role.is_learned());
    learned.map(|parameter| parameter.length()).sum()
}

/// Parameter counts and multiply-adds at the usual image size as published by torchvision (Lite0:
/// by the TensorFlow repository).
#[test]
fn sizes_are_the_published_ones() {
    let published = [
        ("efficientnet_lite0", 4_652_008, 0.385),
        ("resnet18", 11_689_512, 1.814),
        ("resnet34", 21_797_672, 3.664),
        ("resnet50", 25_557_032, 4.089),
        ("resnet101", 44_549_160, 7.801),
        ("resnet152", 60_192_808, 11.514),
        ("resnext50_32x4d", 25_028_904, 4.23),
        ("resnext101_32x8d", 88_791_336, 16.414),
        ("resnext101_64x4d", 83_455_272, 15.46),
        ("wide_resnet50_2", 68_883_240, 11.398),
        ("efficientnet_b0", 5_288_548, 0.386),
        ("efficientnet_b1", 7_794_184, 0.687),
        ("efficientnet_b2", 9_109_994, 1.088),
        ("efficientnet_b3", 12_233_232, 1.827),
        ("efficientnet_b4", 19_341_616, 4.394),
        ("mobilenetv2_100", 3_504_872, 0.301),
        ("mobilenet_v3_small", 2_542_856, 0.057),
        ("mobilenet_v3_large", 5_483_032, 0.217),
        ("regnety_004", 4_344_144, 0.402),
        ("regnety_008_tv", 6_432_512, 0.834),
        ("regnety_016", 11_202_430, 1.612),
        ("regnety_032", 19_436_338, 3.176),
        ("regnety_080_tv", 39_381_472, 8.473),
        ("regnety_160", 83_590_140, 15.912),
        ("convnext_tiny", 28_589_128, 4.456),
        ("convnext_small", 50_223_688, 8.684),
        ("convnext_base", 88_591_464, 15.355),
        ("vit_base_patch16_224", 86_567_656, 17.564),
        ("vit_base_patch32_224", 88_224_232, 4.409),
    ];
    for (name, parameters, billions) in published {
        let architecture = find(name).expect("a known name");
        let graph = architecture.graph();
        assert_eq!(count(&graph), parameters, "{name}");
        let size = architecture.image_size as usize;
        let measured = graph.multiply_adds(size).expect("large enough") as f64 / 1e9;
        let rounding = 0.001 + 0.01 * f64::from(u8::from(name.starts_with('e')));
        assert!((measured - billions).abs() < rounding, "{name}: {measured}");
    }
}

/// Millions of parameters, rounded to the hundredth, as published in timm's `results-imagenet.csv`.
#[test]
fn sizes_are_timms() {
    let published = [
        ("efficientnet_lite0", 4.65),
        ("efficientnet_lite1", 5.42),
        ("efficientnet_lite2", 6.09),
        ("efficientnet_lite3", 8.20),
        ("efficientnet_lite4", 13.01),
        ("tf_efficientnet_b0", 5.29),
        ("tf_efficientnet_b1", 7.79),
        ("tf_efficientnet_b2", 9.11),
        ("tf_efficientnet_b3", 12.23),
        ("tf_efficientnet_b4", 19.34),
        ("resnet50d", 25.58),
        ("mobilenetv3_small_100", 2.54),
        ("mobilenetv3_large_100", 5.48),
        ("mobilenetv4_conv_small", 3.77),
        ("mobilenetv4_conv_medium", 9.72),
        ("regnety_006", 6.06),
        ("regnety_008", 6.26),
        ("regnety_040", 20.65),
        ("regnety_064", 30.58),
        ("regnety_080", 39.18),
        ("regnety_120", 51.82),
        ("vit_tiny_patch16_224", 5.72),
        ("vit_small_patch16_224", 22.05),
        ("vit_small_patch32_224", 22.88),
        ("deit_tiny_patch16_224", 5.72),
        ("deit_small_patch16_224", 22.05),
        ("deit_base_patch16_224", 86.57),
    ];
    for (name, millions) in published {
        let found = count(&find(name).expect("a known name").graph()) as f64 / 1e6;
        assert!((found - millions).abs() <= 0.005, "{name}: {found}");
    }
}

#[test]
fn names_are_unique() {
    let names: BTreeSet<&str> = all().map(|architecture| architecture.name).collect();
    assert_eq!(names.len(), all().count());
    for architecture in all() {
        let graph = architecture.graph();
        let nodes: BTreeSet<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(nodes.len(), graph.nodes.len(), "{}", architecture.name);
        assert!(graph.shapes(architecture.image_size as usize).is_ok(), "{}", architecture.name);
    }
}

#[test]
fn layers_are_found_by_name_and_by_group() {
    let last = |graph: &Graph, name: &str| {
        let nodes = graph.nodes_through(name).expect("a layer");
        let layers = graph.layers();
        let layer =
            layers.iter().find(|layer| layer.nodes.end == nodes).expect("a cut between layers");
        graph.nodes[layer.main].name.clone()
    };
    let graph = find("resnet18").expect("a known name").graph();
    assert_eq!(last(&graph, "layer1"), "layer1.1.conv2");
    assert_eq!(last(&graph, "layer2.0.bn1"), "layer2.0.conv1");
    assert_eq!(last(&graph, "conv1"), "conv1");
    assert_eq!(last(&graph, "maxpool"), "maxpool");
    let error = graph.nodes_through("layer").expect_err("no such layer").to_string();
    assert!(
        error.contains("conv1, maxpool, layer1, layer2, layer3, layer4, avgpool, fc"),
        "{error}"
    );
    let lite = find("efficientnet_lite0").expect("a known name").graph();
    assert_eq!(last(&lite, "blocks.3"), "blocks.3.2.conv_pwl");
    assert!(graph.shapes(1).is_ok() && lite.shapes(1).is_ok());
    assert!(graph.shapes(0).is_err());
}

/// Initial weights and dropped branches are drawn from streams with these numbers: another
/// number would give another network.
#[test]
fn random_streams_keep_their_numbers() {
    let streams = |name: &str| {
        let graph = find(name).expect("a known name").graph();
        let stream = |node: &Node| match &node.operation {
            Operation::Convolution(convolution) => Some(convolution.stream),
            Operation::Add(add) => Some(add.stream),
            _ => None,
        };
        let of =
            |wanted: &str| graph.nodes.iter().find(|node| node.name == wanted).and_then(stream);
        [
            "conv1",
            "layer1.0.conv1",
            "layer2.0.downsample.0",
            "layer2.0.add",
            "conv_head",
            "blocks.1.1.add",
        ]
        .map(of)
    };
    assert_eq!(streams("resnet18"), [Some(0), Some(2), Some(6), Some(8), None, None]);
    assert_eq!(streams("efficientnet_lite0"), [None, None, None, None, Some(48), Some(8)]);
}

#[test]
fn a_wrong_name_finds_similar_ones() {
    assert_eq!(similar("resnt18")[0], "resnet18");
    assert_eq!(similar("ResNet-50")[0], "resnet50");
    assert_eq!(similar("vit_small")[0], "vit_small_patch16_224");
    assert_eq!(similar("dinov2"), [""; 0]);
    assert_eq!(similar("x"), [""; 0]);
    assert!(similar("efficientnet").len() == 3);
}

#[test]
fn every_architecture_has_a_repository_or_says_where_its_weights_are() {
    let none: Vec<&str> = all()
        .filter(|architecture| architecture.hub_repository().is_none())
        .map(|architecture| architecture.name)
        .collect();
    assert_eq!(none, ["efficientnet_lite0", "mobilenet_v3_small", "mobilenet_v3_large"]);
    for architecture in all() {
        let Some(repository) = architecture.hub_repository() else { continue };
        let (name, tag) = repository.split_once('.').expect("a tag");
        let own = name.trim_start_matches("timm/").trim_start_matches("tf_");
        assert_eq!(own, architecture.name.trim_start_matches("tf_"));
        assert!(tag.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{repository}");
    }
    assert_eq!(find("resnet18").expect("known").licence(), "BSD-3-Clause");
    assert_eq!(find("regnety_040").expect("known").licence(), "MIT");
    assert_eq!(find("vit_small_patch14_dinov2").expect("known").licence(), "Apache-2.0");
}
