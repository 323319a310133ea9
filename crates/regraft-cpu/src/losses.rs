//! The losses of a batch.

use regraft_kernels::loss;
use regraft_nn::engine::{Loss, Target};

/// Each image's loss, and the gradient of the loss times `weight`.
pub(crate) fn compute(
    loss: Loss,
    target: &Target<'_>,
    outputs: &[f32],
    classes: usize,
    weight: f32,
    losses: &mut [f32],
    gradient: &mut [f32],
) {
    // With several outputs, a label is 1 at its class and 0 elsewhere.
    let one_hot = |labels: &[u32]| -> Vec<f32> {
        let row = |&label: &u32| {
            (0..classes).map(move |class| f32::from(u8::from(class == label as usize)))
        };
        labels.iter().flat_map(row).collect()
    };
    match (loss, target) {
        (Loss::SoftmaxCrossEntropy { label_smoothing }, Target::Labels(labels)) => {
            loss::cross_entropy(
                outputs,
                labels,
                classes,
                label_smoothing,
                weight,
                losses,
                gradient,
            );
        }
        (Loss::SoftmaxCrossEntropy { label_smoothing }, Target::Values(values)) => {
            loss::soft_cross_entropy(
                outputs,
                values,
                classes,
                label_smoothing,
                weight,
                losses,
                gradient,
            );
        }
        (Loss::SigmoidCrossEntropy, Target::Labels(labels)) => {
            loss::sigmoid_cross_entropy(
                outputs,
                &one_hot(labels),
                classes,
                weight,
                losses,
                gradient,
            );
        }
        (Loss::SigmoidCrossEntropy, Target::Values(values)) => {
            loss::sigmoid_cross_entropy(outputs, values, classes, weight, losses, gradient);
        }
        (Loss::SquaredError, Target::Values(values)) => {
            loss::squared_error(outputs, values, classes, weight, losses, gradient);
        }
        (Loss::SquaredError, Target::Labels(_)) => unreachable!("refused before the pass"),
    }
}
