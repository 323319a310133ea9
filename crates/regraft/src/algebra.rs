//! Linear algebra on the processor, whatever device the network runs on: for the regression that
//! fits a head, and for distances between features.

pub use regraft_kernels::gemm;
pub use regraft_kernels::linear;
pub use regraft_kernels::softmax_regression;
pub use regraft_kernels::symmetric;
pub use regraft_kernels::vectors;
