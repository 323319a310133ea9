//! `regraft bench`'s flags.

use super::shared::{DeviceArguments, PrecisionArguments, ReadingArguments, threads};
use super::{one_of, text};
use clap::{Args, Subcommand};
use regraft::bench::load::LoadOptions;
use regraft::bench::{StepMode, StepOptions};
use regraft::config::{CacheImages, Freeze, MOST_BATCH, MOST_EPOCHS, PrecisionChoice};
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

/// Flags of `regraft bench`.
#[derive(Debug, Args)]
pub struct BenchArguments {
    #[command(subcommand)]
    pub command: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Time steps on random pictures that are already in memory
    Step(StepArguments),
    /// Time how files become batches: decoding, random crops, flips, normalisation
    Load(LoadArguments),
}

/// Flags of `regraft bench step`.
#[derive(Debug, Args)]
#[command(after_help = STEP_EXAMPLES)]
pub struct StepArguments {
    /// Architecture (see `regraft models`); its weights are random
    #[arg(long, value_name = "NAME", default_value = regraft::model::DEFAULT_ARCHITECTURE)]
    pub model: String,
    /// Training steps, or evaluation
    #[arg(long, value_parser = one_of::<StepMode>(&["train", "eval"]), default_value = "train")]
    pub mode: StepMode,
    /// Pictures in a step
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub batch: usize,
    /// Classes of the head
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub classes: usize,
    /// Threads that compute; 0 is one for each core
    #[arg(long, value_name = "N", value_parser = threads, default_value = "0")]
    pub threads: usize,
    #[command(flatten)]
    pub device: DeviceArguments,
    #[command(flatten)]
    pub precision: PrecisionArguments,
    /// Layers that stay as they are: none, trunk, or through=LAYER
    #[arg(long, value_name = "LAYERS", value_parser = text::<Freeze, _>, default_value = "none")]
    pub freeze: Freeze,
    /// Steps that are timed, after two that are not
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub steps: usize,
    /// Print the figures as JSON
    #[arg(long)]
    pub json: bool,
}

/// Flags of `regraft bench load`.
#[derive(Debug, Args)]
#[command(after_help = LOAD_EXAMPLES)]
pub struct LoadArguments {
    /// Labelled pictures, as for `regraft train`; those that would train are loaded
    pub data: PathBuf,
    /// Pictures in a batch
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(
        1..=MOST_BATCH as i64), default_value = "128")]
    pub batch: u32,
    /// Passes over the pictures
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(
        1..=i64::from(MOST_EPOCHS)), default_value = "2")]
    pub epochs: u32,
    /// Side of the network's input in pixels
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=4096),
        default_value = "224")]
    pub image_size: u32,
    /// Threads; 0 is one for each core
    #[arg(long, value_name = "N", value_parser = threads, default_value = "0")]
    pub workers: usize,
    /// Memory for decoded pictures: off, auto (a quarter of what is available), or a size such as
    /// 512M
    #[arg(long, value_name = "SIZE", value_parser = text::<CacheImages, _>, default_value = "off")]
    pub cache_images: CacheImages,
    #[command(flatten)]
    pub reading: ReadingArguments,
    /// Print the figures as JSON
    #[arg(long)]
    pub json: bool,
}

impl LoadArguments {
    pub fn options(&self) -> LoadOptions {
        LoadOptions {
            data: self.data.clone(),
            workers: self.workers,
            batch: self.batch as usize,
            epochs: self.epochs,
            image_size: self.image_size,
            cache_images: self.cache_images,
            decode: self.reading.decode_options(),
            full_decode: self.reading.full_decode,
        }
    }
}

impl StepArguments {
    pub fn options(&self) -> StepOptions {
        StepOptions {
            model: self.model.clone(),
            mode: self.mode,
            batch: self.batch,
            classes: self.classes,
            device: self.device.device.clone().unwrap_or_default(),
            threads: self.threads,
            precision: self.precision.precision.unwrap_or(PrecisionChoice::F32),
            freeze: self.freeze.clone(),
            steps: self.steps,
        }
    }
}
