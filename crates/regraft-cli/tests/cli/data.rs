//! Folders of images as people have them.

use crate::outcome::assert_says;
use crate::pictures::Look;
use crate::workspace::{QUICK, Workspace};
use serde_json::json;
use std::io::Write;

#[test]
fn class_folders_without_parts_are_split() {
    let workspace = Workspace::new();
    workspace.pictures("photos/blue", Look::Blue, 10);
    workspace.pictures("photos/green", Look::Green, 5);
    let run = workspace.regraft(&format!("train photos {QUICK} --val-fraction 0.4")).succeeded();
    assert_says(&run.stdout, &["9 images to train on, 6 to choose the epoch, 0 to test"]);
    let summary = workspace.json("runs/photos/summary.json");
    assert_eq!(
        (&summary["train_images"], &summary["val_images"], &summary["test_images"]),
        (&json!(9), &json!(6), &json!(0))
    );
    assert_eq!(summary["test_accuracy"], json!(null));
    assert!(summary["val_accuracy"].is_f64());
    workspace.regraft(&format!("train photos {QUICK}")).succeeded();
    assert_eq!(workspace.json("runs/photos-2/summary.json")["val_images"], 3);
    let counts = |run: &str| {
        let summary = workspace.json(&format!("{run}/summary.json"));
        (summary["train_images"].clone(), summary["val_images"].clone())
    };
    workspace.regraft(&format!("train photos {QUICK} --val-fraction 0 --output all")).succeeded();
    assert_eq!(counts("all"), (json!(15), json!(0)));
    // The textbook's recipe trains on all images unless asked for something else.
    workspace.regraft(&format!("train photos --recipe d2l {QUICK} --output textbook")).succeeded();
    assert_eq!(counts("textbook"), (json!(15), json!(0)));
    workspace
        .regraft(&format!("train photos --recipe d2l {QUICK} --val-fraction 0.4 --output held-out"))
        .succeeded();
    assert_eq!(counts("held-out"), (json!(9), json!(6)));
    let error = workspace.regraft(&format!("train photos {QUICK} --val-fraction 1.5")).failed(2);
    assert_says(&error, &["1.5"]);
}

#[test]
fn hidden_entries_and_other_files_are_left_out_and_named() {
    let workspace = Workspace::with_photos();
    workspace.pictures("photos/train/.thumbnails", Look::Green, 1);
    workspace.write("photos/train/blue/notes.txt", "not an image");
    let run = workspace.regraft(&format!("train photos {QUICK}")).succeeded();
    assert_says(
        &run.stdout,
        &[
            "note: ignored: ",
            "photos/train/.thumbnails (hidden)",
            "notes.txt (not an image, judging by its name)",
        ],
    );
    let summary = workspace.json("runs/photos/summary.json");
    assert_eq!(
        (&summary["classes"], &summary["train_images"]),
        (&json!(["blue", "striped"]), &json!(10))
    );
    assert!(
        summary["notes"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|note| note.to_string().contains(".thumbnails"))
    );
}

#[test]
fn an_unreadable_picture_stops_before_anything_is_written_or_is_left_out_and_listed() {
    let workspace = Workspace::with_photos();
    workspace.write("photos/train/striped/broken.jpg", "no image at all");
    let whole = workspace.read("photos/val/blue/0.jpg");
    workspace.write("photos/val/blue/cut.jpg", &whole[..whole.len() / 3]);
    let stopped = workspace.regraft(&format!("train photos {QUICK}"));
    assert!(stopped.stdout.is_empty(), "{}", stopped.stdout);
    let error = stopped.failed(2);
    assert_says(
        &error,
        &[
            "2 images cannot be read",
            "photos/train/striped/broken.jpg",
            "photos/val/blue/cut.jpg",
            "--on-bad-image skip",
        ],
    );
    assert!(!workspace.path("runs").exists());

    let run = workspace.regraft(&format!("train photos {QUICK} --on-bad-image skip")).succeeded();
    assert_says(&run.stdout, &["note: left out: ", "broken.jpg", "cut.jpg"]);
    let summary = workspace.json("runs/photos/summary.json");
    assert_eq!(
        summary["skipped_images"],
        json!(["photos/train/striped/broken.jpg", "photos/val/blue/cut.jpg"])
    );
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
    assert_says(
        &run.stdout,
        &[
            "note: used as far as they could be decoded",
            "photos/train/blue/cut.jpg",
            "11 images to train on",
        ],
    );
    assert_says(
        &workspace.text("runs/photos/config.toml"),
        &["allow_truncated = true", "max_pixels = 178956970"],
    );
    let error = workspace.regraft("predict runs/photos photos/train/blue/cut.jpg").failed(2);
    assert_says(&error, &["cut.jpg: is a truncated JPEG"]);
    let run = workspace
        .regraft("predict runs/photos photos/train/blue/cut.jpg --allow-truncated")
        .succeeded();
    assert_says(&run.stderr, &["used as far as they could be decoded"]);
    let error = workspace.regraft("evaluate runs/photos photos/test --max-pixels 1000").failed(2);
    assert_says(
        &error,
        &["photos/test/blue/0.jpg: has 40 x 48 pixels, more than the limit of 1000"],
    );
}

