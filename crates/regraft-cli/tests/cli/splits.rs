//! Data folders whose splits have other names than `train`, `val` and `test`, and folders beside
//! the classes.

use crate::outcome::assert_says;
use crate::pictures::Look;
use crate::workspace::{QUICK, Workspace};
use serde_json::json;

#[test]
fn splits_in_capitals_train_and_are_scored() {
    let workspace = Workspace::new();
    for (split, count) in [("Train", 6), ("Test", 2)] {
        workspace.pictures(&format!("photos/{split}/blue"), Look::Blue, count);
        workspace.pictures(&format!("photos/{split}/striped"), Look::Striped, count);
    }
    let run = workspace.regraft(&format!("train photos {QUICK} --val-fraction 0.5")).succeeded();
    assert_says(
        &run.stdout,
        &[
            "photos/Train is the training set, photos/Test is the test set",
            "2 classes: 0 blue; 1 striped",
        ],
    );
    let summary = workspace.json("runs/photos/summary.json");
    assert_eq!(
        (&summary["classes"], &summary["train_images"]),
        (&json!(["blue", "striped"]), &json!(6))
    );
    assert_eq!((&summary["val_images"], &summary["test_images"]), (&json!(6), &json!(4)));
    // The whole folder is scored on its test set.
    let run = workspace.regraft("evaluate runs/photos photos --json").succeeded();
    assert_eq!(run.json()["images"], 4);
    assert_says(&run.stderr, &["photos holds splits: scoring the test set, photos/Test"]);
    let run = workspace.regraft("audit photos --files-only").succeeded();
    assert_says(&run.stdout, &["16"]);
    workspace.regraft("show photos -o grid.png").succeeded();
}

#[test]
fn splits_without_class_folders_are_refused() {
    let workspace = Workspace::with_photos();
    workspace.regraft(&format!("train photos {QUICK}")).succeeded();
    workspace.pictures("flat/train", Look::Blue, 3);
    workspace.pictures("flat/test", Look::Striped, 2);
    for command in ["train flat", "audit flat", "show flat -o grid.png", "bench load flat"] {
        let error = workspace.regraft(command).failed(2);
        assert_says(
            &error,
            &["flat/train: holds 3 files but no class folders", "columns path and label"],
        );
    }
    let error = workspace.regraft("evaluate runs/photos flat").failed(2);
    assert_says(
        &error,
        &["flat/test: \"test\" is not a class of the model", "a folder for each class"],
    );
    assert_eq!(workspace.names("runs"), ["photos"]);
}

#[test]
fn a_run_written_beside_the_classes_is_no_class_of_the_next() {
    let workspace = Workspace::new();
    workspace.pictures("photos/blue", Look::Blue, 4);
    workspace.pictures("photos/striped", Look::Striped, 4);
    let inside = |arguments: &str| {
        workspace.shell(&format!("cd photos && REGRAFT_CACHE=../cache \"$REGRAFT\" {arguments}"))
    };
    inside(&format!("train . {QUICK}")).succeeded();
    let run = inside(&format!("train . {QUICK}")).succeeded();
    assert_says(&run.stdout, &["2 classes: 0 blue; 1 striped", "runs (a folder of runs)"]);
    inside(&format!("train . {QUICK} --output named")).succeeded();
    workspace
        .write("arms.toml", "[[arm]]\nname = \"one\"\nhead = \"new\"\nfreeze = \"backbone\"\n");
    inside("compare . --arms ../arms.toml --image-size 32 --epochs 1 --seeds 1 --output compared")
        .succeeded();
    let run = inside(&format!("train . {QUICK} --output again")).succeeded();
    assert_says(
        &run.stdout,
        &[
            "2 classes: 0 blue; 1 striped",
            "compared (a folder that Regraft wrote)",
            "named (a folder that Regraft wrote)",
        ],
    );
    let run = inside("evaluate named . --json").succeeded();
    assert_eq!(run.json()["images"], 8);
    assert_says(&run.stderr, &["runs (a folder of runs)"]);
}

#[test]
fn a_folder_in_another_unicode_form_is_the_models_class() {
    let workspace = Workspace::new();
    workspace.pictures("photos/caf\u{e9}", Look::Blue, 4);
    workspace.pictures("photos/tea", Look::Striped, 4);
    workspace.regraft(&format!("train photos {QUICK}")).succeeded();
    workspace.pictures("new/cafe\u{301}", Look::Blue, 2);
    workspace.pictures("new/Tea", Look::Striped, 1);
    let run = workspace.regraft("evaluate runs/photos new --json").succeeded();
    assert_eq!(run.json()["images"], 3);
    assert_says(
        &run.stderr,
        &["1 class folder is named in decomposed Unicode", "by another name: \"Tea\" is \"tea\""],
    );
}
