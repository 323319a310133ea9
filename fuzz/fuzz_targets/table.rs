//! Reads any bytes as a table of each kind.

#![no_main]

#[path = "../../crates/regraft-data/examples/fuzz/data_files.rs"]
#[allow(dead_code)]
mod data_files;

use std::cell::LazyCell;
use tempfile::TempDir;

thread_local! {
    static FOLDER: LazyCell<TempDir> =
        LazyCell::new(|| TempDir::new().expect("a temporary folder"));
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    FOLDER.with(|folder| data_files::table(bytes, folder.path()));
});
