//! Folders of pictures as people have them.

use crate::outcome::assert_says;
use crate::pictures::Look;
use crate::workspace::{QUICK, Workspace};
use serde_json::json;

#[test]
fn class_folders_without_parts_are_split() {
    let workspace = Workspace::new();
    workspace.pictures("photos/blue", Look::Blue, 10);
    workspace.pictures("photos/green", Look::Green, 5);
    let run = workspace.regraft(&format!("train photos {QUICK} --val-fraction 0.4")).succeeded();
    assert_says(&run.stdout, &["9 pictures to train on, 6 to pick the epoch, 0 to test"]);
    let summary = workspace.json("runs/photos/summary.json");
    assert_eq!((&summary["train_images"], &summary["val_images"], &summary["test_images"]), (&json!(9), &json!(6), &json!(0)));
    assert_eq!(summary["test_accuracy"], json!(null));
    assert!(summary["val_accuracy"].is_f64());
    workspace.regraft(&format!("train photos {QUICK}")).succeeded();
    assert_eq!(workspace.json("runs/photos-2/summary.json")["val_images"], 3);
    let error = workspace.regraft(&format!("train photos {QUICK} --val-fraction 1.5")).failed(2);
    assert_says(&error, &["1.5"]);
}

#[test]
fn hidden_entries_and_other_files_are_left_out_and_named() {
    let workspace = Workspace::with_photos();
    workspace.pictures("photos/train/.thumbnails", Look::Green, 1);
    workspace.write("photos/train/blue/notes.txt", "not a picture");
    let run = workspace.regraft(&format!("train photos {QUICK}")).succeeded();
    assert_says(&run.stdout, &["note: ignored: ", "photos/train/.thumbnails (hidden)", "notes.txt (not a picture by its name)"]);
    let summary = workspace.json("runs/photos/summary.json");
    assert_eq!((&summary["classes"], &summary["train_images"]), (&json!(["blue", "striped"]), &json!(10)));
    assert!(summary["notes"].as_array().expect("a list").iter().any(|note| note.to_string().contains(".thumbnails")));
}

#[test]
fn an_unreadable_picture_stops_before_anything_is_written_or_is_left_out_and_listed() {
    let workspace = Workspace::with_photos();
    workspace.write("photos/train/striped/broken.jpg", "no picture at all");
    let whole = workspace.read("photos/val/blue/0.jpg");
    workspace.write("photos/val/blue/cut.jpg", &whole[..whole.len() / 3]);
    let stopped = workspace.regraft(&format!("train photos {QUICK}"));
    assert!(stopped.stdout.is_empty(), "{}", stopped.stdout);
    let error = stopped.failed(2);
    assert_says(
        &error,
        &["2 pictures cannot be read", "photos/train/striped/broken.jpg", "photos/val/blue/cut.jpg", "--on-bad-image skip"],
    );
    assert!(!workspace.path("runs").exists());

    let run = workspace.regraft(&format!("train photos {QUICK} --on-bad-image skip")).succeeded();
    assert_says(&run.stdout, &["note: left out: ", "broken.jpg", "cut.jpg"]);
    let summary = workspace.json("runs/photos/summary.json");
    assert_eq!(summary["skipped_images"], json!(["photos/train/striped/broken.jpg", "photos/val/blue/cut.jpg"]));
    assert_eq!((&summary["train_images"], &summary["val_images"]), (&json!(10), &json!(4)));
}

#[test]
fn truncated_pictures_are_used_and_large_ones_refused_on_request() {
    let workspace = Workspace::with_photos();
    let whole = workspace.read("photos/train/blue/0.jpg");
    workspace.write("photos/train/blue/cut.jpg", &whole[..whole.len() * 2 / 3]);
    let error = workspace.regraft(&format!("train photos {QUICK}")).failed(2);
    assert_says(&error, &["photos/train/blue/cut.jpg: is a truncated JPEG"]);
    let run = workspace.regraft(&format!("train photos {QUICK} --allow-truncated")).succeeded();
    assert_says(&run.stdout, &["note: used as far as they go", "photos/train/blue/cut.jpg", "11 pictures to train on"]);
    assert_says(&workspace.text("runs/photos/config.toml"), &["allow_truncated = true", "max_pixels = 178956970"]);
    let error = workspace.regraft("predict runs/photos photos/train/blue/cut.jpg").failed(2);
    assert_says(&error, &["cut.jpg: is a truncated JPEG"]);
    let run = workspace.regraft("predict runs/photos photos/train/blue/cut.jpg --allow-truncated").succeeded();
    assert_says(&run.stderr, &["used as far as they go"]);
    let error = workspace.regraft("evaluate runs/photos photos/test --max-pixels 1000").failed(2);
    assert_says(&error, &["photos/test/blue/0.jpg: announces 40 x 48 pixels, more than the 1000 allowed"]);
}

#[test]
fn a_class_without_a_readable_picture_is_named_with_its_own_error() {
    let workspace = Workspace::with_photos();
    workspace.write("photos/train/blue/broken.jpg", "no picture");
    workspace.write("photos/train/zebra/gone.png", "no picture either");
    let error = workspace.regraft(&format!("train photos {QUICK} --on-bad-image skip")).failed(2);
    assert_says(&error, &["class zebra has no readable picture", "zebra/gone.png"]);
    assert!(!error.contains("broken.jpg"), "{error}");
}

#[test]
fn folders_that_cannot_be_used_are_refused_by_name() {
    let workspace = Workspace::with_photos();
    workspace.pictures("photos/test/zebra", Look::Green, 1);
    let error = workspace.regraft(&format!("train photos {QUICK}")).failed(2);
    assert_says(&error, &["photos/test/zebra", "\"zebra\" is unknown", "blue, striped"]);
    let error = workspace.regraft("train nowhere").failed(2);
    assert_says(&error, &["nowhere", "no such folder"]);
    workspace.pictures("single/blue", Look::Blue, 1);
    let error = workspace.regraft("train single").failed(2);
    assert_says(&error, &["single", "at least two classes", "only blue"]);
    assert!(!workspace.path("runs").exists());
}
