//! Compares orientations from all kinds of metadata with Pillow (files and results by
//! `fixtures/orientation.py`).

mod common;

use std::path::Path;

use common::{bytes, number, worst};
use regraft_data::decode::{DecodeOptions, decode};
use serde_json::Value;

#[test]
fn every_way_to_state_an_orientation_counts_as_in_pillow() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/orientation");
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("fixtures/orientation.json")).unwrap();
    assert!(cases.len() >= 39);
    let mut failures = Vec::new();
    for case in &cases {
        let name = case["file"].as_str().unwrap();
        let image = decode(&folder.join(name), &DecodeOptions::default()).unwrap();
        let expected = (number(&case["width"]), number(&case["height"]));
        if (image.width, image.height) != expected {
            failures
                .push(format!("{name}: is {} x {}, not {expected:?}", image.width, image.height));
            continue;
        }
        let worst = worst(&image.pixels, &bytes(&case["pixels"]));
        if worst > 0 {
            failures.push(format!("{name}: differs by {worst} levels"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
