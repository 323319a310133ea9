//! Compares decoding with Pillow's (files and fixtures by `fixtures/images.py`), and tests
//! refusals.

mod common;

use std::path::{Path, PathBuf};

use common::assert_equal_to_pillow;
use regraft_data::RgbImage;
use regraft_data::decode::{DecodeOptions, DecodeReason, decode, decode_bytes, decode_file};

fn pictures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures")
}

fn content(name: &str) -> Vec<u8> {
    std::fs::read(pictures().join(name)).unwrap()
}

#[test]
fn every_kind_of_file_is_decoded_as_pillow_does() {
    assert_equal_to_pillow(&pictures(), include_str!("fixtures/decode.json"), 60);
}

fn decode_small(bytes: &[u8], max_pixels: u64) -> Result<RgbImage, DecodeReason> {
    decode_bytes(bytes, &DecodeOptions { max_pixels, ..DecodeOptions::default() })
        .map(|decoded| decoded.image)
}

fn reason(bytes: &[u8]) -> DecodeReason {
    decode_bytes(bytes, &DecodeOptions::default()).unwrap_err()
}

#[test]
fn the_content_counts_and_not_the_name() {
    let folder = tempfile::TempDir::new().unwrap();
    let options = DecodeOptions::default();
    for entry in std::fs::read_dir(pictures()).unwrap() {
        let path = entry.unwrap().path();
        for lie in ["copy.jpg", "copy.png", "copy.heic", "copy"] {
            let copy = folder.path().join(lie);
            std::fs::copy(&path, &copy).unwrap();
            assert_eq!(
                decode(&copy, &options),
                decode(&path, &options),
                "{} as {lie}",
                path.display()
            );
        }
    }
}

#[test]
fn a_truncated_jpeg_is_decoded_as_far_as_possible_if_allowed() {
    let lenient = DecodeOptions { allow_truncated: true, ..DecodeOptions::default() };
    for name in [
        "baseline.jpg",
        "progressive.jpg",
        "restart.jpg",
        "grey.jpg",
        "adobe_cmyk.jpg",
        "orientation_6.jpg",
    ] {
        let bytes = content(name);
        let whole = decode_bytes(&bytes, &lenient).unwrap();
        assert!(!whole.truncated, "{name}");
        let cut = &bytes[..bytes.len() - 60];
        assert_eq!(
            decode_bytes(cut, &DecodeOptions::default()),
            Err(DecodeReason::Truncated("JPEG")),
            "{name}"
        );
        let decoded =
            decode_bytes(cut, &lenient).unwrap_or_else(|reason| panic!("{name}: {reason}"));
        assert!(decoded.truncated, "{name}");
        assert_eq!(
            (decoded.image.width, decoded.image.height),
            (whole.image.width, whole.image.height),
            "{name}"
        );
    }
    // The existing data are decoded: the upper left block of a baseline file.
    let bytes = content("baseline.jpg");
    let (whole, cut) = (
        decode_bytes(&bytes, &lenient).unwrap(),
        decode_bytes(&bytes[..bytes.len() - 60], &lenient).unwrap(),
    );
    for row in 0..8 {
        let part = row * 23 * 3..row * 23 * 3 + 24;
        assert_eq!(whole.image.pixels[part.clone()], cut.image.pixels[part]);
    }
    assert!(decode_bytes(&bytes[..30], &lenient).is_err(), "no header, no image");
}

/// Every truncation of every file gives an error or the whole image, never a part of it and never a
/// panic.
#[test]
fn truncated_files_are_errors() {
    for entry in std::fs::read_dir(pictures()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let whole = content(&name);
        let picture = decode_bytes(&whole, &DecodeOptions::default()).unwrap();
        let step = (whole.len() / 60).max(1);
        for length in (0..whole.len()).step_by(step) {
            match decode_bytes(&whole[..length], &DecodeOptions::default()) {
                // EXIF data behind the pixels may be truncated.
                Ok(cut) => {
                    assert!(
                        cut == picture || name.starts_with("turned."),
                        "{name} cut to {length} of {} bytes",
                        whole.len()
                    )
                }
                Err(reason) => assert!(
                    !matches!(reason, DecodeReason::Panicked { .. }),
                    "{name} cut to {length}: {reason}"
                ),
            }
        }
    }
    for (name, format) in [
        ("baseline.jpg", "JPEG"),
        ("progressive.jpg", "JPEG"),
        ("alpha.png", "PNG"),
        ("colour.bmp", "BMP"),
    ] {
        let whole = content(name);
        assert_eq!(
            reason(&whole[..whole.len() * 2 / 3]),
            DecodeReason::Truncated(format),
            "{name}"
        );
    }
}

