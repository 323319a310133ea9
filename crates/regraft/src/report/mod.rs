//! What a run reports: a row for each epoch, a picture of them, a summary, and a table of an evaluation.

mod axis;
pub mod curves;
pub mod epochs;
pub mod rates;
pub mod summary;
pub mod table;
