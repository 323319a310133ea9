//! Compares unusual but valid files of many formats with Pillow (files and results by
//! `fixtures/kinds.py`), and tests unsupported kinds.

mod common;

use std::path::{Path, PathBuf};

use common::{assert_changed_bytes_do_no_harm, assert_equal_to_pillow};
use regraft_data::decode::{DecodeOptions, DecodeReason, decode_bytes};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kinds")
}

fn content(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

fn names() -> Vec<String> {
    std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn reason(bytes: &[u8]) -> DecodeReason {
    decode_bytes(bytes, &DecodeOptions::default()).unwrap_err()
}

#[test]
fn every_kind_is_decoded_as_pillow_does() {
    assert_equal_to_pillow(&folder(), include_str!("fixtures/kinds.json"), 89);
}

#[test]
fn kinds_that_are_not_supported_are_named_and_not_called_damaged() {
    let changed = |place: usize, value: u8| {
        let mut bytes = content("rgb_565_masks.bmp");
        bytes[place] = value;
        bytes
    };
    for (bytes, expected) in [
        (changed(30, 4), "a JPEG inside"),
        (changed(30, 5), "a PNG inside"),
        (changed(30, 11), "CMYK"),
        (changed(30, 99), "compression 99 of 16 bits a pixel"),
        (changed(14, 99), "a header of 99 bytes"),
        (changed(28, 48), "48 bits a pixel"),
    ] {
        match reason(&bytes) {
            DecodeReason::Unsupported { format: "BMP", message } => {
                assert!(message.contains(expected), "{message}")
            }
            other => panic!("{expected}: {other}"),
        }
    }
}

/// Xcode writes such files into app packages: a chunk of Apple's own comes first, and the rest is
/// not a PNG that others can read.
#[test]
fn an_apps_png_is_not_called_damaged() {
    let header = b"\0\0\0\x0DIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1F\x15\xC4\x89";
    let bytes =
        [&b"\x89PNG\r\n\x1A\n\0\0\0\x04CgBI\x50\0\x20\x02\x2B\xD5\xB3\x7F"[..], header].concat();
    match reason(&bytes) {
        DecodeReason::Unsupported { format: "PNG", message } => {
            assert!(message.contains("CgBI"), "{message}")
        }
        other => panic!("{other}"),
    }
}

#[test]
fn formats_with_weak_magic_numbers_are_not_found_in_other_files() {
    for other in [
        &b"BMW is a make of cars, and this is a text."[..],
        b"\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\0\0\x01\0\xFF\xFF too few for all the frames",
        b"\0\0\x02\0\x01\0 a cursor, which is not read, and has a few more bytes here",
        &[0; 64],
        &[1; 64],
        &[2; 64],
        &[3; 64],
    ] {
        assert!(
            matches!(reason(other), DecodeReason::NotAnImage { .. }),
            "{}: {}",
            other.escape_ascii(),
            reason(other)
        );
    }
}

/// Every truncation of every file gives the whole image or an error, never a panic.
#[test]
fn cut_files_are_errors() {
    for name in names() {
        let bytes = content(&name);
        let whole = decode_bytes(&bytes, &DecodeOptions::default()).unwrap();
        for length in 0..bytes.len() {
            match decode_bytes(&bytes[..length], &DecodeOptions::default()) {
                // Data behind the pixels of this file say that its alpha has no meaning.
                Ok(_) if name == "alpha_without_meaning.tga" => {}
                // The last decimal number may lose digits.
                Ok(_) if name.contains("in_words") && length + 4 > bytes.len() => {}
                // The end of a GIF may be missing.
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
    for name in names() {
        assert_changed_bytes_do_no_harm(&name, &content(&name));
    }
}

#[test]
fn sizes_are_checked_before_memory_is_allocated() {
    let limit = DecodeOptions { max_pixels: 13 * 9 - 1, ..DecodeOptions::default() };
    for name in [
        "palette_8.bmp",
        "run_lengths_4.bmp",
        "rgba.ico",
        "rgb.tga",
        "rgb_packed.tga",
        "rgb.qoi",
        "part.gif",
        "lossy_alpha.webp",
    ] {
        let expected = DecodeReason::TooLarge { width: 13, height: 9, max_pixels: 13 * 9 - 1 };
        assert_eq!(decode_bytes(&content(name), &limit), Err(expected), "{name}");
    }
}

#[test]
fn no_image_file_of_more_than_four_gibibytes_is_read_whatever_the_limit_of_pixels() {
    use regraft_data::decode::file::byte_limit;
    assert_eq!(byte_limit(1_000_000), 75_108_864);
    for pixels in [regraft_data::decode::MOST_MAX_PIXELS, u64::MAX] {
        assert_eq!(byte_limit(pixels), 4 << 30);
    }
}
