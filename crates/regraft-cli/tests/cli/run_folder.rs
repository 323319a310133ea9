//! The files of `regraft train`.

use crate::outcome::assert_says;
use crate::workspace::{QUICK, Workspace};
use serde_json::json;

const FILES: [&str; 11] = [
    ".lock",
    "checkpoints",
    "config.toml",
    "curves.svg",
    "data.csv",
    "events.out.tfevents.regraft",
    "metrics.csv",
    "model.safetensors",
    "predictions.csv",
    "report.html",
    "summary.json",
];

#[test]
fn a_run_leaves_its_files_and_config_toml_repeats_it() {
    let workspace = Workspace::with_photos();
    let run = workspace.regraft(&format!("train photos {QUICK} --seed 7")).succeeded();
    assert_says(
        &run.stdout,
        &[
            "2 classes: 0 blue; 1 striped",
            "10 images to train on, 4 to choose the epoch, 6 to test",
            "the embedded efficientnet_lite0; 2562 of 3373570 parameters learn",
            "epoch 1/2: loss ",
            "epoch 2/2: loss ",
            "confusion (rows: true class; columns: predicted class)",
            " examples/sec on cpu (",
            "runs/photos/model.safetensors is ready: regraft predict runs/photos IMAGE",
        ],
    );
    // The line that the textbook prints.
    let last = run
        .stdout
        .lines()
        .find(|line| line.starts_with("loss ") && line.contains("train acc"))
        .expect("a last line");
    assert_says(last, &["train acc ", "val acc ", "test acc "]);
    assert!(
        !run.stdout.contains('\u{1b}') && run.stderr.is_empty(),
        "not a terminal, so plain lines: {}",
        run.stderr
    );

    assert_eq!(workspace.names("runs/photos"), FILES);
    let summary = workspace.json("runs/photos/summary.json");
    let expected = json!({
        "seed": 7, "classes": ["blue", "striped"], "architecture": "efficientnet_lite0",
            "image_size": 32, "epochs": 2,
        "train_images": 10, "val_images": 4, "test_images": 6, "trained_parameters": 2562,
            "total_parameters": 3_373_570,
        "optimizer_steps": 2, "skipped_images": [], "regraft_version": env!("CARGO_PKG_VERSION"),
    });
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&summary[key], value, "{key}");
    }
    for key in [
        "train_loss",
        "train_accuracy",
        "val_accuracy",
        "test_accuracy",
        "images_per_second",
        "wall_seconds",
    ] {
        assert!(summary[key].is_f64(), "{key} is {}", summary[key]);
    }
    assert!([1, 2].contains(&summary["best_epoch"].as_u64().expect("a number")));
    assert!(summary["device"].as_str().expect("text").starts_with("cpu ("));
    assert_eq!(workspace.text("runs/photos/metrics.csv").lines().count(), 3);
    assert!(workspace.text("runs/photos/curves.svg").starts_with("<svg"));

    let again = workspace.regraft("train --config runs/photos/config.toml").succeeded();
    assert_says(
        &again.stdout,
        &["runs/photos already exists, so this run is written to runs/photos-2"],
    );
    assert_eq!(workspace.names("runs"), ["photos", "photos-2"]);
    assert!(
        workspace.read("runs/photos/model.safetensors")
            == workspace.read("runs/photos-2/model.safetensors")
    );
    assert_eq!(
        workspace.text("runs/photos/config.toml"),
        workspace.text("runs/photos-2/config.toml")
    );

    // A flag beside --config wins.
    workspace.regraft("train --config runs/photos/config.toml --epochs 1 --output one").succeeded();
    assert_eq!(workspace.json("one/summary.json")["epochs"], 1);
    assert_eq!(workspace.json("one/summary.json")["seed"], 7);
}

