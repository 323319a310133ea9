//! Folders that timm writes for the Hugging Face Hub: `config.json` beside the weights.

use crate::outcome::assert_says;
use crate::workspace::{QUICK, Workspace};
use serde_json::{Value, json};

/// A run, and its weights without Regraft's metadata as `hub/model.safetensors`.
fn with_hub_weights() -> Workspace {
    let workspace = Workspace::with_photos();
    workspace.regraft(&format!("train photos {QUICK} --output run")).succeeded();
    let bytes = workspace.read("run/model.safetensors");
    let length = u64::from_le_bytes(*bytes.first_chunk().expect("a header")) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("JSON");
    header.as_object_mut().expect("an object").remove("__metadata__");
    let header = header.to_string().into_bytes();
    let parts = [&(header.len() as u64).to_le_bytes()[..], &header, &bytes[8 + length..]];
    workspace.write("hub/model.safetensors", parts.concat());
    workspace
}

/// Prepares images as the run does.
fn config() -> Value {
    json!({
        "architecture": "tf_efficientnet_lite0",
        "num_classes": 2,
        "label_names": ["blue", "striped"],
        "pretrained_cfg": {
            "input_size": [3, 32, 32],
            "crop_pct": 0.86,
            "interpolation": "bicubic",
            "mean": [127.0_f32 / 255.0, 127.0_f32 / 255.0, 127.0_f32 / 255.0],
            "std": [128.0_f32 / 255.0, 128.0_f32 / 255.0, 128.0_f32 / 255.0],
        }
    })
}

#[test]
fn a_hub_folder_predicts_as_its_configuration_says_and_says_so() {
    let workspace = with_hub_weights();
    workspace.write("hub/config.json", config().to_string());
    let expected = workspace.regraft("predict run photos/test --json").succeeded();
    for model in ["hub", "hub/model.safetensors", "--weights hub"] {
        let found = workspace.regraft(&format!("predict {model} photos/test --json")).succeeded();
        assert_eq!(found.json(), expected.json(), "{model}");
        assert_says(
            &found.stderr,
            &["note: hub/config.json says how images are prepared: 32 pixels, the centre of a \
                 short side of 37"],
        );
    }
    let scored = workspace.regraft("evaluate hub photos/test --json").succeeded();
    assert_says(&scored.json()["notes"].to_string(), &["hub/config.json says how"]);
    let inspected = workspace.regraft("inspect hub --json").succeeded();
    assert_eq!(inspected.json()["preprocessing"]["image_size"], 32);
    assert_eq!(inspected.json()["classes"], json!(["blue", "striped"]));
    // Another mean gives other probabilities.
    let mut other = config();
    other["pretrained_cfg"]["mean"] = json!([0.1, 0.2, 0.3]);
    workspace.write("hub/config.json", other.to_string());
    let found = workspace.regraft("predict hub photos/test --json").succeeded();
    assert_ne!(found.json(), expected.json());
    // A run from it keeps its preparation, and the note.
    let run = workspace
        .regraft("train photos --weights hub --head new --epochs 1 --output next")
        .succeeded();
    assert_says(&run.stdout, &["note: hub/config.json says how images are prepared: 32 pixels"]);
    assert_says(&workspace.text("next/summary.json"), &["hub/config.json says how"]);
    let inspected = workspace.regraft("inspect next --json").succeeded();
    assert_eq!(inspected.json()["preprocessing"]["mean"], json!([0.1, 0.2, 0.3]));
}

#[test]
fn a_configuration_that_contradicts_the_weights_is_an_error() {
    let workspace = with_hub_weights();
    let error = |change: &dyn Fn(&mut Value)| {
        let mut config = config();
        change(&mut config);
        workspace.write("hub/config.json", config.to_string());
        workspace.regraft("predict hub photos/test").failed(2)
    };
    assert_says(
        &error(&|config| config["num_classes"] = json!(3)),
        &["hub/config.json", "num_classes 3", "for 2"],
    );
    assert_says(
        &error(&|config| config["architecture"] = json!("efficientnet_lite0")),
        &["tf_efficientnet_lite0"],
    );
    assert_says(&error(&|config| config["architecture"] = json!("vgg16")), &["of vgg16"]);
    assert_says(
        &error(&|config| config["model_args"] = json!({"output_stride": 16})),
        &["output_stride"],
    );
    workspace.write("hub/config.json", "{");
    assert_says(
        &workspace.regraft("predict hub photos/test").failed(2),
        &["hub/config.json cannot be followed"],
    );
    // Beside a file of another name it means nothing.
    std::fs::rename(
        workspace.path("hub/model.safetensors"),
        workspace.path("hub/mine.safetensors"),
    )
    .expect("renamed");
    let error = workspace.regraft("predict hub/mine.safetensors photos/test").failed(2);
    assert_says(&error, &["does not name its architecture", "--model NAME"]);
    let error = workspace.regraft("predict hub photos/test").failed(2);
    assert_says(&error, &["hub holds no model.safetensors"]);
}

#[test]
fn a_conversion_keeps_what_the_configuration_says_or_names_what_is_lost() {
    let workspace = with_hub_weights();
    workspace.write("hub/config.json", config().to_string());
    let expected = workspace.regraft("predict hub photos/test --json").succeeded();
    let converted = workspace
        .regraft("weights convert hub/model.safetensors out.safetensors --dtype f32")
        .succeeded();
    assert_says(
        &converted.stderr,
        &["note: hub/config.json says how", "note: the converted file keeps this in its metadata"],
    );
    assert_eq!(
        workspace.regraft("predict out.safetensors photos/test --json").succeeded().json(),
        expected.json()
    );

    let mut other = config();
    other["architecture"] = json!("swin_tiny_patch4_window7_224");
    workspace.write("hub/config.json", other.to_string());
    let converted = workspace
        .regraft("weights convert hub/model.safetensors lost.safetensors --dtype f32")
        .succeeded();
    assert_says(
        &converted.stderr,
        &[
            "note: the converted file lacks the architecture, image size",
            "swin_tiny_patch4_window7_224",
        ],
    );
}

#[test]
fn a_run_with_another_size_says_so_and_a_std_of_zero_is_the_configurations_fault() {
    let workspace = with_hub_weights();
    workspace.write("hub/config.json", config().to_string());
    let run = workspace
        .regraft(&format!("train photos --weights hub {QUICK} --resize squash"))
        .succeeded();
    assert_says(
        &run.stdout,
        &["this run prepares images with 32 pixels, squashed, not with the source's 32 pixels, \
             the centre"],
    );
    let mut other = config();
    other["pretrained_cfg"]["std"] = json!([0.0, 0.5, 0.5]);
    workspace.write("hub/config.json", other.to_string());
    let error = workspace.regraft("predict hub photos/test").failed(2);
    assert_says(&error, &["hub/config.json cannot be followed", "std above 0"]);
}
