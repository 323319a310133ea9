//! Hugging Face's image folders.

#[path = "common/files.rs"]
mod files;

use std::path::Path;

use files::{counts, files as listed, folder, names, write};
use regraft_data::catalogue::{
    Catalogue, CatalogueError, ScanOptions, SplitOptions, scan_labelled, scan_with,
};
use tempfile::TempDir;

/// Files of one byte, and files with content.
fn with(files: &[&str], tables: &[(&str, &str)]) -> TempDir {
    let data = folder(files);
    tables.iter().for_each(|(name, content)| write(data.path(), name, content));
    data
}

fn scanned(data: &Path) -> Result<Catalogue, CatalogueError> {
    let options = ScanOptions {
        split: SplitOptions::NOTHING,
        cache: data.join("../unused"),
        ..ScanOptions::default()
    };
    scan_with(data, &options, &mut |_| {})
}

const IMAGES: [&str; 5] =
    ["train/1.jpg", "train/2.jpg", "train/more/3.jpg", "test/4.jpg", "test/5.jpg"];

#[test]
fn a_table_in_each_split_labels_its_images() {
    for (train, test) in [
        (
            ("train/metadata.csv", "file_name,label\n1.jpg,7\n2.jpg,8\nmore/3.jpg,7\n"),
            ("test/metadata.csv", "label,Image_File_Name\n8,4.jpg\n"),
        ),
        (
            (
                "train/metadata.jsonl",
                "{\"file_name\": \"1.jpg\", \"label\": 7}\n{\"file_name\": \"./2.jpg\", \
                 \"label\": 8}\n{\"file_name\": \"more/3.jpg\", \"label\": 7}\n",
            ),
            ("test/metadata.jsonl", "{\"image_file_name\": \"4.jpg\", \"label\": 8}\n"),
        ),
    ] {
        let data = with(&IMAGES, &[train, test]);
        let catalogue = scanned(data.path()).unwrap();
        assert_eq!(
            (&catalogue.classes[..], counts(&catalogue)),
            (&["7", "8"].map(str::to_owned)[..], [3, 0, 1])
        );
        assert_eq!(
            catalogue.train.iter().map(|sample| sample.label).collect::<Vec<_>>(),
            [0, 0, 1]
        );
        // Images that the table does not list are ignored by name; the tables themselves are not.
        let ignored = names(data.path(), catalogue.ignored.iter().map(|ignored| &ignored.path));
        assert_eq!(ignored, ["test/5.jpg"]);
        assert!(
            catalogue
                .notes
                .iter()
                .any(|note| note.contains("the names of the folders beside it do not count"))
        );
        for folder in ["", "test"] {
            let found = scan_labelled(&data.path().join(folder), Path::new("unused")).unwrap();
            assert_eq!(
                (listed(data.path(), &found.samples), found.names),
                (vec!["test/4.jpg".to_owned()], vec!["8".to_owned()])
            );
        }
    }
}

#[test]
fn a_table_at_the_top_takes_the_split_from_the_path() {
    let table = "file_name,label\ntrain/1.jpg,a\ntrain/2.jpg,b\ntrain/more/3.jpg,b\ntest/4.jpg,\
        a\ntest/5.jpg,b\n";
    let data = with(&IMAGES, &[("metadata.csv", table)]);
    let catalogue = scanned(data.path()).unwrap();
    assert_eq!(
        (&catalogue.classes[..], counts(&catalogue)),
        (&["a", "b"].map(str::to_owned)[..], [3, 0, 2])
    );
    assert_eq!(catalogue.ignored, []);
    assert_eq!(scan_labelled(data.path(), Path::new("unused")).unwrap().samples.len(), 2);
    // Without splits, and in a separate folder.
    let flat =
        with(&["x/1.jpg", "x/2.jpg"], &[("x/metadata.csv", "file_name,label\n1.jpg,a\n2.jpg,b\n")]);
    assert_eq!(counts(&scanned(flat.path()).unwrap()), [2, 0, 0]);
    assert_eq!(scan_labelled(flat.path(), Path::new("unused")).unwrap().names, ["a", "b"]);
}

