//! Decides which folders are splits and which are classes.

#[path = "common/files.rs"]
mod files;

use std::path::Path;

use files::{counts, files as listed, folder, names, scanned, write};
use regraft_base::random::{Draws, Purpose};
use regraft_data::catalogue::{ScanOptions, SplitOptions, scan, scan_labelled, scan_with};

/// Each file name with `TRAIN`, `VAL` and `TEST` replaced.
fn renamed(files: &[&str], [train, val, test]: [&str; 3]) -> Vec<String> {
    files
        .iter()
        .map(|file| file.replace("TRAIN", train).replace("VAL", val).replace("TEST", test))
        .collect()
}

const LAYOUT: [&str; 4] = ["TRAIN/a/1.jpg", "TRAIN/b/1.jpg", "VAL/a/1.jpg", "TEST/b/1.jpg"];

#[test]
fn splits_are_recognised_by_any_usual_name() {
    for names in [
        ["train", "val", "test"],
        ["Train", "Val", "Test"],
        ["TRAINING", "VALID", "TESTING"],
        ["Training", "validation", "Testing"],
        ["seg_train", "seg_dev", "seg_test"],
        ["train_set", "val-set", "test set"],
        ["training_set", "validation_set", "test_set"],
        ["train_data", "Dev", "TestData"],
        ["train2017", "val2017", "test2017"],
        ["asl_alphabet_train", "asl_alphabet_val", "asl_alphabet_test"],
        ["train", "val", "eval"],
    ] {
        let found = renamed(&LAYOUT, names);
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        for inside in ["", "photos/", "wrapped/once/more/"] {
            let found: Vec<String> = found.iter().map(|file| format!("{inside}{file}")).collect();
            let found: Vec<&str> = found.iter().map(String::as_str).collect();
            let catalogue = scanned(&found).unwrap_or_else(|error| panic!("{names:?}: {error}"));
            assert_eq!(
                (&catalogue.classes[..], counts(&catalogue)),
                (&["a", "b"].map(str::to_owned)[..], [2, 1, 1]),
                "{names:?}"
            );
            assert_eq!(catalogue.ignored, []);
            let said = catalogue.notes.iter().any(|note| note.contains("holds only the folder"));
            assert_eq!(said, !inside.is_empty(), "{:?}", catalogue.notes);
        }
        // A note reports a guess, but not a plain name.
        let notes = scanned(&found).unwrap().notes.join("\n");
        let guessed = names[0] != "train" || names[2] == "eval";
        assert_eq!(notes.contains(" is the training set"), guessed, "{notes}");
    }
}

#[test]
fn a_folder_of_the_same_name_inside_a_split_is_opened() {
    let data = folder(&[
        "seg_train/seg_train/sea/1.jpg",
        "seg_train/seg_train/forest/1.jpg",
        "seg_test/Seg_Test/sea/1.jpg",
        "seg_pred/seg_pred/1.jpg",
        "seg_train/.DS_Store",
    ]);
    let error = scan(data.path(), &SplitOptions::NOTHING);
    let catalogue = error.unwrap();
    assert_eq!(
        (&catalogue.classes[..], counts(&catalogue)),
        (&["forest", "sea"].map(str::to_owned)[..], [2, 0, 1])
    );
    let ignored = names(data.path(), catalogue.ignored.iter().map(|ignored| &ignored.path));
    assert_eq!(ignored, ["seg_pred", "seg_train/.DS_Store"]);
    // The split's folder itself is the same set.
    for name in ["seg_test", "seg_test/Seg_Test"] {
        let found = scan_labelled(&data.path().join(name), Path::new("unused")).unwrap();
        assert_eq!((found.names, found.samples.len()), (vec!["sea".to_owned()], 1), "{name}");
    }
}

