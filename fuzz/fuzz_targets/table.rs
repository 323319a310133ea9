//! Any bytes, taken for a table of each kind.

#![no_main]

use regraft_data::catalogue::{ScanOptions, scan_labelled, scan_with};
use std::cell::LazyCell;
use tempfile::TempDir;

thread_local! {
    static FOLDER: LazyCell<TempDir> = LazyCell::new(|| TempDir::new().expect("a temporary folder"));
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    FOLDER.with(|folder| {
        for name in ["t.csv", "t.tsv", "t.jsonl"] {
            let table = folder.path().join(name);
            std::fs::write(&table, bytes).expect("written");
            let options = ScanOptions { cache: folder.path().join("cache"), ..ScanOptions::default() };
            if let Ok(catalogue) = scan_with(&table, &options, &mut |_| {}) {
                assert!(catalogue.classes.len() >= 2);
                let parts = [&catalogue.train, &catalogue.validation, &catalogue.test];
                assert!(parts.into_iter().flatten().all(|sample| (sample.label as usize) < catalogue.classes.len()));
            }
            if let Ok(labelled) = scan_labelled(&table, &options.cache) {
                assert!(labelled.samples.iter().all(|sample| (sample.label as usize) < labelled.names.len()));
            }
        }
    });
});
