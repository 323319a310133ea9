//! Flags of `regraft show`.

use super::one_of;
use super::shared::{PreparationArguments, ReadingArguments, SourceArguments};
use clap::Args;
use regraft::config::Recipe;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  regraft show photos/ -o grid.png
  regraft show photos/ -o grid.png --per-class 4 --crop-scale 0.5,1
  regraft show photos/ -o grid.png --resize letterbox --augment none
  regraft show photos/ -o grid.png --model resnet18 --image-size 160";

/// Flags of `regraft show`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ShowArguments {
    /// Folder of pictures, laid out as for `regraft train`
    pub data: PathBuf,
    /// The PNG file to write; one that is there is replaced
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Pictures of each class
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub per_class: usize,
    /// The most classes; the others are named
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub classes: usize,
    /// Recipe whose pictures and augmentation are shown
    #[arg(long, value_parser = one_of::<Recipe>(&["default", "d2l"]))]
    pub recipe: Option<Recipe>,
    /// Seed of the choice and of the augmentation, as in `regraft train`
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Epoch whose augmentation is drawn
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub epoch: u32,
    #[command(flatten)]
    pub source: SourceArguments,
    #[command(flatten)]
    pub preparation: PreparationArguments,
    #[command(flatten)]
    pub reading: ReadingArguments,
}
