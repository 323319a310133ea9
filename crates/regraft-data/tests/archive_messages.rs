//! Messages about the content of an archive name the archive, not the folder into which it was
//! unpacked.

use std::io::{Cursor, Write};
use std::path::Path;

use regraft_data::catalogue::{ScanOptions, SplitOptions, scan_labelled, scan_with};
use regraft_data::decode::{DecodeOptions, decode_file};
use regraft_data::inputs::expand;
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fn archive(path: &Path, entries: &[(&str, &str)]) {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content.as_bytes()).unwrap();
    }
    std::fs::write(path, writer.finish().unwrap().into_inner()).unwrap();
}

const X: &str = "x";

#[test]
fn errors_and_notes_name_the_archive_and_the_path_in_it() {
    // The archive's content, and the path that the error or a note names.
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("cat/1.jpg", X)], "photos.zip: needs a folder"),
        (&[("a/cat/1.jpg", X)], "photos.zip/a: needs a folder"),
        (&[("cat/1.jpg", X), ("dog/readme.txt", X)], "photos.zip/dog: holds no image"),
        (
            &[("train/1.jpg", X), ("test/2.jpg", X)],
            "photos.zip/train: holds 1 file but no class folders",
        ),
        (
            &[("test/cat/1.jpg", X), ("test/dog/1.jpg", X)],
            "photos.zip: has test but no training set",
        ),
        (
            &[("train/a/1.jpg", X), ("train/b/1.jpg", X), ("test/c/1.jpg", X)],
            "photos.zip/test/c: the class",
        ),
        (
            &[("images/1.jpg", X), ("labels/1.txt", X)],
            "photos.zip/labels/1.txt says where objects are",
        ),
        (
            &[("labels.csv", "path,label\n\"1.jpg,cat\n"), ("1.jpg", X)],
            "photos.zip/labels.csv, line 2",
        ),
        (
            &[("labels.csv", "path,label\n1.jpg,cat\n2.jpg,dog\n"), ("1.jpg", X), ("2.jpg", X)],
            "photos.zip/labels.csv labels the images",
        ),
        (
            &[("train/a/1.jpg", X), ("train/b/1.jpg", X), ("eval/a/1.jpg", X)],
            "photos.zip/eval is the test set",
        ),
        (
            &[
                ("train/metadata.csv", "file_name,label\n1.jpg,a\n2.jpg,b\n"),
                ("train/1.jpg", X),
                ("train/2.jpg", X),
            ],
            "photos.zip/train/metadata.csv labels the images in",
        ),
    ];
    for (entries, expected) in cases {
        let folder = TempDir::new().unwrap();
        let cache = folder.path().join("cache");
        let zip = folder.path().join("photos.zip");
        archive(&zip, entries);
        let options = ScanOptions {
            split: SplitOptions::NOTHING,
            cache: cache.clone(),
            ..ScanOptions::default()
        };
        let messages = match scan_with(&zip, &options, &mut |_| {}) {
            Ok(catalogue) => catalogue.notes,
            Err(error) => vec![error.to_string()],
        };
        let text = messages.join("\n").replace('\\', "/");
        assert!(text.contains(expected), "{expected}: {text}");
        for message in messages {
            let names_cache = message.contains(&cache.display().to_string());
            assert_eq!(names_cache, message.contains("photos.zip is unpacked in"), "{message}");
        }
    }
}

#[test]
fn an_unreadable_image_of_an_archive_is_named_by_its_place_in_it() {
    let folder = TempDir::new().unwrap();
    let (zip, cache) = (folder.path().join("photos.zip"), folder.path().join("cache"));
    archive(&zip, &[("a/cat/1.jpg", X), ("a/dog/2.jpg", X)]);
    let shown = |inner: &str| zip.join(inner).display().to_string();
    let listed = scan_labelled(&zip, &cache).unwrap();
    let error =
        decode_file(&listed.samples[1].path, &DecodeOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: is ", shown("a/dog/2.jpg"))), "{error}");
    let error = scan_labelled(&zip.join("b"), &cache).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: no such", shown("b"))), "{error}");
    let error = expand(&[zip.join("b").into_os_string()], &cache).unwrap_err().to_string();
    assert!(error.contains(&shown("b")), "{error}");
}
