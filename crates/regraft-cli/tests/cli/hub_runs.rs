//! Runs and other commands with weights from a hub of the test's own.

use crate::hub_server::{
    COMMIT, HubServer, REPOSITORY, SMALLEST, hexadecimal, in_transformers, smallest, weights,
};
use crate::outcome::assert_says;
use crate::workspace::{SMALL, Workspace};
use sha2::Digest;
use std::fs;

#[test]
fn a_run_pins_the_commit_and_the_hash_and_resumes_with_them() {
    let (workspace, content) = (Workspace::with_photos(), smallest());
    let server = HubServer::with_network(REPOSITORY, SMALLEST, &content);
    let command = format!("train photos --model hub:{REPOSITORY} {SMALL} --epochs 2 --output run");
    let run = workspace.regraft_with(&command, &server.environment()).succeeded();
    assert_says(
        &run.stdout,
        &["note: downloading model.safetensors", "someone/net.a1@0123456789ab (hub)"],
    );
    let hash = hexadecimal(&sha2::Sha256::digest(&content));
    let written = workspace.text("run/config.toml");
    let pinned = format!("weights = \"hub:{REPOSITORY}@{COMMIT}#sha256={hash}\"");
    assert_says(&written, &[&pinned, &format!("model = \"{SMALLEST}\"")]);
    // The branch moves; the run is repeated with the weights that it had.
    let mut other = content.clone();
    let last = other.len() - 1;
    other[last] ^= 1;
    server.hub().files.insert("model.safetensors".to_owned(), other);
    server.hub().commit = "e".repeat(40);
    server.asked();
    let again = "train --config run/config.toml --output again";
    workspace.regraft_with(again, &server.environment()).succeeded();
    assert_eq!(server.asked(), [], "everything is in the cache");
    assert_eq!(workspace.read("run/model.safetensors"), workspace.read("again/model.safetensors"));
    workspace.regraft_with("train --resume run", &server.environment()).succeeded();
    // Another file at the commit is not the one that is pinned.
    let wrong = written.replace(&hash, &"0".repeat(64));
    workspace.write("wrong.toml", wrong);
    let error = workspace.regraft("train --config wrong.toml --output third").failed(2);
    assert_says(&error, &[&hash, "and not the pinned one"]);
    // The trained model is one like any other.
    workspace.regraft("evaluate run photos/test").succeeded();
}

#[test]
fn an_architecture_finds_its_weights_by_itself() {
    let (workspace, content) = (Workspace::with_photos(), smallest());
    let repository = "timm/mobilenetv3_small_100.lamb_in1k";
    let server = HubServer::with_network(repository, SMALLEST, &content);
    let command = format!("train photos --model {SMALLEST} {SMALL} --epochs 1 --output");
    let error = workspace.regraft(&format!("{command} none")).failed(2);
    assert_says(
        &error,
        &[
            "mobilenetv3_small_100 needs weights: hub:timm/mobilenetv3_small_100.lamb_in1k is not",
            "unset HF_HUB_OFFLINE",
            "name a file with --weights",
            "--weights none",
        ],
    );
    assert!(!workspace.path("none").exists());
    let run = workspace.regraft_with(&format!("{command} run"), &server.environment()).succeeded();
    assert_says(&run.stdout, &[&format!("of {repository} from http")]);
    assert_says(&workspace.text("run/config.toml"), &[&format!("hub:{repository}@{COMMIT}#")]);
    // From now on nothing is asked, even if the hub has a newer commit.
    server.hub().commit = "e".repeat(40);
    server.asked();
    workspace.regraft_with(&format!("{command} next"), &server.environment()).succeeded();
    assert_eq!(server.asked(), []);
    workspace.regraft(&format!("evaluate --model {SMALLEST} photos/test")).failed(2);
    workspace.regraft(&format!("predict --model {SMALLEST} photos/test/blue")).succeeded();
    // A network without a repository says which file it needs.
    let error = workspace.regraft("train photos --model mobilenet_v3_small").failed(2);
    assert_says(&error, &["needs a weight file", "mobilenet_v3_small-047dcff4.pth"]);
    // Python keeps the weights of a network that it knows without their config.json.
    let snapshot = "huggingface/hub/models--timm--mobilenetv3_small_100.lamb_in1k/snapshots";
    fs::remove_file(workspace.path(&format!("{snapshot}/{COMMIT}/config.json"))).expect("removed");
    let third = workspace.regraft(&format!("{command} third")).succeeded();
    assert_says(
        &third.stdout,
        &["has no config.json that is understood here; images are prepared as"],
    );
}

#[test]
fn only_the_configuration_is_downloaded_if_it_is_enough() {
    let workspace = Workspace::with_photos();
    let server = HubServer::with_network(REPOSITORY, SMALLEST, b"never read");
    let model = format!("--model hub:{REPOSITORY}");
    let environment = server.environment();
    let shown = workspace
        .regraft_with(&format!("show photos {model} -o grid.png --json"), &environment)
        .succeeded();
    assert_says(&shown.stderr, &["note: downloading config.json", "mean [0.4, 0.5, 0.6]"]);
    let printed = workspace
        .regraft_with(&format!("train photos {model} --print-config"), &environment)
        .succeeded();
    assert_says(&printed.stdout, &[&format!("hub:{REPOSITORY}@{COMMIT}"), SMALLEST]);
    let timed = workspace
        .regraft_with(&format!("bench step {model} --batch 1 --steps 1 --json"), &environment)
        .succeeded();
    assert_eq!(timed.json()["model"], SMALLEST);
    assert!(server.asked().iter().all(|asked| asked.path.ends_with("config.json")));
    // Nothing is guessed from the configuration of another library.
    server.hub().files.insert("config.json".to_owned(), b"{\"model_type\": \"swin\"}".to_vec());
    server.hub().commit = "e".repeat(40);
    for command in ["show photos -o grid.png", "train photos --print-config", "bench step"] {
        let error = workspace.regraft_with(&format!("{command} {model}"), &environment).failed(2);
        assert_says(&error, &["someone/net.a1", "does not name its architecture"]);
    }
    let error = workspace
        .regraft_with(&format!("show photos {model} --weights none -o grid.png"), &environment);
    assert_says(&error.failed(2), &["leave --model or --weights out"]);
}

