//! Runs the conformance tests on the CPU engine.

use regraft_cpu::CpuEngine;
use regraft_nn::engine::Engine;
use regraft_nn::graph::Graph;
use regraft_nn::precision::Precision;

fn open(graph: Graph, image_size: usize, precision: Precision) -> Box<dyn Engine> {
    Box::new(
        CpuEngine::with_precision(graph, image_size, 2, precision).expect("images large enough"),
    )
}

regraft_nn::conformance_tests!(open);