#[test]
fn splits_inside_an_archive_are_recognised() {
    let data = folder(&[]);
    for names in [["Train", "x", "Test"], ["seg_train/seg_train", "x", "seg_test/seg_test"]] {
        for inside in ["", "photos/"] {
            let zip = data.path().join(format!("{}{}.zip", &names[0][..5], inside.len()));
            let mut writer = zip::ZipWriter::new(std::fs::File::create(&zip).unwrap());
            for file in renamed(&["TRAIN/a/1.jpg", "TRAIN/b/1.jpg", "TEST/b/1.jpg"], names) {
                writer
                    .start_file(format!("{inside}{file}"), zip::write::SimpleFileOptions::default())
                    .unwrap();
            }
            writer
                .start_file(format!("{inside}README.md"), zip::write::SimpleFileOptions::default())
                .unwrap();
            writer.finish().unwrap();
            let options =
                ScanOptions { cache: data.path().join("cache"), ..ScanOptions::default() };
            let catalogue = scan_with(&zip, &options, &mut |_| {}).unwrap();
            assert_eq!(
                (&catalogue.classes[..], catalogue.test.len()),
                (&["a", "b"].map(str::to_owned)[..], 1)
            );
            assert_eq!(scan_labelled(&zip, &options.cache).unwrap().names, ["b"]);
        }
    }
}

fn refused(files: &[&str], expected: &[&str]) {
    match scanned(files) {
        Ok(catalogue) => {
            panic!("{files:?} are read as {:?}: {:?}", catalogue.classes, catalogue.notes)
        }
        Err(error) => {
            let error = error.to_string();
            assert!(expected.iter().all(|part| error.contains(part)), "{files:?}: {error}");
        }
    }
}

#[test]
fn splits_without_labels_or_a_training_set_are_refused() {
    let flat = ["holds 3 files but no class folders", "train/<class>/", "columns path and label"];
    refused(&["train/1.jpg", "train/2.jpg", "train/3.jpg", "test/4.jpg"], &flat);
    refused(&["train/1.jpg", "train/2.jpg", "train/3.jpg"], &flat);
    refused(
        &["photos/train/1.jpg", "photos/train/2.jpg", "photos/train/3.jpg", "photos/notes.txt"],
        &flat,
    );
    refused(&["train/1.jpg", "train/2.jpg", "train/3.jpg", "docs/about.txt"], &flat);
    refused(
        &["train/cat.0.jpg", "train/cat.1.jpg", "train/dog.0.jpg", "train/dog.1.jpg"],
        &["the files' names start with cat, dog, which may be the classes"],
    );
    refused(
        &["train/a/1.jpg", "train/b/1.jpg", "test/1.jpg"],
        &["test: holds 1 file but no class folders"],
    );
    refused(&["Test/a/1.jpg", "valid/b/1.jpg"], &["has valid and Test but no training set"]);
    refused(&["testing/a/1.jpg"], &["has testing but no training set"]);
    refused(&["train/", "test/a/1.jpg"], &["at least two classes, but has none"]);
    refused(
        &["train/train/1.jpg", "train/test/1.jpg"],
        &["its folders (test and train) are named like splits"],
    );
}

#[test]
fn two_folders_for_one_split_are_refused() {
    let with = |first: &str, second: &str| {
        let files = ["train/a/1.jpg", "train/b/1.jpg"].map(str::to_owned).into_iter();
        let files: Vec<String> =
            files.chain([format!("{first}/a/1.jpg"), format!("{second}/a/1.jpg")]).collect();
        scanned(&files.iter().map(String::as_str).collect::<Vec<_>>()).unwrap_err().to_string()
    };
    let error = with("val", "validation");
    assert!(
        error.contains("both val and validation, which both mean the validation set"),
        "{error}"
    );
    let error = with("Training", "test");
    assert!(error.contains("both Training and train, which both mean the training set"), "{error}");
    let error = with("eval", "test");
    assert!(error.contains("both eval and test") && error.contains("rename it val"), "{error}");
}

