//! Flags of `regraft lr-find`.

use super::TrainArguments;
use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  regraft lr-find photos/ --freeze none
  regraft lr-find photos/ --head new                   a new head on the frozen trunk
  regraft lr-find photos/ --freeze none --from 1e-5 --to 10 --steps 200
  regraft lr-find photos/ --model resnet18 --weights resnet18-f37072fd.pth --freeze none \
      --picture resnet18.svg";

/// Flags of `regraft lr-find`: those of `regraft train`, and how the rate rises.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LrFindArguments {
    /// The SVG file to write; one that is there is replaced
    #[arg(long, value_name = "FILE", default_value = "lr-find.svg", help_heading = "Range test")]
    pub picture: PathBuf,
    /// The first step's learning rate of the trunk
    #[arg(long, value_name = "RATE", default_value_t = 1e-6, help_heading = "Range test")]
    pub from: f32,
    /// The last step's
    #[arg(long, value_name = "RATE", default_value_t = 1.0, help_heading = "Range test")]
    pub to: f32,
    /// Steps, between which the rate grows by the same factor
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(
        u64).range(10..=1_000_000), help_heading = "Range test")]
    pub steps: u64,
    #[command(flatten)]
    pub train: TrainArguments,
}
