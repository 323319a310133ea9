//! The CPU engine: lowers a graph to steps, plans each pass's memory, and runs passes with the
//! kernels of `regraft-kernels`.

#![forbid(unsafe_code)]

mod engine;
mod losses;
mod parameter;
mod parameters;
mod pass;
#[cfg(test)]
mod plan_tests;
mod program;
mod range_sums;
mod slot;
mod step;
mod steps;
mod tensors;
mod update;

pub use engine::{CpuEngine, CpuError};
pub use regraft_kernels::{amx, isa};
