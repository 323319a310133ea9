//! Flags of the commands that use a finished model: `regraft evaluate` and `regraft predict`.

use super::option_flags::{Inference, OptionFlags};
use crate::failure::Failure;
use crate::job;
use crate::locating;
use clap::Args;
use regraft::config::Weights;
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
  regraft predict runs/photos new/ --csv > new.csv
  regraft predict runs/photos new/ --temperature --sort-into sorted --min-probability 0.9";

/// Flags of `regraft evaluate`.
#[derive(Debug, Args)]
#[command(
    after_help = EVALUATE_EXAMPLES,
    allow_missing_positional = true,
    override_usage = "regraft evaluate [OPTIONS] MODEL FOLDER\n       regraft evaluate [OPTIONS] \
        --model NAME [--weights FILE] FOLDER"
)]
pub struct EvaluateArguments {
    /// Run folder, model file, or ONNX file from `regraft export`
    #[arg(value_name = "MODEL")]
    pub saved: Option<PathBuf>,
    /// Labelled images: a folder, a table or an archive
    ///
    /// A folder holds a folder for each class, some of which may be missing; if it holds splits,
    /// the test set is scored. A table (.csv, .tsv, .jsonl) has the columns path and label. An
    /// archive (.zip, .tar, .tar.gz) holds either.
    pub folder: PathBuf,
    /// Print the scores as JSON on standard output, and everything else on standard error
    #[arg(long)]
    pub json: bool,
    /// Write the prediction for each image as CSV:
    /// path,class,predicted,probability,class_probability,rank,loss,brier
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
    override_usage = "regraft predict [OPTIONS] MODEL IMAGES...\n       regraft predict \
        [OPTIONS] --model NAME [--weights FILE] IMAGES..."
)]
pub struct PredictArguments {
    /// Run folder, model file or exported ONNX file, then the images
    ///
    /// The model is left out if --model or --weights names it. Images are files, folders, patterns
    /// such as '*.jpg', lists (.txt with a path on each line) and archives (.zip, .tar, .tar.gz).
    #[arg(value_name = "MODEL IMAGES", required = true)]
    pub words: Vec<PathBuf>,
    /// Number of classes to list, the most probable first [default: 5]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub top: Option<u32>,
    /// Print the predictions as JSON on standard output, and everything else on standard error
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print path, rank, class and probability as CSV on standard output, and everything else on
    /// standard error
    #[arg(long)]
    pub csv: bool,
    /// Copy each image into a folder of its class in DIR, or into DIR/uncertain; no file is
    /// replaced, moved or removed
    #[arg(long, value_name = "DIR", help_heading = "Sorting")]
    pub sort_into: Option<PathBuf>,
    /// Probability from which --sort-into files an image under its class; those below go into
    /// DIR/uncertain [default: 0.8]
    #[arg(long, value_name = "P", value_parser = probability, requires = "sort_into",
        help_heading = "Sorting")]
    pub min_probability: Option<f32>,
    #[command(flatten)]
    pub named: NamedModelArguments,
    #[command(flatten)]
    pub inference: InferenceArguments,
}

/// A parser for a probability.
fn probability(text: &str) -> Result<f32, String> {
    let number: f32 = text.parse().map_err(|_| "choose a number from 0 to 1".to_owned())?;
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err("choose from 0 to 1".to_owned()) }
}

/// A model that is named rather than given as a run folder or file.
#[derive(Debug, Args)]
pub struct NamedModelArguments {
    /// Architecture, whose usual weights are downloaded if need be, or hub:OWNER/NAME[@REVISION],
    /// in place of MODEL; `regraft models` lists the architectures
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub model: Option<String>,
    /// Weight file (.safetensors, or .pth from torchvision or timm), in place of MODEL
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    pub weights: Option<PathBuf>,
    /// Calibrate the probabilities: divide the logits by the temperature that the model's run has
    /// fitted out of fold, or on its validation set; the predicted class stays the same
    #[arg(long, help_heading = "Model")]
    pub temperature: bool,
}

impl NamedModelArguments {
    pub fn is_given(&self) -> bool {
        self.model.is_some() || self.weights.is_some()
    }

    /// The classifier that these flags name, or else the one that is saved at `path`.
    pub fn classifier(&self, path: Option<&Path>) -> Result<Model, Failure> {
        let weights = self.weights.clone().map(Weights::from);
        let model = match path {
            Some(path) => locating::named(path, None),
            // The seed draws initial weights, which classify nothing.
            None => locating::source(self.model.as_deref(), weights.as_ref(), 0),
        };
        let model = model.and_then(Model::into_classifier);
        if !self.temperature {
            return model.map_err(Failure::of);
        }
        model.and_then(Model::into_calibrated).map(|(model, _)| model).map_err(Failure::of)
    }
}

/// How the model is run.
#[derive(Debug, Args)]
pub struct InferenceArguments {
    #[command(flatten)]
    pub flags: OptionFlags<Inference>,
}

impl InferenceArguments {
    pub fn options(&self) -> Result<InferenceOptions, Failure> {
        let options = InferenceOptions::of(&self.flags.on_defaults()?);
        Ok(InferenceOptions { ranks: job::ranks().clone(), ..options })
    }
}
