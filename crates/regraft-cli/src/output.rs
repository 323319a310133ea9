//! The output of commands: results go to standard output, everything else to standard error.

use crate::failure::Failure;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

static IS_SILENT: AtomicBool = AtomicBool::new(false);

/// From now on nothing is written: another process does.
#[cfg(feature = "mpi")]
pub fn silence() {
    IS_SILENT.store(true, Ordering::Relaxed);
}

/// Whether another process writes.
pub fn is_silent() -> bool {
    IS_SILENT.load(Ordering::Relaxed)
}

/// Writes a line to standard output. A closed pipe is an error, not a panic.
pub fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    if is_silent() {
        return Ok(());
    }
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
    if is_silent() {
        return;
    }
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
