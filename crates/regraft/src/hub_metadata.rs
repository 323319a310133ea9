//! A hub's `config.json` for a weight file, as the metadata of a model file.

use crate::hub_config::HubConfig;
use crate::model::{Model, json, keys};
use std::collections::BTreeMap;
use std::path::Path;

/// Metadata for a conversion of `weights`, and notes for the user. Both are empty without a
/// `config.json` beside the weights.
///
/// A conversion writes a single file, so architecture, preprocessing and class names would be lost
/// without this. If the `config.json` cannot be followed, the metadata is empty and a note says
/// what the converted file lacks.
#[must_use]
pub fn hub_metadata(weights: &Path) -> (BTreeMap<String, String>, Vec<String>) {
    let lost = |reason: String| {
        let note = format!(
            "the converted file lacks the architecture, image size, crop, mean, std and class \
             names of the config.json beside {}: \
             {reason}",
            weights.display()
        );
        (BTreeMap::new(), vec![note])
    };
    match HubConfig::beside(weights) {
        Ok(None) => return (BTreeMap::new(), Vec::new()),
        Ok(Some(_)) => {}
        Err(error) => return lost(error.to_string()),
    }
    let model = match Model::load(weights, None) {
        Ok(model) => model,
        Err(error) => return lost(error.to_string()),
    };
    // A file that names its architecture has metadata of its own, which counts instead of the
    // config.json.
    if model.metadata.contains_key(keys::ARCHITECTURE) {
        return (BTreeMap::new(), Vec::new());
    }
    let mut metadata = BTreeMap::from([
        (keys::ARCHITECTURE.to_owned(), model.architecture().to_owned()),
        (keys::PREPROCESSING.to_owned(), json(&model.preprocessing)),
    ]);
    if !model.classes.is_empty() {
        metadata.insert(keys::CLASSES.to_owned(), json(&model.classes));
    }
    let mut notes = model.notes;
    notes.push("the converted file keeps this in its metadata".to_owned());
    (metadata, notes)
}
