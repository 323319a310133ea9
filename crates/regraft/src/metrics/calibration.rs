//! How far probabilities can be trusted.

/// Bins of equal width, as most papers have.
const BINS: usize = 15;

/// Predictions whose probabilities lie in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Bin {
    /// How many.
    pub images: u64,
    /// Their mean probability; 0 without any.
    pub probability: f64,
    /// The share of them that are right; 0 without any.
    pub accuracy: f64,
}

/// Predictions by their probability, in 15 intervals of equal width from 0 to 1. `predictions` are
/// the probability of the predicted class and whether it is the true one.
pub fn reliability(predictions: impl Iterator<Item = (f32, bool)>) -> Vec<Bin> {
    let mut bins = vec![Bin::default(); BINS];
    for (probability, is_right) in predictions {
        let place = ((probability * BINS as f32).ceil() as usize).clamp(1, BINS) - 1;
        let bin = &mut bins[place];
        bin.images += 1;
        bin.probability += f64::from(probability);
        bin.accuracy += f64::from(u8::from(is_right));
    }
    for bin in &mut bins {
        let count = bin.images.max(1) as f64;
        bin.probability /= count;
        bin.accuracy /= count;
    }
    bins
}

/// The expected calibration error, from 0 to 1: the differences between mean probability and share
/// of right predictions of each [`Bin`], averaged by size (C. Guo et al., "On Calibration of Modern
/// Neural Networks", 2017). `predictions` as in [`reliability`]. Without any prediction it is 0.
pub fn calibration_error(predictions: impl Iterator<Item = (f32, bool)>) -> f64 {
    let bins = reliability(predictions);
    let count: u64 = bins.iter().map(|bin| bin.images).sum();
    let gap = |bin: &Bin| bin.images as f64 * (bin.probability - bin.accuracy).abs();
    bins.iter().map(gap).sum::<f64>() / count.max(1) as f64
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
