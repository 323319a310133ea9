//! Trainings that run away.

use crate::outcome::assert_says;
use crate::resume::{assert_same_run, checkpoints};
use crate::workspace::Workspace;
use regraft::nn::weights;

/// 2^122: at this rate the head's logits overflow after the first step, and at half of it they do
/// not. With gradients that are bounded, as cross-entropy's are, a head alone diverges no earlier
/// than that.
const RUNAWAY: &str = "5.316911983139664e36";
const HALF: &str = "2.658455991569832e36";

fn options(rate: &str, warmup: f64) -> String {
    format!(
        "--image-size 32 --head new --epochs 4 --batch-size 5 --schedule constant --warmup \
         {warmup} --momentum 0 --weight-decay 0 --lr {rate}"
    )
}

fn assert_finite(path: &std::path::Path) {
    let file = weights::read(path).expect("a weight file");
    assert!(
        file.tensors.iter().flat_map(|tensor| &tensor.values).all(|value| value.is_finite()),
        "{}",
        path.display()
    );
}

#[test]
fn a_step_that_is_not_finite_is_not_applied_and_the_last_good_model_stays() {
    let workspace = Workspace::with_photos();
    let error = workspace
        .regraft(&format!("train photos {} --output first", options(RUNAWAY, 0.0)))
        .failed(1);
    assert_says(
        &error,
        &[
            "the training diverged in epoch 1, step 2: the loss of photos/train/",
            "The step was not applied. No epoch was finished, so no model was saved.",
            "use a lower --lr (it was 5.316912e36)",
            "The images of the step:\n  photos/train/",
        ],
    );
    assert_eq!(
        error.lines().filter(|line| line.starts_with("  photos/train/")).count(),
        5,
        "{error}"
    );
    assert!(!workspace.path("first/model.safetensors").exists());

    // The rate rises over three epochs of two steps, and passes half of its height in the second.
    let error = workspace
        .regraft(&format!("train photos {} --output later", options(RUNAWAY, 3.0)))
        .failed(1);
    assert_says(
        &error,
        &["the training diverged in epoch ", "later/model.safetensors holds epoch "],
    );
    assert_finite(&workspace.path("later/model.safetensors"));
    for checkpoint in checkpoints(&workspace, "later") {
        assert_finite(&checkpoint);
    }
    workspace.regraft("predict later photos/test/blue/0.jpg").succeeded();
    // It would diverge again, so it does.
    let again = workspace.regraft("train --resume later").failed(1);
    assert_eq!(again.lines().next(), error.lines().next());
}

#[test]
fn a_retry_goes_back_to_the_epochs_start_with_half_the_rate_once() {
    let workspace = Workspace::with_photos();
    let retry = format!("{} --on-nan retry", options(RUNAWAY, 0.0));
    let run = workspace.regraft(&format!("train photos {retry} --output run")).succeeded();
    let note = "note: the training diverged in epoch 1, step 2: the loss of photos/train/";
    assert_says(
        &run.stdout,
        &[note, "; it resumes from the end of epoch 0 with half the learning rate"],
    );
    let notes = workspace.json("run/summary.json")["notes"].to_string();
    assert_says(&notes, &["the training diverged in epoch 1, step 2"]);
    // That is the run with half the rate.
    workspace.regraft(&format!("train photos {} --output half", options(HALF, 0.0))).succeeded();
    assert_same_run(&workspace, "run", "half");
    // It can be repeated, and resumed behind the retry.
    workspace.regraft(&format!("train photos {retry} --output again")).succeeded();
    assert_same_run(&workspace, "again", "half");
    std::fs::remove_file(workspace.path("again/summary.json")).expect("a summary");
    std::fs::remove_file(checkpoints(&workspace, "again").pop().expect("a checkpoint"))
        .expect("removed");
    workspace.regraft("train --resume again").succeeded();
    assert_same_run(&workspace, "again", "half");

    // What diverges at half the rate too stops the second time.
    let error = workspace
        .regraft(&format!("train photos {} --on-nan retry --output twice", options("4e37", 0.0)))
        .failed(1);
    assert_says(
        &error,
        &["the training diverged in epoch 1, step 2", "use a lower --lr (it was 2e37)"],
    );
}

#[test]
fn a_retry_goes_back_to_where_no_clock_decides() {
    let workspace = Workspace::with_photos();
    // It diverges in the second step of an epoch.
    let retry = format!("{} --on-nan retry", options("6e36", 3.0));
    let run = workspace.regraft(&format!("train photos {retry} --output rarely")).succeeded();
    assert_says(
        &run.stdout,
        &[
            "the training diverged in epoch 3, step 6",
            "it resumes from the end of epoch 2 with half the learning rate",
        ],
    );
    workspace
        .regraft(&format!("train photos {retry} --checkpoint-every 0s --output often"))
        .succeeded();
    assert_same_run(&workspace, "often", "rarely");
}

