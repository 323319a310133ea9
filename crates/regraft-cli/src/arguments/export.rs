//! Flags of `regraft export`.

use super::one_of;
use super::option_flags::{ExportCheck, OptionFlags};
use super::tools::StoredType;
use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  regraft export runs/photos -o photos.onnx
  regraft export runs/photos -o photos.onnx --weights f16       (half as large)
  regraft export runs/photos -o photos.onnx --check new-photos  (the run's images are gone)
  regraft export runs/photos -o photos.onnx --input tensor      (without preprocessing)
  regraft export runs/photos -o photos.onnx --temperature       (calibrated probabilities)
  regraft export runs/photos -o photos --format timm --license apache-2.0
  regraft export efficientnet_lite0 -o lite0.onnx --check photos

The ONNX file takes an image as it is, resizes and normalises it, and gives probabilities. \
Before it is written, another engine (rten) runs it on up to 64 of the run's images. \
If a prediction differs from Regraft's, nothing is written and the exit code is 1. See \
docs/export.md.";

/// A format to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    Onnx,
    Timm,
}

/// The input of an ONNX file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportInput {
    Pixels,
    Tensor,
}

/// Flags of `regraft export`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExportArguments {
    /// Run folder, model file, or efficientnet_lite0, the embedded model
    #[arg(value_name = "MODEL")]
    pub saved: PathBuf,
    /// File or folder to write
    #[arg(long, short, value_name = "PATH")]
    pub output: PathBuf,
    /// Format: onnx (a file), or timm (a folder for timm, transformers and the Hugging Face Hub,
    /// with a model card)
    #[arg(long, value_parser = one_of::<ExportFormat>(&["onnx", "timm"]), default_value = "onnx")]
    pub format: ExportFormat,
    /// Input of an ONNX file: pixels (uint8 [N, H, W, 3], RGB, any size) or tensor (float32 [N, 3,
    /// S, S], resized and normalised) [default: pixels]
    #[arg(long, value_parser = one_of::<ExportInput>(&["pixels", "tensor"]))]
    pub input: Option<ExportInput>,
    /// Number format of an ONNX file's weights; with f16, biases and the arithmetic stay f32
    /// [default: f32]
    #[arg(long, value_parser = one_of::<StoredType>(&["f32", "f16"]))]
    pub weights: Option<StoredType>,
    /// Export calibrated probabilities: logits are divided by the temperature that the run has
    /// fitted out of fold, or on its validation set
    #[arg(long)]
    pub temperature: bool,
    /// Check the ONNX file on these images: a file, a folder, a pattern, a list or an archive
    /// [default: the run's images]
    #[arg(long, value_name = "IMAGES")]
    pub check: Option<PathBuf>,
    /// Architecture of a weight file that does not name it; `regraft models` lists them
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Licence for the model card of --format timm, by the Hub's identifier, such as apache-2.0
    #[arg(long, value_name = "ID")]
    pub license: Option<String>,
    /// Replace an existing PATH
    #[arg(long)]
    pub force: bool,
    /// Print a report as JSON on standard output, and everything else on standard error
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub flags: OptionFlags<ExportCheck>,
}
