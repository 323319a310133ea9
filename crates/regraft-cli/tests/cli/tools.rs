//! `regraft models`, `inspect`, `weights`, `completions` and `doctor`.

use crate::outcome::assert_says;
use crate::workspace::{QUICK, Workspace};
use serde_json::{Value, json};

#[test]
fn models_are_listed_with_their_sizes() {
    let workspace = Workspace::new();
    let table = workspace.regraft("models").succeeded().stdout;
    let start = "\
name                           parameters  multiply-adds      input  ImageNet top-1  by           \
licence       weights             images/s
efficientnet_lite0              4,652,008        385.2 M  224 x 224          75.1 %  TensorFlow   \
Apache-2.0    inside the program         –
";
    assert!(table.starts_with(start), "{table}");
    let resnet = "
resnet18                       11,689,512       1814.1 M  224 x 224          69.8 %  torchvision  \
BSD-3-Clause  download, 46.8 MB          –
";
    assert!(table.contains(resnet), "{table}");
    let list = workspace.regraft("models --json").succeeded().json();
    let names: Vec<&str> = list
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|model| model["name"].as_str())
        .collect();
    assert_eq!(names[0], "efficientnet_lite0");
    for name in ["resnet152", "tf_efficientnet_b0", "mobilenetv3_large_100", "convnext_tiny"] {
        assert_eq!(names.iter().filter(|known| **known == name).count(), 1, "{name}");
    }
    // A heading, an empty line and a note are not models.
    assert_eq!(names.len() + 3, table.lines().count());
    let place = names.iter().position(|name| *name == "resnet18").expect("it is listed");
    let expected = json!({
        "name": "resnet18", "parameters": 11_689_512, "multiply_adds": 1_814_073_344,
            "image_size": 224,
        "source_accuracy": 0.69758, "accuracy_source": "torchvision", "licence": "BSD-3-Clause",
        "embedded": false, "repository": "timm/resnet18.tv_in1k",
        "download_bytes": list[place]["download_bytes"], "cached_bytes": null,
        "images_per_second": null,
        "weights": "--weights resnet18-f37072fd.pth (torchvision) or timm/resnet18.tv_in1k",
    });
    assert_eq!(list[place], expected);
    assert_eq!(list[0]["embedded"], true);
}

#[test]
fn an_architecture_is_described_by_layer_and_stage() {
    let workspace = Workspace::new();
    let text = workspace.regraft("inspect resnet18").succeeded().stdout;
    assert_says(
        &text,
        &[
            "resnet18: 11,689,512 parameters, 1814.1 M multiply-adds for an image of 224 x 224",
            "layer2.0.conv1         convolution           28 x 28 x 128       3       2       \
             1      73,984     57,802,752\n",
            "layer1.0.conv2         convolution            56 x 56 x 64       3       1       \
             1      36,992    115,605,504  maxpool\n",
            "--freeze through=STAGE",
            "head           fc: 512 features to 1000 classes",
            "short side to 256, centre cut out (bilinear), mean 0.485 0.456 0.406, std 0.229 \
             0.224 0.225",
        ],
    );
    let report = workspace.regraft("inspect resnet18 --image-size 64 --json").succeeded().json();
    assert_eq!(
        (&report["image_size"], &report["file"], &report["classes"]),
        (&json!(64), &json!(null), &json!(null))
    );
    let layers = report["layers"].as_array().expect("a list");
    let sum: u64 = layers.iter().filter_map(|layer| layer["parameters"].as_u64()).sum();
    assert_eq!(report["parameters"], sum);
    assert_eq!(layers[0]["output"], json!([32, 32, 64]));
    assert_says(
        &workspace.regraft("inspect resnet19").failed(2),
        &["there is no model resnet19", "regraft models"],
    );
    assert_says(&workspace.regraft("inspect missing.pth").failed(2), &["missing.pth"]);
    assert_says(
        &workspace.regraft("inspect resnet18 --image-size 0").failed(2),
        &["--image-size", "1..=16384"],
    );
    let embedded = workspace.regraft("inspect efficientnet_lite0 --json").succeeded().json();
    assert_eq!(embedded["classes"].as_array().map(Vec::len), Some(1000));
}

