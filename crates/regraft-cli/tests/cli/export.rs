//! `regraft export`: the files, their check, and when nothing is written.

use crate::outcome::assert_says;
use crate::workspace::{QUICK, Workspace};
use serde_json::{Value, json};

/// A run on photos, in `run`.
fn with_run() -> Workspace {
    let workspace = Workspace::with_photos();
    workspace.regraft(&format!("train photos {QUICK} --output run")).succeeded();
    workspace
}

/// Whether the bytes of a file have a text in them.
fn has(workspace: &Workspace, name: &str, text: &str) -> bool {
    workspace.read(name).windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_run_becomes_a_file_that_was_checked_on_its_images() {
    let workspace = with_run();
    let run = workspace.regraft("export run -o model.onnx").succeeded();
    assert_says(
        &run.stdout,
        &[
            "checked with rten on 20 images: the same class for all; probabilities differ by up \
             to ",
            "wrote model.onnx: ",
            "takes `pixels` (uint8 [N, H, W, 3], RGB, any size), gives `probabilities` and \
             `logits`",
            "session = onnxruntime.InferenceSession(\"model.onnx\")",
        ],
    );
    assert_eq!(run.stderr, "");
    assert!(
        has(&workspace, "model.onnx", "[\"blue\",\"striped\"]"),
        "the classes are in the metadata"
    );
    assert!(has(&workspace, "model.onnx", "efficientnet_lite0"));

    // The same run gives the same bytes, and no file is replaced unasked.
    let error = workspace.regraft("export run -o model.onnx").failed(2);
    assert_says(&error, &["model.onnx is there already", "--force"]);
    let before = workspace.read("model.onnx");
    let report = workspace
        .regraft("export run/model.safetensors -o model.onnx --force --json")
        .succeeded()
        .json();
    assert!(workspace.read("model.onnx") == before, "other bytes");
    assert_eq!(report["bytes"], before.len());
    let said = ["classes", "input", "weights", "format"].map(|field| &report[field]);
    assert_eq!(
        said,
        [&json!(["blue", "striped"]), &json!("pixels"), &json!("f32"), &json!("onnx")]
    );
    assert_eq!(report["check"]["images"], 20);
    let difference = report["check"]["probability_difference"].as_f64().expect("a number");
    assert!(difference < 1e-4, "{difference}");
    assert_eq!(report["unchecked"], Value::Null);
}

#[test]
fn weights_in_f16_and_a_prepared_image_are_options() {
    let workspace = with_run();
    workspace.regraft("export run -o f32.onnx").succeeded();
    workspace.regraft("export run -o f16.onnx --weights f16").succeeded();
    let [full, half] = ["f32.onnx", "f16.onnx"].map(|name| workspace.read(name).len() as f64);
    assert!(half < 0.52 * full, "{half} of {full}");
    let run = workspace.regraft("export run -o tensor.onnx --input tensor").succeeded();
    assert_says(
        &run.stdout,
        &[
            "checked with rten on 20 images",
            "takes `input` (float32 [N, 3, 32, 32])",
            "regraft.usage",
        ],
    );
    assert!(
        !has(&workspace, "tensor.onnx", "horizontal") && has(&workspace, "f32.onnx", "horizontal")
    );
}

#[test]
fn without_images_the_file_is_called_unchecked() {
    let workspace = with_run();
    std::fs::rename(workspace.path("photos"), workspace.path("moved")).expect("a renamed folder");
    let run = workspace.regraft("export run -o model.onnx").succeeded();
    assert_says(
        &run.stderr,
        &["warning: UNCHECKED", "the run's images cannot be listed", "photos", "--check"],
    );
    assert!(run.stdout.starts_with("UNCHECKED\nwrote model.onnx"), "{}", run.stdout);
    let report = workspace.regraft("export run -o model.onnx --force --json").succeeded().json();
    assert_eq!(report["check"], Value::Null);
    assert_says(
        report["unchecked"].as_str().expect("a reason"),
        &["the run's images cannot be listed"],
    );
    // A model file alone does not know its images.
    std::fs::copy(workspace.path("run/model.safetensors"), workspace.path("alone.safetensors"))
        .expect("a copy");
    let run = workspace.regraft("export alone.safetensors -o alone.onnx").succeeded();
    assert_says(&run.stderr, &["UNCHECKED", "alone.safetensors is not a run folder"]);

    let run = workspace.regraft("export run -o model.onnx --force --check moved/test").succeeded();
    assert_says(&run.stdout, &["checked with rten on 6 images"]);
    let error = workspace.regraft("export run -o other.onnx --check nowhere").failed(2);
    assert_says(&error, &["nowhere"]);
    workspace.write("broken/a.png", "no image");
    let error = workspace.regraft("export run -o other.onnx --check broken").failed(2);
    assert_says(&error, &["none of the 1 images could be used for the check", "a.png"]);
    assert!(!workspace.path("other.onnx").exists());
}

#[test]
fn a_file_that_answers_otherwise_is_not_written() {
    let workspace = with_run();
    // Weights so large that the logits overflow: NaN is no answer.
    let mut bytes = workspace.read("run/model.safetensors");
    let length = u64::from_le_bytes(*bytes.first_chunk().expect("a header")) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("JSON");
    let place = |end: usize| {
        header["classifier.weight"]["data_offsets"][end].as_u64().expect("a number") as usize
            + 8
            + length
    };
    let (start, end) = (place(0), place(1));
    for value in bytes[start..end].chunks_exact_mut(4) {
        value.copy_from_slice(&3e38_f32.to_le_bytes());
    }
    workspace.write("run/model.safetensors", &bytes);
    workspace.write("model.onnx", "an older file");
    let error = workspace.regraft("export run -o model.onnx --force").failed(1);
    assert_says(
        &error,
        &["does not answer as the model does, so it was not written: over 20 images", "NaN"],
    );
    assert_eq!(workspace.text("model.onnx"), "an older file");
    assert_eq!(
        workspace.names("."),
        ["cache", "model.onnx", "photos", "run"],
        "nothing is left over"
    );
}

#[test]
fn a_timm_folder_is_a_model_with_a_card() {
    let workspace = with_run();
    let run =
        workspace.regraft("export run -o out/blue-stripes --format timm --license mit").succeeded();
    assert_says(
        &run.stdout,
        &["wrote out/blue-stripes: config.json, model.safetensors and the model card README.md"],
    );
    assert_eq!(run.stderr, "");
    assert_eq!(
        workspace.names("out/blue-stripes"),
        ["README.md", "config.json", "model.safetensors"]
    );
    let config = workspace.json("out/blue-stripes/config.json");
    assert_eq!(
        [&config["architecture"], &config["num_classes"]],
        [&json!("tf_efficientnet_lite0"), &json!(2)]
    );
    assert_eq!(config["label_names"], json!(["blue", "striped"]));
    let prepared = &config["pretrained_cfg"];
    assert_eq!(
        ["input_size", "interpolation", "crop_mode", "classifier", "first_conv"]
            .map(|field| &prepared[field]),
        [
            &json!([3, 32, 32]),
            &json!("bicubic"),
            &json!("center"),
            &json!("classifier"),
            &json!("conv_stem")
        ]
    );

    // It answers as the run does, with Regraft's metadata and by its config.json alone.
    let expected = workspace.regraft("predict run photos/test --json").succeeded().json();
    assert_eq!(
        workspace.regraft("predict out/blue-stripes photos/test --json").succeeded().json(),
        expected
    );
    let plain = without_our_metadata(&workspace.read("out/blue-stripes/model.safetensors"));
    workspace.write("out/blue-stripes/model.safetensors", plain);
    assert_eq!(
        workspace.regraft("predict out/blue-stripes photos/test --json").succeeded().json(),
        expected
    );

    let card = workspace.text("out/blue-stripes/README.md");
    assert_says(
        &card,
        &[
            "---\nlibrary_name: timm\n",
            "license: \"mit\"",
            "base_model: timm/tf_efficientnet_lite0.in1k",
            "# blue-stripes",
            "Tells 2 classes of images apart: blue, striped.",
            "| training | 10 |",
            "| test set | 6 |",
            "95 % interval",
            "| striped | 3 |",
        ],
    );
    let here = workspace.path("").display().to_string();
    assert!(!card.contains(&here) && !card.contains("photos"), "{card}");

    let error = workspace.regraft("export run -o out/blue-stripes --format timm").failed(2);
    assert_says(&error, &["out/blue-stripes is there already", "--force"]);
    let run = workspace
        .regraft("export run -o out/blue-stripes --format timm --force --json")
        .succeeded();
    assert_eq!(run.json()["files"], json!(["config.json", "model.safetensors", "README.md"]));
    assert!(!workspace.text("out/blue-stripes/README.md").contains("license"));
    for flag in ["--input tensor", "--weights f16", "--check photos"] {
        let error =
            workspace.regraft(&format!("export run -o other --format timm {flag}")).failed(2);
        assert_says(&error, &["is for --format onnx"]);
    }
    assert_says(
        &workspace.regraft("export run -o a.onnx --license mit").failed(2),
        &["--format timm"],
    );
    assert!(!workspace.path("other").exists() && !workspace.path("a.onnx").exists());
}

/// A model file with only the metadata that others read.
fn without_our_metadata(bytes: &[u8]) -> Vec<u8> {
    let length = u64::from_le_bytes(*bytes.first_chunk().expect("a header")) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("JSON");
    assert_eq!(header["__metadata__"]["format"], "pt");
    header["__metadata__"] = json!({ "format": "pt" });
    let header = header.to_string().into_bytes();
    [&(header.len() as u64).to_le_bytes()[..], &header, &bytes[8 + length..]].concat()
}

#[test]
fn an_exported_file_is_a_model_for_predict_and_evaluate() {
    let workspace = with_run();
    let by_run = workspace.regraft("predict run photos/test --json").succeeded().json();
    let scored = workspace.regraft("evaluate run photos/test --json").succeeded().json();
    for options in ["", "--input tensor", "--weights f16"] {
        workspace.regraft(&format!("export run -o model.ONNX --force {options}")).succeeded();
        let run = workspace.regraft("predict model.ONNX photos/test --json").succeeded();
        assert_says(&run.stderr, &["note: model.ONNX runs in rten, with images decoded whole"]);
        let found = run.json();
        let rows = found.as_array().expect("a list").iter().zip(by_run.as_array().expect("a list"));
        let tolerance = if options.contains("f16") { 0.05 } else { 1e-4 };
        for (found, expected) in rows {
            assert_eq!(
                [&found["path"], &found["top"][0]["class"]],
                [&expected["path"], &expected["top"][0]["class"]]
            );
            let [found, expected] = [found, expected]
                .map(|row| row["top"][0]["probability"].as_f64().expect("a number"));
            assert!((found - expected).abs() < tolerance, "{options}: {found} {expected}");
        }
        let found = workspace
            .regraft("evaluate model.ONNX photos/test --json --predictions rows.csv")
            .succeeded()
            .json();
        for field in ["accuracy", "confusion", "classes", "architecture", "image_size"] {
            assert_eq!(found[field], scored[field], "{options}: {field}");
        }
        assert_eq!([&found["model"], &found["device"]], ["model.ONNX", "cpu (rten, f32)"]);
        assert_eq!(workspace.text("rows.csv").lines().count(), 7);
    }
    workspace.write("photos/test/blue/broken.png", "no image");
    let error = workspace.regraft("evaluate model.ONNX photos/test").failed(2);
    assert_says(&error, &["broken.png", "--on-bad-image skip"]);
    let run =
        workspace.regraft("evaluate model.ONNX photos/test --on-bad-image skip --json").succeeded();
    assert_says(&run.json()["notes"].to_string(), &["left out", "broken.png"]);
    assert_eq!(run.json()["images"], 6);
}

#[test]
fn an_onnx_file_that_is_not_ours_is_an_error() {
    let workspace = with_run();
    workspace.regraft("export run -o model.onnx").succeeded();
    let error = workspace.regraft("predict nowhere.onnx photos/test").failed(2);
    assert_says(&error, &["cannot read nowhere.onnx"]);
    let file = workspace.read("model.onnx");
    workspace.write("cut.onnx", &file[..file.len() / 2]);
    workspace.write("empty.onnx", "");
    workspace.write("text.onnx", "no protocol buffer");
    // The same file, whose classes have another key.
    let at = file.windows(15).rposition(|window| window == b"regraft.classes").expect("a key");
    workspace.write("other.onnx", [&file[..at], b"another.classes", &file[at + 15..]].concat());
    for (name, reason) in [
        ("cut.onnx", ""),
        ("empty.onnx", ""),
        ("text.onnx", ""),
        ("other.onnx", "its metadata has no regraft.classes"),
    ] {
        let error = workspace.regraft(&format!("predict {name} photos/test")).failed(2);
        assert_says(
            &error,
            &[name, reason, "only ONNX files that `regraft export` wrote can be used"],
        );
    }
    let error = workspace.regraft("predict model.onnx photos/test --device cpu*2").failed(2);
    assert_says(&error, &["model.onnx runs on the processor: leave --device out"]);
    let error = workspace.regraft("predict model.onnx photos/test --precision bf16").failed(2);
    assert_says(&error, &["model.onnx computes in f32", "--precision"]);
}

#[cfg(feature = "embedded")]
#[test]
fn the_model_inside_of_the_program_can_be_exported() {
    let workspace = Workspace::with_photos();
    let report = workspace
        .regraft("export efficientnet_lite0 -o lite0.onnx --check photos/test --json")
        .succeeded()
        .json();
    assert_eq!([&report["check"]["images"], &report["check"]["classes_differ"]], [6, 0]);
    assert_eq!(report["classes"].as_array().map(Vec::len), Some(1000));
    let run = workspace.regraft("export efficientnet_lite0 -o unchecked.onnx").succeeded();
    assert_says(&run.stderr, &["UNCHECKED", "efficientnet_lite0 is not a run folder"]);
}
