//! Calibrated probabilities: the temperature of a run, and `--temperature`.

use crate::outcome::assert_says;
use crate::workspace::{QUICK, SAMPLE, Workspace};
use serde_json::Value;
use std::collections::BTreeMap;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

/// The logarithms of the probabilities of an image's classes.
fn logarithms(entry: &Value) -> BTreeMap<String, f64> {
    let guesses = entry["top"].as_array().expect("a list").iter();
    guesses
        .map(|guess| {
            let class = guess["class"].as_str().expect("text").to_owned();
            (class, number(&guess["probability"]).ln())
        })
        .collect()
}

#[test]
fn a_fitted_head_gets_its_temperature_out_of_fold_and_predict_and_exports_apply_it() {
    let workspace = Workspace::new();
    let run = workspace
        .regraft(&format!("train {SAMPLE} --image-size 32 --freeze backbone --output run"))
        .succeeded();
    let summary = workspace.json("run/summary.json");
    let found = &summary["temperature"];
    assert_eq!(found["fitted_on"], "out_of_fold");
    assert_eq!(found["images"], 600);
    assert_eq!(found, &summary["head_fit"]["temperature"]);
    let temperature = number(&found["temperature"]);
    assert!((0.5..2.0).contains(&temperature) && temperature != 1.0, "{temperature}");
    assert!(number(&found["loss_after"]) < number(&found["loss_before"]), "{found}");
    // The loss before is that of cross-validation's chosen strength.
    let fit = &summary["head_fit"];
    let trials = fit["trials"].as_array().expect("a list");
    let chosen = trials.iter().find(|trial| trial["strength"] == fit["strength"]).expect("it");
    let difference = number(&found["loss_before"]) - number(&chosen["loss"]);
    assert!(difference.abs() < 1e-5, "{difference}");
    // As is the calibration error.
    let difference = number(&found["calibration_error_before"])
        - number(&fit["out_of_fold"]["calibration_error"]);
    assert!(difference.abs() < 1e-6, "{difference}");
    assert_says(&run.stdout, &["note: temperature ", "fitted out of fold (600 images): loss "]);
    assert_says(&workspace.regraft("inspect run").succeeded().stdout, &["fitted out of fold"]);

    let image = format!("{SAMPLE}/bag");
    let predict = |arguments: &str| {
        let outcome = workspace.regraft(&format!("predict {arguments} --top 10 --json"));
        outcome.succeeded().json()[0].clone()
    };
    let plain = logarithms(&predict(&format!("run {image}")));
    let calibrated = predict(&format!("run {image} --temperature"));
    // Differences of logits are divided by the temperature.
    let check = |calibrated: &Value| {
        let calibrated = logarithms(calibrated);
        let (first, last) = ("bag", "dress");
        let [before, after] =
            [&plain, &calibrated].map(|row: &BTreeMap<String, f64>| row[first] - row[last]);
        assert!((before / after / temperature - 1.0).abs() < 1e-3, "{before} {after}");
    };
    check(&calibrated);

    workspace.regraft(&format!("export run -o plain.onnx --check {image}")).succeeded();
    let export = format!("export run -o calibrated.onnx --temperature --check {image}");
    let export = workspace.regraft(&export).succeeded();
    assert_says(&export.stderr, &["logits are divided by the temperature", "out of fold"]);
    check(&predict(&format!("calibrated.onnx {image} --temperature")));
    check(&predict(&format!("calibrated.onnx {image}")));
    let error = workspace.regraft(&format!("predict plain.onnx {image} --temperature")).failed(2);
    assert_says(&error, &["plain.onnx is not calibrated: export its run again"]);
    workspace.regraft("export run -o timm --format timm --temperature").succeeded();
    check(&predict(&format!("timm {image}")));

    // The score of a set changes with it, the classes do not.
    let evaluate = |flag: &str| {
        let outcome = workspace.regraft(&format!("evaluate run {SAMPLE} --json{flag}"));
        outcome.succeeded().json()
    };
    let [before, after] = ["", " --temperature"].map(evaluate);
    assert_eq!(before["confusion"], after["confusion"]);
    assert_ne!(before["loss"], after["loss"]);
    assert_ne!(before["calibration_error"], after["calibration_error"]);
    let text =
        workspace.regraft(&format!("evaluate run {SAMPLE} --temperature")).succeeded().stdout;
    let error = number(&after["calibration_error"]);
    assert_says(&text, &[&format!("with the temperature: calibration error {error:.4}, Brier")]);
}

#[test]
fn a_run_of_epochs_gets_it_from_its_validation_set_never_from_test_images() {
    let workspace = Workspace::with_photos();
    // A wrong label, so that the images set a limit.
    let [from, to] = ["striped/0.jpg", "blue/wrong.jpg"]
        .map(|name| workspace.path(&format!("photos/val/{name}")));
    std::fs::rename(from, to).expect("moved");
    let train = |output: &str| {
        workspace.regraft(&format!("train photos {QUICK} --force --output {output}")).succeeded();
        workspace.json(&format!("{output}/summary.json"))["temperature"].clone()
    };
    let found = train("run");
    assert_eq!((&found["fitted_on"], &found["images"]), (&"validation".into(), &4.into()));
    assert!(number(&found["loss_after"]) <= number(&found["loss_before"]), "{found}");
    let metadata = workspace.regraft("inspect run --json").succeeded().json();
    assert_eq!(metadata["temperature"], found);
    // Other test images change nothing.
    std::fs::remove_dir_all(workspace.path("photos/test/blue")).expect("removed");
    assert_eq!(train("other"), found);
}

#[test]
fn a_model_without_a_temperature_is_refused() {
    let workspace = Workspace::with_photos();
    let run = format!("train photos/train {QUICK} --val-fraction 0 --output run");
    workspace.regraft(&run).succeeded();
    assert!(workspace.json("run/summary.json")["temperature"].is_null());
    for command in [
        "evaluate run photos/test",
        "predict run photos/test/blue/0.jpg",
        "export run -o a.onnx",
        "predict --model efficientnet_lite0 photos/test/blue/0.jpg",
    ] {
        let error = workspace.regraft(&format!("{command} --temperature")).failed(2);
        assert_says(&error, &["has no temperature", "hint: leave --temperature out"]);
    }
    assert!(!workspace.path("a.onnx").exists());
}
