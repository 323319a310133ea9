//! Names of entries that are alike or in another encoding, and entries that are not supported.

use std::collections::BTreeMap;
use std::path::Path;

use regraft_data::archive::{ArchiveError, UnpackLimits, unpack};
use regraft_data::catalogue::{ScanOptions, scan_with};
use tempfile::TempDir;

const LIMITS: UnpackLimits = UnpackLimits { bytes: 10_000, entries: 20 };

struct Entry<'a> {
    name: &'a [u8],
    /// General purpose bits: 1 means encrypted, 0x800 means that the name is UTF-8.
    flags: u16,
    method: u16,
}

/// A ZIP archive of entries that contain their own name; `zip` would not write such names
/// unchanged.
fn zip(entries: &[Entry<'_>]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let mut crc = flate2::Crc::new();
        crc.update(entry.name);
        let (offset, size) = (bytes.len() as u32, entry.name.len() as u32);
        // Version, flags, method, time and date, checksum, sizes, and the lengths of the name and
        // the extra field.
        let mut header = Vec::new();
        header.extend([20u16, entry.flags, entry.method, 0, 0x21].map(u16::to_le_bytes).concat());
        header.extend([crc.sum(), size, size].map(u32::to_le_bytes).concat());
        header.extend([size as u16, 0].map(u16::to_le_bytes).concat());
        bytes.extend([b"PK\x03\x04", &header[..], entry.name, entry.name].concat());
        directory.extend(
            [b"PK\x01\x02\x14\x00", &header[..], &[0; 10], &offset.to_le_bytes(), entry.name]
                .concat(),
        );
    }
    let count = entries.len() as u16;
    let (size, start) = (directory.len() as u32, bytes.len() as u32);
    bytes.extend(directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([count, count].map(u16::to_le_bytes).concat());
    bytes.extend([size, start].map(u32::to_le_bytes).concat());
    bytes.extend([0, 0]);
    bytes
}

fn named<'a>(names: &[&'a [u8]]) -> Vec<Entry<'a>> {
    names.iter().map(|&name| Entry { name, flags: 0, method: 0 }).collect()
}

