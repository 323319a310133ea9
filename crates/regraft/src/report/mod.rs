//! The reports of a run: a row for each epoch, plots, a summary, and the table of an evaluation.

#[cfg(feature = "report")]
pub(crate) mod axis;
#[cfg(feature = "report")]
pub mod curves;
pub mod document;
#[cfg(feature = "report")]
pub(crate) mod drawing;
pub mod epochs;
pub(crate) mod escape;
#[cfg(any(feature = "audit", feature = "report"))]
pub(crate) mod jpeg;
#[cfg(feature = "report")]
pub mod rates;
#[cfg(feature = "report")]
pub mod reliability;
#[cfg(feature = "report")]
pub mod strengths;
pub mod summary;
pub mod table;