#[test]
fn a_model_file_says_what_it_is_and_keeps_it_when_converted() {
    let workspace = Workspace::with_photos();
    workspace.regraft(&format!("train photos {QUICK}")).succeeded();
    let text = workspace.regraft("inspect runs/photos").succeeded().stdout;
    assert_says(
        &text,
        &[
            "head           classifier: 1280 features to 2 classes",
            "classes        blue; striped",
            "32 x 32 pixels, short side to 37",
            "augmentation   basic, crops of 0.35 to 1",
            "metrics        epoch ",
            "file           runs/photos/model.safetensors",
        ],
    );
    let run = workspace
        .regraft("weights convert runs/photos/model.safetensors half.safetensors --dtype f16")
        .succeeded();
    assert_says(
        &run.stdout,
        &["safetensors, ", "rounding changes no value by more than", "wrote half.safetensors"],
    );
    let sizes = ["runs/photos/model.safetensors", "half.safetensors"]
        .map(|name| workspace.read(name).len());
    assert!(sizes[1] < sizes[0] * 6 / 10, "{sizes:?}");
    let [before, after] = ["runs/photos", "half.safetensors"].map(|model| {
        let mut report = workspace.regraft(&format!("inspect {model} --json")).succeeded().json();
        report["file"] = json!(null);
        report
    });
    assert_eq!(before, after);
    assert_eq!(
        before["metrics"]["test_accuracy"],
        workspace.json("runs/photos/summary.json")["test_accuracy"]
    );
    workspace.regraft("predict half.safetensors photos/test/blue/0.jpg").succeeded();

    let error = workspace
        .regraft("weights convert runs/photos/model.safetensors half.safetensors")
        .failed(2);
    assert_says(&error, &["half.safetensors already exists", "--force"]);
    workspace
        .regraft("weights convert runs/photos/model.safetensors half.safetensors --force")
        .succeeded();
    assert!(workspace.read("half.safetensors").len() > sizes[1]);
    // The same conversion again gives the same bytes: nothing of the day or the machine goes into
    // the file.
    workspace.regraft("weights convert half.safetensors same.safetensors").succeeded();
    assert!(workspace.read("same.safetensors") == workspace.read("half.safetensors"));
    workspace.write("text.pth", "hello");
    assert_says(
        &workspace.regraft("weights convert text.pth out.safetensors").failed(2),
        &["text.pth holds no weights"],
    );
}

#[test]
fn every_shell_has_completions() {
    let workspace = Workspace::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = workspace.regraft(&format!("completions {shell}")).succeeded().stdout;
        assert_says(&script, &["regraft", "evaluate", "on-bad-image"]);
    }
    workspace.regraft("completions tcsh").failed(2);
}

#[test]
fn the_doctor_says_what_is_used() {
    let workspace = Workspace::new();
    let report = workspace.regraft("doctor --json").succeeded().json();
    assert_eq!(report["regraft_version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["embedded_model"], "efficientnet_lite0");
    let devices = report["devices"].as_array().expect("a list");
    assert_eq!(devices[0], "cpu");
    // The machine may have GPUs.
    let is_gpu = |device: &Value| device.as_str().is_some_and(|name| name.starts_with("gpu:"));
    assert!(devices[1..].iter().all(is_gpu), "{devices:?}");
    let sets = report["instruction_sets"].as_array().expect("a list");
    assert_eq!(sets[0], "portable");
    assert_eq!(
        (&report["instruction_set_in_use"], &report["instruction_set_forced"]),
        (&sets[sets.len() - 1], &json!(false))
    );
    let forced =
        workspace.regraft_with("doctor", &[("REGRAFT_ISA", "portable")]).succeeded().stdout;
    assert_says(&forced, &["portable in use (forced by REGRAFT_ISA)"]);
    let amx = report["amx"].as_str().expect("a text");
    assert_says(&forced, &[&format!("AMX              {amx}\n")]);
    let run = workspace.regraft_with("doctor", &[("REGRAFT_ISA", "amx")]);
    if amx == "usable" {
        assert_says(&run.succeeded().stdout, &["amx in use (forced by REGRAFT_ISA)"]);
    } else {
        assert!(!sets.contains(&json!("amx")));
        assert_says(
            &run.failed(2),
            &[&format!("REGRAFT_ISA=amx was asked for, but {amx}; unset it to use ")],
        );
    }
}

#[test]
fn steps_are_timed() {
    let workspace = Workspace::new();
    let bench = "bench step --model resnet18 --batch 1 --steps 1 --threads 1";
    let report = workspace.regraft(&format!("{bench} --mode eval --json")).succeeded().json();
    assert_eq!(
        (&report["model"], &report["mode"], &report["threads"]),
        (&json!("resnet18"), &json!("eval"), &json!(1))
    );
    assert!(
        report["images_per_second"].as_f64().expect("a number") > 0.0
            && report["peak_mib"].as_u64() > Some(50)
    );
    let frozen = workspace.regraft(&format!("{bench} --freeze through=layer4")).succeeded().stdout;
    assert_says(&frozen, &["images/s", "1 thread,", "f32"]);
    assert_says(&workspace.regraft("bench step --batch 0").failed(2), &["batch", "from 1 to "]);
    assert_says(&workspace.regraft("bench step --freeze through=layer9").failed(2), &["layer9"]);
}

#[test]
fn an_instruction_set_that_does_not_exist_is_refused_first() {
    let workspace = Workspace::new();
    for command in ["models", "doctor", "train nowhere", "--version"] {
        let run = workspace.regraft_with(command, &[("REGRAFT_ISA", "sse9")]);
        assert!(run.stdout.is_empty());
        assert_eq!(
            run.failed(2),
            "error: REGRAFT_ISA=sse9 names no instruction set; use portable, avx2, avx512, \
             avx512bf16 or amx, or unset it\n"
        );
    }
}
