//! Graphics processors: those that there are, and engines on them. Nothing here is called unless a
//! command asks for one, because drivers take a tenth of a second to load.

use regraft_nn::engine::Engine;
use regraft_nn::graph::Graph;
use regraft_nn::precision::Precision;

/// A graphics processor as its driver describes it, or software that stands for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graphics {
    /// Its name.
    pub name: String,
    /// `Vulkan`, `Metal` or `DirectX 12`.
    pub interface: &'static str,
    /// The driver and its version.
    pub driver: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `unknown`.
    pub kind: &'static str,
    /// Bytes of the largest buffer, which bounds a batch's largest map.
    pub largest_buffer: u64,
    /// Bytes of memory that a group of threads shares.
    pub shared_memory: u32,
    /// Whether it computes with 16-bit floats.
    pub has_f16: bool,
    /// Whether threads of a subgroup exchange values.
    pub has_subgroups: bool,
    /// Sizes of the matrices of 16-bit floats that it multiplies at once, `[rows, columns, depth]`.
    pub matrices: Vec<[u32; 3]>,
}

#[cfg(feature = "gpu")]
pub(super) use present::{all, check, open};

#[cfg(feature = "gpu")]
mod present {
    use super::{Engine, Graph, Graphics, Precision};
    use regraft_gpu::{Gpu, GpuEngine, GpuError, Options, gpus};

    /// All of them, by their numbers.
    pub fn all() -> Vec<Graphics> {
        gpus().into_iter().map(Graphics::from).collect()
    }

    impl From<Gpu> for Graphics {
        fn from(gpu: Gpu) -> Self {
            Self {
                name: gpu.name,
                interface: gpu.interface,
                driver: gpu.driver,
                kind: gpu.kind,
                largest_buffer: gpu.largest_buffer,
                shared_memory: gpu.shared_memory,
                has_f16: gpu.has_f16,
                has_subgroups: gpu.has_subgroups,
                matrices: gpu.matrices,
            }
        }
    }

    /// Checks that the GPU of this number can be used; the error is the reason if it cannot.
    pub fn check(number: usize) -> Result<(), String> {
        let count = gpus().len();
        let error = match count {
            0 => GpuError::None,
            _ if number >= count => GpuError::Number { number, count },
            _ => return Ok(()),
        };
        Err(error.to_string())
    }

    pub fn open(
        number: usize,
        graph: Graph,
        image_size: usize,
        precision: Precision,
    ) -> Result<Box<dyn Engine>, GpuError> {
        let options = Options { gpu: number, precision, checks: false };
        Ok(Box::new(GpuEngine::new(graph, image_size, options)?))
    }
}

#[cfg(not(feature = "gpu"))]
pub(super) use absent::{all, check, open};

#[cfg(not(feature = "gpu"))]
mod absent {
    use super::{Engine, Graph, Graphics, Precision};
    use crate::engines::OpenError;

    pub fn all() -> Vec<Graphics> {
        Vec::new()
    }

    pub fn check(_: usize) -> Result<(), String> {
        Err("this build has no engine for graphics processors (its feature `gpu` is off)"
            .to_owned())
    }

    pub fn open(
        number: usize,
        _: Graph,
        _: usize,
        _: Precision,
    ) -> Result<Box<dyn Engine>, OpenError> {
        let device = crate::engines::Device::Gpu(number);
        let why = check(number).err().unwrap_or_default();
        Err(OpenError::Unusable { device, why })
    }
}