#[test]
fn a_class_without_a_readable_picture_is_named_with_its_own_error() {
    let workspace = Workspace::with_photos();
    workspace.write("photos/train/blue/broken.jpg", "no image");
    workspace.write("photos/train/zebra/gone.png", "no image either");
    let error = workspace.regraft(&format!("train photos {QUICK} --on-bad-image skip")).failed(2);
    assert_says(&error, &["class zebra has no readable image", "zebra/gone.png"]);
    assert!(!error.contains("broken.jpg"), "{error}");
}

#[test]
fn folders_that_cannot_be_used_are_refused_by_name() {
    let workspace = Workspace::with_photos();
    workspace.pictures("photos/test/zebra", Look::Green, 1);
    let error = workspace.regraft(&format!("train photos {QUICK}")).failed(2);
    assert_says(&error, &["photos/test/zebra", "\"zebra\" is unknown", "blue, striped"]);
    let error = workspace.regraft("train nowhere").failed(2);
    assert_says(&error, &["nowhere", "no such file or folder"]);
    workspace.pictures("single/blue", Look::Blue, 1);
    let error = workspace.regraft("train single").failed(2);
    assert_says(&error, &["single", "at least two classes", "only the folder \"blue\""]);
    assert!(!workspace.path("runs").exists());
}

#[test]
fn a_table_trains_and_is_scored_as_its_folders_would() {
    let workspace = Workspace::with_photos();
    let mut table = "path,label,split\n".to_owned();
    for (part, count) in [("train", 5), ("val", 2), ("test", 3)] {
        for class in ["blue", "striped"] {
            for number in 0..count {
                let extension = if number % 2 == 0 { "jpg" } else { "png" };
                table += &format!("photos/{part}/{class}/{number}.{extension},{class},{part}\n");
            }
        }
    }
    workspace.write("all.csv", &table);
    let from_folders = workspace.regraft(&format!("train photos {QUICK} --json")).succeeded();
    let from_table = workspace.regraft(&format!("train all.csv {QUICK} --json")).succeeded();
    assert_eq!(
        workspace.read("runs/photos/model.safetensors").len(),
        workspace.read("runs/all/model.safetensors").len()
    );
    let weights = |folder: &str| {
        let bytes = workspace.read(&format!("runs/{folder}/model.safetensors"));
        let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        bytes[8 + header..].to_vec()
    };
    assert!(weights("photos") == weights("all"), "{}\n{}", from_folders.stdout, from_table.stdout);
    let scored = workspace.regraft("evaluate runs/all all.csv --json").succeeded();
    assert_says(&scored.stdout, &["\"images\":6", "only the 6 lines of the split test count"]);
    workspace.write("list.txt", "photos/test/blue/0.jpg\nphotos/test/striped/1.png\n");
    let run = workspace.regraft("predict runs/all list.txt --csv --top 1").succeeded();
    assert_eq!(run.stdout.lines().count(), 3, "{}", run.stdout);
    workspace.write(
        "wrong.csv",
        table.replace("photos/val/blue/0.jpg,blue", "photos/val/blue/0.jpg,zebra"),
    );
    let error = workspace.regraft(&format!("train wrong.csv {QUICK}")).failed(2);
    assert_says(&error, &["wrong.csv, line 12", "\"zebra\" is unknown"]);
}

#[test]
fn an_archive_trains_and_is_scored_as_its_folder_would() {
    let workspace = Workspace::with_photos();
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for part in ["train", "val", "test"] {
        for class in ["blue", "striped"] {
            for name in workspace.names(&format!("photos/{part}/{class}")) {
                let path = format!("photos/{part}/{class}/{name}");
                writer.start_file(&path, options).expect("an entry");
                writer.write_all(&workspace.read(&path)).expect("an entry's content");
            }
        }
    }
    workspace.write("packed.zip", writer.finish().expect("an archive").into_inner());
    let cache = workspace.path("cache");
    let environment = [("REGRAFT_CACHE", cache.to_str().expect("text"))];
    let run =
        workspace.regraft_with(&format!("train packed.zip {QUICK}"), &environment).succeeded();
    assert_says(
        &run.stdout,
        &["packed.zip is unpacked in", "10 images to train on, 4 to choose the epoch, 6 to test"],
    );
    let run = workspace
        .regraft_with("evaluate runs/packed packed.zip/photos/test --json", &environment)
        .succeeded();
    assert_says(&run.stdout, &["\"images\":6"]);
    workspace.write("no.zip", b"PK\x03\x04 no archive");
    let error = workspace.regraft_with(&format!("train no.zip {QUICK}"), &environment).failed(2);
    assert_says(&error, &["no.zip: is not a readable archive"]);
}