#[test]
fn folders_in_paths_are_splits_if_folders_of_these_names_would_be() {
    let files = ["pets_train/1.jpg", "pets_train/2.jpg", "pets_test/3.jpg", "pets_test/4.jpg"];
    let table = "file_name,label\npets_train/1.jpg,a\npets_train/2.jpg,b\npets_test/3.jpg,\
        a\npets_test/4.jpg,b\n";
    let data = with(&files, &[("metadata.csv", table)]);
    let catalogue = scanned(data.path()).unwrap();
    assert_eq!(counts(&catalogue), [2, 0, 2]);
    assert!(
        !catalogue.notes.iter().any(|note| note.contains("do not count")),
        "{:?}",
        catalogue.notes
    );
    // Beside `invalid`, `valid` is not a validation set.
    let table = "file_name,label\nvalid/1.jpg,valid\ninvalid/2.jpg,invalid\n";
    let data = with(&["valid/1.jpg", "invalid/2.jpg"], &[("metadata.csv", table)]);
    let catalogue = scanned(data.path()).unwrap();
    assert_eq!(
        (&catalogue.classes[..], counts(&catalogue)),
        (&["invalid", "valid"].map(str::to_owned)[..], [2, 0, 0])
    );
}

#[test]
fn an_error_in_a_table_of_labels_is_an_error_beside_class_folders_too() {
    let files = ["cat/1.jpg", "dog/2.jpg"];
    let half = "file_name,label\ncat/1.jpg,x\ndog/2.jpg,\n";
    let broken = "file_name,label\ncat/1.jpg,x\n\"dog/2.jpg,y\n";
    for table in [half, broken] {
        let data = with(&files, &[("metadata.csv", table)]);
        let error = scanned(data.path()).unwrap_err().to_string();
        assert!(error.contains("metadata.csv, line 3"), "{error}");
    }
    let splits = ["train", "test"];
    let nested: Vec<String> =
        files.iter().flat_map(|file| splits.map(|split| format!("{split}/{file}"))).collect();
    let nested: Vec<&str> = nested.iter().map(String::as_str).collect();
    let data = with(&nested, &[("test/metadata.csv", broken)]);
    let error = scanned(data.path()).unwrap_err().to_string();
    assert!(error.contains("test/metadata.csv, line 3"), "{error}");
    // Without class folders nothing else gives the labels.
    let data = with(
        &["1.jpg", "2.jpg"],
        &[(
            "metadata.jsonl",
            "{\"file_name\": \"1.jpg\", \"label\": \"x\"}\n{\"file_name\": \"2.jpg\"}\n",
        )],
    );
    let error = scanned(data.path()).unwrap_err().to_string();
    assert!(error.contains("metadata.jsonl, line 2"), "{error}");
}

#[test]
fn a_table_goes_before_class_folders_and_one_without_labels_does_not() {
    let files = ["cat/1.jpg", "dog/2.jpg", "dog/3.jpg"];
    let data = with(&files, &[("metadata.csv", "file_name,label\ncat/1.jpg,x\ndog/2.jpg,y\n")]);
    let catalogue = scanned(data.path()).unwrap();
    assert_eq!(
        (&catalogue.classes[..], counts(&catalogue)),
        (&["x", "y"].map(str::to_owned)[..], [2, 0, 0])
    );
    assert!(
        catalogue
            .notes
            .iter()
            .any(|note| note.contains("the names of the folders beside it do not count"))
    );
    assert_eq!(catalogue.ignored.len(), 1);
    for table in [
        "file_name,text\ncat/1.jpg,a cat\n",
        "id,what\n1,2\n",
        "file_name,text\ncat/1.jpg,\"a cat\n",
        "file_name,label\n",
    ] {
        let data = with(&files, &[("metadata.csv", table)]);
        let catalogue = scanned(data.path()).unwrap();
        assert_eq!(catalogue.classes, ["cat", "dog"], "{table}");
        assert_eq!(
            names(data.path(), catalogue.ignored.iter().map(|ignored| &ignored.path)),
            ["metadata.csv"]
        );
    }
}

