//! Compares TIFFs of many kinds with Pillow (files and results by `fixtures/tiff_kinds.py`), and
//! tests unsupported kinds.

mod common;

use std::path::{Path, PathBuf};

use common::{assert_changed_bytes_do_no_harm, assert_equal_to_pillow};
use regraft_data::decode::{DecodeOptions, DecodeReason, decode_bytes};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiff")
}

fn content(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

fn reason(bytes: &[u8]) -> DecodeReason {
    decode_bytes(bytes, &DecodeOptions::default()).unwrap_err()
}

#[test]
fn every_kind_is_decoded_as_pillow_does() {
    assert_equal_to_pillow(&folder(), include_str!("fixtures/tiff.json"), 45);
}

/// The position of a tag's value in a little-endian file whose directory follows the header.
fn value_of(bytes: &[u8], tag: u16) -> usize {
    let half = |place: usize| u16::from_le_bytes([bytes[place], bytes[place + 1]]);
    let start = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    let entry = (0..usize::from(half(start)))
        .map(|number| start + 2 + 12 * number)
        .find(|&entry| half(entry) == tag);
    entry.unwrap_or_else(|| panic!("tag {tag}")) + 8
}

fn changed(name: &str, tag: u16, value: u16) -> Vec<u8> {
    let mut bytes = content(name);
    let place = value_of(&bytes, tag);
    bytes[place..place + 2].copy_from_slice(&value.to_le_bytes());
    bytes
}

/// The file with two samples a pixel; the tag for planes is overwritten.
fn with_samples(name: &str) -> Vec<u8> {
    let mut bytes = changed(name, 284, 2);
    let entry = value_of(&bytes, 284) - 8;
    bytes[entry..entry + 2].copy_from_slice(&277u16.to_le_bytes());
    bytes
}

#[test]
fn kinds_that_are_not_supported_are_named_and_not_called_damaged() {
    let grey = "grey_4_reversed.tif";
    for (bytes, expected) in [
        (changed(grey, 259, 6), "JPEG compression of the old style"),
        (changed(grey, 259, 34925), "LZMA compression"),
        (changed(grey, 259, 50000), "Zstandard compression"),
        (changed(grey, 259, 50001), "WebP compression"),
        (changed(grey, 259, 34712), "JPEG 2000 compression"),
        (changed(grey, 259, 777), "compression 777"),
        (changed(grey, 262, 8), "CIELab colours"),
        (changed(grey, 262, 32803), "a camera's raw data"),
        (changed(grey, 262, 99), "photometric interpretation 99"),
        (changed(grey, 258, 32), "32-bit samples of grey"),
        (changed(grey, 258, 5), "5-bit samples of grey"),
        (changed(grey, 277, 500), "500 samples a pixel"),
        (changed("grey_8_extra1.tif", 262, 3), "a palette with premultiplied alpha"),
        (changed("lzw_predictor.tif", 317, 3), "predictor 3"),
        (with_samples("group3.tif"), "fax compression of several samples"),
        (with_samples("group4.tif"), "fax compression of several samples"),
        (with_samples("tiff_ccitt.tif"), "fax compression of several samples"),
    ] {
        match reason(&bytes) {
            DecodeReason::Unsupported { format: "TIFF", message } => {
                assert!(message.contains(expected), "{message}")
            }
            other => panic!("{expected}: {other}"),
        }
    }
}

#[test]
fn either_byte_order_of_the_magic_number_is_taken() {
    let mut bytes = content("palette_8.tif");
    let whole = decode_bytes(&bytes, &DecodeOptions::default()).unwrap();
    bytes[2..4].copy_from_slice(&[0, 42]);
    assert_eq!(decode_bytes(&bytes, &DecodeOptions::default()).unwrap(), whole);
}

/// Every truncation of every file gives the whole image or an error, never a panic.
#[test]
fn cut_files_are_errors() {
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let bytes = content(&name);
        let whole = decode_bytes(&bytes, &DecodeOptions::default()).unwrap();
        for length in (0..bytes.len()).step_by((bytes.len() / 150).max(1)) {
            match decode_bytes(&bytes[..length], &DecodeOptions::default()) {
                Ok(cut) => assert!(cut == whole, "{name} cut to {length} of {}", bytes.len()),
                Err(reason) => assert!(
                    !matches!(reason, DecodeReason::Panicked { .. }),
                    "{name} cut to {length}: {reason}"
                ),
            }
        }
    }
}

