//! The result of a comparison: `compare.json`.

use super::CompareConfig;
use super::arms::Arm;
use super::paired::{PairedTest, RightAnswers, compare_all};
use crate::predictions::Prediction;
use crate::report::epochs::EpochRow;
use crate::report::summary::Summary;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A comparison's outcome. The JSON names are the field names; missing values are null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The folder of images.
    pub data: String,
    /// The seeds, the same in all arms.
    pub seeds: Vec<u64>,
    /// The images that the arms are compared on: `test`, or `validation` if there are no test
    /// images.
    pub scored_on: ScoredOn,
    /// How many these are.
    pub scored_images: u64,
    /// The accuracy of `epochs_to_target` and `seconds_to_target`.
    pub target_accuracy: f64,
    /// The device, in words.
    pub device: String,
    /// Version of Regraft that made it.
    pub regraft_version: String,
    /// One for each arm, in the order in which they were given.
    pub arms: Vec<ArmResult>,
    /// One for each pair of arms that finished with every seed.
    pub paired_tests: Vec<PairedTest>,
    /// Notes, in words.
    pub notes: Vec<String>,
}

/// The images that arms are compared on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScoredOn {
    /// Images that chose nothing.
    Test,
    /// Held-out images: of arms that keep their best epoch, these also chose it.
    Validation,
}

impl ScoredOn {
    /// A run's accuracy on them.
    pub(super) fn of_summary(self, summary: &Summary) -> Option<f64> {
        match self {
            Self::Test => summary.test_accuracy,
            Self::Validation => summary.val_accuracy,
        }
    }

    /// An epoch's accuracy on them.
    pub(super) fn of_epoch(self, row: &EpochRow) -> Option<f64> {
        match self {
            Self::Test => row.test_accuracy,
            Self::Validation => row.validation_accuracy,
        }
    }

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Validation => "validation",
        }
    }
}

/// One arm: means over the seeds with which it finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArmResult {
    /// Its name.
    pub name: String,
    /// Seeds with which it finished.
    pub seeds: usize,
    /// Mean accuracy on the test images.
    pub test_accuracy_mean: Option<f64>,
    /// Standard deviation over the seeds (with n - 1); null with fewer than two.
    pub test_accuracy_sd: Option<f64>,
    /// Mean cross entropy of the test images, in nats.
    pub test_loss_mean: Option<f64>,
    /// Mean accuracy on the validation images.
    pub val_accuracy_mean: Option<f64>,
    /// Standard deviation of that.
    pub val_accuracy_sd: Option<f64>,
    /// Mean wall time of a run, evaluation included.
    pub wall_seconds: Option<f64>,
    /// Mean training images for each second of training.
    pub images_per_second: Option<f64>,
    /// Parameters that learned.
    pub trained_parameters: Option<u64>,
    /// Mean number of epochs to the target accuracy; null unless every seed reached it.
    pub epochs_to_target: Option<f64>,
    /// Mean training time to the end of the epoch that reached it; null unless every seed did.
    pub seconds_to_target: Option<f64>,
    /// One for each seed.
    pub runs: Vec<RunResult>,
}

/// One run of an arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// The seed.
    pub seed: u64,
    /// The run folder.
    pub folder: String,
    /// Accuracy on the test images.
    pub test_accuracy: Option<f64>,
    /// Accuracy on the validation images.
    pub val_accuracy: Option<f64>,
    /// The epoch whose weights were kept.
    pub best_epoch: Option<u32>,
    /// Wall time of the run.
    pub wall_seconds: Option<f64>,
    /// Why it failed; null where it finished.
    pub error: Option<String>,
}

/// A run that finished, as its folder tells.
#[derive(Clone, Debug)]
pub struct FinishedRun {
    /// `summary.json`.
    pub summary: Summary,
    /// `metrics.csv`.
    pub rows: Vec<EpochRow>,
    /// `predictions.csv`.
    pub predictions: Vec<Prediction>,
}

/// A run of an arm: finished, or why not.
#[derive(Clone, Debug)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// The run folder.
    pub folder: PathBuf,
    /// Its results, or the error.
    pub outcome: Result<Box<FinishedRun>, String>,
}

/// An arm and its runs so far, one for each seed that had its turn.
pub(super) struct ArmRuns<'a> {
    pub arm: &'a Arm,
    pub runs: Vec<Run>,
}

impl ArmRuns<'_> {
    /// The runs that finished.
    pub fn finished(&self) -> impl Iterator<Item = &FinishedRun> {
        self.runs.iter().filter_map(|run| run.outcome.as_deref().ok())
    }
}

impl FinishedRun {
    /// The first epoch that reached `target` on the images that the arms are compared on, and the
    /// training time up to its end.
    fn reached(&self, target: f64, scored_on: ScoredOn) -> Option<(u32, f64)> {
        let mut seconds = 0.0;
        for row in &self.rows {
            seconds += row.seconds;
            if scored_on.of_epoch(row).is_some_and(|accuracy| accuracy >= target) {
                return Some((row.epoch, seconds));
            }
        }
        None
    }
}

