//! Errors of exporting a model.

use regraft::nn::graph::GraphError;

/// A model that cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The image size is too small for the network.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The model lacks a tensor of its network.
    #[error("the model has no tensor {name} with {length} elements; its file is damaged")]
    MissingTensor {
        /// PyTorch's name of the tensor.
        name: String,
        /// Elements that the network needs.
        length: usize,
    },
    /// A weight does not fit into 16 bits.
    #[error("{value:e}, an element of {name}, does not fit into f16; export with --weights f32")]
    HalfRange {
        /// PyTorch's name of the tensor.
        name: String,
        /// The element, after batch norm was folded in.
        value: f32,
    },
    /// A weight is NaN or infinite.
    #[error(
        "{name} has an element that is not finite, so the model cannot classify; train again with \
         a lower --lr"
    )]
    NotFinite {
        /// PyTorch's name of the tensor.
        name: String,
    },
    /// The file exceeds the size limit of ONNX, 2 GiB.
    #[error(
        "the file would have {bytes} bytes, and ONNX files have at most 2 GiB; export with \
         --weights f16"
    )]
    TooLarge {
        /// Length of the file.
        bytes: usize,
    },
}