/// Single changed bytes: no decoder may panic, whatever the result.
#[test]
fn damaged_files_do_no_harm() {
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert_changed_bytes_do_no_harm(&name, &content(&name));
    }
}

#[test]
fn jpeg_data_of_other_components_than_the_tags_say_are_damage() {
    for (name, colour, samples) in [
        ("jpeg_grey.tif", 6, None),
        ("jpeg_grey.tif", 2, None),
        ("jpeg.tif", 1, Some(1)),
        ("jpeg_cmyk.tif", 2, Some(3)),
    ] {
        let mut bytes = changed(name, 262, colour);
        if let Some(samples) = samples {
            let place = value_of(&bytes, 277);
            bytes[place..place + 2].copy_from_slice(&u16::to_le_bytes(samples));
        }
        let found = reason(&bytes);
        assert!(
            found.to_string().contains("not those of its colours"),
            "{name} as {colour}: {found}"
        );
    }
}

/// A grey file with strips of one row that all claim the whole file as their data.
fn strips_of_the_whole_file(compression: u16, rows: u16, data: &[u8]) -> Vec<u8> {
    let (start, list) = (8 + data.len(), 8 + data.len() + 2 + 12 * 7 + 4);
    let mut bytes =
        [&b"II\x2a\0"[..], &(start as u32).to_le_bytes(), data, &7u16.to_le_bytes()].concat();
    let entries = [
        (256, 1, 1),
        (257, 1, u32::from(rows)),
        (258, 1, 8),
        (259, 1, u32::from(compression)),
        (262, 1, 1),
        (273, u32::from(rows), list as u32),
        (278, 1, 1),
    ];
    for (tag, count, value) in entries {
        let kind = 4u16.to_le_bytes();
        bytes.extend(
            [&u16::to_le_bytes(tag)[..], &kind, &u32::to_le_bytes(count), &u32::to_le_bytes(value)]
                .concat(),
        );
    }
    bytes.extend([0; 4]);
    (0..rows).for_each(|_| bytes.extend(8u32.to_le_bytes()));
    bytes
}

#[test]
fn many_strips_of_the_same_data_do_not_read_all_of_it_each() {
    // Run lengths that write nothing, many times, and then a pixel. Reading this 60,000 times would
    // take minutes for 16 MiB.
    let few = strips_of_the_whole_file(32773, 2, &[&[0x80; 1000][..], &[0, 77]].concat());
    assert_eq!(decode_bytes(&few, &DecodeOptions::default()).unwrap().image.pixels, [77; 6]);
    let started = std::time::Instant::now();
    let many =
        strips_of_the_whole_file(32773, 60_000, &[&vec![0x80; 16 << 20][..], &[0, 77]].concat());
    assert!(matches!(reason(&many), DecodeReason::Damaged { .. } | DecodeReason::Truncated(_)));
    assert!(started.elapsed().as_secs() < 60);
}

#[test]
fn sizes_are_checked_before_memory_is_allocated() {
    let limit = DecodeOptions { max_pixels: 21 * 18 - 1, ..DecodeOptions::default() };
    let expected = DecodeReason::TooLarge { width: 21, height: 18, max_pixels: 21 * 18 - 1 };
    assert_eq!(decode_bytes(&content("rgb_16_be.tif"), &limit), Err(expected.clone()));
    assert_eq!(decode_bytes(&content("group4.tif"), &limit), Err(expected));
    let mut tiled = content("rgb_8_le_tiled.tif");
    for tag in [322, 323] {
        let place = value_of(&tiled, tag);
        tiled[place..place + 2].copy_from_slice(&[0xFF, 0xFF]);
    }
    assert!(matches!(reason(&tiled), DecodeReason::TooLarge { width: 65_535, height: 65_535, .. }));
}
