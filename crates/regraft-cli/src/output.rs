//! The output of commands: results go to standard output, everything else to standard error.

use crate::failure::Failure;
use std::io::Write;

/// Writes a line to standard output. A closed pipe is an error, not a panic.
pub fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    writeln!(std::io::stdout().lock(), "{text}").map_err(Failure::from)
}

/// Writes a value as indented JSON.
pub fn json<T: serde::Serialize>(value: &T) -> Result<(), Failure> {
    line(serde_json::to_string_pretty(value).map_err(Failure::under_way)?)
}

/// Writes a value as JSON in one line.
pub fn compact_json<T: serde::Serialize>(value: &T) -> Result<(), Failure> {
    line(serde_json::to_string(value).map_err(Failure::under_way)?)
}

/// Writes a line to standard error. That nobody reads it is no reason to stop.
pub fn aside(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
