//! Additions to plain training: each has an effect, and the right one.

use crate::outcome::assert_says;
use crate::pictures::Look;
use crate::workspace::{SMALL, Workspace};
use regraft::model::Model;
use regraft::nn::engine::State;

/// One step an epoch over all ten images, each like the others, and the last epoch is kept.
const STEPS: &str = "--recipe d2l --loss mean --image-size 32 --freeze backbone --weight-decay 0 \
    --head-dropout 0 --schedule constant";

fn trained(workspace: &Workspace, flags: &str, run: &str) -> State {
    workspace.regraft(&format!("train photos {flags} --output {run}")).succeeded();
    Model::load(&workspace.path(run), None).expect("a model").state
}

fn head(state: &State) -> &[f32] {
    &state["classifier.weight"]
}

fn distance(one: &State, other: &State) -> f64 {
    let difference = |name: &str| {
        one[name]
            .iter()
            .zip(&other[name])
            .map(|(one, other)| f64::from(one - other).powi(2))
            .sum::<f64>()
    };
    (difference("classifier.weight") + difference("classifier.bias")).sqrt()
}

#[test]
fn a_run_without_gain_ends_early() {
    let workspace = Workspace::with_photos();
    let run = workspace
        .regraft(&format!(
            "train photos {SMALL} --lr 1e-30 --weight-decay 0 --epochs 9 --patience 2 --json"
        ))
        .succeeded();
    assert_says(
        &run.stderr,
        &["the run ends after epoch 3: none of the last epochs was better than epoch 1"],
    );
    let summary = run.json();
    assert_eq!((&summary["epochs"], &summary["best_epoch"]), (&3.into(), &1.into()));
    assert_eq!(workspace.text("runs/photos/metrics.csv").lines().count(), 4);
    let model = workspace.read("runs/photos/model.safetensors");
    // If a run that ended so is resumed, nothing changes.
    workspace.regraft("train --resume runs/photos").succeeded();
    assert_eq!(workspace.text("runs/photos/metrics.csv").lines().count(), 4);
    assert!(workspace.read("runs/photos/model.safetensors") == model);
    assert_says(
        &workspace.regraft("train photos --recipe d2l --patience 2").failed(2),
        &["--patience", "keeps its last epoch"],
    );
}

#[test]
fn accumulated_batches_make_the_step_of_one_large_batch() {
    let workspace = Workspace::with_photos();
    let whole =
        trained(&workspace, &format!("{STEPS} --batch-size 12 --lr 1e-2 --epochs 2"), "whole");
    let parts = trained(
        &workspace,
        &format!("{STEPS} --lr 1e-2 --epochs 2 --batch-size 4 --accumulate 3"),
        "parts",
    );
    let single =
        trained(&workspace, &format!("{STEPS} --lr 1e-2 --epochs 2 --batch-size 4"), "single");
    assert_eq!(workspace.json("parts/summary.json")["optimizer_steps"], 2);
    assert!(distance(&whole, &parts) < 1e-5, "{}", distance(&whole, &parts));
    assert!(distance(&whole, &single) > 1e-3, "{}", distance(&whole, &single));
    assert_says(
        &workspace.regraft("train photos --accumulate 0").failed(2),
        &["--accumulate", "from 1 to 65536"],
    );
}

#[test]
fn a_clipped_gradient_moves_the_head_as_far_as_its_norm_allows() {
    let workspace = Workspace::with_photos();
    let start =
        trained(&workspace, &format!("{STEPS} --batch-size 12 --epochs 1 --lr 1e-30"), "start");
    let free =
        trained(&workspace, &format!("{STEPS} --batch-size 12 --lr 1e-2 --epochs 1"), "free");
    let clipped = trained(
        &workspace,
        &format!("{STEPS} --batch-size 12 --lr 1e-2 --epochs 1 --clip-gradient 0.01"),
        "clipped",
    );
    let loose = trained(
        &workspace,
        &format!("{STEPS} --batch-size 12 --lr 1e-2 --epochs 1 --clip-gradient 1000"),
        "loose",
    );
    // Plain descent at ten times 1e-2 for the head.
    assert!(
        (distance(&start, &clipped) - 0.1 * 0.01).abs() < 1e-5,
        "{}",
        distance(&start, &clipped)
    );
    assert!(distance(&start, &free) > 2.0 * distance(&start, &clipped));
    assert!(free == loose);
}

