//! Reads bytes as tables or archives, with checks of properties that must hold for any bytes.

use regraft_data::archive::{UnpackLimits, unpack};
use regraft_data::catalogue::{Sample, ScanOptions, scan_labelled, scan_with};
use regraft_data::inputs::expand;
use std::path::Path;

const LIMITS: UnpackLimits = UnpackLimits { bytes: 1 << 16, entries: 16 };

/// Reads `bytes` as a table of each kind, below the empty folder `folder`.
///
/// # Panics
///
/// If a required property does not hold.
pub fn table(bytes: &[u8], folder: &Path) {
    for name in ["t.csv", "t.tsv", "t.jsonl", "t.txt", "t.json"] {
        let table = folder.join(name);
        std::fs::write(&table, bytes).expect("written");
        let options = ScanOptions { cache: folder.join("cache"), ..ScanOptions::default() };
        let right = |samples: &[Sample], classes: &[String]| {
            let breaks = |text: &str| text.contains(['\n', '\r', '\0', '\u{85}', '\u{2028}']);
            assert!(samples.iter().all(|sample| (sample.label as usize) < classes.len()));
            assert!(samples.iter().all(|sample| !breaks(sample.path.to_str().expect("text"))));
            assert!(classes.iter().all(|class| !breaks(class) && !class.trim().is_empty()));
        };
        match scan_with(&table, &options, &mut |_| {}) {
            Ok(catalogue) => {
                assert!(catalogue.classes.len() >= 2);
                let parts = [&catalogue.train, &catalogue.validation, &catalogue.test];
                parts.into_iter().for_each(|part| right(part, &catalogue.classes));
            }
            Err(error) => {
                assert!(error.to_string().starts_with(table.to_str().expect("text")), "{error}")
            }
        }
        if let Ok(labelled) = scan_labelled(&table, &options.cache) {
            right(&labelled.samples, &labelled.names);
        }
        let _ = expand(&[table.to_str().expect("text").to_owned()], &options.cache);
    }
}

/// Unpacks `bytes` in the empty folder `folder`: nothing may be written outside of a folder inside
/// it, nor more than the limit.
///
/// # Panics
///
/// If a required property does not hold.
pub fn archive(bytes: &[u8], folder: &Path) {
    let (archive, inner) = (folder.join("a"), folder.join("deep/inner"));
    std::fs::write(&archive, bytes).expect("written");
    std::fs::create_dir(folder.join("deep")).expect("made");
    let outcome = unpack(&archive, &inner, &LIMITS, &mut |_, _| {});
    let names = |path: &Path| std::fs::read_dir(path).map_or(0, Iterator::count);
    assert!(names(folder) == 2 && names(&folder.join("deep")) <= 1, "written elsewhere");
    let (files, size) = content(&inner);
    assert!(size <= LIMITS.bytes + 1, "more than the limit");
    assert!(files <= LIMITS.entries, "more than the limit");
    assert!(outcome.is_err() || size <= LIMITS.bytes);
}

/// Number of files below a folder, and of their bytes.
fn content(path: &Path) -> (usize, u64) {
    let Ok(entries) = std::fs::read_dir(path) else { return (0, 0) };
    let of_entry = |path: &Path| match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => content(path),
        Ok(metadata) => {
            assert!(metadata.is_file(), "a link");
            (1, metadata.len())
        }
        Err(_) => (0, 0),
    };
    let each = entries.flatten().map(|entry| of_entry(&entry.path()));
    each.fold((0, 0), |(files, bytes), (more, size)| (files + more, bytes + size))
}