#[test]
fn a_model_with_nan_inside_is_refused_and_its_conversion_says_so() {
    let workspace = Workspace::with_photos();
    workspace.regraft("train photos --image-size 32 --epochs 1 --output run").succeeded();
    let mut file = weights::read(&workspace.path("run/model.safetensors")).expect("a model");
    let tensor = file
        .tensors
        .iter_mut()
        .find(|tensor| tensor.name == "conv_stem.weight")
        .expect("the first layer");
    tensor.values[..2].copy_from_slice(&[f32::NAN, f32::NEG_INFINITY]);
    let path = workspace.path("nan.safetensors");
    weights::write_safetensors(&path, &file.tensors, &file.metadata, weights::StorageType::F32)
        .expect("written");
    for command in [
        "predict nan.safetensors photos/test",
        "evaluate nan.safetensors photos/test",
        "train photos --weights nan.safetensors",
    ] {
        let error = workspace.regraft(command).failed(2);
        assert_says(
            &error,
            &[
                "nan.safetensors is from a diverged training or is damaged",
                "conv_stem.weight: 2 of 864",
                "use another file",
            ],
        );
    }
    let converted = workspace
        .regraft("weights convert nan.safetensors out.safetensors --dtype f32")
        .succeeded();
    assert_says(
        &converted.stdout,
        &["these tensors hold NaN or infinite values, with which no network works: \
             conv_stem.weight: 2 of 864"],
    );
}

#[test]
fn an_epoch_that_leaves_numbers_that_are_not_finite_is_refused() {
    let workspace = Workspace::with_photos();
    // One step an epoch: no later step of the epoch sees its weights.
    let options = "--image-size 32 --epochs 1 --head new --freeze none --batch-size 16 --warmup 0 \
        --schedule constant";
    for (rate, what) in [("1e30", "the validation loss is not finite"), ("1e38", "holds ")] {
        let outcome =
            workspace.regraft(&format!("train photos {options} --lr {rate} --output run{rate}"));
        let error = outcome.failed(1);
        assert_says(
            &error,
            &[
                "the training diverged in epoch 1: after its last step, ",
                what,
                "no model was saved.",
                "use a lower --lr",
            ],
        );
        assert!(!error.contains("is ready") && !error.contains("--resume"), "{error}");
        assert!(!workspace.path(&format!("run{rate}/model.safetensors")).exists());
    }
    let retried = workspace
        .regraft(&format!("train photos {options} --lr 1e30 --on-nan retry --output retried"))
        .failed(1);
    assert_says(&retried, &["the training diverged in epoch 1: after its last step, "]);
}

#[test]
fn a_model_that_gives_no_finite_numbers_is_an_error() {
    let workspace = Workspace::with_photos();
    workspace.regraft("train photos --image-size 32 --epochs 1 --output run").succeeded();
    let mut file = weights::read(&workspace.path("run/model.safetensors")).expect("a model");
    let tensor = file
        .tensors
        .iter_mut()
        .find(|tensor| tensor.name == "classifier.weight")
        .expect("the head");
    tensor.values.fill(3e38);
    let path = workspace.path("huge.safetensors");
    weights::write_safetensors(&path, &file.tensors, &file.metadata, weights::StorageType::F32)
        .expect("written");
    for command in
        ["predict huge.safetensors photos/test/blue/0.jpg", "evaluate huge.safetensors photos/test"]
    {
        assert_says(
            &workspace.regraft(command).failed(1),
            &["the network's output is not finite for ", "photos/test/blue/0.jpg"],
        );
    }
}

/// Numbers that are finite may be as useless: nothing is held out here that would show it.
#[test]
fn weights_far_beyond_any_sense_are_a_warning_at_the_end() {
    let workspace = Workspace::with_photos();
    std::fs::remove_dir_all(workspace.path("photos/val")).expect("removed");
    let options = "--image-size 32 --head new --epochs 2 --batch-size 5 --val-fraction 0 \
        --schedule constant --warmup 0";
    for (rate, warned) in [("1e5", true), ("1e-3", false)] {
        let run = workspace
            .regraft(&format!("train photos {options} --lr {rate} --output run{rate}"))
            .succeeded();
        let notes = workspace.json(&format!("run{rate}/summary.json"))["notes"].to_string();
        for text in [&run.stdout, &notes] {
            assert_eq!(
                text.contains("WARNING: this model is of no use: the training loss of epoch 2 is "),
                warned,
                "{text}"
            );
            assert_eq!(
                text.contains(
                    "guessing among 2 classes has 0.69. Train again with a lower learning rate"
                ),
                warned,
                "{text}"
            );
        }
    }
}
