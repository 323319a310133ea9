//! Tests which columns of a table are used, and the notes on the other columns and on odd labels.

use regraft_data::catalogue::{
    Catalogue, CatalogueError, ScanOptions, SplitOptions, scan_labelled, scan_with,
};
use regraft_data::inputs::expand;
use tempfile::TempDir;

fn scanned(name: &str, content: &str) -> Result<Catalogue, CatalogueError> {
    let folder = TempDir::new().unwrap();
    let table = folder.path().join(name);
    std::fs::write(&table, content).unwrap();
    let options = ScanOptions { split: SplitOptions::NOTHING, ..ScanOptions::default() };
    scan_with(&table, &options, &mut |_| {})
}

fn notes(name: &str, content: &str) -> String {
    scanned(name, content).unwrap().notes.join("\n")
}

fn refused(name: &str, content: &str, expected: &[&str]) {
    let error = scanned(name, content).unwrap_err().to_string();
    for expected in expected {
        assert!(error.contains(expected), "{error} (expected: {expected})");
    }
}

#[test]
fn of_two_columns_that_fit_the_order_of_names_decides_and_a_note_says_so() {
    let labels = "the labels are read from the column \"label\". The column \"class\" is ignored";
    let catalogue = scanned("t.csv", "class,path,label\n0,a,cat\n1,b,dog\n").unwrap();
    assert_eq!(catalogue.classes, ["cat", "dog"]);
    assert!(catalogue.notes.join("\n").contains(labels), "{:?}", catalogue.notes);
    let catalogue = scanned("t.csv", "image,label,File Name\nx,cat,a\ny,dog,b\n").unwrap();
    assert!(catalogue.train[0].path.ends_with("a"), "{:?}", catalogue.train);
    let paths = "the paths are read from the column \"File Name\". The column \"image\" is ignored";
    assert!(catalogue.notes.join("\n").contains(paths), "{:?}", catalogue.notes);
    let catalogue = scanned("t.csv", "x_file_name,label,image_file_name\na,x,b\nc,y,d\n").unwrap();
    assert!(catalogue.train[0].path.ends_with("a"), "{:?}", catalogue.train);
    let found = notes(
        "t.jsonl",
        "{\"path\": \"a\", \"label\": \"x\"}\n{\"class\": 1, \"path\": \"b\", \"label\": \"y\"}",
    );
    assert!(found.contains(labels), "{found}");
    let found = notes("t.csv", "path,label,set,split\na,x,7,train\nb,y,8,train\n");
    assert!(
        found.contains(
            "the splits are read from the column \"split\". The column \"set\" is ignored"
        ),
        "{found}"
    );
}

#[test]
fn other_columns_of_labels_are_named() {
    for (header, used, ignored) in [
        ("class_id,class_name", "class_name", "class_id"),
        ("class_index,class", "class", "class_index"),
        ("labels,label", "label", "labels"),
        ("Category-ID,category", "category", "Category-ID"),
    ] {
        let expected = format!(
            "the labels are read from the column \"{used}\". The column \"{ignored}\" is ignored"
        );
        let found = notes("t.csv", &format!("path,{header}\na,0,x\nb,1,y\n"));
        assert_eq!(found.matches(&expected).count(), 1, "{found}");
        let line = |value: &str| {
            format!("{{\"path\": \"{value}\", \"{ignored}\": \"0\", \"{used}\": \"{value}\"}}\n")
        };
        let found = notes("t.jsonl", &[line("x"), line("y")].concat());
        assert_eq!(found.matches(&expected).count(), 1, "{found}");
    }
    // Columns of zeros and ones: one 1 in each row, or named like the labels.
    let ignored = "read from the column \"label\". The columns cat, dog of zeros and ones are \
        ignored; remove \"label\"";
    for rows in ["a,x,1,0\nb,y,0,1\n", "a,cat,1,1\nb,dog,0,1\n"] {
        let found = notes("t.csv", &format!("path,label,cat,dog\n{rows}"));
        assert!(found.contains(ignored), "{found}");
    }
    for other in
        ["path,label,flash,blurred\na,x,1,1\nb,y,0,0\n", "path,label,blurred\na,x,1\nb,y,1\n"]
    {
        assert!(!notes("t.csv", other).contains("zeros and ones"), "{other}");
    }
}

