//! Tests how the text of a table is split: quotes, line ends, delimiters and lengths of rows.

use std::path::Path;

use regraft_data::catalogue::{Catalogue, CatalogueError, ScanOptions, SplitOptions, scan_with};
use regraft_data::inputs::expand;
use tempfile::TempDir;

fn scanned(name: &str, content: impl AsRef<[u8]>) -> Result<Catalogue, CatalogueError> {
    let folder = TempDir::new().unwrap();
    let table = folder.path().join(name);
    std::fs::write(&table, content).unwrap();
    let options = ScanOptions { split: SplitOptions::NOTHING, ..ScanOptions::default() };
    scan_with(&table, &options, &mut |_| {})
}

fn refused(name: &str, content: impl AsRef<[u8]>, expected: &str) {
    let error = scanned(name, content).unwrap_err().to_string();
    assert!(error.contains(expected), "{error} (expected: {expected})");
}

/// The names of the training images, with their classes.
fn listed(catalogue: &Catalogue) -> Vec<String> {
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let samples = catalogue.train.iter();
    samples
        .map(|sample| {
            format!("{} is {}", name(&sample.path), catalogue.classes[sample.label as usize])
        })
        .collect()
}

#[test]
fn an_open_quote_is_named_with_its_line_instead_of_swallowing_rows() {
    let rows: String =
        (0..12).map(|place| format!("{place}.jpg,{}\n", ["cat", "dog"][place % 2])).collect();
    let open = rows.replace("3.jpg,dog", "3.jpg,\"dog");
    refused(
        "t.csv",
        format!("path,label\n{open}"),
        "t.csv, line 5: a quote opens a value here and never closes it",
    );
    // Closed by the quote of a later row.
    let closed = open.replace("9.jpg,dog", "9.jpg,\"dog\"");
    let expected =
        "line 5: a quote opens a value here, and text follows the quote that closes it in line 11";
    refused("t.csv", format!("path,label\n{closed}"), expected);
    // Closed at the end of a later row: valid CSV, but not a label.
    let closed = open.replace("9.jpg,dog", "9.jpg,dog\"");
    refused(
        "t.csv",
        format!("path,label\n{closed}"),
        "line 5: its label holds a line break (\"dog\\n4.jpg,cat",
    );
    let open = rows.replace("3.jpg", "\"3.jpg").replace("9.jpg", "9.jpg\"");
    refused("t.csv", format!("path,label\n{open}"), "line 5: its path holds a line break");
    refused("t.csv", "\"path,label\na.jpg,cat\n", "line 1: a quote opens a value here");
    refused(
        "t.csv",
        "path,label\na.jpg,\"cat\" dog\n",
        "line 2: a quote opens a value here, and text follows",
    );
}

#[test]
fn a_value_of_several_lines_in_another_column_is_a_note() {
    let catalogue = scanned("t.csv", "path,caption,label\na,\"one\ntwo\",cat\nb,x,dog\n").unwrap();
    assert_eq!(listed(&catalogue), ["a is cat", "b is dog"]);
    let notes = catalogue.notes.join("\n");
    assert!(
        notes.contains("from line 2 on, values of the column \"caption\" take several lines"),
        "{notes}"
    );
}

#[test]
fn quotes_inside_a_value_are_text() {
    let catalogue =
        scanned("t.csv", "path,label\na \"b\" c.jpg,5\" pipe\nd.jpg, \"cat, small\" \n").unwrap();
    assert_eq!(listed(&catalogue), ["a \"b\" c.jpg is 5\" pipe", "d.jpg is cat, small"]);
}

