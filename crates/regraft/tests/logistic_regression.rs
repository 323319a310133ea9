//! The fitted head against scikit-learn's (`fixtures/logistic_regression.py`), and the choice of
//! its strength.

use regraft::logistic_regression::{
    CrossValidation, CrossValidationOptions, Examples, RegressionError, cross_validate, solve,
};
use regraft::metrics::softmax;
use regraft_base::random::{Draws, Purpose};
use std::ops::ControlFlow;

#[derive(serde::Deserialize)]
struct Problem {
    name: String,
    channels: usize,
    classes: usize,
    features: Vec<f32>,
    labels: Vec<u32>,
    class_weights: Option<Vec<f32>>,
    solutions: Vec<Expected>,
}

#[derive(serde::Deserialize)]
struct Expected {
    strength: f64,
    weight: Vec<f64>,
    bias: Vec<f64>,
    loss: f64,
    first_probabilities: Vec<f64>,
}

impl Problem {
    fn examples(&self) -> Examples<'_> {
        Examples {
            features: &self.features,
            channels: self.channels,
            labels: &self.labels,
            classes: self.classes,
            class_weights: self.class_weights.as_deref(),
            prior: None,
        }
    }
}

fn largest_difference(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    found
        .iter()
        .zip(expected)
        .map(|(&found, expected)| (f64::from(found) - expected).abs())
        .fold(0.0, f64::max)
}

#[test]
fn solutions_are_scikit_learns() {
    let problems: Vec<Problem> =
        serde_json::from_str(include_str!("fixtures/logistic_regression.json")).expect("a fixture");
    assert_eq!(problems.len(), 5);
    for problem in &problems {
        for expected in &problem.solutions {
            let what = format!("{}, strength {}", problem.name, expected.strength);
            let found = solve(problem.examples(), expected.strength).expect("solvable");
            let largest =
                expected.weight.iter().fold(0.0f64, |largest, weight| largest.max(weight.abs()));
            let weight = largest_difference(&found.classifier.weight, &expected.weight);
            assert!(weight < 1e-3 * largest, "{what}: weights differ by {weight} of {largest}");
            let mean = found.classifier.bias.iter().sum::<f32>() / problem.classes as f32;
            let bias: Vec<f32> = found.classifier.bias.iter().map(|bias| bias - mean).collect();
            assert!(
                largest_difference(&bias, &expected.bias) < 2e-3,
                "{what}: {bias:?} {:?}",
                expected.bias
            );
            assert!(
                (found.loss - expected.loss).abs() < 1e-5,
                "{what}: loss {} {}",
                found.loss,
                expected.loss
            );
            let first = &problem.features[..problem.channels];
            let rows =
                found.classifier.weight.chunks_exact(problem.channels).zip(&found.classifier.bias);
            let logits: Vec<f32> = rows
                .map(|(row, bias)| {
                    row.iter().zip(first).map(|(weight, value)| weight * value).sum::<f32>() + bias
                })
                .collect();
            assert!(
                largest_difference(&softmax(&logits), &expected.first_probabilities) < 1e-4,
                "{what}"
            );
        }
    }
}

