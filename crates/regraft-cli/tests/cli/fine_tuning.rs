//! Training a backbone whose head was fitted.

use crate::methods::state;
use crate::outcome::assert_says;
use crate::workspace::Workspace;

#[test]
fn the_rate_is_measured_and_the_head_is_fitted_again_after_each_epoch() {
    let workspace = Workspace::with_photos();
    let run = workspace
        .regraft("train photos --image-size 32 --freeze none --epochs 2 --output run")
        .succeeded();
    assert_says(
        &run.stdout,
        &[
            "fitted head: loss ",
            "the learning rate is ",
            "the curvature of the loss is ",
            "epoch 2/2: ",
        ],
    );
    let config = workspace.text("run/config.toml");
    assert_says(&config, &["freeze = \"none\"", "head_dropout = 0.0"]);
    assert!(!config.contains("\nlr = "), "a measured rate is measured again: {config}");
    workspace.regraft("train --config run/config.toml --output repeated").succeeded();
    assert!(
        workspace.read("run/model.safetensors") == workspace.read("repeated/model.safetensors")
    );
    let rate = |run: &str| {
        let notes = workspace.json(&format!("{run}/summary.json"))["notes"].to_string();
        notes.split("the learning rate is ").nth(1).map(|rest| rest[..6].to_owned())
    };
    assert!(rate("run").is_some());

    // The head that a run leaves is the one that fits its own backbone.
    workspace.write("last.toml", config.replace("keep = \"best\"", "keep = \"last\""));
    workspace.regraft("train --config last.toml --output last").succeeded();
    workspace.regraft("train photos --weights last --image-size 32 --output again").succeeded();
    let tensor = |run: &str, name: &str| state(&workspace, run)[name].clone();
    workspace.regraft("train photos --image-size 32 --output fitted").succeeded();
    let (backbone, head) = ("blocks.6.0.conv_pwl.weight", "classifier.weight");
    assert!(
        tensor("last", backbone) == tensor("again", backbone)
            && tensor("last", backbone) != tensor("fitted", backbone)
    );
    assert!(
        tensor("last", head) == tensor("again", head)
            && tensor("last", head) != tensor("fitted", head)
    );

    // A rate that is given is taken.
    let given = "train photos --image-size 32 --freeze none --epochs 1 --lr 1e-5 --output given";
    assert!(!workspace.regraft(given).succeeded().stdout.contains("the learning rate is"));
    assert_says(&workspace.text("given/config.toml"), &["lr = 0.00001"]);
    assert_eq!(rate("given"), None);
}