#[test]
fn line_breaks_in_paths_and_labels_are_errors_in_every_kind_of_table() {
    refused("t.jsonl", r#"{"path": "a\nb", "label": "x"}"#, "line 1: its path holds a line break");
    refused(
        "t.jsonl",
        r#"{"path": "a", "label": "x\u2028y"}"#,
        "line 1: its label holds a line break",
    );
    refused("t.csv", "path,label\na,x\u{85}y\n", "line 2: its label holds a line break");
    refused("t.csv", "path,label\na\0,x\n", "line 2: its path holds a line break");
}

#[test]
fn a_tsv_without_quoting_is_read_as_it_is() {
    let text = "path\tcaption\tlabel\na.jpg\t\"Hello\" he said\tcat\nb.jpg\t\"open\tdog\n\"c \
        \"\"d\"\".jpg\"\t5\"\t\"eel\"\n";
    let catalogue = scanned("t.tsv", text).unwrap();
    assert_eq!(listed(&catalogue), ["a.jpg is cat", "b.jpg is dog", "c \"d\".jpg is eel"]);
    refused(
        "t.tsv",
        "path\tlabel\na\t\"cat\nb\tdog\"\n",
        "line 2: a quote opens a value here and never closes it",
    );
    refused("t.tsv", "path\tlabel\n\"a\tb\"\n", "line 2: has 1 of 2 values");
}

#[test]
fn lines_end_as_on_every_system() {
    for end in ["\n", "\r\n", "\r"] {
        let text = ["path,label", "a,x", "", "b,y", ""].join(end);
        assert_eq!(listed(&scanned("t.csv", &text).unwrap()), ["a is x", "b is y"], "{end:?}");
        let text = [r#"{"path": "a", "label": "x"}"#, r#"{"path": "b", "label": "y"}"#].join(end);
        assert_eq!(listed(&scanned("t.jsonl", &text).unwrap()), ["a is x", "b is y"], "{end:?}");
        let folder = TempDir::new().unwrap();
        let list = folder.path().join("list.txt");
        std::fs::write(&list, ["a.jpg", "b.jpg"].join(end)).unwrap();
        let paths = expand(&[list.to_str().unwrap().to_owned()], folder.path()).unwrap().paths;
        assert_eq!(paths, ["a.jpg", "b.jpg"].map(|name| folder.path().join(name)), "{end:?}");
    }
    // The lines in errors are counted in the same way.
    refused("t.csv", "path,label\r\ra,x\rb,\r", "line 4: b has no label");
}

#[test]
fn rows_with_more_or_fewer_values_than_columns_are_errors() {
    let expected =
        "line 2: has 3 values, but the first line names 2 columns; a value that holds a comma";
    refused("t.csv", "path,label\na, b.jpg,cat\n", expected);
    refused("t.csv", "path,label,size\na.jpg,cat,1\nb.jpg\n", "line 3: has 1 of 3 values");
    // If the value for the split were ignored, the row would be trained on.
    refused("t.csv", "path,label,split\na.jpg,cat,train\nb.jpg,dog\n", "line 3: has 2 of 3 values");
    // Empty values at the end mean nothing, and unused columns do not matter.
    let catalogue = scanned("t.csv", "path,label,size\na.jpg,cat,1,,\nb.jpg,dog\n").unwrap();
    assert_eq!(listed(&catalogue), ["a.jpg is cat", "b.jpg is dog"]);
}

#[test]
fn other_delimiters_are_recognised_and_named() {
    for (name, content, named) in [
        ("t.csv", "path;label\na.jpg;cat\n\"b;c.jpg\";dog, small\n", "semicolons"),
        ("t.csv", "path\tlabel\na.jpg\tcat\nb;c.jpg\tdog, small\n", "tabs"),
        ("t.tsv", "path,label\na.jpg,cat\nb;c.jpg,\"dog, small\"\n", "commas"),
    ] {
        let catalogue = scanned(name, content).unwrap();
        assert_eq!(listed(&catalogue), ["a.jpg is cat", "b;c.jpg is dog, small"], "{named}");
        let expected = format!("its columns are separated by {named}.");
        assert!(
            catalogue.notes.iter().any(|note| note.ends_with(&expected)),
            "{:?}",
            catalogue.notes
        );
    }
    // Excel names the delimiter in a separate line, which counts for the lines in errors.
    let catalogue = scanned("t.csv", "sep=;\r\npath;label\r\na;x\r\nb;y\r\n").unwrap();
    assert_eq!(listed(&catalogue), ["a is x", "b is y"]);
    refused("t.csv", "sep=;\npath;label\na;x\nb;\n", "line 4: b has no label");
    refused(
        "t.csv",
        "name;kind\na;x\n",
        "has no column of paths; its first line must name the columns",
    );
}

#[test]
fn text_that_is_not_utf_8_is_named_with_its_line() {
    refused("t.csv", b"path,label\na,x\nb\xFF,y\n", "line 3: is not UTF-8 text");
    refused("t.csv", b"\xFF\xFEp\0a\0", "t.csv: is UTF-16 text; save it as UTF-8 text");
}

#[test]
fn blanks_at_the_ends_of_a_path_count_if_it_is_quoted_or_only_so_there_is_a_file() {
    let folder = TempDir::new().unwrap();
    for name in [" a.jpg", "a.jpg", "b.jpg ", "c.jpg"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let table = folder.path().join("t.csv");
    let scan = |text: &str| {
        std::fs::write(&table, text).unwrap();
        let options = ScanOptions { split: SplitOptions::NOTHING, ..ScanOptions::default() };
        listed(&scan_with(&table, &options, &mut |_| {}).unwrap())
    };
    assert_eq!(scan("path,label\n\" a.jpg\",x\na.jpg ,y\n"), [" a.jpg is x", "a.jpg is y"]);
    assert_eq!(scan("path,label\nb.jpg ,x\n\" c.jpg \",y\n"), ["b.jpg  is x", "c.jpg is y"]);
    // No such file exists: the path stays as written.
    assert_eq!(scan("path,label\n\" d.jpg\",x\n e.jpg,y\n"), [" d.jpg is x", "e.jpg is y"]);
    let list = folder.path().join("list.txt");
    std::fs::write(&list, " a.jpg\nb.jpg \n c.jpg\n").unwrap();
    let paths = expand(&[list.to_str().unwrap().to_owned()], folder.path()).unwrap().paths;
    assert_eq!(paths, [" a.jpg", "b.jpg ", "c.jpg"].map(|name| folder.path().join(name)));
}
