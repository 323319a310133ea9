//! The metrics of a labelled set, gathered batch by batch.

use serde::{Deserialize, Serialize};

use super::{Confusion, brier, calibration_error, cross_entropy, predicted_class, rank, softmax};

/// A model's scores on a labelled set. The JSON names are the field names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Images evaluated; at least one.
    pub images: u64,
    /// Images whose predicted class is the true one.
    pub correct: u64,
    /// `correct / images`.
    pub accuracy: f64,
    /// The 95 % Wilson score interval of the accuracy, `[low, high]` (see [`wilson_interval_95`]).
    pub accuracy_interval_95: [f64; 2],
    /// The share of images whose true class is among the five with the largest logits (ties go to
    /// the lower index); `None` with five classes or fewer, where it would always be 1.
    pub top5_accuracy: Option<f64>,
    /// The mean recall of the classes that have images (scikit-learn's `balanced_accuracy_score`).
    pub balanced_accuracy: f64,
    /// The mean cross entropy over the images, in nats; `None` where an image's is not a finite
    /// number.
    pub loss: Option<f64>,
    /// The expected calibration error, from 0 to 1 (see [`calibration_error`]).
    #[serde(default)]
    pub calibration_error: f64,
    /// The mean Brier score, from 0 to 2: the squared differences between the probabilities and 1
    /// for the true class, 0 for the others, summed over the classes.
    #[serde(default)]
    pub brier_score: f64,
    /// Images whose logits name no class because they hold NaN or no finite maximum. They count as
    /// wrong and are missing from `confusion`.
    pub images_without_prediction: u64,
    /// One report for each class, in class order.
    pub per_class: Vec<ClassReport>,
    /// Images by true class (rows), then predicted class (columns).
    pub confusion: Vec<Vec<u64>>,
    /// Class names, in the order of the model's outputs.
    pub classes: Vec<String>,
}

/// One class of an [`Evaluation`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassReport {
    /// The class's name.
    pub class: String,
    /// Images that are of this class (the support).
    pub images: u64,
    /// The share of images given this class that are of it; `None` if none was given it.
    pub precision: Option<f64>,
    /// The share of this class's images that were given it; `None` if it has no images.
    pub recall: Option<f64>,
    /// The harmonic mean of precision and recall, taken as `2 right / (images of it + images given
    /// it)`: it is 0, not undefined, where the class has images but was never predicted. `None`
    /// where both are missing.
    pub f1: Option<f64>,
}

/// There was nothing to evaluate, so that no metric has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no images to evaluate: give a folder that holds at least one labelled image")]
pub struct NoImages;

/// The values of an image that the metrics need.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageScore {
    /// The predicted class and its probability; `None` if the network gave no finite numbers.
    pub predicted: Option<(usize, f32)>,
    /// The place of the true class by probability, counted from 1, as far as it is known.
    pub rank: Option<u32>,
    /// The cross-entropy in nats; `None` if it is not finite.
    pub loss: Option<f64>,
    /// The Brier score, from 0 to 2; 0 without a prediction.
    pub brier: f64,
}

impl ImageScore {
    /// That of a row of logits `[C]`.
    fn of(row: &[f32], label: usize) -> Self {
        let predicted = predicted_class(row).map(|class| (class, softmax(row)));
        Self {
            rank: predicted.as_ref().map(|_| rank(row, label) as u32 + 1),
            loss: cross_entropy(row, label),
            brier: predicted.as_ref().map_or(0.0, |(_, row)| brier(row, label)),
            predicted: predicted.map(|(class, row)| (class, row[class])),
        }
    }
}

/// Gathers an [`Evaluation`] batch by batch. The result does not depend on how the images are cut
/// into batches.
#[derive(Debug, Clone)]
pub struct Evaluator {
    classes: Vec<String>,
    confusion: Confusion,
    images_by_class: Vec<u64>,
    in_top5: u64,
    /// Summed in f64, an image at a time; NaN once any image's cross entropy was not finite.
    loss_sum: f64,
    brier_sum: f64,
    /// The probability of the predicted class, and whether it is the true one.
    guesses: Vec<(f32, bool)>,
}

impl Evaluator {
    /// An evaluator for a model whose outputs are these classes, in this order.
    ///
    /// # Panics
    /// Where `classes` is empty.
    pub fn new(classes: Vec<String>) -> Self {
        assert!(!classes.is_empty(), "a classifier has at least one class");
        let count = classes.len();
        Self {
            classes,
            confusion: Confusion::new(count),
            images_by_class: vec![0; count],
            in_top5: 0,
            loss_sum: 0.0,
            brier_sum: 0.0,
            guesses: Vec::new(),
        }
    }

