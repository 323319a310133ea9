//! Facts about each architecture's usual weights, which are known before they are downloaded.

use crate::hub::{HubSettings, HubSource, cached_bytes};
use crate::model::HAS_EMBEDDED;
use regraft_nn::architectures::Architecture;
use regraft_nn::graph::Graph;
use regraft_nn::parameters::parameters;
use serde::Serialize;

/// Weights of timm's that are not those of the architecture's facts, or that are for another image
/// size: the side of their images, and their ImageNet top-1 accuracy in percent at that size by
/// timm's `results/results-imagenet.csv`.
const OF_TIMM: [(&str, u32, f64); 17] = [
    ("efficientnet_lite3", 300, 79.808),
    ("efficientnet_lite4", 380, 81.540),
    ("efficientnet_b1", 224, 77.592),
    ("efficientnet_b2", 256, 79.324),
    ("efficientnet_b3", 288, 81.472),
    ("efficientnet_b4", 320, 82.658),
    ("resnext101_64x4d", 224, 82.978),
    ("mobilenetv2_100", 224, 72.910),
    ("regnety_004", 224, 75.594),
    ("regnety_008_tv", 224, 78.672),
    ("regnety_016", 224, 80.668),
    ("regnety_032", 224, 81.788),
    ("regnety_080_tv", 224, 82.580),
    ("regnety_160", 224, 82.646),
    ("convnext_tiny", 224, 82.066),
    ("convnext_small", 224, 83.144),
    ("convnext_base", 224, 83.838),
];

/// The side of the images that timm's files of DINOv2 have position embeddings for.
const DINOV2_SIZE: usize = 518;

/// The weights that `--model NAME` uses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UsualWeights {
    /// The repository on the hub; `None` if there is none.
    pub repository: Option<&'static str>,
    /// Whether they are inside the program.
    pub embedded: bool,
    /// Side of their images.
    pub image_size: u32,
    /// Share of ImageNet's validation images that they get right.
    pub accuracy: f64,
    /// Who published the accuracy.
    pub accuracy_source: &'static str,
    /// The licence's SPDX identifier.
    pub licence: &'static str,
    /// Size of the file on the hub in bytes, computed from the tensors; `None` without a
    /// repository.
    pub download_bytes: Option<u64>,
    /// Size of the file in the cache; `None` if it is not there.
    pub cached_bytes: Option<u64>,
}

/// The usual weights of an architecture, and whether they are in the cache.
#[must_use]
pub fn usual_weights(architecture: &Architecture, settings: &HubSettings) -> UsualWeights {
    let embedded = architecture.weights == "embedded" && HAS_EMBEDDED;
    let repository = architecture.hub_repository();
    let of_timm = OF_TIMM.iter().find(|(name, ..)| *name == architecture.name);
    let percent = match of_timm {
        Some((_, _, percent)) => *percent,
        None => architecture.source_accuracy.parse().unwrap_or(f64::NAN),
    };
    let source = repository.and_then(|repository| HubSource::newest(repository).ok());
    UsualWeights {
        repository,
        embedded,
        image_size: of_timm.map_or(architecture.image_size, |(_, size, _)| *size),
        // To the digits that were published: 69.758 % is 0.69758.
        accuracy: (percent * 1e3).round() / 1e5,
        accuracy_source: match () {
            () if of_timm.is_some() => "timm",
            () if architecture.name.ends_with("dinov2") => "its authors",
            () if architecture.name.starts_with("efficientnet_lite") => "TensorFlow",
            () if architecture.weights.contains("(torchvision)") => "torchvision",
            () => "timm",
        },
        licence: architecture.licence(),
        download_bytes: repository.map(|_| file_bytes(architecture)),
        cached_bytes: source.and_then(|source| cached_bytes(&source, settings)),
    }
}

/// The size of timm's safetensors file: f32, batch norm's counters of 64 bits, and a header with a
/// line for each tensor.
fn file_bytes(architecture: &Architecture) -> u64 {
    const HEADER: usize = 70;
    let graph = architecture.graph();
    let is_dinov2 = architecture.name.ends_with("dinov2");
    let size = if is_dinov2 { DINOV2_SIZE } else { graph.image_size };
    let graph = Graph { image_size: size, ..graph };
    let head = graph.backbone();
    let tensors = parameters(&graph).into_iter().filter(|tensor| !is_dinov2 || tensor.node < head);
    let bytes = tensors.map(|tensor| {
        let counter = if tensor.name.ends_with("running_mean") { 8 + HEADER } else { 0 };
        tensor.name.len() + HEADER + 4 * tensor.length() + counter
    });
    bytes.sum::<usize>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_nn::architectures::{all, find};

    #[test]
    fn every_architecture_has_an_accuracy_with_its_source_and_a_size() {
        for (name, size, percent) in OF_TIMM {
            let known = find(name).expect("an architecture");
            let usual: f64 = known.source_accuracy.parse().expect("a number");
            assert!(size != known.image_size || percent != usual, "{name} does not differ");
            assert!(known.hub_repository().is_some(), "{name}");
        }
        let settings = HubSettings { cache: None, ..HubSettings::from_env() };
        for architecture in all() {
            let found = usual_weights(architecture, &settings);
            assert!(found.accuracy > 0.6 && found.accuracy < 0.9, "{}", architecture.name);
            assert_eq!(found.download_bytes.is_some(), found.repository.is_some());
            assert_eq!(found.cached_bytes, None);
        }
        let of = |name: &str| usual_weights(find(name).expect("known"), &settings);
        assert_eq!(
            (of("resnet18").accuracy, of("resnet18").accuracy_source),
            (0.69758, "torchvision")
        );
        assert_eq!(
            (of("regnety_004").accuracy, of("regnety_004").accuracy_source),
            (0.75594, "timm")
        );
        // The hub says 46.8 MB and 88.2 MB.
        let megabytes = |name| of(name).download_bytes.expect("a size") as f64 / 1e6;
        assert!((megabytes("resnet18") - 46.8).abs() < 0.1, "{}", megabytes("resnet18"));
        let dinov2 = megabytes("vit_small_patch14_dinov2");
        assert!((dinov2 - 88.2).abs() < 0.2, "{dinov2}");
    }
}
