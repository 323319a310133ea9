//! `regraft evaluate`, `predict` and `show`: finished models over images.

use crate::outcome::assert_says;
use crate::pictures::Look;
use crate::workspace::{QUICK, Workspace};
use serde_json::json;

#[test]
fn evaluation_agrees_with_what_the_run_said() {
    let workspace = Workspace::with_photos();
    let run = workspace.regraft(&format!("train photos {QUICK}")).succeeded();
    let summary = workspace.json("runs/photos/summary.json");
    let report = workspace.regraft("evaluate runs/photos photos/test --json").succeeded().json();
    assert_eq!(report["accuracy"], summary["test_accuracy"]);
    assert_eq!((&report["images"], &report["classes"]), (&json!(6), &json!(["blue", "striped"])));
    let confusion = report["confusion"].as_array().expect("a matrix");
    let count: u64 = confusion
        .iter()
        .flat_map(|row| row.as_array().expect("a row"))
        .filter_map(|count| count.as_u64())
        .sum();
    assert_eq!(count, 6);
    for class in report["per_class"].as_array().expect("a list") {
        assert_eq!(class["images"], 3);
        assert!(
            class.get("precision").is_some() && class["recall"].is_f64() && class["f1"].is_f64()
        );
    }
    assert_eq!(report["architecture"], "efficientnet_lite0");
    // The table is the one that training printed.
    let table = workspace.regraft("evaluate runs/photos photos/test").succeeded().stdout;
    assert!(run.stdout.contains(table.trim_end()), "{table}\nis not in\n{}", run.stdout);
    // Validation images were scored with the same weights.
    let validation = workspace
        .regraft("evaluate runs/photos/model.safetensors photos/val --json")
        .succeeded()
        .json();
    assert_eq!(validation["accuracy"], summary["val_accuracy"]);
}

#[test]
fn a_folder_to_score_on_is_checked_first() {
    let workspace = Workspace::with_photos();
    workspace.regraft(&format!("train photos {QUICK}")).succeeded();
    workspace.pictures("extra/zebra", Look::Green, 1);
    let error = workspace.regraft("evaluate runs/photos extra").failed(2);
    assert_says(
        &error,
        &["extra/zebra", "\"zebra\" is not a class of the model", "its classes are blue; striped"],
    );
    workspace.pictures("one/Blue", Look::Blue, 2);
    workspace.write("one/Blue/broken.png", "no image");
    workspace.write("one/.hidden/a.png", "no image");
    let error = workspace.regraft("evaluate runs/photos one").failed(2);
    assert_says(&error, &["one/Blue/broken.png", "--on-bad-image skip"]);
    let run = workspace.regraft("evaluate runs/photos one --on-bad-image skip --json").succeeded();
    let report = run.json();
    assert_eq!(
        (&report["images"], &report["skipped_images"]),
        (&json!(2), &json!(["one/Blue/broken.png"]))
    );
    assert_says(&run.stderr, &["note: left out: ", "note: ignored: one/.hidden (hidden)"]);
    workspace.pictures("without/train/blue", Look::Blue, 1);
    let error = workspace.regraft("evaluate runs/photos without").failed(2);
    assert_says(&error, &["without: holds splits (train) but no test set", "without/train"]);
    workspace.write("bad/blue/broken.png", "no image");
    let error = workspace.regraft("evaluate runs/photos bad --on-bad-image skip").failed(2);
    assert_says(&error, &["no images to score"]);
}

#[test]
fn the_model_is_named_once() {
    let workspace = Workspace::with_photos();
    let error = workspace.regraft("evaluate photos/test").failed(2);
    assert_says(&error, &["which model is to be scored on photos/test?", "--model NAME"]);
    let error = workspace.regraft("evaluate a.pth photos/test --model resnet18").failed(2);
    assert_says(&error, &["named twice", "--weights a.pth"]);
    let error = workspace.regraft("evaluate photos photos/test").failed(2);
    assert_says(&error, &["photos holds no model.safetensors", "name a run folder"]);
    let error = workspace.regraft("predict photos/test/blue/0.jpg").failed(2);
    assert_says(&error, &["no image is named", "--model NAME photos/test/blue/0.jpg"]);
    let error = workspace.regraft("predict --model resnet18 photos/test/blue/0.jpg").failed(2);
    assert_says(&error, &["resnet18 needs weights", "HF_HUB_OFFLINE", "--weights"]);
    let error =
        workspace.regraft("predict photos/test/blue/0.jpg photos/test/blue/1.png").failed(2);
    assert_says(&error, &["photos/test/blue/0.jpg holds no weights"]);
}

