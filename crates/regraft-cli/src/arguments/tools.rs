//! Flags of the commands that look at models, weight files and the machine.

use super::one_of;
use clap::{Args, Subcommand};
use clap_complete::Shell;
use regraft::data::preprocessing::MAX_SIDE;
use std::path::PathBuf;

const INSPECT_EXAMPLES: &str = "\
Examples:
  regraft inspect resnet18
  regraft inspect runs/photos
  regraft inspect hub:timm/resnet18.a1_in1k
  regraft inspect model.safetensors --json
  regraft inspect resnet18-f37072fd.pth --model resnet18";

const CONVERT_EXAMPLES: &str = "\
Examples:
  regraft weights convert resnet18-f37072fd.pth resnet18.safetensors
  regraft weights convert runs/photos/model.safetensors small.safetensors --dtype f16";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  regraft completions bash > ~/.local/share/bash-completion/completions/regraft
  regraft completions zsh > ~/.zfunc/_regraft
  regraft completions fish > ~/.config/fish/completions/regraft.fish";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  regraft doctor
  REGRAFT_ISA=avx2 regraft doctor  (as on a machine with AVX2 only)";

/// Flags of `regraft inspect`.
#[derive(Debug, Args)]
#[command(after_help = INSPECT_EXAMPLES)]
pub struct InspectArguments {
    /// Architecture, run folder, model file, weight file, or hub:OWNER/NAME[@REVISION]
    #[arg(value_name = "MODEL")]
    pub subject: PathBuf,
    /// Architecture of a weight file that does not name it; `regraft models` lists them
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Side in pixels of the input for which shapes and multiply-adds are listed [default: the
    /// model's]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(
        1..=i64::from(MAX_SIDE)))]
    pub image_size: Option<u32>,
    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
}

/// Flags of `regraft weights`.
#[derive(Debug, Args)]
pub struct WeightsArguments {
    #[command(subcommand)]
    pub command: WeightsCommand,
}

#[derive(Debug, Subcommand)]
pub enum WeightsCommand {
    /// Convert a weight file to safetensors, with the names of torchvision and timm
    Convert(ConvertArguments),
}

/// A number format of stored weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoredType {
    F32,
    F16,
}

/// Flags of `regraft weights convert`.
#[derive(Debug, Args)]
#[command(after_help = CONVERT_EXAMPLES)]
pub struct ConvertArguments {
    /// Weight file: safetensors, or a checkpoint of torch.save (old or new)
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// safetensors file to write
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
    /// Number format of the output; with f16, tensors of one dimension stay f32
    #[arg(long, value_parser = one_of::<StoredType>(&["f32", "f16"]), default_value = "f32")]
    pub dtype: StoredType,
    /// Replace an existing OUT
    #[arg(long)]
    pub force: bool,
    /// Print a report as JSON on standard output, and everything else on standard error
    #[arg(long)]
    pub json: bool,
}

/// Flags of `regraft completions`.
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub struct CompletionsArguments {
    /// Shell that the script is for
    pub shell: Shell,
}

/// Flags of `regraft doctor`.
#[derive(Debug, Args)]
#[command(after_help = DOCTOR_EXAMPLES)]
pub struct DoctorArguments {
    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
}
