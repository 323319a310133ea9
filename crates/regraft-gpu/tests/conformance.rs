//! The conformance suite on the GPU engine.

mod common;

use common::has_gpu;
use regraft_gpu::{GpuEngine, Options};
use regraft_nn::engine::Engine;
use regraft_nn::graph::Graph;
use regraft_nn::precision::Precision;

fn open(graph: Graph, image_size: usize, precision: Precision) -> Box<dyn Engine> {
    let options = Options { gpu: 0, precision, checks: true };
    Box::new(GpuEngine::new(graph, image_size, options).expect("images large enough"))
}

regraft_nn::conformance_tests!(open, [in_f32 F32, in_f16 F16], has_gpu);
