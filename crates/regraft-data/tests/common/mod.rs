//! Helpers for the tests; fixtures by `fixtures/images.py`.
#![allow(dead_code, missing_docs)]

use std::path::Path;

use regraft_base::random::{Draws, Purpose};
use regraft_data::RgbImage;
use regraft_data::decode::{DecodeOptions, DecodeReason, decode, decode_bytes};
use regraft_data::preprocessing::{Interpolation, Preprocessing, ResizeMode};
use serde_json::Value;

/// An image of the fixture stream: the upper eight bits of each draw, with values near the ends set
/// to 0 and 255.
pub fn source(sample: u32, width: u32, height: u32) -> RgbImage {
    let mut draws = Draws::new(7, Purpose::Fixture, 0, sample);
    let level = |word: u32| match (word >> 24) as u8 {
        0..32 => 0,
        level @ 32..224 => level,
        224.. => 255,
    };
    let pixels = (0..width * height * 3).map(|_| level(draws.next_u32())).collect();
    RgbImage { width, height, pixels }
}

pub fn bytes(digits: &Value) -> Vec<u8> {
    let digits = digits.as_str().unwrap().as_bytes();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

pub fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

pub fn preprocessing(image_size: u32, resize: ResizeMode) -> Preprocessing {
    let interpolation = Interpolation::Bilinear;
    Preprocessing {
        image_size,
        resize,
        interpolation,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    }
}

/// The largest difference between the levels of two images.
pub fn worst(left: &[u8], right: &[u8]) -> u8 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(left, right)| left.abs_diff(*right)).max().unwrap_or(0)
}

/// Decodes the files of `folder` that `cases` names, and requires exactly Pillow's pixels.
pub fn assert_equal_to_pillow(folder: &Path, cases: &str, at_least: usize) {
    let cases: Vec<Value> = serde_json::from_str(cases).unwrap();
    assert!(cases.len() >= at_least);
    let mut failures = Vec::new();
    for case in &cases {
        let name = case["file"].as_str().unwrap();
        let image = match decode(&folder.join(name), &DecodeOptions::default()) {
            Ok(image) => image,
            Err(error) => {
                failures.push(error.to_string());
                continue;
            }
        };
        let size = (number(&case["width"]), number(&case["height"]));
        if (image.width, image.height) != size {
            failures.push(format!("{name}: is {} x {}, not {size:?}", image.width, image.height));
            continue;
        }
        let worst = worst(&image.pixels, &bytes(&case["pixels"]));
        if worst > 0 {
            failures.push(format!("{name}: differs by {worst} levels"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Changes each byte of a file in three ways: no decoder may panic, whatever the result.
pub fn assert_changed_bytes_do_no_harm(name: &str, whole: &[u8]) {
    let options = DecodeOptions { max_pixels: 1 << 16, ..DecodeOptions::default() };
    for place in 0..whole.len() {
        for change in [0x55, 0xFF, 0x01] {
            let mut damaged = whole.to_vec();
            damaged[place] ^= change;
            match decode_bytes(&damaged, &options) {
                Ok(decoded) => {
                    let image = decoded.image;
                    assert_eq!(
                        image.pixels.len(),
                        image.width as usize * image.height as usize * 3,
                        "{name}, byte {place}"
                    );
                }
                Err(reason) => assert!(
                    !matches!(reason, DecodeReason::Panicked { .. }),
                    "{name}, byte {place}: {reason}"
                ),
            }
        }
    }
}
