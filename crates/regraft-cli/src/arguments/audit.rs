//! Flags of `regraft audit`.

use super::shared::{DeviceArguments, ReadingArguments, ThreadArguments};
use clap::Args;
use regraft::audit::AuditOptions;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  regraft audit photos/
  regraft audit photos/ --html audit.html
  regraft audit photos/ --fix-list out.csv && regraft train photos/ --exclude out.csv
  regraft audit photos/ --strict --files-only --json

Exit codes: 0 done, 1 failed under way, or --strict and leakage or label conflicts, 2 wrong usage \
or bad input";

/// Flags of `regraft audit`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AuditArguments {
    /// Folder, table or archive of images, laid out as for `regraft train`
    pub data: PathBuf,
    /// Write a page with the pictures of each finding
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write a CSV of the files that training does better without, for `regraft train --exclude`:
    /// what cannot be read or is blank, all but one of copies, training copies of pictures that are
    /// scored on, pictures under several classes
    #[arg(long, value_name = "FILE")]
    pub fix_list: Option<PathBuf>,
    /// Fail where a picture stands in two parts or under two classes
    #[arg(long)]
    pub strict: bool,
    /// Leave out what takes a network: suspect labels and outliers
    #[arg(long)]
    pub files_only: bool,
    /// Pass over the pictures that this table's column `path` names
    #[arg(long, value_name = "FILE")]
    pub exclude: Option<PathBuf>,
    /// Seed of the division of the pictures whose labels are foretold in turn
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Print an object as JSON on standard output, and everything else on standard error
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub reading: ReadingArguments,
    #[command(flatten)]
    pub threads: ThreadArguments,
    #[command(flatten)]
    pub device: DeviceArguments,
}

impl AuditArguments {
    pub fn options(&self) -> AuditOptions {
        AuditOptions {
            data: self.data.clone(),
            exclude: self.exclude.clone(),
            with_model: !self.files_only,
            decode: self.reading.decode_options(),
            threads: self.threads.threads.unwrap_or(0),
            device: self.device.device.clone().unwrap_or_default(),
            workers: self.threads.workers.unwrap_or(0),
            seed: self.seed,
        }
    }
}
