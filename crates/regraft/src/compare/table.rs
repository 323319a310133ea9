//! A comparison as text for the terminal.

use super::result::{ArmResult, Comparison, ScoredOn};
use crate::report::table::{aligned, printable};
use std::fmt::Write as _;

/// The arms, best first, and which differences are real.
#[must_use]
pub fn comparison_table(comparison: &Comparison) -> String {
    let mut rows = vec![header(comparison)];
    rows.extend(ranked(comparison).into_iter().map(|arm| cells(arm, comparison.scored_on)));
    let mut text = aligned(&rows, &[0]);
    for arm in &comparison.arms {
        for run in &arm.runs {
            if let Some(error) = &run.error {
                // Writing to a string cannot fail.
                let _ = writeln!(
                    text,
                    "\n{}, seed {}, failed: {error}",
                    printable(&arm.name),
                    run.seed
                );
            }
        }
    }
    text.push('\n');
    text.push_str(&differences(comparison));
    text
}

/// The arms by accuracy, best first; those without one at the end.
#[must_use]
pub fn ranked(comparison: &Comparison) -> Vec<&ArmResult> {
    let mut arms: Vec<&ArmResult> = comparison.arms.iter().collect();
    let key = |arm: &ArmResult| arm.accuracy(comparison.scored_on).0.unwrap_or(-1.0);
    arms.sort_by(|a, b| key(b).total_cmp(&key(a)));
    arms
}

/// The names of the columns of [`cells`].
#[must_use]
pub fn header(comparison: &Comparison) -> Vec<String> {
    let accuracy = format!("{} accuracy", comparison.scored_on.name());
    let target = comparison.target_accuracy;
    let columns = [
        "arm",
        &accuracy,
        "loss",
        "time",
        "images/s",
        "trained parameters",
        &format!("to {target}: epochs"),
        "time",
    ];
    columns.map(str::to_owned).to_vec()
}

/// A row of the table.
#[must_use]
pub fn cells(arm: &ArmResult, scored_on: ScoredOn) -> Vec<String> {
    let missing = || "–".to_owned();
    let number = |value: Option<f64>, decimals: usize| {
        value.map_or_else(missing, |value| format!("{value:.decimals$}"))
    };
    let accuracy = match arm.accuracy(scored_on) {
        (Some(mean), Some(deviation)) => format!("{mean:.4} ± {deviation:.4}"),
        (mean, _) => number(mean, 4),
    };
    let loss = if scored_on == ScoredOn::Test { arm.test_loss_mean } else { None };
    vec![
        printable(&arm.name),
        accuracy,
        number(loss, 4),
        arm.wall_seconds.map_or_else(missing, seconds),
        number(arm.images_per_second, 1),
        arm.trained_parameters.map_or_else(missing, |count| count.to_string()),
        number(arm.epochs_to_target, 1),
        arm.seconds_to_target.map_or_else(missing, seconds),
    ]
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.1} s")
}

/// The differences, the real ones first.
fn differences(comparison: &Comparison) -> String {
    let (real, open): (Vec<_>, Vec<_>) = comparison.paired_tests.iter().partition(|test| test.real);
    if comparison.paired_tests.is_empty() {
        return "no two arms finished with every seed, so no difference could be tested\n".into();
    }
    let mut text = String::new();
    if !real.is_empty() {
        text.push_str("differences that are more than chance\n");
        let mut rows =
            vec![["better", "worse", "difference", "p", "p adjusted"].map(str::to_owned).to_vec()];
        rows.extend(real.iter().map(|test| {
            vec![
                printable(&test.better),
                printable(&test.worse),
                format!("{:.4}", test.difference),
                probability(test.p_value),
                probability(test.p_value_adjusted),
            ]
        }));
        text.push_str(&aligned(&rows, &[0, 1]));
    }
    let of = comparison.paired_tests.len();
    let _ = match open.len() {
        0 => writeln!(text, "all {of} differences are more than chance"),
        count if count == of => writeln!(text, "none of the {of} differences is more than chance"),
        count => writeln!(text, "the other {count} of {of} differences may be chance"),
    };
    let _ = writeln!(
        text,
        "(paired permutation test over {} {} pictures, adjusted for {of} comparisons by Holm's \
         method; every seed agrees)",
        comparison.scored_images,
        comparison.scored_on.name()
    );
    text
}

/// A probability with two digits that count.
#[must_use]
pub fn probability(value: f64) -> String {
    if value >= 0.001 { format!("{value:.3}") } else { format!("{value:.1e}") }
}
