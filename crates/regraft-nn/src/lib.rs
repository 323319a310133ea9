//! Architectures as data, the planner, the engine that runs a plan, and weight files.
//!
//! A [`graph::Graph`] describes a network; [`plan::Plan`] lays a pass over it out in memory; [`cpu::CpuEngine`] runs it behind the
//! [`engine::Engine`] trait, which is all that training, evaluation and checkpoints know of a device.

#![forbid(unsafe_code)]

pub mod architectures;
pub mod cpu;
pub mod engine;
pub mod graph;
pub mod initialize;
pub mod parameters;
pub mod plan;
pub mod precision;
pub mod weights;
