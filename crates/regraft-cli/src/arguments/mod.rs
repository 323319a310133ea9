//! The command line: every flag is defined once, here and in the files below.

mod audit;
mod bench;
mod classifier;
mod compare;
#[cfg(feature = "export")]
mod export;
#[cfg(feature = "fetch")]
mod fetch;
mod lr_find;
mod run_options;
mod shared;
mod show;
mod tools;
mod train;

pub use audit::AuditArguments;
pub use bench::{BenchArguments, BenchCommand, LoadArguments, StepArguments};
pub use classifier::{
    EvaluateArguments, InferenceArguments, NamedModelArguments, PredictArguments,
};
pub use compare::CompareArguments;
#[cfg(feature = "export")]
pub use export::{ExportArguments, ExportFormat, ExportInput};
#[cfg(feature = "fetch")]
pub use fetch::FetchArguments;
pub use lr_find::LrFindArguments;
pub use run_options::Use;
pub use show::ShowArguments;
pub use tools::{
    CompletionsArguments, ConvertArguments, DoctorArguments, InspectArguments, ModelsArguments,
    StoredType, WeightsArguments, WeightsCommand,
};
pub use train::TrainArguments;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};
use serde::de::DeserializeOwned;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};
use std::num::NonZeroU32;

const EXAMPLES: &str = "\
Examples:
  regraft train photos/                     fine-tune on photos/<class>/*.jpg
  regraft compare photos/                   which way to fine-tune is best here?
  regraft evaluate runs/photos photos/test  score the model that training left
  regraft predict runs/photos a.jpg b.png   use it

Exit codes: 0 done, 1 failed under way, 2 wrong usage or bad input, 130 or 143 a training ended \
by Ctrl-C or SIGTERM and saved";

/// Fine-tune a pretrained image classifier on your own folder of pictures.
#[derive(Debug, Parser)]
#[command(name = "regraft", version, arg_required_else_help = true, max_term_width = 110,
    after_help = EXAMPLES)]
pub struct Regraft {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fine-tune a source model on a folder of pictures
    Train(Box<TrainArguments>),
    /// Try several ways to fine-tune and tell which is best
    Compare(CompareArguments),
    /// Score a model on a folder of pictures whose classes are known
    Evaluate(EvaluateArguments),
    /// Say what is on pictures
    Predict(PredictArguments),
    /// Write a model as an ONNX file, and prove that it answers the same
    #[cfg(feature = "export")]
    Export(ExportArguments),
    /// Find a learning rate by a range test
    LrFind(Box<LrFindArguments>),
    /// Find what is wrong with a folder of pictures: copies, leaks, labels, files
    Audit(AuditArguments),
    /// Draw what the network sees of a folder of pictures
    Show(Box<ShowArguments>),
    /// Download a data set, check it and unpack it
    #[cfg(feature = "fetch")]
    Fetch(FetchArguments),
    /// List the architectures that can be fine-tuned
    Models(ModelsArguments),
    /// List a model's layers, and what its file says of it
    Inspect(InspectArguments),
    /// Work on weight files
    Weights(WeightsArguments),
    /// Measure how fast this machine is
    Bench(BenchArguments),
    /// Write a shell's completion script to standard output
    Completions(CompletionsArguments),
    /// Show what this machine has and what of it is used
    Doctor(DoctorArguments),
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

/// A parser for a number that the library keeps in 32 bits. One that would become another number is
/// refused: the library's own checks would name that other number.
fn number(text: &str) -> Result<f32, String> {
    let given: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    let kept = given as f32;
    match kept {
        0.0 if given != 0.0 => Err("it is too close to 0 for a 32-bit number".into()),
        1.0 if given < 1.0 => Err("it is too close to 1 for a 32-bit number".into()),
        _ if given.is_finite() && kept.is_infinite() => {
            Err("it is too large for a 32-bit number".into())
        }
        // Parsing twice rounds once: by way of f64 a number halfway between two may end at the
        // other one.
        _ => text.parse().map_err(|_| "it is not a number".to_owned()),
    }
}

/// A parser for a whole number from 1.
fn at_least_one(text: &str) -> Result<NonZeroU32, String> {
    let number: i128 = text.parse().map_err(|_| "it is not a whole number".to_owned())?;
    let number = u32::try_from(number).ok().and_then(NonZeroU32::new);
    number.ok_or_else(|| format!("{text} is not in 1..={}", u32::MAX))
}
