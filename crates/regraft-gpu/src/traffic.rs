//! Counts the work of a training step without running it.

use crate::error::GpuError;
use crate::kernels::loss::Kind;
use crate::kernels::matrix::Products;
use crate::pass::{self, Common, Key};
use crate::program::Program;
use crate::step::UNIT;
use regraft_nn::arena::Arena;
use regraft_nn::engine::{Loss, Target};
use regraft_nn::graph::Graph;
use regraft_nn::parameters::parameters;
use regraft_nn::plan::Mode;
use regraft_nn::precision::Precision;
use std::collections::BTreeMap;

/// The dispatches of one kernel in a training step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// The kernel's name.
    pub kernel: String,
    /// Number of dispatches.
    pub dispatches: u64,
    /// Bytes of the buffers that they bind, each counted once for a dispatch.
    pub bytes: u64,
}

/// The work of a training step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The kernels, by name.
    pub kernels: Vec<Traffic>,
    /// Multiply-adds of convolutions and linear layers: forward, and twice as many backward.
    pub multiply_adds: u64,
    /// Bytes of memory for feature maps.
    pub memory: u64,
}

/// Counts a training step of all layers on `batch` images of `image_size` pixels, without the
/// update.
///
/// # Errors
/// If the images are too small for the graph.
pub fn work(
    mut graph: Graph,
    image_size: usize,
    batch: usize,
    precision: Precision,
) -> Result<Work, GpuError> {
    graph.image_size = image_size;
    let infos = parameters(&graph);
    let arena = Arena::new(&infos, graph.nodes.len());
    let program = Program::new(&graph, &infos, &arena, false)?;
    let common = Common {
        precision,
        allocation: 1 << 31,
        gradients_start: 0,
        classes: graph.classes(),
        products: Products::plain(),
        learned: arena.learned(),
    };
    let loss = Loss::SoftmaxCrossEntropy { label_smoothing: 0.0 };
    let key = Key {
        mode: Mode::Train { frozen: 0 },
        batch,
        has_levels: true,
        loss: Some(Kind::new(loss, &Target::Labels(&[]), false)),
    };
    let plan = pass::plan(&program, &common, key.mode, batch);
    let recorded = pass::record(&program, &common, &key, &plan);
    let mut kernels: BTreeMap<String, Traffic> = BTreeMap::new();
    for command in &recorded.commands {
        let kernel = command.shader.name.clone();
        let empty = Traffic { kernel: kernel.clone(), dispatches: 0, bytes: 0 };
        let traffic = kernels.entry(kernel).or_insert(empty);
        traffic.dispatches += 1;
        traffic.bytes += command.slices.iter().map(|slice| slice.bytes).sum::<u64>();
    }
    Ok(Work {
        kernels: kernels.into_values().collect(),
        multiply_adds: 3 * batch as u64 * graph.multiply_adds(image_size)?,
        memory: plan.memory as u64 * UNIT as u64,
    })
}