impl ArmResult {
    /// Mean and standard deviation of the accuracy that arms are compared by.
    #[must_use]
    pub fn accuracy(&self, scored_on: ScoredOn) -> (Option<f64>, Option<f64>) {
        match scored_on {
            ScoredOn::Test => (self.test_accuracy_mean, self.test_accuracy_sd),
            ScoredOn::Validation => (self.val_accuracy_mean, self.val_accuracy_sd),
        }
    }
}

/// Puts an arm's runs together.
fn arm_result(arm: &ArmRuns<'_>, target: f64, scored_on: ScoredOn) -> ArmResult {
    let finished: Vec<&FinishedRun> = arm.finished().collect();
    let of = |value: &dyn Fn(&FinishedRun) -> Option<f64>| {
        finished.iter().map(|run| value(run)).collect::<Option<Vec<f64>>>()
    };
    let test = of(&|run| run.summary.test_accuracy);
    let validation = of(&|run| run.summary.val_accuracy);
    ArmResult {
        name: arm.arm.name.clone(),
        seeds: finished.len(),
        test_accuracy_mean: test.as_deref().and_then(mean),
        test_accuracy_sd: test.as_deref().and_then(standard_deviation),
        test_loss_mean: of(&|run| run.summary.test_loss).as_deref().and_then(mean),
        val_accuracy_mean: validation.as_deref().and_then(mean),
        val_accuracy_sd: validation.as_deref().and_then(standard_deviation),
        wall_seconds: of(&|run| Some(run.summary.wall_seconds)).as_deref().and_then(mean),
        images_per_second: of(&|run| Some(run.summary.images_per_second)).as_deref().and_then(mean),
        trained_parameters: finished.first().map(|run| run.summary.trained_parameters),
        epochs_to_target: of(&|run| {
            run.reached(target, scored_on).map(|(epoch, _)| f64::from(epoch))
        })
        .as_deref()
        .and_then(mean),
        seconds_to_target: of(&|run| run.reached(target, scored_on).map(|(_, seconds)| seconds))
            .as_deref()
            .and_then(mean),
        runs: arm.runs.iter().map(run_result).collect(),
    }
}

fn run_result(run: &Run) -> RunResult {
    let summary = run.outcome.as_ref().ok().map(|finished| &finished.summary);
    RunResult {
        seed: run.seed,
        folder: run.folder.display().to_string(),
        test_accuracy: summary.and_then(|summary| summary.test_accuracy),
        val_accuracy: summary.and_then(|summary| summary.val_accuracy),
        best_epoch: summary.map(|summary| summary.best_epoch),
        wall_seconds: summary.map(|summary| summary.wall_seconds),
        error: run.outcome.as_ref().err().cloned(),
    }
}

/// Everything that the runs so far say.
pub(super) fn put_together(config: &CompareConfig, arms: &[ArmRuns<'_>]) -> Comparison {
    let finished = || arms.iter().flat_map(ArmRuns::finished);
    let scored_on = if finished().all(|run| run.summary.test_images > 0) {
        ScoredOn::Test
    } else {
        ScoredOn::Validation
    };
    let tests = paired_tests(arms, config.seeds.len());
    let mut notes = Vec::new();
    if tests.is_none() {
        notes.push(
            "the arms were not scored on the same images, so their differences cannot be \
            tested in pairs"
                .to_owned(),
        );
    }
    let mut devices: Vec<&str> = finished().map(|run| run.summary.device.as_str()).collect();
    devices.sort_unstable();
    devices.dedup();
    Comparison {
        data: config.data.display().to_string(),
        seeds: config.seeds.clone(),
        scored_on,
        scored_images: finished().next().map_or(0, |run| run.predictions.len() as u64),
        target_accuracy: config.target_accuracy,
        device: devices.join("; "),
        regraft_version: env!("CARGO_PKG_VERSION").to_owned(),
        arms: arms.iter().map(|arm| arm_result(arm, config.target_accuracy, scored_on)).collect(),
        paired_tests: tests.unwrap_or_default(),
        notes,
    }
}

/// The paired tests between arms that finished with all seeds. `None` if arms were
/// scored on other images than others, so that there are no pairs.
fn paired_tests(arms: &[ArmRuns<'_>], seeds: usize) -> Option<Vec<PairedTest>> {
    let mut scores = Vec::new();
    let mut pictures: Option<Vec<&str>> = None;
    for arm in arms.iter().filter(|arm| arm.finished().count() == seeds) {
        for run in arm.finished() {
            let own: Vec<&str> =
                run.predictions.iter().map(|prediction| prediction.path.as_str()).collect();
            if *pictures.get_or_insert_with(|| own.clone()) != own {
                return None;
            }
        }
        let right = arm
            .finished()
            .map(|run| run.predictions.iter().map(Prediction::is_right).collect())
            .collect();
        scores.push(RightAnswers { name: arm.arm.name.clone(), right });
    }
    Some(compare_all(&scores))
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn standard_deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}
