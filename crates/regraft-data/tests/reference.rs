//! Every file of a folder against Pillow, for pictures that cannot lie in the repository; see `fixtures/pillow_reference.py`.

mod common;

use std::path::Path;

use common::{number, worst};
use regraft_data::decode::{DecodeOptions, DecodeReason, decode};
use serde_json::Value;

#[test]
#[ignore = "needs REGRAFT_REFERENCE, a folder made by fixtures/pillow_reference.py"]
fn a_folder_is_decoded_as_pillow_does() {
    let folder = std::env::var("REGRAFT_REFERENCE").expect("REGRAFT_REFERENCE names a folder");
    let text = std::fs::read_to_string(Path::new(&folder).join("index.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(!cases.is_empty());
    let mut failures = Vec::new();
    for case in &cases {
        let path = Path::new(case["path"].as_str().unwrap());
        let name = path.file_name().unwrap().display();
        let outcome = decode(path, &DecodeOptions::default());
        match (&outcome, case["error"].as_str()) {
            (Ok(image), None) => {
                let size = (number(&case["width"]), number(&case["height"]));
                if (image.width, image.height) != size {
                    failures.push(format!("{name}: is {} x {}, not {size:?}", image.width, image.height));
                    continue;
                }
                let expected = std::fs::read(Path::new(&folder).join(case["pixels"].as_str().unwrap())).unwrap();
                let worst = worst(&image.pixels, &expected);
                let differences = image.pixels.iter().zip(&expected).map(|(left, right)| f64::from(left.abs_diff(*right)));
                let mean = differences.sum::<f64>() / expected.len() as f64;
                println!("{name}: differs by {worst} levels at most, {mean:.3} in the mean");
                if worst > 0 {
                    failures.push(format!("{name}: differs by {worst} levels at most, {mean:.3} in the mean"));
                }
            }
            (Ok(image), Some(error)) => println!("{name}: {} x {}, where Pillow says {error}", image.width, image.height),
            (Err(error), Some(theirs)) => println!("{}\n    (Pillow: {theirs})", error.reason),
            // libjpeg fills what it cannot read and only warns; we do so when asked to.
            (Err(error), None) if matches!(error.reason, DecodeReason::Damaged { .. }) => println!("Pillow reads it: {error}"),
            (Err(error), None) => failures.push(format!("Pillow reads what we refuse: {error}")),
        }
        if let Err(error) = outcome
            && matches!(error.reason, DecodeReason::Panicked { .. })
        {
            failures.push(error.to_string());
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
