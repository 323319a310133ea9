//! How sharply the loss bends where a network is, which decides how fast its steps may be.

use super::feed::Batch;
use crate::metrics::softmax;
use regraft_base::random::{Draws, Purpose};
use regraft_nn::engine::{
    Engine, EngineError, Loss, LossSettings, Optimizer, StepPart, Target, TrainBatch, Update,
};

/// Power iterations. On EfficientNet-Lite0 with four data sets, the fourth changed the result by
/// less than 10 %.
pub(super) const ITERATIONS: usize = 4;
/// Batches whose curvature a run measures; single ones differ by up to a factor of two.
pub(super) const BATCHES: usize = 2;
/// Relative change of the logits over which they are differentiated. Maps in bf16 round them by
/// about a hundredth of that.
const CHANGE: f64 = 0.05;

/// The largest eigenvalue of the Gauss-Newton matrix of a batch's loss: the curvature along the
/// direction in which a step of gradient descent becomes unstable first. `multipliers` are each
/// node's share of the learning rate. The engine's tensors are the same afterwards.
///
/// Power iteration (as Martens 2010 uses the matrix) without forming anything: for a direction `r`
/// in the space of the logits, targets of `softmax - r` make the gradient `Jᵀr`; a step along it
/// shows `JJᵀr` as the change of the logits, which the softmax's covariance turns into the next
/// direction.
///
/// # Errors
/// If the batch does not fit the network.
pub(super) fn largest_curvature(
    engine: &mut dyn Engine,
    batch: &Batch,
    classes: usize,
    loss: LossSettings,
    multipliers: &[f32],
) -> Result<f64, EngineError> {
    let count = batch.labels.len();
    let state = engine.state();
    let logits = engine.evaluate(batch.input(), count)?;
    let probabilities: Vec<f32> = logits.chunks_exact(classes).flat_map(softmax).collect();
    let spread = norm(&logits);
    let mut draws = Draws::new(0, Purpose::Curvature, 0, 0);
    let mut direction: Vec<f32> = logits.iter().map(|_| draws.range(-1.0, 1.0)).collect();
    let mut curvature = 0.0;
    // So small that nothing overflows; the second iteration knows a better one.
    let mut step = 1e-5;
    for _ in 0..ITERATIONS {
        unite(&mut direction, classes);
        let targets: Vec<f32> = probabilities
            .iter()
            .zip(&direction)
            .map(|(probability, along)| probability - along)
            .collect();
        let train = TrainBatch {
            input: batch.input(),
            target: Target::Values(&targets),
            weights: None,
            seed: 0,
            epoch: 0,
            position: 0,
        };
        engine.gradients(
            &train,
            LossSettings { loss: Loss::SoftmaxCrossEntropy { label_smoothing: 0.0 }, ..loss },
            StepPart::whole(count),
        )?;
        let rates: Vec<f32> = multipliers.iter().map(|multiplier| step * multiplier).collect();
        engine.update(&Update {
            optimizer: Optimizer::Sgd { momentum: 0.0 },
            learning_rates: &rates,
            weight_decay: 0.0,
            decay_bias_norm: false,
            step: 1,
            clip: None,
        })?;
        let moved = engine.evaluate(batch.input(), count);
        engine.load_state(&state)?;
        let slopes: Vec<f32> =
            logits.iter().zip(moved?).map(|(before, after)| (before - after) / step).collect();
        step = (CHANGE * spread / norm(&slopes).max(f64::MIN_POSITIVE)).clamp(1e-12, 1e3) as f32;
        let rows = slopes.chunks_exact(classes).zip(probabilities.chunks_exact(classes));
        direction =
            rows.flat_map(|(slopes, probabilities)| covary(probabilities, slopes)).collect();
        curvature = norm(&direction);
    }
    Ok(curvature)
}

/// The covariance of a softmax's one-hot outcome, times a vector.
fn covary<'a>(probabilities: &'a [f32], vector: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
    let mean: f32 =
        probabilities.iter().zip(vector).map(|(probability, value)| probability * value).sum();
    probabilities.iter().zip(vector).map(move |(probability, value)| probability * (value - mean))
}

/// Takes each row's mean away, which no softmax sees, and gives the whole the length 1.
fn unite(direction: &mut [f32], classes: usize) {
    for row in direction.chunks_exact_mut(classes) {
        let mean = row.iter().sum::<f32>() / classes as f32;
        row.iter_mut().for_each(|value| *value -= mean);
    }
    let length = norm(direction).max(f64::MIN_POSITIVE) as f32;
    direction.iter_mut().for_each(|value| *value /= length);
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::{self, DeviceChoice};
    use crate::features::HeadEngine;
    use crate::model::Model;
    use crate::ranks::Ranks;
    use crate::train::feed::Content;
    use regraft_nn::engine::{Input, Reduction};
    use regraft_nn::precision::Precision;

    /// For a linear head the Gauss-Newton matrix is known: with two classes and one image of
    /// features `x`, its only eigenvalue that is not zero is `2 p (1 - p) (|x|² + 1)`, the one for
    /// the bias.
    #[test]
    #[cfg(feature = "embedded")]
    fn the_curvature_of_a_linear_head_is_the_known_one() {
        let source = Model::embedded().expect("built in");
        let mut graph = source.graph.clone().with_classes(2);
        graph.set_head_dropout(0.0);
        let mut state = source.state;
        let channels = 1280;
        let weight: Vec<f32> =
            (0..2 * channels).map(|place| ((place * 37 % 101) as f32 - 50.0) * 1e-3).collect();
        state.insert("classifier.weight".into(), weight.clone());
        state.insert("classifier.bias".into(), vec![0.25, -0.25]);
        let mut whole =
            engines::open(&DeviceChoice::Auto, graph, 32, Precision::F32, 1, &Ranks::default())
                .expect("an engine");
        whole.load_state(&state).expect("its tensors");
        let mut head =
            HeadEngine::new(&*whole, &DeviceChoice::Auto, 1, &Ranks::default()).expect("an engine");
        let features: Vec<f32> =
            (0..channels).map(|place| (place * 13 % 29) as f32 * 0.01).collect();
        let logits = head.evaluate(Input::values(&features), 1).expect("logits");
        let probability = f64::from(softmax(&logits)[0]);
        let squares = norm(&features).powi(2) + 1.0;
        let expected = 2.0 * probability * (1.0 - probability) * squares;
        let batch =
            Batch { content: Content::Features(features), labels: vec![1], indices: vec![0] };
        let loss = LossSettings {
            loss: Loss::SoftmaxCrossEntropy { label_smoothing: 0.1 },
            reduction: Reduction::Mean,
        };
        let multipliers = vec![1.0; head.graph().nodes.len()];
        let before = head.state();
        let found =
            largest_curvature(&mut head, &batch, 2, loss, &multipliers).expect("a curvature");
        assert!((found / expected - 1.0).abs() < 1e-3, "{found} is not {expected}");
        assert!(head.state() == before, "the tensors are as before");
        let doubled: Vec<f32> = multipliers.iter().map(|multiplier| 2.0 * multiplier).collect();
        let found = largest_curvature(&mut head, &batch, 2, loss, &doubled).expect("a curvature");
        assert!(
            (found / expected - 2.0).abs() < 2e-3,
            "rates of twice the size bend it twice as much"
        );
    }
}
