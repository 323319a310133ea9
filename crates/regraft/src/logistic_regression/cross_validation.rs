//! The strength of the penalty, chosen by how well examples are foretold that were held out.

use super::objective::{Centred, Objective};
use super::{Examples, RegressionError, Tolerance, check_strength, minimise};
use crate::metrics::{predicted_class, softmax};
use regraft_kernels::linear;
use regraft_kernels::random::{Draws, Purpose};
use std::ops::{ControlFlow, Range};

/// How the strength is chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossValidationOptions {
    /// Parts into which the examples are divided; each is held out once.
    pub folds: usize,
    /// Strengths to try, from the smallest.
    pub strengths: Vec<f64>,
    /// Seed of the division.
    pub seed: u64,
    /// Views of each picture: the examples are those of all pictures under the first view, then under the second, and so on. All
    /// views of a picture are held out together, and the first one is what counts.
    pub views: usize,
}

impl CrossValidationOptions {
    /// Five folds, and strengths from 10^-4 to 10^2, three to each power of ten; far beyond both ends nothing was ever chosen.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let strengths = (-12..=6).map(|third| 10f64.powf(f64::from(third) / 3.0)).collect();
        Self { folds: 5, strengths, seed, views: 1 }
    }

    /// The same with no more folds than there are examples.
    #[must_use]
    pub fn for_examples(self, examples: usize) -> Self {
        Self { folds: self.folds.min(examples), ..self }
    }
}

/// How well held-out examples are foretold with one strength.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Trial {
    /// The strength: scikit-learn's `C`.
    pub strength: f64,
    /// Mean cross-entropy of the held-out examples, weighted where classes have weights.
    pub loss: f64,
    /// Share of held-out examples that come out right.
    pub accuracy: f64,
}

/// What cross-validation found.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossValidation {
    /// The strength with the smallest held-out loss.
    pub strength: f64,
    /// All strengths that were tried. Those after two rises of the loss in a row were not.
    pub trials: Vec<Trial>,
    /// `[N, classes]`: what each example's class is taken for by the regression that did not see the example, with the chosen
    /// strength.
    pub probabilities: Vec<f32>,
}

/// Held-out losses are compared, whose differences that matter are far larger; to converge further would take several times as
/// long.
const NEAR: Tolerance = Tolerance { gradient: 1e-4, cost: 1e-6 };

/// Rises of the held-out loss in a row after which larger strengths are not tried.
const RISES: usize = 2;

/// Tries each strength on every fold. Folds are stratified: each has its share of every class. `progress` hears before each
/// regression how many are solved, of how many at most, and may end it.
///
/// # Errors
/// When the examples, the strengths or the number of folds make no sense, and [`RegressionError::Stopped`].
pub fn cross_validate(
    examples: Examples<'_>,
    options: &CrossValidationOptions,
    progress: &mut (dyn FnMut(usize, usize) -> ControlFlow<()> + Send),
) -> Result<CrossValidation, RegressionError> {
    examples.check()?;
    options.strengths.iter().try_for_each(|&strength| check_strength(strength))?;
    let all = examples.labels.len();
    if options.views == 0 || !all.is_multiple_of(options.views) {
        return Err(RegressionError::Views { views: options.views, examples: all });
    }
    let count = all / options.views;
    let labels = &examples.labels[..count];
    if options.folds < 2 || options.folds > count {
        return Err(RegressionError::Folds { folds: options.folds, examples: count });
    }
    let assigned = stratified_folds(labels, examples.classes, options.folds, options.seed);
    // Fold after fold, so that the examples that are seen while one is held out lie before and behind it.
    let fold_of = |example: usize| assigned[example % count];
    let mut order: Vec<usize> = (0..all).collect();
    order.sort_by_key(|&example| fold_of(example));
    let centred = Centred::new(&examples, order.iter().copied());
    let parts: Vec<Part> = (0..options.folds)
        .map(|fold| {
            let start = order.partition_point(|&example| fold_of(example) < fold);
            let end = order.partition_point(|&example| fold_of(example) <= fold);
            let held_out = order[start..end].iter().copied().filter(|&example| example < count).collect();
            Part { seen: [0..start, end..all], held_out }
        })
        .collect();
    // Every strength starts from the solution of the one before it.
    let mut parameters = vec![vec![0.0; centred.parameters()]; options.folds];
    let mut strengths = options.strengths.clone();
    strengths.sort_by(f64::total_cmp);
    let (mut trials, mut rises) = (Vec::<Trial>::new(), 0);
    let mut best: Option<(f64, f64, Vec<f32>)> = None;
    for strength in strengths {
        let mut probabilities = vec![0.0; count * examples.classes];
        for (fold, (part, parameters)) in parts.iter().zip(&mut parameters).enumerate() {
            let solved = trials.len() * options.folds + fold;
            if progress(solved, options.strengths.len() * options.folds).is_break() {
                return Err(RegressionError::Stopped);
            }
            minimise(&Objective::new(&centred, &part.seen, strength), NEAR, parameters);
            part.foretell(&examples, &centred, parameters, &mut probabilities);
        }
        let trial = score(strength, &probabilities, labels, &examples);
        rises = if trials.last().is_some_and(|last| trial.loss > last.loss) { rises + 1 } else { 0 };
        trials.push(trial);
        if best.as_ref().is_none_or(|(_, loss, _)| trial.loss < *loss) {
            best = Some((strength, trial.loss, probabilities));
        }
        if rises == RISES {
            break;
        }
    }
    let (strength, _, probabilities) = best.ok_or(RegressionError::Strength(f64::NAN))?;
    Ok(CrossValidation { strength, trials, probabilities })
}

