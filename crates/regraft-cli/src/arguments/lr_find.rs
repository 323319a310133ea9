//! Flags of `regraft lr-find`.

use super::option_flags::RangeTest;
use super::run_options::{RunOptions, Use};
use crate::failure::Failure;
use clap::Args;
use regraft::config::TrainConfig;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  regraft lr-find photos/ --freeze none
  regraft lr-find photos/ --head new                   a new head on the frozen backbone
  regraft lr-find photos/ --freeze none --from 1e-5 --to 10 --steps 200
  regraft lr-find photos/ --model resnet18 --weights resnet18-f37072fd.pth --freeze none \
      --plot resnet18.svg";

/// Flags of `regraft lr-find`: how the rate rises, and the options of `regraft train` that mean
/// something to it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LrFindArguments {
    /// Images, as for `regraft train`
    #[arg(required_unless_present = "config")]
    pub data: Option<PathBuf>,
    /// SVG file for the plot of the losses; an existing one is replaced
    #[arg(long, value_name = "FILE", default_value = "lr-find.svg", alias = "picture")]
    pub plot: PathBuf,
    /// Learning rate of the backbone in the first step
    #[arg(long, value_name = "RATE", default_value = "1e-6")]
    pub from: f32,
    /// Learning rate in the last step
    #[arg(long, value_name = "RATE", default_value = "1")]
    pub to: f32,
    /// Number of steps, from each of which the rate grows by the same factor
    #[arg(long, value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u64).range(10..=1_000_000))]
    pub steps: u64,
    /// Print the steps and the suggestion as JSON on standard output, and everything else on
    /// standard error
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub options: RunOptions<RangeTest>,
}

impl LrFindArguments {
    /// The configuration of the run whose rate is sought.
    pub fn resolve(&self) -> Result<TrainConfig, Failure> {
        let mut config = self.options.resolve(self.data.as_deref(), None, Use::Other)?;
        // Whoever names the layers that learn wants steps.
        if self.options.flags.gives("freeze") && config.epochs.is_none() {
            config.epochs = Some(1);
        }
        Ok(config)
    }
}
