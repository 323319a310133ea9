//! A run folder of an earlier version still loads, evaluates and resumes.

use crate::outcome::assert_says;
use crate::workspace::Workspace;
use regraft::model::Model;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// The run folder; its README says how it was made.
const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/run-0.1.0");
const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sample/fashion");
/// SHA-256 of the `model.safetensors` that the earlier version wrote.
const MODEL: &str = "9a2c1212d0e485c4e996e5d002d583514bcb24895eea50d22eff9bb2f4fb2581";

/// A workspace with the run and its images.
fn earlier_run() -> Workspace {
    let workspace = Workspace::new();
    copy(Path::new(FIXTURE), &workspace.path("run"));
    for line in workspace.text("run/data.csv").lines().skip(1) {
        let path = line.rsplit(',').next().expect("a path").trim_matches('"');
        let image = fs::read(Path::new(SAMPLE).join(path)).expect("an image of the sample");
        workspace.write(&format!("photos/{path}"), image);
    }
    workspace.write("run/model.safetensors", model_file());
    workspace
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path: PathBuf = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a copy");
        }
    }
}

/// The model file: its header and head from the fixture, and the backbone of the embedded model.
fn model_file() -> Vec<u8> {
    let read = |name: &str| fs::read(Path::new(FIXTURE).join(name)).expect("a part of the model");
    let (mut file, mut head) = (read("model.header"), read("model.head"));
    let header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&file[8..]).expect("a header");
    let embedded = Model::embedded().expect("the embedded model");
    let place = |name: &str| header[name]["data_offsets"][0].as_u64().expect("a place");
    let mut names: Vec<&String> = header.keys().filter(|name| *name != "__metadata__").collect();
    names.sort_by_key(|name| place(name));
    for name in names {
        if name.starts_with("classifier.") {
            // Bias and weight lie side by side, in the head's file as well.
            file.append(&mut head);
        } else {
            file.extend(embedded.state[name].iter().flat_map(|value| value.to_le_bytes()));
        }
    }
    let hash: String = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, MODEL, "the file is the one that was written");
    file
}

#[test]
fn a_complete_run_of_an_earlier_version_is_complete_and_its_model_works() {
    let workspace = earlier_run();
    let run = workspace.regraft("train --resume run").succeeded();
    assert_says(&run.stderr, &["run is complete"]);
    let summary = workspace.json("run/summary.json");
    let evaluated = workspace.regraft("evaluate run photos/test --json").succeeded();
    let evaluated: serde_json::Value = serde_json::from_str(&evaluated.stdout).expect("JSON");
    assert_eq!(evaluated["accuracy"], summary["test_accuracy"]);
    let loss = |value: &serde_json::Value| value.as_f64().expect("a loss");
    let difference = loss(&evaluated["loss"]) - loss(&summary["test_loss"]);
    assert!(difference.abs() < 1e-4, "the losses differ by {difference}");
}

#[test]
fn an_interrupted_run_of_an_earlier_version_resumes() {
    let workspace = earlier_run();
    let earlier = workspace.text("run/metrics.csv");
    let notes = workspace.json("run/summary.json")["notes"].clone();
    for name in ["summary.json", "checkpoints/epoch-000002-image-000000000.safetensors"] {
        fs::remove_file(workspace.path("run").join(name)).expect("a file of the run");
    }
    workspace.regraft("train --resume run").succeeded();
    let resumed = workspace.text("run/metrics.csv");
    let rows = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    assert_eq!(rows(&resumed)[..3], rows(&earlier)[..3], "the header and the epochs before");
    assert_eq!(rows(&resumed).len(), 4);
    let summary = workspace.json("run/summary.json");
    assert_eq!(summary["epochs"], 2);
    let (found, notes) = (summary["notes"].as_array(), notes.as_array().expect("notes"));
    let found = found.expect("notes");
    assert!(notes.iter().all(|note| found.contains(note)), "{found:?} lacks some of {notes:?}");
}
