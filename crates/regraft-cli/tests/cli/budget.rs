//! A time in place of epochs.

use crate::outcome::assert_says;
use crate::workspace::{SAMPLE, Workspace};
use std::time::{Duration, Instant};

#[test]
fn a_budget_is_planned_kept_and_repeated_from_its_configuration() {
    let workspace = Workspace::with_photos();
    let started = Instant::now();
    let planned =
        "train photos --image-size 32 --budget 2m --freeze through=blocks.3 --output planned";
    let run = workspace.regraft(planned).succeeded();
    assert!(started.elapsed() < Duration::from_secs(120));
    assert_says(
        &run.stdout,
        &[
            "plan for 2m: fit the head (",
            "then 3 epochs of ",
            "--freeze through=blocks.3",
            "fitted head: loss ",
        ],
    );
    let config = workspace.text("planned/config.toml");
    assert_says(&config, &["epochs = 3\n", "freeze = \"through=blocks.3\"\n", "head = \"fit\"\n"]);
    assert!(!config.contains("budget"), "{config}");
    let notes = &workspace.json("planned/summary.json")["notes"];
    assert!(notes.to_string().contains("plan for 2m"), "{notes}");
    workspace.regraft("train --config planned/config.toml --output repeated").succeeded();
    assert!(
        workspace.read("planned/model.safetensors") == workspace.read("repeated/model.safetensors")
    );
    // Other options that are given hold.
    let run = workspace
        .regraft("train photos --image-size 32 --budget 2m --freeze backbone --output head")
        .succeeded();
    assert_says(&run.stdout, &["through the backbone), and no more", "10 images to train on"]);
    assert_says(&workspace.text("head/config.toml"), &["epochs = 0\n", "freeze = \"backbone\"\n"]);
    // A trial decides how deep to train, unless there is nothing that it could show.
    let run =
        workspace.regraft("train photos --image-size 32 --budget 2m --output alone").succeeded();
    assert_says(&run.stdout, &["plan for 2m: cross-validation leaves too few errors"]);
    assert_says(&workspace.text("alone/config.toml"), &["epochs = 0\n", "freeze = \"backbone\"\n"]);
    let run = workspace
        .regraft(&format!("train {SAMPLE} --image-size 32 --budget 5m --output sample"))
        .succeeded();
    assert_says(
        &run.stdout,
        &[
            "training all layers on ",
            "; plan for 5m: 3 epochs of ",
            "the head is fitted again to all 600 images",
        ],
    );
    assert_says(
        &workspace.text("sample/config.toml"),
        &["epochs = 3\n", "freeze = \"none\"\n", "refit = true\n"],
    );
}

#[test]
fn a_budget_that_cannot_be_kept_is_refused_before_anything_is_written() {
    let workspace = Workspace::with_photos();
    let error = workspace.regraft("train photos --image-size 32 --budget 1ms").failed(2);
    assert_says(&error, &["a budget of 1ms is too small for 10 images", "use --budget "]);
    assert!(!workspace.path("runs").exists());
    let error =
        workspace.regraft("train photos --budget 1m --model resnet18 --weights none").failed(2);
    assert_says(&error, &["the run trains from scratch", "--epochs"]);
    assert_says(
        &workspace.regraft("train photos --budget soon").failed(2),
        &["\"soon\" is not a length of time"],
    );
    for other in ["--epochs 2", "--head new", "--recipe d2l"] {
        assert_says(
            &workspace.regraft(&format!("train photos --budget 1m {other}")).failed(2),
            &["cannot be used with"],
        );
    }
    assert_says(&workspace.regraft("lr-find photos --budget 1m").failed(2), &["--budget"]);
}