fn go_on(_: usize, _: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Features of which the first tells the class, so far as noise allows, and the others tell
/// nothing.
fn noisy(examples: usize, channels: usize, seed: u64) -> (Vec<f32>, Vec<u32>) {
    let mut draws = Draws::new(seed, Purpose::Fixture, 0, 0);
    let labels: Vec<u32> = (0..examples as u32).map(|example| example % 2).collect();
    let mut features = Vec::new();
    for &label in &labels {
        features.push(label as f32 + 0.5 * draws.normal());
        features.extend((1..channels).map(|_| draws.normal()));
    }
    (features, labels)
}

#[test]
fn the_strength_is_the_one_that_foretells_best_and_every_probability_is_held_out() {
    let (features, labels) = noisy(200, 60, 5);
    let examples = Examples {
        features: &features,
        channels: 60,
        labels: &labels,
        classes: 2,
        class_weights: None,
        prior: None,
    };
    let options = CrossValidationOptions {
        strengths: vec![1e-4, 1e-2, 1.0, 100.0],
        ..CrossValidationOptions::new(3)
    };
    let found = cross_validate(examples, &options, &mut go_on).expect("possible");
    // Neither the strength that learns next to nothing nor the one that learns the noise by heart.
    assert_eq!(found.strength, 1e-2, "{:?}", found.trials);
    let chosen =
        found.trials.iter().find(|trial| trial.strength == found.strength).expect("it was tried");
    assert!(found.trials.iter().all(|trial| trial.loss >= chosen.loss));
    assert_eq!(found.out_of_fold.examples(), 200);
    let sum = |example: usize| {
        found.out_of_fold.ranked(example).iter().map(|&(_, probability)| probability).sum::<f32>()
    };
    assert!((0..200).all(|example| (sum(example) - 1.0).abs() < 1e-5));
    // An example's own label has no say in its probability: with it wrong, it is still foretold
    // right.
    let clear = (0..200)
        .find(|&example| labels[example] == 1 && features[example * 60] > 1.5)
        .expect("a clear case");
    let mut wrong = labels.clone();
    wrong[clear] = 0;
    let found = cross_validate(Examples { labels: &wrong, ..examples }, &options, &mut go_on)
        .expect("possible");
    assert_eq!(found.out_of_fold.predicted(clear).0, 1, "{:?}", found.out_of_fold.ranked(clear));
}

#[test]
fn views_of_a_picture_are_held_out_together() {
    let (features, labels) = noisy(200, 60, 5);
    let examples = Examples {
        features: &features,
        channels: 60,
        labels: &labels,
        classes: 2,
        class_weights: None,
        prior: None,
    };
    let options =
        CrossValidationOptions { strengths: vec![0.02, 2.0], ..CrossValidationOptions::new(3) };
    let once = cross_validate(examples, &options, &mut go_on).expect("possible");
    // The same view twice says nothing new, but for twice the weight of each example. Were the
    // views of an image parted, its label would be known when it is foretold.
    let twice = Examples { features: &features.repeat(2), labels: &labels.repeat(2), ..examples };
    let options = CrossValidationOptions { strengths: vec![0.01, 1.0], views: 2, ..options };
    let found = cross_validate(twice, &options, &mut go_on).expect("possible");
    for (found, once) in found.trials.iter().zip(&once.trials) {
        assert!(
            (found.loss - once.loss).abs() < 1e-3 && found.accuracy == once.accuracy,
            "{found:?} {once:?}"
        );
    }
    let odd = cross_validate(twice, &CrossValidationOptions { views: 3, ..options }, &mut go_on);
    assert_eq!(odd, Err(RegressionError::Views { views: 3, examples: 400 }));
}

#[test]
fn it_says_how_far_it_is_and_ends_when_asked_to() {
    let (features, labels) = noisy(50, 10, 5);
    let examples = Examples {
        features: &features,
        channels: 10,
        labels: &labels,
        classes: 2,
        class_weights: None,
        prior: None,
    };
    let options = CrossValidationOptions {
        strengths: vec![0.01, 1.0],
        folds: 3,
        ..CrossValidationOptions::new(3)
    };
    let mut heard = Vec::new();
    let found = cross_validate(examples, &options, &mut |done, total| {
        heard.push((done, total));
        go_on(done, total)
    });
    assert!(found.is_ok());
    // At least once for each step; what is done never shrinks, and never passes what is expected.
    assert!(
        heard.windows(2).all(|pair| pair[0].0 <= pair[1].0)
            && heard.iter().all(|&(done, total)| done < total),
        "{heard:?}"
    );
    assert!((0..6).all(|done| heard.iter().any(|&(heard, _)| heard == done)), "{heard:?}");
    // The search can be stopped in the middle of a regression.
    let mut left = heard.len() - 1;
    let mut stop_last = |_, _| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    assert_eq!(cross_validate(examples, &options, &mut stop_last), Err(RegressionError::Stopped));
    let mut stop =
        |done, _| if done == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    assert_eq!(cross_validate(examples, &options, &mut stop), Err(RegressionError::Stopped));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let (features, labels) = noisy(300, 40, 9);
    let examples = Examples {
        features: &features,
        channels: 40,
        labels: &labels,
        classes: 2,
        class_weights: None,
        prior: None,
    };
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| solve(examples, 0.1)).expect("solvable")
    };
    assert!(with_threads(1) == with_threads(3));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let examples = Examples {
        features: &[0.0, 1.0, 2.0, 3.0],
        channels: 2,
        labels: &[0, 1],
        classes: 2,
        class_weights: None,
        prior: None,
    };
    assert!(solve(examples, 1.0).is_ok());
    assert_eq!(solve(examples, 0.0), Err(RegressionError::Strength(0.0)));
    assert_eq!(
        solve(Examples { labels: &[0, 2], ..examples }, 1.0),
        Err(RegressionError::Label { label: 2, classes: 2 })
    );
    for weights in [&[1.0][..], &[1.0, -1.0], &[0.0, 0.0], &[1.0, f32::NAN]] {
        let weighted = Examples { class_weights: Some(weights), ..examples };
        assert_eq!(
            solve(weighted, 1.0),
            Err(RegressionError::ClassWeights { classes: 2 }),
            "{weights:?}"
        );
    }
    assert!(matches!(
        solve(Examples { channels: 3, ..examples }, 1.0),
        Err(RegressionError::Shape { .. })
    ));
    let infinite = Examples { features: &[0.0, 1.0, f32::INFINITY, 3.0], ..examples };
    assert_eq!(solve(infinite, 1.0), Err(RegressionError::NotFinite { example: 1 }));
    let folds = cross_validate(examples, &CrossValidationOptions::new(0), &mut go_on);
    assert_eq!(folds, Err(RegressionError::Folds { folds: 5, examples: 2 }));
}

