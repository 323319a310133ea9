//! Ways to fine-tune: fitted and used-again heads, kept features, freezing by and by, rates by
//! depth.

use crate::outcome::assert_says;
use crate::pictures::Look;
use crate::workspace::{SMALL, Workspace};
use regraft::model::Model;
use regraft::nn::engine::State;
use serde_json::json;

pub fn state(workspace: &Workspace, run: &str) -> State {
    Model::load(&workspace.path(run), None).expect("a model").state
}

fn trained(workspace: &Workspace, flags: &str, run: &str) -> State {
    workspace.regraft(&format!("train photos {flags} --output {run}")).succeeded();
    state(workspace, run)
}

#[test]
fn a_fitted_head_needs_no_epochs_and_is_the_start_of_further_training() {
    let workspace = Workspace::new();
    for (part, count) in [("train", 12), ("test", 6)] {
        workspace.pictures(&format!("photos/{part}/blue"), Look::Blue, count);
        workspace.pictures(&format!("photos/{part}/striped"), Look::Striped, count);
    }
    // It is what the default recipe does.
    let run = workspace.regraft("train photos --image-size 32").succeeded();
    assert_says(
        &run.stdout,
        &[
            "24 images to train on, 0 to choose the epoch, 12 to test",
            "the head is fitted to 24 images: strength ",
            "fitted head: loss ",
        ],
    );
    let summary = workspace.json("runs/photos/summary.json");
    assert_eq!(
        (&summary["test_accuracy"], &summary["optimizer_steps"], &summary["best_epoch"]),
        (&json!(1.0), &json!(0), &json!(0))
    );
    let fit = &summary["head_fit"];
    assert_eq!(fit["folds"], 5);
    let trials = fit["trials"].as_array().expect("a list");
    assert!(trials.iter().any(|trial| trial["strength"] == fit["strength"]), "{fit}");
    let source = Model::embedded().expect("it is built in").state;
    let fitted = state(&workspace, "runs/photos");
    assert!(
        source
            .iter()
            .filter(|(name, _)| !name.starts_with("classifier"))
            .all(|(name, values)| values == &fitted[name])
    );

    assert_says(&workspace.text("runs/photos/config.toml"), &["head = \"fit\"\n", "epochs = 0\n"]);
    assert_says(
        &workspace.text("runs/photos/curves.svg"),
        &["photos: fitted with strength ", "strength of the regression (C)"],
    );

    // The same from kept features, without them, and with another number of threads.
    for (flags, output) in
        [("", "again"), ("--no-feature-cache", "anew"), ("--threads 1 --workers 1", "alone")]
    {
        let run = workspace
            .regraft(&format!("train photos --head fit --image-size 32 {flags} --output {output}"))
            .succeeded();
        assert!(run.stdout.contains("fitted head"), "{}", run.stdout);
        assert!(state(&workspace, output) == fitted, "{output}");
    }
    // With augmented views beside the plain one.
    let views = "train photos --head fit --image-size 32 --views 2";
    let run = workspace.regraft(&format!("{views} --output views")).succeeded();
    assert_says(&run.stdout, &["the head is fitted to 24 images in 3 views each: "]);
    assert!(state(&workspace, "views") != fitted);
    workspace.regraft(&format!("{views} --no-feature-cache --output views2")).succeeded();
    assert!(state(&workspace, "views") == state(&workspace, "views2"));
    // All layers learn, from the fitted head.
    let run = workspace
        .regraft(
            "train photos --head fit --image-size 32 --freeze none --lr 1e-4 --epochs 2 \
            --output further",
        )
        .succeeded();
    assert_says(&run.stdout, &["fitted head: loss ", "epoch 1/2: loss ", "epoch 2/2: loss "]);
    assert_eq!(workspace.text("further/metrics.csv").lines().count(), 4);
    // config.toml repeats it.
    workspace.regraft("train --config further/config.toml --output repeated").succeeded();
    assert!(state(&workspace, "repeated") == state(&workspace, "further"));
    // With epochs to choose from, images are held out for that.
    assert_eq!(workspace.json("again/summary.json")["val_images"], 0);
    workspace.regraft("train --config again/config.toml --epochs 1 --output on").succeeded();
    assert_eq!(workspace.json("on/summary.json")["val_images"], 2);
    // What would have no effect is an error, from a configuration too.
    let error = workspace.regraft("train photos --lr 0.1 --weight-decay 1e-3").failed(2);
    assert_says(
        &error,
        &["lr, weight_decay would change nothing", "--epochs 5", "--freeze none", "--head new"],
    );
    let error = workspace
        .regraft("train --config again/config.toml --freeze none --output other")
        .failed(2);
    assert_says(&error, &["freeze would change nothing"]);
    let error = workspace.regraft("train photos --head new --epochs 0").failed(2);
    assert_says(&error, &["there is nothing to train", "--head fit"]);
}