#[test]
fn eval_is_the_test_set_and_the_note_says_how_to_change_that() {
    let catalogue = scanned(&["train/a/1.jpg", "train/b/1.jpg", "eval/a/1.jpg"]).unwrap();
    assert_eq!(counts(&catalogue), [2, 0, 1]);
    let notes = catalogue.notes.join("\n");
    assert!(notes.contains("eval is the test set") && notes.contains("rename it val"), "{notes}");
    // In tables too.
    let data = folder(&[]);
    write(
        data.path(),
        "t.csv",
        "path,label,split\n1.jpg,a,Training\n2.jpg,b,train_set\n3.jpg,a,Evaluation\n",
    );
    let catalogue = scan(&data.path().join("t.csv"), &SplitOptions::NOTHING).unwrap();
    assert_eq!(counts(&catalogue), [2, 0, 1]);
    assert!(
        catalogue.notes.iter().any(|note| note.contains("eval is the test set")),
        "{:?}",
        catalogue.notes
    );
}

#[test]
fn a_class_may_be_called_like_a_split() {
    let vehicles = scanned(&["bus/1.jpg", "car/1.jpg", "train/1.jpg"]).unwrap();
    assert_eq!(vehicles.classes, ["bus", "car", "train"]);
    assert!(
        vehicles
            .notes
            .iter()
            .any(|note| note.contains("train is a class like the folders beside it"))
    );
    let quality = scanned(&["invalid/1.jpg", "valid/1.jpg", "valid/2.jpg"]).unwrap();
    assert_eq!(quality.classes, ["invalid", "valid"]);
    // Inside a split there is no ambiguity.
    let inside = [
        "train/bus/1.jpg",
        "train/train/1.jpg",
        "train/train/steam/1.jpg",
        "test/train/1.jpg",
        "test/bus/1.jpg",
    ];
    let inside = scanned(&inside).unwrap();
    assert_eq!(
        (&inside.classes[..], counts(&inside)),
        (&["bus", "train"].map(str::to_owned)[..], [3, 0, 2])
    );
}

#[test]
fn folders_that_may_be_splits_or_classes_are_refused() {
    let train =
        &["is train the training set, or a class like bus?", "if it is a class, rename it"][..];
    // A class `train` with folders in it, or a training set with the test set in a folder `bus`?
    refused(&["bus/1.jpg", "train/steam/1.jpg", "train/diesel/1.jpg"], train);
    refused(&["bus/red/1.jpg", "train/steam/1.jpg", "train/diesel/1.jpg"], train);
    refused(&["bus/1.jpg", "train/1.jpg", "train/old/1.jpg"], train);
    refused(&["bus/1.jpg", "train/1.jpg", "test/1.jpg"], train);
    // Class folders with a test set beside them.
    let test = &[
        "is test the test set, or a class like cat, dog?",
        "move the class folders into",
        "rename it",
    ][..];
    refused(&["cat/1.jpg", "dog/1.jpg", "test/1.jpg"], test);
    refused(&["cat/1.jpg", "dog/1.jpg", "test/cat/1.jpg", "test/dog/1.jpg"], test);
    refused(&["cat/1.jpg", "dog/1.jpg", "val/"], &["val: holds no image"]);
    refused(&["cat/1.jpg", "train/"], &["train: holds no image"]);
    // Splits in each class: training on both would be training on the test set.
    let inside = ["cat/train/1.jpg", "cat/Test/1.jpg", "dog/train/1.jpg", "dog/Test/1.jpg"];
    refused(&inside, &["cat: holds the splits Test and train", "train/cat/"]);
    let inside = ["cat/set_a_train/1.jpg", "cat/set_a_test/1.jpg", "dog/1.jpg"];
    refused(&inside, &["cat: holds the splits set_a_test and set_a_train", "train/cat/"]);
}

