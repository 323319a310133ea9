//! The temperature that calibrates a classifier's probabilities.

use super::{calibration_error, cross_entropy, predicted_class, softmax};
use serde::{Deserialize, Serialize};

/// Logits that are kept for the fit. A temperature is a single number, which a few thousand images
/// determine well enough; the rows of 50,000 images and 10,000 classes would take 2 GB.
const MOST_VALUES: usize = 1 << 22;

/// Temperatures lie between this and its inverse.
const MOST: f64 = 20.0;

/// Rows of logits of labelled images that a network has not learned from: every image's, or those
/// of every n-th image if they would take too much memory.
#[derive(Clone, Debug, PartialEq)]
pub struct LogitSample {
    classes: usize,
    /// Images for each row that is kept.
    stride: usize,
    /// `[rows, classes]`.
    values: Vec<f32>,
    /// `[rows]`; `None` until the row is set.
    labels: Vec<Option<u32>>,
}

impl LogitSample {
    /// Room for the rows of up to `images` images of `classes` classes.
    #[must_use]
    pub fn new(images: usize, classes: usize) -> Self {
        let stride = images.saturating_mul(classes).div_ceil(MOST_VALUES).max(1);
        let rows = images.div_ceil(stride);
        Self { classes, stride, values: vec![0.0; rows * classes], labels: vec![None; rows] }
    }

    /// Keeps the row `[classes]` of the image at a place, if the sample has room for it.
    pub fn set(&mut self, image: usize, label: u32, row: impl Iterator<Item = f32>) {
        let place = image / self.stride;
        if !image.is_multiple_of(self.stride) || place >= self.labels.len() {
            return;
        }
        let values = &mut self.values[place * self.classes..(place + 1) * self.classes];
        values.iter_mut().zip(row).for_each(|(value, logit)| *value = logit);
        self.labels[place] = Some(label);
    }

    /// The rows `[classes]` that name a class, each with its label.
    fn rows(&self) -> impl Iterator<Item = (&[f32], usize)> {
        let rows = self.values.chunks_exact(self.classes.max(1)).zip(&self.labels);
        let set = rows.filter_map(|(row, label)| Some((row, (*label)? as usize)));
        set.filter(|(row, _)| predicted_class(row).is_some())
    }
}

/// Where the images came from that a temperature was fitted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FittedOn {
    /// Training images, each predicted by a head of the cross-validation that did not see it.
    OutOfFold,
    /// The validation images.
    Validation,
}

impl FittedOn {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::OutOfFold => "fitted out of fold",
            Self::Validation => "fitted on the validation set",
        }
    }
}

/// A temperature: logits are divided by it, so that probabilities say how often they are right. The
/// predicted class stays the same. (C. Guo et al., "On Calibration of Modern Neural Networks",
/// 2017.)
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Temperature {
    /// The divisor; above 1 it makes probabilities less extreme.
    pub temperature: f64,
    /// The images that it was fitted to.
    pub fitted_on: FittedOn,
    /// How many these are.
    pub images: u64,
    /// Their mean cross-entropy in nats, without the temperature.
    pub loss_before: f64,
    /// The same with it.
    pub loss_after: f64,
    /// Their expected calibration error, from 0 to 1, without the temperature.
    pub calibration_error_before: f64,
    /// The same with it.
    pub calibration_error_after: f64,
}

impl Temperature {
    /// The temperature with the smallest mean cross-entropy, within 1/20 and 20. It is 1 if the
    /// images are all predicted right, because they set no limit to how certain the probabilities
    /// may become. `None` without any image.
    #[must_use]
    pub fn fit(sample: &LogitSample, fitted_on: FittedOn) -> Option<Self> {
        let mut images = 0u64;
        let mut right = 0u64;
        for (row, label) in sample.rows() {
            images += 1;
            right += u64::from(predicted_class(row) == Some(label));
        }
        if images == 0 {
            return None;
        }
        let temperature = if right == images { 1.0 } else { 1.0 / best_scale(sample) };
        let [before, after] = [1.0, temperature].map(|temperature| Scores::of(sample, temperature));
        let found = Self {
            temperature,
            fitted_on,
            images,
            loss_before: before.loss,
            loss_after: after.loss,
            calibration_error_before: before.calibration_error,
            calibration_error_after: after.calibration_error,
        };
        // A label that the network rules out has an infinite loss at any temperature.
        (before.loss.is_finite() && after.loss.is_finite()).then_some(found)
    }

    /// Whether dividing by it makes sense.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        self.temperature.is_finite() && self.temperature > 0.0
    }

    /// A sentence on it, without a full stop.
    #[must_use]
    pub fn note(&self) -> String {
        format!(
            "temperature {:.3}, {} ({} images): loss {:.4} instead of {:.4}, calibration error \
             {:.1} % instead of {:.1} %; `--temperature` of evaluate, predict and export applies \
             it",
            self.temperature,
            self.fitted_on.words(),
            self.images,
            self.loss_after,
            self.loss_before,
            100.0 * self.calibration_error_after,
            100.0 * self.calibration_error_before,
        )
    }
}