#[test]
fn a_fitted_head_balances_classes() {
    let workspace = Workspace::new();
    workspace.pictures("photos/train/blue", Look::Blue, 12);
    workspace.pictures("photos/train/striped", Look::Striped, 4);
    let fitted = trained(&workspace, "--image-size 32", "as-they-are");
    let weighted = trained(&workspace, "--image-size 32 --balance weights", "weighted");
    assert!(fitted["classifier.bias"] != weighted["classifier.bias"]);
    // Sampling wants what the weights do.
    assert!(weighted == trained(&workspace, "--image-size 32 --balance sampling", "sampled"));
}

#[test]
fn kept_features_change_no_bit() {
    let workspace = Workspace::with_photos();
    // More epochs than views, dropout in the head, and both optimisers.
    for flags in [
        "--views 2 --epochs 5 --lr 1e-2",
        "--views 1 --epochs 2 --optimizer adamw --lr 1e-3",
        "--augment none --epochs 3",
        "--epochs 2",
    ] {
        let flags = format!("{SMALL} --batch-size 4 --seed 3 {flags}");
        let name = flags.replace(' ', "_");
        let plain =
            trained(&workspace, &format!("{flags} --no-feature-cache"), &format!("plain{name}"));
        let first = trained(&workspace, &flags, &format!("first{name}"));
        let second = trained(&workspace, &flags, &format!("second{name}"));
        assert!(plain == first, "{flags}: computed once");
        assert!(plain == second, "{flags}: found on the disk");
        let without_times = |run: &str| -> Vec<String> {
            let text = workspace.text(&format!("{run}{name}/metrics.csv"));
            text.lines().map(|row| row.split(',').take(7).collect::<Vec<_>>().join(",")).collect()
        };
        assert_eq!(without_times("plain"), without_times("first"), "{flags}");
    }
    // Views are what makes the difference between epochs.
    let flags = format!("{SMALL} --batch-size 4 --epochs 3 --lr 1e-2");
    assert!(
        trained(&workspace, &format!("{flags} --views 1"), "one")
            != trained(&workspace, &format!("{flags} --views 2"), "two")
    );
    assert!(
        trained(&workspace, &format!("{flags} --views 3"), "three")
            == trained(&workspace, &flags, "each")
    );
    assert!(workspace.names("cache").contains(&"features".to_owned()));
}

#[test]
fn damaged_features_are_noticed_and_mended() {
    let workspace = Workspace::with_photos();
    let first = trained(&workspace, "--image-size 32 --head fit", "first");
    let folder = workspace.names("cache/features").remove(0);
    for file in workspace.names(&format!("cache/features/{folder}")) {
        let name = format!("cache/features/{folder}/{file}");
        let mut bytes = workspace.read(&name);
        let place = bytes.len() - 50;
        bytes[place] ^= 1;
        workspace.write(&name, bytes);
    }
    let run =
        workspace.regraft("train photos --image-size 32 --head fit --output second").succeeded();
    assert_says(&run.stdout, &["is damaged (the checksum of its row ", "computed again"]);
    assert!(first == state(&workspace, "second"));
}

