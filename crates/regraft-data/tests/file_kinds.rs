//! Files that are given as data but are of an unsupported kind.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use regraft_data::catalogue::{ScanOptions, scan_with};
use regraft_data::inputs::expand;
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fn written(folder: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn error(path: &Path) -> String {
    let cache = path.with_file_name("cache");
    scan_with(path, &ScanOptions { cache, ..ScanOptions::default() }, &mut |_| {})
        .unwrap_err()
        .to_string()
}

fn zipped(names: &[&str]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for name in names {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(b"x").unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn a_file_is_recognised_by_its_content_whatever_its_name() {
    let folder = TempDir::new().unwrap();
    let workbook = zipped(&["[Content_Types].xml", "xl/workbook.xml"]);
    let coco = br#"{"info": {}, "images": [], "annotations": []}"#;
    let studio =
        br#"[{"id": 1, "annotations": [{"result": []}], "data": {"image": "/data/upload/a.jpg"}}]"#;
    for (content, expected) in [
        (&workbook[..], "is an Excel workbook; save it as CSV"),
        (&zipped(&["mimetype", "content.xml"]), "is an OpenDocument spreadsheet"),
        (&zipped(&["word/document.xml"]), "is a Word"),
        (&zipped(&["x.npy", "y.npy"]), "is a NumPy archive (.npz)"),
        (&zipped(&["archive/data.pkl", "archive/data/0"]), "is a PyTorch file"),
        (b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1rest", "is an Excel workbook (.xls)"),
        (b"7z\xBC\xAF\x27\x1C\0\x04", "is a 7z archive; unpack it"),
        (b"Rar!\x1A\x07\x01\0", "is a RAR archive; unpack it"),
        (b"BZh91AY&SY", "is compressed with bzip2; unpack it"),
        (b"\xFD7zXZ\0\0", "is compressed with xz; unpack it"),
        (b"\x28\xB5\x2F\xFDrest", "is compressed with zstd; unpack it"),
        (b"\x1F\x8B\x08\0nothing", "is compressed with gzip, but no tar archive"),
        (b"PAR1\x15\x04", "is a Parquet file; write it as CSV"),
        (b"ARROW1\0\0", "is an Arrow (Feather) file"),
        (b"\x93NUMPY\x01\0", "is a NumPy array"),
        (b"\x89HDF\r\n\x1A\n", "is an HDF5 file"),
        (b"SQLite format 3\0", "is an SQLite database"),
        (coco, "is a JSON file that looks like COCO's"),
        (studio, "is a JSON file that looks like an export of Label Studio"),
        (br#"{"version": "5", "shapes": [], "imagePath": "a.jpg"}"#, "an export of LabelMe"),
        (
            b"[{\"path\": \"a\"}]",
            "is a JSON file; write a JSON object with a path and a label on each line",
        ),
        (b"{\"a.jpg\": \"cat\"}", "is a JSON file; write a table"),
    ] {
        for name in ["data", "data.json", "data.csv"] {
            let error = error(&written(&folder, name, content));
            assert!(error.contains(expected), "{name}: {error} (expected: {expected})");
            assert!(error.starts_with(&folder.path().display().to_string()), "{error}");
        }
        let path = written(&folder, "named.jpg", content);
        let error =
            expand(&[path.to_str().unwrap().to_owned()], folder.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} (expected: {expected})");
    }
    assert!(!folder.path().join("cache").exists(), "nothing is unpacked");
}

#[test]
fn text_is_named_by_its_extension() {
    let folder = TempDir::new().unwrap();
    for (name, content, expected) in [
        (
            "a.xml",
            &b"<annotation><object/></annotation>"[..],
            "is an XML file (of Pascal VOC or CVAT?)",
        ),
        ("data.yaml", b"train: images/train\n", "is a YAML file (of a YOLO data set?)"),
        ("a.csv", b"<!DOCTYPE html>", "is a web page or XML text (a download that failed?)"),
        ("a.jsonl", b"[\n{\"path\": \"a\"}\n]", "is one JSON list, not a JSON object on each line"),
        (
            "a.jpg",
            b"\xFF\xD8\xFF\xE0",
            "is a file, but neither a table (.csv, .tsv, .jsonl) nor an archive",
        ),
    ] {
        let error = error(&written(&folder, name, content));
        assert!(error.contains(expected), "{error} (expected: {expected})");
    }
    // If an image is named as data, it is used as an image.
    let path = written(&folder, "a.jpg", b"\xFF\xD8\xFF\xE0");
    assert_eq!(expand(&[path.to_str().unwrap().to_owned()], folder.path()).unwrap().paths, [path]);
}

#[test]
fn empty_missing_and_special_files_are_reported_whatever_their_name() {
    let folder = TempDir::new().unwrap();
    for name in ["empty.zip", "empty.jpg", "empty"] {
        let error = error(&written(&folder, name, b""));
        assert!(error.contains("is an empty file; get it again"), "{error}");
    }
    for name in ["absent.csv", "absent.zip", "absent"] {
        let error = error(&folder.path().join(name));
        assert!(
            error.ends_with(&format!("{name}: no such file or folder; check the path")),
            "{error}"
        );
    }
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_named_as_such() {
    let folder = TempDir::new().unwrap();
    let named = |path: &Path, what: &str| {
        let expand = expand(&[path], folder.path()).unwrap_err().to_string();
        for error in [error(path), expand] {
            assert!(
                error.contains(&format!("cannot be read (it is {what}, not a regular file)")),
                "{error}"
            );
        }
    };
    for name in ["pipe.zip", "pipe.jpg", "pipe"] {
        let path = folder.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        named(&path, "a named pipe");
    }
    let path = folder.path().join("zero.zip");
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    named(&path, "a device");
    named(Path::new("/dev/null"), "a device");
}