#[test]
fn folders_beside_splits_are_ignored_and_named() {
    let data = folder(&[
        "Train/a/1.jpg",
        "Train/b/1.jpg",
        "Train/3.jpg",
        "Test/a/1.jpg",
        "extra/c/1.jpg",
        "readme.md",
        "0.jpg",
    ]);
    let catalogue = scan(data.path(), &SplitOptions::NOTHING).unwrap();
    assert_eq!(
        (&catalogue.classes[..], counts(&catalogue)),
        (&["a", "b"].map(str::to_owned)[..], [2, 0, 1])
    );
    let mut ignored = names(data.path(), catalogue.ignored.iter().map(|ignored| &ignored.path));
    ignored.sort();
    assert_eq!(ignored, ["0.jpg", "Train/3.jpg", "extra", "readme.md"]);
    let beside = scanned(&["train/a/1.jpg", "train/b/1.jpg", "docs/1.txt"]).unwrap();
    assert_eq!((beside.classes.len(), beside.ignored.len()), (2, 1));
}

#[test]
fn outer_folders_that_hold_the_same_classes_are_a_note() {
    let said = |files: &[&str]| {
        scanned(files).unwrap().notes.iter().any(|note| note.contains("rename the outer ones"))
    };
    assert!(said(&[
        "\u{8bad}\u{7ec3}/cat/1.jpg",
        "\u{8bad}\u{7ec3}/dog/1.jpg",
        "\u{6d4b}\u{8bd5}/cat/1.jpg",
        "\u{6d4b}\u{8bd5}/dog/1.jpg"
    ]));
    assert!(!said(&["apple/red/1.jpg", "apple/green/1.jpg", "pear/green/1.jpg"]));
    assert!(!said(&[
        "apple/1/1.jpg",
        "apple/2/1.jpg",
        "apple/1.jpg",
        "pear/1/1.jpg",
        "pear/2/1.jpg"
    ]));
    assert!(!said(&["apple/1/1.jpg", "pear/1/1.jpg"]));
}

#[test]
fn scoring_a_folder_of_splits_scores_its_test_set() {
    let cache = Path::new("unused");
    let data =
        folder(&["Train/a/1.jpg", "Train/b/1.jpg", "Test/b/1.jpg", "Test/b/2.jpg", "extra/1.jpg"]);
    let found = scan_labelled(data.path(), cache).unwrap();
    assert_eq!(listed(data.path(), &found.samples), ["Test/b/1.jpg", "Test/b/2.jpg"]);
    assert_eq!(found.names, ["b"]);
    assert!(
        found
            .notes
            .iter()
            .any(|note| note.contains("scoring the test set") && note.contains("Test")),
        "{:?}",
        found.notes
    );
    assert_eq!(names(data.path(), found.ignored.iter().map(|ignored| &ignored.path)), ["extra"]);
    let wrapped = folder(&["photos/train/a/1.jpg", "photos/test/a/1.jpg"]);
    assert_eq!(
        listed(wrapped.path(), &scan_labelled(wrapped.path(), cache).unwrap().samples),
        ["photos/test/a/1.jpg"]
    );
    let error =
        |files: &[&str]| scan_labelled(folder(files).path(), cache).unwrap_err().to_string();
    let none = error(&["train/a/1.jpg", "val/a/1.jpg"]);
    assert!(
        none.contains(
            "holds splits (train and val) but no test set; name the folder to score, such as"
        ),
        "{none}"
    );
    assert!(
        error(&["train/a/1.jpg", "test/1.jpg"]).contains("test: holds 1 file but no class folders")
    );
    assert!(error(&["1.jpg", "2.jpg"]).contains("holds 2 files but no class folders"));
    assert!(
        error(&["cat/1.jpg", "dog/1.jpg", "test/cat/1.jpg"])
            .contains("is test the test set, or a class")
    );
    // A single class can be scored, even one called `train`: the model decides whether there is
    // such a class.
    for class in ["cat", "train"] {
        let data = folder(&[&format!("{class}/1.jpg")]);
        assert_eq!(scan_labelled(data.path(), cache).unwrap().names, [class]);
    }
    let nested = folder(&["cat/2019/1.jpg", "cat/2020/1.jpg"]);
    assert_eq!(scan_labelled(nested.path(), cache).unwrap().names, ["cat"]);
}

