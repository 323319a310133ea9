//! Tests losses against their formulas.

use super::bench::*;
use crate::engine::{Loss, LossSettings, Reduction, Target, TrainBatch};

/// Each loss equals its formula in f64 on the returned logits, for labels and for numbers.
pub fn losses_are_those_of_their_formulas(bench: &Bench<'_>) {
    let mut engine = bench.engine(graph("resnet18"), SIDE);
    let images = images(20, BATCH, SIDE);
    let shares: Vec<f32> =
        (0..BATCH * CLASSES).map(|at| if at % CLASSES < 2 { 0.5 } else { 0.0 }).collect();
    let numbers: Vec<f32> = (0..BATCH * CLASSES).map(|at| at as f32 * 0.3 - 2.0).collect();
    let one_hot: Vec<f32> = images
        .labels
        .iter()
        .flat_map(|&label| {
            (0..CLASSES).map(move |class| f32::from(u8::from(class == label as usize)))
        })
        .collect();
    let softmax = |label_smoothing| Loss::SoftmaxCrossEntropy { label_smoothing };
    for (loss, target, values) in [
        (softmax(0.0), Target::Labels(&images.labels), &one_hot),
        (softmax(0.2), Target::Labels(&images.labels), &one_hot),
        (softmax(0.2), Target::Values(&shares), &shares),
        (Loss::SigmoidCrossEntropy, Target::Labels(&images.labels), &one_hot),
        (Loss::SigmoidCrossEntropy, Target::Values(&shares), &shares),
        (Loss::SquaredError, Target::Values(&numbers), &numbers),
    ] {
        for reduction in [Reduction::Mean, Reduction::Sum] {
            let settings = LossSettings { loss, reduction };
            let output =
                gradients(&mut *engine, &TrainBatch { target, ..images.batch() }, settings);
            let rows = output.logits.chunks_exact(CLASSES).zip(values.chunks_exact(CLASSES));
            let expected: Vec<f64> =
                rows.map(|(logits, values)| formula(loss, logits, values)).collect();
            let worst = difference(&output.losses, expected.iter().copied());
            assert!(
                worst < 1e-5,
                "{loss:?} of {target:?}: {:?} are not {expected:?}",
                output.losses
            );
        }
    }
}

fn formula(loss: Loss, logits: &[f32], values: &[f32]) -> f64 {
    let pairs =
        || logits.iter().zip(values).map(|(&logit, &value)| (f64::from(logit), f64::from(value)));
    let count = logits.len() as f64;
    match loss {
        Loss::SoftmaxCrossEntropy { label_smoothing } => {
            let smoothing = f64::from(label_smoothing);
            let normaliser = pairs().map(|(logit, _)| logit.exp()).sum::<f64>().ln();
            pairs()
                .map(|(logit, value)| {
                    ((1.0 - smoothing) * value + smoothing / count) * (normaliser - logit)
                })
                .sum()
        }
        Loss::SigmoidCrossEntropy => {
            let of_output =
                |(logit, value): (f64, f64)| (1.0 + (-logit).exp()).ln() + (1.0 - value) * logit;
            pairs().map(of_output).sum::<f64>() / count
        }
        Loss::SquaredError => {
            pairs().map(|(logit, value)| (logit - value).powi(2)).sum::<f64>() / count
        }
    }
}
