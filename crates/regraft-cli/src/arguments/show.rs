//! Flags of `regraft show`.

use super::run_options::RunOptions;
use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  regraft show photos/ -o grid.png
  regraft show photos/ -o grid.png --per-class 4 --epochs 5 --crop-scale 0.5,1
  regraft show photos/ -o grid.png --resize letterbox --augment none
  regraft show -o grid.png --config runs/photos/config.toml --epoch 3";

/// Flags of `regraft show`: options of `regraft train`, and what is drawn. With the same options,
/// the images and random crops are exactly those of training.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ShowArguments {
    /// Folder of images, laid out as for `regraft train`
    #[arg(required_unless_present = "config")]
    pub data: Option<PathBuf>,
    /// The PNG file to write; one that is there is replaced
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Images of each class
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub per_class: usize,
    /// The most classes; the others are named
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub classes: usize,
    /// Epoch whose augmentation is drawn
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(
        u32).range(1..))]
    pub epoch: u32,
    #[command(flatten)]
    pub options: RunOptions,
}
