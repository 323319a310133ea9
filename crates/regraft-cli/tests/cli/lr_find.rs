//! The learning-rate range test.

use crate::outcome::assert_says;
use crate::workspace::{QUICK, Workspace};

#[test]
fn a_range_test_draws_its_picture_and_leaves_the_next_run_as_it_would_have_been() {
    let workspace = Workspace::with_photos();
    workspace.regraft(&format!("train photos {QUICK} --output before")).succeeded();
    let flags = "photos --image-size 32 --head new --batch-size 4 --from 1e-5 --to 100 --steps 40";
    let run = workspace.regraft(&format!("lr-find {flags} --plot rates.svg --json")).succeeded();
    let found = run.json();
    let points = found["points"].as_array().expect("a list");
    let rates: Vec<f64> =
        points.iter().map(|point| point["learning_rate"].as_f64().expect("a number")).collect();
    assert!(
        (rates[0] / 1e-5 - 1.0).abs() < 1e-5
            && rates
                .windows(2)
                .all(|pair| (pair[1] / pair[0] - 1e7f64.powf(1.0 / 39.0)).abs() < 1e-4)
    );
    assert!(points.len() <= 40 && (points.len() == 40 || found["ended_early"] == true), "{found}");
    let loss = |place: usize| points[place]["smoothed_loss"].as_f64().expect("a number");
    let smallest = (0..points.len()).map(loss).fold(f64::INFINITY, f64::min);
    assert!(smallest < 0.9 * loss(0), "some rate learns: {found}");
    let suggestion = found["suggestion"].as_f64().expect("a rate");
    assert!(
        rates[0] < suggestion && suggestion < found["minimum"].as_f64().expect("a rate"),
        "{found}"
    );
    assert!(workspace.text("rates.svg").starts_with("<svg"));
    assert!(!workspace.path("runs").exists());
    workspace.regraft(&format!("train photos {QUICK} --output after")).succeeded();
    assert!(
        workspace.read("before/model.safetensors") == workspace.read("after/model.safetensors")
    );

    let run = workspace.regraft(&format!("lr-find {flags} --freeze none")).succeeded();
    assert_says(
        &run.stdout,
        &["steps up to a rate of ", "the loss falls fastest at --lr ", "wrote lr-find.svg"],
    );
    assert_says(
        &workspace.regraft("lr-find photos").failed(2),
        &["no rate to find", "--freeze none", "--head new"],
    );
    assert_says(
        &workspace.regraft("lr-find photos --from 1 --to 0.1").failed(2),
        &["cannot rise from 1 to 0.1"],
    );
    assert_says(&workspace.regraft("lr-find photos --output x").failed(2), &["--output"]);
}
