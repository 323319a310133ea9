//! The steps of the CPU engine, one file each.

mod activation;
mod add;
mod attention;
mod average_pool;
mod batch_norm;
mod block;
mod class_token;
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
mod tokens;

pub(crate) use activation::ActivationStep;
pub(crate) use add::AddStep;
pub(crate) use attention::AttentionStep;
pub(crate) use average_pool::AveragePoolStep;
pub(crate) use batch_norm::BatchNormStep;
pub(crate) use class_token::ClassTokenStep;
pub(crate) use convolution::ConvolutionStep;
pub(crate) use convolution_norm::{ConvolutionNorm, Tail};
pub(crate) use dropout::DropoutStep;
pub(crate) use global_average_pool::GlobalAveragePoolStep;
pub(crate) use layer_norm::LayerNormStep;
pub(crate) use layer_scale::LayerScaleStep;
pub(crate) use linear::LinearStep;
pub(crate) use max_pool::MaxPoolStep;
pub(crate) use multiply::MultiplyStep;
pub(crate) use tokens::TokensStep;
