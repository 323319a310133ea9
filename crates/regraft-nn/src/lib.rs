//! Networks as graphs of primitive operations, the engine that runs them, and weight files.
//!
//! A [`graph::Graph`] describes a network of [`ops`]; [`cpu::CpuEngine`] runs it behind the [`engine::Engine`] trait, which is
//! all that training, evaluation and checkpoints know of a device.

#![forbid(unsafe_code)]

pub mod architectures;
pub mod cpu;
pub mod engine;
pub mod graph;
pub mod initialize;
pub mod ops;
pub mod parameters;
pub mod precision;
pub mod shape;
pub mod tensor;
pub mod weights;
