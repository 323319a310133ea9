//! Reads a data folder whose paths are any lines of text: splits, classes, runs and so on.

#![no_main]

use regraft_data::catalogue::{ScanOptions, scan_labelled, scan_with};
use std::collections::HashSet;
use std::path::{Component, Path};
use tempfile::TempDir;

const MOST_FILES: usize = 16;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let folder = TempDir::new().expect("a temporary folder");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("a folder");
    for line in text.lines().take(MOST_FILES) {
        let (path, content) = line.split_once('\t').unwrap_or((line, ""));
        let is_inside =
            Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        let file = data.join(path);
        // A name that is too long, or a file in the place of a folder, is left out.
        if is_inside && file.parent().is_some_and(|parent| std::fs::create_dir_all(parent).is_ok())
        {
            let _ = std::fs::write(file, content.replace('|', "\n"));
        }
    }
    let options = ScanOptions { cache: folder.path().join("cache"), ..ScanOptions::default() };
    match scan_with(&data, &options, &mut |_| {}) {
        Ok(catalogue) => {
            assert!(catalogue.classes.len() >= 2);
            let mut seen = HashSet::new();
            for sample in
                [&catalogue.train, &catalogue.validation, &catalogue.test].into_iter().flatten()
            {
                assert!((sample.label as usize) < catalogue.classes.len());
                assert!(seen.insert(&sample.path), "{}: in two sets", sample.path.display());
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(labelled) = scan_labelled(&data, &options.cache) {
        assert!(
            labelled.samples.iter().all(|sample| (sample.label as usize) < labelled.names.len())
        );
    }
});
