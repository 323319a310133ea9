//! `regraft fetch`'s flags.

use crate::failure::Failure;
use clap::Args;
use regraft::fetch::{Checksum, FetchOptions, KNOWN};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  regraft fetch hotdog                     -> hotdog/train, hotdog/test
  regraft fetch hotdog --output data/hotdog
  regraft fetch https://example.org/photos.zip --sha256 \
      9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08

A download that broke off goes on where it was when the same command is given again.";

/// Flags of `regraft fetch`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct FetchArguments {
    /// Name of a known data set (hotdog), or the address of a file
    #[arg(value_name = "NAME or URL")]
    pub source: String,
    /// SHA-256 of the file, required with an address (`sha256sum FILE` prints it)
    #[arg(long, value_name = "DIGITS")]
    pub sha256: Option<String>,
    /// Folder (for a .zip, .tar or .tar.gz archive) or file to make [default: the file's name, in
    /// the current folder]
    #[arg(long, short, value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// Take a known data set from this address instead; its hash stays
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
    /// The most GiB that are downloaded
    #[arg(long, value_name = "GIB", default_value_t = 64)]
    pub max_size: u64,
    /// Print a report as JSON on standard output, and everything else on standard error
    #[arg(long)]
    pub json: bool,
}

impl FetchArguments {
    /// The options that the flags stand for.
    pub fn options(&self) -> Result<FetchOptions, Failure> {
        let wrong = |message: String| Err(Failure::input(anyhow::anyhow!(message)));
        let known = KNOWN.iter().find(|known| known.name == self.source);
        let (url, checksum) = match (known, &self.sha256) {
            (Some(known), None) => (self.mirror.as_deref().unwrap_or(known.url), known.checksum),
            (Some(_), Some(_)) => {
                return wrong(format!("the hash of {} is known; leave --sha256 out", self.source));
            }
            (None, _) if self.mirror.is_some() => {
                return wrong("--mirror is for data sets that are known by name".to_owned());
            }
            (None, _) if !self.source.contains("://") => {
                let names: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
                return wrong(format!(
                    "{}: no known data set has this name, and it is no address; known are {}",
                    self.source,
                    names.join(", ")
                ));
            }
            (None, None) => {
                return wrong(format!(
                    "--sha256 is needed with an address, so that what comes is what was meant; \
                     whoever offers {} should name it",
                    self.source
                ));
            }
            (None, Some(digits)) => {
                (self.source.as_str(), Checksum::sha256(digits).map_err(Failure::input)?)
            }
        };
        let output = self.output.clone().or_else(|| known.map(|known| known.name.into()));
        Ok(FetchOptions {
            output,
            max_bytes: self.max_size.saturating_mul(1 << 30),
            ..FetchOptions::new(url, checksum)
        })
    }
}
