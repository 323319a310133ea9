//! A classifier as an ONNX file.

mod builder;
mod network;
mod pixels;

use crate::error::ExportError;
use builder::{Attribute, Builder, Element, Extent};
use regraft::model::{Model, keys};
use regraft::nn::graph::Graph;
pub use regraft::nn::weights::StorageType;

/// The input of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// `pixels`, `uint8 [N, H, W, 3]`: images of any size, which the file resizes and normalises.
    Pixels,
    /// `input`, `float32 [N, 3, S, S]`: images that the caller has resized and normalised.
    Tensor,
}

/// Options for writing a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnnxOptions {
    /// The input of the file.
    pub input: Input,
    /// The type in which weights are stored. The file computes in f32 in any case.
    pub weights: StorageType,
}

/// Name of the input for unprepared images.
pub const PIXELS: &str = "pixels";
/// Name of the input of prepared images.
pub const TENSOR: &str = "input";
/// Name of the output before softmax.
pub const LOGITS: &str = "logits";
/// Name of the output that sums to 1.
pub const PROBABILITIES: &str = "probabilities";
/// Key of the metadata for the input: `pixels` or `tensor`.
pub const INPUT_KEY: &str = "regraft.input";
/// Key of the metadata that describes how the caller must prepare an image.
pub const USAGE_KEY: &str = "regraft.usage";

const PIXELS_USAGE: &str = "RGB in 0..255, decoded whole, turned upright (EXIF), without alpha; \
    of any size. The file resizes and \
                            normalises.";
const TENSOR_USAGE: &str = "RGB, resized and cropped as regraft.preprocessing says (Pillow's \
    antialiased filters), then \
                            (pixel / 255 - mean) / std, channels first.";

/// The bytes of an ONNX file (IR version 8, operator set 17) that computes the same as `model`.
/// Equal models give equal bytes.
///
/// # Errors
/// If a tensor is missing, not finite, or too large for the storage type, or if the file is too
/// large for ONNX.
pub fn to_bytes(model: &Model, options: OnnxOptions) -> Result<Vec<u8>, ExportError> {
    let size = model.preprocessing.image_size as usize;
    let graph = Graph { image_size: size, ..model.graph.clone() };
    let mut builder = Builder::new(options.weights);
    let batch = Extent::Free("N");
    let image = match options.input {
        Input::Pixels => {
            let shape = [batch, Extent::Free("H"), Extent::Free("W"), Extent::Fixed(3)];
            let pixels = builder.input(PIXELS, Element::U8, &shape, PIXELS_USAGE);
            pixels::lower(&mut builder, &pixels, &model.preprocessing)
        }
        Input::Tensor => {
            let shape = [batch, Extent::Fixed(3), Extent::Fixed(size), Extent::Fixed(size)];
            builder.input(TENSOR, Element::F32, &shape, TENSOR_USAGE)
        }
    };
    let logits = network::lower(&mut builder, &graph, &model.state, image)?;
    builder.set_scope("head");
    let probabilities = builder.op_with("Softmax", &[&logits], &[Attribute::Integer("axis", -1)]);
    let shape = [batch, Extent::Fixed(graph.classes())];
    builder.output(
        PROBABILITIES,
        &probabilities,
        &shape,
        "softmax of the logits, in the order of regraft.classes",
    );
    builder.output(LOGITS, &logits, &shape, "in the order of regraft.classes");
    builder.finish(model.architecture(), &metadata(model, options.input))
}

/// The file's metadata, by key.
fn metadata(model: &Model, input: Input) -> Vec<(String, String)> {
    let (word, usage) = match input {
        Input::Pixels => ("pixels", PIXELS_USAGE),
        Input::Tensor => ("tensor", TENSOR_USAGE),
    };
    let mut entries = model.file_metadata();
    entries.retain(|key, _| key.starts_with("regraft."));
    entries.insert(INPUT_KEY.to_owned(), word.to_owned());
    entries.insert(USAGE_KEY.to_owned(), usage.to_owned());
    debug_assert!(entries.contains_key(keys::CLASSES));
    entries.into_iter().collect()
}
