//! `regraft bench`'s flags.

use super::option_flags::{LoadBench, OptionFlags, StepBench, ZooBench};
use super::{one_of, text};
use crate::failure::Failure;
use crate::locating;
use clap::{Args, Subcommand};
use regraft::bench::load::LoadOptions;
use regraft::bench::{StepMode, StepOptions};
use regraft::config::{CacheImages, Freeze, MOST_BATCH, MOST_EPOCHS};
use std::path::PathBuf;

const STEP_EXAMPLES: &str = "\
Examples:
  regraft bench step
  regraft bench step --model resnet18 --mode eval --batch 128 --json
  regraft bench step --model resnet18 --precision bf16
  regraft bench step --model resnet18 --freeze through=layer3";

const LOAD_EXAMPLES: &str = "\
Examples:
  regraft bench load photos/
  regraft bench load photos/ --workers 2 --batch 128 --epochs 3 --json
  regraft bench load photos/ --cache-images auto";

const ZOO_EXAMPLES: &str = "\
Examples:
  regraft bench zoo
  regraft bench zoo resnet18 mobilenetv3_small_100 --json";

/// Flags of `regraft bench`.
#[derive(Debug, Args)]
pub struct BenchArguments {
    #[command(subcommand)]
    pub command: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Time training steps on random images in memory
    Step(StepArguments),
    /// Time evaluation of all architectures, for `regraft models` to show
    Zoo(ZooArguments),
    /// Time the loading of batches: decoding, random crops, flips
    Load(LoadArguments),
}

/// Flags of `regraft bench step`.
#[derive(Debug, Args)]
#[command(after_help = STEP_EXAMPLES)]
pub struct StepArguments {
    /// Architecture, with random weights; `regraft models` lists them, and hub:OWNER/NAME names
    /// that of a repository
    #[arg(long, value_name = "NAME", default_value = regraft::model::DEFAULT_ARCHITECTURE)]
    pub model: String,
    /// Time training steps or evaluation
    #[arg(long, value_parser = one_of::<StepMode>(&["train", "eval"]), default_value = "train")]
    pub mode: StepMode,
    /// Images per step
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub batch: usize,
    /// Number of classes
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub classes: usize,
    /// Layers that are not trained: none, backbone, or through=LAYER
    #[arg(long, value_name = "LAYERS", value_parser = text::<Freeze, _>, default_value = "none")]
    pub freeze: Freeze,
    /// Number of steps to time, after two for warming up
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub steps: usize,
    /// Print the figures as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub flags: OptionFlags<StepBench>,
}

/// Flags of `regraft bench zoo`.
#[derive(Debug, Args)]
#[command(after_help = ZOO_EXAMPLES)]
pub struct ZooArguments {
    /// Architectures to time, with random weights [default: all]
    #[arg(value_name = "NAME")]
    pub models: Vec<String>,
    /// Images per batch
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(
        1..=MOST_BATCH as i64), default_value = "16")]
    pub batch: u32,
    /// Number of batches to time, after two for warming up
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub steps: usize,
    /// Print the figures as JSON on standard output, and everything else on standard error
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub flags: OptionFlags<ZooBench>,
}

/// Flags of `regraft bench load`.
#[derive(Debug, Args)]
#[command(after_help = LOAD_EXAMPLES)]
pub struct LoadArguments {
    /// Images, as for `regraft train`; the training images are loaded
    pub data: PathBuf,
    /// Images per batch
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(
        1..=MOST_BATCH as i64), default_value = "128")]
    pub batch: u32,
    /// Passes over the images
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(
        1..=i64::from(MOST_EPOCHS)), default_value = "2")]
    pub epochs: u32,
    /// Side of the network's input in pixels
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=4096),
        default_value = "224")]
    pub image_size: u32,
    /// Memory for decoded images: off, auto (a quarter of the available memory), or a size such as
    /// 512M
    #[arg(long, value_name = "SIZE", value_parser = text::<CacheImages, _>, default_value = "off")]
    pub cache_images: CacheImages,
    /// Print the figures as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub flags: OptionFlags<LoadBench>,
}

impl LoadArguments {
    pub fn options(&self) -> Result<LoadOptions, Failure> {
        let config = self.flags.on_defaults()?;
        Ok(LoadOptions {
            data: self.data.clone(),
            workers: config.workers,
            batch: self.batch as usize,
            epochs: self.epochs,
            image_size: self.image_size,
            cache_images: self.cache_images,
            decode: config.decode_options(),
            full_decode: config.full_decode,
        })
    }
}

impl StepArguments {
    pub fn options(&self) -> Result<StepOptions, Failure> {
        let config = self.flags.on_defaults()?;
        Ok(StepOptions {
            model: locating::architecture_name(&self.model).map_err(Failure::of)?,
            mode: self.mode,
            batch: self.batch,
            classes: self.classes,
            device: config.device,
            threads: config.threads,
            precision: config.precision,
            freeze: self.freeze.clone(),
            steps: self.steps,
        })
    }
}