#[test]
fn a_comparison_takes_arms_from_the_hub() {
    let (workspace, content) = (Workspace::with_photos(), smallest());
    let server = HubServer::with_network(REPOSITORY, SMALLEST, &content);
    workspace.write(
        "arms.toml",
        format!(
            "[[arm]]\nname = \"hub\"\nmodel = \"hub:{REPOSITORY}\"\nhead = \"new\"\nepochs = 1\n\
             freeze = \"backbone\"\nimage_size = 32\n"
        ),
    );
    let command = "compare photos --arms arms.toml --output compared --seeds 2";
    workspace.regraft_with(command, &server.environment()).succeeded();
    // A run that was interrupted resumes with its commit, although the branch has moved.
    server.hub().commit = "e".repeat(40);
    server.hub().files.insert("model.safetensors".to_owned(), b"others".to_vec());
    fs::remove_file(workspace.path("compared/arms/hub/seed-1/summary.json")).expect("removed");
    workspace.regraft_with(command, &server.environment()).succeeded();
    let config = workspace.text("compared/arms/hub/seed-1/config.toml");
    assert_says(&config, &[&format!("hub:{REPOSITORY}@{COMMIT}#sha256=")]);
}

/// Another library's repository: its names of tensors, and two files about network and images.
#[test]
fn a_repository_of_transformers_is_understood() {
    let workspace = Workspace::with_photos();
    let content = in_transformers(&weights("vit_tiny_patch16_224", 32, 3));
    let network = serde_json::json!({
        "model_type": "vit", "architectures": ["ViTForImageClassification"],
        "hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3,
        "intermediate_size": 768, "patch_size": 16, "image_size": 32,
        "id2label": {"0": "cat", "1": "dog", "2": "cow"},
    })
    .to_string();
    let images = serde_json::json!({
        "do_resize": true, "do_normalize": true, "resample": 2,
        "size": {"height": 32, "width": 32},
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    })
    .to_string();
    let server = HubServer::new(
        REPOSITORY,
        &[
            ("model.safetensors", &content),
            ("config.json", network.as_bytes()),
            ("preprocessor_config.json", images.as_bytes()),
        ],
    );
    let found = workspace
        .regraft_with(&format!("inspect hub:{REPOSITORY} --json"), &server.environment())
        .succeeded();
    assert_says(&found.stderr, &["preprocessor_config.json says how", "32 pixels, squashed"]);
    let found = found.json();
    assert_eq!(found["architecture"], "vit_tiny_patch16_224");
    assert_eq!(found["classes"], serde_json::json!(["cat", "dog", "cow"]));
    // The same network with timm's names gives the same answers.
    workspace.write("timm/model.safetensors", weights("vit_tiny_patch16_224", 32, 3));
    let config = serde_json::json!({
        "architecture": "vit_tiny_patch16_224", "label_names": ["cat", "dog", "cow"],
        "crop_mode": "squash", "crop_pct": 1.0, "interpolation": "bilinear",
        "input_size": [3, 32, 32], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
    });
    workspace.write("timm/config.json", config.to_string());
    let answers = |model: &str| {
        let command = format!("predict {model} photos/test/striped --csv");
        workspace.regraft(&command).succeeded().stdout
    };
    assert_eq!(answers(&format!("hub:{REPOSITORY}")), answers("timm"));
}

/// The weights are as timm's: without a head, with position embeddings for 518 pixels.
#[test]
fn dinov2_trains_from_the_hub() {
    let workspace = Workspace::with_photos();
    let model = "vit_small_patch14_dinov2";
    let content = weights(model, 518, 0);
    let repository = "timm/vit_small_patch14_dinov2.lvd142m";
    let server = HubServer::with_network(repository, model, &content);
    let config = serde_json::json!({
        "architecture": model,
        "num_classes": 0,
        "global_pool": "token",
        "model_args": {"img_size": 518},
        "pretrained_cfg": {
            "input_size": [3, 518, 518], "fixed_input_size": true, "crop_pct": 1.0,
            "interpolation": "bicubic", "num_classes": 0,
            "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
        }
    });
    server.hub().files.insert("config.json".to_owned(), config.to_string().into_bytes());
    let command = format!("train photos/ --model {model} --image-size 28 --output run");
    let run = workspace.regraft_with(&command, &server.environment()).succeeded();
    assert_says(
        &run.stdout,
        &["MB) of timm/vit_small_patch14_dinov2.lvd142m from http", "interpolated", "fitted head"],
    );
    let summary = workspace.json("run/summary.json");
    assert!(summary["frozen"]["tensors"].as_u64() > Some(100), "{}", summary["frozen"]);
    workspace.regraft("evaluate run photos/test").succeeded();
}
