//! `--precision`: the one that was asked for is used, and is said wherever a run is described.

use crate::outcome::assert_says;
use crate::resume::{OFTEN, WHOLE, assert_same_run, rewind};
use crate::workspace::Workspace;

/// The precisions that the run folder names: that of the options and that of the outcome.
fn precisions(workspace: &Workspace, run: &str) -> [String; 2] {
    let config = workspace.text(&format!("{run}/config.toml"));
    let option =
        config.lines().find_map(|line| line.strip_prefix("precision = ")).expect("the option");
    let summary = workspace.json(&format!("{run}/summary.json"));
    let device = summary["device"].as_str().expect("text");
    let precision = summary["precision"].as_str().expect("text");
    assert!(device.ends_with(&format!(", {precision})")), "{device}");
    [option.trim_matches('"').to_owned(), precision.to_owned()]
}

#[test]
fn a_frozen_trunk_in_bf16_has_features_of_its_own() {
    let workspace = Workspace::with_photos();
    let train = |flags: &str, run: &str| {
        workspace
            .regraft(&format!(
                "train photos --image-size 32 --head new --epochs 1 {flags} --output {run}"
            ))
            .succeeded();
        workspace.read(&format!("{run}/model.safetensors"))
    };
    let wide = train("", "wide");
    // The features of f32 are kept by now.
    let narrow = train("--precision bf16", "narrow");
    assert!(wide != narrow, "--precision has no effect");
    assert!(narrow == train("--precision bf16 --no-feature-cache", "uncached"));
    assert!(narrow == train("--precision bf16 --threads 1 --workers 1", "again"));
    assert!(wide == train("--precision f32", "given"));
    assert_eq!(precisions(&workspace, "wide"), ["f32", "f32"]);
    assert_eq!(precisions(&workspace, "narrow"), ["bf16", "bf16"]);
}

#[test]
fn a_run_in_bf16_goes_on_to_the_bit_and_in_no_other_precision() {
    let workspace = Workspace::with_photos();
    workspace.regraft(&format!("train photos {WHOLE} --precision bf16 --output whole")).succeeded();
    workspace
        .regraft(&format!("train photos {WHOLE} --precision bf16 {OFTEN} --output run"))
        .succeeded();
    rewind(&workspace, "run", 1);
    let error = workspace.regraft("train --resume run --precision f32").failed(2);
    assert_says(&error, &["it would not be the same run", "precision was bf16 and is f32"]);
    assert_eq!(error.matches("bf16").count(), 1, "it is said once: {error}");
    workspace.regraft("train --resume run --threads 3").succeeded();
    assert_same_run(&workspace, "run", "whole");

    // Scored in the precision of the run, a model has the run's scores.
    let summary = workspace.json("run/summary.json");
    let scores = |flags: &str| {
        workspace.regraft(&format!("evaluate run photos/test --json {flags}")).succeeded().json()
    };
    let narrow = scores("--precision bf16");
    assert_eq!(
        (&narrow["accuracy"], &narrow["loss"]),
        (&summary["test_accuracy"], &summary["test_loss"])
    );
    let wide = scores("");
    assert_ne!(wide["loss"], narrow["loss"]);
    assert!(wide["device"].as_str().is_some_and(|device| device.ends_with(", f32)")), "{wide}");
}

#[test]
fn auto_is_what_the_instruction_set_multiplies() {
    let workspace = Workspace::with_photos();
    let portable = [("REGRAFT_ISA", "portable")];
    assert_eq!(
        workspace.regraft_with("doctor --json", &portable).succeeded().json()["precision_auto"],
        "f32"
    );
    let train = "train photos --image-size 32 --head new --epochs 1 --precision auto --output";
    workspace.regraft_with(&format!("{train} portable"), &portable).succeeded();
    assert_eq!(precisions(&workspace, "portable"), ["f32", "f32"]);

    let doctor = workspace.regraft("doctor --json").succeeded().json();
    let auto = doctor["precision_auto"].as_str().expect("text");
    let multiplies_bf16 =
        ["avx512bf16", "amx"].iter().any(|set| doctor["instruction_set_in_use"] == *set);
    assert_eq!(auto == "bf16", multiplies_bf16, "{doctor}");
    workspace.regraft(&format!("{train} run")).succeeded();
    assert_eq!(precisions(&workspace, "run"), [auto, auto]);
    rewind(&workspace, "run", 1);
    workspace.regraft("train --resume run --precision auto").succeeded();
}

#[test]
fn arms_of_a_comparison_have_precisions_of_their_own() {
    let workspace = Workspace::with_photos();
    workspace.write(
        "arms.toml",
        "[[arm]]\nname = \"wide\"\n[[arm]]\nname = \"narrow\"\nprecision = \"bf16\"\n",
    );
    workspace
        .regraft(
            "compare photos --arms arms.toml --image-size 32 --epochs 1 --seeds 1 \
        --output compared",
        )
        .succeeded();
    for (arm, precision) in [("wide", "f32"), ("narrow", "bf16")] {
        assert_eq!(
            precisions(&workspace, &format!("compared/arms/{arm}/seed-0")),
            [precision, precision]
        );
    }
    let models = ["wide", "narrow"]
        .map(|arm| workspace.read(&format!("compared/arms/{arm}/seed-0/model.safetensors")));
    assert!(models[0] != models[1]);
}

#[test]
fn the_bench_measures_what_was_asked_for() {
    let workspace = Workspace::new();
    let step = "bench step --mode eval --batch 1 --steps 1 --json";
    for precision in ["f32", "bf16"] {
        let run = workspace.regraft(&format!("{step} --precision {precision}"));
        assert_eq!(run.succeeded().json()["precision"], precision);
    }
}
