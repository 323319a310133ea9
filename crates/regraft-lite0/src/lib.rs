//! EfficientNet-Lite0 with ImageNet weights, embedded in Regraft as its source model.
//!
//! This crate is data: a safetensors file, the names of the classes that its head was trained on,
//! and where both come from (`NOTICE`). How the network is built and how pictures must be prepared
//! for it is known to `regraft-nn` and `regraft`.
#![forbid(unsafe_code)]

/// The weights: a safetensors file with the parameter names of timm's `tf_efficientnet_lite0`.
/// Tensors of two or more dimensions are f16, one-dimensional ones f32; 4,652,008 parameters and
/// batch norm's running statistics.
pub static WEIGHTS: &[u8] = include_bytes!("../data/efficientnet_lite0.safetensors");

/// ImageNet's 1000 classes in the order of the logits, one a line: the words of WordNet that mean
/// the class (`hotdog, hot dog, red hot`). No two are equal.
pub static CLASSES: &str = include_str!("../data/imagenet_classes.txt");

/// The WordNet 3.0 identifiers of the classes in the order of the logits, one a line (`n07697537`),
/// as ImageNet names its folders.
pub static SYNSETS: &str = include_str!("../data/imagenet_synsets.txt");

/// What the classes and the kinds above them are called (WordNet 3.0). A line for each synset, the
/// classes first, in the order of the logits: identifier, words with `;` between, identifiers of
/// the synsets above it with a space between; tabs between the three. A word whose most frequent
/// sense is another one has this sense's number after `#`. Kinds of more than half the classes are
/// left out.
pub static WORDNET: &str = include_str!("../data/imagenet_wordnet.txt");

/// The class names of [`CLASSES`], as many as the head has logits.
pub fn class_names() -> Vec<&'static str> {
    CLASSES.lines().collect()
}

/// The WordNet identifiers of [`SYNSETS`], as many as the head has logits.
pub fn synsets() -> Vec<&'static str> {
    SYNSETS.lines().collect()
}
