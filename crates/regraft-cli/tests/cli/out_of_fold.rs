//! Predictions of cross-validation's heads for images that they did not see:
//! `predictions_out_of_fold.csv`.

use crate::outcome::assert_says;
use crate::pictures::Look;
use crate::workspace::Workspace;
use std::collections::BTreeMap;

const FILE: &str = "run/predictions_out_of_fold.csv";

#[test]
fn a_run_that_holds_nothing_out_lists_each_training_image_as_heads_that_did_not_see_it_predict_it()
{
    let workspace = Workspace::new();
    workspace.pictures("photos/train/blue", Look::Blue, 12);
    workspace.pictures("photos/train/striped", Look::Striped, 12);
    // A wrong label.
    std::fs::rename(
        workspace.path("photos/train/striped/2.jpg"),
        workspace.path("photos/train/blue/wrong.jpg"),
    )
    .expect("moved");
    let run = workspace.regraft("train photos --image-size 32 --output run").succeeded();
    let mut reader = csv::Reader::from_path(workspace.path(FILE)).expect("a file");
    assert_eq!(
        reader.headers().expect("a header"),
        &[
            "path",
            "class",
            "predicted",
            "probability",
            "class_probability",
            "rank",
            "loss",
            "brier"
        ][..]
    );
    let mut rows = BTreeMap::new();
    for row in reader.records() {
        let row = row.expect("a row");
        let probability: f64 = row[3].parse().expect("a number");
        assert!((0.5..=1.0).contains(&probability), "{row:?}");
        let [of_class, rank, loss, brier] =
            [4, 5, 6, 7].map(|column| row[column].parse::<f64>().expect("a number"));
        assert_eq!(rank, if row[1] == row[2] { 1.0 } else { 2.0 }, "{row:?}");
        // Of two classes; probabilities are rounded to f32.
        assert!((loss + of_class.ln()).abs() < 1e-5, "{row:?}");
        assert!((brier - 2.0 * (1.0 - of_class).powi(2)).abs() < 1e-5, "{row:?}");
        rows.insert(row[0].replace('\\', "/"), (row[1].to_owned(), row[2].to_owned()));
    }
    assert_eq!(rows.len(), 24, "each image once: {rows:?}");
    assert!(
        rows.iter().all(|(path, (class, _))| path.starts_with(&format!("photos/train/{class}/"))),
        "{rows:?}"
    );
    // Heads that had seen the wrong label would know it by heart.
    assert_eq!(rows["photos/train/blue/wrong.jpg"], ("blue".to_owned(), "striped".to_owned()));
    let right = rows.values().filter(|(class, predicted)| class == predicted).count();
    let report = &workspace.json("run/summary.json")["head_fit"]["out_of_fold"];
    assert_eq!((&report["images"], &report["correct"]), (&24.into(), &right.into()));
    assert_says(&report["suspect_labels"].to_string(), &["wrong.jpg"]);
    assert_says(&run.stdout, &[&format!("{right} of 24 training images right")]);

    // A run with a validation set needs no estimate, and leaves no file of an earlier run.
    workspace
        .regraft("train photos --image-size 32 --val-fraction 0.25 --force --output run")
        .succeeded();
    assert!(workspace.json("run/summary.json")["head_fit"]["out_of_fold"].is_null());
    assert!(!workspace.path(FILE).exists());
}