#[test]
fn rows_of_the_sources_head_are_used_again() {
    let workspace = Workspace::new();
    for class in ["apples", "not-hotdog", "hot_dog"] {
        workspace.pictures(&format!("photos/{class}"), Look::Blue, 4);
    }
    // Rates so small that the head stays where it started.
    let still = "--image-size 32 --freeze backbone --epochs 1 --lr 1e-30 --weight-decay 0";
    let run = workspace
        .regraft(&format!("train photos {still} --head reuse --output run --json"))
        .succeeded();
    assert_says(
        &run.stderr,
        &[
            "the head's row of \"apples\" starts from \"Granny Smith\" (of this kind)",
            "the head's row of \"hot_dog\" starts from \"hotdog, hot dog, red hot\" (called so \
             too)",
            "the head's row of \"not-hotdog\" is new: no class of the source is called so",
        ],
    );
    let reuse = &run.json()["head_reuse"];
    assert_eq!(
        reuse[0],
        json!({"class": "apples", "source_names": ["Granny Smith"], "reason": "kind"})
    );
    assert_eq!(reuse[2]["reason"], json!(null));
    let source = Model::embedded().expect("it is built in");
    let row = |state: &State, class: usize| {
        state["classifier.weight"][class * 1280..(class + 1) * 1280].to_vec()
    };
    let place =
        |name: &str| source.classes.iter().position(|class| class == name).expect("a class");
    let reused = state(&workspace, "run");
    assert!(row(&reused, 0) == row(&source.state, place("Granny Smith")));
    assert!(row(&reused, 1) == row(&source.state, place("hotdog, hot dog, red hot")));
    let new = trained(&workspace, &format!("{still} --head new"), "new");
    assert!(row(&reused, 2) == row(&new, 2) && row(&reused, 0) != row(&new, 0));

    // By hand, and the map goes into config.toml.
    workspace.write("map.toml", "\"not-hotdog\" = [\"pretzel\", \"bagel\"]\n");
    let run = workspace
        .regraft(&format!("train photos {still} --head-map map.toml --output map"))
        .succeeded();
    assert_says(
        &run.stdout,
        &[
            "the head's row of \"not-hotdog\" starts from the mean of 2 rows of the source's: ",
            "(by the head map)",
        ],
    );
    std::fs::remove_file(workspace.path("map.toml")).expect("removed");
    workspace.regraft("train --config map/config.toml --output map2").succeeded();
    assert!(
        state(&workspace, "map") == state(&workspace, "map2")
            && row(&state(&workspace, "map"), 0) == row(&new, 0)
    );
    workspace.write("map.toml", "\"nothing\" = [\"pretzel\"]\n");
    assert_says(
        &workspace.regraft(&format!("train photos {still} --head-map map.toml")).failed(2),
        &["\"nothing\"", "apples, hot_dog"],
    );
    workspace.write("map.toml", "pretzel\n");
    assert_says(
        &workspace.regraft(&format!("train photos {still} --head-map map.toml")).failed(2),
        &["map.toml is not a head map"],
    );

    // A model of one's own whose classes overlap in part.
    workspace.pictures("fruit/apple", Look::Green, 3);
    workspace.pictures("fruit/pear", Look::Blue, 3);
    let run = workspace
        .regraft(&format!("train fruit {still} --weights run --head reuse --output fruit-run"))
        .succeeded();
    assert_says(&run.stdout, &["\"pear\" is new", "\"apple\" is new"]);
    workspace.pictures("orchard/apples", Look::Green, 3);
    workspace.pictures("orchard/pear", Look::Blue, 3);
    workspace
        .regraft(&format!("train orchard {still} --weights run --head reuse --output orchard-run"))
        .succeeded();
    assert!(row(&state(&workspace, "orchard-run"), 0) == row(&reused, 0));
    let scratch =
        "train photos --model resnet18 --weights none --image-size 32 --epochs 1 --head reuse";
    assert_says(
        &workspace.regraft(scratch).failed(2),
        &["the head is to start from the source's", "from scratch has none", "--head new"],
    );
}

