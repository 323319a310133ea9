//! What the tests share: fixtures by `fixtures/images.py`.
#![allow(dead_code, missing_docs)]

use regraft_data::RgbImage;
use regraft_data::preprocessing::{Interpolation, Preprocessing, ResizeMode};
use regraft_kernels::random::{Draws, Purpose};
use serde_json::Value;

/// A picture of the fixture stream: the upper eight bits of each draw, with the ends pushed to 0 and 255.
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
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

pub fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

pub fn preprocessing(image_size: u32, resize: ResizeMode) -> Preprocessing {
    let interpolation = Interpolation::Bilinear;
    Preprocessing { image_size, resize, interpolation, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }
}

/// The largest difference of two pictures' levels.
pub fn worst(left: &[u8], right: &[u8]) -> u8 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(left, right)| left.abs_diff(*right)).max().unwrap_or(0)
}
