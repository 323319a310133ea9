//! Likely mislabelled images, by confident learning (Northcutt, Jiang and Chuang 2021, "Confident
//! Learning: Estimating Uncertainty in Dataset Labels", JAIR 70).

use crate::logistic_regression::OutOfFold;
use serde::{Deserialize, Serialize};

/// An image that is likely of another class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct SuspectLabel {
    pub path: String,
    pub given: String,
    pub likely: String,
    pub score: f64,
}

/// An example that is likely of another class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suspect {
    /// Its place.
    pub example: usize,
    /// The likelier class.
    pub likely: usize,
    /// How much more probable that class is than the given one: from 0 to 1.
    pub score: f64,
}

/// The examples off the diagonal of the confident joint, by their margin, the largest first: those
/// that a class other than the given one claims with at least the mean probability that it has
/// among its own.
pub fn suspects(out_of_fold: &OutOfFold, labels: &[u32], classes: usize) -> Vec<Suspect> {
    let mut sums = vec![(0.0f64, 0usize); classes];
    for (example, &label) in labels.iter().enumerate() {
        let (sum, count) = &mut sums[label as usize];
        *sum += f64::from(out_of_fold.of_label(example));
        *count += 1;
    }
    let thresholds: Vec<f64> = sums
        .iter()
        .map(|&(sum, count)| if count == 0 { f64::INFINITY } else { sum / count as f64 })
        .collect();
    let mut found: Vec<Suspect> = labels
        .iter()
        .enumerate()
        .filter_map(|(example, &given)| {
            let ranked = out_of_fold.ranked(example);
            let &(likely, probability) = ranked
                .iter()
                .find(|&&(class, value)| f64::from(value) >= thresholds[class as usize])?;
            let score = f64::from(probability) - f64::from(out_of_fold.of_label(example));
            (likely != given && score > 0.0).then_some(Suspect {
                example,
                likely: likely as usize,
                score,
            })
        })
        .collect();
    found.sort_by(|left, right| {
        right.score.total_cmp(&left.score).then(left.example.cmp(&right.example))
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_suspect_where_another_class_is_as_sure_as_of_its_own() {
        // Class 0 has mean 0.8 among its own (0.9, 0.9, 0.6); class 1 has 0.6 (0.9, 0.8, 0.1).
        let probabilities = [0.9, 0.1, 0.9, 0.1, 0.6, 0.4, 0.1, 0.9, 0.2, 0.8, 0.9, 0.1];
        let labels = [0, 0, 0, 1, 1, 1];
        let found = suspects(&OutOfFold::from_rows(&probabilities, &labels, 2), &labels, 2);
        assert_eq!(
            found.iter().map(|suspect| (suspect.example, suspect.likely)).collect::<Vec<_>>(),
            [(5, 0)]
        );
        assert!((found[0].score - 0.8).abs() < 1e-6);
        // Doubt alone makes no suspect: 0.55 for class 1 is below what it has among its own.
        let out_of_fold = OutOfFold::from_rows(&[0.9, 0.1, 0.45, 0.55, 0.1, 0.9], &[0, 0, 1], 2);
        let found = suspects(&out_of_fold, &[0, 0, 1], 2);
        assert!(found.is_empty(), "{found:?}");
    }
}
