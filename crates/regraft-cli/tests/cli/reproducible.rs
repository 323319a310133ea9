//! The same command gives the same model, whatever the machine is busy with.

use crate::workspace::Workspace;

/// The rows of metrics.csv without the columns that hold times.
pub fn metrics(workspace: &Workspace, run: &str) -> Vec<Vec<String>> {
    let text = workspace.text(&format!("{run}/metrics.csv"));
    let rows: Vec<Vec<String>> =
        text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect();
    let is_time =
        |name: &str| ["seconds", "images_per_second", "data_wait_fraction"].contains(&name);
    let kept: Vec<usize> =
        (0..rows[0].len()).filter(|&column| !is_time(&rows[0][column])).collect();
    assert_eq!(kept.len() + 3, rows[0].len(), "the three columns of times are there");
    rows.iter().map(|row| kept.iter().map(|&column| row[column].clone()).collect()).collect()
}

#[test]
fn threads_and_workers_change_no_bit_but_the_seed_does() {
    let workspace = Workspace::with_photos();
    // Everything that is drawn takes part: order, crops, flips, dropout and stochastic depth; and
    // every kernel, as nothing is frozen.
    let train = |flags: &str, run: &str| {
        let all =
            "--head new --freeze none --batch-norm batch --image-size 32 --epochs 2 --batch-size 4";
        workspace.regraft(&format!("train photos {all} {flags} --output {run}")).succeeded();
        workspace.read(&format!("{run}/model.safetensors"))
    };
    let first = train("--seed 3", "first");
    for (flags, run) in [
        ("--seed 3", "again"),
        ("--seed 3 --threads 1 --workers 3", "one"),
        ("--seed 3 --threads 3 --workers 1", "three"),
    ] {
        assert!(train(flags, run) == first, "{flags}: another model");
        assert_eq!(metrics(&workspace, run), metrics(&workspace, "first"), "{flags}");
    }
    assert!(train("--seed 4", "other") != first, "the seed has no effect");
    assert_ne!(metrics(&workspace, "other"), metrics(&workspace, "first"));
}

#[test]
fn scores_and_predictions_depend_on_no_thread() {
    let workspace = Workspace::with_photos();
    workspace.regraft(&format!("train photos {}", crate::workspace::QUICK)).succeeded();
    let predict = |flags: &str| {
        workspace.regraft(&format!("predict runs/photos photos --json {flags}")).succeeded().stdout
    };
    assert_eq!(predict("--threads 1 --workers 1"), predict("--threads 3 --workers 3"));
    let evaluate = |flags: &str| {
        let mut report = workspace
            .regraft(&format!("evaluate runs/photos photos/test --json {flags}"))
            .succeeded()
            .json();
        // Says how many threads there were.
        report["device"] = serde_json::Value::Null;
        report
    };
    assert_eq!(evaluate("--threads 1 --workers 1"), evaluate("--threads 3 --workers 3"));
}
