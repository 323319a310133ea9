//! Flags that several commands have.

use super::{one_of, text};
use clap::Args;
use regraft::config::{CacheImages, MOST_THREADS, OnBadImage, PrecisionChoice, Resize, Weights};
use regraft::data::augmentation::AugmentationKind;
use regraft::data::decode::{DecodeOptions, MOST_MAX_PIXELS};
use regraft::engines::DeviceChoice;
use std::path::PathBuf;

/// Where a source model comes from.
#[derive(Debug, Args)]
pub struct SourceArguments {
    /// Architecture of the source model (see `regraft models`)
    #[arg(long, value_name = "NAME", help_heading = "Source model")]
    pub model: Option<String>,
    /// Weight file (.safetensors, .pth of torchvision or timm), run folder, `embedded`, or `none`
    /// to train from scratch
    #[arg(long, value_name = "FILE", help_heading = "Source model")]
    pub weights: Option<PathBuf>,
}

impl SourceArguments {
    pub fn weights(&self) -> Option<Weights> {
        self.weights.clone().map(Weights::from)
    }
}

/// How pictures become the network's input.
#[derive(Debug, Args)]
pub struct PreparationArguments {
    /// Side of the network's square input in pixels [default: the source model's]
    #[arg(long, value_name = "PIXELS", help_heading = "Pictures")]
    pub image_size: Option<u32>,
    /// How a picture becomes a square in evaluation [default: the source model's way]
    #[arg(long, value_parser = one_of::<Resize>(&["crop", "squash", "letterbox"]),
        help_heading = "Pictures")]
    pub resize: Option<Resize>,
    /// Vary training pictures: not at all; by random crops and flips (basic); and besides by an
    /// operation of any strength (trivial: TrivialAugment) or two of one strength (rand:
    /// RandAugment)
    #[arg(long, value_parser = one_of::<AugmentationKind>(&["none", "basic", "trivial", "rand"]),
        help_heading = "Pictures")]
    pub augment: Option<AugmentationKind>,
    /// Smallest and largest part of a picture's area that a training crop covers, such as 0.08,1
    #[arg(long, value_name = "LOW,HIGH", value_parser = crop_scale, help_heading = "Pictures")]
    pub crop_scale: Option<[f32; 2]>,
    /// Part of each class that picks the best epoch where there is no validation folder; 0 trains
    /// on all [default: 0.2 of class folders, 0.1 of train, 0 where no epoch is to be picked]
    #[arg(long, value_name = "SHARE", help_heading = "Pictures")]
    pub val_fraction: Option<f64>,
}

/// What happens to files that are no pictures.
#[derive(Debug, Args)]
pub struct BadImageArguments {
    /// What to do about a picture that cannot be read: stop, or leave it out and list it [default:
    /// stop]
    #[arg(long, value_name = "ACTION", value_parser = one_of::<OnBadImage>(&["stop", "skip"]),
        help_heading = "Pictures")]
    pub on_bad_image: Option<OnBadImage>,
}

/// Which files are taken for readable pictures.
#[derive(Debug, Args)]
pub struct ReadingArguments {
    /// Refuse images of more pixels, by their header; at most 4294967296 [default: 178956970, as
    /// Pillow]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(
        1..=MOST_MAX_PIXELS), help_heading = "Pictures")]
    pub max_pixels: Option<u64>,
    /// Take a JPEG that is cut off or damaged as far as it goes, the rest grey; each is named
    #[arg(long, help_heading = "Pictures")]
    pub allow_truncated: bool,
    /// Decode large JPEGs whole. Otherwise they are decoded at a half, a quarter or an eighth of
    /// their size where that leaves more detail than the network sees
    #[arg(long, help_heading = "Pictures")]
    pub full_decode: bool,
}

impl ReadingArguments {
    /// What is taken for a readable picture.
    pub fn decode_options(&self) -> DecodeOptions {
        let max_pixels = self.max_pixels.unwrap_or(DecodeOptions::default().max_pixels);
        DecodeOptions {
            max_pixels,
            allow_truncated: self.allow_truncated,
            ..DecodeOptions::default()
        }
    }
}

/// How much memory pictures may take.
#[derive(Debug, Args)]
pub struct CacheArguments {
    /// Memory for decoded pictures, which are then decoded once: auto (a quarter of what is
    /// available), off, or a size such as 512M [default: auto]
    #[arg(long, value_name = "SIZE", value_parser = text::<CacheImages, _>,
        help_heading = "Machine")]
    pub cache_images: Option<CacheImages>,
}

/// What is computed with.
#[derive(Debug, Args)]
pub struct PrecisionArguments {
    /// What maps are stored as and matrix products multiply: f32, bf16 (half the memory), or auto:
    /// bf16 where the processor multiplies it [default: f32]
    #[arg(long, value_parser = one_of::<PrecisionChoice>(&["f32", "bf16", "auto"]),
        help_heading = "Machine")]
    pub precision: Option<PrecisionChoice>,
}

/// How much of the machine is used.
#[derive(Debug, Args)]
pub struct ThreadArguments {
    /// Threads that compute [default: one for each core]
    #[arg(long, value_name = "N", value_parser = threads, help_heading = "Machine")]
    pub threads: Option<usize>,
    /// Threads that decode and transform pictures [default: one for each core]
    #[arg(long, value_name = "N", value_parser = threads, help_heading = "Machine")]
    pub workers: Option<usize>,
}

/// What the network runs on.
#[derive(Debug, Args)]
pub struct DeviceArguments {
    /// What the network runs on: auto, cpu, gpu, gpu:N, all, or a list such as gpu:0,gpu:1 or cpu*2
    /// (see `regraft doctor`) [default: auto, the best that there is]
    #[arg(long, value_name = "DEVICE", value_parser = text::<DeviceChoice, _>,
        help_heading = "Machine")]
    pub device: Option<DeviceChoice>,
}

/// A number of threads.
pub fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number <= MOST_THREADS => Ok(number),
        _ => Err(format!("a number from 1 to {MOST_THREADS}, or 0 for one for each core")),
    }
}

fn crop_scale(text: &str) -> Result<[f32; 2], String> {
    let parts: Vec<f32> = text
        .split(',')
        .map(|part| part.trim().parse::<f32>())
        .collect::<Result<_, _>>()
        .unwrap_or_default();
    parts.try_into().map_err(|_| "two numbers with a comma between, such as 0.08,1".into())
}
