//! The architectures that Regraft supports, one file for each family.

mod builder;
mod convnext;
mod efficientnet;
mod inverted_residual;
mod mobilenet_v3;
mod resnet;
mod squeeze_excite;

use crate::graph::Graph;
use efficientnet::Origin;

/// The filter that resized a source model's images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceInterpolation {
    /// Pillow's `BILINEAR`.
    Bilinear,
    /// Pillow's `BICUBIC`.
    Bicubic,
}

/// An architecture and the facts about its source model.
#[derive(Clone, Copy, Debug)]
pub struct Architecture {
    /// The name that `--model` takes.
    pub name: &'static str,
    /// Side of the square images that the source model was trained on.
    pub image_size: u32,
    /// Short side to which an image is resized before its centre is cropped.
    pub resize_side: u32,
    /// The filter that resized the source model's images.
    pub interpolation: SourceInterpolation,
    /// Mean of each colour, in units of the full scale.
    pub mean: [f32; 3],
    /// Standard deviation of each colour, in units of the full scale.
    pub std: [f32; 3],
    /// ImageNet top-1 accuracy of the usual weights in percent, as published with them.
    pub source_accuracy: &'static str,
    /// The source of the weights.
    pub weights: &'static str,
    build: fn(&str) -> Graph,
}

impl Architecture {
    /// The network with a head of 1000 classes.
    #[must_use]
    pub fn graph(&self) -> Graph {
        (self.build)(self.name)
    }
}

const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// An architecture whose images have ImageNet's mean and standard deviation and 224 pixels.
const fn imagenet(
    name: &'static str,
    resize_side: u32,
    interpolation: SourceInterpolation,
    source_accuracy: &'static str,
    weights: &'static str,
    build: fn(&str) -> Graph,
) -> Architecture {
    let (mean, std) = (IMAGENET_MEAN, IMAGENET_STD);
    Architecture {
        name,
        image_size: 224,
        resize_side,
        interpolation,
        mean,
        std,
        source_accuracy,
        weights,
        build,
    }
}

const fn resnet(
    name: &'static str,
    source_accuracy: &'static str,
    weights: &'static str,
    build: fn(&str) -> Graph,
) -> Architecture {
    imagenet(name, 256, SourceInterpolation::Bilinear, source_accuracy, weights, build)
}

/// All architectures. The accuracies are those published with torchvision's `IMAGENET1K_V1` weights
/// or, if torchvision lacks the network, timm's.
pub const ALL: [Architecture; 11] = [
    Architecture {
        name: "efficientnet_lite0",
        image_size: 224,
        resize_side: 256,
        interpolation: SourceInterpolation::Bicubic,
        mean: [127.0 / 255.0; 3],
        std: [128.0 / 255.0; 3],
        source_accuracy: "75.1",
        weights: "embedded",
        build: efficientnet::efficientnet_lite0,
    },
    resnet(
        "resnet18",
        "69.758",
        "--weights resnet18-f37072fd.pth (torchvision) or timm/resnet18.tv_in1k",
        |name| resnet::resnet(name, [2, 2, 2, 2], false),
    ),
    resnet(
        "resnet34",
        "73.314",
        "--weights resnet34-b627a593.pth (torchvision) or timm/resnet34.tv_in1k",
        |name| resnet::resnet(name, [3, 4, 6, 3], false),
    ),
    resnet(
        "resnet50",
        "76.130",
        "--weights resnet50-0676ba61.pth (torchvision) or timm/resnet50.tv_in1k",
        |name| resnet::resnet(name, [3, 4, 6, 3], true),
    ),
    resnet(
        "resnet101",
        "77.374",
        "--weights resnet101-63fe2227.pth (torchvision) or timm/resnet101.tv_in1k",
        |name| resnet::resnet(name, [3, 4, 23, 3], true),
    ),
    resnet(
        "resnet152",
        "78.312",
        "--weights resnet152-394f9c45.pth (torchvision) or timm/resnet152.tv_in1k",
        |name| resnet::resnet(name, [3, 8, 36, 3], true),
    ),
    imagenet(
        "efficientnet_b0",
        256,
        SourceInterpolation::Bicubic,
        "77.692",
        "--weights efficientnet_b0_rwightman-7f5810bc.pth (torchvision) or \
         timm/efficientnet_b0.ra_in1k",
        |name| efficientnet::efficientnet_b0(name, Origin::PyTorch),
    ),
    imagenet(
        "tf_efficientnet_b0",
        256,
        SourceInterpolation::Bicubic,
        "76.8",
        "--weights timm/tf_efficientnet_b0.aa_in1k",
        |name| efficientnet::efficientnet_b0(name, Origin::TensorFlow),
    ),
    imagenet(
        "mobilenet_v3_large",
        256,
        SourceInterpolation::Bilinear,
        "74.042",
        "--weights mobilenet_v3_large-8738ca79.pth (torchvision)",
        |name| mobilenet_v3::mobilenet_v3_large(name, 1e-3, 0.01),
    ),
    imagenet(
        "mobilenetv3_large_100",
        256,
        SourceInterpolation::Bicubic,
        "75.8",
        "--weights timm/mobilenetv3_large_100.ra_in1k",
        |name| mobilenet_v3::mobilenet_v3_large(name, 1e-5, 0.1),
    ),
    imagenet(
        "convnext_tiny",
        236,
        SourceInterpolation::Bilinear,
        "82.52",
        "--weights convnext_tiny-983f1562.pth (torchvision) or timm/convnext_tiny.fb_in1k",
        |name| convnext::convnext(name, [3, 3, 9, 3], [96, 192, 384, 768], 0.1),
    ),
];

/// The architecture of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Architecture> {
    ALL.iter().find(|architecture| architecture.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Operation;
    use crate::parameters::parameters;

    /// Parameter counts and multiply-adds as published by torchvision (Lite0: by the TensorFlow
    /// repository).
    #[test]
    fn sizes_are_the_published_ones() {
        let published = [
            ("efficientnet_lite0", 4_652_008, 0.385),
            ("resnet18", 11_689_512, 1.814),
            ("resnet34", 21_797_672, 3.664),
            ("resnet50", 25_557_032, 4.089),
            ("resnet101", 44_549_160, 7.801),
            ("resnet152", 60_192_808, 11.514),
            ("efficientnet_b0", 5_288_548, 0.386),
            ("tf_efficientnet_b0", 5_288_548, 0.386),
            ("mobilenet_v3_large", 5_483_032, 0.217),
            ("mobilenetv3_large_100", 5_483_032, 0.217),
            ("convnext_tiny", 28_589_128, 4.456),
        ];
        for (name, count, billions) in published {
            let graph = find(name).expect("a known name").graph();
            let learned: usize = parameters(&graph)
                .iter()
                .filter(|parameter| parameter.role.is_learned())
                .map(|parameter| parameter.length())
                .sum();
            assert_eq!(learned, count, "{name}");
            let measured = graph.multiply_adds(224).expect("224 is large enough") as f64 / 1e9;
            assert!(
                (measured - billions).abs()
                    < 0.001 + 0.01 * f64::from(u8::from(name.starts_with('e'))),
                "{name}: {measured}"
            );
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
            let stream = |node: &crate::graph::Node| match &node.operation {
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
}
