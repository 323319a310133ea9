//! Compares JPEGs of every kind with Pillow (files and pixels by `fixtures/jpeg.py`), and tests
//! damaged ones.

mod common;

use std::path::{Path, PathBuf};

use common::{bytes, number, worst};
use regraft_data::decode::{DecodeOptions, DecodeReason, Decoded, decode_bytes};
use serde_json::Value;

const STRICT: DecodeOptions =
    DecodeOptions { max_pixels: 1 << 24, allow_truncated: false, least_side: None };
const LENIENT: DecodeOptions = DecodeOptions { allow_truncated: true, ..STRICT };

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn content(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

fn read(content: &[u8]) -> Result<Decoded, DecodeReason> {
    decode_bytes(content, &STRICT)
}

#[test]
fn every_kind_equals_pillows_to_the_level() {
    let cases: Value = serde_json::from_str(include_str!("fixtures/jpeg.json")).unwrap();
    let size = (number(&cases["width"]), number(&cases["height"]));
    let mut equal = 0;
    for case in cases["cases"].as_array().unwrap() {
        let name = case["file"].as_str().unwrap();
        let content = content(&format!("jpeg/{name}"));
        if name.starts_with("arithmetic") {
            let reason = read(&content).unwrap_err();
            assert!(matches!(reason, DecodeReason::Unsupported { .. }), "{name}: {reason}");
            continue;
        }
        let image = read(&content).unwrap_or_else(|reason| panic!("{name}: {reason}")).image;
        assert_eq!((image.width, image.height), size, "{name}");
        let expected = bytes(&cases["pixels"][number(&case["pixels"]) as usize]);
        assert_eq!(worst(&image.pixels, &expected), 0, "{name}");
        equal += 1;
    }
    assert!(equal >= 35, "{equal} files");
}

/// At an eighth of the size, each pixel is the mean of a block, however the file is coded.
#[test]
fn scans_and_restarts_change_no_pixel_of_a_reduced_image() {
    let reduced = |name: &str| {
        let options = DecodeOptions { least_side: Some(3), ..STRICT };
        let decoded =
            decode_bytes(&content(&format!("jpeg/ycc-2x2-{name}.jpg")), &options).unwrap();
        assert_eq!(
            (decoded.reduction, decoded.image.width, decoded.image.height),
            (8, 6, 4),
            "{name}"
        );
        decoded.image
    };
    let expected = reduced("one-none");
    for name in [
        "apart-none",
        "backwards-none",
        "pairs-none",
        "progressive-none",
        "bits-none",
        "one-blocks",
    ] {
        assert!(reduced(name) == expected, "{name}");
    }
}

fn is_damaged(content: &[u8], what: &str) -> bool {
    match read(content) {
        Err(DecodeReason::Damaged { message, .. }) => message.contains(what),
        _ => false,
    }
}

/// The first byte of the first scan's data.
fn scan_start(content: &[u8]) -> usize {
    let mut place = 2;
    loop {
        let length = usize::from(u16::from_be_bytes([content[place + 2], content[place + 3]]));
        place += 2 + length;
        if content[place - length - 1] == 0xDA {
            return place;
        }
    }
}

#[test]
fn a_file_cut_short_with_an_end_marker_is_damaged() {
    for name in
        ["large/photo_420.jpg", "large/odd_420_restart.jpg", "jpeg/ycc-2x2-progressive-none.jpg"]
    {
        let whole = content(name);
        assert!(read(&whole).is_ok(), "{name}");
        for end in (scan_start(&whole)..whole.len() - 3).step_by(7) {
            let cut = [&whole[..end], &[0xFF, 0xD9]].concat();
            // A progressive file that is cut between two scans is a coarser image; nothing reveals
            // the cut.
            let is_between_scans =
                name.contains("progressive") && whole[end] == 0xFF && whole[end + 1] != 0;
            assert!(read(&cut).is_err() || is_between_scans, "{name} cut at {end}");
        }
    }
    let whole = content("large/photo_420.jpg");
    let cut = [&whole[..whole.len() / 2], &[0xFF, 0xD9]].concat();
    assert!(is_damaged(&cut, "its image data end too early"));
}

#[test]
fn a_file_with_a_part_removed_or_zeroed_or_replaced_is_damaged() {
    for name in ["large/photo_420.jpg", "large/odd_grey.jpg", "large/odd_420_restart.jpg"] {
        let whole = content(name);
        let (start, length) = (scan_start(&whole), 512);
        let (mut found, mut tried) = (0, 0);
        for first in (start..whole.len() - length - 2).step_by(211) {
            let (before, after) = (&whole[..first], &whole[first + length..]);
            let other = &whole[start..][..length];
            for part in [&[][..], &vec![0; length], other] {
                tried += usize::from(part != &whole[first..first + length]);
                found += usize::from(is_damaged(&[before, part, after].concat(), ""));
            }
        }
        // The other changed bits may by chance give the right number of blocks; libjpeg does not
        // warn about those either.
        assert!(tried >= 15 && found * 100 >= tried * 95, "{name}: {found} of {tried}");
    }
}

#[test]
fn each_fault_is_named() {
    let whole = content("large/odd_420_restart.jpg");
    let start = scan_start(&whole);
    let markers: Vec<usize> = (start..whole.len() - 1)
        .filter(|&place| whole[place] == 0xFF && matches!(whole[place + 1], 0xD0..=0xD7))
        .collect();
    assert!(markers.len() >= 3);
    // Two restart intervals swapped.
    let [first, second, third] = [markers[0], markers[1], markers[2]];
    let exchanged =
        [&whole[..first], &whole[second..third], &whole[first..second], &whole[third..]].concat();
    assert!(is_damaged(&exchanged, "a restart marker is missing or out of order"));
    // One of them removed.
    let without = [&whole[..first], &whole[second..]].concat();
    assert!(is_damaged(&without, "a restart marker is missing or out of order"));
    // The last one repeated: more data than blocks.
    let last = markers[markers.len() - 1];
    let mut again = whole[last..whole.len() - 2].to_vec();
    again[1] = 0xD0 + (again[1] - 0xD0 + 1) % 8;
    let longer = [&whole[..whole.len() - 2], &again, &[0xFF, 0xD9]].concat();
    assert!(is_damaged(&longer, "image data are left over"));
    // A component without a scan.
    let apart = content("jpeg/ycc-2x2-apart-none.jpg");
    let scans: Vec<usize> =
        (0..apart.len() - 1).filter(|&place| apart[place..].starts_with(&[0xFF, 0xDA])).collect();
    assert_eq!(scans.len(), 3);
    let two = [&apart[..scans[2]], &[0xFF, 0xD9]].concat();
    assert!(is_damaged(&two, "one of its components has no data"));
    // Codes of ones, which no table contains.
    let plain = content("large/photo_444.jpg");
    let start = scan_start(&plain);
    let mut bad = plain.clone();
    bad[start + 40..start + 60].copy_from_slice(&[0xFF, 0].repeat(10));
    assert!(is_damaged(&bad, "an invalid code"));
}

#[test]
fn bytes_before_a_marker_do_no_harm() {
    let whole = content("large/photo_420.jpg");
    let expected = read(&whole).unwrap().image;
    let mut places = vec![whole.len() - 2];
    let start = scan_start(&whole);
    places.extend((2..start).filter(|&place| whole[place..].starts_with(&[0xFF, 0xDB])));
    for place in places {
        for extra in [&[7, 1, 9, 200][..], &[0; 300], &[0xFF; 5], &[0xFF, 0xFF, 0xFF, 0, 1]] {
            let longer = [&whole[..place], extra, &whole[place..]].concat();
            let image = read(&longer)
                .unwrap_or_else(|reason| panic!("{extra:?} at {place}: {reason}"))
                .image;
            assert!(image == expected, "{extra:?} at {place}");
        }
    }
    // A preview or a trailer behind the end does not matter either.
    assert!(read(&[&whole[..], b"trailer"].concat()).unwrap().image == expected);
}

/// If damaged images are allowed, decoding resumes at the next restart marker after a fault.
#[test]
fn a_damaged_interval_leaves_the_others_whole() {
    let whole = content("large/odd_420_restart.jpg");
    let expected = read(&whole).unwrap().image;
    let start = scan_start(&whole);
    let markers: Vec<usize> = (start..whole.len() - 1)
        .filter(|&place| whole[place] == 0xFF && matches!(whole[place + 1], 0xD0..=0xD7))
        .collect();
    let mut damaged = whole.clone();
    damaged[markers[1] + 2..markers[2]].fill(0x55);
    assert!(read(&damaged).is_err());
    let decoded = decode_bytes(&damaged, &LENIENT).unwrap();
    assert!(decoded.truncated);
    // An interval is a row of 16 lines; chroma extends one line further.
    let row = expected.width as usize * 3;
    let same = |lines: std::ops::Range<usize>| {
        decoded.image.pixels[lines.start * row..lines.end * row]
            == expected.pixels[lines.start * row..lines.end * row]
    };
    assert!(same(0..31) && !same(32..48) && same(49..expected.height as usize));
}

#[test]
fn a_header_that_asks_for_too_much_is_refused() {
    let whole = content("large/photo_420.jpg");
    let frame = (0..whole.len()).find(|&place| whole[place..].starts_with(&[0xFF, 0xC0])).unwrap();
    let with = |offset: usize, byte: u8| {
        let mut changed = whole.clone();
        changed[frame + offset] = byte;
        read(&changed)
    };
    assert!(matches!(with(4, 12), Err(DecodeReason::Unsupported { .. })), "12 bits");
    assert!(matches!(with(1, 0xC3), Err(DecodeReason::Unsupported { .. })), "lossless");
    assert!(matches!(with(14, 0x32), Err(DecodeReason::Unsupported { .. })), "a ratio of 3 to 2");
    assert!(matches!(with(11, 0x52), Err(DecodeReason::Damaged { .. })), "a factor of 5");
    let mut large = whole.clone();
    large[frame + 5..frame + 9].fill(0xFF);
    assert!(matches!(
        read(&large),
        Err(DecodeReason::TooLarge { width: 65_535, height: 65_535, .. })
    ));
    // A second scan of a component that has one.
    let apart = content("jpeg/ycc-2x2-apart-none.jpg");
    let scans: Vec<usize> =
        (0..apart.len() - 1).filter(|&place| apart[place..].starts_with(&[0xFF, 0xDA])).collect();
    let again = [&apart[..apart.len() - 2], &apart[scans[2]..]].concat();
    assert!(is_damaged(&again, "one of its scans has an invalid header"));
    assert!(decode_bytes(&again, &LENIENT).is_ok_and(|decoded| decoded.truncated));
    // A progressive file with thousands of scans of a few bytes each.
    let progressive = content("jpeg/ycc-2x2-progressive-none.jpg");
    let start = scan_start(&progressive);
    let header_length = 2 + usize::from(progressive[start - 11]);
    let scan = &progressive[start - header_length..start];
    let many = [&progressive[..start - header_length], &scan.repeat(2000), &[0xFF, 0xD9]].concat();
    assert!(matches!(decode_bytes(&many, &LENIENT), Err(DecodeReason::Damaged { .. })));
}

/// libjpeg decides on the colours, and Pillow on the orientation, before the first scan.
#[test]
fn markers_behind_the_first_scan_do_not_change_the_colours() {
    let adobe = b"\xFF\xEE\0\x0EAdobe\0\x64\0\0\0\0\0";
    let jfif = b"\xFF\xE0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0";
    let scans = |content: &[u8]| -> Vec<usize> {
        content
            .windows(2)
            .enumerate()
            .filter(|(_, pair)| *pair == [0xFF, 0xDA])
            .map(|(place, _)| place)
            .collect()
    };
    let mut tried = 0;
    for name in [
        "ycc-2x2-apart-none",
        "ycc-2x2-bits-none",
        "ycc-2x1-bits-blocks",
        "cmyk_adobe-1x1-progressive-none",
    ] {
        let mut content = content(&format!("jpeg/{name}.jpg"));
        if content[2..4] == jfif[..2] {
            // JFIF overrides Adobe's segment.
            content.drain(2..2 + jfif.len());
        }
        let expected = read(&content).unwrap().image;
        for segment in [&adobe[..], jfif] {
            for &scan in &scans(&content)[1..] {
                let changed = [&content[..scan], segment, &content[scan..]].concat();
                assert!(
                    read(&changed).unwrap().image == expected,
                    "{name}, a segment at byte {scan}"
                );
                tried += 1;
            }
            // Before it they count.
            let first = scans(&content)[0];
            let changed = read(&[&content[..first], segment, &content[first..]].concat()).unwrap();
            let counts = segment == adobe && name.starts_with("ycc");
            assert_eq!(changed.image != expected, counts, "{name}");
        }
    }
    assert!(tried > 10, "{tried}");
}