/// The scores of a sample whose logits are divided by a temperature.
struct Scores {
    loss: f64,
    calibration_error: f64,
}

impl Scores {
    fn of(sample: &LogitSample, temperature: f64) -> Self {
        let (mut sum, mut images, mut guesses) = (0.0, 0.0, Vec::new());
        for (row, label) in sample.rows() {
            let row: Vec<f32> =
                row.iter().map(|&logit| (f64::from(logit) / temperature) as f32).collect();
            sum += cross_entropy(&row, label).unwrap_or(f64::INFINITY);
            images += 1.0;
            if let Some(class) = predicted_class(&row) {
                guesses.push((softmax(&row)[class], class == label));
            }
        }
        Self { loss: sum / images, calibration_error: calibration_error(guesses.into_iter()) }
    }
}

/// The factor of the logits, within 1/20 and 20, at which the mean cross-entropy is smallest. It is
/// convex in the factor, so Newton's method finds the minimum; if a step would leave the interval
/// that the slopes have narrowed down, the interval is halved instead.
fn best_scale(sample: &LogitSample) -> f64 {
    let (mut low, mut high) = (1.0 / MOST, MOST);
    if slope(sample, low).0 >= 0.0 {
        return low;
    }
    if slope(sample, high).0 <= 0.0 {
        return high;
    }
    let mut scale = 1.0;
    for _ in 0..100 {
        let (first, second) = slope(sample, scale);
        if first > 0.0 {
            high = scale;
        } else {
            low = scale;
        }
        let newton = scale - first / second;
        let next = if newton > low && newton < high { newton } else { 0.5 * (low + high) };
        if (next - scale).abs() < 1e-9 * scale {
            return next;
        }
        scale = next;
    }
    scale
}

/// The first and second derivative of the summed cross-entropy by the factor of the logits: the
/// sums of mean and variance of the logits under the probabilities, the mean minus the label's.
fn slope(sample: &LogitSample, scale: f64) -> (f64, f64) {
    let (mut first, mut second) = (0.0, 0.0);
    for (row, label) in sample.rows() {
        let largest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let (mut weights, mut sum, mut squares) = (0.0, 0.0, 0.0);
        // A class that is ruled out has no weight.
        for &logit in row.iter().filter(|logit| logit.is_finite()) {
            let below = f64::from(logit) - largest;
            let weight = (scale * below).exp();
            weights += weight;
            sum += weight * below;
            squares += weight * below * below;
        }
        let mean = sum / weights;
        first += mean - (f64::from(row[label]) - largest);
        second += squares / weights - mean * mean;
    }
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rows: &[(&[f32], u32)]) -> LogitSample {
        let mut sample = LogitSample::new(rows.len(), rows[0].0.len());
        for (place, (row, label)) in rows.iter().enumerate() {
            sample.set(place, *label, row.iter().copied());
        }
        sample
    }

    #[test]
    fn three_of_four_right_gives_a_probability_of_three_quarters() {
        let row = [3.0, 0.0];
        let sample = sample(&[(&row, 0), (&row, 0), (&row, 0), (&row, 1)]);
        let found = Temperature::fit(&sample, FittedOn::Validation).expect("a temperature");
        // 3 / T is the logarithm of 3 to 1.
        assert!((found.temperature - 3.0 / 3f64.ln()).abs() < 1e-8, "{found:?}");
        assert!(found.loss_after < found.loss_before, "{found:?}");
        assert!(found.calibration_error_after < 1e-6, "{found:?}");
        assert!((found.calibration_error_before - 0.2026).abs() < 1e-3, "{found:?}");
        assert_eq!(found.images, 4);
    }

    #[test]
    fn images_that_set_no_limit_change_nothing() {
        let right = sample(&[(&[3.0, 0.0], 0), (&[0.0, 1.0], 1)]);
        assert_eq!(Temperature::fit(&right, FittedOn::OutOfFold).expect("one").temperature, 1.0);
        let wrong = sample(&[(&[3.0, 0.0], 1), (&[0.0, 1.0], 0)]);
        let found = Temperature::fit(&wrong, FittedOn::OutOfFold).expect("one").temperature;
        assert!((found - MOST).abs() < 1e-9, "{found}");
        assert_eq!(Temperature::fit(&LogitSample::new(3, 2), FittedOn::Validation), None);
        let ruled_out = sample(&[(&[0.0, f32::NEG_INFINITY], 1), (&[0.0, 1.0], 1)]);
        assert_eq!(Temperature::fit(&ruled_out, FittedOn::Validation), None);
        let unusable = sample(&[(&[f32::NAN, 0.0], 0)]);
        assert_eq!(Temperature::fit(&unusable, FittedOn::Validation), None);
    }

    #[test]
    fn a_large_sample_keeps_every_nth_image() {
        let mut large = LogitSample::new(MOST_VALUES, 3);
        assert_eq!(large.stride, 3);
        (0..9).for_each(|image| large.set(image, image as u32, [image as f32; 3].into_iter()));
        let kept: Vec<(f32, usize)> = large.rows().map(|(row, label)| (row[0], label)).collect();
        assert_eq!(kept, [(0.0, 0), (3.0, 3), (6.0, 6)]);
    }
}
