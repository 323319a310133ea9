//! HEIC and AVIF by libheif (files and pixels by `fixtures/heif.py`).
#![cfg(feature = "heif")]

mod common;

use std::path::{Path, PathBuf};

use common::worst;
use regraft_data::RgbImage;
use regraft_data::decode::{DecodeOptions, DecodeReason, decode_bytes};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/heif")
}

/// The files' names. `REGRAFT_TEST_WITHOUT_AV1` leaves AVIF out, because libheif may have been
/// built without its decoder.
fn names() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let endings: &[&str] = if std::env::var_os("REGRAFT_TEST_WITHOUT_AV1").is_some() {
        &[".heic"]
    } else {
        &[".heic", ".avif"]
    };
    names.filter(|name| endings.iter().any(|ending| name.ends_with(ending))).collect()
}

fn content(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

fn decoded(bytes: &[u8]) -> Result<RgbImage, DecodeReason> {
    decode_bytes(bytes, &DecodeOptions::default()).map(|decoded| decoded.image)
}

/// Difference in rounding between libheif and libavif, in levels.
const ROUNDING: u8 = 1;

/// The largest mean difference of an AVIF in which several pixels share a chroma sample: libavif,
/// which Pillow uses, interpolates these samples, and libheif repeats them. (In photographs it is
/// about 1; these images have hard edges.)
const CHROMA: f64 = 7.0;

#[test]
fn images_are_read_as_pillow_reads_them() {
    let names = names();
    assert!(names.len() >= 13, "{names:?}");
    let mut failures = Vec::new();
    for name in &names {
        let image = decoded(&content(name)).unwrap_or_else(|reason| panic!("{name} {reason}"));
        let expected = decoded(&content(&format!("{name}.png"))).unwrap();
        assert_eq!((image.width, image.height), (expected.width, expected.height), "{name}");
        let largest = worst(&image.pixels, &expected.pixels);
        let differences = image
            .pixels
            .iter()
            .zip(&expected.pixels)
            .map(|(left, right)| f64::from(left.abs_diff(*right)));
        let mean = differences.sum::<f64>() / image.pixels.len() as f64;
        let interpolated = name.ends_with(".avif")
            && !name.starts_with("full_chroma")
            && !name.starts_with("grey");
        if largest > ROUNDING && !(interpolated && mean < CHROMA) {
            failures.push(format!("{name}: {largest} levels apart, {mean:.2} in the mean"));
        }
        println!("{name}: {largest} levels apart, {mean:.2} in the mean");
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn too_many_pixels_are_refused_before_any_is_decoded() {
    for name in names() {
        let options = DecodeOptions { max_pixels: 100, ..DecodeOptions::default() };
        let reason = decode_bytes(&content(&name), &options).unwrap_err();
        assert!(matches!(reason, DecodeReason::TooLarge { .. }), "{name}: {reason}");
    }
}

/// Both the container and the coded pixels state the image's size.
#[test]
fn a_container_with_a_false_size_does_not_evade_the_limit() {
    let mut bytes = content("plain.heic");
    let place = bytes.windows(4).position(|word| word == b"ispe").unwrap() + 8;
    for (side, lie) in [(0, 5), (4, 4)] {
        let place = place + side;
        bytes[place..place + 4].copy_from_slice(&u32::to_be_bytes(lie));
    }
    let options = DecodeOptions { max_pixels: 100, ..DecodeOptions::default() };
    match decode_bytes(&bytes, &options) {
        Ok(decoded) => assert!(decoded.image.width * decoded.image.height <= 100),
        Err(reason) => println!("refused: {reason}"),
    }
}

#[test]
fn cut_files_are_errors() {
    for name in names() {
        let bytes = content(&name);
        for length in (12..bytes.len()).step_by(31) {
            assert!(
                decoded(&bytes[..length]).is_err(),
                "{name} cut to {length} of {}",
                bytes.len()
            );
        }
    }
}
