//! The command line: every flag is defined once, here and in the files below.

mod train;

pub use train::TrainArguments;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};
use serde::de::DeserializeOwned;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

/// Fine-tune a pretrained image classifier on your own folder of pictures.
#[derive(Debug, Parser)]
#[command(name = "regraft", version, arg_required_else_help = true, max_term_width = 110)]
pub struct Regraft {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fine-tune a source model on a folder of pictures
    Train(Box<TrainArguments>),
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
