//! The foundation that Regraft's data, networks and kernels share; it depends only on the standard
//! library.
//!
//! Nothing here depends on a device. The one `unsafe` call is in [`resample`], which runs a copy of
//! its loops that is compiled for AVX2.

pub mod adam;
pub mod element;
pub mod function;
pub mod mix;
pub mod normalisation;
pub mod random;
pub mod resample;
pub mod share;