#[test]
fn listed_pictures_are_left_out() {
    let workspace = Workspace::with_photos();
    workspace.write("photos/train/blue/broken.jpg", "no image");
    workspace.write(
        "out.csv",
        "path,reason\nphotos/train/blue/broken.jpg,unreadable\nphotos/val/striped/0.jpg,\
            duplicate\n",
    );
    let run = workspace.regraft(&format!("train photos {QUICK} --exclude out.csv")).succeeded();
    assert_says(
        &run.stdout,
        &["2 images are left out as out.csv says", "10 images to train on, 3 to choose the epoch"],
    );
    assert_says(&workspace.text("runs/photos/config.toml"), &["exclude = \"out.csv\""]);
    let error = workspace.regraft(&format!("train photos {QUICK} --exclude nowhere.csv")).failed(2);
    assert_says(&error, &["nowhere.csv"]);
}

#[cfg(unix)]
#[test]
fn a_folder_that_may_only_be_read_is_enough() {
    use std::os::unix::fs::PermissionsExt;
    let workspace = Workspace::with_photos();
    let set = |mode| {
        for folder in ["photos/train/blue", "photos/train", "photos"] {
            let path = workspace.path(folder);
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
                .expect("permissions");
        }
    };
    set(0o555);
    let before = workspace.names("photos/train/blue");
    workspace.regraft(&format!("train photos {QUICK}")).succeeded();
    workspace.regraft("evaluate runs/photos photos/test").succeeded();
    assert_eq!(
        (workspace.names("photos/train/blue"), workspace.names("photos").len()),
        (before, 3)
    );
    set(0o755);
}

#[test]
fn loading_is_measured_with_and_without_memory_for_pictures() {
    let workspace = Workspace::with_photos();
    let run = workspace
        .regraft("bench load photos --workers 2 --batch 4 --epochs 2 --image-size 32 --json")
        .succeeded();
    let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(
        (&report["workers"], &report["cached_images_per_second"]),
        (&json!(2), &json!(null))
    );
    assert_eq!(report["epochs"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&report["epochs"][1]["images"], &report["epochs"][1]["cached_images"]),
        (&json!(10), &json!(0))
    );
    assert!(report["images_per_second"].as_f64().expect("a number") > 0.0);
    let run = workspace
        .regraft("bench load photos --image-size 32 --cache-images 10M --json")
        .succeeded();
    let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(
        (&report["epochs"][0]["cached_images"], &report["epochs"][1]["cached_images"]),
        (&json!(0), &json!(10))
    );
    assert!(report["cached_images_per_second"].is_f64());
    let run = workspace.regraft("bench load photos --image-size 32").succeeded();
    assert_says(
        &run.stdout,
        &["epoch 1: 10 images at", "epoch 2: 10 images at", "first batch after"],
    );
    let error = workspace.regraft("bench load photos --cache-images lots").failed(2);
    assert_says(&error, &["auto, off, or a size such as 512M or 2G"]);
}

#[test]
fn memory_for_pictures_changes_no_weight() {
    let workspace = Workspace::with_photos();
    for (folder, cache) in [("a", "off"), ("b", "20K"), ("c", "auto")] {
        workspace
            .regraft(&format!("train photos {QUICK} --output {folder} --cache-images {cache}"))
            .succeeded();
    }
    let tensors = |folder: &str| {
        let bytes = workspace.read(&format!("{folder}/model.safetensors"));
        let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        bytes[8 + header..].to_vec()
    };
    assert!(tensors("a") == tensors("b") && tensors("a") == tensors("c"));
    assert_says(&workspace.text("b/config.toml"), &["cache_images = \"20480\""]);
}

#[test]
fn large_jpegs_are_decoded_at_a_part_of_their_size_unless_told_otherwise() {
    let workspace = Workspace::with_photos();
    for class in ["blue", "striped"] {
        let large =
            image::open(workspace.path(&format!("photos/train/{class}/0.jpg"))).expect("an image");
        let large = large.resize_exact(900, 700, image::imageops::FilterType::Triangle);
        large.save(workspace.path(&format!("photos/train/{class}/large.jpg"))).expect("saved");
    }
    let run = workspace.regraft(&format!("train photos {QUICK}")).succeeded();
    assert_says(
        &run.stdout,
        &[
            "note: 2 large JPEGs are decoded at a half, a quarter or an eighth of the size",
            "--full-decode",
        ],
    );
    let run = workspace.regraft(&format!("train photos {QUICK} --full-decode")).succeeded();
    assert!(!run.stdout.contains("large JPEGs"), "{}", run.stdout);
    let run = workspace.regraft("predict runs/photos photos/train/blue/large.jpg").succeeded();
    assert_says(&run.stderr, &["1 large JPEG is decoded"]);
}
