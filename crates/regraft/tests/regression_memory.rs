//! The memory of the fitted head's regression. A file of its own, because the most memory of a
//! whole process is measured.
#![cfg(target_os = "linux")]

use regraft::logistic_regression::{CrossValidationOptions, Examples, cross_validate_and_solve};
use regraft_base::random::{Draws, Purpose};
use std::ops::ControlFlow;

/// A figure of this process in `/proc/self/status`, in bytes.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    line.trim_start_matches(':')
        .split_whitespace()
        .next()
        .and_then(|word| word.parse::<u64>().ok())
        .expect("a number")
        << 10
}

/// Bytes that a regression takes beside the features that it is given: centred features, and
/// vectors of all parameters (20 in the solver with its five remembered steps, one of each fold and
/// 2 of the first fold's way).
fn bound(examples: u64, channels: u64, classes: u64, folds: u64) -> u64 {
    4 * (examples * channels + (22 + folds) * classes * (channels + 1))
}

#[test]
fn memory_grows_with_examples_and_classes_and_not_with_their_product() {
    let (examples, channels, classes) = (3_000, 160, 3_000);
    let mut draws = Draws::new(1, Purpose::Fixture, 0, 0);
    let features: Vec<f32> = (0..examples * channels).map(|_| draws.normal()).collect();
    let labels: Vec<u32> = (0..examples as u32).map(|example| example % classes as u32).collect();
    let all = Examples {
        features: &features,
        channels,
        labels: &labels,
        classes,
        class_weights: None,
        prior: None,
    };
    // All folds and a step by what earlier solutions foretell, in little time.
    let options = CrossValidationOptions {
        folds: 2,
        strengths: vec![1e-4, 1e-3, 1e-2],
        ..CrossValidationOptions::new(0)
    };
    let before = status("VmRSS");
    cross_validate_and_solve(all, &options, &mut |_, _| ControlFlow::Continue(()))
        .expect("possible");
    let taken = status("VmHWM").saturating_sub(before);
    let bound = bound(examples as u64, channels as u64, classes as u64, 2);
    println!("{} MiB of {} MiB", taken >> 20, bound >> 20);
    // In addition: factors of the second derivatives and the heaviest examples, a block's logits,
    // out-of-fold predictions, threads.
    let rest = 32 << 20;
    assert!(taken < bound + rest, "{} MiB, more than {} MiB", taken >> 20, (bound + rest) >> 20);
    // 10,000 classes of five images stay below 2 GiB with their features.
    let (examples, channels, classes) = (50_000, 1280, 10_000);
    assert!(self::bound(examples, channels, classes, 5) + 4 * examples * channels + rest < 2 << 30);
    assert!(taken > bound / 2, "the bound says little: {} of {} MiB", taken >> 20, bound >> 20);
}
