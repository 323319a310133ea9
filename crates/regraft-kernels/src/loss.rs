//! Cross-entropy of logits `[N, classes]`, as PyTorch's `CrossEntropyLoss`.

/// Each row's loss and the gradient of `weight x loss` with respect to the logits.
///
/// `label_smoothing` spreads that share of the target evenly over all classes. `weight` is 1 for the sum over the batch, 1 / N for
/// the mean.
///
/// # Panics
/// When a label is no class, or a slice's length does not fit.
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
    let rows = logits.chunks_exact(classes).zip(labels).zip(losses).zip(gradient.chunks_exact_mut(classes));
    for (((logits, &label), loss), gradient) in rows {
        let greatest = logits.iter().fold(f32::NEG_INFINITY, |greatest, &value| greatest.max(value));
        let sum: f64 = logits.iter().map(|&value| f64::from(value - greatest).exp()).sum();
        let log_sum = sum.ln() + f64::from(greatest);
        let smoothing = f64::from(label_smoothing);
        let spread = smoothing / classes as f64;
        let mean: f64 = logits.iter().map(|&value| f64::from(value)).sum::<f64>() / classes as f64;
        *loss = (log_sum - (1.0 - smoothing) * f64::from(logits[label as usize]) - smoothing * mean) as f32;
        for (class, (gradient, &value)) in gradient.iter_mut().zip(logits).enumerate() {
            let target = spread + if class == label as usize { 1.0 - smoothing } else { 0.0 };
            *gradient = (f64::from(weight) * ((f64::from(value) - log_sum).exp() - target)) as f32;
        }
    }
}
