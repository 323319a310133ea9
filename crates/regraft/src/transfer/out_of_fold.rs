//! How well the training images are predicted by heads that did not see them: an estimate of the
//! test accuracy for a run that holds nothing out.

use crate::logistic_regression::OutOfFold;
use crate::metrics::{calibration_error, wilson_interval_95};
use crate::predictions::Prediction;
use crate::suspect_labels::{SuspectLabel, suspects};
use regraft_data::catalogue::Sample;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Confused pairs of classes, and suspect labels, that a report names.
/// `predictions_out_of_fold.csv` has all images.
const NAMED: usize = 20;

/// Images of one class that are taken for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confused {
    /// Their class.
    pub class: String,
    /// The class that they are taken for.
    pub predicted: String,
    /// How many.
    pub images: u64,
}

/// Predictions of cross-validation's heads for the training images that they did not see. The
/// strength was chosen on the same images, so the accuracy is slightly optimistic; each head saw
/// four fifths of the images, which makes it slightly pessimistic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutOfFoldReport {
    /// Training images.
    pub images: u64,
    /// Those predicted right.
    pub correct: u64,
    /// `correct / images`.
    pub accuracy: f64,
    /// Its 95 % Wilson interval, `[low, high]`.
    pub accuracy_interval_95: [f64; 2],
    /// The expected calibration error, from 0 to 1 (see [`calibration_error`]).
    pub calibration_error: f64,
    /// The classes that are most often confused, the most frequent first, at most 20.
    pub confused: Vec<Confused>,
    /// How many labels are likely wrong.
    pub suspect_label_count: u64,
    /// The likeliest of these, at most 20.
    pub suspect_labels: Vec<SuspectLabel>,
}

impl OutOfFoldReport {
    /// The report on `samples`, in the order of `out_of_fold`.
    #[must_use]
    pub fn new(out_of_fold: &OutOfFold, samples: &[Sample], classes: &[String]) -> Self {
        let is_right = |example: usize| out_of_fold.predicted(example).0 == samples[example].label;
        let all = 0..samples.len();
        let correct = all.clone().filter(|&example| is_right(example)).count() as u64;
        let images = samples.len() as u64;
        let mut pairs = BTreeMap::<(u32, u32), u64>::new();
        for example in all.clone().filter(|&example| !is_right(example)) {
            *pairs
                .entry((samples[example].label, out_of_fold.predicted(example).0))
                .or_default() += 1;
        }
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_by_key(|&(_, images)| std::cmp::Reverse(images));
        let name = |class: u32| classes[class as usize].clone();
        let confused = pairs.into_iter().take(NAMED);
        let labels: Vec<u32> = samples.iter().map(|sample| sample.label).collect();
        let suspects = suspects(out_of_fold, &labels, classes.len());
        let named = suspects.iter().take(NAMED).map(|suspect| SuspectLabel {
            path: samples[suspect.example].path.display().to_string(),
            given: name(labels[suspect.example]),
            likely: classes[suspect.likely].clone(),
            score: suspect.score,
        });
        Self {
            images,
            correct,
            accuracy: correct as f64 / images as f64,
            accuracy_interval_95: wilson_interval_95(correct, images),
            calibration_error: calibration_error(
                all.map(|example| (out_of_fold.predicted(example).1, is_right(example))),
            ),
            confused: confused
                .map(|((class, predicted), images)| Confused {
                    class: name(class),
                    predicted: name(predicted),
                    images,
                })
                .collect(),
            suspect_label_count: suspects.len() as u64,
            suspect_labels: named.collect(),
        }
    }

    /// The report in words, as notes.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let [low, high] = self.accuracy_interval_95.map(|share| 100.0 * share);
        let mut notes = vec![format!(
            "nothing is held out, so the accuracy is estimated by cross-validation: {} of {} \
             training images right ({:.1} %, 95 % \
             interval {low:.1} to {high:.1} %), calibration error {:.1} %",
            self.correct,
            self.images,
            100.0 * self.accuracy,
            100.0 * self.calibration_error
        )];
        if let Some(Confused { class, predicted, images }) = self.confused.first() {
            notes.push(format!(
                "most often confused: {class}, taken for {predicted} ({images} images)"
            ));
        }
        let named: Vec<String> = self
            .suspect_labels
            .iter()
            .take(3)
            .map(|suspect| {
                format!("{} ({}, likelier {})", suspect.path, suspect.given, suspect.likely)
            })
            .collect();
        if !named.is_empty() {
            notes.push(format!(
                "{} labels are likely wrong: {}; `regraft audit` lists and fixes them",
                self.suspect_label_count,
                named.join(", ")
            ));
        }
        notes
    }
}

/// The rows of `predictions_out_of_fold.csv`.
#[must_use]
pub fn predictions(
    out_of_fold: &OutOfFold,
    samples: &[Sample],
    classes: &[String],
) -> Vec<Prediction> {
    let row = |(example, sample): (usize, &Sample)| {
        let (predicted, probability) = out_of_fold.predicted(example);
        Prediction {
            path: sample.path.display().to_string(),
            class: classes[sample.label as usize].clone(),
            predicted: Some(classes[predicted as usize].clone()),
            probability: Some(probability),
            class_probability: Some(out_of_fold.of_label(example)),
            rank: out_of_fold.rank(example, sample.label),
            loss: Some(out_of_fold.loss(example)),
            brier: Some(out_of_fold.brier(example)),
        }
    };
    samples.iter().enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_confusions_and_names_suspects() {
        let classes = ["cat".to_owned(), "dog".to_owned()];
        let labels = [0u32, 0, 0, 1, 1, 1];
        let samples: Vec<Sample> = (0..)
            .zip(labels)
            .map(|(place, label)| Sample { path: format!("{place}.jpg").into(), label })
            .collect();
        let rows = [0.9, 0.1, 0.9, 0.1, 0.6, 0.4, 0.1, 0.9, 0.2, 0.8, 0.95, 0.05];
        let out_of_fold = OutOfFold::from_rows(&rows, &labels, 2);
        let report = OutOfFoldReport::new(&out_of_fold, &samples, &classes);
        assert_eq!((report.images, report.correct), (6, 5));
        assert_eq!(report.accuracy_interval_95, wilson_interval_95(5, 6));
        assert_eq!(
            report.confused,
            [Confused { class: "dog".into(), predicted: "cat".into(), images: 1 }]
        );
        assert_eq!(
            (report.suspect_label_count, report.suspect_labels[0].path.as_str()),
            (1, "5.jpg")
        );
        let notes = report.notes();
        assert!(notes[0].contains("5 of 6 training images right (83.3 %"), "{notes:?}");
        assert!(
            notes[2].starts_with("1 labels are likely wrong: 5.jpg (dog, likelier cat)"),
            "{notes:?}"
        );
        let rows = predictions(&out_of_fold, &samples, &classes);
        assert_eq!(
            rows.iter().map(Prediction::is_right).collect::<Vec<_>>(),
            [true, true, true, true, true, false]
        );
    }
}
