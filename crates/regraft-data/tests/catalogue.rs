//! Catalogues of folders. No image is opened, so files of one byte are enough.

use std::path::{Path, PathBuf};

use regraft_data::catalogue::{
    Catalogue, CatalogueError, Sample, ScanOptions, SplitOptions, scan, scan_labelled, scan_with,
};
use regraft_data::inputs::expand;
use tempfile::TempDir;

fn folder(files: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for file in files {
        let path = folder.path().join(file);
        if file.ends_with('/') {
            std::fs::create_dir_all(path).unwrap();
        } else {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
    }
    folder
}

fn names<'a>(root: &Path, paths: impl IntoIterator<Item = &'a PathBuf>) -> Vec<String> {
    paths
        .into_iter()
        .map(|path| path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/"))
        .collect()
}

fn labelled(root: &Path, samples: &[Sample]) -> Vec<(String, u32)> {
    names(root, samples.iter().map(|sample| &sample.path))
        .into_iter()
        .zip(samples.iter().map(|sample| sample.label))
        .collect()
}

fn pair(name: &str, label: u32) -> (String, u32) {
    (name.to_owned(), label)
}

fn scanned(files: &[&str]) -> Result<Catalogue, CatalogueError> {
    scan(folder(files).path(), &SplitOptions::default())
}

#[test]
fn train_validation_and_test_folders() {
    for validation in ["val", "valid", "validation"] {
        let inside = |file: &str| file.replace("VAL", validation);
        let files = [
            "train/b/2.png",
            "train/b/10.jpg",
            "train/B/x.jpeg",
            "train/b/more/0.gif",
            "VAL/b/v.jpg",
            "VAL/B/w.jpg",
            "test/B/t.jpg",
        ];
        let files: Vec<String> = files.map(inside).to_vec();
        let data = folder(&files.iter().map(String::as_str).collect::<Vec<_>>());
        let catalogue = scan(data.path(), &SplitOptions::default()).unwrap();
        assert_eq!(catalogue.classes, ["B", "b"], "byte order: capitals first");
        let expected = [
            pair("train/B/x.jpeg", 0),
            pair("train/b/10.jpg", 1),
            pair("train/b/2.png", 1),
            pair("train/b/more/0.gif", 1),
        ];
        assert_eq!(labelled(data.path(), &catalogue.train), expected);
        let expected = [pair(&inside("VAL/B/w.jpg"), 0), pair(&inside("VAL/b/v.jpg"), 1)];
        assert_eq!(labelled(data.path(), &catalogue.validation), expected);
        assert_eq!(labelled(data.path(), &catalogue.test), [pair("test/B/t.jpg", 0)]);
        assert_eq!(catalogue.ignored, []);
        assert_eq!(catalogue.notes.len(), 3, "two sets, and `B` beside `b`: {:?}", catalogue.notes);
    }
}

#[test]
fn hidden_files_and_files_that_are_not_images_are_named() {
    let data = folder(&[
        "a/1.jpg",
        "a/.hidden.jpg",
        "a/notes.txt",
        "a/Thumbs.db",
        "a/README",
        "a/no_extension",
        "b/1.JPG",
        "b/LABELS.CSV",
        ".git/config",
        "__MACOSX/a/1.jpg",
        "stray.png",
    ]);
    let catalogue = scan(data.path(), &SplitOptions::NOTHING).unwrap();
    assert_eq!(
        labelled(data.path(), &catalogue.train),
        [pair("a/1.jpg", 0), pair("a/no_extension", 0), pair("b/1.JPG", 1)]
    );
    let mut ignored = names(data.path(), catalogue.ignored.iter().map(|ignored| &ignored.path));
    ignored.sort();
    let expected = [
        ".git",
        "__MACOSX",
        "a/.hidden.jpg",
        "a/README",
        "a/Thumbs.db",
        "a/notes.txt",
        "b/LABELS.CSV",
        "stray.png",
    ];
    assert_eq!(ignored, expected);
    assert!(catalogue.ignored.iter().any(|ignored| ignored.path.ends_with("stray.png")
        && ignored.reason == "outside any class folder"));
}

fn flat(classes: &[(&str, usize)]) -> TempDir {
    let files: Vec<String> = classes
        .iter()
        .flat_map(|(class, count)| (0..*count).map(move |place| format!("{class}/{place:03}.jpg")))
        .collect();
    folder(&files.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn class_folders_are_split_stratified_and_seeded() {
    let data = flat(&[("cat", 50), ("dog", 20), ("eel", 2), ("fox", 1)]);
    let split = |seed, validation_fraction| {
        scan(data.path(), &SplitOptions { seed, validation_fraction }).unwrap()
    };
    let catalogue = split(1, None);
    let count =
        |samples: &[Sample], label| samples.iter().filter(|sample| sample.label == label).count();
    let counts = |samples: &[Sample]| [0, 1, 2, 3].map(|label| count(samples, label));
    assert_eq!(
        counts(&catalogue.validation),
        [10, 4, 1, 0],
        "a fifth of each class, but never the only image"
    );
    assert_eq!(counts(&catalogue.train), [40, 16, 1, 1]);
    assert!(
        catalogue.train.iter().all(|sample| !catalogue.validation.contains(sample)),
        "no image is in both"
    );
    assert!(catalogue.train.is_sorted_by_key(|sample| (sample.label, sample.path.clone())));
    assert_eq!(catalogue, split(1, None));
    assert_ne!(catalogue.validation, split(2, None).validation);
    assert_eq!(counts(&split(1, Some(0.5)).validation), [25, 10, 1, 0]);
    for fraction in [1.0, -0.1, f64::NAN] {
        let options =
            SplitOptions { validation_fraction: Some(fraction), ..SplitOptions::default() };
        assert!(matches!(scan(data.path(), &options), Err(CatalogueError::Fraction(_))));
    }
}

#[test]
fn a_tenth_of_train_is_held_out_unless_all_of_it_is_asked_for() {
    let files: Vec<String> = (0..40)
        .map(|place| format!("train/{}/{place}.jpg", place % 2))
        .chain(["test/1/t.jpg".to_owned()])
        .collect();
    let data = folder(&files.iter().map(String::as_str).collect::<Vec<_>>());
    let catalogue = scan(data.path(), &SplitOptions::default()).unwrap();
    assert_eq!(
        (catalogue.train.len(), catalogue.validation.len(), catalogue.test.len()),
        (36, 4, 1)
    );
    let all = scan(data.path(), &SplitOptions::NOTHING).unwrap();
    assert_eq!((all.train.len(), all.validation.len(), all.test.len()), (40, 0, 1));
    let held_out = Some("Training on all 40 images of train; nothing held out.".to_owned());
    assert_eq!(all.held_out, held_out);
}

#[test]
fn a_class_may_be_called_train() {
    let catalogue = scanned(&["bus/1.jpg", "bus/2.jpg", "train/1.jpg", "train/2.jpg"]).unwrap();
    assert_eq!(catalogue.classes, ["bus", "train"]);
}

#[test]
fn folders_beside_the_parts_are_left_out_and_named() {
    let catalogue =
        scanned(&["train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "extra/c/1.jpg"]).unwrap();
    assert_eq!(catalogue.classes, ["a", "b"]);
    assert!(catalogue.ignored.iter().any(|ignored| ignored.path.ends_with("extra")));
}

#[test]
fn unusable_entries_are_refused_by_name() {
    let error = |files: &[&str]| scanned(files).unwrap_err().to_string();
    let unknown = error(&["train/a/1.jpg", "train/b/1.jpg", "val/c/1.jpg"]);
    assert!(
        unknown.contains("val") && unknown.contains("\"c\"") && unknown.contains("a, b"),
        "{unknown}"
    );
    assert!(error(&["a/1.jpg"]).contains("at least two classes, but has only the folder \"a\""));
    assert!(
        error(&["1.txt", "a/1.txt"])
            .contains("at least two classes, but has only the folder \"a\"")
    );
    assert!(error(&["1.txt"]).contains("at least two classes, but has none"));
    assert!(error(&["1.jpg", "2.jpg"]).contains("holds 2 files but no class folders"));
    assert!(error(&["a/1.jpg", "b/"]).contains("b: holds no image"));
    assert!(error(&["a/1.txt", "b/"]).contains("holds no image in any class folder"));
    assert!(
        error(&["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "valid/a/1.jpg"])
            .contains("both val and valid")
    );
    assert!(error(&["test/a/1.jpg", "val/b/1.jpg"]).contains("no training set"));
    assert!(error(&["train/a/1.jpg", "train/b/1.jpg", "test/a/"]).contains("test: holds no image"));
    let missing =
        scan(Path::new("no/such/folder"), &SplitOptions::default()).unwrap_err().to_string();
    assert!(missing.contains("no/such/folder: no such file or folder"), "{missing}");
    let data = folder(&["file.jpg"]);
    assert!(matches!(
        scan(&data.path().join("file.jpg"), &SplitOptions::default()),
        Err(CatalogueError::NotAFolder { .. })
    ));
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_rings_of_them_end() {
    use std::os::unix::fs::symlink;
    let ignored = |catalogue: &Catalogue, root: &Path| {
        let mut found: Vec<(String, &str)> = catalogue
            .ignored
            .iter()
            .map(|ignored| {
                (ignored.path.strip_prefix(root).unwrap().display().to_string(), ignored.reason)
            })
            .collect();
        found.sort();
        found
    };
    let whole = SplitOptions::NOTHING;
    // A link to its own folder, to the parent folder, and to nothing; links to a file and to a
    // folder elsewhere.
    let data = folder(&["data/a/1.jpg", "data/b/1.jpg", "elsewhere/more/2.jpg", "elsewhere/3.jpg"]);
    let root = data.path().join("data");
    symlink(root.join("a"), root.join("a/again")).unwrap();
    symlink("..", root.join("a/up")).unwrap();
    symlink("nowhere", root.join("a/4.jpg")).unwrap();
    symlink("../../elsewhere/3.jpg", root.join("b/3.jpg")).unwrap();
    symlink("../../elsewhere/more", root.join("b/more")).unwrap();
    let catalogue = scan(&root, &whole).unwrap();
    let expected =
        [pair("a/1.jpg", 0), pair("b/1.jpg", 1), pair("b/3.jpg", 1), pair("b/more/2.jpg", 1)];
    assert_eq!(labelled(&root, &catalogue.train), expected);
    let back = "a link back to a parent folder";
    let expected = [("a/4.jpg", "a broken link"), ("a/again", back), ("a/up", back)];
    assert_eq!(
        ignored(&catalogue, &root),
        expected.map(|(path, reason)| (path.to_owned(), reason))
    );

    // A cycle of two folders that link to each other; each is listed once.
    let data = folder(&["a/x/1.jpg", "a/y/2.jpg", "b/1.jpg"]);
    symlink("../y", data.path().join("a/x/to_y")).unwrap();
    symlink("../x", data.path().join("a/y/to_x")).unwrap();
    let catalogue = scan(data.path(), &whole).unwrap();
    assert_eq!(catalogue.train.len(), 3, "{:?}", catalogue.train);
    // A class folder that is a link itself.
    symlink(data.path().join("b"), data.path().join("c")).unwrap();
    assert_eq!(scan(data.path(), &whole).unwrap().classes, ["a", "b", "c"]);
}

#[test]
fn names_in_any_script_and_folders_of_systems() {
    let data = folder(&[
        "\u{718a}\u{732b}/\u{5199}\u{771f} 1.jpg",
        "\u{441}\u{43e}\u{431}/\u{444}\u{43e}\u{442}\u{43e}.jpg",
        "caf\u{e9} au lait/a b  c.jpg",
        "\u{1f32d}/'quoted', [x] {y} #%&.png",
        "\u{1f32d}/.ipynb_checkpoints/1-checkpoint.jpg",
        "\u{1f32d}/@eaDir/1.jpg/SYNOPHOTO.jpg",
        "__MACOSX/\u{1f32d}/._1.jpg",
        "$RECYCLE.BIN/1.jpg",
    ]);
    let catalogue = scan(data.path(), &SplitOptions::default()).unwrap();
    assert_eq!(
        catalogue.classes,
        ["caf\u{e9} au lait", "\u{441}\u{43e}\u{431}", "\u{718a}\u{732b}", "\u{1f32d}"]
    );
    assert_eq!((catalogue.train.len(), catalogue.ignored.len()), (4, 4));
    let alone = catalogue
        .notes
        .iter()
        .any(|note| note.starts_with("The validation set lacks these classes"));
    assert!(alone, "{:?}", catalogue.notes);
}

#[test]
fn a_note_maps_names_that_are_numbers() {
    let catalogue = scanned(&["1/a.jpg", "2/a.jpg", "10/a.jpg"]).unwrap();
    assert_eq!(catalogue.classes, ["1", "10", "2"]);
    let told = |catalogue: &Catalogue| {
        catalogue.notes.iter().any(|note| note.contains("0 is \"1\", 1 is \"10\", 2 is \"2\""))
    };
    assert!(told(&catalogue), "{:?}", catalogue.notes);
    assert!(
        !told(&scanned(&["0/a.jpg", "1/a.jpg"]).unwrap()),
        "names that are the places themselves mislead nobody"
    );
}

#[test]
fn many_files_are_listed_with_reports_on_the_way() {
    let files: Vec<String> = (0..1500).map(|place| format!("{}/{place}.jpg", place % 3)).collect();
    let data = folder(&files.iter().map(String::as_str).collect::<Vec<_>>());
    let mut reports = Vec::new();
    scan_with(data.path(), &ScanOptions::default(), &mut |found| reports.push(found)).unwrap();
    assert_eq!(reports, [500, 1000, 1500]);
}

#[test]
fn images_on_a_list_are_left_out() {
    let data = folder(&[
        "train/a/1.jpg",
        "train/a/2.jpg",
        "train/b/1.jpg",
        "train/b/2.jpg",
        "test/a/1.jpg",
        "test/b/1.jpg",
    ]);
    let list = data.path().join("lists/out.csv");
    std::fs::create_dir_all(list.parent().unwrap()).unwrap();
    let absolute = data.path().join("test/b/1.jpg").display().to_string();
    // Relative to the data folder, relative to the list's folder, absolute; and one that does not
    // exist.
    let rows = format!(
        "path,why\ntrain/a/1.jpg,copy\n../train/b/2.jpg,\"blank, grey\"\n{absolute},x\ngone.jpg,x\n"
    );
    std::fs::write(&list, rows).unwrap();
    let options = ScanOptions {
        split: SplitOptions::NOTHING,
        exclude: Some(list.clone()),
        ..ScanOptions::default()
    };
    let catalogue = scan_with(data.path(), &options, &mut |_| {}).unwrap();
    assert_eq!(
        labelled(data.path(), &catalogue.train),
        [pair("train/a/2.jpg", 0), pair("train/b/1.jpg", 1)]
    );
    assert_eq!(labelled(data.path(), &catalogue.test), [pair("test/a/1.jpg", 0)]);
    let notes = catalogue.notes.join("\n");
    assert!(
        notes.contains("3 images are left out")
            && notes.contains("1 line of")
            && notes.contains("gone.jpg"),
        "{notes}"
    );
    std::fs::write(&list, "path\ntrain/a/1.jpg\ntrain/a/2.jpg\n").unwrap();
    let error = scan_with(data.path(), &options, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("excludes every image of class a"), "{error}");
}

#[test]
fn an_empty_class_of_an_evaluation_folder_is_a_note() {
    let data = folder(&["a/1.jpg", "b/", "c/1.txt", "z/1.jpg"]);
    let found = scan_labelled(data.path(), Path::new("unused")).unwrap();
    assert_eq!(found.names, ["a", "z"]);
    assert_eq!(found.notes.len(), 2, "{:?}", found.notes);
    assert!(found.notes[0].contains("b holds no image"), "{:?}", found.notes);
    // It is not an error either if the model does not know the class.
    let found = found.labelled_by(&["z", "a"].map(str::to_owned)).unwrap();
    assert_eq!(found.samples.iter().map(|sample| sample.label).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn an_evaluation_folder_is_labelled_by_the_models_classes() {
    let data = folder(&["z/1.jpg", "b/2.jpg", "b/1.jpg", "list.csv"]);
    let classes = ["z", "a", "b"].map(str::to_owned);
    let found =
        scan_labelled(data.path(), Path::new("unused")).unwrap().labelled_by(&classes).unwrap();
    assert_eq!(
        labelled(data.path(), &found.samples),
        [pair("z/1.jpg", 0), pair("b/1.jpg", 2), pair("b/2.jpg", 2)]
    );
    assert_eq!(found.ignored.len(), 1);
    let error = scan_labelled(data.path(), Path::new("unused"))
        .unwrap()
        .labelled_by(&classes[..2])
        .unwrap_err();
    assert!(matches!(error, CatalogueError::UnknownClass { class, .. } if class == "b"));
    assert!(matches!(
        scan_labelled(folder(&["b/"]).path(), Path::new("unused")),
        Err(CatalogueError::NoPictures { .. })
    ));
}

#[test]
fn files_folders_and_patterns_become_a_list() {
    let data = folder(&[
        "one.jpg",
        "two.png",
        "in/b.jpg",
        "in/a.jpg",
        "in/deep/c.jpg",
        "in/.hidden",
        "in/notes.md",
        "odd[1].jpg",
    ]);
    let expanded = |words: &[&str]| {
        let words: Vec<String> =
            words.iter().map(|word| data.path().join(word).to_str().unwrap().to_owned()).collect();
        expand(&words, &data.path().join("cache")).map(|inputs| names(data.path(), &inputs.paths))
    };
    assert_eq!(expanded(&["two.png", "one.jpg"]).unwrap(), ["two.png", "one.jpg"]);
    assert_eq!(expanded(&["in"]).unwrap(), ["in/a.jpg", "in/b.jpg", "in/deep/c.jpg"]);
    assert_eq!(expanded(&["*.jpg"]).unwrap(), ["odd[1].jpg", "one.jpg"]);
    assert_eq!(
        expanded(&["odd[1].jpg"]).unwrap(),
        ["odd[1].jpg"],
        "a name with brackets is that file"
    );
    assert_eq!(
        expanded(&["in/notes.md"]).unwrap(),
        ["in/notes.md"],
        "a named file is taken as it is"
    );
    std::fs::write(data.path().join("in/list.txt"), "b.jpg\r\n\n deep/c d.jpg\n../one.jpg")
        .unwrap();
    assert_eq!(
        expanded(&["in/list.txt"]).unwrap(),
        ["in/b.jpg", "in/ deep/c d.jpg", "in/../one.jpg"]
    );
    std::fs::write(data.path().join("in/list.tsv"), "label\tFile\nx\tb.jpg\n").unwrap();
    assert_eq!(expanded(&["in/list.tsv"]).unwrap(), ["in/b.jpg"]);
    assert!(expanded(&["*.webp"]).unwrap_err().to_string().contains("no file matches"));
    assert!(
        expanded(&["absent.jpg"]).unwrap_err().to_string().contains("absent.jpg: no such file")
    );
    assert!(matches!(expanded(&["a[.jpg"]), Err(CatalogueError::Pattern { .. })));
}
