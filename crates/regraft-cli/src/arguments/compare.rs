//! `regraft compare`'s flags, and how they become arms.

use super::shared::{DeviceArguments, PrecisionArguments, SourceArguments, ThreadArguments};
use crate::failure::Failure;
use clap::Args;
use regraft::compare::CompareConfig;
use regraft::compare::arms::{self, Arm, Common, DEFAULT_ARMS};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const EXAMPLES: &str = "\
Examples:
  regraft compare photos/                         the textbook's ways and ours, one run each
  regraft compare photos/ --seeds 3               three runs each: mean and spread
  regraft compare --print-arms > arms.toml        the arms as a file to change
  regraft compare photos/ --arms arms.toml        arms of your own

Goes on where it was stopped, and runs only what is new: give the same command again. An arm that \
fails is listed as failed, and the
others go on.";

/// Flags of `regraft compare`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompareArguments {
    /// Folder of pictures, as for `regraft train`
    #[arg(required_unless_present = "print_arms")]
    pub data: Option<PathBuf>,
    /// File of arms: a table [[arm]] for each, with a name and any options of a run's config.toml
    /// [default: the textbook's and ours]
    #[arg(long, value_name = "FILE")]
    pub arms: Option<PathBuf>,
    /// Print the arms that are compared unless --arms names others, and do nothing else
    #[arg(long)]
    pub print_arms: bool,
    /// Runs of each arm, with seeds from 0 up
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(
        u64).range(1..=1000))]
    pub seeds: u64,
    /// Folder for the runs and the outcome [default: runs/NAME-compare, after DATA]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Accuracy whose time is taken
    #[arg(long, value_name = "SHARE", default_value_t = 0.9)]
    pub target_accuracy: f64,
    /// Passes over the training pictures, in all arms
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub epochs: Option<u32>,
    /// Side of the network's square input in pixels, in all arms [default: the source model's]
    #[arg(long, value_name = "PIXELS", help_heading = "Training")]
    pub image_size: Option<u32>,
    /// Print the outcome as JSON on standard output, and everything else on standard error
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub source: SourceArguments,
    #[command(flatten)]
    pub precision: PrecisionArguments,
    #[command(flatten)]
    pub threads: ThreadArguments,
    #[command(flatten)]
    pub device: DeviceArguments,
}

impl CompareArguments {
    /// The comparison that the flags stand for.
    pub fn resolve(&self, data: &Path, stop: Arc<AtomicBool>) -> Result<CompareConfig, Failure> {
        if !(0.0..=1.0).contains(&self.target_accuracy) {
            let message = format!(
                "--target-accuracy {} is not possible; use a share from 0 to 1",
                self.target_accuracy
            );
            return Err(Failure::input(anyhow::anyhow!(message)));
        }
        Ok(CompareConfig {
            data: data.to_owned(),
            arms: self.arms(data)?,
            seeds: (0..self.seeds).collect(),
            target_accuracy: self.target_accuracy,
            stop,
        })
    }

    fn arms(&self, data: &Path) -> Result<Vec<Arm>, Failure> {
        let mut common = Common::default();
        // An arm from scratch, or from a source of its own, keeps it.
        if let Some(model) = &self.source.model {
            common.defaults.insert("model".to_owned(), toml::Value::String(model.clone()));
        }
        if let Some(weights) = self.source.weights() {
            common.defaults.insert(
                "weights".to_owned(),
                toml::Value::try_from(weights).map_err(Failure::input)?,
            );
        }
        let number = |value: u64| toml::Value::Integer(i64::try_from(value).unwrap_or(i64::MAX));
        let numbers = [
            ("epochs", self.epochs.map(u64::from)),
            ("image_size", self.image_size.map(u64::from)),
            ("threads", self.threads.threads.map(|count| count as u64)),
            ("workers", self.threads.workers.map(|count| count as u64)),
        ];
        common.options.extend(
            numbers.into_iter().filter_map(|(name, value)| Some((name.to_owned(), number(value?)))),
        );
        if let Some(precision) = self.precision.precision {
            common.options.insert(
                "precision".to_owned(),
                toml::Value::try_from(precision).map_err(Failure::input)?,
            );
        }
        if let Some(device) = &self.device.device {
            common.options.insert("device".to_owned(), toml::Value::String(device.to_string()));
        }
        let arms = match &self.arms {
            Some(path) => arms::read(path, data, &common),
            None => arms::parse(DEFAULT_ARMS, "the default arms", data, &common),
        };
        arms.map_err(Failure::input)
    }
}