#[test]
fn stages_learn_one_after_the_other_from_the_head_down() {
    let workspace = Workspace::with_photos();
    let source = Model::embedded().expect("it is built in").state;
    let flags = "--image-size 32 --lr 1e-3 --warmup 0 --schedule constant --freeze gradual=1";
    // Without validation images each epoch is kept.
    std::fs::remove_dir_all(workspace.path("photos/val")).expect("removed");
    for (epochs, learning) in [(1, 0), (2, 1), (3, 2)] {
        let run = format!("run{epochs}");
        // All that is held out is not to choose among the epochs.
        let summary = workspace.regraft(&format!(
            "train photos {flags} --recipe d2l --loss mean --epochs {epochs} --output {run} --json"
        ));
        let summary = summary.succeeded().json();
        let trained = state(&workspace, &run);
        let moved = |stage: &str| {
            source.iter().any(|(name, values)| name.starts_with(stage) && values != &trained[name])
        };
        let stages = ["conv_head.", "blocks.6.", "blocks.5.", "blocks.4."];
        for (place, stage) in stages.iter().enumerate() {
            assert_eq!(moved(stage), place < learning, "{stage} after {epochs} epochs");
        }
        assert!(summary["frozen"]["tensors"].as_u64().expect("a number") > 100, "{summary}");
    }
    let error = workspace.regraft("train photos --freeze gradual=0").failed(2);
    assert_says(&error, &["freeze is gradual=0", "gradual=EPOCHS"]);
}

#[test]
fn what_is_frozen_is_proved_to_be_the_sources() {
    let workspace = Workspace::with_photos();
    let summary =
        workspace.regraft(&format!("train photos {SMALL} --epochs 1 --json")).succeeded().json();
    let source = Model::embedded().expect("it is built in").state;
    let trunk = source.iter().filter(|(name, _)| !name.starts_with("classifier"));
    let (tensors, values) =
        trunk.fold((0, 0), |(tensors, values), (_, tensor)| (tensors + 1, values + tensor.len()));
    assert_eq!(summary["frozen"], json!({"tensors": tensors, "values": values}));
    let flags = "--image-size 32 --head new --epochs 1 --freeze none --lr 1e-3";
    // Statistics that stay are proved where layers learn; where they move, there is nothing to
    // prove.
    let kept =
        workspace.regraft(&format!("train photos {flags} --output kept --json")).succeeded().json();
    let statistics = source.keys().filter(|name| name.contains("running")).count();
    assert_eq!(kept["frozen"]["tensors"], statistics);
    let moved = workspace
        .regraft(&format!("train photos {flags} --batch-norm batch --output moved --json"))
        .succeeded()
        .json();
    assert_eq!(moved["frozen"], json!(null));
    // A run that replaces its own source says that it cannot be compared.
    let run = workspace
        .regraft(&format!("train photos {SMALL} --epochs 1 --weights kept --output kept --force"))
        .succeeded();
    assert_says(&run.stdout, &["the run has replaced its source"]);
}

#[test]
fn stages_learn_the_slower_the_deeper_they_lie_and_biases_need_not_decay() {
    let workspace = Workspace::with_photos();
    let source = Model::embedded().expect("it is built in").state;
    let flags = "--image-size 32 --head new --epochs 1 --batch-size 10 --freeze none --lr 1e-3 \
        --warmup 0 --schedule constant --weight-decay 0";
    let even = trained(&workspace, flags, "even");
    let decayed = trained(&workspace, &format!("{flags} --layer-decay 0.5"), "decayed");
    // One step of plain descent: how far a stage moves is its rate. conv_head lies uppermost, then
    // blocks.6 and so on.
    let distance = |state: &State, name: &str| -> f64 {
        state[name]
            .iter()
            .zip(&source[name])
            .map(|(after, before)| f64::from(after - before).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    for (name, factor) in [
        ("conv_head.weight", 1.0),
        ("blocks.6.0.conv_pw.weight", 0.5),
        ("blocks.4.1.conv_pw.weight", 0.125),
    ] {
        let ratio = distance(&decayed, name) / distance(&even, name);
        assert!((ratio - factor).abs() < 0.05 * factor, "{name}: {ratio}");
    }
    assert_says(
        &workspace.regraft("train photos --layer-decay 1.5").failed(2),
        &["1.5", "--layer-decay", "above 0 and up to 1"],
    );

    let flags = "--image-size 32 --head new --epochs 1 --freeze none --lr 1e-3 --weight-decay 0.5";
    let all = trained(&workspace, flags, "all");
    let weights = trained(&workspace, &format!("{flags} --no-decay-bias-norm"), "weights");
    let size = |state: &State, name: &str| {
        state[name].iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
    };
    for name in ["blocks.5.0.bn1.weight", "bn2.weight"] {
        assert!(size(&all, name) < 0.9999 * size(&weights, name), "{name}");
    }
    assert!(size(&weights, "conv_head.weight") < 0.9999 * size(&source, "conv_head.weight"));
}
