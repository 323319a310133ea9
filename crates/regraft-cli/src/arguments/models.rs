//! Flags of `regraft models`.

use super::option_flags::{OptionFlags, Suggesting};
use super::text;
use clap::Args;
use regraft::config::Interval;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  regraft models
  regraft models --cached
  regraft models --suggest photos/ --budget 5m  which of the cached models suits these images
  regraft models --json";

/// Flags of `regraft models`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ModelsArguments {
    /// List only the models whose weights are inside the program or in the cache
    #[arg(long, conflicts_with = "suggest")]
    pub cached: bool,
    /// Rank these models by the accuracy of a head that is fitted to some of these images
    ///
    /// The accuracy is cross-validated, and the time is that of fitting a head to all training
    /// images. DATA is as for `regraft train`.
    #[arg(long, value_name = "DATA")]
    pub suggest: Option<PathBuf>,
    /// Time that a training may take, such as 5m; slower models are listed last
    #[arg(long, value_name = "TIME", value_parser = text::<Interval, _>, requires = "suggest")]
    pub budget: Option<Interval>,
    /// Most images that the models are tried on [default: 400]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(4..),
        requires = "suggest")]
    pub sample: Option<u32>,
    /// Print the list as JSON on standard output, and everything else on standard error
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub flags: OptionFlags<Suggesting>,
}
