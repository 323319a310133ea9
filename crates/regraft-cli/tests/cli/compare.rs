//! `regraft compare`: its results, how it resumes, and its errors.

use crate::outcome::assert_says;
use crate::workspace::Workspace;

const ARMS: &str = "\
[common]
head = \"new\"
freeze = \"backbone\"
augment = \"none\"

[[arm]]
name = \"fast <b>\"
lr = 1e-2

[[arm]]
name = \"slow\"
lr = 1e-6
";

const COMPARE: &str =
    "compare photos --arms arms.toml --image-size 32 --epochs 2 --seeds 2 --output compared";

#[test]
fn arms_are_compared_on_the_same_pictures_and_not_run_twice() {
    let workspace = Workspace::with_photos();
    workspace.write("arms.toml", ARMS);
    let json = workspace.regraft(&format!("{COMPARE} --json")).succeeded().json();
    assert_eq!(
        (&json["scored_on"], &json["scored_images"], &json["seeds"]),
        (&"test".into(), &6.into(), &serde_json::json!([0, 1]))
    );
    let arms = json["arms"].as_array().expect("a list");
    assert_eq!(arms.iter().map(|arm| &arm["name"]).collect::<Vec<_>>(), ["fast <b>", "slow"]);
    for arm in arms {
        assert_eq!(arm["seeds"], 2);
        for run in arm["runs"].as_array().expect("a list") {
            let folder = run["folder"].as_str().expect("a path");
            let summary: serde_json::Value =
                serde_json::from_slice(&workspace.read(&format!("{folder}/summary.json")))
                    .expect("JSON");
            assert_eq!(summary["test_accuracy"], run["test_accuracy"]);
            let predictions =
                String::from_utf8(workspace.read(&format!("{folder}/predictions.csv")))
                    .expect("text");
            assert_eq!(predictions.lines().count(), 7, "{predictions}");
        }
        let accuracies: Vec<f64> = arm["runs"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|run| run["test_accuracy"].as_f64().expect("a number"))
            .collect();
        let mean = accuracies.iter().sum::<f64>() / 2.0;
        assert!((arm["test_accuracy_mean"].as_f64().expect("a number") - mean).abs() < 1e-12);
        let deviation = ((accuracies[0] - mean).powi(2) + (accuracies[1] - mean).powi(2)).sqrt();
        assert!((arm["test_accuracy_sd"].as_f64().expect("a number") - deviation).abs() < 1e-12);
    }
    assert_eq!(json["paired_tests"].as_array().map(Vec::len), Some(1));
    let page = String::from_utf8(workspace.read("compared/compare.html")).expect("text");
    assert!(
        page.contains("fast &lt;b&gt;") && !page.contains("fast <b>") && page.contains("<svg"),
        "{page}"
    );

    // Again: nothing is trained, and the outcome is the same. A third arm is the only one that
    // runs.
    let model = workspace.read("compared/arms/slow/seed-1/model.safetensors");
    let again = workspace.regraft(&format!("{COMPARE} --json")).succeeded();
    assert_eq!(again.json(), json);
    assert!(!again.stderr.contains("run 1 of"), "{}", again.stderr);
    workspace.write("arms.toml", format!("{ARMS}\n[[arm]]\nname = \"third\"\nlr = 1e-4\n"));
    let more = workspace.regraft(&format!("{COMPARE} --json")).succeeded();
    assert_says(&more.stderr, &["run 3 of 6: third, seed 0", "slow, seed 1", "(finished earlier)"]);
    assert!(!more.stderr.contains("run 2 of"), "{}", more.stderr);
    assert_eq!(more.json()["paired_tests"].as_array().map(Vec::len), Some(3));
    assert_eq!(workspace.read("compared/arms/slow/seed-1/model.safetensors"), model);

    // The same arm with other options is not passed over.
    workspace.write("arms.toml", ARMS.replace("1e-6", "2e-6"));
    let error = workspace.regraft(COMPARE).failed(2);
    assert_says(
        &error,
        &[
            "arm \"slow\" with other options (lr 2e-6 instead of 1e-6)",
            "give the changed arm another name",
        ],
    );
}

#[test]
fn a_precision_is_that_of_all_arms() {
    let workspace = Workspace::with_photos();
    workspace.write("arms.toml", ARMS);
    let command = "compare photos --arms arms.toml --image-size 32 --epochs 1 --precision bf16 \
        --output compared --json";
    workspace.regraft(command).succeeded();
    for arm in ["fast-b", "slow"] {
        let config =
            String::from_utf8(workspace.read(&format!("compared/arms/{arm}/seed-0/config.toml")))
                .expect("text");
        assert_says(&config, &["precision = \"bf16\""]);
    }
}

#[test]
fn an_arm_that_fails_does_not_lose_the_others() {
    let workspace = Workspace::with_photos();
    workspace.write(
        "arms.toml",
        format!(
            "{ARMS}\n[[arm]]\nname = \"lost\"\nweights = \"nowhere.pth\"\nmodel = \"resnet18\"\n"
        ),
    );
    let run = workspace.regraft(COMPARE).succeeded();
    assert_says(
        &run.stdout,
        &["lost, seed 0, failed: ", "nowhere.pth", "fast <b>", "compare.html is the page to read"],
    );
    let json: serde_json::Value =
        serde_json::from_slice(&workspace.read("compared/compare.json")).expect("JSON");
    assert_eq!(json["arms"][2]["seeds"], 0);
    assert!(
        json["arms"][2]["runs"][0]["error"]
            .as_str()
            .is_some_and(|error| error.contains("nowhere.pth"))
    );
    assert_eq!(json["arms"][2]["test_accuracy_mean"], serde_json::Value::Null);

    // An arm that can run now does, and a comparison of which nothing runs has failed.
    workspace.write(
        "none.toml",
        "[[arm]]\nname = \"lost\"\nweights = \"nowhere.pth\"\nmodel = \"resnet18\"\n",
    );
    let error = workspace.regraft("compare photos --arms none.toml --output nothing").failed(1);
    assert_says(&error, &["no run of the comparison finished", "nowhere.pth"]);
}

#[test]
fn arms_can_be_printed_changed_and_are_checked() {
    let workspace = Workspace::with_photos();
    let printed = workspace.regraft("compare --print-arms").succeeded().stdout;
    assert_says(
        &printed,
        &["[[arm]]", "name = \"from scratch\"", "name = \"head reuse\"", "name = \"fitted head\""],
    );
    workspace.write("wrong.toml", printed.replace("epochs = 10", "epoch = 10"));
    let error = workspace.regraft("compare photos --arms wrong.toml").failed(2);
    assert_says(&error, &["wrong.toml, arm \"frozen backbone\"", "epoch"]);
    let error = workspace.regraft("compare photos --target-accuracy 90").failed(2);
    assert_says(&error, &["--target-accuracy 90 is not possible"]);
}
