//! The event file for TensorBoard in every run folder. `.ci/interop` reads it with TensorBoard.

use crate::workspace::{QUICK, Workspace};
use regraft::tensorboard::{Scalar, scalars};
use std::collections::BTreeSet;

const FILE: &str = "events.out.tfevents.regraft";

fn read(workspace: &Workspace, run: &str) -> Vec<Scalar> {
    scalars(&workspace.read(&format!("{run}/{FILE}")))
}

/// The numbers without those that are times.
fn without_times(scalars: &[Scalar]) -> Vec<&Scalar> {
    let is_time = |scalar: &&Scalar| {
        ["seconds", "per_second", "wait_fraction"].iter().any(|name| scalar.tag.ends_with(name))
    };
    scalars.iter().filter(|scalar| !is_time(scalar)).collect()
}

#[test]
fn the_file_has_the_values_of_metrics_csv_and_of_each_step() {
    let workspace = Workspace::with_photos();
    workspace.regraft(&format!("train photos {QUICK} --batch-size 4 --output run")).succeeded();
    let found = read(&workspace, "run");
    let mut compared = 0;
    let mut table = csv::Reader::from_path(workspace.path("run/metrics.csv")).expect("a table");
    let header = table.headers().expect("a header").clone();
    for row in table.records() {
        let row = row.expect("a row");
        let epoch: u64 = row[0].parse().expect("a number");
        for (name, text) in header.iter().zip(&row).skip(1) {
            let tag = format!("epoch/{name}");
            let mut matching = found.iter().filter(|value| value.tag == tag && value.step == epoch);
            match text.parse::<f64>() {
                Ok(number) => {
                    assert_eq!(matching.next().expect("a value").value, number as f32, "{tag}");
                    compared += 1;
                }
                Err(_) => assert!(text.is_empty()),
            }
            assert_eq!(matching.next(), None, "{tag} comes once");
        }
    }
    assert_eq!(compared, 2 * 8);
    // Ten images in batches of four make three steps.
    let losses: Vec<&Scalar> = found.iter().filter(|value| value.tag == "step/loss").collect();
    assert_eq!(losses.iter().map(|value| value.step).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    let first = 4.0 * losses[0].value + 4.0 * losses[1].value + 2.0 * losses[2].value;
    let epoch = found.iter().find(|value| value.tag == "epoch/train_loss").expect("a loss");
    assert!((first / 10.0 - epoch.value).abs() < 1e-5, "{first} {epoch:?}");
    let rates = found.iter().filter(|value| value.tag == "step/learning_rate");
    assert!(rates.clone().count() == 6 && rates.clone().all(|rate| rate.value > 0.0));
}

#[test]
fn a_run_that_was_killed_and_resumed_has_the_events_of_one_that_was_not() {
    let workspace = Workspace::with_photos();
    let all = "--image-size 32 --freeze none --head new --epochs 3 --lr 1e-3 --batch-size 2 \
        --checkpoint-every 0s";
    workspace.regraft(&format!("train photos {all} --output whole")).succeeded();
    let mut kills = 0;
    for size in [1, 400, 1200, 2400] {
        let mut child = workspace.start(&format!("train photos {all} --force --output run"));
        let path = workspace.path(&format!("run/{FILE}"));
        let length = || std::fs::metadata(&path).map_or(0, |file| file.len());
        while length() < size && child.try_wait().expect("a process").is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        child.kill().expect("killed");
        kills += usize::from(!child.wait().expect("a status").success());
        // The start of the file is readable, whatever its end is.
        let before = read(&workspace, "run");
        let resumed = workspace.regraft("train --resume run");
        if resumed.code == Some(2) {
            // It was killed before it had begun.
            continue;
        }
        resumed.succeeded();
        let [run, whole] = ["run", "whole"].map(|run| read(&workspace, run));
        assert_eq!(without_times(&run), without_times(&whole), "killed at {} values", before.len());
        let places: BTreeSet<(&str, u64)> =
            run.iter().map(|value| (value.tag.as_str(), value.step)).collect();
        assert_eq!(places.len(), run.len(), "nothing comes twice");
    }
    assert!(kills > 0);
}
