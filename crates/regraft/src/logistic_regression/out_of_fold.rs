//! Predictions for each example by regressions that did not see it.

use crate::metrics::{LogitSample, brier};

/// Classes of an example whose probabilities are kept. What is less probable than all of these has
/// at most a seventeenth.
const KEPT: usize = 16;

/// The most probable classes of each example. Only these are kept, because all probabilities of
/// 50,000 examples of 10,000 classes would take 2 GB.
#[derive(Clone, Debug, PartialEq)]
pub struct OutOfFold {
    /// Classes kept of each example.
    kept: usize,
    /// `[N, kept]`: class and probability, the most probable first.
    ranked: Vec<(u32, f32)>,
    /// `[N]`: the probability of the example's own label.
    of_label: Vec<f32>,
    /// `[N]`: the Brier score.
    brier: Vec<f64>,
    /// Logarithms of all classes' probabilities, which are logits too, as far as they are kept.
    logits: LogitSample,
}

impl OutOfFold {
    /// Room for `examples` with `classes` each.
    pub(super) fn new(examples: usize, classes: usize) -> Self {
        let kept = classes.min(KEPT);
        Self {
            kept,
            ranked: vec![(0, 0.0); examples * kept],
            of_label: vec![0.0; examples],
            brier: vec![0.0; examples],
            logits: LogitSample::new(examples, classes),
        }
    }

    /// From whole rows `[N, classes]`.
    #[must_use]
    pub fn from_rows(probabilities: &[f32], labels: &[u32], classes: usize) -> Self {
        let mut all = Self::new(labels.len(), classes);
        let rows = probabilities.chunks_exact(classes).zip(labels).enumerate();
        rows.for_each(|(example, (row, &label))| all.set(example, label, row));
        all
    }

    /// Keeps the largest of an example's probabilities `[classes]`.
    pub(super) fn set(&mut self, example: usize, label: u32, probabilities: &[f32]) {
        self.of_label[example] = probabilities[label as usize];
        self.brier[example] = brier(probabilities, label as usize);
        let logits = probabilities.iter().map(|&probability| log(probability));
        self.logits.set(example, label, logits);
        let best = &mut self.ranked[example * self.kept..(example + 1) * self.kept];
        let mut count = 0;
        for (class, &probability) in probabilities.iter().enumerate() {
            if count == best.len() && best.last().is_some_and(|last| probability <= last.1) {
                continue;
            }
            // Of equal ones the first class stays first.
            let place = best[..count].partition_point(|&(_, other)| other >= probability);
            count = (count + 1).min(best.len());
            best[place..count].rotate_right(1);
            best[place] = (class as u32, probability);
        }
    }

    /// Number of examples.
    #[must_use]
    pub fn examples(&self) -> usize {
        self.of_label.len()
    }

    /// The probability of the example's own label.
    #[must_use]
    pub fn of_label(&self, example: usize) -> f32 {
        self.of_label[example]
    }

    /// The cross-entropy of the example's own label, in nats.
    #[must_use]
    pub fn loss(&self, example: usize) -> f64 {
        -f64::from(self.of_label[example].max(f32::MIN_POSITIVE)).ln()
    }

    /// The example's Brier score, from 0 to 2.
    #[must_use]
    pub fn brier(&self, example: usize) -> f64 {
        self.brier[example]
    }

    /// The place of the example's own label by probability, counted from 1; `None` if it is not
    /// among those that are kept.
    #[must_use]
    pub fn rank(&self, example: usize, label: u32) -> Option<u32> {
        let place = self.ranked(example).iter().position(|&(class, _)| class == label)?;
        Some(place as u32 + 1)
    }

    /// Logits of the examples, as far as they are kept.
    #[must_use]
    pub fn logits(&self) -> &LogitSample {
        &self.logits
    }

    /// The example's most probable classes with their probabilities, the most probable first: all
    /// classes of up to 16, else 16.
    #[must_use]
    pub fn ranked(&self, example: usize) -> &[(u32, f32)] {
        &self.ranked[example * self.kept..(example + 1) * self.kept]
    }

    /// The class that the example is taken for, with its probability.
    #[must_use]
    pub fn predicted(&self, example: usize) -> (u32, f32) {
        self.ranked(example)[0]
    }
}

/// The logarithm of a probability. A probability that f32 rounds to 0 counts as the smallest
/// positive number.
fn log(probability: f32) -> f32 {
    probability.max(f32::MIN_POSITIVE).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_classes_are_kept_in_order() {
        let mut row: Vec<f32> = (0..40).map(|class| (class * 7 % 40) as f32 / 780.0).collect();
        row[3] = row[11];
        let found = OutOfFold::from_rows(&row, &[5], 40);
        let mut expected: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).collect();
        expected.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
        assert_eq!(found.ranked(0), &expected[..KEPT]);
        assert_eq!((found.of_label(0), found.predicted(0)), (row[5], expected[0]));
        assert_eq!(
            OutOfFold::from_rows(&[0.2, 0.5, 0.3], &[0], 3).ranked(0),
            [(1, 0.5), (2, 0.3), (0, 0.2)]
        );
    }
}
