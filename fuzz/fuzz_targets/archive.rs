//! Unpacks any bytes as a ZIP or tar archive: nothing may be written outside of its folder, nor
//! more than the limit.

#![no_main]

#[path = "../../crates/regraft-data/examples/fuzz/data_files.rs"]
#[allow(dead_code)]
mod data_files;

use tempfile::TempDir;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let folder = TempDir::new().expect("a temporary folder");
    data_files::archive(bytes, folder.path());
});
