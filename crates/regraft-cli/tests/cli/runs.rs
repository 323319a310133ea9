//! `regraft runs` and `regraft diff`.

use crate::outcome::assert_says;
use crate::pictures::Look;
use crate::workspace::Workspace;
use serde_json::{Value, json};

/// A run that learns, and one that does not.
fn trained() -> Workspace {
    let workspace = Workspace::with_photos();
    let fitted = "train photos --image-size 32 --freeze backbone --seed 1 --output runs/good";
    workspace.regraft(fitted).succeeded();
    let weak =
        "train photos --image-size 32 --weights none --head new --epochs 1 --lr 1e-9 --seed 1";
    workspace.regraft(&format!("{weak} --threads 1 --output runs/b/weak")).succeeded();
    workspace
}

fn folders(runs: &Value) -> Vec<&str> {
    let runs = runs.as_array().expect("a list").iter();
    runs.map(|run| run["folder"].as_str().expect("text")).collect()
}

#[test]
fn runs_are_listed_sorted_and_filtered() {
    let workspace = trained();
    // One that has only begun, and one whose files are damaged.
    workspace.write("runs/begun/config.toml", workspace.read("runs/good/config.toml"));
    workspace.write("runs/bad/config.toml", "epochs = true");
    workspace.write("runs/none/text.txt", "");
    let list = |flags: &str| workspace.regraft(&format!("runs --json {flags}")).succeeded();
    let all = list("");
    assert_says(&all.stderr, &["note: left out: ", "runs/bad/config.toml"]);
    let runs = all.json();
    assert_eq!(folders(&runs), ["runs/good", "runs/b/weak", "runs/begun"]);
    let summary = workspace.json("runs/good/summary.json");
    assert_eq!(runs[0]["accuracy"], summary["test_accuracy"]);
    assert_eq!(runs[0]["wall_seconds"], summary["wall_seconds"]);
    assert_eq!((&runs[0]["scored_on"], &runs[0]["scored_images"]), (&json!("test"), &json!(6)));
    assert_eq!(
        (&runs[0]["model"], &runs[0]["freeze"]),
        (&json!("efficientnet_lite0"), &json!("backbone"))
    );
    let evaluated = workspace.regraft("evaluate runs/good photos/test --json").succeeded().json();
    assert_eq!(runs[0]["accuracy_interval_95"], evaluated["accuracy_interval_95"]);
    assert_eq!((&runs[2]["finished"], &runs[2]["accuracy"]), (&json!(false), &Value::Null));

    assert_eq!(folders(&list("--finished --reverse").json()), ["runs/b/weak", "runs/good"]);
    let by_folder = ["runs/b/weak", "runs/begun", "runs/good"];
    assert_eq!(folders(&list("--sort folder").json()), by_folder);
    assert_eq!(folders(&list("--sort date").json()).len(), 3);
    let mut by_time = list("--sort time").json();
    let slowest = by_time.as_array_mut().expect("a list").split_off(2);
    assert_eq!(folders(&slowest.into()), ["runs/begun"]);
    assert!(by_time[0]["wall_seconds"].as_f64() <= by_time[1]["wall_seconds"].as_f64());
    assert_eq!(list("--data PHOTOS --model lite0").json().as_array().map(Vec::len), Some(3));
    let none = list("--data PHOTOS --model resnet");
    assert_eq!(none.json(), json!([]));
    assert_says(&none.stderr, &["note: none of the 3 runs in runs passes the filters"]);
    let here = workspace.regraft("runs runs/good --json").succeeded().json();
    assert_eq!(folders(&here), ["runs/good"]);
    assert_says(&workspace.regraft("runs missing").failed(2), &["missing"]);
}

#[test]
fn two_runs_differ_in_options_images_and_answers() {
    let workspace = trained();
    let diff = "diff runs/good runs/b/weak --json";
    let found = workspace.regraft(diff).succeeded().json();
    let options = found["options"].as_array().expect("a list");
    let find = |name: &str| options.iter().find(|option| option["name"] == name);
    let rate = find("lr").expect("the learning rates differ");
    assert_eq!((&rate["values"][1], &rate["changes_results"]), (&json!(1e-9), &json!(true)));
    assert_eq!(find("threads").expect("they differ")["changes_results"], json!(false));
    assert_eq!(find("seed"), None);
    assert_eq!((&found["images"], &found["notes"]), (&json!([]), &json!([])));
    let answers = &found["answers"];
    assert_eq!((&answers["images"], &answers["scored_on"]), (&json!(6), &json!("test")));
    let summary = |run: &str| workspace.json(&format!("{run}/summary.json"));
    let correct = ["runs/good", "runs/b/weak"].map(|run| {
        (6.0 * summary(run)["test_accuracy"].as_f64().expect("a number")).round() as u64
    });
    assert_eq!(answers["correct"], json!(correct));
    assert_eq!(correct[0], 6, "{answers}");
    // With two classes, each changed answer is right in one of the runs: here in the first.
    let changed = answers["changed"].as_array().expect("a list");
    assert!(changed.len() as u64 == 6 - correct[1] && !changed.is_empty(), "{answers}");
    assert!(changed.iter().all(|image| image["predicted"][0] == image["class"]));
    let test = &answers["paired_test"];
    assert_eq!(test["better"], "runs/good");
    // McNemar's exact test without a loss.
    let p = 0.5f64.powi(changed.len() as i32 - 1);
    assert!((test["p_value"].as_f64().expect("a number") - p).abs() < 1e-12, "{test}");

    // Another image, and images elsewhere.
    std::fs::rename(workspace.path("photos"), workspace.path("moved")).expect("moved");
    workspace.pictures("moved/train/blue", Look::Blue, 6);
    workspace.regraft("train moved --image-size 32 --freeze backbone --output runs/c").succeeded();
    let found = workspace.regraft("diff runs/good runs/c --json").succeeded().json();
    assert_eq!(found["images"], json!(["train/blue/5.png is new (train image of blue)"]));
    assert_eq!(found["answers"]["images"], 6);
    let text = workspace.regraft("diff runs/good runs/c").succeeded().stdout;
    assert_says(&text, &["Images (1 differ)", "train/blue/5.png is new", "6 images (test)"]);
    let error = workspace.regraft("diff runs/good moved").failed(2);
    assert_says(&error, &["moved holds no config.toml: name a run folder"]);
}