#[test]
fn a_named_folder_that_is_not_empty_is_refused_and_force_replaces_only_a_runs_files() {
    let workspace = Workspace::with_photos();
    workspace.write("mine/notes.txt", "keep this");
    workspace.write("mine/curves.svg", "of an earlier run");
    let error = workspace.regraft(&format!("train photos {QUICK} --output mine")).failed(2);
    assert_says(&error, &["mine is not empty", "--output", "--force"]);
    assert_eq!(workspace.text("mine/curves.svg"), "of an earlier run");
    workspace.regraft(&format!("train photos {QUICK} --output mine --force")).succeeded();
    assert_eq!(workspace.text("mine/notes.txt"), "keep this");
    assert!(workspace.text("mine/curves.svg").starts_with("<svg"));
    // An empty folder, or one that is not there yet, is taken without a word.
    std::fs::create_dir(workspace.path("empty")).expect("a folder");
    workspace.regraft(&format!("train photos {QUICK} --output empty")).succeeded();
    workspace.regraft(&format!("train photos {QUICK} --output new/run")).succeeded();
    assert_eq!(workspace.names("new/run"), FILES);
    assert!(!workspace.path("runs").exists());
}

#[test]
fn json_is_all_that_standard_output_has() {
    let workspace = Workspace::with_photos();
    let run = workspace.regraft(&format!("train photos {QUICK} --json")).succeeded();
    assert_eq!(run.json(), workspace.json("runs/photos/summary.json"));
    assert_says(&run.stderr, &["2 classes: 0 blue; 1 striped", "epoch 2/2: loss "]);
    assert!(!run.stderr.contains('\u{1b}'));
}

#[test]
fn the_textbooks_recipe_shows_the_test_pictures_each_epoch_and_trains_on_everything() {
    let workspace = Workspace::new();
    for part in ["train", "test"] {
        workspace.pictures(&format!("photos/{part}/blue"), crate::pictures::Look::Blue, 3);
        workspace.pictures(&format!("photos/{part}/striped"), crate::pictures::Look::Striped, 3);
    }
    workspace.regraft("train photos --recipe d2l --epochs 2 --image-size 32").succeeded();
    let summary = workspace.json("runs/photos/summary.json");
    assert_eq!((&summary["val_accuracy"], &summary["val_images"]), (&json!(null), &json!(0)));
    assert_eq!((&summary["train_images"], &summary["best_epoch"]), (&json!(6), &json!(2)));
    let metrics = workspace.text("runs/photos/metrics.csv");
    let (header, rows) = metrics.split_once('\n').expect("a header");
    let place = |name: &str| header.split(',').position(|column| column == name).expect("a column");
    for row in rows.lines() {
        let cells: Vec<&str> = row.split(',').collect();
        assert!(
            cells[place("validation_accuracy")].is_empty()
                && !cells[place("test_accuracy")].is_empty(),
            "{row}"
        );
    }
    assert_says(
        &workspace.text("runs/photos/config.toml"),
        &["recipe = \"d2l\"", "loss = \"sum\"", "keep = \"last\""],
    );
}

#[test]
fn a_training_that_diverges_says_so_and_fails() {
    let workspace = Workspace::with_photos();
    let run = "train photos --model resnet18 --weights none --image-size 32 --epochs 1 \
        --batch-size 4 --lr 1e30 --warmup 0";
    let error = workspace.regraft(run).failed(1);
    assert_says(
        &error,
        &["the training diverged in epoch 1, step 2: the ", "use a lower --lr (it was 1e30)"],
    );
    let pictures = error.lines().filter(|line| line.starts_with("  photos/train/")).count();
    assert_eq!(pictures, 4, "the images of the step: {error}");
    assert!(!workspace.path("runs/photos/model.safetensors").exists(), "no epoch was finished");
}

#[test]
fn a_last_batch_of_one_picture_is_a_batch() {
    let workspace = Workspace::with_photos();
    // Ten images: three batches of three and one of one. At 32 pixels the last stage's maps are
    // one pixel, so that its batch norms see a single value for each channel, which PyTorch
    // refuses.
    let run = "train photos --model resnet18 --weights none --image-size 32 --epochs 1 \
        --batch-size 3 --lr 1e-3";
    workspace.regraft(run).succeeded();
    let summary = workspace.json("runs/photos/summary.json");
    assert_eq!(summary["optimizer_steps"], 4);
    assert!(summary["train_loss"].as_f64().expect("a finite loss") > 0.0);
    let model = regraft::model::Model::load(&workspace.path("runs/photos"), None).expect("a model");
    assert!(model.state.values().flatten().all(|value| value.is_finite()));
}