#[test]
fn the_source_model_knows_imagenets_classes_by_any_of_their_names() {
    let workspace = Workspace::new();
    for folder in ["Hot_Dog", "n02123045", "crane (machine)"] {
        workspace.pictures(&format!("things/{folder}"), Look::Striped, 1);
    }
    let report =
        workspace.regraft("evaluate --model efficientnet_lite0 things --json").succeeded().json();
    let with_images: Vec<&str> = report["per_class"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|class| class["images"] == 1)
        .map(|class| class["class"].as_str().expect("text"))
        .collect();
    assert_eq!(with_images, ["tabby, tabby cat", "crane (machine)", "hotdog, hot dog, red hot"]);
    assert_eq!(
        (report["classes"].as_array().map(Vec::len), report["top5_accuracy"].is_f64()),
        (Some(1000), true)
    );
    let table = workspace.regraft("evaluate --model efficientnet_lite0 things").succeeded().stdout;
    assert!(
        table.lines().count() < 40,
        "only classes with images or predictions are listed:\n{table}"
    );
    workspace.pictures("things/hotdogg", Look::Striped, 1);
    let error = workspace.regraft("evaluate --model efficientnet_lite0 things").failed(2);
    assert_says(
        &error,
        &[
            "things/hotdogg",
            "\"hotdogg\" is not a class of the model: similar are hotdog, hot dog, red hot",
        ],
    );
    std::fs::rename(workspace.path("things/hotdogg"), workspace.path("things/crane"))
        .expect("renamed");
    let error = workspace.regraft("evaluate --model efficientnet_lite0 things").failed(2);
    assert_says(&error, &["\"crane\" means more than one class: crane (bird); crane (machine)"]);
}

#[test]
fn predictions_come_as_text_json_and_csv() {
    let workspace = Workspace::with_photos();
    workspace.regraft(&format!("train photos {QUICK} --output run")).succeeded();
    // A model file is used alone, whatever it is called.
    std::fs::rename(workspace.path("run/model.safetensors"), workspace.path("renamed.bin"))
        .expect("renamed");
    std::fs::remove_dir_all(workspace.path("run")).expect("removed");
    workspace.write("a,b.png", workspace.read("photos/test/blue/1.png"));

    let words = "renamed.bin a,b.png photos/test/striped photos/val/*/1.png";
    let paths = [
        "a,b.png",
        "photos/test/striped/0.jpg",
        "photos/test/striped/1.png",
        "photos/test/striped/2.jpg",
        "photos/val/blue/1.png",
        "photos/val/striped/1.png",
    ];
    let predictions = workspace.regraft(&format!("predict {words} --json")).succeeded().json();
    let predictions = predictions.as_array().expect("a list");
    assert_eq!(
        predictions
            .iter()
            .map(|prediction| prediction["path"].as_str().expect("text"))
            .collect::<Vec<_>>(),
        paths
    );
    for prediction in predictions {
        let top = prediction["top"].as_array().expect("a list");
        let probability = |rank: usize| top[rank]["probability"].as_f64().expect("a number");
        assert_eq!(top.len(), 2, "as many as there are classes");
        assert!(
            probability(0) >= probability(1)
                && (probability(0) + probability(1) - 1.0).abs() < 1e-5
        );
        assert!(
            top.iter()
                .all(|guess| ["blue", "striped"].contains(&guess["class"].as_str().expect("text")))
        );
    }

    let csv = workspace.regraft(&format!("predict {words} --csv --top 1")).succeeded().stdout;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!((lines.len(), lines[0]), (7, "path,rank,class,probability"));
    let first = &predictions[0]["top"][0];
    assert_eq!(
        lines[1],
        format!(
            "\"a,b.png\",1,{},{}",
            first["class"].as_str().expect("text"),
            first["probability"]
        )
    );

    let text = workspace.regraft("predict renamed.bin a,b.png --top 1").succeeded().stdout;
    let expected = format!(
        "a,b.png\n  {:.4}  {}\n",
        first["probability"].as_f64().expect("a number"),
        first["class"].as_str().expect("text")
    );
    assert_eq!(text, expected);
}

