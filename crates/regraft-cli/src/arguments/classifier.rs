//! Flags of the commands that use a finished model: `regraft evaluate` and `regraft predict`.

use super::shared::{
    BadImageArguments, CacheArguments, DeviceArguments, PrecisionArguments, ReadingArguments,
    ThreadArguments,
};
use crate::failure::Failure;
use clap::Args;
use regraft::config::{CacheImages, OnBadImage, PrecisionChoice, Weights};
use regraft::inference::InferenceOptions;
use regraft::model::Model;
use std::path::{Path, PathBuf};

const EVALUATE_EXAMPLES: &str = "\
Examples:
  regraft evaluate runs/photos photos/test
  regraft evaluate model.safetensors photos/test --json
  regraft evaluate photos.onnx photos/test  (what `regraft export` wrote)
  regraft evaluate --model efficientnet_lite0 photos/  (ImageNet's classes: folders such as hot_dog)
  regraft evaluate --model resnet18 --weights resnet18-f37072fd.pth photos/";

const PREDICT_EXAMPLES: &str = "\
Examples:
  regraft predict runs/photos a.jpg b.png
  regraft predict runs/photos new/ 'more/*.jpg' --top 1
  regraft predict runs/photos list.txt  (a path on each line)
  regraft predict --model efficientnet_lite0 a.jpg
  regraft predict runs/photos new/ --csv > new.csv";

/// Flags of `regraft evaluate`.
#[derive(Debug, Args)]
#[command(
    after_help = EVALUATE_EXAMPLES,
    allow_missing_positional = true,
    override_usage = "regraft evaluate [OPTIONS] MODEL FOLDER\n       regraft evaluate [OPTIONS] \
        --model NAME [--weights FILE] FOLDER"
)]
pub struct EvaluateArguments {
    /// Run folder, model file, or an ONNX file that `regraft export` wrote (it runs in rten)
    #[arg(value_name = "MODEL")]
    pub saved: Option<PathBuf>,
    /// Folder of images with a folder for each class, a table (.csv, .tsv, .jsonl) with the columns
    /// path and label, or an archive (.zip, .tar, .tar.gz) of either; classes may be absent. Of a
    /// folder of splits, the test set is scored
    pub folder: PathBuf,
    /// Print the scores as JSON on standard output, and everything else on standard error
    #[arg(long)]
    pub json: bool,
    /// Write what the model says of each picture, as CSV: path,class,predicted,probability
    #[arg(long, value_name = "FILE")]
    pub predictions: Option<PathBuf>,
    #[command(flatten)]
    pub named: NamedModelArguments,
    #[command(flatten)]
    pub inference: InferenceArguments,
}

/// Flags of `regraft predict`.
#[derive(Debug, Args)]
#[command(
    after_help = PREDICT_EXAMPLES,
    override_usage = "regraft predict [OPTIONS] MODEL PICTURES...\n       regraft predict \
        [OPTIONS] --model NAME [--weights FILE] PICTURES..."
)]
pub struct PredictArguments {
    /// Run folder, model file or exported ONNX file (unless --model or --weights names the model),
    /// then files, folders, patterns such as '*.jpg', lists (.txt with a path on each line) and
    /// archives (.zip, .tar, .tar.gz)
    #[arg(value_name = "MODEL PICTURES", required = true)]
    pub words: Vec<PathBuf>,
    /// How many classes are listed, the most probable first [default: 5]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub top: Option<u32>,
    /// Print a list as JSON on standard output, and everything else on standard error
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print path, rank, class and probability as CSV on standard output, and everything else on
    /// standard error
    #[arg(long)]
    pub csv: bool,
    #[command(flatten)]
    pub named: NamedModelArguments,
    #[command(flatten)]
    pub inference: InferenceArguments,
}

/// A model that is named instead of given as a run folder or file.
#[derive(Debug, Args)]
pub struct NamedModelArguments {
    /// Architecture, instead of MODEL (see `regraft models`)
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub model: Option<String>,
    /// Weight file (.safetensors, .pth of torchvision or timm), instead of MODEL
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    pub weights: Option<PathBuf>,
}

impl NamedModelArguments {
    pub fn is_given(&self) -> bool {
        self.model.is_some() || self.weights.is_some()
    }

    /// The classifier that these flags name, or else the one that is saved at `path`.
    pub fn classifier(&self, path: Option<&Path>) -> Result<Model, Failure> {
        let weights = self.weights.clone().map(Weights::from);
        let model = match path {
            Some(path) => Model::load(path, None),
            // The seed draws initial weights, which classify nothing.
            None => Model::source(self.model.as_deref(), weights.as_ref(), 0),
        };
        model.and_then(Model::into_classifier).map_err(Failure::input)
    }
}

/// How the model is run.
#[derive(Debug, Args)]
pub struct InferenceArguments {
    #[command(flatten)]
    pub bad_images: BadImageArguments,
    #[command(flatten)]
    pub reading: ReadingArguments,
    #[command(flatten)]
    pub threads: ThreadArguments,
    #[command(flatten)]
    pub cache: CacheArguments,
    #[command(flatten)]
    pub precision: PrecisionArguments,
    #[command(flatten)]
    pub device: DeviceArguments,
}

impl InferenceArguments {
    pub fn options(&self) -> InferenceOptions {
        InferenceOptions {
            device: self.device.device.clone().unwrap_or_default(),
            threads: self.threads.threads.unwrap_or(0),
            precision: self.precision.precision.unwrap_or(PrecisionChoice::F32),
            workers: self.threads.workers.unwrap_or(0),
            on_bad_image: self.bad_images.on_bad_image.unwrap_or(OnBadImage::Stop),
            decode: self.reading.decode_options(),
            full_decode: self.reading.full_decode,
            cache_images: self.cache.cache_images.unwrap_or(CacheImages::Auto),
        }
    }
}
