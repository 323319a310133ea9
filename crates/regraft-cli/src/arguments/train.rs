//! `regraft train`'s flags.

use super::run_options::{RunOptions, Use};
use super::text;
use crate::failure::Failure;
use clap::Args;
use regraft::config::{Interval, TrainConfig};
use regraft::run_folder::RunFolder;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  regraft train photos/                           photos/<class>/*.jpg, or photos/train, val, test
  regraft train labels.csv                        a table with the columns path, label and split
  regraft train photos/ --recipe d2l              the textbook's recipe
  regraft train photos/ --head new                a new head learns in epochs
  regraft train photos/ --budget 2m               the best that fits into two minutes on this \
      machine
  regraft train photos/ --freeze backbone         the fitted head, without a trial of training \
      deeper
  regraft train photos/ --freeze none             all layers learn, and the head is fitted again
  regraft train photos/ --model resnet18 --weights resnet18-f37072fd.pth
  regraft train flowers/ --weights none --output runs/source
  regraft train photos/ --weights runs/source     a model of your own as the source
  regraft train --config runs/photos/config.toml  the same run again
  regraft train --resume runs/photos              go on with a run that was interrupted";

/// Flags of `regraft train`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TrainArguments {
    /// Folder of images: DATA/train with DATA/val and/or DATA/test, each with a folder for each
    /// class, or class folders in DATA; or a table (.csv, .tsv, .jsonl) with the columns path,
    /// label and split; or an archive (.zip, .tar, .tar.gz) of either. Splits may also be called
    /// Training, seg_test, valid and the like
    #[arg(required_unless_present_any = ["config", "resume"])]
    pub data: Option<PathBuf>,
    /// Folder for what the run leaves [default: the next free runs/NAME, after DATA]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Write into --output though it is not empty; only files that a run writes are replaced
    #[arg(long)]
    pub force: bool,
    /// Go on with an interrupted run where its last checkpoint was written, as though nothing had
    /// happened
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "recipe", "output", "force"])]
    pub resume: Option<PathBuf>,
    /// End within this time, such as 2m, in place of a number of epochs: measures how fast this
    /// machine is with these pictures, and plans what fits: a fitted head and, if a trial shows
    /// that it pays, as many epochs of all layers as there is time for. config.toml has the plan
    #[arg(long, value_name = "TIME", value_parser = text::<Interval, _>, help_heading = "Training",
        conflicts_with_all = ["epochs", "config", "resume", "recipe", "head", "head_map"])]
    pub budget: Option<Interval>,
    /// Print the summary as JSON on standard output, and everything else on standard error
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub options: RunOptions,
}

impl TrainArguments {
    /// The configuration that the flags stand for.
    pub fn resolve(&self) -> Result<TrainConfig, Failure> {
        let run = match &self.resume {
            Some(folder) => {
                RunFolder::check_run(folder).map_err(Failure::input)?;
                Some(RunFolder::existing(folder).config())
            }
            None => None,
        };
        // A budget plans the epochs later, and says so if there is time for none.
        let use_of = if self.budget.is_some() { Use::Other } else { Use::Steps };
        self.options.resolve(self.data.as_deref(), run.as_deref(), use_of)
    }
}