/// Single changed bytes: the program continues, whatever the result.
#[test]
fn damaged_files_do_no_harm() {
    for name in [
        "baseline.jpg",
        "progressive.jpg",
        "alpha.png",
        "first_of_two.gif",
        "lossy.webp",
        "palette.bmp",
        "colour.tiff",
    ] {
        let whole = content(name);
        for place in 0..whole.len().min(700) {
            let mut damaged = whole.clone();
            damaged[place] ^= 0x55;
            if let Ok(image) = decode_small(&damaged, 1 << 22) {
                assert_eq!(
                    image.pixels.len(),
                    image.width as usize * image.height as usize * 3,
                    "{name}, byte {place}"
                );
            }
        }
    }
}

#[test]
fn sizes_are_checked_before_memory_is_allocated() {
    let names = [
        "baseline.jpg",
        "alpha.png",
        "first_of_two.gif",
        "lossless.webp",
        "colour.bmp",
        "colour.tiff",
    ];
    for name in names {
        let image = decode_small(&content(name), 23 * 17).unwrap();
        assert_eq!((image.width, image.height), (23, 17));
        let expected = DecodeReason::TooLarge { width: 23, height: 17, max_pixels: 390 };
        assert_eq!(decode_small(&content(name), 390), Err(expected), "{name}");
    }
    // Headers that announce more than their file has.
    let mut huge = content("first_of_two.gif");
    huge[6..10].fill(0xFF);
    assert!(matches!(reason(&huge), DecodeReason::TooLarge { width: 65_535, height: 65_535, .. }));
    let mut huge = content("colour.bmp");
    huge[18..26].copy_from_slice(&[0, 0, 1, 0, 0, 0, 1, 0]);
    assert!(matches!(reason(&huge), DecodeReason::TooLarge { width: 65_536, height: 65_536, .. }));
}

/// With the feature `heif` both are read: see `tests/heif.rs`.
#[cfg(not(feature = "heif"))]
#[test]
fn heic_and_avif_are_named_with_the_feature_that_reads_them() {
    for (content, kind, program) in [
        (&b"\0\0\0\x14ftypmif1\0\0\0\0heic"[..], "an HEIC image", "heif-convert"),
        (b"\0\0\0\x14ftypmif1\0\0\0\0mif1", "an HEIC image", "heif-convert"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "an AVIF image", "avifdec"),
        (b"\0\0\0\x14ftypavis\0\0\0\0msf1", "an AVIF image", "avifdec"),
    ] {
        let message = reason(content).to_string();
        for part in [kind, "not supported", program, "--features heif"] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
}

#[test]
fn a_file_that_is_not_an_image_is_named_by_its_format() {
    assert_eq!(reason(b""), DecodeReason::Empty);
    for (content, expected) in [
        (&b"<!DOCTYPE html>"[..], "web page"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x20ftypisom\0\0\0\0isom", "a video"),
        (
            b"\xFF\x0A\0\0",
            "JPEG XL image, which is not supported; convert it to JPEG or PNG (with `djxl",
        ),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\x05\x16\x07\0\x02\0\0", "AppleDouble"),
        (b"P7 332\n", "XV thumbnail"),
        (b"Pf\n1 1\n", "floating-point samples, which is not supported"),
        (b"DDS \x7C\0\0\0", "DDS texture"),
        (b"\x0A\x05\x01\x08\0\0", "PCX image"),
        (b"II\xBC\x01\x08\0\0\0", "JPEG XR"),
        (b"7z\xBC\xAF\x27\x1C\0\x04", "a 7z archive; unpack it"),
        (b"\xFD7zXZ\0\0", "compressed with xz; unpack it"),
        (b"PAR1\x15\x04\x15\x10", "a Parquet file; save its images"),
        (b"\x93NUMPY\x01\0", "a NumPy array"),
        (&[0; 64], "zeros"),
        (b"whatever", "unknown format"),
    ] {
        let message = reason(content).to_string();
        assert!(message.contains(expected), "{message}");
        assert!(message.ends_with("remove it"), "{message}");
    }
    let error =
        decode(Path::new("no/such.jpg"), &DecodeOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("no/such.jpg: cannot be read ("), "{error}");
}

/// The means of `side` x `side` pixels, without those beyond the edge.
fn shrunk(image: &RgbImage, side: u32) -> Vec<f64> {
    let (width, height) = (image.width.div_ceil(side), image.height.div_ceil(side));
    let mut means = Vec::new();
    for (y, x, channel) in (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |channel| (y, x, channel))))
    {
        let rows = y * side..((y + 1) * side).min(image.height);
        let columns = x * side..((x + 1) * side).min(image.width);
        let count = f64::from(rows.len() as u32 * columns.len() as u32);
        let levels = rows.flat_map(|row| {
            columns.clone().map(move |column| ((row * image.width + column) * 3 + channel) as usize)
        });
        means.push(levels.map(|place| f64::from(image.pixels[place])).sum::<f64>() / count);
    }
    means
}

