//! The GPUs of this machine.

use crate::error::GpuError;
use std::sync::LazyLock;
use wgpu::{AdapterInfo, Backends, DeviceType, Features, Instance, InstanceDescriptor};

/// A GPU as its driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
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
    /// Threads of a subgroup, if it is always the same number.
    pub subgroup: Option<u32>,
    /// Sizes of the matrices of 16-bit floats that it multiplies at once with sums in f32, `[rows,
    /// columns, depth]`; none if it has no matrix units, or its driver offers none.
    pub matrices: Vec<[u32; 3]>,
}

impl Gpu {
    fn of(adapter: &wgpu::Adapter) -> Self {
        let AdapterInfo {
            name,
            driver,
            driver_info,
            backend,
            device_type,
            subgroup_min_size,
            subgroup_max_size,
            ..
        } = adapter.get_info();
        let (features, limits) = (adapter.features(), adapter.limits());
        let interface = match backend {
            wgpu::Backend::Vulkan => "Vulkan",
            wgpu::Backend::Metal => "Metal",
            wgpu::Backend::Dx12 => "DirectX 12",
            _ => "unknown",
        };
        let kind = match device_type {
            DeviceType::DiscreteGpu => "discrete",
            DeviceType::IntegratedGpu => "integrated",
            DeviceType::VirtualGpu => "virtual",
            DeviceType::Cpu => "software",
            DeviceType::Other => "unknown",
        };
        Self {
            name,
            interface,
            driver: [driver, driver_info].join(" ").trim().to_owned(),
            kind,
            largest_buffer: limits.max_buffer_size.min(limits.max_storage_buffer_binding_size),
            shared_memory: limits.max_compute_workgroup_storage_size,
            has_f16: features.contains(Features::SHADER_F16),
            has_subgroups: features.contains(Features::SUBGROUP),
            subgroup: (subgroup_min_size == subgroup_max_size).then_some(subgroup_max_size),
            matrices: matrices(adapter),
        }
    }

    /// Whether it is the processor in a GPU's place.
    #[must_use]
    pub fn is_software(&self) -> bool {
        self.kind == "software"
    }
}

fn matrices(adapter: &wgpu::Adapter) -> Vec<[u32; 3]> {
    if !adapter.features().contains(Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
        return Vec::new();
    }
    let mut sizes: Vec<[u32; 3]> = adapter
        .cooperative_matrix_properties()
        .into_iter()
        .filter(|matrix| {
            matrix.ab_type == wgpu::CooperativeScalarType::F16
                && matrix.cr_type == wgpu::CooperativeScalarType::F32
        })
        .map(|matrix| [matrix.m_size, matrix.n_size, matrix.k_size])
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// The adapters in the order of their numbers: GPUs first, then software that stands for one.
fn adapters() -> Vec<wgpu::Adapter> {
    // One for the process: NVIDIA's driver crashes if threads make and drop instances at once.
    static INSTANCE: LazyLock<Instance> = LazyLock::new(|| {
        let mut descriptor = InstanceDescriptor::new_without_display_handle();
        descriptor.backends = Backends::VULKAN | Backends::METAL | Backends::DX12;
        Instance::new(descriptor)
    });
    let mut adapters = pollster::block_on(INSTANCE.enumerate_adapters(Backends::all()));
    let order = |kind: DeviceType| match kind {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    };
    adapters.sort_by_key(|adapter| order(adapter.get_info().device_type));
    adapters
}

/// The GPUs of this machine, by the numbers that `--device gpu:N` takes. Loads the drivers, which
/// takes a tenth of a second or more.
#[must_use]
pub fn gpus() -> Vec<Gpu> {
    adapters().iter().map(Gpu::of).collect()
}

/// The adapter of a number.
///
/// # Errors
/// If there is none.
pub(crate) fn find(number: usize) -> Result<(wgpu::Adapter, Gpu), GpuError> {
    let mut adapters = adapters();
    let count = adapters.len();
    if count == 0 {
        return Err(GpuError::None);
    }
    if number >= count {
        return Err(GpuError::Number { number, count });
    }
    let adapter = adapters.swap_remove(number);
    let gpu = Gpu::of(&adapter);
    Ok((adapter, gpu))
}
