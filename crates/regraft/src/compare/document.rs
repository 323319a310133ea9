//! A comparison as a document.

use super::result::{ArmResult, Comparison, ScoredOn};
use super::{CompareConfig, PICTURE, SIGNIFICANCE, changes};
use crate::config::{TrainConfig, shown};
use crate::report::document::{Block, Document, Table};

/// The result of a comparison as a document: the arms, best first, their curves, and which
/// differences are more than chance. `svg` draws the curves.
#[must_use]
pub fn comparison_document(comparison: &Comparison, svg: &str) -> Document {
    let mut document = Document::new(format!("Ways to fine-tune on {}", comparison.data));
    document.prose(format!(
        "{} arms, {} seed{} each, compared on {} {} images. All arms have the same images, splits, \
         batch order and augmentation draws. Means over the seeds, ± one standard deviation.",
        comparison.arms.len(),
        comparison.seeds.len(),
        if comparison.seeds.len() == 1 { "" } else { "s" },
        comparison.scored_images,
        comparison.scored_on.name()
    ));
    document.table(arms(comparison));
    for arm in &comparison.arms {
        for run in &arm.runs {
            if let Some(error) = &run.error {
                document.prose(format!("{}, seed {}, failed: {error}", arm.name, run.seed));
            }
        }
    }
    comparison.notes.iter().for_each(|note| document.prose(note.clone()));
    document.heading("Curves");
    document.blocks.push(Block::Figure {
        svg: svg.to_owned(),
        file: PICTURE.to_owned(),
        caption: "Accuracy by epoch and by time".to_owned(),
    });
    document.heading("Which differences are more than chance?");
    differences(comparison, &mut document);
    document.prose(format!("Regraft {}, on {}", comparison.regraft_version, comparison.device));
    document
}

/// The same with the options of each arm at its end.
pub(super) fn with_options(mut document: Document, config: &CompareConfig) -> Document {
    document.heading("The arms");
    let mut table = Table::new(["arm", "recipe", "options that differ from the recipe"], 3);
    for arm in &config.arms {
        let recipe = TrainConfig::recipe(arm.config.recipe, &arm.config.data);
        let own: Vec<String> = changes(&recipe, &arm.config)
            .iter()
            .map(|difference| format!("{} = {}", difference.name, shown(difference.after.as_ref())))
            .collect();
        let own = if own.is_empty() { "–".to_owned() } else { own.join(", ") };
        table.push(vec![arm.name.clone(), arm.config.recipe.name().to_owned(), own]);
    }
    document.table(table);
    document
}

/// The arms by accuracy, best first; those without one at the end.
pub(super) fn ranked(comparison: &Comparison) -> Vec<&ArmResult> {
    let mut arms: Vec<&ArmResult> = comparison.arms.iter().collect();
    let key = |arm: &ArmResult| arm.accuracy(comparison.scored_on).0.unwrap_or(-1.0);
    arms.sort_by(|a, b| key(b).total_cmp(&key(a)));
    arms
}

fn arms(comparison: &Comparison) -> Table {
    let accuracy = format!("{} accuracy", comparison.scored_on.name());
    let target = comparison.target_accuracy;
    let target = format!("to {target}: epochs");
    let mut header = vec!["arm", &accuracy];
    // The mean of one run is that run.
    header.extend((comparison.seeds.len() > 1).then_some("each seed"));
    header.extend(["loss", "time", "images/s", "trained parameters", &target, "time"]);
    let mut table = Table::new(header, 1);
    ranked(comparison).into_iter().for_each(|arm| table.push(cells(arm, comparison)));
    table
}

fn cells(arm: &ArmResult, comparison: &Comparison) -> Vec<String> {
    let scored_on = comparison.scored_on;
    let missing = || "–".to_owned();
    let number = |value: Option<f64>, decimals: usize| {
        value.map_or_else(missing, |value| format!("{value:.decimals$}"))
    };
    let accuracy = match arm.accuracy(scored_on) {
        (Some(mean), Some(deviation)) => format!("{mean:.4} ± {deviation:.4}"),
        (mean, _) => number(mean, 4),
    };
    let loss = if scored_on == ScoredOn::Test { arm.test_loss_mean } else { None };
    let each: Vec<String> = arm
        .runs
        .iter()
        .filter_map(
            |run| if scored_on == ScoredOn::Test { run.test_accuracy } else { run.val_accuracy },
        )
        .map(|accuracy| format!("{accuracy:.4}"))
        .collect();
    let mut cells = vec![arm.name.clone(), accuracy];
    cells.extend((comparison.seeds.len() > 1).then(|| each.join(", ")));
    cells.extend([
        number(loss, 4),
        arm.wall_seconds.map_or_else(missing, seconds),
        number(arm.images_per_second, 1),
        arm.trained_parameters.map_or_else(missing, |count| count.to_string()),
        number(arm.epochs_to_target, 1),
        arm.seconds_to_target.map_or_else(missing, seconds),
    ]);
    cells
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.1} s")
}

/// Every pair of arms, the real differences first and marked.
fn differences(comparison: &Comparison, document: &mut Document) {
    let count = comparison.paired_tests.len();
    if count == 0 {
        document.prose("No two arms finished with every seed, so no difference could be tested.");
        return;
    }
    let mut table = Table::new(["better", "worse", "difference", "p", "p adjusted", "real"], 2);
    let mut tests: Vec<_> = comparison.paired_tests.iter().collect();
    tests.sort_by(|a, b| b.real.cmp(&a.real).then(a.p_value.total_cmp(&b.p_value)));
    for test in tests {
        let cells = vec![
            test.better.clone(),
            test.worse.clone(),
            format!("{:.4}", test.difference),
            probability(test.p_value),
            probability(test.p_value_adjusted),
            if test.real { "yes" } else { "no" }.to_owned(),
        ];
        table.push_marked(cells, test.real);
    }
    document.table(table);
    document.prose(format!(
        "Paired permutation test over the {} {} images: exact, two-sided, adjusted for {count} \
         comparison{} by Holm's method. A difference counts as real if its adjusted p is below \
         {SIGNIFICANCE} and every seed has the same arm ahead.",
        comparison.scored_images,
        comparison.scored_on.name(),
        if count == 1 { "" } else { "s" },
    ));
}

/// A probability with two significant digits.
fn probability(value: f64) -> String {
    if value >= 0.001 { format!("{value:.3}") } else { format!("{value:.1e}") }
}
