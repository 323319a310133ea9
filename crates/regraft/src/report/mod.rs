//! What a run reports: a row for each epoch, a picture of them, a summary, and a table of an
//! evaluation.

pub(crate) mod axis;
pub mod curves;
pub(crate) mod drawing;
pub mod epochs;
pub(crate) mod escape;
pub mod rates;
pub mod strengths;
pub mod summary;
pub mod table;
