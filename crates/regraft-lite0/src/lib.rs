//! EfficientNet-Lite0 with ImageNet weights, embedded in Regraft as its source model.
//!
//! This crate is data: a safetensors file, the names of the classes of its head, and the origin of
//! both (`NOTICE`). `regraft-nn` and `regraft` know how to build the network and how to prepare
//! images for it.
#![forbid(unsafe_code)]

/// The weights: a safetensors file with the parameter names of timm's `tf_efficientnet_lite0`.
/// Tensors of two or more dimensions are f16, and one-dimensional ones are f32. There are 4,652,008
/// parameters, and batch norm's running statistics.
pub static WEIGHTS: &[u8] = include_bytes!("../data/efficientnet_lite0.safetensors");

/// ImageNet's 1000 classes in the order of the logits, one on each line: WordNet's words for the
/// class (`hotdog, hot dog, red hot`). No two lines are equal.
pub static CLASSES: &str = include_str!("../data/imagenet_classes.txt");

/// The WordNet 3.0 identifiers of the classes in the order of the logits, one on each line
/// (`n07697537`), which are also the names of ImageNet's folders.
pub static SYNSETS: &str = include_str!("../data/imagenet_synsets.txt");

/// The words for the classes and for the kinds above them (WordNet 3.0). There is a line for each
/// synset, the classes first, in the order of the logits: its identifier, its words separated by
/// `;`, and the identifiers of the synsets above it separated by spaces; the three are separated by
/// tabs. If a word's most frequent sense is another one, the number of this sense follows it after
/// `#`. Kinds of more than half of the classes are left out.
pub static WORDNET: &str = include_str!("../data/imagenet_wordnet.txt");

/// The class names in [`CLASSES`], as many as the head has logits.
pub fn class_names() -> Vec<&'static str> {
    CLASSES.lines().collect()
}

/// The WordNet identifiers in [`SYNSETS`], as many as the head has logits.
pub fn synsets() -> Vec<&'static str> {
    SYNSETS.lines().collect()
}
