//! Which kernels suit a GPU.

use crate::adapter::Gpu;
use crate::kernels::matrix::Products;
use crate::kernels::tile::Tile;
use crate::kernels::units::{SUBGROUP, Units};
use regraft_nn::precision::Precision;

/// How a GPU computes products of maps of that precision.
pub(super) fn products(gpu: &Gpu, precision: Precision) -> Products {
    let memory = gpu.shared_memory as usize;
    let has_matrices = |side: u32| gpu.matrices.contains(&[side; 3]);
    let fragment = [16, 8].into_iter().find(|&side| has_matrices(side));
    // naga writes matrix units for Vulkan as the kernels use them.
    let fits = gpu.interface == "Vulkan" && gpu.subgroup == Some(SUBGROUP as u32);
    let units = fragment.filter(|_| fits && precision == Precision::F16).map(|fragment| Units {
        fragment: fragment as usize,
        is_emulated: false,
        memory,
        tile: None,
    });
    // Software compiles slowly: it gets few shaders.
    let tile = gpu.is_software().then_some(Tile::ALL[1]);
    Products { tile, memory, units, has_constants: !gpu.is_software() }
}