    /// Adds a batch: logits `[N, C]` and the true class of each of the `N` images.
    ///
    /// # Panics
    /// If the two lengths do not fit or a label is not below the class count.
    pub fn add(&mut self, logits: &[f32], labels: &[u32]) {
        let classes = self.classes.len();
        assert_eq!(
            logits.len(),
            labels.len() * classes,
            "logits must be [{}, {classes}]",
            labels.len()
        );
        for (row, &label) in logits.chunks_exact(classes).zip(labels) {
            let label = label as usize;
            self.count(label, &ImageScore::of(row, label));
        }
    }

    /// Adds an image of the class `label`.
    pub fn count(&mut self, label: usize, score: &ImageScore) {
        self.images_by_class[label] += 1;
        self.loss_sum += score.loss.unwrap_or(f64::NAN);
        if let Some((predicted, probability)) = score.predicted {
            self.confusion.add(label, predicted);
            self.in_top5 += u64::from(score.rank.is_some_and(|rank| rank <= 5));
            self.brier_sum += score.brier;
            self.guesses.push((probability, predicted == label));
        }
    }

    /// The metrics of everything added.
    ///
    /// # Errors
    /// [`NoImages`] if nothing was added.
    pub fn finish(self) -> Result<Evaluation, NoImages> {
        let images: u64 = self.images_by_class.iter().sum();
        if images == 0 {
            return Err(NoImages);
        }
        let per_class: Vec<ClassReport> = self
            .classes
            .iter()
            .enumerate()
            .map(|(class, name)| self.class_report(class, name))
            .collect();
        let recalls: Vec<f64> = per_class.iter().filter_map(|report| report.recall).collect();
        let correct = self.confusion.correct();
        let confusion = self.confusion.rows();
        let predictions: u64 = confusion.iter().flatten().sum();
        let loss = self.loss_sum / images as f64;
        Ok(Evaluation {
            images,
            correct,
            accuracy: correct as f64 / images as f64,
            accuracy_interval_95: wilson_interval_95(correct, images),
            top5_accuracy: (self.classes.len() > 5).then(|| self.in_top5 as f64 / images as f64),
            balanced_accuracy: recalls.iter().sum::<f64>() / recalls.len() as f64,
            loss: loss.is_finite().then_some(loss),
            calibration_error: calibration_error(self.guesses.into_iter()),
            brier_score: self.brier_sum / predictions.max(1) as f64,
            images_without_prediction: images - predictions,
            per_class,
            confusion,
            classes: self.classes,
        })
    }

