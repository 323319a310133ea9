//! The GPU engine: lowers a graph to steps, plans each pass's memory, and records it once as
//! dispatches of shaders, which wgpu runs through Vulkan, Metal or DirectX 12.
//!
//! A shader's text is generated. Sizes are its parameters, so that layers share compiled
//! shaders; the type of maps, the vectors that threads move, and the tiles of products are in the
//! text. No sum depends on the order in which workgroups run.

mod adapter;
mod arguments;
mod device;
mod engine;
mod error;
mod kernels;
mod memory;
mod parameters;
mod pass;
mod program;
mod record;
mod run;
mod shader;
mod step;
mod steps;
#[cfg(test)]
mod texts_tests;
mod traffic;
mod upload;

pub use adapter::{Gpu, gpus};
pub use engine::{DispatchTime, GpuEngine, Options};
pub use error::GpuError;
pub use traffic::{Traffic, Work, work};
