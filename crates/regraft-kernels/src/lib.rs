//! CPU kernels of Regraft: convolution, batch norm, pooling, optimiser updates, image resampling, random numbers.

pub mod random;