    fn class_report(&self, class: usize, name: &str) -> ClassReport {
        let images = self.images_by_class[class];
        let right = self.confusion.count(class, class);
        let predicted = self.confusion.predicted_as(class);
        ClassReport {
            class: name.to_owned(),
            images,
            precision: ratio(right, predicted),
            recall: ratio(right, images),
            f1: ratio(2 * right, images + predicted),
        }
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The 95 % confidence interval `[low, high]` of a proportion by Wilson's score (E. B. Wilson,
/// "Probable inference, the law of succession, and statistical inference", 1927). Unlike the normal
/// approximation it stays within 0 and 1 and is sound for small counts and for proportions near 0
/// or 1. Without any trial it is `[0, 1]`.
pub fn wilson_interval_95(successes: u64, trials: u64) -> [f64; 2] {
    /// The 97.5 % quantile of the standard normal distribution.
    const Z: f64 = 1.959963984540054;
    if trials == 0 {
        return [0.0, 1.0];
    }
    let n = trials as f64;
    let proportion = successes as f64 / n;
    let denominator = 1.0 + Z * Z / n;
    let centre = (proportion + Z * Z / (2.0 * n)) / denominator;
    let half_width =
        Z / denominator * (proportion * (1.0 - proportion) / n + Z * Z / (4.0 * n * n)).sqrt();
    // At 0 and n successes the end is exactly 0 or 1, which rounding would miss.
    let low = if successes == 0 { 0.0 } else { centre - half_width };
    let high = if successes == trials { 1.0 } else { centre + half_width };
    [low, high]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluator(classes: &[&str]) -> Evaluator {
        Evaluator::new(classes.iter().map(|class| (*class).to_owned()).collect())
    }

    #[test]
    fn three_classes_by_hand() {
        // Predictions: 0 for a 0, 1 for a 0, 1 for a 1, 0 for a 0. Class "c" has no image and is
        // never predicted.
        let mut evaluator = evaluator(&["a", "b", "c"]);
        evaluator.add(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0], &[0, 0]);
        evaluator.add(&[0.0, 1.0, 0.0, 1.0, 0.0, 0.0], &[1, 0]);
        let evaluation = evaluator.finish().unwrap();
        assert_eq!((evaluation.images, evaluation.correct, evaluation.accuracy), (4, 3, 0.75));
        assert_eq!(evaluation.top5_accuracy, None);
        assert_eq!(evaluation.confusion, [[2, 1, 0], [0, 1, 0], [0, 0, 0]]);
        // Recalls 2/3 and 1; the class without images has no part in the mean.
        assert!((evaluation.balanced_accuracy - 5.0 / 6.0).abs() < 1e-15);
        let wrong = (std::f64::consts::E + 2.0).ln();
        assert!((evaluation.loss.unwrap() - (wrong - 0.75)).abs() < 1e-12);
        let report = |class: usize| {
            let report = &evaluation.per_class[class];
            (report.images, report.precision, report.recall, report.f1)
        };
        assert_eq!(report(0), (3, Some(1.0), Some(2.0 / 3.0), Some(0.8)));
        assert_eq!(report(1), (1, Some(0.5), Some(1.0), Some(2.0 / 3.0)));
        assert_eq!(report(2), (0, None, None, None));
    }

    #[test]
    fn a_class_never_predicted_has_no_precision_and_an_f1_of_zero() {
        let mut evaluator = evaluator(&["a", "b"]);
        evaluator.add(&[1.0, 0.0, 1.0, 0.0], &[0, 1]);
        let evaluation = evaluator.finish().unwrap();
        let report = &evaluation.per_class[1];
        assert_eq!((report.precision, report.recall, report.f1), (None, Some(0.0), Some(0.0)));
    }

    #[test]
    fn unusable_logits_count_as_wrong() {
        let mut evaluator = evaluator(&["a", "b", "c", "d", "e", "f"]);
        let nan = [f32::NAN; 6];
        let partly = [9.0, f32::NAN, 0.0, 0.0, 0.0, 0.0];
        let infinite = [f32::INFINITY, 0.0, 0.0, 0.0, 0.0, 0.0];
        let right = [9.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        evaluator.add(&[nan, partly, infinite, right].concat(), &[0, 0, 0, 0]);
        let evaluation = evaluator.finish().unwrap();
        assert_eq!(
            (evaluation.images, evaluation.correct, evaluation.images_without_prediction),
            (4, 1, 3)
        );
        assert_eq!(evaluation.per_class[0].images, 4);
        assert_eq!(evaluation.per_class[0].recall, Some(0.25));
        assert_eq!(evaluation.top5_accuracy, Some(0.25));
        assert_eq!(evaluation.loss, None);
        // The written file is read back, with its missing numbers.
        let json = serde_json::to_string(&evaluation).unwrap();
        assert_eq!(serde_json::from_str::<Evaluation>(&json).unwrap(), evaluation);
    }

    #[test]
    fn equal_logits_count_only_for_the_lowest_index() {
        let mut evaluator = evaluator(&["a", "b", "c", "d", "e", "f"]);
        evaluator.add(&[0.0; 36], &[0, 1, 2, 3, 4, 5]);
        let evaluation = evaluator.finish().unwrap();
        assert_eq!(evaluation.correct, 1);
        assert_eq!(evaluation.top5_accuracy, Some(5.0 / 6.0));
    }

    #[test]
    fn the_json_names_are_stable() {
        let mut evaluator = evaluator(&["a", "b"]);
        evaluator.add(&[0.0, 0.0], &[0]);
        let json = serde_json::to_value(evaluator.finish().unwrap()).unwrap();
        let expected = serde_json::json!({
            "images": 1,
            "correct": 1,
            "accuracy": 1.0,
            "accuracy_interval_95": [json["accuracy_interval_95"][0], 1.0],
            "top5_accuracy": null,
            "balanced_accuracy": 1.0,
            "loss": std::f64::consts::LN_2,
            "calibration_error": 0.5,
            "brier_score": 0.5,
            "images_without_prediction": 0,
            "per_class": [
                {"class": "a", "images": 1, "precision": 1.0, "recall": 1.0, "f1": 1.0},
                {"class": "b", "images": 0, "precision": null, "recall": null, "f1": null},
            ],
            "confusion": [[1, 0], [0, 0]],
            "classes": ["a", "b"],
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn nothing_added_is_an_error() {
        assert_eq!(evaluator(&["a"]).finish(), Err(NoImages));
    }

    #[test]
    #[should_panic(expected = "logits must be [2, 3]")]
    fn logits_that_do_not_fit_the_labels_are_refused() {
        evaluator(&["a", "b", "c"]).add(&[0.0; 4], &[0, 1]);
    }
}
