//! Writes a classifier in formats that other programs read, and checks what it wrote.
//!
//! [`onnx::to_bytes`] makes an ONNX file, [`check::check`] runs it in an engine that is not ours
//! and compares the answers.

#![forbid(unsafe_code)]

pub mod check;
pub mod classifier;
pub mod error;
pub mod images;
pub mod onnx;
mod protobuf;
pub mod runtime;
pub mod timm;
mod well_formed;
mod widen;
