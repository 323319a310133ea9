//! The kernels, one file for each family: the text of their shaders, and their dispatches.

pub(crate) mod activation;
pub(crate) mod batch_norm;
pub(crate) mod batch_norm_backward;
pub(crate) mod channels;
pub(crate) mod columns;
pub(crate) mod decide;
pub(crate) mod depthwise;
pub(crate) mod elementwise;
pub(crate) mod finish;
mod gather;
pub(crate) mod halves;
pub(crate) mod images;
pub(crate) mod input;
pub(crate) mod layer_norm;
pub(crate) mod loss;
pub(crate) mod matrix;
pub(crate) mod optimizer;
pub(crate) mod pooling;
pub(crate) mod random;
mod side;
pub(crate) mod tile;
pub(crate) mod units;
pub(crate) mod window;