/// A readable layout with random files in it and beside it: splits, classes, runs, hidden files, up
/// to four folders deep.
fn random_tree(seed: u64) -> Vec<String> {
    const BASES: [&[&str]; 5] = [
        &["train/a/1.jpg", "train/b/1.jpg"],
        &["Train/a/1.jpg", "Train/b/1.jpg", "Test/a/1.jpg"],
        &["seg_train/seg_train/a/1.jpg", "seg_train/seg_train/train/1.jpg", "seg_val/a/1.jpg"],
        &["bus/1.jpg", "train/1.jpg"],
        &["a/1.jpg", "caf\u{e9}/1.jpg", "runs/a/config.toml", "runs/a/.lock"],
    ];
    const FOLDERS: [&str; 10] =
        ["train", "Test", "val", "eval", "seg_train", "bus", "a", "runs", "@eaDir", "cafe\u{301}"];
    const FILES: [&str; 6] = ["1.jpg", "2.png", "notes.txt", ".hidden.jpg", "3", "config.toml"];
    let mut draws = Draws::new(seed, Purpose::Split, 0, 0);
    let mut below = |bound: usize| draws.below(bound as u32) as usize;
    let mut tree: Vec<String> =
        BASES[below(BASES.len())].iter().map(|&file| file.to_owned()).collect();
    for _ in 0..below(4) {
        let mut path: Vec<&str> = (0..below(4)).map(|_| FOLDERS[below(FOLDERS.len())]).collect();
        path.push(FILES[below(FILES.len())]);
        tree.push(path.join("/"));
    }
    tree
}

#[test]
fn every_file_is_used_once_or_named_as_ignored_in_any_tree() {
    let (mut read, mut refused) = (0, 0);
    for seed in 0..250 {
        let tree = random_tree(seed);
        let data = folder(&[]);
        tree.iter().for_each(|file| write(data.path(), file, "x"));
        let Ok(catalogue) = scan(data.path(), &SplitOptions::default()) else {
            refused += 1;
            let _ = scan_labelled(data.path(), Path::new("unused"));
            continue;
        };
        read += 1;
        assert!(catalogue.classes.len() >= 2 && catalogue.classes.is_sorted(), "{tree:?}");
        let mut used: Vec<String> = [&catalogue.train, &catalogue.validation, &catalogue.test]
            .map(|part| listed(data.path(), part))
            .concat();
        let count = used.len();
        used.sort();
        used.dedup();
        assert_eq!(used.len(), count, "{tree:?}");
        let ignored = names(data.path(), catalogue.ignored.iter().map(|ignored| &ignored.path));
        for file in &tree {
            let skipped =
                ignored.iter().any(|path| file == path || file.starts_with(&format!("{path}/")));
            assert_ne!(used.contains(file), skipped, "{file} of {tree:?}");
        }
        for class in &catalogue.classes {
            let vehicle = catalogue
                .notes
                .iter()
                .any(|note| note.contains("is a class like the folders beside it"));
            let inside_split = used.iter().all(|file| file.split('/').count() > 2);
            assert!(
                regraft_data::split_name::Split::of(class).is_none() || vehicle || inside_split,
                "{class} of {tree:?}"
            );
        }
    }
    assert!(read > 80 && refused > 40, "{read} read, {refused} refused");
}

