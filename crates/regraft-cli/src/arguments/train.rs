//! `regraft train`'s flags.

use super::option_flags::All;
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
  regraft train photos/ --budget 2m               the best that fits into two minutes
  regraft train photos/ --freeze backbone         fit the head, without a trial of training more
  regraft train photos/ --freeze none             train all layers
  regraft train photos/ --head new                train a new head in epochs
  regraft train photos/ --model resnet18 --weights resnet18-f37072fd.pth
  regraft train photos/ --weights runs/flowers    start from a model of your own
  regraft train flowers/ --weights none           train from scratch
  regraft train photos/ --recipe d2l              the textbook's recipe
  regraft train --config runs/photos/config.toml  repeat a run
  regraft train --resume runs/photos              resume a run that was interrupted
  mpirun -np 8 regraft train photos/              several processes (feature mpi)";

/// Flags of `regraft train`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TrainArguments {
    /// Images: a folder, a table or an archive
    ///
    /// A folder holds `train` and, optionally, `val` and `test`, each with a folder per class, or
    /// the folders of the classes directly. Other names for the splits work as well, such as
    /// Training, valid or seg_test. A table (.csv, .tsv, .jsonl) has the columns path, label and,
    /// optionally, split. An archive (.zip, .tar, .tar.gz) holds either.
    #[arg(required_unless_present_any = ["config", "resume"])]
    pub data: Option<PathBuf>,
    /// Folder of the run [default: the next free runs/NAME, named after DATA]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Replace the files of an earlier run in --output; other files there are kept
    #[arg(long, hide_short_help = true)]
    pub force: bool,
    /// Resume an interrupted run from its last checkpoint
    ///
    /// The result is the same as if the run had not been interrupted.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "recipe", "output", "force"])]
    pub resume: Option<PathBuf>,
    /// Train for about this long, such as 2m, instead of for a number of epochs
    ///
    /// Measures how fast this machine processes the images and plans the best run that fits: a
    /// fitted head and, if a trial shows that it pays, as many epochs of all layers as there is
    /// time for. The run's config.toml holds the plan.
    #[arg(long, value_name = "TIME", value_parser = text::<Interval, _>,
        conflicts_with_all = ["epochs", "config", "resume", "recipe", "head", "head_map"])]
    pub budget: Option<Interval>,
    /// Print the configuration that the command resolves to, as config.toml, and exit
    #[arg(long, hide_short_help = true)]
    pub print_config: bool,
    /// Write no report.html at the end of the run
    #[arg(long, hide_short_help = true)]
    pub no_report: bool,
    /// Print the summary as JSON on standard output, and everything else on standard error
    #[arg(long, hide_short_help = true)]
    pub json: bool,
    #[command(flatten)]
    pub options: RunOptions<All>,
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
