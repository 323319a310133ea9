//! CPU kernels of Regraft: matrix products, convolution, batch norm, pooling, losses, optimiser
//! updates, the arithmetic of JPEG.

// Kernels take their sizes and slices one by one: a struct for each call would hide which slice is
// written.
#![allow(clippy::too_many_arguments)]

mod columns;
mod processor;
mod rows;
mod scratch;
mod shape;

pub mod activation;
pub mod amx;
pub mod attention;
pub mod batch_norm;
pub mod channelwise;
pub mod convolution;
pub mod depthwise;
#[cfg(target_arch = "x86_64")]
mod direct;
pub mod element;
pub mod elementwise;
pub mod finish;
pub mod functions;
pub mod gemm;
pub mod images;
pub mod input;
pub mod isa;
pub mod jpeg;
pub mod layer_norm;
pub mod linear;
pub mod loss;
pub mod memory;
pub mod optimizer;
pub mod packing;
pub mod pooling;
pub mod separable;
pub mod softmax_regression;
pub mod symmetric;
pub mod tokens;
pub mod vectors;
pub mod winograd;