/// Clusters of features as a backbone gives them: none negative, with means far from zero and of
/// different sizes.
fn clusters(examples: usize, channels: usize, classes: usize, seed: u64) -> (Vec<f32>, Vec<u32>) {
    let mut draws = Draws::new(seed, Purpose::Fixture, 0, 1);
    let centres: Vec<f32> = (0..classes * channels).map(|_| 0.7 * draws.normal()).collect();
    let sizes: Vec<f32> = (0..channels).map(|_| 0.2 + draws.normal().abs()).collect();
    let labels: Vec<u32> = (0..examples as u32).map(|example| example % classes as u32).collect();
    let mut features = Vec::new();
    for &label in &labels {
        let centre = &centres[label as usize * channels..][..channels];
        features.extend(
            centre
                .iter()
                .zip(&sizes)
                .map(|(centre, size)| ((centre + draws.normal()) * size + 1.5).max(0.0)),
        );
    }
    (features, labels)
}

/// Weights around 0 that know nothing of the examples.
fn random_prior(length: usize) -> Vec<f32> {
    let mut draws = Draws::new(5, Purpose::Fixture, 0, 0);
    (0..length).map(|_| 0.3 * draws.normal()).collect()
}

#[test]
fn a_prior_is_what_deviations_are_penalised_from() {
    for (examples, channels, classes) in [(60, 8, 2), (40, 120, 3), (300, 30, 10), (1500, 1280, 3)]
    {
        let (features, labels) = clusters(examples, channels, classes, 3);
        let prior = random_prior(classes * channels);
        let without = Examples {
            features: &features,
            channels,
            labels: &labels,
            classes,
            class_weights: None,
            prior: None,
        };
        let examples = Examples { prior: Some(&prior), ..without };
        for strength in [0.01, 1.0] {
            let found = solve(examples, strength).expect("solvable").classifier;
            let (value, slope) = objective(examples, &found.weight, &found.bias, strength);
            let length = found.weight.len() as f64;
            let above = length * slope * slope * strength * labels.len() as f64 / 2.0;
            assert!(
                slope < 2e-5 && above < 2e-3 * value,
                "{classes} classes, strength {strength}: {slope} {above} {value}"
            );
            let (_, slope) = objective(without, &found.weight, &found.bias, strength);
            assert!(slope > 1e-4, "the prior makes a difference: {slope}");
        }
    }
    let examples = Examples {
        features: &[1.0, 2.0],
        channels: 1,
        labels: &[0, 1],
        classes: 2,
        class_weights: None,
        prior: Some(&[1.0]),
    };
    assert_eq!(solve(examples, 1.0), Err(RegressionError::Prior { classes: 2, channels: 1 }));
}

#[test]
fn cross_validation_uses_a_prior_only_if_it_helps() {
    let (features, labels) = noisy(60, 60, 5);
    let examples = Examples {
        features: &features,
        channels: 60,
        labels: &labels,
        classes: 2,
        class_weights: None,
        prior: None,
    };
    let options = CrossValidationOptions::new(3);
    let without = cross_validate(examples, &options, &mut go_on).expect("possible");
    // Only the first channel says anything of the class.
    let helpful: Vec<f32> = (0..120)
        .map(|place| if place % 60 == 0 { place as f32 / 30.0 - 1.0 } else { 0.0 })
        .collect();
    let with = cross_validate(Examples { prior: Some(&helpful), ..examples }, &options, &mut go_on)
        .expect("possible");
    let loss = |found: &CrossValidation| {
        let chosen = found.trials.iter().find(|trial| trial.strength == found.strength);
        chosen.expect("it was tried").loss
    };
    assert!(
        with.uses_prior && loss(&with) < 0.9 * loss(&without),
        "{} {}",
        loss(&with),
        loss(&without)
    );
    let misleading = random_prior(120);
    let with =
        cross_validate(Examples { prior: Some(&misleading), ..examples }, &options, &mut go_on)
            .expect("possible");
    assert!(with == CrossValidation { evaluations: with.evaluations, ..without });
}

