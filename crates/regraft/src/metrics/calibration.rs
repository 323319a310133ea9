//! How far probabilities can be trusted.

/// Bins of equal width, as most papers have.
const BINS: usize = 15;

/// The expected calibration error, from 0 to 1: predictions are binned by their probability, and
/// the bins' differences between mean probability and share of right predictions are averaged,
/// weighted by size (C. Guo et al., "On Calibration of Modern Neural Networks", 2017).
/// `predictions` are the probability of the predicted class and whether it is the true one. Without
/// any prediction it is 0.
pub fn calibration_error(predictions: impl Iterator<Item = (f32, bool)>) -> f64 {
    let mut bins = [(0.0f64, 0.0f64); BINS];
    let mut count = 0.0f64;
    for (probability, is_right) in predictions {
        let bin = ((probability * BINS as f32).ceil() as usize).clamp(1, BINS) - 1;
        bins[bin].0 += f64::from(probability);
        bins[bin].1 += f64::from(u8::from(is_right));
        count += 1.0;
    }
    bins.iter().map(|(probability, right)| (probability - right).abs()).sum::<f64>()
        / count.max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bins_differences_are_averaged_by_size() {
        // Three of 0.9, two of them right; one of 0.55, right.
        let predictions = [(0.9, true), (0.9, true), (0.9, false), (0.55, true)];
        let error = calibration_error(predictions.into_iter());
        assert!((error - (0.7 + 0.45) / 4.0).abs() < 1e-6, "{error}");
        assert_eq!(calibration_error([(1.0, true), (1.0, true)].into_iter()), 0.0);
        assert_eq!(calibration_error([].into_iter()), 0.0);
    }
}