#[test]
fn labels_of_several_classes_are_named() {
    for label in ["cat,dog", "dog | cat", "cat;dog", "cat|dog|"] {
        let found = notes("t.csv", &format!("path,label\na,cat\nb,dog\nc,\"{label}\"\n"));
        assert!(
            found.contains(&format!(
                "look like several classes joined, but each is a class of its own: {label:?}. "
            )),
            "{found}"
        );
    }
    let found = notes("t.csv", "path,label\na,x|y\nb,y|z\nc,z|x\nd,q|x\n");
    assert!(found.contains(r#"of its own: "x|y", "y|z", "z|x". "#), "{found}");
    let found = notes("t.csv", "path,label\na,\"Smith, Ann\"\nb,\"Smith, Joe\"\nc,cat|\nd,dog\n");
    assert!(!found.contains("several classes"), "{found}");
}

#[test]
fn rows_without_a_split_are_counted() {
    let rows = "a,x,train\nb,y,train\nc,x,\nd,y, \ne,x,test\n";
    let found = notes("t.csv", &format!("path,label,split\n{rows}"));
    assert!(found.contains("t.csv: 2 rows have no split and are in the training set."), "{found}");
    let found = notes(
        "t.jsonl",
        "{\"path\":\"a\",\"label\":\"x\",\"split\":\"train\"}\n{\"path\":\"b\",\"label\":\"y\"}\n",
    );
    assert!(found.contains("t.jsonl: 1 row has no split and is in the training set."), "{found}");
    for full in [
        "path,label,split\na,x,train\nb,y,train\n",
        "path,label,split\na,x,\nb,y,\n",
        "path,label\na,x\nb,y\n",
    ] {
        assert!(!notes("t.csv", full).contains("no split"), "{full}");
    }
}

#[test]
fn two_columns_of_one_name_are_an_error() {
    refused(
        "t.csv",
        "path,label,Label\na,x,y\n",
        &["line 1: has two columns called \"Label\"; rename one"],
    );
    refused(
        "t.jsonl",
        r#"{"path": "a", "label": "x", "label": "y"}"#,
        &["line 1: has two values called \"label\""],
    );
    // Unused columns may repeat.
    assert!(scanned("t.csv", "path,label,x,x\na,x,1,2\nb,y,1,2\n").is_ok());
}

#[test]
fn an_ignored_column_that_looks_like_a_split_is_named() {
    for (column, values) in [
        ("is_valid", ["True", "False"]),
        ("Fold", ["0", "1"]),
        ("Train", ["1", "0"]),
        ("test", ["1", "0"]),
        ("part_of", ["train", "val"]),
    ] {
        let found =
            notes("t.csv", &format!("path,label,{column}\na,x,{}\nb,y,{}\n", values[0], values[1]));
        assert!(
            found.contains(&format!(
                "the column \"{column}\" looks like a split and is ignored. To use it,"
            )),
            "{found}"
        );
        let lines = format!(
            "{{\"path\":\"a\",\"label\":\"x\",\"{column}\":\"{}\"}}\n{{\"path\":\"b\",\
                \"label\":\"y\",\"{column}\":\"{}\"}}",
            values[0], values[1]
        );
        let found = notes("t.jsonl", &lines);
        assert!(found.contains(&format!("the column \"{column}\" looks like a split")), "{found}");
    }
    let found = notes("t.csv", "path,label,train,test\na,x,1,0\nb,y,0,1\n");
    assert!(
        found.contains(
            "the columns \"train\", \"test\" look like a split and are ignored. To use one,"
        ),
        "{found}"
    );
    assert!(!found.contains("zeros and ones"), "{found}");
    // Not beside a column of splits, nor for any other column.
    let found = notes("t.csv", "path,label,split,fold,size\na,x,train,1,2\nb,y,train,2,3\n");
    assert!(!found.contains("look like"), "{found}");
    let found = notes("t.csv", "path,label,xmin,xmax\na,x,1,2\nb,y,2,3\n");
    assert!(
        found.contains("\"xmin\", \"xmax\" look like positions of objects and are ignored"),
        "{found}"
    );
}

#[test]
fn labels_that_look_alike_are_named_and_stay_apart() {
    let catalogue =
        scanned("t.csv", "path,label\na,Hotdog\nb,hotdog\nc,\"hotdog \"\nd,cat\n").unwrap();
    assert_eq!(catalogue.classes, ["Hotdog", "cat", "hotdog", "hotdog "]);
    let found = catalogue.notes.join("\n");
    assert!(found.contains("\"Hotdog\" and \"hotdog\" and \"hotdog \""), "{found}");
    let found = notes("t.csv", "path,label\na,0\nb,0.0\nc,1\nd,01\ne,1e0\n");
    assert!(
        found.contains(
            "the same number but different classes: \"0\" and \"0.0\"; \"01\" and \"1\" and \"1e0\""
        ),
        "{found}"
    );
    let found = notes(
        "t.csv",
        "path,label\na,0\nb,1\nc,10\nd,inf\ne,infinity\nf,9007199254740992\ng,9007199254740993\n",
    );
    assert!(!found.contains("the same number"), "{found}");
    let folder = TempDir::new().unwrap();
    let table = folder.path().join("t.csv");
    std::fs::write(&table, "path,label\na,1\nb,1.0\n").unwrap();
    let found = scan_labelled(&table, folder.path()).unwrap().notes.join("\n");
    assert!(found.contains("\"1\" and \"1.0\""), "{found}");
}

#[test]
fn a_missing_label_is_an_error_and_a_doubtful_one_is_a_note() {
    for label in ["nan", "NaN", "<NA>", "#N/A"] {
        let expected = format!(
            "line 3: b has the label {label:?}, which is how programs write a missing value"
        );
        refused("t.csv", &format!("path,label\na,x\nb,{label}\n"), &[&expected]);
    }
    refused(
        "t.jsonl",
        "{\"path\":\"a\",\"label\":\"x\"}\n{\"path\":\"b\",\"label\":\" \"}",
        &["line 2: b has no label"],
    );
    let found = notes("t.csv", "path,label\na,none\nb,hotdog\n");
    assert!(found.contains("\"none\" is a class of its own"), "{found}");
}

#[test]
fn one_hot_columns_are_labels_if_each_row_has_one_of_them() {
    // As Roboflow writes `_classes.csv`.
    let catalogue =
        scanned("t.csv", "filename, cat, dog, eel\na.jpg, 0, 1, 0\nb.jpg, 1, 0, 0\n").unwrap();
    assert_eq!(catalogue.classes, ["cat", "dog"]);
    assert_eq!(catalogue.classes[catalogue.train[0].label as usize], "cat");
    assert!(catalogue.train[0].path.ends_with("b.jpg"));
    let found = catalogue.notes.join("\n");
    assert!(
        found.contains(
            "the columns cat, dog, eel hold a 1 in each row; it is read as the row's label"
        ),
        "{found}"
    );
    let expected = "line 3: has a 1 in cat and dog of the columns of classes; each image needs \
        exactly one class";
    refused("t.csv", "path,cat,dog\na,1.0,0.0\nb,1.0,1.0\n", &[expected]);
    refused(
        "t.csv",
        "path,cat,dog\na,0,0\n",
        &["line 2: has a 1 in none of the columns of classes"],
    );
    refused(
        "t.csv",
        "path,width,height\na,1,0\nb,224,1\n",
        &["has no column of labels", "(it has path, width, height)"],
    );
    // A column without a name, or with a name of several lines, is not a class.
    let catalogue = scanned("t.csv", ",path,cat,dog,\"e\nel\"\n0,a,1,0,0\n1,b,0,1,0\n").unwrap();
    assert_eq!(catalogue.classes, ["cat", "dog"]);
    // It can still be read as a list of paths.
    let folder = TempDir::new().unwrap();
    let table = folder.path().join("t.csv");
    std::fs::write(&table, "path,cat,dog\na,1,1\nb,0,0\n").unwrap();
    assert_eq!(
        expand(&[table.to_str().unwrap().to_owned()], folder.path()).unwrap().paths.len(),
        2
    );
}

#[test]
fn exports_are_recognised_and_their_columns_listed() {
    let studio = "image,id,choice,annotator,annotation_id,created_at,updated_at,lead_time\n/data/\
        upload/1/a.jpg,1,cat,1,1,x,y,2\n";
    refused(
        "t.csv",
        studio,
        &[
            "has no column of labels",
            "it has image, id, choice, annotator",
            "an export of Label Studio",
        ],
    );
    let via = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,\
        region_attributes\na.jpg,1,{},0,0,{},{}\n";
    refused("t.csv", via, &["VGG Image Annotator"]);
    refused(
        "t.csv",
        "image,name,xmin,ymin,xmax,ymax\na.jpg,cat,1,1,2,2\n",
        &["an export for object detection"],
    );
    refused("t.csv", "id,breed\n1,pug\n", &["has no column of paths", "(it has id, breed)"]);
    refused(
        "t.jsonl",
        "{\"id\": 1, \"label\": \"x\"}",
        &["line 1: has no path", "(it has id, label)"],
    );
    refused(
        "t.txt",
        "path;label\na;x\n",
        &["t.txt, line 1: names the columns of a table; give the file the extension .csv"],
    );
    refused("t.txt", "a.jpg 0\nb.jpg 1\n", &["t.txt: lists paths without labels; write a table"]);
}

#[test]
fn an_unknown_label_is_named_with_its_line_and_an_address_is_not_fetched() {
    let folder = TempDir::new().unwrap();
    let table = folder.path().join("t.csv");
    std::fs::write(&table, "path,label\na,x\nb,q\nc,q\n").unwrap();
    let classes = ["x", "y"].map(str::to_owned);
    let error = scan_labelled(&table, folder.path())
        .unwrap()
        .labelled_by(&classes)
        .unwrap_err()
        .to_string();
    assert!(error.contains("t.csv, line 3: the class \"q\" is unknown"), "{error}");
    assert!(error.ends_with("correct the label or remove the line"), "{error}");
    for (address, scheme) in [
        ("http://host/b.jpg", "http"),
        ("s3://bucket/b.jpg", "s3"),
        (" https://host/b.jpg", "https"),
    ] {
        let expected = format!(
            "line 3: its path is an address ({scheme}://...), and addresses are not fetched"
        );
        refused("t.csv", &format!("path,label\na,x\n{address},y\n"), &[&expected]);
        refused(
            "t.jsonl",
            &format!(
                "{{\"path\":\"a\",\"label\":\"x\"}}\n\n{{\"path\":\"{address}\",\"label\":\"y\"}}"
            ),
            &[&expected],
        );
    }
}
