//! Flags of `regraft audit`.

use super::option_flags::{Audit, OptionFlags};
use crate::failure::Failure;
use crate::job;
use clap::Args;
use regraft::audit::AuditOptions;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  regraft audit photos/
  regraft audit photos/ --html audit.html
  regraft audit photos/ --fix-list out.csv && regraft train photos/ --exclude out.csv
  regraft audit photos/ --strict --files-only --json

Exit codes: 0 done; 1 failed, or --strict found leakage or label conflicts; 2 wrong usage or bad \
input";

/// Flags of `regraft audit`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AuditArguments {
    /// Images, as for `regraft train`
    pub data: PathBuf,
    /// Write a page that shows the images of each finding
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write a CSV of files to leave out, for `regraft train --exclude`
    ///
    /// It names files that cannot be read, blank images, all but one of several copies, training
    /// images that are also in the validation or test set, and images that are in several classes.
    #[arg(long, value_name = "FILE")]
    pub fix_list: Option<PathBuf>,
    /// Fail if an image is in two splits or in two classes
    #[arg(long)]
    pub strict: bool,
    /// Skip the checks that take a network: suspect labels and outliers
    #[arg(long)]
    pub files_only: bool,
    /// Print the findings as JSON on standard output, and everything else on standard error
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub flags: OptionFlags<Audit>,
}

impl AuditArguments {
    /// The audit that the flags stand for.
    pub fn options(&self) -> Result<AuditOptions, Failure> {
        let config = self.flags.on_defaults()?;
        Ok(AuditOptions {
            data: self.data.clone(),
            with_model: !self.files_only,
            decode: config.decode_options(),
            exclude: config.exclude,
            threads: config.threads,
            device: config.device,
            workers: config.workers,
            seed: config.seed,
            ranks: job::ranks().clone(),
        })
    }
}