#[test]
fn an_average_of_the_weights_is_kept_and_goes_on_after_an_interruption() {
    let workspace = Workspace::with_photos();
    let one = trained(&workspace, &format!("{STEPS} --batch-size 12 --lr 1e-2 --epochs 1"), "one");
    let two = trained(&workspace, &format!("{STEPS} --batch-size 12 --lr 1e-2 --epochs 2"), "two");
    let average = trained(
        &workspace,
        &format!("{STEPS} --batch-size 12 --lr 1e-2 --epochs 2 --ema 0.9"),
        "average",
    );
    // In the second step the average keeps (1 + 2) / (10 + 2) of itself, less than 0.9.
    for ((average, one), two) in head(&average).iter().zip(head(&one)).zip(head(&two)) {
        assert!((average - (0.25 * one + 0.75 * two)).abs() < 1e-6, "{average} {one} {two}");
    }
    let longer = trained(
        &workspace,
        &format!("{STEPS} --batch-size 12 --lr 1e-2 --epochs 4 --ema 0.9"),
        "longer",
    );
    workspace.regraft("train --resume average --epochs 4").succeeded();
    assert!(Model::load(&workspace.path("average"), None).expect("a model").state == longer);
    // Frozen layers stay to the bit, which the run itself has proved.
    assert!(
        longer.iter().all(|(name, values)| name.starts_with("classifier") || values == &one[name])
    );
}

#[test]
fn mixed_pictures_erased_parts_and_dropped_features_change_what_is_learned() {
    let workspace = Workspace::with_photos();
    let flags = "--image-size 32 --head new --epochs 2 --batch-size 4 --lr 1e-2";
    let plain = trained(&workspace, flags, "plain");
    for (number, change) in [
        "--mixup 0.4",
        "--cutmix 1",
        "--mixup 0.4 --cutmix 1",
        "--random-erasing 1",
        "--head-dropout 0.7",
        "--augment trivial",
        "--augment rand",
    ]
    .iter()
    .enumerate()
    {
        let changed =
            trained(&workspace, &format!("{flags} {change}"), &format!("changed{number}"));
        assert!(changed != plain, "{change} changes nothing");
        let again = trained(
            &workspace,
            &format!("{flags} {change} --threads 1 --workers 3 --no-feature-cache"),
            &format!("again{number}"),
        );
        assert!(changed == again, "{change} depends on something accidental");
    }
    let off =
        "--mixup 0 --cutmix 0 --random-erasing 0 --head-dropout 0.2 --accumulate 1 --balance none";
    assert!(trained(&workspace, &format!("{flags} {off}"), "off") == plain);
    for (wrong, says) in [
        ("--mixup=-1", "it has to be a number from 0"),
        ("--random-erasing 1.5", "it has to be from 0 to 1"),
        ("--head-dropout 1", "it has to be from 0 to below 1"),
        ("--ema 1", "it has to be from 0 to below 1"),
        ("--clip-gradient 0", "it has to be a number above 0"),
    ] {
        assert_says(&workspace.regraft(&format!("train photos {wrong}")).failed(2), &[says]);
    }
}

#[test]
fn rare_classes_weigh_more_or_come_as_often() {
    let workspace = Workspace::new();
    for part in ["train", "test"] {
        workspace.pictures(&format!("photos/{part}/blue"), Look::Blue, 10);
        workspace.pictures(&format!("photos/{part}/striped"), Look::Striped, 2);
    }
    // One step from the same start: the bias moves by how often, or how heavily, each class came.
    let flags = format!("{STEPS} --batch-size 12 --augment none --epochs 1 --lr 1e-2");
    let start = trained(&workspace, &flags.replace("1e-2", "1e-30"), "start");
    let moved = |flags: &str, run: &str| {
        let state = trained(&workspace, flags, run);
        // The rare class's bias gains the difference between its images' pull and the others' push.
        f64::from(state["classifier.bias"][1] - start["classifier.bias"][1])
    };
    let none = moved(&flags, "none");
    let weights = moved(&format!("{flags} --balance weights"), "weights");
    let sampling = moved(&format!("{flags} --balance sampling"), "sampling");
    assert!(weights > none + 1e-3 && sampling > none + 1e-3, "{none} {weights} {sampling}");
    // Weights of 12 / (2 x 10) and 12 / (2 x 2) are what sampling six of each comes to, but for
    // which images of the many come.
    assert!((weights - sampling).abs() < 0.5 * (weights - none), "{none} {weights} {sampling}");
}
