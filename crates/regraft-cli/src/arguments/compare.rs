//! `regraft compare`'s flags, and how they become arms.

use super::option_flags::{Comparison, OptionFlags};
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
  regraft compare --print-arms > arms.toml        the arms as a file to edit
  regraft compare photos/ --arms arms.toml        arms of your own

The same command resumes a comparison that was stopped, and runs only new arms. An arm that fails \
is listed as failed; the others still run.";

/// Flags of `regraft compare`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompareArguments {
    /// Images, as for `regraft train`
    #[arg(required_unless_present = "print_arms")]
    pub data: Option<PathBuf>,
    /// TOML file of the arms to compare [default: the textbook's and ours]
    ///
    /// Each arm is a table [[arm]] with a name and any options of config.toml.
    #[arg(long, value_name = "FILE")]
    pub arms: Option<PathBuf>,
    /// Print the default arms and exit
    #[arg(long)]
    pub print_arms: bool,
    /// Number of runs of each arm, with seeds from 0
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(
        u64).range(1..=1000))]
    pub seeds: u64,
    /// Folder of the runs and the result [default: runs/NAME-compare, named after DATA]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Report the time until an arm reaches this accuracy
    #[arg(long, value_name = "SHARE", default_value_t = 0.9)]
    pub target_accuracy: f64,
    /// Print the result as JSON on standard output, and everything else on standard error
    #[arg(long)]
    pub json: bool,
    /// Print the result as Markdown on standard output, and everything else on standard error
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,

    #[command(flatten)]
    pub flags: OptionFlags<Comparison>,
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
        let (mut options, mut defaults) = (self.flags.table()?, toml::Table::new());
        // An arm from scratch, or from a source of its own, keeps it.
        for name in ["model", "weights"] {
            defaults.extend(options.remove_entry(name));
        }
        let common = Common { options, defaults };
        let arms = match &self.arms {
            Some(path) => arms::read(path, data, &common),
            None => arms::parse(DEFAULT_ARMS, "the default arms", data, &common),
        };
        arms.map_err(Failure::input)
    }
}
