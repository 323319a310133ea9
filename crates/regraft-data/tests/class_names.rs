//! Class names that look alike, and folders that are not classes.

#[path = "common/files.rs"]
mod files;

use std::path::Path;

use files::{counts, files as listed, folder, names, scanned};
use regraft_data::catalogue::{ScanOptions, SplitOptions, scan, scan_labelled, scan_with};

/// `café` with `é` as one character, and as `e` with an accent.
const NFC: &str = "caf\u{e9}";
const NFD: &str = "cafe\u{301}";

#[test]
fn names_that_differ_in_case_or_blanks_stay_apart_and_are_named() {
    for [first, second] in
        [["Cat", "cat"], ["hot dog", "hot_dog"], ["hot-dog", "hotdog"], ["cat", "cat "]]
    {
        let catalogue =
            scanned(&[&format!("{first}/1.jpg"), &format!("{second}/1.jpg"), "eel/1.jpg"]).unwrap();
        assert_eq!(catalogue.classes.len(), 3, "{first} {second}");
        let expected = format!("{first:?} and {second:?}");
        assert!(
            catalogue.notes.iter().any(|note| note.contains(&expected)),
            "{:?}",
            catalogue.notes
        );
    }
    let apart = scanned(&["cat/1.jpg", "cats/1.jpg"]).unwrap();
    assert!(!apart.notes.iter().any(|note| note.contains("kept apart")), "{:?}", apart.notes);
}

#[test]
fn the_unicode_form_of_a_name_does_not_make_a_class() {
    let files = [&format!("{NFC}/2.jpg"), &format!("{NFD}/1.jpg"), "tea/1.jpg"];
    let data = folder(&files);
    let catalogue = scan(data.path(), &SplitOptions::NOTHING).unwrap();
    assert_eq!(catalogue.classes, [NFC, "tea"]);
    assert_eq!(catalogue.train.iter().map(|sample| sample.label).collect::<Vec<_>>(), [0, 0, 1]);
    assert!(
        catalogue
            .train
            .is_sorted_by_key(|sample| (sample.label, sample.path.as_os_str().to_owned()))
    );
    let notes = catalogue.notes.join("\n");
    assert!(
        notes.contains("1 class folder is named in decomposed Unicode")
            && notes.contains("are one class"),
        "{notes}"
    );
    // Across splits too.
    let splits = [
        &format!("train/{NFC}/1.jpg"),
        "train/tea/1.jpg",
        &format!("test/{NFD}/1.jpg"),
        &format!("val/{NFD}/1.jpg"),
    ];
    assert_eq!(counts(&scanned(&splits).unwrap()), [2, 1, 1]);
    let splits = [&format!("train/{NFD}/1.jpg"), "train/tea/1.jpg", &format!("test/{NFC}/1.jpg")];
    let catalogue = scanned(&splits).unwrap();
    assert_eq!((&catalogue.classes[0][..], counts(&catalogue)), (NFC, [2, 0, 1]));
    // And in tables.
    let data = folder(&[]);
    let table = data.path().join("labels.csv");
    std::fs::write(
        &table,
        format!("path,label,split\n1.jpg,{NFC},\n2.jpg,{NFD},\n3.jpg,tea,\n4.jpg,{NFD},test\n"),
    )
    .unwrap();
    let options = ScanOptions { split: SplitOptions::NOTHING, ..ScanOptions::default() };
    let catalogue = scan_with(&table, &options, &mut |_| {}).unwrap();
    assert_eq!(
        (&catalogue.classes[..], counts(&catalogue)),
        (&[NFC, "tea"].map(str::to_owned)[..], [3, 0, 1])
    );
}

#[test]
fn folders_of_systems_are_not_classes() {
    let system = [
        "#recycle",
        "@Recycle",
        "#snapshot",
        "@eaDir",
        ".Trash",
        ".Trash-1000",
        "@Recently-Snapshot",
        ".snapshot",
        "lost+found",
        "$RECYCLE.BIN",
        "$Recycle.Bin",
        "__MACOSX",
        "System Volume Information",
        "__pycache__",
        "~snapshot",
    ];
    let files = system.map(|name| format!("{name}/1.jpg"));
    let data = folder(
        &files
            .iter()
            .map(String::as_str)
            .chain(["a/1.jpg", "b/1.jpg", "b/@eaDir/1.jpg"])
            .collect::<Vec<_>>(),
    );
    let catalogue = scan(data.path(), &SplitOptions::NOTHING).unwrap();
    assert_eq!(
        (&catalogue.classes[..], counts(&catalogue)),
        (&["a", "b"].map(str::to_owned)[..], [2, 0, 0])
    );
    let ignored = names(data.path(), catalogue.ignored.iter().map(|ignored| &ignored.path));
    assert_eq!(ignored.len(), system.len() + 1);
    assert!(system.iter().all(|name| ignored.iter().any(|path| path == name)), "{ignored:?}");
    assert_eq!(scan_labelled(data.path(), Path::new("unused")).unwrap().names, ["a", "b"]);
}

