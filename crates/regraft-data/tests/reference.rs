//! Compares every file of a folder with Pillow, for images that cannot be in the repository; see
//! `fixtures/pillow_reference.py`. Prints a line for each file and then a table.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{number, worst};
use regraft_data::decode::{DecodeOptions, DecodeReason, decode};
use serde_json::Value;

/// The outcome for a file, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Same,
    Different,
    NotSupported,
    Damaged,
    OtherwiseRefused,
    NeitherReads,
    PillowRefuses,
    Panicked,
}

#[test]
#[ignore = "needs REGRAFT_REFERENCE, a folder made by fixtures/pillow_reference.py"]
fn a_folder_is_decoded_as_pillow_does() {
    let folder = std::env::var("REGRAFT_REFERENCE").expect("REGRAFT_REFERENCE names a folder");
    let text = std::fs::read_to_string(Path::new(&folder).join("index.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(!cases.is_empty());
    let mut table = BTreeMap::<Outcome, u32>::new();
    let mut failures = Vec::new();
    for case in &cases {
        let (outcome, message) = compare(case, Path::new(&folder));
        println!("{message}");
        *table.entry(outcome).or_default() += 1;
        if matches!(outcome, Outcome::Different | Outcome::OtherwiseRefused | Outcome::Panicked) {
            failures.push(message);
        }
    }
    println!();
    table.iter().for_each(|(outcome, count)| println!("{count:6} {outcome:?}"));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn compare(case: &Value, folder: &Path) -> (Outcome, String) {
    let path = Path::new(case["path"].as_str().unwrap());
    let name = path.file_name().unwrap().display();
    match (decode(path, &DecodeOptions::default()), case["error"].as_str()) {
        (Ok(image), None) => {
            let size = (number(&case["width"]), number(&case["height"]));
            if (image.width, image.height) != size {
                return (
                    Outcome::Different,
                    format!("{name}: is {} x {}, not {size:?}", image.width, image.height),
                );
            }
            let expected = std::fs::read(folder.join(case["pixels"].as_str().unwrap())).unwrap();
            let worst = worst(&image.pixels, &expected);
            let differences = image
                .pixels
                .iter()
                .zip(&expected)
                .map(|(left, right)| f64::from(left.abs_diff(*right)));
            let mean = differences.sum::<f64>() / expected.len() as f64;
            let outcome = if worst == 0 { Outcome::Same } else { Outcome::Different };
            (outcome, format!("{name}: differs by {worst} levels at most, {mean:.3} in the mean"))
        }
        (Ok(image), Some(error)) => (
            Outcome::PillowRefuses,
            format!("{name}: {} x {}, where Pillow says {error}", image.width, image.height),
        ),
        (Err(error), theirs) => {
            let outcome = match (&error.reason, theirs) {
                (DecodeReason::Panicked { .. }, _) => Outcome::Panicked,
                (_, Some(_)) => Outcome::NeitherReads,
                (DecodeReason::Unsupported { .. } | DecodeReason::NotAnImage { .. }, None) => {
                    Outcome::NotSupported
                }
                // libjpeg fills in unreadable parts and only warns; Regraft does so only if asked.
                (DecodeReason::Damaged { .. }, None) => Outcome::Damaged,
                _ => Outcome::OtherwiseRefused,
            };
            (
                outcome,
                format!("{name}: {} (Pillow: {})", error.reason, theirs.unwrap_or("reads it")),
            )
        }
    }
}
