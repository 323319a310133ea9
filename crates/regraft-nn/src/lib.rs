//! Networks as graphs of primitive operations, what an engine has to do with them, and weight
//! files.
//!
//! A [`graph::Graph`] describes a network of [`ops`]. A crate of its own runs it on a device,
//! behind the [`engine::Engine`] trait, which is all that training, evaluation and checkpoints know
//! of it.

#![forbid(unsafe_code)]

pub mod architectures;
pub mod arena;
pub mod collective;
pub mod conformance;
pub mod engine;
pub mod graph;
pub mod initialize;
pub mod ops;
pub mod parameters;
pub mod precision;
pub mod shape;
pub mod tensor;
pub mod weights;
