//! Source models, and the tensors that are kept.

use crate::outcome::assert_says;
use crate::pictures::Look;
use crate::workspace::{SMALL, Workspace};
use regraft::model::Model;
use regraft::nn::engine::State;

fn state(workspace: &Workspace, run: &str) -> State {
    Model::load(&workspace.path(run), None).expect("a model").state
}

#[test]
fn source_models_that_cannot_be_had_are_refused() {
    let workspace = Workspace::with_photos();
    let error = workspace.regraft("train photos --model resnet18").failed(2);
    assert_says(
        &error,
        &[
            "resnet18 needs weights",
            "resnet18-f37072fd.pth",
            "https://download.pytorch.org/models/",
            "--weights none",
        ],
    );
    let error = workspace.regraft("train photos --model resnet19").failed(2);
    assert_says(&error, &["there is no model resnet19", "regraft models", "resnet18, resnet34"]);
    let error = workspace.regraft("train photos --weights nowhere.pth --model resnet18").failed(2);
    assert_says(&error, &["nowhere.pth"]);
    let error = workspace.regraft("train photos --freeze through=layer9").failed(2);
    assert_says(
        &error,
        &[
            "efficientnet_lite0 has no layer layer9",
            "blocks.3",
            "regraft inspect efficientnet_lite0",
        ],
    );
    workspace.write("page.pth", "<!DOCTYPE html><html>a login page</html>");
    let error = workspace.regraft("train photos --weights page.pth --model resnet18").failed(2);
    assert_says(&error, &["page.pth", "a web page"]);
    assert!(!workspace.path("runs").exists(), "nothing was started");
}

/// The first of the textbook's four steps is a source model of one's own; the other three are a
/// target model.
#[test]
fn a_model_trained_from_scratch_is_the_source_of_another() {
    let workspace = Workspace::with_photos();
    let source = "train photos --model resnet18 --weights none --image-size 32 --epochs 1 \
        --batch-size 5 --lr 1e-3 --output source";
    workspace.regraft(source).succeeded();
    for (class, look) in [("azure", Look::Blue), ("lime", Look::Green), ("barred", Look::Striped)] {
        workspace.pictures(&format!("target/{class}"), look, 5);
    }
    let run = workspace
        .regraft("train target --weights source --freeze trunk --epochs 2 --lr 1e-2")
        .succeeded();
    assert_says(
        &run.stdout,
        &[
            "3 classes: 0 azure; 1 barred; 2 lime",
            "source/model.safetensors",
            "1539 of 11178051 parameters learn",
        ],
    );
    let summary = workspace.json("runs/target/summary.json");
    // Architecture and size are the source's.
    assert_eq!(
        (summary["architecture"].as_str(), summary["image_size"].as_u64()),
        (Some("resnet18"), Some(32))
    );
    let (before, after) = (state(&workspace, "source"), state(&workspace, "runs/target"));
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (name, values) in &before {
        if name.starts_with("fc.") {
            assert_ne!(values.len(), after[name].len(), "{name} is new");
        } else {
            // Batch norm's running statistics among them.
            assert!(values == &after[name], "{name} has changed");
        }
    }
    // A model of another architecture is refused.
    let error = workspace.regraft("train target --weights source --model resnet34").failed(2);
    assert_says(&error, &["source/model.safetensors is a resnet18, but resnet34 is asked for"]);
}

#[test]
fn layers_up_to_the_named_one_are_frozen_and_the_others_learn() {
    let workspace = Workspace::with_photos();
    let source = Model::embedded().expect("it is built in").state;
    let flags = "--image-size 32 --head new --epochs 1 --lr 1e-2 --warmup 0 --weight-decay 0 \
        --batch-norm batch";
    workspace
        .regraft(&format!("train photos {flags} --freeze through=blocks.3 --output part"))
        .succeeded();
    workspace.regraft(&format!("train photos {flags} --freeze none --output all")).succeeded();
    let (part, all) = (state(&workspace, "part"), state(&workspace, "all"));
    for (name, values) in source.iter().filter(|(name, _)| !name.starts_with("classifier")) {
        let is_frozen = ["conv_stem.", "bn1.", "blocks.0.", "blocks.1.", "blocks.2.", "blocks.3."]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        // A shift that the next batch norm takes off again has no gradient.
        let can_stay = name.ends_with(".bias");
        assert!(can_stay || values != &all[name], "{name} has not moved");
        assert!(!is_frozen || values == &part[name], "{name} is frozen and has moved");
        assert!(
            is_frozen || can_stay || values != &part[name],
            "{name} has not moved beside frozen layers"
        );
    }
    let summary = workspace.json("part/summary.json");
    let description = workspace.regraft("inspect part --json").succeeded().json();
    let stages = description["stages"].as_array().expect("a list");
    let stage = stages.iter().find(|stage| stage["name"] == "blocks.3").expect("a stage");
    assert_eq!(summary["trained_parameters"], stage["parameters_after"]);
}

#[test]
fn batch_norm_keeps_the_sources_statistics_unless_told_otherwise() {
    let workspace = Workspace::with_photos();
    let source = Model::embedded().expect("it is built in").state;
    workspace
        .regraft(
            "train photos --image-size 32 --head new --epochs 1 --freeze none --lr 1e-3 \
        --output run",
        )
        .succeeded();
    let trained = state(&workspace, "run");
    for (name, values) in source.iter().filter(|(name, _)| name.contains("running")) {
        assert!(values == &trained[name], "{name} has moved");
    }
    assert!(
        source["blocks.5.0.bn1.weight"] != trained["blocks.5.0.bn1.weight"],
        "weights of batch norms learn"
    );
    assert_says(
        &workspace.text("run/config.toml"),
        &["batch_norm = \"running\"", "freeze = \"none\""],
    );
    assert!(
        !workspace.text("run/config.toml").contains("batch_norm_momentum"),
        "the architecture's"
    );
    // Without a source model there are no statistics to keep, which must come near the images' in
    // a few steps, and no backbone to freeze.
    workspace
        .regraft("train photos --weights none --image-size 32 --epochs 1 --output scratch")
        .succeeded();
    let config = workspace.text("scratch/config.toml");
    assert_says(
        &config,
        &["batch_norm = \"batch\"", "batch_norm_momentum = 0.1", "freeze = \"none\""],
    );
}

#[test]
fn the_embedded_model_learns_to_tell_two_classes_apart() {
    let workspace = Workspace::new();
    for (part, count) in [("train", 16), ("test", 6)] {
        workspace.pictures(&format!("photos/{part}/blue"), Look::Blue, count);
        workspace.pictures(&format!("photos/{part}/striped"), Look::Striped, count);
    }
    workspace
        .regraft(&format!(
            "train photos {SMALL} --epochs 8 --lr 3e-3 --batch-size 8 --crop-scale 0.5,1"
        ))
        .succeeded();
    assert_eq!(workspace.json("runs/photos/summary.json")["test_accuracy"], 1.0);
}
