//! The steps of the CPU engine, one file each.

mod activation;
mod add;
mod average_pool;
mod batch_norm;
mod convolution;
mod convolution_norm;
mod drop;
mod dropout;
mod filter;
mod global_average_pool;
mod layer_norm;
mod layer_scale;
mod linear;
mod max_pool;
mod multiply;
mod norm_state;

pub(super) use activation::ActivationStep;
pub(super) use add::AddStep;
pub(super) use average_pool::AveragePoolStep;
pub(super) use batch_norm::BatchNormStep;
pub(super) use convolution::ConvolutionStep;
pub(super) use convolution_norm::{ConvolutionNorm, Tail};
pub(super) use dropout::DropoutStep;
pub(super) use global_average_pool::GlobalAveragePoolStep;
pub(super) use layer_norm::LayerNormStep;
pub(super) use layer_scale::LayerScaleStep;
pub(super) use linear::LinearStep;
pub(super) use max_pool::MaxPoolStep;
pub(super) use multiply::MultiplyStep;