/// The files below a folder with their content.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(
                files(&path)
                    .into_iter()
                    .map(|(inner, content)| (format!("{name}/{inner}"), content)),
            );
        } else {
            found.insert(name, std::fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn names_that_differ_in_case_are_two_files_or_an_error_as_the_file_system_says() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("probe"), "").unwrap();
    let tells_apart = !folder.path().join("PROBE").exists();
    let (archive, out) = (folder.path().join("a.zip"), folder.path().join("out"));
    for names in [[&b"x/a.jpg"[..], b"x/A.JPG"], [b"x/a.jpg", b"X/b.jpg"]] {
        std::fs::write(&archive, zip(&named(&names))).unwrap();
        let outcome = unpack(&archive, &out, &LIMITS, &mut |_, _| {});
        if tells_apart {
            assert_eq!(outcome, Ok(Vec::new()));
            let contents: Vec<Vec<u8>> = files(&out).into_values().collect();
            assert!(
                contents.len() == 2 && names.iter().all(|name| contents.contains(&name.to_vec()))
            );
        } else {
            let error = outcome.unwrap_err().to_string();
            assert!(error.contains("does not tell their names apart"), "{error}");
        }
        std::fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn an_entry_never_overwrites_one_that_the_file_system_treats_as_the_same() {
    // The error of a file system that ignores case, at the second of two names.
    let folder = TempDir::new().unwrap();
    let (archive, out) = (folder.path().join("a.zip"), folder.path().join("out"));
    std::fs::create_dir_all(out.join("b")).unwrap();
    std::fs::write(out.join("a.jpg"), "first").unwrap();
    for name in [&b"a.jpg"[..], b"b/c.jpg", b"b/"] {
        std::fs::write(&archive, zip(&named(&[name]))).unwrap();
        let error = unpack(&archive, &out, &LIMITS, &mut |_, _| {}).unwrap_err().to_string();
        assert!(
            error.contains("is the same file or folder as another entry on this file system"),
            "{error}"
        );
    }
    assert_eq!(files(&out), BTreeMap::from([("a.jpg".to_owned(), b"first".to_vec())]));
}

#[test]
fn two_entries_of_one_name_are_an_error() {
    let folder = TempDir::new().unwrap();
    let (archive, out) = (folder.path().join("a.zip"), folder.path().join("out"));
    for (names, expected) in [
        ([&b"a.jpg"[..], b"a.jpg"], "its entry \"a.jpg\" occurs twice"),
        ([b"gr\x81n.jpg", b"gr\x81n.jpg"], "its entry \"gr\u{fc}n.jpg\" occurs twice"),
        ([b"a.jpg", b"./a.jpg"], "occurs twice"),
        ([b"a", b"a/b.jpg"], "is both a file and a folder"),
        ([b"a/b.jpg", b"a"], "is both a file and a folder"),
        ([b"a.jpg", b"."], "has no name"),
    ] {
        std::fs::write(&archive, zip(&named(&names))).unwrap();
        let error = unpack(&archive, &out, &LIMITS, &mut |_, _| {}).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} (expected: {expected})");
        std::fs::remove_dir_all(&out).unwrap();
    }
    let long = [b'x'; 5000];
    std::fs::write(&archive, zip(&named(&[&long]))).unwrap();
    let error = unpack(&archive, &out, &LIMITS, &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("has a name longer than 4,096 bytes"), "{error}");
}

#[test]
fn names_that_are_not_utf_8_are_read_as_code_page_437_and_noted_each_time() {
    let folder = TempDir::new().unwrap();
    let archive = folder.path().join("a.zip");
    // "gr\u{fc}n" in code page 437 and "hot dog" in Shift JIS.
    let names = [
        &b"gr\x81n/1.jpg"[..],
        b"\x83\x7a\x83\x62\x83\x67/2.jpg",
        b"gr\x81n/3.jpg",
        "\u{ef}/4.jpg".as_bytes(),
    ];
    std::fs::write(&archive, zip(&named(&names))).unwrap();
    let options = ScanOptions { cache: folder.path().join("cache"), ..ScanOptions::default() };
    // The second time, it is already unpacked.
    for _ in 0..2 {
        let catalogue = scan_with(&archive, &options, &mut |_| {}).unwrap();
        assert_eq!(catalogue.classes, ["gr\u{fc}n", "\u{e2}z\u{e2}b\u{e2}g", "\u{ef}"]);
        let notes = catalogue.notes.join("\n");
        let expected =
            "that are not UTF-8 were read as code page 437 (3, such as \"gr\u{fc}n/1.jpg\")";
        assert!(notes.contains(expected), "{notes}");
    }
    // UTF-8 without the flag, as macOS writes it, is not a guess.
    std::fs::write(&archive, zip(&named(&["gr\u{fc}n/1.jpg".as_bytes(), b"b/1.jpg"]))).unwrap();
    let catalogue = scan_with(&archive, &options, &mut |_| {}).unwrap();
    assert!(!catalogue.notes.join("\n").contains("437"), "{:?}", catalogue.notes);
}

#[test]
fn encrypted_entries_and_other_compression_are_named() {
    let folder = TempDir::new().unwrap();
    let (archive, out) = (folder.path().join("a.zip"), folder.path().join("out"));
    let all = [
        (1, 0, "encrypted"),
        (0, 9, "compressed with Deflate64"),
        (0, 12, "bzip2"),
        (0, 14, "LZMA"),
        (0, 93, "zstd"),
        (1, 99, "encrypted"),
    ];
    for (flags, method, expected) in all {
        std::fs::write(&archive, zip(&[Entry { name: b"a/1.jpg", flags, method }])).unwrap();
        let error = unpack(&archive, &out, &LIMITS, &mut |_, _| {}).unwrap_err();
        assert!(
            matches!(&error, ArchiveError::Unsupported { what, .. } if what.contains(expected)),
            "{method}: {error}"
        );
        assert!(error.to_string().contains("\"a/1.jpg\" is"), "{error}");
        std::fs::remove_dir_all(&out).unwrap();
    }
}
