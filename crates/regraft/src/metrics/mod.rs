//! From a classifier's outputs to probabilities, the predicted class, and the metrics of an
//! evaluated set.
//!
//! A row of logits is *usable* when it holds no NaN and its largest value is finite (minus infinity
//! elsewhere is a class ruled out, with probability 0). A row that is not usable predicts nothing:
//! it never counts as right, and it is counted in [`Evaluation::images_without_prediction`].

mod calibration;
mod confusion;
mod evaluation;
mod temperature;

pub use calibration::{Bin, calibration_error, reliability};
pub use confusion::Confusion;
pub use evaluation::{
    ClassReport, Evaluation, Evaluator, ImageScore, NoImages, wilson_interval_95,
};
pub use temperature::{FittedOn, LogitSample, Temperature};

/// The largest logit of a row, or `None` where the row predicts nothing (see the [module](self)).
fn largest_logit(logits: &[f32]) -> Option<f32> {
    if logits.iter().any(|logit| logit.is_nan()) {
        return None;
    }
    logits.iter().copied().reduce(f32::max).filter(|largest| largest.is_finite())
}

/// The class with the largest logit of the row `[C]`, the lower index in a tie; `None` where the
/// row predicts nothing (see the [module](self)).
pub fn predicted_class(logits: &[f32]) -> Option<usize> {
    let largest = largest_logit(logits)?;
    logits.iter().position(|&logit| logit == largest)
}

/// How many rows of logits `[N, C]` predict their label.
pub fn count_right(logits: &[f32], labels: &[u32]) -> usize {
    let classes = logits.len() / labels.len().max(1);
    let rows = logits.chunks_exact(classes.max(1)).zip(labels);
    rows.filter(|(row, label)| predicted_class(row) == Some(**label as usize)).count()
}

/// The probabilities of a row of logits `[C]`. Subtracting the largest logit first keeps every
/// exponential in range. A row that predicts nothing (see the [module](self)) gives NaN throughout.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let Some(largest) = largest_logit(logits) else {
        return vec![f32::NAN; logits.len()];
    };
    let exponentials: Vec<f64> =
        logits.iter().map(|&logit| (f64::from(logit) - f64::from(largest)).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.iter().map(|exponential| (exponential / sum) as f32).collect()
}

/// The `k` most probable classes of a row of logits `[C]` with their [`softmax`] probability, most
/// probable first. They are ranked by logit, ties by lower index. Fewer than `k` if there are
/// fewer classes; none where the row predicts nothing (see the [module](self)).
pub fn top_k(logits: &[f32], k: usize) -> Vec<(usize, f32)> {
    if largest_logit(logits).is_none() {
        return Vec::new();
    }
    let mut ranking: Vec<usize> = (0..logits.len()).collect();
    // A stable sort keeps equal logits in index order (partial_cmp and not total_cmp: -0 equals
    // +0).
    ranking
        .sort_by(|&a, &b| logits[b].partial_cmp(&logits[a]).unwrap_or(std::cmp::Ordering::Equal));
    ranking.truncate(k);
    let probabilities = softmax(logits);
    ranking.into_iter().map(|class| (class, probabilities[class])).collect()
}

/// Minus the log of the probability that the row gives `label`, in f64; `None` if that is not a
/// finite number.
pub(crate) fn cross_entropy(logits: &[f32], label: usize) -> Option<f64> {
    let largest = f64::from(largest_logit(logits)?);
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum();
    Some(largest - f64::from(logits[label]) + sum.ln()).filter(|loss| loss.is_finite())
}

/// How many classes are ranked before `class`: those with a larger logit, or the same one and a
/// lower index.
pub(crate) fn rank(logits: &[f32], class: usize) -> usize {
    let own = logits[class];
    logits
        .iter()
        .enumerate()
        .filter(|&(other, &logit)| logit > own || (logit == own && other < class))
        .count()
}

/// The Brier score of one image, from 0 to 2: the squared differences between its probabilities
/// `[C]` and 1 for the label, 0 for the others, summed. (G. W. Brier, "Verification of forecasts
/// expressed in terms of probability", 1950.)
pub(crate) fn brier(probabilities: &[f32], label: usize) -> f64 {
    let squares: f64 = probabilities.iter().map(|&p| f64::from(p) * f64::from(p)).sum();
    squares + 1.0 - 2.0 * f64::from(probabilities[label])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f32 = f32::NAN;
    const INFINITE: f32 = f32::INFINITY;

    #[test]
    fn softmax_of_logs_gives_the_numbers_back() {
        let probabilities = softmax(&[1f32.ln(), 2f32.ln(), 5f32.ln()]);
        for (probability, expected) in probabilities.iter().zip([0.125, 0.25, 0.625]) {
            assert!((probability - expected).abs() < 1e-6, "{probability} is not {expected}");
        }
    }

    #[test]
    fn softmax_stays_finite_for_large_logits() {
        assert_eq!(softmax(&[3e38, 3e38]), [0.5, 0.5]);
        assert_eq!(softmax(&[-3e38, 3e38]), [0.0, 1.0]);
        assert_eq!(softmax(&[-INFINITE, 7.0]), [0.0, 1.0]);
        assert!(softmax(&[]).is_empty());
    }

    #[test]
    fn rows_without_a_finite_maximum_predict_nothing() {
        for row in [[NAN, 1.0], [1.0, NAN], [NAN, NAN], [INFINITE, 1.0], [-INFINITE, -INFINITE]] {
            assert_eq!(predicted_class(&row), None, "{row:?}");
            assert!(softmax(&row).iter().all(|probability| probability.is_nan()), "{row:?}");
            assert!(top_k(&row, 2).is_empty(), "{row:?}");
            assert_eq!(cross_entropy(&row, 0), None, "{row:?}");
        }
        assert_eq!(predicted_class(&[]), None);
    }

    #[test]
    fn top_k_breaks_ties_by_lower_index() {
        let ranked =
            |row: &[f32], k| top_k(row, k).into_iter().map(|(class, _)| class).collect::<Vec<_>>();
        assert_eq!(ranked(&[1.0, 3.0, 3.0, 2.0], 3), [1, 2, 3]);
        assert_eq!(ranked(&[0.0, -0.0, 0.0], 3), [0, 1, 2]);
        assert_eq!(ranked(&[1.0, 2.0], 5), [1, 0]);
        assert!(top_k(&[1.0, 2.0], 0).is_empty());
        // Both tails underflow to probability 0 and keep the order of their logits all the same.
        assert_eq!(ranked(&[-2000.0, 0.0, -1000.0], 3), [1, 2, 0]);
        assert_eq!(predicted_class(&[1.0, 3.0, 3.0]), Some(1));
    }

    #[test]
    fn cross_entropy_of_two_equal_logits_is_log_two() {
        assert_eq!(cross_entropy(&[4.0, 4.0], 1), Some(std::f64::consts::LN_2));
        assert_eq!(cross_entropy(&[-INFINITE, 4.0], 0), None);
        // A label that is all but ruled out has a large loss, not an infinite one.
        assert_eq!(cross_entropy(&[0.0, 5000.0], 0), Some(5000.0));
    }
}
