//! Flags of `regraft show`.

use super::option_flags::All;
use super::run_options::RunOptions;
use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  regraft show photos/ -o grid.png
  regraft show photos/ -o grid.png --per-class 4 --epochs 5 --crop-scale 0.5,1
  regraft show photos/ -o grid.png --resize letterbox --augment none
  regraft show -o grid.png --config runs/photos/config.toml --epoch 3";

/// Flags of `regraft show`: the options of `regraft train`, and the images to draw. With the same
/// options, the images and random crops are exactly those of training.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ShowArguments {
    /// Images, as for `regraft train`
    #[arg(required_unless_present = "config")]
    pub data: Option<PathBuf>,
    /// PNG file to write; an existing one is replaced
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Number of images of each class
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub per_class: usize,
    /// Largest number of classes; the others are named
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub classes: usize,
    /// Epoch whose augmentation is drawn
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub epoch: u32,
    /// Print a report as JSON on standard output, and everything else on standard error
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub options: RunOptions<All>,
}