#[test]
fn a_folder_that_only_wraps_the_classes_of_a_split_is_opened() {
    let train = ["train/images/hot/1.jpg", "train/images/not/2.jpg"];
    for (test, found) in [
        (&["test/images/hot/3.jpg"][..], 1),
        (&["test/hot/3.jpg", "test/not/4.jpg"], 2),
        (&["test/hot/a/3.jpg"], 1),
    ] {
        let catalogue = scanned(&[&train[..], test].concat()).unwrap();
        assert_eq!(
            (&catalogue.classes[..], counts(&catalogue)),
            (&["hot", "not"].map(str::to_owned)[..], [2, 0, found])
        );
        assert!(
            catalogue.notes.join("\n").contains("images is the training set"),
            "{:?}",
            catalogue.notes
        );
    }
    // The training set shows that `images` is not a class, and that `hot` is one.
    for (test, found) in [
        (&["test/images/hot/3.jpg", "test/images/not/4.jpg"][..], 2),
        (&["test/some/images/not/3.jpg"], 1),
        (&["test/hot/images/3.jpg"], 1),
        (&["val/images/not/3.jpg", "test/Hot/3.jpg", "test/not/3.jpg"], 0),
    ] {
        match scanned(&[&["train/hot/1.jpg", "train/not/2.jpg"][..], test].concat()) {
            Ok(catalogue) => assert_eq!(
                (catalogue.classes.len(), counts(&catalogue)),
                (2, [2, 0, found]),
                "{test:?}"
            ),
            Err(error) => assert!(
                found == 0 && error.to_string().contains("the class \"Hot\" is unknown"),
                "{error}"
            ),
        }
    }
    // For scoring, the name alone must say so.
    for (files, names) in [
        (&["images/hot/1.jpg", "images/not/2.jpg"][..], &["hot", "not"][..]),
        (&["test/images/hot/1.jpg", "test/images/not/2.jpg"], &["hot", "not"]),
        (&["hot/a/1.jpg", "hot/b/2.jpg"], &["hot"]),
        (&["test/hot/a/1.jpg"], &["hot"]),
    ] {
        assert_eq!(
            scan_labelled(folder(files).path(), &std::env::temp_dir()).unwrap().names,
            names,
            "{files:?}"
        );
    }
    let error = scanned(&["train/images/1.jpg", "test/hot/2.jpg"]).unwrap_err().to_string();
    assert!(error.contains("at least two classes, but has only the folder \"images\""), "{error}");
}

#[test]
fn data_sets_for_object_detection_are_named_as_such() {
    let yolo = ["images/train/1.jpg", "images/val/2.jpg", "labels/train/1.txt", "labels/val/2.txt"];
    for (files, writer, named) in [
        (&yolo[..], "YOLO", "labels/train/1.txt"),
        (
            &[
                "train/images/1.jpg",
                "train/labels/1.txt",
                "valid/images/2.jpg",
                "valid/labels/2.txt",
                "data.yaml",
            ],
            "YOLO",
            "train/labels/1.txt",
        ),
        (
            &["images/1.jpg", "images/2.jpg", "labels/1.txt", "labels/2.txt", "labels/classes.txt"],
            "YOLO",
            "labels/1.txt",
        ),
        (&["wrapped/images/1.jpg", "wrapped/labels/1.txt"], "YOLO", "wrapped/labels/1.txt"),
        (
            &["obj_train_data/1.jpg", "obj_train_data/1.txt", "obj.names"],
            "YOLO",
            "obj_train_data/1.txt",
        ),
        (&["1.jpg", "2.jpg", "2.txt"], "YOLO", "2.txt"),
        (&["train/1.jpg", "train/1.xml", "test/2.jpg", "test/2.xml"], "Pascal VOC", "train/1.xml"),
        (&["JPEGImages/1.jpg", "Annotations/1.xml"], "Pascal VOC", "Annotations/1.xml"),
        (
            &["train2017/1.jpg", "val2017/2.jpg", "annotations/instances_val2017.json"],
            "COCO",
            "annotations/instances_val2017.json",
        ),
    ] {
        let error = scanned(files).unwrap_err().to_string().replace('\\', "/");
        assert!(
            error.contains("object detection") && error.contains(writer) && error.contains(named),
            "{files:?}: {error}"
        );
    }
    // Class folders remain class folders, whatever lies beside the images and whatever a class is
    // called.
    for files in [
        &["cat/1.jpg", "cat/1.txt", "dog/1.jpg"][..],
        &["labels/1.jpg", "images/2.jpg"],
        &["annotations/1.jpg", "annotations/1.txt", "b/2.jpg"],
    ] {
        assert_eq!(scanned(files).unwrap().classes.len(), 2, "{files:?}");
    }
}
