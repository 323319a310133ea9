//! `regraft bench`'s flags.

use super::shared::threads;
use super::{one_of, text};
use clap::{Args, Subcommand};
use regraft::bench::{StepMode, StepOptions};
use regraft::config::Freeze;

const STEP_EXAMPLES: &str = "\
Examples:
  regraft bench step
  regraft bench step --model resnet18 --mode eval --batch 128 --json
  regraft bench step --model resnet18 --freeze through=layer3";

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

impl StepArguments {
    pub fn options(&self) -> StepOptions {
        StepOptions {
            model: self.model.clone(),
            mode: self.mode,
            batch: self.batch,
            classes: self.classes,
            threads: self.threads,
            freeze: self.freeze.clone(),
            steps: self.steps,
        }
    }
}