/// Compares images of 168 x 128 and 165 x 131 pixels at a half, a quarter and an eighth of their
/// size with the means of the full-size image's pixels. At an eighth, a pixel is the mean of its
/// block; at a half and a quarter, it follows from the lowest frequencies, which at edges and in
/// noise is not quite the mean. (These images are harder than photographs: fine rings of another
/// colour, noise, and an edge.)
#[test]
fn reduced_jpegs_show_the_same_as_full_size_ones() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/large");
    let mut failures = Vec::new();
    for (name, mean_bound) in [
        ("odd_grey.jpg", 1.7),
        ("photo_444.jpg", 1.7),
        ("photo_420.jpg", 2.3),
        ("odd_422.jpg", 2.3),
        ("odd_420_restart.jpg", 2.3),
        ("turned_422.jpg", 2.3),
    ] {
        let whole = decode(&folder.join(name), &DecodeOptions::default()).unwrap();
        for reduction in [2, 4, 8] {
            let least_side = Some(whole.width.min(whole.height) / reduction);
            let decoded = decode_file(
                &folder.join(name),
                &DecodeOptions { least_side, ..DecodeOptions::default() },
            )
            .unwrap();
            assert_eq!(decoded.reduction, reduction, "{name}");
            let size = (whole.width.div_ceil(reduction), whole.height.div_ceil(reduction));
            assert_eq!((decoded.image.width, decoded.image.height), size, "{name} / {reduction}");
            let expected = shrunk(&whole, reduction);
            let differences = decoded
                .image
                .pixels
                .iter()
                .zip(&expected)
                .map(|(&left, right)| (f64::from(left) - right).abs());
            let mean = differences.sum::<f64>() / expected.len() as f64;
            println!("{name} / {reduction}: {mean:.3} levels in the mean");
            if mean > mean_bound {
                failures
                    .push(format!("{name} / {reduction}: differs by {mean:.2} levels in the mean"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Only JPEGs are reduced, of every kind; and a fault is found at any size.
#[test]
fn every_jpeg_is_reduced_and_nothing_else() {
    let options = DecodeOptions { least_side: Some(1), ..DecodeOptions::default() };
    for name in ["alpha.png", "lossy.webp"] {
        let decoded = decode_bytes(&content(name), &options).unwrap();
        assert_eq!(decoded.reduction, 1, "{name}");
        let whole = decode_bytes(&content(name), &DecodeOptions::default()).unwrap();
        assert!(decoded.image == whole.image, "{name}");
    }
    let reducible = [
        "baseline.jpg",
        "restart.jpg",
        "grey.jpg",
        "half_colour.jpg",
        "adobe_rgb.jpg",
        "progressive.jpg",
        "adobe_cmyk.jpg",
    ];
    for name in reducible {
        let whole = content(name);
        let reduced = decode_bytes(&whole, &options).unwrap();
        assert_eq!(
            (reduced.reduction, reduced.image.width, reduced.image.height),
            (8, 3, 3),
            "{name}"
        );
        for length in 0..whole.len() {
            assert!(decode_bytes(&whole[..length], &options).is_err(), "{name} cut to {length}");
        }
        for place in 2..whole.len() {
            for change in [0x55, 0xFF, 0x01] {
                let mut damaged = whole.clone();
                damaged[place] ^= change;
                if let Ok(decoded) =
                    decode_bytes(&damaged, &DecodeOptions { max_pixels: 1 << 22, ..options })
                {
                    let image = decoded.image;
                    assert_eq!(
                        image.pixels.len(),
                        image.width as usize * image.height as usize * 3,
                        "{name}, byte {place}"
                    );
                }
            }
        }
    }
    let small = DecodeOptions { max_pixels: 390, ..options };
    assert!(matches!(
        decode_bytes(&content("baseline.jpg"), &small),
        Err(DecodeReason::TooLarge { .. })
    ));
}