#[test]
fn the_source_model_predicts_its_thousand_classes() {
    let workspace = Workspace::with_photos();
    let predictions = workspace
        .regraft("predict --model efficientnet_lite0 photos/test/blue/0.jpg --json")
        .succeeded()
        .json();
    assert_eq!(predictions[0]["top"].as_array().map(Vec::len), Some(5));
    let all = workspace
        .regraft("predict --model efficientnet_lite0 photos/test/blue/0.jpg --json --top 5000")
        .succeeded()
        .json();
    assert_eq!(all[0]["top"].as_array().map(Vec::len), Some(1000));
    assert_eq!(all[0]["top"][0], predictions[0]["top"][0]);
    workspace
        .regraft("predict --model efficientnet_lite0 photos/test/blue/0.jpg --top 0")
        .failed(2);
    workspace
        .regraft("predict --model efficientnet_lite0 photos/test/blue/0.jpg --json --csv")
        .failed(2);
}

#[test]
fn an_unreadable_file_is_named_before_anything_is_predicted_or_left_out() {
    let workspace = Workspace::with_photos();
    workspace.write("photos/test/blue/broken.jpg", "no image");
    let model = "predict --model efficientnet_lite0";
    let run = workspace.regraft(&format!("{model} photos/test/blue"));
    assert!(run.stdout.is_empty());
    assert_says(&run.failed(2), &["photos/test/blue/broken.jpg", "--on-bad-image skip"]);
    let run = workspace
        .regraft(&format!("{model} photos/test/blue --on-bad-image skip --json"))
        .succeeded();
    assert_eq!(run.json().as_array().map(Vec::len), Some(3));
    assert_says(&run.stderr, &["note: left out: photos/test/blue/broken.jpg"]);
    let error = workspace.regraft(&format!("{model} nothing*.jpg")).failed(2);
    assert_says(&error, &["nothing*.jpg: no such file or folder"]);
    workspace.write("notes/readme.txt", "no image");
    let error = workspace.regraft(&format!("{model} notes")).failed(2);
    assert_says(&error, &["notes: neither it nor any folder in it holds an image"]);
}

#[test]
fn the_grid_is_a_picture_of_the_training_pictures() {
    let workspace = Workspace::with_photos();
    let run =
        workspace.regraft("show photos -o grid.png --per-class 3 --image-size 32").succeeded();
    assert_says(&run.stdout, &["wrote grid.png: 6 of 10 training images in 2 classes"]);
    let both = image::open(workspace.path("grid.png")).expect("an image");
    assert_says(&run.stdout, &[&format!("{} x {} pixels", both.width(), both.height())]);
    workspace
        .regraft("show photos --output plain.png --per-class 3 --image-size 32 --augment none")
        .succeeded();
    let plain = image::open(workspace.path("plain.png")).expect("an image");
    assert!(plain.height() < both.height(), "without augmentation there is one row a class");
    let run = workspace.regraft("show photos -o one.png --classes 1").succeeded();
    assert_says(&run.stdout, &["not shown (see --classes): striped"]);
    let again =
        workspace.regraft("show photos -o again.png --per-class 3 --image-size 32").succeeded();
    assert_says(&again.stderr, &["no epoch is trained"]);
    assert!(workspace.read("again.png") == workspace.read("grid.png"));
    // Held-out images are not shown, as in training with the same options.
    std::fs::remove_dir_all(workspace.path("photos/val")).expect("removed");
    for (options, images) in [
        ("", 10),
        ("--head new", 8),
        ("--head new --val-fraction 0.4", 6),
        ("--epochs 1 --recipe d2l", 10),
    ] {
        let shown = workspace
            .regraft(&format!("show photos -o held.png --image-size 32 {options}"))
            .succeeded();
        assert_says(&shown.stdout, &[&format!("of {images} training images")]);
        let train =
            format!("train photos --image-size 32 {options} --output {images}-{}", options.len());
        let run = workspace.regraft(&train).succeeded();
        assert_says(&run.stdout, &[&format!("{images} images to train on")]);
    }
    let shown =
        workspace.regraft("show -o again.png --config 8-10/config.toml --epoch 2").succeeded();
    assert_says(&shown.stdout, &["of 8 training images"]);
    let error = workspace.regraft("show photos -o missing/grid.png").failed(2);
    assert_says(&error, &["missing: there is no such folder to write into"]);
    let error = workspace.regraft("show photos -o none.png --per-class 0").failed(2);
    assert_says(&error, &["nothing would be shown"]);
}
