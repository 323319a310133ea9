//! `--device`: the values that it takes, those that it refuses, and the one that a run remembers.

use crate::outcome::assert_says;
use crate::workspace::{QUICK, Workspace};
use serde_json::json;

#[test]
fn a_run_writes_the_device_that_it_found_and_goes_on_with_it() {
    let workspace = Workspace::with_photos();
    workspace.regraft(&format!("train photos {QUICK} --output run")).succeeded();
    assert_says(&workspace.text("run/config.toml"), &["device = \"cpu\""]);
    for device in ["", "--device auto", "--device cpu", "--device all"] {
        let again = workspace.regraft(&format!("train --resume run {device}")).succeeded();
        assert_says(&again.stderr, &["note: run is complete, with "]);
    }
}

#[test]
fn devices_that_cannot_be_used_are_refused_with_the_reason() {
    let workspace = Workspace::with_photos();
    // No machine has as many GPUs; one without any has another reason.
    for (asked, device) in [("gpu:98", "gpu:98"), ("cpu,gpu:99", "gpu:99")] {
        for command in ["train photos", "bench step --steps 1", "audit photos"] {
            let error = workspace.regraft(&format!("{command} --device {asked}")).failed(2);
            assert_says(
                &error,
                &[&format!("--device {device} cannot be used: "), "use --device cpu"],
            );
        }
    }
    let error = workspace.regraft("train photos --device cuda").failed(2);
    assert_says(
        &error,
        &["device cuda is not known; use auto, cpu, gpu, gpu:N, all, or a list such as \
             gpu:0,gpu:1 or cpu*2"],
    );
    let report = workspace.regraft("doctor --json").succeeded().json();
    let gpus = report["gpus"].as_array().expect("a list");
    let unusable = report["unusable_devices"].as_array().expect("a list");
    assert_eq!(gpus.is_empty(), unusable.iter().any(|device| device["device"] == json!("gpu")));
    let devices = report["devices"].as_array().expect("a list");
    assert_eq!(devices.len(), 1 + gpus.len());
    let text = workspace.regraft("doctor").succeeded().stdout;
    for gpu in gpus {
        assert_says(&text, &[gpu["name"].as_str().expect("a name")]);
    }
    if gpus.is_empty() {
        assert_says(&text, &["devices          cpu; not gpu: "]);
    }
}

/// Every layer learns on the first GPU, or the software that stands for one, as on the processor.
#[test]
fn a_gpu_trains_as_the_processor_does() {
    let workspace = Workspace::with_photos();
    let report = workspace.regraft("doctor --json").succeeded().json();
    if report["gpus"].as_array().is_none_or(Vec::is_empty) {
        eprintln!("SKIPPED: no adapter");
        return;
    }
    let flags =
        "--image-size 32 --head new --freeze none --epochs 2 --batch-size 5 --lr 1e-4 --seed 3";
    let [processor, gpu] = ["cpu", "gpu"].map(|device| {
        let command = format!("train photos {flags} --device {device} --output {device}");
        workspace.regraft(&command).succeeded();
        workspace.json(&format!("{device}/summary.json"))
    });
    let loss = |summary: &serde_json::Value| summary["train_loss"].as_f64().expect("a loss");
    let difference = (loss(&processor) - loss(&gpu)).abs();
    assert!(difference < 1e-3, "{} and {}", loss(&processor), loss(&gpu));
    assert_says(&workspace.text("gpu/config.toml"), &["device = \"gpu:0\""]);
    workspace.regraft("predict gpu photos/test --device gpu").succeeded();
}

#[test]
fn two_engines_train_one_network_and_score_as_one_does() {
    let workspace = Workspace::with_photos();
    let flags =
        "--image-size 32 --head new --freeze through=blocks.5 --epochs 2 --batch-size 5 --lr 1e-3";
    for run in ["one", "two"] {
        workspace
            .regraft(&format!("train photos {flags} --device cpu*2 --output {run}"))
            .succeeded();
    }
    assert_says(&workspace.text("one/config.toml"), &["device = \"cpu*2\""]);
    assert!(
        workspace.json("one/summary.json")["device"]
            .as_str()
            .is_some_and(|device| device.starts_with("2 engines, each cpu ("))
    );
    let [one, two] = ["one", "two"].map(|run| workspace.read(&format!("{run}/model.safetensors")));
    assert!(one == two, "the same bits again");
    let [alone, shared] = ["cpu", "cpu*2"].map(|device| {
        let mut scores = workspace
            .regraft(&format!("evaluate one photos/test --json --device {device}"))
            .succeeded()
            .json();
        scores["device"].take();
        scores
    });
    assert_eq!(alone, shared, "scores are shared out exactly");
    workspace.regraft("train --resume one").succeeded();
    let error = workspace.regraft("train --resume one --device cpu").failed(2);
    assert_says(&error, &["device was cpu*2 and is cpu"]);
}

#[test]
fn batch_norms_of_several_devices_can_share_their_statistics() {
    let workspace = Workspace::with_photos();
    // Small steps: large ones amplify the rounding of the sums.
    let flags = "--image-size 64 --head new --freeze none --batch-norm batch --epochs 1 \
                 --batch-size 5 --lr 1e-6 --augment none";
    let loss = |run: &str, more: &str| {
        workspace.regraft(&format!("train photos {flags} {more} --output {run}")).succeeded();
        let row = workspace.text(&format!("{run}/metrics.csv"));
        let loss = row.lines().last().and_then(|row| row.split(',').nth(1)).expect("a loss");
        loss.parse::<f64>().expect("a number")
    };
    let one = loss("one", "--device cpu");
    let shared = loss("shared", "--device cpu*2 --sync-batch-norm");
    let apart = loss("apart", "--device cpu*2");
    assert!((one - shared).abs() < 1e-3, "{one} and {shared}");
    assert!((one - apart).abs() > 1e-2, "{one} and {apart}");
    assert_says(&workspace.text("shared/config.toml"), &["sync_batch_norm = true"]);
    let error = workspace.regraft("train photos --head new --sync-batch-norm").failed(2);
    assert_says(&error, &["batch norms use running statistics", "leave --sync-batch-norm out"]);
}
