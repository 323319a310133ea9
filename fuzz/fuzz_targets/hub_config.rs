//! Reads any bytes as a `config.json` from the Hub.

#![no_main]

use regraft::hub_config::HubConfig;
use std::cell::LazyCell;
use tempfile::TempDir;

thread_local! {
    static FOLDER: LazyCell<TempDir> =
        LazyCell::new(|| TempDir::new().expect("a temporary folder"));
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    FOLDER.with(|folder| {
        std::fs::write(folder.path().join("config.json"), bytes).expect("written");
        if let Ok(Some(mut config)) = HubConfig::beside(&folder.path().join("model.safetensors")) {
            assert!(config.preprocessing.image_size > 0 && !config.notes.is_empty());
            if let Ok(Some(names)) = config.class_names(2) {
                assert_eq!(names.len(), 2);
            }
        }
    });
});
