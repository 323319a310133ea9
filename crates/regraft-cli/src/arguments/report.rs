//! Flags of `regraft report`.

use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  regraft report runs/photos                   (writes runs/photos/report.html again)
  regraft report runs/photos new-photos        (about other labelled images)
  regraft report runs/photos -o photos.html --no-images";

/// Flags of `regraft report`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReportArguments {
    /// Folder of a complete run
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Labelled images that the report is about, as for `regraft evaluate` [default: the run's test
    /// images; without any, its training images out of fold; otherwise its validation images]
    pub data: Option<PathBuf>,
    /// Page to write; an existing one is replaced [default: report.html in RUN, or with DATA,
    /// report-NAME.html]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Leave images out of the page
    #[arg(long)]
    pub no_images: bool,
    /// Print the report's numbers as JSON on standard output, and everything else on standard error
    #[arg(long)]
    pub json: bool,
}
