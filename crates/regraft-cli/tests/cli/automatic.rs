//! How deep to train, decided by a trial.

use crate::outcome::assert_says;
use crate::workspace::{SAMPLE, Workspace};

#[test]
fn all_layers_learn_if_a_trial_shows_that_it_pays() {
    let workspace = Workspace::new();
    let run =
        workspace.regraft(&format!("train {SAMPLE} --image-size 32 --output run")).succeeded();
    let trial = "training all layers on ";
    let said = [
        trial,
        " images for an epoch changes the loss on 150 held-out images from ",
        "all layers learn, for 5 epochs, in about ",
    ];
    assert_says(&run.stdout, &said);
    assert_says(
        &run.stdout,
        &[
            "510 images to train on, 90 to choose the epoch",
            "epoch 5/5: ",
            "again to all 600 images, including the 90 held-out",
        ],
    );
    let config = workspace.text("run/config.toml");
    assert_says(
        &config,
        &["freeze = \"none\"\n", "epochs = 5\n", "val_fraction = 0.15\n", "refit = true\n"],
    );
    let summary = workspace.json("run/summary.json");
    assert!(summary["notes"].to_string().contains(trial), "{summary}");
    // Five epochs gain more than ten images of 90, whichever machine rounds.
    let rows = workspace.text("run/metrics.csv");
    let accuracies: Vec<f64> = rows
        .lines()
        .skip(1)
        .map(|row| row.split(',').nth(4).expect("a column").parse().expect("a number"))
        .collect();
    assert!(accuracies.iter().copied().fold(0.0, f64::max) > accuracies[0] + 0.05, "{rows}");

    // The decision is written down, and is not made again.
    let again = workspace.regraft("train --config run/config.toml --output again").succeeded();
    assert!(!again.stdout.contains(trial), "{}", again.stdout);
    assert!(workspace.read("run/model.safetensors") == workspace.read("again/model.safetensors"));
    // The head of the kept epoch, without the held-out images, is another one.
    workspace.write("without.toml", config.replace("refit = true", "refit = false"));
    workspace.regraft("train --config without.toml --output without").succeeded();
    assert!(workspace.read("run/model.safetensors") != workspace.read("without/model.safetensors"));
    assert!(
        workspace.read("run/predictions.csv") == workspace.read("without/predictions.csv"),
        "those of a head that has not seen them"
    );
}

#[test]
fn an_arm_of_a_comparison_decides_once() {
    let workspace = Workspace::new();
    workspace
        .write("arms.toml", "[[arm]]\nname = \"auto\"\nimage_size = 32\nprecision = \"bf16\"\n");
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sample/fashion");
    let compare = format!("compare {data} --arms arms.toml --seeds 1 --output arms");
    workspace.regraft(&compare).succeeded();
    let summary = workspace.path("arms/arms/auto/seed-0/summary.json");
    // As if the run had been interrupted at its very end.
    let first = std::fs::read(&summary).expect("a summary");
    std::fs::remove_file(&summary).expect("it is there");
    let again = workspace.regraft(&compare).succeeded();
    assert!(!again.stdout.contains("training all layers on"), "{}", again.stdout);
    let accuracy = |bytes: &[u8]| {
        serde_json::from_slice::<serde_json::Value>(bytes).expect("JSON")["test_accuracy"].clone()
    };
    assert_eq!(accuracy(&first), accuracy(&std::fs::read(&summary).expect("written again")));
}

#[test]
fn only_the_head_is_fitted_if_there_is_nothing_to_gain_or_it_is_asked_for() {
    let workspace = Workspace::with_photos();
    let run = workspace.regraft("train photos --image-size 32 --output few").succeeded();
    assert_says(
        &run.stdout,
        &["too few errors for a trial of training all layers", "only the head is fitted"],
    );
    let fitted = workspace
        .regraft("train photos --image-size 32 --freeze backbone --output fitted")
        .succeeded();
    assert!(!fitted.stdout.contains("trial"), "{}", fitted.stdout);
    assert!(workspace.read("few/model.safetensors") == workspace.read("fitted/model.safetensors"));
    assert!(workspace.text("few/config.toml") == workspace.text("fitted/config.toml"));
    let with_epochs =
        workspace.regraft("train photos --image-size 32 --epochs 1 --output epochs").succeeded();
    assert!(!with_epochs.stdout.contains("trial"), "{}", with_epochs.stdout);
    workspace
        .regraft("train photos --image-size 32 --freeze auto --epochs 1 --lr 1e-4 --output asked")
        .succeeded();
    assert_says(&workspace.text("asked/config.toml"), &["freeze = \"backbone\"\n", "epochs = 0\n"]);
    let error = workspace.regraft("train photos --freeze auto --head new").failed(2);
    assert_says(&error, &["freeze = auto begins with a fitted head", "hint: use --head fit"]);
    assert_says(
        &workspace.regraft("train photos --refit --head new").failed(2),
        &["--refit", "--head fit"],
    );
    assert_says(
        &workspace.regraft("train photos --refit --views 2").failed(2),
        &["refit is not possible with augmented views", "--views"],
    );
}
