//! Losses of outputs `[N, outputs]`: softmax cross-entropy as in PyTorch's `CrossEntropyLoss`,
//! sigmoid cross-entropy as in its `BCEWithLogitsLoss`, squared error as in its `MSELoss`.

/// Each row's loss and the gradient of `weight x loss` with respect to the logits.
///
/// The share `label_smoothing` of the target is spread evenly over all classes. `weight` is 1 for
/// the sum over the batch, and 1 / N for the mean.
///
/// # Panics
/// If a label is not a class, or a slice's length does not match.
pub fn cross_entropy(
    logits: &[f32],
    labels: &[u32],
    classes: usize,
    label_smoothing: f32,
    weight: f32,
    losses: &mut [f32],
    gradient: &mut [f32],
) {
    assert_eq!(logits.len(), labels.len() * classes);
    assert_eq!(losses.len(), labels.len());
    assert_eq!(gradient.len(), logits.len());
    let rows = logits
        .chunks_exact(classes)
        .zip(labels)
        .zip(losses)
        .zip(gradient.chunks_exact_mut(classes));
    for (((logits, &label), loss), gradient) in rows {
        let greatest =
            logits.iter().fold(f32::NEG_INFINITY, |greatest, &value| greatest.max(value));
        let sum: f64 = logits.iter().map(|&value| f64::from(value - greatest).exp()).sum();
        let log_sum = sum.ln() + f64::from(greatest);
        let smoothing = f64::from(label_smoothing);
        let spread = smoothing / classes as f64;
        let mean: f64 = logits.iter().map(|&value| f64::from(value)).sum::<f64>() / classes as f64;
        *loss = (log_sum - (1.0 - smoothing) * f64::from(logits[label as usize]) - smoothing * mean)
            as f32;
        for (class, (gradient, &value)) in gradient.iter_mut().zip(logits).enumerate() {
            let target = spread + if class == label as usize { 1.0 - smoothing } else { 0.0 };
            *gradient = (f64::from(weight) * ((f64::from(value) - log_sum).exp() - target)) as f32;
        }
    }
}

/// Like [`cross_entropy`], with a distribution over the classes as each row's target: `targets` is
/// `[N, classes]`, rows of sum 1. The share `label_smoothing` of every target is spread evenly over
/// all classes.
///
/// # Panics
/// If a slice's length does not match.
pub fn soft_cross_entropy(
    logits: &[f32],
    targets: &[f32],
    classes: usize,
    label_smoothing: f32,
    weight: f32,
    losses: &mut [f32],
    gradient: &mut [f32],
) {
    assert_eq!(logits.len(), losses.len() * classes);
    assert_eq!(targets.len(), logits.len());
    assert_eq!(gradient.len(), logits.len());
    let rows = logits
        .chunks_exact(classes)
        .zip(targets.chunks_exact(classes))
        .zip(losses)
        .zip(gradient.chunks_exact_mut(classes));
    let smoothing = f64::from(label_smoothing);
    for (((logits, targets), loss), gradient) in rows {
        let greatest =
            logits.iter().fold(f32::NEG_INFINITY, |greatest, &value| greatest.max(value));
        let sum: f64 = logits.iter().map(|&value| f64::from(value - greatest).exp()).sum();
        let log_sum = sum.ln() + f64::from(greatest);
        let mut total = 0.0;
        for ((gradient, &value), &target) in gradient.iter_mut().zip(logits).zip(targets) {
            let target = (1.0 - smoothing) * f64::from(target) + smoothing / classes as f64;
            // If a class is not part of the target, it adds nothing, even if its logit is -inf.
            if target > 0.0 {
                total += target * (log_sum - f64::from(value));
            }
            *gradient = (f64::from(weight) * ((f64::from(value) - log_sum).exp() - target)) as f32;
        }
        *loss = total as f32;
    }
}

/// Each row's mean sigmoid cross-entropy and the gradient of `weight x loss`, for several labels of
/// one image, each of which is present (1), absent (0), or in between. `targets` is `[N, outputs]`.
///
/// # Panics
/// If a slice's length does not match.
pub fn sigmoid_cross_entropy(
    logits: &[f32],
    targets: &[f32],
    outputs: usize,
    weight: f32,
    losses: &mut [f32],
    gradient: &mut [f32],
) {
    each_output(logits, targets, outputs, weight, losses, gradient, |logit, target| {
        // ln(1 + exp(-|x|)) neither overflows nor loses precision near zero.
        let loss = logit.max(0.0) - logit * target + (-logit.abs()).exp().ln_1p();
        (loss, 1.0 / (1.0 + (-logit).exp()) - target)
    });
}

/// Each row's mean squared error and the gradient of `weight x loss`. `targets` is `[N, outputs]`.
///
/// # Panics
/// If a slice's length does not match.
pub fn squared_error(
    values: &[f32],
    targets: &[f32],
    outputs: usize,
    weight: f32,
    losses: &mut [f32],
    gradient: &mut [f32],
) {
    each_output(values, targets, outputs, weight, losses, gradient, |value, target| {
        let error = value - target;
        (error * error, 2.0 * error)
    });
}

/// Losses that are means over a row's outputs, given each output's loss and derivative.
fn each_output(
    values: &[f32],
    targets: &[f32],
    outputs: usize,
    weight: f32,
    losses: &mut [f32],
    gradient: &mut [f32],
    loss_and_derivative: impl Fn(f64, f64) -> (f64, f64),
) {
    assert_eq!(values.len(), losses.len() * outputs);
    assert!(targets.len() == values.len() && gradient.len() == values.len());
    let share = 1.0 / outputs as f64;
    let rows = values.chunks_exact(outputs).zip(targets.chunks_exact(outputs));
    for (((values, targets), loss), gradient) in
        rows.zip(losses).zip(gradient.chunks_exact_mut(outputs))
    {
        let mut total = 0.0;
        for ((gradient, &value), &target) in gradient.iter_mut().zip(values).zip(targets) {
            let (loss, derivative) = loss_and_derivative(f64::from(value), f64::from(target));
            total += loss;
            *gradient = (f64::from(weight) * share * derivative) as f32;
        }
        *loss = (share * total) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_of_one_class_is_the_usual_loss_and_others_are_pytorchs() {
        let logits = [0.5f32, -1.25, 2.0, 0.1, 0.2, -0.3];
        let (mut losses, mut gradient) = ([0.0; 2], [0.0; 6]);
        cross_entropy(&logits, &[2, 0], 3, 0.1, 0.5, &mut losses, &mut gradient);
        let (mut soft_losses, mut soft_gradient) = ([0.0; 2], [0.0; 6]);
        soft_cross_entropy(
            &logits,
            &[0.0, 0.0, 1.0, 1.0, 0.0, 0.0],
            3,
            0.1,
            0.5,
            &mut soft_losses,
            &mut soft_gradient,
        );
        for (soft, usual) in
            soft_losses.iter().zip(&losses).chain(soft_gradient.iter().zip(&gradient))
        {
            assert!((soft - usual).abs() < 1e-6, "{soft} {usual}");
        }
        // torch.nn.functional.cross_entropy(logits, [[0.3, 0, 0.7], [0.5, 0.25, 0.25]],
        // reduction="none", label_smoothing=0.2)
        soft_cross_entropy(
            &logits,
            &[0.3, 0.0, 0.7, 0.5, 0.25, 0.25],
            3,
            0.2,
            1.0,
            &mut soft_losses,
            &mut soft_gradient,
        );
        let expected = [0.9092886497686992, 1.1008276555532595];
        for (found, expected) in soft_losses.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}
