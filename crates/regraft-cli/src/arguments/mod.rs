//! The command line. Flags for options of a run come from the library's table of options
//! (`option_flags`); all others are defined in the file of their command.

mod audit;
mod bench;
mod classifier;
mod compare;
#[cfg(feature = "export")]
mod export;
#[cfg(feature = "fetch")]
mod fetch;
mod lr_find;
mod models;
mod option_flags;
mod report;
mod run_options;
mod runs;
mod show;
mod tools;
mod train;

pub use audit::AuditArguments;
pub use bench::{BenchArguments, BenchCommand, LoadArguments, StepArguments, ZooArguments};
pub use classifier::{
    EvaluateArguments, InferenceArguments, NamedModelArguments, PredictArguments,
};
pub use compare::CompareArguments;
#[cfg(feature = "export")]
pub use export::{ExportArguments, ExportFormat, ExportInput};
#[cfg(feature = "fetch")]
pub use fetch::FetchArguments;
pub use lr_find::LrFindArguments;
pub use models::ModelsArguments;
pub use report::ReportArguments;
pub use run_options::Use;
pub use runs::{DiffArguments, RunsArguments};
pub use show::ShowArguments;
pub use tools::{
    CompletionsArguments, ConvertArguments, DoctorArguments, InspectArguments, StoredType,
    WeightsArguments, WeightsCommand,
};
pub use train::TrainArguments;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};
use serde::de::DeserializeOwned;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

const EXAMPLES: &str = "\
Examples:
  regraft train photos/                     fine-tune on photos/<class>/*.jpg
  regraft compare photos/                   find out which way to fine-tune is best
  regraft evaluate runs/photos photos/test  score the trained model
  regraft predict runs/photos a.jpg b.png   use it

Exit codes: 0 done; 1 failed; 2 wrong usage or bad input; 130, 143 or 138 stopped by Ctrl-C, \
SIGTERM or SIGUSR1, with the run saved";

/// Fine-tune a pretrained image classifier on your own images.
#[derive(Debug, Parser)]
#[command(name = "regraft", version, arg_required_else_help = true, max_term_width = 110,
    after_help = EXAMPLES)]
pub struct Regraft {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fine-tune a pretrained model on labelled images
    Train(Box<TrainArguments>),
    /// Compare several ways to fine-tune
    Compare(CompareArguments),
    /// Score a model on labelled images
    Evaluate(EvaluateArguments),
    /// Classify images
    Predict(PredictArguments),
    /// Write a page about a run: confusion, calibration, mistakes with activation maps
    Report(ReportArguments),
    /// List runs with their accuracies
    Runs(RunsArguments),
    /// Show how two runs differ: options, images and answers
    Diff(DiffArguments),
    /// Export a model to ONNX or timm, and check that it predicts the same
    #[cfg(feature = "export")]
    Export(ExportArguments),
    /// Find a learning rate with a range test
    LrFind(Box<LrFindArguments>),
    /// Find problems in a data set: unreadable files, copies, leakage, wrong labels
    Audit(AuditArguments),
    /// Draw images as the network sees them
    Show(Box<ShowArguments>),
    /// Download, verify and unpack a data set
    #[cfg(feature = "fetch")]
    Fetch(FetchArguments),
    /// List the available models, or rank them for your images
    Models(ModelsArguments),
    /// List the layers of a model and the metadata of its file
    Inspect(InspectArguments),
    /// Convert weight files
    Weights(WeightsArguments),
    /// Measure the speed of this machine
    Bench(BenchArguments),
    /// Print a completion script for a shell
    Completions(CompletionsArguments),
    /// Show the hardware of this machine and how Regraft uses it
    Doctor(DoctorArguments),
}

impl Command {
    /// Whether several processes share its work.
    pub fn is_shared_out(&self) -> bool {
        matches!(self, Self::Train(_) | Self::Evaluate(_) | Self::Predict(_) | Self::Audit(_))
    }
}

/// A parser for one of `words`, which the library's type reads from its configuration file too.
fn one_of<T>(words: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| {
        let word: StrDeserializer<'_, Error> = word.as_str().into_deserializer();
        T::deserialize(word)
    })
}

/// A parser for text that the library's type reads from its configuration file too.
fn text<T: TryFrom<String, Error = E>, E: std::fmt::Display>(text: &str) -> Result<T, String> {
    T::try_from(text.to_owned()).map_err(|error| error.to_string())
}
