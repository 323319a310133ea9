//! Tables of images. No image is opened.

use std::path::Path;

use regraft_data::catalogue::{
    Catalogue, CatalogueError, ScanOptions, SplitOptions, scan_labelled, scan_with,
};
use tempfile::TempDir;

fn scanned(name: &str, content: &str) -> (TempDir, Result<Catalogue, CatalogueError>) {
    let folder = TempDir::new().unwrap();
    let table = folder.path().join(name);
    std::fs::write(&table, content).unwrap();
    let catalogue = scan_with(
        &table,
        &ScanOptions { split: SplitOptions::NOTHING, ..ScanOptions::default() },
        &mut |_| {},
    );
    (folder, catalogue)
}

fn parts(folder: &TempDir, catalogue: &Catalogue) -> [Vec<(String, u32)>; 3] {
    let name = |path: &Path| path.strip_prefix(folder.path()).unwrap().display().to_string();
    [&catalogue.train, &catalogue.validation, &catalogue.test]
        .map(|part| part.iter().map(|sample| (name(&sample.path), sample.label)).collect())
}

fn listed(names: &[(&str, u32)]) -> Vec<(String, u32)> {
    names.iter().map(|&(name, label)| (name.to_owned(), label)).collect()
}

#[test]
fn every_kind_of_table_means_the_same() {
    let csv =
        "path,label,split\nb/1.jpg,dog,train\n\"a, 2.jpg\",cat,\nv.jpg,cat,val\nt.jpg,dog,Test\n\n";
    let tsv = "\u{feff}Split\tImage\tclass\r\ntraining\tb/1.jpg\tdog\r\n\ta, \
        2.jpg\tcat\r\nvalidation\tv.jpg\tcat\r\ntest\tt.jpg\tdog\r\n";
    let jsonl = r#"{"path": "b/1.jpg", "label": "dog", "split": "train"}
        {"file_name": "a, 2.jpg", "label": "cat", "split": null, "size": [1, 2]}

        {"path": "v.jpg", "label": "cat", "split": "valid"}
        {"path": "t.jpg", "label": "dog", "split": "test"}"#;
    for (name, content) in [("t.csv", csv), ("t.TSV", tsv), ("t.jsonl", jsonl)] {
        let (folder, catalogue) = scanned(name, content);
        let catalogue = catalogue.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(catalogue.classes, ["cat", "dog"], "{name}");
        let expected = [
            listed(&[("a, 2.jpg", 0), ("b/1.jpg", 1)]),
            listed(&[("v.jpg", 0)]),
            listed(&[("t.jpg", 1)]),
        ];
        assert_eq!(parts(&folder, &catalogue), expected, "{name}");
    }
    // Numbers as labels.
    let (_folder, catalogue) =
        scanned("t.jsonl", "{\"path\": \"a\", \"label\": 3}\n{\"path\": \"b\", \"label\": 12}");
    assert_eq!(catalogue.unwrap().classes, ["12", "3"]);
}

#[test]
fn a_table_without_parts_is_split_as_class_folders_are() {
    let lines: String =
        (0..20).map(|place| format!("{place}.jpg,{}\n", ["x", "y"][place % 2])).collect();
    let folder = TempDir::new().unwrap();
    let table = folder.path().join("all.csv");
    std::fs::write(&table, format!("file,label\n{lines}1.jpg,y\n")).unwrap();
    let catalogue = scan_with(&table, &ScanOptions::default(), &mut |_| {}).unwrap();
    assert_eq!((catalogue.train.len(), catalogue.validation.len()), (16, 4));
    assert!(
        catalogue.notes.iter().any(|note| note.starts_with("1 line of")),
        "{:?}",
        catalogue.notes
    );
}

#[test]
fn unusable_rows_are_reported_with_their_line() {
    for (name, content, expected) in [
        (
            "t.csv",
            "a.jpg,cat\nb.jpg,dog\n",
            "has no column of paths; its first line must name the columns",
        ),
        ("t.csv", "path,size\na.jpg,3\n", "has no column of labels"),
        ("t.csv", "path,label\na.jpg,cat\nb.jpg,\n", "t.csv, line 3: b.jpg has no label"),
        ("t.csv", "path,label\n,cat\n", "line 2: has no path"),
        (
            "t.csv",
            "path,label,split\na,cat,holdout\n",
            "line 2: the split \"holdout\" is not train, val or test",
        ),
        (
            "t.csv",
            "path,label\na.jpg,cat\nb.jpg,dog\na.jpg,dog\n",
            "line 4: a.jpg is \"dog\" here and \"cat\" in line 2",
        ),
        (
            "t.csv",
            "path,label,split\na,cat,train\nb,dog,train\na,cat,test\n",
            "line 4: a is in another part in line 2",
        ),
        (
            "t.csv",
            "path,label,split\na,cat,train\nb,dog,train\nc,eel,val\n",
            "line 4: the class \"eel\" is unknown",
        ),
        (
            "t.csv",
            "path,label\na.jpg,cat\n",
            "all images to train on are labelled \"cat\"; add images with another label",
        ),
        ("t.csv", "path,label\n", "lists no image"),
        ("t.csv", "path,label,split\na,cat,test\n", "lists no image to train on"),
        ("t.jsonl", "{\"path\": \"a\", \"label\": \"x\"}\n[1]", "line 2: is not a JSON object"),
        ("t.jsonl", "{\"label\": \"x\"}", "line 1: has no path"),
        ("t.jsonl", "{\"path\": {}, \"label\": \"x\"}", "line 1: path must be text"),
        (
            "t.jsonl",
            "{\"path\": \"a\", \"label\": \"x\"}\n{\"path\": \"b\"}",
            "line 2: b has no label",
        ),
    ] {
        let error = scanned(name, content).1.unwrap_err().to_string();
        assert!(error.contains(expected), "{error} (expected: {expected})");
    }
    let folder = TempDir::new().unwrap();
    let table = folder.path().join("t.csv");
    std::fs::write(&table, b"path,label\nb\xFF.jpg,cat\n").unwrap();
    let error = scan_with(&table, &ScanOptions::default(), &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("UTF-8"), "{error}");
}

#[test]
fn the_test_lines_of_a_table_are_scored() {
    let folder = TempDir::new().unwrap();
    let table = folder.path().join("t.csv");
    std::fs::write(
        &table,
        "path,label,split\na.jpg,cat,train\nb.jpg,dog,test\nc.jpg,cat,test\nv.jpg,cat,val\n",
    )
    .unwrap();
    let found = scan_labelled(&table, Path::new("unused")).unwrap();
    assert_eq!((found.names.len(), found.samples.len()), (2, 2));
    assert!(
        found.notes[0].contains("only the 2 lines of the split test count"),
        "{:?}",
        found.notes
    );
    std::fs::write(&table, "path,label\na.jpg,cat\nb.jpg,dog\n").unwrap();
    assert_eq!(scan_labelled(&table, Path::new("unused")).unwrap().samples.len(), 2);
}
