//! Networks as graphs of primitive operations, the interface of engines, and weight files.
//!
//! A [`graph::Graph`] describes a network of [`ops`]. An engine, in a crate of its own, runs it on
//! a device. Training, evaluation and checkpoints use an engine only through the [`engine::Engine`]
//! trait.

#![forbid(unsafe_code)]

pub mod architectures;
pub mod arena;
pub mod collective;
pub mod conformance;
pub mod engine;
pub mod graph;
pub mod initialize;
pub mod layout;
pub mod lowering;
pub mod ops;
pub mod parameters;
pub mod plan;
pub mod precision;
pub mod shape;
pub mod tensor;
pub mod weights;
