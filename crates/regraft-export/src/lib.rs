//! Writes a classifier in formats that other programs read, and checks the result.
//!
//! [`onnx::to_bytes`] makes an ONNX file, and [`check::check`] runs it in an independent engine and
//! compares the answers.

#![forbid(unsafe_code)]

pub mod check;
pub mod classifier;
pub mod error;
pub mod images;
pub mod onnx;
pub mod runtime;
pub mod timm;
mod well_formed;
mod widen;