#[test]
fn a_broken_table_of_labels_is_an_error_beside_class_folders_too() {
    let good = "{\"file_name\": \"cat/1.jpg\", \"label\": \"x\"}";
    for (name, content, line) in [
        ("metadata.csv", "file_name,label\ncat/1.jpg,x\ndog/2.jpg,\n".to_owned(), 3),
        ("metadata.csv", "file_name,label\ncat/1.jpg,\ndog/2.jpg,\n".to_owned(), 2),
        ("metadata.csv", "file_name,label\ncat/1.jpg,\"x\ndog/2.jpg,y\n".to_owned(), 2),
        ("metadata.csv", "file_name,label\ncat/1.jpg,x\ndog/2.jpg,y,z\n".to_owned(), 3),
        ("metadata.csv", "file_name,label,label\ncat/1.jpg,x,y\n".to_owned(), 1),
        ("metadata.csv", "sep=;\nfile_name;label\ncat/1.jpg;x;y\n".to_owned(), 3),
        (
            "metadata.jsonl",
            format!("{good}\n{{\"file_name\": \"dog/2.jpg\", \"label\": \"\"}}\n"),
            2,
        ),
        (
            "metadata.jsonl",
            format!("{good}\n{{\"file_name\": \"dog/2.jpg\", \"label\": null}}\n"),
            2,
        ),
        ("metadata.jsonl", format!("{good}\n{{\"file_name\": \n"), 2),
        ("metadata.jsonl", "{\"file_name\": \n".to_owned(), 1),
    ] {
        for outer in ["", "train/", "set/"] {
            let files =
                ["cat/1.jpg", "dog/2.jpg", "dog/3.jpg"].map(|file| format!("{outer}{file}"));
            let table = format!("{outer}{name}");
            let data = with(&files.each_ref().map(String::as_str), &[(&table, &content)]);
            let error = scanned(data.path()).unwrap_err().to_string();
            assert!(
                error.contains(&format!("{name}, line {line}: ")),
                "{table}: {content}: {error}"
            );
        }
    }
}

#[test]
fn tables_that_do_not_fit_are_refused_by_name() {
    let error = |files: &[&str], tables: &[(&str, &str)]| {
        scanned(with(files, tables).path()).unwrap_err().to_string()
    };
    let flat = &["train/1.jpg", "train/2.jpg"][..];
    let captions =
        error(flat, &[("train/metadata.csv", "file_name,text\n1.jpg,a cat\n2.jpg,a dog\n")]);
    assert!(
        captions.contains(
            "metadata.csv gives no labels: it must be metadata.csv or metadata.jsonl with"
        ),
        "{captions}"
    );
    let parquet = error(flat, &[("train/metadata.parquet", "PAR1")]);
    assert!(parquet.contains("metadata.parquet gives no labels"), "{parquet}");
    let one = error(flat, &[("train/metadata.csv", "file_name,label\n1.jpg,a\n2.jpg,a\n")]);
    assert!(one.contains("are labelled \"a\""), "{one}");
    let both = [
        ("train/metadata.csv", "file_name,label\n1.jpg,a\n"),
        ("train/metadata.jsonl", "{\"file_name\": \"1.jpg\", \"label\": 1}\n"),
    ];
    assert!(error(flat, &both).contains("both label the images in their folder"));
    let broken = error(flat, &[("train/metadata.csv", "file_name,label\n1.jpg,a\n2.jpg,\n")]);
    assert!(broken.contains("metadata.csv, line 3"), "{broken}");
    let train = ("train/metadata.csv", "file_name,label\n1.jpg,a\n2.jpg,b\n");
    let unknown = error(
        &[flat, &["test/3.jpg"]].concat(),
        &[train, ("test/metadata.csv", "file_name,label\n3.jpg,c\n")],
    );
    assert!(unknown.contains("\"c\" is unknown"), "{unknown}");
}

#[test]
fn an_archive_with_metadata_is_read_as_its_folder() {
    let data = folder(&[]);
    let zip = data.path().join("hub.zip");
    let mut writer = zip::ZipWriter::new(std::fs::File::create(&zip).unwrap());
    for (name, content) in [
        ("data/metadata.csv", "file_name,label\ntrain/1.jpg,a\ntrain/2.jpg,b\ntest/3.jpg,a\n"),
        ("data/train/1.jpg", "x"),
        ("data/train/2.jpg", "x"),
        ("data/test/3.jpg", "x"),
    ] {
        writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut writer, content.as_bytes()).unwrap();
    }
    writer.finish().unwrap();
    let options = ScanOptions {
        split: SplitOptions::NOTHING,
        cache: data.path().join("cache"),
        ..ScanOptions::default()
    };
    assert_eq!(counts(&scan_with(&zip, &options, &mut |_| {}).unwrap()), [2, 0, 1]);
}
