//! Flags of `regraft runs` and `regraft diff`.

use super::one_of;
use clap::Args;
use regraft::runs::SortBy;
use std::path::PathBuf;

const RUNS_EXAMPLES: &str = "\
Examples:
  regraft runs
  regraft runs experiments --sort time
  regraft runs --data hotdog --model resnet --finished
  regraft runs --json";

const DIFF_EXAMPLES: &str = "\
Examples:
  regraft diff runs/photos runs/photos-2
  regraft diff runs/photos runs/photos-2 --json";

/// Flags of `regraft runs`.
#[derive(Debug, Args)]
#[command(after_help = RUNS_EXAMPLES)]
pub struct RunsArguments {
    /// Folder in which runs are looked for, up to four levels deep
    #[arg(default_value = "runs")]
    pub folder: PathBuf,
    /// Order: accuracy, time, data, model, folder or date
    #[arg(long, value_name = "KEY", default_value = "accuracy", value_parser = one_of::<SortBy>(
        &["accuracy", "time", "data", "model", "folder", "date"]))]
    pub sort: SortBy,
    /// Reverse the order
    #[arg(long)]
    pub reverse: bool,
    /// List only runs whose data folder contains TEXT, in any case
    #[arg(long, value_name = "TEXT")]
    pub data: Option<String>,
    /// List only runs whose architecture contains TEXT, in any case
    #[arg(long, value_name = "TEXT")]
    pub model: Option<String>,
    /// List only complete runs
    #[arg(long)]
    pub finished: bool,
    /// Print the list as JSON on standard output, and everything else on standard error
    #[arg(long)]
    pub json: bool,
}

/// Flags of `regraft diff`.
#[derive(Debug, Args)]
#[command(after_help = DIFF_EXAMPLES)]
pub struct DiffArguments {
    /// A run folder
    #[arg(value_name = "RUN")]
    pub first: PathBuf,
    /// Another one
    #[arg(value_name = "OTHER")]
    pub second: PathBuf,
    /// Print the differences as JSON on standard output, and everything else on standard error
    #[arg(long)]
    pub json: bool,
}
