//! Errors of the GPU engine.

use regraft_nn::graph::GraphError;

/// A GPU engine that cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GpuError {
    /// The images are too small for the network.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// No driver offers a GPU.
    #[error(
        "no GPU was found: Regraft uses Vulkan on Linux, Metal on macOS and DirectX 12 on Windows; \
         install the GPU's driver (on Linux, `vulkaninfo --summary` lists what drivers offer)"
    )]
    None,
    /// There are fewer GPUs.
    #[error("there is no GPU of number {number}: this machine has {count}, numbered from 0")]
    Number {
        /// The number that was asked for.
        number: usize,
        /// How many there are.
        count: usize,
    },
    /// The driver opens no device.
    #[error("cannot use {adapter}: {why}")]
    Device {
        /// The GPU.
        adapter: String,
        /// The driver's message.
        why: String,
    },
    /// The GPU does not support the precision.
    #[error("{adapter} cannot compute with {precision}; use --precision f32")]
    Precision {
        /// The GPU.
        adapter: String,
        /// The precision.
        precision: &'static str,
    },
    /// The engine lacks an operation.
    #[error("the GPU engine cannot compute {operation} of {architecture} yet; use --device cpu")]
    Operation {
        /// The network.
        architecture: String,
        /// The operation.
        operation: &'static str,
    },
    /// The system gives no memory for the network's tensors.
    #[error("{adapter} has no memory for the network's {bytes} bytes of tensors")]
    Memory {
        /// The GPU.
        adapter: String,
        /// Bytes of the tensors.
        bytes: u64,
    },
}