/// Each example's fold: every class is shuffled and dealt out in turn, each class going on where the one before it ended.
fn stratified_folds(labels: &[u32], classes: usize, folds: usize, seed: u64) -> Vec<usize> {
    let mut assigned = vec![0; labels.len()];
    let mut next = 0;
    for class in 0..classes as u32 {
        let mut members: Vec<usize> = (0..labels.len()).filter(|&example| labels[example] == class).collect();
        Draws::new(seed, Purpose::Folds, 0, class).shuffle(&mut members);
        for example in members {
            assigned[example] = next % folds;
            next += 1;
        }
    }
    assigned
}

/// One division into examples that are seen and examples that are held out.
struct Part {
    /// Places among the centred examples.
    seen: [Range<usize>; 2],
    /// Places among the examples, of the first view.
    held_out: Vec<usize>,
}

impl Part {
    /// Writes the probabilities of the held-out examples into their rows of `probabilities`.
    fn foretell(&self, examples: &Examples<'_>, centred: &Centred<'_>, parameters: &[f64], probabilities: &mut [f32]) {
        let classifier = centred.classifier(parameters);
        let (channels, classes) = (examples.channels, examples.classes);
        let rows = self.held_out.iter().map(|&example| &examples.features[example * channels..(example + 1) * channels]);
        let features: Vec<f32> = rows.flatten().copied().collect();
        let mut logits = vec![0.0; self.held_out.len() * classes];
        linear::forward(&features, &classifier.weight, &classifier.bias, channels, &mut logits);
        for (&example, logits) in self.held_out.iter().zip(logits.chunks_exact(classes)) {
            let target = &mut probabilities[example * classes..(example + 1) * classes];
            target.copy_from_slice(&softmax(logits));
        }
    }
}

fn score(strength: f64, probabilities: &[f32], labels: &[u32], examples: &Examples<'_>) -> Trial {
    let (mut loss, mut weights, mut right) = (0.0, 0.0, 0);
    for (row, &label) in probabilities.chunks_exact(examples.classes).zip(labels) {
        let (of_label, weight) = (row[label as usize], f64::from(examples.weight(label)));
        loss -= weight * f64::from(of_label.max(f32::MIN_POSITIVE)).ln();
        weights += weight;
        right += usize::from(predicted_class(row) == Some(label as usize));
    }
    Trial { strength, loss: loss / weights, accuracy: right as f64 / labels.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fold_has_its_share_of_every_class() {
        let labels: Vec<u32> = (0..60)
            .map(|example| {
                if example < 35 {
                    0
                } else if example < 58 {
                    1
                } else {
                    2
                }
            })
            .collect();
        let assigned = stratified_folds(&labels, 3, 5, 7);
        for fold in 0..5 {
            let of = |class: u32| (0..60).filter(|&example| labels[example] == class && assigned[example] == fold).count();
            assert_eq!(of(0), 7);
            assert!((4..=5).contains(&of(1)) && of(2) <= 1);
            assert_eq!(of(0) + of(1) + of(2), 12);
        }
        assert_ne!(assigned, stratified_folds(&labels, 3, 5, 8), "the seed decides");
    }
}