/// Mean cross-entropy plus penalty in f64, and the largest slope.
fn objective(examples: Examples<'_>, weight: &[f32], bias: &[f32], strength: f64) -> (f64, f64) {
    let Examples { features, channels, labels, classes, prior, .. } = examples;
    let penalty = 1.0 / (strength * labels.len() as f64);
    let prior = prior.map_or_else(|| vec![0.0; weight.len()], <[f32]>::to_vec);
    let penalised: Vec<f64> = weight
        .iter()
        .zip(prior)
        .map(|(&value, prior)| f64::from(value) - f64::from(prior))
        .collect();
    let mut slopes: Vec<f64> = penalised.iter().map(|value| penalty * value).collect();
    let mut value = 0.5 * penalty * penalised.iter().map(|value| value.powi(2)).sum::<f64>();
    for (row, &label) in features.chunks_exact(channels).zip(labels) {
        let logit = |class: usize| -> f64 {
            let weight = &weight[class * channels..][..channels];
            weight
                .iter()
                .zip(row)
                .map(|(&weight, &value)| f64::from(weight) * f64::from(value))
                .sum::<f64>()
                + f64::from(bias[class])
        };
        let logits: Vec<f64> = (0..classes).map(logit).collect();
        let greatest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|logit| (logit - greatest).exp()).sum();
        value += (sum.ln() + greatest - logits[label as usize]) / labels.len() as f64;
        for (class, logit) in logits.iter().enumerate() {
            let slope =
                (logit - greatest).exp() / sum - f64::from(u8::from(class == label as usize));
            for (sum, &value) in slopes[class * channels..][..channels].iter_mut().zip(row) {
                *sum += slope * f64::from(value) / labels.len() as f64;
            }
        }
    }
    (value, slopes.iter().fold(0.0, |largest, slope| largest.max(slope.abs())))
}

#[test]
fn no_slope_is_left_at_a_solution_with_few_or_many_classes_examples_and_channels() {
    for (examples, channels, classes) in [
        (60, 8, 2),
        (40, 120, 2),
        (300, 30, 10),
        (90, 200, 10),
        (400, 40, 50),
        (150, 260, 50),
        (1000, 200, 400),
        (1500, 1280, 3),
    ] {
        let (features, labels) = clusters(examples, channels, classes, 3);
        let examples = Examples {
            features: &features,
            channels,
            labels: &labels,
            classes,
            class_weights: None,
            prior: None,
        };
        for strength in [0.01, 1.0, 30.0] {
            let found = solve(examples, strength).expect("solvable").classifier;
            let (value, slope) = objective(examples, &found.weight, &found.bias, strength);
            // Strong convexity bounds how far the objective is from its minimum: |slope|^2 / (2
            // penalty).
            let length = found.weight.len() as f64;
            let above = length * slope * slope * strength * labels.len() as f64 / 2.0;
            assert!(
                slope < 2e-5,
                "{} examples, {classes} classes, strength {strength}: slope {slope}",
                labels.len()
            );
            assert!(
                above < 2e-3 * value,
                "{} examples, {classes} classes, strength {strength}: {above} {value}",
                labels.len()
            );
        }
    }
}

#[test]
fn the_strength_is_that_of_a_search_through_all_of_them() {
    for (examples, channels, classes) in [(200, 40, 2), (120, 200, 6), (500, 60, 25)] {
        let (features, labels) = clusters(examples, channels, classes, 5);
        let examples = Examples {
            features: &features,
            channels,
            labels: &labels,
            classes,
            class_weights: None,
            prior: None,
        };
        let options = CrossValidationOptions::new(3);
        let found = cross_validate(examples, &options, &mut go_on).expect("possible");
        let loss_of = |&strength: &f64| {
            let alone = CrossValidationOptions { strengths: vec![strength], ..options.clone() };
            cross_validate(examples, &alone, &mut go_on).expect("possible").trials[0].loss
        };
        let losses: Vec<f64> = options.strengths.iter().map(loss_of).collect();
        let best = (0..losses.len())
            .min_by(|&left, &right| losses[left].total_cmp(&losses[right]))
            .expect("some");
        assert_eq!(
            found.strength, options.strengths[best],
            "{classes} classes: {:?} {losses:?}",
            found.trials
        );
    }
}
