//! How long a regression will take.

use super::basis::Basis;
use crate::algebra::softmax_regression::{Classifier, Rows, loss_and_gradient};
use crate::algebra::symmetric::eigenvectors;
use regraft_base::random::{Draws, Purpose};
use std::time::Instant;

/// Evaluations of the objective that the choice of a strength and the solution take: 180 to 230
/// were seen along the principal axes, up to 660 in other coordinates.
const EVALUATIONS: [f64; 2] = [230.0, 600.0];
/// The work outside evaluations: second derivatives, steps, vectors.
const REST: f64 = 1.3;
/// Examples of which one evaluation is timed. It takes as much longer as there are more.
const TIMED: usize = 512;
/// The size of the matrix of which the eigenvectors are timed. They take as much longer as the
/// third power is larger.
const TIMED_SIZE: usize = 192;

/// Seconds that [`cross_validate_and_solve`](super::cross_validate_and_solve) is expected to take
/// for this many examples, on the current rayon thread pool of this machine, which is measured.
#[must_use]
pub fn expected_seconds(examples: usize, channels: usize, classes: usize) -> f64 {
    let axes = Basis::axes_for(examples, channels, classes);
    let evaluation = seconds_of_evaluation(examples.min(TIMED), axes.unwrap_or(channels), classes);
    let evaluations = evaluation * (examples as f64 / examples.clamp(1, TIMED) as f64);
    match axes {
        None => REST * EVALUATIONS[1] * evaluations,
        Some(axes) => {
            let size = TIMED_SIZE.min(axes.max(1));
            REST * EVALUATIONS[0] * evaluations
                + seconds_of_eigenvectors(size) * (axes as f64 / size as f64).powi(3)
        }
    }
}

/// The better of two measurements.
fn seconds_of_evaluation(examples: usize, channels: usize, classes: usize) -> f64 {
    let mut draws = Draws::new(0, Purpose::Fixture, 0, 0);
    let features: Vec<f32> = (0..examples * channels).map(|_| draws.range(-1.0, 1.0)).collect();
    let labels: Vec<u32> = (0..examples).map(|example| (example % classes) as u32).collect();
    let class_weights = vec![1.0; classes];
    let rows =
        Rows { features: &features, channels, labels: &labels, class_weights: &class_weights };
    let (weight, bias) = (vec![0.01; classes * channels], vec![0.0; classes]);
    let mut gradient = vec![0.0; classes * (channels + 1)];
    let whole = 0..examples;
    let mut measure = || {
        let started = Instant::now();
        loss_and_gradient(
            &rows,
            std::slice::from_ref(&whole),
            &Classifier { weight: &weight, bias: &bias },
            &mut gradient,
            None,
        );
        started.elapsed().as_secs_f64()
    };
    measure().min(measure())
}

fn seconds_of_eigenvectors(size: usize) -> f64 {
    let mut matrix: Vec<f64> =
        (0..size * size).map(|place| 1.0 / (1 + place / size + place % size) as f64).collect();
    let started = Instant::now();
    eigenvectors(&mut matrix, size);
    started.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_examples_and_classes_take_longer() {
        // Far enough apart for a busy machine.
        let [small, large] = [(200, 10), (20_000, 100)]
            .map(|(examples, classes)| expected_seconds(examples, 128, classes));
        assert!(small > 0.0 && large > 10.0 * small, "{small} {large}");
    }
}
