//! Compares the operations of automatic augmentation with torchvision's on Pillow images; see
//! `fixtures/augmentation.py`.

mod common;

use common::{bytes, number, source};
use regraft_data::augmentation::operations::Operation;
use regraft_data::augmentation::policies::{OPERATIONS, Range};
use serde_json::Value;

/// The magnitude of an operation, as torchvision defines it.
fn magnitude(operation: Operation) -> f64 {
    match operation {
        Operation::Identity | Operation::AutoContrast | Operation::Equalize => 0.0,
        Operation::ShearX(value)
        | Operation::ShearY(value)
        | Operation::Rotate(value)
        | Operation::Solarize(value) => value,
        Operation::Brightness(value)
        | Operation::Color(value)
        | Operation::Contrast(value)
        | Operation::Sharpness(value) => value - 1.0,
        Operation::TranslateX(value) | Operation::TranslateY(value) => f64::from(value),
        Operation::Posterize(bits) => f64::from(bits),
    }
}

#[test]
fn operations_are_torchvisions_to_the_level() {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("fixtures/augmentation.json")).unwrap();
    let (mut seen, mut changes) = ([0; OPERATIONS as usize], [0; OPERATIONS as usize]);
    for case in cases.iter().filter(|case| case["kind"] == "operation") {
        let label =
            format!("{} of strength {}, {}", case["name"], case["strength"], case["policy"]);
        let [width, height] = [0, 1].map(|place| number(&case["size"][place]));
        let range = if case["policy"] == "trivial" { Range::TRIVIAL } else { Range::rand(14) };
        let operation = range.operation(
            number(&case["number"]),
            number(&case["strength"]),
            case["negative"] == true,
        );
        let expected = case["magnitude"].as_f64().unwrap();
        let translates = matches!(operation, Operation::TranslateX(_) | Operation::TranslateY(_));
        let expected = if translates { expected.trunc() } else { expected };
        assert!(
            (magnitude(operation) - expected).abs() <= 1e-6 * expected.abs().max(1.0),
            "{label}: {operation:?}"
        );
        let mut image = source(number(&case["sample"]), width, height);
        if case["dim"] == true {
            image.pixels.iter_mut().for_each(|level| *level = *level / 2 + 40);
        }
        let before = image.pixels.clone();
        let changed = operation.apply(image);
        assert!(changed.pixels == bytes(&case["pixels"]), "{label}");
        changes[number(&case["number"]) as usize] += usize::from(changed.pixels != before);
        seen[number(&case["number"]) as usize] += 1;
    }
    assert!(seen.iter().all(|&count| count > 1), "{seen:?}");
    // The first operation is the identity. The smallest shears and shifts move nothing.
    assert!(changes[0] == 0 && changes[1..].iter().all(|&count| count > 0), "{changes:?}");
}
