//! Any bytes, taken for an archive: nothing may be written outside of its folder, nor more than the limit.

#![no_main]

use regraft_data::archive::{UnpackLimits, unpack};
use std::path::Path;
use tempfile::TempDir;

const LIMITS: UnpackLimits = UnpackLimits { bytes: 1 << 16, entries: 16 };

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let folder = TempDir::new().expect("a temporary folder");
    let (zip, inner) = (folder.path().join("a.zip"), folder.path().join("deep/inner"));
    std::fs::write(&zip, bytes).expect("written");
    std::fs::create_dir(folder.path().join("deep")).expect("made");
    let _ = unpack(&zip, &inner, &LIMITS, &mut |_, _| {});
    let names = |path: &Path| std::fs::read_dir(path).map_or(0, Iterator::count);
    assert!(names(folder.path()) == 2 && names(&folder.path().join("deep")) <= 1, "written elsewhere");
    assert!(size(&inner) <= LIMITS.bytes + 1, "more than the limit");
});

fn size(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let of_entry = |path: &Path| match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => size(path),
        Ok(metadata) => {
            assert!(metadata.is_file(), "a link");
            metadata.len()
        }
        Err(_) => 0,
    };
    entries.flatten().map(|entry| of_entry(&entry.path())).sum()
}