#[test]
fn folders_that_regraft_wrote_are_not_classes() {
    let runs: [&[&str]; 7] = [
        // A finished run, one copied without its lock, one that was stopped, and one before its
        // first file.
        &[
            "runs/photos/.lock",
            "runs/photos/config.toml",
            "runs/photos/model.safetensors",
            "runs/photos/checkpoints/x",
        ],
        &["runs/photos/config.toml", "runs/photos/summary.json"],
        &["runs/photos/.lock", "runs/photos/config.toml"],
        &["runs/photos/.lock"],
        // A comparison.
        &[
            "runs/photos-compare/.lock",
            "runs/photos-compare/arms/a/seed-0/config.toml",
            "runs/.DS_Store",
        ],
        // An image that was drawn into the folder of runs; another name for that folder.
        &["runs/photos/.lock", "runs/photos/config.toml", "runs/grid.png"],
        &["models/x/.lock", "models/x/config.toml", "models/y/config.toml", "models/y/metrics.csv"],
    ];
    for run in runs {
        let mut files = vec!["a/1.jpg", "b/1.jpg"];
        files.extend(run);
        let catalogue = scanned(&files).unwrap_or_else(|error| panic!("{run:?}: {error}"));
        assert_eq!(catalogue.classes, ["a", "b"], "{run:?}");
        let reasons: Vec<&str> = catalogue.ignored.iter().map(|ignored| ignored.reason).collect();
        assert_eq!(reasons, ["a folder of runs"], "{run:?}");
        // A folder of splits, in a folder of its own, beside the runs.
        let mut files = vec!["photos/Train/a/1.jpg", "photos/Train/b/1.jpg", "photos/Test/a/1.jpg"];
        files.extend(run);
        assert_eq!(counts(&scanned(&files).unwrap()), [2, 0, 1], "{run:?}");
    }
    let named = scanned(&[
        "a/1.jpg",
        "b/1.jpg",
        "out/.lock",
        "out/config.toml",
        "b/out/config.toml",
        "b/out/data.csv",
    ])
    .unwrap();
    assert_eq!((named.classes.len(), named.train.len(), named.ignored.len()), (2, 2, 2));
    // A class with this name, or one that contains a file of that name.
    let data = folder(&["runs/1.jpg", "walks/config.toml", "walks/1.jpg", "walks/arms/1.jpg"]);
    let catalogue = scan(data.path(), &SplitOptions::NOTHING).unwrap();
    assert_eq!(
        listed(data.path(), &catalogue.train),
        ["runs/1.jpg", "walks/1.jpg", "walks/arms/1.jpg"]
    );
}

#[test]
fn a_class_folder_into_which_runs_were_written_stays_a_class() {
    let run =
        ["config.toml", "model.safetensors", "metrics.csv", "curves.svg", "summary.json", ".lock"];
    // Beside the images.
    let beside = run.map(|file| format!("hot/{file}"));
    let mut files = vec!["hot/1.jpg", "hot/2.PNG", "hot/more/3.jpg", "not/1.jpg"];
    files.extend(beside.iter().map(String::as_str));
    let data = folder(&files);
    let catalogue = scan(data.path(), &SplitOptions::NOTHING).unwrap();
    assert_eq!(catalogue.classes, ["hot", "not"]);
    assert_eq!(
        listed(data.path(), &catalogue.train),
        ["hot/1.jpg", "hot/2.PNG", "hot/more/3.jpg", "not/1.jpg"]
    );
    let mut ignored = names(data.path(), catalogue.ignored.iter().map(|ignored| &ignored.path));
    ignored.sort();
    let mut written = beside.to_vec();
    written.sort();
    assert_eq!(ignored, written);
    // In separate folders, in a class that has the name of the folder of runs.
    let inside = run.map(|file| format!("runs/photos/{file}"));
    for images in [["runs/1.jpg", "runs/2.jpg"], ["runs/day/1.jpg", "runs/day/2.jpg"]] {
        let mut files = vec!["walks/1.jpg", images[0], images[1]];
        files.extend(inside.iter().map(String::as_str));
        let data = folder(&files);
        let catalogue = scan(data.path(), &SplitOptions::NOTHING).unwrap();
        assert_eq!(catalogue.classes, ["runs", "walks"]);
        assert_eq!(listed(data.path(), &catalogue.train), [images[0], images[1], "walks/1.jpg"]);
        let ignored: Vec<&str> = catalogue.ignored.iter().map(|ignored| ignored.reason).collect();
        assert_eq!(ignored, ["a folder that Regraft wrote"]);
    }
}
